"""A script run in the test's own process: quicker than a Python of its own for each question."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest


class Asker:
    """Calls a script's `main` as a command line would."""

    def __init__(
        self,
        main: Callable[[], int],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._main, self._monkeypatch, self._capsys = main, monkeypatch, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        self._monkeypatch.setattr(sys, "argv", ["script", *arguments])
        try:
            status = self._main()
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *self._capsys.readouterr()
