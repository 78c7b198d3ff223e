"""Where a script looks for the lines: its arguments, and the log store that they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from indextts_app.settings import Settings
from observability.log_store.questions import LogStore
from observability.log_store.sources import SOURCES, open_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--source`, `--log-dir` and `--loki-url`, the same for every script that asks the log."""
    parser.add_argument("--source", choices=SOURCES, default="files", help="where the lines are")
    parser.add_argument(
        "--log-dir",
        type=Path,
        action="append",
        help="log folder of a service, or a folder of such; may be repeated (INDEXTTS_LOG_DIR and "
        "INDEXTTS_OTHER_LOG_DIRS)",
    )
    parser.add_argument("--loki-url", help="with --source loki (INDEXTTS_LOKI_URL)")


def add_instance(parser: argparse.ArgumentParser) -> None:
    """`--instance`, for the questions about many requests."""
    parser.add_argument(
        "--instance", action="append", default=[], help="of several services this one; repeatable"
    )


def folders(asked: argparse.Namespace, known: Settings) -> tuple[Path, ...]:
    """The log folders that are meant, as they were named."""
    return tuple(asked.log_dir or known.all_log_dirs)


def opened(asked: argparse.Namespace, known: Settings) -> LogStore:
    """
    The store that is meant.

    Raises:
        Unanswerable: there is no such folder.
    """
    loki_url = asked.loki_url or known.loki_url
    return open_store(asked.source, *folders(asked, known), loki_url=loki_url)
