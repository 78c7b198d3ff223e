"""What PromQL names: the metrics, and the series that each mention chooses."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool",
    "offset", "inf", "nan",
}  # fmt: skip
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_MENTION = re.compile(r"(?<![\w:])([a-zA-Z_:][\w:]*)(\s*\{[^}]*\})?(?!\s*\(|[\w:])")


def mentions(expr: str) -> Iterator[tuple[str, str]]:
    """Each metric that an expression names, with the matchers in braces behind it, or nothing."""
    kept: list[str] = []

    def hide(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f'"{len(kept) - 1}"'

    bare = _CLAUSE.sub(" ", re.sub(r"\[[^]]*\]", " ", _TEXT.sub(hide, expr)))
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    for name, matchers in _MENTION.findall(bare):
        if name.lower() not in _WORDS:
            yield name, re.sub(r'"(\d+)"', lambda at: kept[int(at[1])], matchers).strip()


def metrics(expr: str) -> set[str]:
    """The names of the metrics in an expression."""
    return {name for name, _ in mentions(expr)}
