"""Which clips train and which are held out. Pure functions of a list of files; nothing is read.

One outer split by group is made per corpus: the data set's own test groups where it has them, else about a quarter of
the groups. Inside its training part there are folds by group and folds by file. Folds over all groups let every group
be scored by what was fitted without it. Beside them stands the published protocol's split by file. Everything is sorted
before anything is drawn, so the order of a listing changes nothing.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

TRAIN, HELD_OUT = "train", "held-out"
HELD_OUT_SHARE = 0.25
N_FOLDS = 5
LEAVE_ONE_OUT = 8  # up to so many groups each is a fold of its own
MAX_OFFICIAL_FOLDS = 20
N_DRAWS = 400
PAPER_SEED, PAPER_TRAIN_SHARE = 42, 0.8


@dataclass(frozen=True)
class SplitItem:
    """A file as the splits see it. `content` is equal for byte-identical files; `weight` is its number of clips."""

    key: str
    group: str
    content: str
    label: str | None = None
    weight: int = 1
    official_split: str | None = None
    is_paper_file: bool = True
    official_fold: str | None = None


@dataclass(frozen=True)
class Splits:
    """Each by the item's key. Notes are sentences about what could not be done as usual."""

    split: Mapping[str, str]
    fold_all: Mapping[str, int | None]
    fold_group: Mapping[str, int | None]
    fold_random: Mapping[str, int | None]
    paper_split: Mapping[str, str | None]
    notes: tuple[str, ...]


def split_files(items: Sequence[SplitItem], *, seed: int) -> Splits:
    """All splits of a corpus. No group crosses the outer split or the folds by group, and no content crosses a fold."""
    items = sorted(items, key=lambda item: item.key)
    held_out, notes = outer_split(items, seed=seed)
    fold_all, all_notes = folds_of_all(items, seed=seed)
    train = [item for item in items if item.key not in held_out]
    fold_group, fold_notes = folds_of_groups(train, seed=seed)
    if len({item.group for item in train}) < 2:
        fold_group, fold_notes = folds(train, {item.key: item.content for item in train}, seed=seed)
        fold_notes = fold_notes or ["only one group trains: the folds by group are folds by file"]
    fold_random, _ = folds(train, {item.key: item.content for item in train}, seed=seed + 1)
    return Splits(
        {item.key: HELD_OUT if item.key in held_out else TRAIN for item in items},
        fold_all,
        {item.key: fold_group.get(item.key) for item in items},
        {item.key: fold_random.get(item.key) for item in items},
        paper_split(items),
        tuple(notes + all_notes + fold_notes),
    )


def folds_of_all(items: Sequence[SplitItem], *, seed: int) -> tuple[dict[str, int | None], list[str]]:
    """(fold by key, notes) over every group: the data set's own folds where no group crosses them, else each group by
    itself up to LEAVE_ONE_OUT of them, else N_FOLDS folds of groups; by file where there is one group."""
    n_groups = len({item.group for item in items})
    if n_groups < 2:
        return folds(items, {item.key: item.content for item in items}, seed=seed)[0], []
    own = official_folds(items)
    if isinstance(own, dict):
        return own, []
    n_folds = n_groups if n_groups <= LEAVE_ONE_OUT else N_FOLDS
    units = {item.key: item.group for item in items}
    return folds(items, units, seed=seed, n_folds=n_folds)[0], [own] if own else []


def folds_of_groups(items: Sequence[SplitItem], *, seed: int) -> tuple[dict[str, int | None], list[str]]:
    """(fold by key, notes) of training items: the data set's own folds where there are, else N_FOLDS of groups."""
    own = official_folds(items)
    return (own, []) if isinstance(own, dict) else folds(items, {item.key: item.group for item in items}, seed=seed)


def official_folds(items: Sequence[SplitItem]) -> dict[str, int | None] | str:
    """The data set's own folds, numbered in their order; a note, or nothing, where they cannot be used."""
    names = {item.official_fold for item in items}
    if names == {None} or None in names or not 2 <= len(names) <= MAX_OFFICIAL_FOLDS:
        return ""
    of_group: dict[str, set[str | None]] = defaultdict(set)
    for item in items:
        of_group[item.group].add(item.official_fold)
    crossing = sorted(group for group, own in of_group.items() if len(own) > 1)
    if crossing:
        return f"the data set's own folds share groups ({crossing[0]}): not used"
    place = {name: at for at, name in enumerate(sorted((str(name) for name in names), key=_fold_order))}
    return {item.key: place[str(item.official_fold)] for item in items}


def _fold_order(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else -1, name)


def outer_split(items: Sequence[SplitItem], *, seed: int) -> tuple[set[str], list[str]]:
    """(keys of the held-out files, notes)."""
    groups: dict[str, list[SplitItem]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.key):
        groups[item.group].append(item)
    official = {name: {item.official_split for item in members} for name, members in groups.items()}
    test = {name for name, said in official.items() if "test" in said}
    crossing = sorted(name for name in test if official[name] != {"test"})
    if test and len(test) < len(groups) and not crossing:
        return _keys(groups, test), []
    notes = []
    if crossing:
        notes.append(f"the data set's own test part shares groups with its training part ({crossing[0]}): not used")
    elif test:
        notes.append("every group belongs to the data set's own test part: the held-out groups were drawn")
    if len(groups) > 1:
        return _keys(groups, draw_held_out(groups, seed=seed)), notes
    contents: dict[str, list[SplitItem]] = defaultdict(list)
    for item in items:
        contents[item.content].append(item)
    if len(contents) < 2:
        return set(), [*notes, "only one file: nothing is held out, and no score can be trusted"]
    notes.append("only one group: held out by file, so the scores say nothing about new groups")
    return _keys(contents, draw_held_out(contents, seed=seed)), notes


def draw_held_out(groups: Mapping[str, Sequence[SplitItem]], *, seed: int) -> set[str]:
    """About a quarter of the groups: of N_DRAWS random draws, the one whose clips are nearest to a quarter of the whole
    and of each label, with every label on both sides where that can be. At least one group stays on each side."""
    names = sorted(groups)
    counts = {name: label_counts(groups[name]) for name in names}
    total = sum(counts.values(), Counter[str | None]())
    n_held_out = min(max(1, round(HELD_OUT_SHARE * len(names))), len(names) - 1)
    rng = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    draws = [sorted(rng.sample(names, n_held_out)) for _ in range(N_DRAWS)]

    def unevenness(draw: Iterable[str]) -> float:
        part = sum((counts[name] for name in draw), Counter[str | None]())
        cost = abs(part.total() / total.total() - HELD_OUT_SHARE)
        for label, n in total.items():
            share = part[label] / n
            cost += abs(share - HELD_OUT_SHARE) / len(total) + (share in (0.0, 1.0) and label is not None)
        return cost

    return set(min(draws, key=unevenness))


def folds(
    items: Sequence[SplitItem], units: Mapping[str, str], *, seed: int, n_folds: int = N_FOLDS
) -> tuple[dict[str, int | None], list[str]]:
    """(fold by key, notes): whole units are dealt out, the largest first, each where its labels are rarest.

    As many folds as there are units, at most `n_folds`; one unit cannot be folded and gives None.
    """
    members: dict[str, list[SplitItem]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.key):
        members[units[item.key]].append(item)
    n = min(n_folds, len(members))
    if n < 2:
        return {item.key: None for item in items}, ["too little trains to make folds"] if items else []
    order = sorted(members)
    random.Random(seed).shuffle(order)  # noqa: S311 - a reproducible draw, not a secret
    counts = {unit: label_counts(members[unit]) for unit in order}
    order.sort(key=lambda unit: -counts[unit].total())
    filled: list[Counter[str | None]] = [Counter() for _ in range(n)]
    taken = [0] * n
    fold_of: dict[str, int | None] = {}
    for left, unit in zip(range(len(order), 0, -1), order, strict=True):
        empty = [fold for fold in range(n) if not taken[fold]]
        choices = empty if left <= len(empty) else range(n)  # every fold gets a unit
        best = min(choices, key=lambda fold: _crowding(filled[fold], counts[unit]))
        filled[best].update(counts[unit])
        taken[best] += 1
        fold_of.update({item.key: best for item in members[unit]})
    return fold_of, []


def paper_split(items: Sequence[SplitItem]) -> dict[str, str | None]:
    """The published protocol: the corpus's own test part is 'test'; its other files are shuffled and cut 80/20 by file
    into 'train' and 'valid', before the files that the protocol does not take are dropped (None).

    The published code shuffles an unsorted listing, so its own draw cannot be repeated; here the files are sorted.
    All None where the corpus has no test part of its own.
    """
    if not any(item.official_split == "test" for item in items):
        return {item.key: None for item in items}
    rest = sorted(item.key for item in items if item.official_split != "test")
    random.Random(PAPER_SEED).shuffle(rest)  # noqa: S311 - the published draw
    n_train = int(len(rest) * PAPER_TRAIN_SHARE)
    part = {key: "train" if place < n_train else "valid" for place, key in enumerate(rest)}
    return {item.key: part.get(item.key, "test") if item.is_paper_file else None for item in items}


def label_counts(items: Sequence[SplitItem]) -> Counter[str | None]:
    """Clips by label."""
    counts: Counter[str | None] = Counter()
    for item in items:
        counts[item.label] += item.weight
    return counts


def _crowding(fold: Counter[str | None], unit: Counter[str | None]) -> tuple[float, int]:
    """How much of a unit's labels a fold already holds, then how full it is."""
    return sum(fold[label] * n for label, n in unit.items()) / unit.total(), fold.total()


def _keys(parts: Mapping[str, Sequence[SplitItem]], names: set[str]) -> set[str]:
    return {item.key for name in names for item in parts[name]}
