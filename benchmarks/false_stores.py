"""How often whole stores of noise say something, and how soon they say what is there.

    python -m benchmarks.false_stores [--trials N] [--quick] [--said FILE]

Small corpora of noise go through the real run into a store, with states that have nothing to do with the sound, and
everything that its pages would say of labels, columns and factors is counted, kind by kind
(`_store_statements` has the table): at most 5 % of each kind may be false, and nothing may be said where nothing can be
tested. Then a label, a column and a factor are planted in the states, and the share of stores that say so is printed.
Exits with 1 where a rate is surely over 5 %, or something was said that could not be tested. With `--said` what each
store says is a line of a file, and stores that are there already are not made again: runs can be stopped, and files of
several put together.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks._noise_corpora import (
    AS_THEY_ARE,
    COLOURED,
    OF_BOTH,
    OF_CLIPS,
    OF_GROUPS,
    PERMUTED,
    WHITE,
    Design,
    Workshop,
    states_replaced,
)
from benchmarks._store_statements import Said, statements, what_is_found
from explorer.permutation import ALPHA
from explorer.store import Store, open_store
from precompute.pipeline import run

NOISE = (
    Design(2, 12, WHITE, OF_CLIPS),
    Design(2, 12, COLOURED, OF_GROUPS),
    Design(4, 8, COLOURED, OF_GROUPS),
    Design(4, 8, WHITE, PERMUTED, has_reading=False),
    Design(8, 6, COLOURED, OF_BOTH),
    Design(8, 6, WHITE, OF_CLIPS, has_reading=False),
    Design(8, 6, AS_THEY_ARE, PERMUTED),
    Design(12, 6, WHITE, OF_BOTH),
    Design(12, 6, COLOURED, PERMUTED),
    Design(12, 5, COLOURED, OF_CLIPS, has_reading=False, encoders=("hubert", "ast")),
    Design(10, 15, COLOURED, OF_CLIPS),
    Design(24, 2, COLOURED, OF_GROUPS),
    Design(24, 2, WHITE, OF_CLIPS),
    Design(40, 2, AS_THEY_ARE, OF_GROUPS),
    Design(40, 2, COLOURED, OF_CLIPS),
)
LARGE = (Design(20, 150, COLOURED, OF_CLIPS), Design(4, 750, WHITE, OF_BOTH))  # 1,000 clips a label
QUICK = (NOISE[1], NOISE[5], NOISE[8])
STRENGTHS = (1.0, 2.0, 4.0)
POWER_SIZES = ((2, 12), (4, 8), (8, 6), (12, 5), (24, 2), (40, 2))


@dataclass(frozen=True)
class Rate:
    """How often statements of one kind were false, by store. n_forbidden: made though nothing could be tested."""

    by_store: tuple[Said, ...]

    @property
    def n(self) -> int:
        return sum(said.n for said in self.by_store)

    @property
    def n_false(self) -> int:
        return sum(said.n_said for said in self.by_store)

    @property
    def n_untestable(self) -> int:
        return sum(said.n_untestable for said in self.by_store)

    @property
    def n_forbidden(self) -> int:
        return sum(said.n_forbidden for said in self.by_store)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson. Where statements of one store are false together, n is made smaller by as much as the
        variance of the rate over stores is larger than that of independent statements (Kish's design effect)."""
        if not self.n:
            return 0.0, 1.0
        share, n = self.n_false / self.n, self.n / self._design_effect()
        k = share * n
        low = stats.beta.ppf(0.025, k, n - k + 1) if k > 0 else 0.0
        high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
        return float(low), float(high)

    def _design_effect(self) -> float:
        share = self.n_false / self.n
        told = [said for said in self.by_store if said.n]
        if not 0 < share < 1 or len(told) < 2:
            return 1.0
        squares = sum((said.n_said - share * said.n) ** 2 for said in told) * len(told) / (len(told) - 1)
        return max(1.0, squares / (self.n * share * (1 - share)))

    @property
    def is_too_often(self) -> bool:
        """Whether it is surely over 5 %, or said where nothing could be tested."""
        return self.interval[0] > ALPHA or self.n_forbidden > 0


def made_store(shop: Workshop, design: Design, folder: Path) -> Store:
    """The store of one corpus, made by the real run and opened."""
    shop.lend(design, folder)
    with states_replaced(design):
        run(shop.config(design, folder), command=f"noise: {design}")
    shop.take(design, folder)
    return open_store(folder)


def all_said(shop: Workshop, designs: Iterable[Design]) -> Iterator[tuple[Design, list[Said]]]:
    """What the store of each design says."""
    for design in designs:
        with _one_store(shop, design) as store:
            yield design, list(statements(store, design))


class _one_store:
    """A store that is gone afterwards."""

    def __init__(self, shop: Workshop, design: Design) -> None:
        self._shop, self._design = shop, design

    def __enter__(self) -> Store:
        self._folder = Path(tempfile.mkdtemp(prefix="noise-store-", dir=self._shop.folder))
        self._store = made_store(self._shop, self._design, self._folder / "store")
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
        shutil.rmtree(self._folder)


def kept_said(shop: Workshop, designs: Iterable[Design], path: Path | None) -> Iterator[tuple[str, list[Said]]]:
    """`all_said`, through a file of lines where there is one: what it holds of any design first, then what it lacks."""
    known: dict[str, list[Said]] = {}
    if path is not None and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[row["store"]] = [Said(**one) for one in row["said"]]
    yield from known.items()
    for design, of_store in all_said(shop, [design for design in designs if str(design) not in known]):
        if path is not None:
            with path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"store": str(design), "said": [asdict(one) for one in of_store]}) + "\n")
        yield str(design), of_store


def rates_of(said: Iterable[list[Said]]) -> Mapping[str, Rate]:
    """By kind, in the order of the pages."""
    by_kind: dict[str, list[Said]] = defaultdict(list)
    for of_store in said:
        for one in of_store:
            by_kind[one.kind].append(one)
    return {kind: Rate(tuple(every)) for kind, every in by_kind.items()}


def power(shop: Workshop, design: Design, n_trials: int) -> Mapping[str, float]:
    """The share of stores that say what was planted, by what they say."""
    found: dict[str, list[bool]] = defaultdict(list)
    for trial in range(n_trials):
        with _one_store(shop, replace(design, seed=trial)) as store:
            for name, is_found in what_is_found(store).items():
                found[name].append(is_found)
    return {name: float(np.mean(every)) for name, every in found.items()}


def print_rates(rates: Mapping[str, Rate]) -> None:
    for kind, rate in rates.items():
        low, high = rate.interval
        share = f"{rate.n_false / rate.n:6.3f} ({low:.3f} to {high:.3f})" if rate.n else "      –"
        untested = f"; said {rate.n_forbidden} of {rate.n_untestable} that cannot be tested" * (rate.n_untestable > 0)
        print(f"{kind:46} {rate.n_false:4} of {rate.n:5} false {share}{untested}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="False and true statements of whole stores of noise.")
    parser.add_argument("--trials", type=int, default=4, help="stores of each design (default: 4)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--power", type=int, default=2, help="planted stores of each size and strength (default: 2)")
    parser.add_argument("--quick", action="store_true", help="three designs, two sizes")
    parser.add_argument("--large", action="store_true", help="corpora of 3,000 clips instead")
    parser.add_argument("--said", type=Path, help="file of what each store says, to be gone on with")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="noise-") as folder:
        os.environ["SONOSCOPE_HOME"] = str(Path(folder) / "home")
        shop = Workshop(Path(folder))
        seeds = range(options.first, options.first + options.trials)
        some = LARGE if options.large else QUICK if options.quick else NOISE
        designs = [replace(one, seed=seed) for seed in seeds for one in some]
        said = []
        for name, of_store in kept_said(shop, designs, options.said):
            said.append(of_store)
            false = ", ".join(one.kind for one in of_store if one.n_said or one.n_forbidden)
            print(f"{name:72} {false or 'nothing'}", flush=True)
        rates = rates_of(said)
        print(f"\n{len(said)} stores of noise")
        print_rates(rates)
        if options.power:
            print(f"\nplanted: the share of {options.power} stores that say it")
        for n_groups, per_group in POWER_SIZES[1:4:2] if options.quick else POWER_SIZES:
            for strength in STRENGTHS if options.power else ():
                found = power(shop, Design(n_groups, per_group, labels=PERMUTED, strength=strength), options.power)
                words = "  ".join(f"{name} {share:.2f}" for name, share in found.items())
                print(f"{n_groups:3} x {per_group:<3} strength {strength:g}: {words}", flush=True)
    return int(any(rate.is_too_often for rate in rates.values()))


if __name__ == "__main__":
    sys.exit(main())
