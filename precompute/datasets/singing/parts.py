"""Which clips a generated corpus has: a crossed part, in which minimal pairs exist, and one of VocalSet's own shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from explorer.errors import ConfigError
from explorer.text import count
from precompute.datasets import vocalset
from precompute.datasets.singing.exercises import SONGS
from precompute.datasets.singing.style import TECHNIQUES
from precompute.datasets.singing.tract import VOWELS

# VocalSet's twenty singers by name; the voices are drawn, and have nothing of theirs.
SINGERS = tuple(f"female{n}" for n in range(1, 10)) + tuple(f"male{n}" for n in range(1, 12))
_CROSSED_TEST = ("female2", "female4", "female6", "female8", "male3", "male5", "male8", "male10")
_LONG_TONES_ONLY = ("inhaled", "trill", "trillo")


@dataclass(frozen=True)
class Cell:
    """One clip's design: who, how, what, on which vowel (None: the words of a song)."""

    singer: str
    technique: str
    exercise: str
    vowel: str | None = None
    song: str | None = None

    @property
    def relative(self) -> str:
        """Its file in VocalSet's layout."""
        short = vocalset.short_singer(self.singer)
        what = self.song or self.exercise.removesuffix("_tones")
        words = [short, what, self.technique, *([self.vowel] if self.vowel else [])]
        return f"FULL/{self.singer}/{self.exercise}/{self.technique}/{'_'.join(words)}.wav"


@dataclass(frozen=True)
class Part:
    """A corpus to be: its clips and its held-out singers.

    is_lifelike: one recording session a singer, women with shorter tracts than men. Otherwise every clip has a gain and
    every singer a tract length of its own, independent of all else.
    """

    name: str
    cells: tuple[Cell, ...]
    test_singers: tuple[str, ...]
    is_lifelike: bool = False

    @property
    def singers(self) -> tuple[str, ...]:
        """Everyone in it, sorted as VocalSet numbers them."""
        found = {cell.singer for cell in self.cells}
        return tuple(singer for singer in SINGERS if singer in found)


def crossed(
    *,
    n_singers: int = 20,
    techniques: Sequence[str] = tuple(TECHNIQUES),
    exercises: Sequence[str] = ("arpeggios", "long_tones", "scales"),
    n_vowels: int = 2,
) -> Part:
    """Every technique by exercise by vowel by singer: any two techniques meet in the same singer, exercise and vowel.

    With fewer than five vowels each singer and exercise has its own, whatever the technique, so that all five occur.
    As written here 20 x 10 x 3 x 2 = 1200 clips. Raises ConfigError for what cannot be crossed.
    """
    if not 2 <= n_singers <= len(SINGERS):
        raise ConfigError(f"{count(n_singers, 'singer')}: give 2 to {len(SINGERS)}.")
    if not 1 <= n_vowels <= len(VOWELS):
        raise ConfigError(f"{count(n_vowels, 'vowel')}: give 1 to {len(VOWELS)} of {', '.join(VOWELS)}.")
    for kind, given, known in (("technique", techniques, TECHNIQUES), ("exercise", exercises, vocalset.EXERCISES)):
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise ConfigError(f"{kind} {', '.join(unknown) or 'none'}: allowed are {', '.join(known)}.")
    women, men = SINGERS[:9], SINGERS[9:]
    n_women = min(n_singers // 2, len(women))
    singers = (*women[:n_women], *men[: n_singers - n_women])
    test = tuple(singer for singer in singers if singer in _CROSSED_TEST)
    return Part("crossed", tuple(_crossed_cells(singers, techniques, exercises, n_vowels)), test or singers[-1:])


def _crossed_cells(
    singers: Sequence[str], techniques: Sequence[str], exercises: Sequence[str], n_vowels: int
) -> Iterator[Cell]:
    songs = sorted(SONGS)
    for place, singer in enumerate(singers):
        for turn, exercise in enumerate(exercises):
            song = songs[place % len(songs)] if exercise == "excerpts" else None
            for step in range(n_vowels):
                vowel = VOWELS[(place + turn + 2 * step) % len(VOWELS)]
                for technique in techniques:
                    yield Cell(singer, technique, exercise, vowel, song)


def vocalset_shaped() -> Part:
    """VocalSet's own cells for its ten techniques, 87 clips a singer, and its own five test singers.

    Inhaled, trill and trillo only as long tones, spoken once a singer, songs only straight, with vibrato and spoken.
    """
    cells: list[Cell] = []
    for singer in SINGERS:
        for technique in TECHNIQUES:
            cells += (Cell(singer, technique, exercise, vowel) for exercise, vowel in _own_cells(technique))
            cells += (Cell(singer, technique, "excerpts", None, song) for song in _own_songs(technique))
    return Part("vocalset-shaped", tuple(cells), tuple(sorted(vocalset.TEST_SINGERS)), is_lifelike=True)


def _own_cells(technique: str) -> Iterator[tuple[str, str]]:
    if technique == "spoken":
        exercises: tuple[str, ...] = ()
    elif technique in _LONG_TONES_ONLY:
        exercises = ("long_tones",)
    else:
        exercises = ("arpeggios", "scales", "long_tones") if technique == "straight" else ("arpeggios", "scales")
    return ((exercise, vowel) for exercise in exercises for vowel in VOWELS)


def _own_songs(technique: str) -> Sequence[str]:
    if technique == "spoken":
        return ("row",)
    return tuple(SONGS) if technique in ("straight", "vibrato") else ()
