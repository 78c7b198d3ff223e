"""Names that people give, and the plain ids that are made of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from indextts_app import errors

MAX_NAME_CHARS = 60
MAX_DESCRIPTION_CHARS = 500
MAX_ID_CHARS = 40

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def cleaned(name: object) -> str:
    """
    A name to show: one line of at most `MAX_NAME_CHARS` characters.

    Raises:
        errors.InvalidField: it is none.
    """
    shown = unicodedata.normalize("NFC", name).strip() if isinstance(name, str) else ""
    if not 1 <= len(shown) <= MAX_NAME_CHARS or not shown.isprintable():
        raise errors.InvalidField(
            field="name",
            reason=f"it must be one line of 1 to {MAX_NAME_CHARS} characters.",
            reason_zh=f"应为一行 1 到 {MAX_NAME_CHARS} 个字。",
        )
    return shown


def described(description: object) -> str:
    """
    A description to show, or nothing.

    Raises:
        errors.InvalidField: it is longer than `MAX_DESCRIPTION_CHARS`, or no text.
    """
    if description is None:
        return ""
    shown = description.strip() if isinstance(description, str) else "\0"
    lines = shown.splitlines()
    if len(shown) > MAX_DESCRIPTION_CHARS or not all(line.isprintable() for line in lines):
        raise errors.InvalidField(
            field="description",
            reason=f"it must be text of at most {MAX_DESCRIPTION_CHARS} characters.",
            reason_zh=f"应为至多 {MAX_DESCRIPTION_CHARS} 个字的文本。",
        )
    return "\n".join(lines)


def is_same(name: str, other: str) -> bool:
    """Whether people would take two names for one."""
    return name.casefold() == other.casefold()


def new_id(name: str, otherwise: str, taken: Collection[str]) -> str:
    """
    An id of lower-case Latin letters, digits and hyphens, because it stands in labels and logs.

    It is made of the name where that has Latin letters or digits only, else `otherwise` is it; a
    number at its end keeps it apart from those that are taken.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    has_more = any(
        unicodedata.category(character)[0] == "L" and not character.isascii()
        for character in unicodedata.normalize("NFKD", name)
    )
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:MAX_ID_CHARS].strip("-")
    slug = otherwise if has_more or not slug else slug
    found, number = slug, 1
    while found in taken:
        number += 1
        found = f"{slug}-{number}"
    return found


def is_id(text: str) -> bool:
    """Whether a text can be an id that was made here, and so the name of a file."""
    return len(text) <= MAX_ID_CHARS + 10 and _ID.fullmatch(text) is not None
