"""The command line: `python -m precompute.pretraining train|evaluate`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

SHIPPED = Path(__file__).parent.parent / "demo_encoders"


def build_parser() -> argparse.ArgumentParser:
    """The parser of both commands."""
    parser = argparse.ArgumentParser(prog="python -m precompute.pretraining", description="Make the demo's encoders.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train them, or go on where training stopped")
    evaluate = commands.add_parser("evaluate", help="probe them and untrained ones, and write the model card")
    for command in (train, evaluate):
        command.add_argument("--work", type=Path, required=True, help="folder for sound, targets and unfinished states")
        command.add_argument(
            "--out", type=Path, default=SHIPPED, help="folder of the checkpoints (default: the shipped)"
        )
    train.add_argument("--encoder", action="append", choices=("ast", "wavlm", "hubert", "mert"), help="default: all")
    train.add_argument("--clips", type=int, default=4800, help="free voices to train on (default: 4800)")
    train.add_argument("--steps", type=int, default=3000, help="steps of the last round (default: 3000)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    train.add_argument("--threads", type=int, default=0, help="of one training (default: all cores)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    asked = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    import torch

    from precompute.pretraining import recipes

    if asked.command == "train":
        if asked.threads:
            torch.set_num_threads(asked.threads)
        torch.set_flush_denormal(True)
        plan = recipes.Plan(n_clips=asked.clips, n_steps=asked.steps, seed=asked.seed, device=asked.device)
        for name in asked.encoder or recipes.NAMES:
            folder = recipes.pretrain(name, asked.work, asked.out, plan)
            sys.stdout.write(f"{name}: {folder}\n")
    else:
        from precompute.pretraining.card import write_card
        from precompute.pretraining.evaluation import evaluate

        evaluate(asked.work, asked.out)
        sys.stdout.write(f"{write_card(asked.out)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
