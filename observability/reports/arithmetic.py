"""Shares and means that are None where there is nothing to divide by."""

from __future__ import annotations


def share(part: float, whole: float) -> float | None:
    """A share with six digits; None of nothing."""
    return round(part / whole, 6) if whole else None


def part_of(part: float, whole: float) -> float:
    """A share with six digits; 0 of nothing."""
    return share(part, whole) or 0.0


def ratio(part: float | None, whole: float, digits: int) -> float | None:
    """One number for each of another; None where either is not known or there is no other."""
    return round(part / whole, digits) if part is not None and whole else None


def rounded(value: float | None, digits: int) -> float | None:
    """The number with so many digits; None stays."""
    return None if value is None else round(value, digits)
