"""Names and values in one string field: `do_sample=false top_k=5`."""

from __future__ import annotations

from collections.abc import Mapping

from observability.events import Scalar


def line(pairs: Mapping[str, Scalar]) -> str:
    """The pairs in their order; switches as `true` or `false`, other numbers with six digits."""
    return " ".join(f"{name}={_plain(value)}" for name, value in pairs.items())


def pairs(line: str) -> dict[str, str]:
    """What `line` wrote, each value as text; a value with a space in it is not for this."""
    found = (pair.partition("=") for pair in line.split())
    return {name: value for name, _, value in found}


def _plain(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
