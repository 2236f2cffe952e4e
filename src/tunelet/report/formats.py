"""Numbers as a reader wants them: percent, bytes, seconds, intervals. Not here: where the numbers come from.

Example:
    >>> percent(0.93), binary(1_572_864), duration(192.4), compact(1_344_006)
    ('93.00', '1.5 MiB', '3 min 12 s', '1.34 M')
"""

from __future__ import annotations

from tunelet.report.groups import Estimate

#: What stands where nothing was measured.
NONE = "–"


def percent(value: float | None, digits: int = 2) -> str:
    """A share as a percentage without the sign."""
    return NONE if value is None else f"{100 * value:.{digits}f}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain number."""
    return NONE if value is None else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """A whole number with separators."""
    return NONE if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """A large number in three digits."""
    if value is None:
        return NONE
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " K")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def binary(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return NONE
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            digits = 0 if value >= 100 * size else 2 if unit == "GiB" and value < 10 * size else 1
            return f"{value / size:.{digits}f} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds in words: "48 s", "3 min 12 s", "2 h 05 min"."""
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def p_value(p: float) -> str:
    """A p-value in three decimals, or the bound below them."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def spread(estimate: Estimate | None, *, percentage: bool = True, digits: int = 2) -> str:
    """A mean with its interval: "93.1 ± 0.4" over seeds, "93.1 [91.9, 94.1]" for one seed, or the mean alone."""
    if estimate is None:
        return NONE
    scale = 100.0 if percentage else 1.0
    mean = f"{scale * estimate.mean:.{digits}f}"
    if estimate.interval is None:
        return mean
    if estimate.interval.method == "t":
        return f"{mean} ± {scale * (estimate.interval.high - estimate.interval.low) / 2:.{digits}f}"
    return f"{mean} [{scale * estimate.interval.low:.1f}, {scale * estimate.interval.high:.1f}]"


def learning_rate(value: float | None) -> str:
    """A learning rate without trailing zeros: "3e-4"."""
    if value is None:
        return NONE
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
