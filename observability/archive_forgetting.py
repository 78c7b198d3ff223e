"""
Which lines are to be forgotten: those of some requests, and those of a user.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from observability.log_store import parquet

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ID = re.compile(rb'"request_id": ?"([0-9A-Z]{26})"')


@dataclass(frozen=True)
class Wanted:
    """
    Requests by their ids, and whatever a line says to be of a user.

    Lines are matched as text, so that a torn line with the name in it goes as well.
    """

    request_ids: frozenset[str]
    user: str | None = None

    @cached_property
    def _user(self) -> re.Pattern[bytes] | None:
        if self.user is None:
            return None
        spellings = {json.dumps(self.user, ensure_ascii=escaped) for escaped in (True, False)}
        names = b"|".join(re.escape(each.encode()) for each in sorted(spellings))
        return re.compile(rb'"user": ?(?:' + names + rb")")

    def ids_in(self, block: bytes) -> set[str]:
        """The wanted requests that a block of lines names, the user's own among them."""
        found = {one.decode() for one in _ID.findall(block)} & self.request_ids
        if self._user is not None:
            for line in _lines_around(block, self._user):
                found |= {one.decode() for one in _ID.findall(line)}
        return found

    def ids_in_copy(self, connection: DuckDBPyConnection, path: Path) -> set[str]:
        """The wanted requests that a Parquet copy holds."""
        found = set(parquet.ids_among(connection, self.request_ids, path))
        if self.user is not None:
            found |= parquet.ids_of_user(connection, self.user, path)
        return found

    def count(self, blocks: Iterable[bytes]) -> int:
        """How many lines are to go."""
        return sum(
            self._is_wanted(line) for block in blocks for line in block.splitlines(keepends=True)
        )

    def rest_of(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks without the lines that are to go."""
        for block in blocks:
            lines = block.splitlines(keepends=True)
            if rest := b"".join(line for line in lines if not self._is_wanted(line)):
                yield rest

    def _is_wanted(self, line: bytes) -> bool:
        match = _ID.search(line)
        if match is not None and match[1].decode() in self.request_ids:
            return True
        return self._user is not None and self._user.search(line) is not None


def _lines_around(block: bytes, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
    position = 0
    while match := pattern.search(block, position):
        begin = block.rfind(b"\n", 0, match.start()) + 1
        end = block.find(b"\n", match.end())
        end = len(block) if end == -1 else end
        yield block[begin:end]
        position = end
