"""Numbers as people read them, the same in both languages."""

from __future__ import annotations

NONE = "–"


def count(value: float | None) -> str:
    """A whole number with its thousands set apart."""
    return NONE if value is None else f"{value:,.0f}"


def amount(value: float | None, digits: int = 2) -> str:
    """A number that is no count; small ones keep two figures that say something."""
    if value is None:
        return NONE
    if value and abs(value) < 0.1:
        return f"{value:.2g}" if abs(value) >= 0.0001 else f"{value:.0e}"
    return f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """
    A share in percent: one decimal, and as many as it takes for what is nearly all or nothing.

    Rounding never makes 100 % of less, or 0 % of more.
    """
    if share is None:
        return NONE
    value = 100 * share
    for digits in (1, 2, 3):
        shown = f"{value:,.{digits}f}%"
        if float(shown[:-1].replace(",", "")) not in (0.0, 100.0) or value in (0, 100):
            break
    return shown.replace(".0%", "%") if value in (0, 100) else shown


def change(share: float | None) -> str:
    """A change in percent with its sign."""
    return NONE if share is None else f"{'+' if share >= 0 else '−'}{percent(abs(share))}"


def milliseconds(value: float | None) -> str:
    """A time in the unit that it is best read in."""
    if value is None:
        return NONE
    if value >= 1_000:
        return f"{value / 1000:,.2f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def hours(seconds: float | None) -> str:
    """A length of audio in the unit that it is best read in."""
    if seconds is None:
        return NONE
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
