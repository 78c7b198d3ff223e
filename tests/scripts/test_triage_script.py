"""Triage in the terminal: tables for people, JSON for programs, a sentence for what is wrong."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ulid import ULID

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "triage.py"

MOMENT = datetime.now(UTC) - timedelta(minutes=3)
ID = str(ULID.from_datetime(MOMENT))
LINE = {
    "timestamp": f"{MOMENT.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
    "level": "error",
    "event": "synthesis.finished",
    "request_id": ID,
    "status": "failed",
    "error_type": "out_of_memory",
    "error_stage": "acoustic",
    "speaker": "[bold]zhiyan",
    "duration_ms": 1234.5,
}

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wide terminal in English, in a folder without settings, with one failure in its log."""
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("INDEXTTS_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"indextts-{MOMENT.date()}.jsonl").write_text(f"{json.dumps(LINE)}\n")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module, so that not every test has to wait for a new Python."""
    spec = importlib.util.spec_from_file_location("triage_script", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ask:
    """Exit status, stdout and stderr of the script with these arguments."""

    def ask(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        try:
            status = script.main()
        except SystemExit as ended:
            status = int(str(ended.code))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return ask


def test_failures_are_shown(ask: Ask) -> None:
    """What, where, which ids, and the LogQL; names are text and no commands of the terminal."""
    status, page, said = ask("--since", "1h")
    assert (status, said) == (0, "")
    for part in (ID, "out_of_memory", "acoustic", "1 requests, 1 failed (100.0%)", "100.0%"):
        assert part in page
    assert "[bold]zhiyan" in page
    assert '{app="indextts"}' in page
    assert "sum by (error_type, error_stage)" in page


def test_it_speaks_chinese(ask: Ask) -> None:
    """Where the terminal does, or where asked to."""
    _, page, _ = ask("--language", "zh", "--by", "speaker")
    assert "1 次请求，1 次失败" in page
    assert "最近的失败" in page


def test_nothing_failed_is_an_answer(ask: Ask, tmp_path: Path) -> None:
    """Exit status 0, and it is said."""
    now = datetime.now(UTC)
    well = {
        "timestamp": f"{now.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
        "event": "synthesis.finished",
        "request_id": str(ULID.from_datetime(now)),
        "status": "success",
    }
    with (tmp_path / "logs" / f"indextts-{now.date()}.jsonl").open("a") as file:
        file.write(f"{json.dumps(well)}\n")
    status, page, _ = ask("--since", "60s")
    assert status == 0
    assert "Nothing failed." in page


def test_nobody_asked_is_another(ask: Ask) -> None:
    """A time without requests is not praised for having no failures."""
    status, page, _ = ask("--since", "60s")
    assert (status, "No request finished in this time." in page) == (0, True)
    assert "这段时间没有请求结束。" in ask("--since", "60s", "--language", "zh")[1]
    assert "Nothing failed" not in page


def test_none_of_a_kind_is_not_none_at_all(ask: Ask) -> None:
    """Where only lost requests were asked for, that others failed is not denied."""
    status, page, _ = ask("--status", "lost")
    assert (status, "None of these requests." in page) == (0, True)
    assert "Nothing failed" not in page


def test_a_missing_folder_is_not_an_empty_one(ask: Ask) -> None:
    """A mistyped folder is exit status 1 and named, in both languages."""
    status, printed, said = ask("--log-dir", "nowhere")
    assert (status, printed) == (1, "")
    assert said.startswith("There is no log folder nowhere.")
    assert ask("--log-dir", "nowhere", "--language", "zh")[2].startswith("没有日志目录 nowhere")


def test_programs_get_json(ask: Ask) -> None:
    """One document with groups, lines and query."""
    status, document, _ = ask("--json", "--by", "error_type,stage,speaker")
    known = json.loads(document)
    assert (status, known["failed"]) == (0, 1)
    assert known["by"] == ["error_type", "error_stage", "speaker"]
    assert known["latest"][0]["request_id"] == ID


def test_following_prints_what_comes(
    ask: Ask, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each failure as one JSON line, once; Ctrl-C is a good end."""
    looks = 0

    def new_failure(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt
        if looks == 1:
            now = datetime.now(UTC)
            shown = f"{now.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
            line: dict[str, Any] = {**LINE, "timestamp": shown}
            line["request_id"] = str(ULID.from_datetime(now))
            with (tmp_path / "logs" / f"indextts-{now.date()}.jsonl").open("a") as file:
                file.write(f"{json.dumps(line)}\n")

    monkeypatch.setattr(script.time, "sleep", new_failure)
    status, printed, _ = ask("--follow", "--json")
    (line,) = printed.splitlines()
    assert (status, json.loads(line)["error_type"]) == (0, "out_of_memory")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--since", "yesterday"), "30m, 6h, 2d"),
        (("--since", "1h", "--until", "2h"), "no time before the end"),
        (("--since", "999999w"), "30m, 6h, 2d"),
        (("--since", "700000d"), "30m, 6h, 2d"),
        (("--by", "duration_ms"), "Choose from"),
        (("--status", "broken"), "invalid choice"),
        (("--limit", "0"), "from 1 to 1000"),
        (("--limit", "ten"), "a whole number from 1 to 1000"),
        (("--every", "-1"), "seconds from 0.1 to 3600"),
        (("--every", "nan"), "seconds from 0.1 to 3600"),
        (("--since", "0001-01-01T00:00+14:00"), "30m, 6h, 2d"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    arguments: tuple[str, ...], part: str, ask: Ask
) -> None:
    """Exit status 2, and what would do."""
    status, printed, said = ask(*arguments)
    assert (status, printed) == (2, "")
    assert part in said
    assert "Traceback" not in said


def test_a_loki_that_is_away_is_a_sentence(ask: Ask) -> None:
    """Exit status 1, and not an empty table."""
    status, printed, said = ask("--source", "loki", "--loki-url", "http://127.0.0.1:9")
    assert (status, printed) == (1, "")
    assert "Loki" in said
