"""The model card: its template filled with what training and evaluation recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from explorer.encoders import ENCODERS
from precompute.checkpoint_folder import geometry
from precompute.pretraining.evaluation import MARGIN, N_MELS, UNSEEN_SEED, read_result
from precompute.pretraining.recipes import NAMES, RECORD

CARD = "MODEL_CARD.md"

_TEMPLATE = Path(__file__).with_name("card_template.md")


def write_card(out: Path) -> Path:
    """Write MODEL_CARD.md into `out` and return its path."""
    records = {name: json.loads((out / name / RECORD).read_text(encoding="utf-8")) for name in NAMES}
    result = read_result(out)
    first = records[NAMES[0]]
    first_geometry = geometry(ENCODERS[NAMES[0]].family, "demo")
    n_layers = len(result["encoders"][NAMES[0]]["layers"]["trained"])
    text = _TEMPLATE.read_text(encoding="utf-8").format(
        minutes=first["voices"]["seconds"] / 60,
        n_clips=first["plan"]["n_clips"],
        seed=first["voices"]["seed"],
        objectives="\n".join(_objective(name, records[name]) for name in NAMES),
        width=first_geometry["hidden_size"],
        n_blocks=first_geometry["num_hidden_layers"],
        n_heads=first_geometry["num_attention_heads"],
        n_mels=N_MELS,
        unseen=UNSEEN_SEED,
        n_weights=_n_weights(out),
        batch=first["batch"],
        hardware=first["hardware"],
        n_classes=result["n_classes"],
        n_train_clips=result["n_train_clips"],
        n_train_singers=result["n_train_singers"],
        n_test_clips=result["n_test_clips"],
        n_test_singers=result["n_test_singers"],
        log_mel=result["log_mel"]["accuracy"],
        scores="\n".join(_scores(name, result["encoders"][name]) for name in NAMES),
        verdicts="\n".join(f"- {verdict(name, result['encoders'][name])}" for name in NAMES),
        layers=" | ".join(str(layer) for layer in range(n_layers)),
        rule="|".join(["---"] * n_layers),
        by_layer="\n".join(_by_layer(name, result["encoders"][name]) for name in NAMES),
    )
    path = out / CARD
    path.write_text(text, encoding="utf-8")
    return path


def verdict(name: str, found: dict[str, Any]) -> str:
    """Whether the two criteria hold: 10 points above the untrained network, and above log-mel beyond the interval."""
    untrained, log_mel = found["against_untrained"], found["against_log_mel"]
    first = "beats" if untrained["mean"] >= MARGIN else "does not beat"
    second = "beats" if log_mel["low"] > 0 else "does not beat"
    return (
        f"{ENCODERS[name].display_name} {first} the same network untrained by {100 * MARGIN:.0f} points, and {second} "
        "pooled log-mel by an interval that excludes 0."
    )


def _objective(name: str, record: dict[str, Any]) -> str:
    steps = " + ".join(str(item["n_steps"]) for item in record["rounds"])
    last = record["rounds"][-1]["loss"]
    carried = ", ".join(record["teacher_carries"]) or "no planted parameter"
    cells = (ENCODERS[name].display_name, record["objective"], steps, f"{last[0]:.2f}, {last[-1]:.2f}", carried)
    return f"| {' | '.join(cells)} |"


def _scores(name: str, found: dict[str, Any]) -> str:
    best, layers = found["best_layer"], found["layers"]
    untrained, log_mel = (
        f"{item['mean']:+.3f} ({item['low']:+.3f} to {item['high']:+.3f})"
        for item in (found["against_untrained"], found["against_log_mel"])
    )
    return (
        f"| {ENCODERS[name].display_name} | {best['trained']} | {layers['trained'][best['trained']]['accuracy']:.3f} "
        f"| {best['untrained']} | {layers['untrained'][best['untrained']]['accuracy']:.3f} | {untrained} | {log_mel} |"
    )


def _by_layer(name: str, found: dict[str, Any]) -> str:
    rows = []
    for kind, title in (("trained", ""), ("untrained", ", untrained")):
        cells = " | ".join(f"{item['accuracy']:.3f}" for item in found["layers"][kind])
        rows.append(f"| {ENCODERS[name].display_name}{title} | {cells} |")
    return "\n".join(rows)


def _n_weights(out: Path) -> str:
    """'1.2 to 1.4 million', by the size of the files (4 bytes a weight)."""
    millions = sorted((out / name / "model.safetensors").stat().st_size / 4e6 for name in NAMES)
    return f"{millions[0]:.1f} to {millions[-1]:.1f} million"
