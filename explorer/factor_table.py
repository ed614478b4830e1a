"""What the 88 eGeMAPSv02 functionals are: names in openSMILE's order, display names, units, groups, descriptions.

The set and its words follow Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research
and Affective Computing", IEEE Trans. Affective Computing 7(2), 2016. Pure data: openSMILE is not imported here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Factor:
    """One acoustic functional of a clip. An empty `unit` means dimensionless."""

    name: str
    display_name: str
    unit: str
    factor_group: str
    paper_group: str
    description: str


@dataclass(frozen=True)
class _Descriptor:
    key: str
    display_name: str
    unit: str
    description: str
    functionals: tuple[str, ...]


FACTOR_GROUPS = ("pitch", "formants", "quality", "loudness", "rhythm", "spectral", "mfcc")

_MEAN = ("amean",)
_MEAN_VARIATION = ("amean", "stddevNorm")
_CONTOUR = (
    *_MEAN_VARIATION,
    "percentile20.0",
    "percentile50.0",
    "percentile80.0",
    "pctlrange0-2",
    "meanRisingSlope",
    "stddevRisingSlope",
    "meanFallingSlope",
    "stddevFallingSlope",
)

# functional: (display name, {unit} of the result, sentence about {what})
_FUNCTIONALS = {
    "amean": ("mean", "{unit}", "Mean of {what}"),
    "stddevNorm": ("variation", "", "Standard deviation over mean (coefficient of variation) of {what}"),
    "percentile20.0": ("20 %", "{unit}", "20th percentile of {what}"),
    "percentile50.0": ("median", "{unit}", "Median of {what}"),
    "percentile80.0": ("80 %", "{unit}", "80th percentile of {what}"),
    "pctlrange0-2": ("range", "{unit}", "Range from the 20th to the 80th percentile of {what}"),
    "meanRisingSlope": ("rise", "{rate}", "Mean slope of the rising parts of {what}"),
    "stddevRisingSlope": ("rise spread", "{rate}", "Standard deviation of the slopes of the rising parts of {what}"),
    "meanFallingSlope": ("fall", "{rate}", "Mean slope (as a positive number) of the falling parts of {what}"),
    "stddevFallingSlope": ("fall spread", "{rate}", "Standard deviation of the slopes of the falling parts of {what}"),
}

_ALPHA = "the alpha ratio (energy of 50 Hz to 1 kHz over 1 to 5 kHz)"
_HAMMARBERG = "the Hammarberg index (strongest peak of 0 to 2 kHz over 2 to 5 kHz)"
_SLOPE_LOW = "the spectral slope from 0 to 500 Hz"
_SLOPE_HIGH = "the spectral slope from 500 to 1500 Hz"
_FLUX = "the spectral flux (change of the spectrum between neighbouring frames)"


def _formant(number: int) -> tuple[_Descriptor, ...]:
    formant = f"formant F{number}"
    return (
        _Descriptor(
            f"F{number}frequency_sma3nz",
            f"F{number} frequency",
            "Hz",
            f"the centre frequency of {formant}",
            _MEAN_VARIATION,
        ),
        _Descriptor(
            f"F{number}bandwidth_sma3nz", f"F{number} bandwidth", "Hz", f"the bandwidth of {formant}", _MEAN_VARIATION
        ),
        _Descriptor(
            f"F{number}amplitudeLogRelF0_sma3nz",
            f"F{number} level",
            "dB",
            f"the level of the harmonic nearest {formant} relative to F0's",
            _MEAN_VARIATION,
        ),
    )


def _mfcc(number: int, voiced: bool) -> _Descriptor:
    where = " in voiced frames" if voiced else ""
    return _Descriptor(
        f"mfcc{number}V_sma3nz" if voiced else f"mfcc{number}_sma3",
        f"MFCC {number}" + (" voiced" if voiced else ""),
        "",
        f"mel-frequency cepstral coefficient {number}{where}",
        _MEAN_VARIATION,
    )


def _balance(voicing: str, functionals: tuple[str, ...]) -> tuple[_Descriptor, ...]:
    where, word = (" in voiced frames", "voiced") if voicing == "V" else (" in unvoiced frames", "unvoiced")
    rows = (
        ("alphaRatio{}_sma3nz", "alpha ratio", "dB", _ALPHA),
        ("hammarbergIndex{}_sma3nz", "Hammarberg", "dB", _HAMMARBERG),
        ("slope{}0-500_sma3nz", "slope 0–500", "dB/Hz", _SLOPE_LOW),
        ("slope{}500-1500_sma3nz", "slope 500–1500", "dB/Hz", _SLOPE_HIGH),
        ("spectralFlux{}_sma3nz", "spectral flux", "", _FLUX),
    )
    return tuple(
        _Descriptor(key.format(voicing), f"{name} {word}", unit, what + where, functionals)
        for key, name, unit, what in rows
    )


_DESCRIPTORS = (
    _Descriptor("F0semitoneFrom27.5Hz_sma3nz", "F0", "st", "the pitch F0 (semitones above 27.5 Hz, voiced frames)",
                _CONTOUR),
    _Descriptor("loudness_sma3", "loudness", "", "the perceived loudness, from an auditory spectrum", _CONTOUR),
    _Descriptor("spectralFlux_sma3", "spectral flux", "", _FLUX, _MEAN_VARIATION),
    *(_mfcc(number, voiced=False) for number in (1, 2, 3, 4)),
    _Descriptor("jitterLocal_sma3nz", "jitter", "", "the jitter (difference of neighbouring pitch periods, relative)",
                _MEAN_VARIATION),
    _Descriptor("shimmerLocaldB_sma3nz", "shimmer", "dB", "the shimmer (level change from period to period)",
                _MEAN_VARIATION),
    _Descriptor("HNRdBACF_sma3nz", "HNR", "dB", "the harmonics-to-noise ratio, from the autocorrelation",
                _MEAN_VARIATION),
    _Descriptor("logRelF0-H1-H2_sma3nz", "H1 - H2", "dB", "the level of the first harmonic over the second",
                _MEAN_VARIATION),
    _Descriptor("logRelF0-H1-A3_sma3nz", "H1 - A3", "dB",
                "the level of the first harmonic over the strongest one near formant F3", _MEAN_VARIATION),
    *_formant(1),
    *_formant(2),
    *_formant(3),
    *_balance("V", _MEAN_VARIATION),
    *(_mfcc(number, voiced=True) for number in (1, 2, 3, 4)),
    *_balance("UV", _MEAN),
)  # fmt: skip

# name, display name, unit, description
_SINGLE = (
    ("loudnessPeaksPerSec", "loudness peaks", "1/s", "Number of loudness peaks a second"),
    ("VoicedSegmentsPerSec", "voiced segments", "1/s", "Number of continuously voiced segments a second"),
    ("MeanVoicedSegmentLengthSec", "voiced length mean", "s", "Mean length of the voiced segments"),
    ("StddevVoicedSegmentLengthSec", "voiced length spread", "s", "Standard deviation of the voiced segments' lengths"),
    ("MeanUnvoicedSegmentLength", "unvoiced length mean", "s", "Mean length of the unvoiced segments"),
    ("StddevUnvoicedSegmentLength", "unvoiced length spread", "s",
     "Standard deviation of the unvoiced segments' lengths"),
    ("equivalentSoundLevel_dBp", "sound level", "dB", "Equivalent sound level relative to full scale"),
)  # fmt: skip


def paper_group(name: str) -> str:
    """The group of a functional by the published rule (arXiv 2509.24793): the first match wins.

    logRelF0-H1-H2 and logRelF0-H1-A3 count as pitch there. Raises ValueError for a name that no rule matches.
    """
    lower = name.lower()
    rules = (
        ("formants", any(part in name for part in ("F1", "F2", "F3"))),
        ("pitch", "F0" in name),
        ("quality", any(part in lower for part in ("shimmer", "jitter", "hnr"))),
        ("loudness", any(part in lower for part in ("loudness", "equivalentsoundlevel"))),
        ("rhythm", "voiced" in lower),
        ("spectral", any(part in lower for part in ("slope", "spectral", "alpharatio", "hammar"))),
        ("mfcc", "mfcc" in lower),
    )
    for group, matches in rules:
        if matches:
            return group
    raise ValueError(f"No factor group for {name!r}: allowed are eGeMAPSv02 functionals.")


def factor_group(name: str) -> str:
    """The group of a functional: as `paper_group`, but H1-H2 and H1-A3 describe voice quality, not pitch."""
    return "quality" if name.startswith("logRelF0-H1-") else paper_group(name)


def _factor(descriptor: _Descriptor, functional: str) -> Factor:
    name = f"{descriptor.key}_{functional}"
    short, unit, sentence = _FUNCTIONALS[functional]
    rate = f"{descriptor.unit}/s" if descriptor.unit else "1/s"
    return Factor(
        name=name,
        display_name=f"{descriptor.display_name} {short}",
        unit=unit.format(unit=descriptor.unit, rate=rate),
        factor_group=factor_group(name),
        paper_group=paper_group(name),
        description=sentence.format(what=descriptor.description) + ".",
    )


FACTORS: tuple[Factor, ...] = (
    *(_factor(descriptor, functional) for descriptor in _DESCRIPTORS for functional in descriptor.functionals),
    *(
        Factor(name, display, unit, factor_group(name), paper_group(name), text + ".")
        for name, display, unit, text in _SINGLE
    ),
)
"""The 88 functionals in openSMILE's order."""

FACTOR_NAMES: tuple[str, ...] = tuple(factor.name for factor in FACTORS)
