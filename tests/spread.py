"""How the tests are spread over two processes (`-n 2`, by pytest-xdist)."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

DEAR = (
    ("tests/loki/",),
    ("tests/indextts_app/cluster/", "tests/indextts_app/test_pools.py"),
)
"""Whose session fixtures are dear, a Loki or a Ray cluster: all files of one go to one process."""

FIRST = (
    "tests/alerting/",
    "tests/indextts_app/cluster/",
    "tests/indextts_app/test_pools.py",
    "tests/scripts/test_reliability.py",
    "tests/scripts/test_drill_shipping.py",
    "tests/loki/",
    "tests/prometheus/",
    "tests/browser/",
)
"""What takes longest, so that neither process is left with it when the other has finished."""


def in_order(items: list[pytest.Item]) -> None:
    """Sort them: what takes longest first, the others as they were."""

    def place(item: pytest.Item) -> int:
        found = [at for at, path in enumerate(FIRST) if item.nodeid.startswith(path)]
        return found[0] if found else len(FIRST)

    items.sort(key=place)


class Spread(LoadScopeScheduling):
    """A file after the other goes to whoever is free; its fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((group[0] for group in DEAR if path.startswith(group)), path)
