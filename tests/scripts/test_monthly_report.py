"""The monthly report as a command: files in a folder, or one on standard output, or why not."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "monthly_report.py"

REQUEST = {
    "level": "info",
    "request_id": "01M7YJ8X96ATWKAAWANAS2Z1XK",
    "engine": "espeak",
    "speaker": "小明",
    "emotion": "neutral",
    "version": "0.1.0",
}
LINES = (
    {"timestamp": "2026-10-04T08:00:00.000000Z", "event": "synthesis.started", **REQUEST},
    {
        "timestamp": "2026-10-04T08:00:01.000000Z",
        "event": "synthesis.finished",
        **REQUEST,
        "status": "success",
        "audio_verdict": "ok",
        "duration_ms": 1000.0,
        "audio_seconds": 3.5,
        "text_len": 12,
        "gpu_seconds": 36.0,
    },
)

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal in English, in a folder without settings, with a log."""
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.setenv("INDEXTTS_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    lines = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in LINES)
    (tmp_path / "logs" / "indextts-2026-10-04.jsonl").write_text(lines, "utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module, so that not every test has to wait for a new Python."""
    spec = importlib.util.spec_from_file_location("monthly_report_script", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Ask:
    """Exit status, stdout and stderr of the script with these arguments."""

    def ask(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        try:
            status = script.main()
        except SystemExit as ended:
            status = int(str(ended.code))
        printed = capsysbinary.readouterr()
        return status, printed.out.decode(), printed.err.decode()

    return ask


def test_all_formats_go_to_a_folder(ask: Ask, tmp_path: Path) -> None:
    """One page in the language asked for, one JSON, a CSV a table; their paths are printed."""
    status, printed, _ = ask("2026-10", "--format", "all", "--output", "made", "--language", "zh")
    assert status == 0
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert names >= {
        "indextts-2026-10.zh.html",
        "indextts-2026-10.json",
        "indextts-2026-10-speakers.csv",
    }
    assert len(names) == 13
    assert {Path(line).name for line in printed.splitlines()} == names
    assert "小明" in (tmp_path / "made" / "indextts-2026-10.zh.html").read_text("utf-8")


def test_json_goes_to_standard_output(ask: Ask) -> None:
    """One document and nothing else, Chinese as it is."""
    status, document, _ = ask("2026-10", "--format", "json", "--output", "-")
    known = json.loads(document)
    assert (status, known["month"], known["requests"]) == (0, "2026-10", 1)
    assert known["reconciliation"]["started"] == 1
    assert "小明" in document


def test_price_and_target_come_from_arguments_or_settings(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument counts before the setting."""
    monkeypatch.setenv("INDEXTTS_GPU_HOUR_PRICE", "10")
    monkeypatch.setenv("INDEXTTS_CURRENCY", "USD")
    monkeypatch.setenv("INDEXTTS_SLO_PERCENT", "99.9")
    arguments = ("2026-10", "--format", "json", "--output", "-")
    known = json.loads(ask(*arguments)[1])
    assert (known["cost"]["total"], known["cost"]["currency"]) == (0.1, "USD")
    assert known["slo"]["target"] == 0.999
    known = json.loads(ask(*arguments, "--gpu-hour-price", "20", "--slo-percent", "95")[1])
    assert (known["cost"]["total"], known["slo"]["target"]) == (0.2, 0.95)


def test_one_table_goes_to_standard_output(ask: Ask) -> None:
    """CSV is one table at a time there."""
    status, table, _ = ask("2026-10", "--format", "csv", "--table", "speakers", "--output", "-")
    assert status == 0
    assert table.splitlines()[1].startswith("小明,1,1.0,")


def test_an_empty_month_is_said_and_made(ask: Ask, tmp_path: Path) -> None:
    """The report says it at its top, the terminal as well."""
    status, _, said = ask("2026-08", "--output", "made")
    assert status == 0
    assert "No request finished in 2026-08" in said
    assert "No request finished in 2026-08" in (
        tmp_path / "made" / "indextts-2026-08.en.html"
    ).read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("2026-13",), "is no month"),
        (("2026-10", "--format", "csv", "--output", "-"), "--table"),
        (("2026-10", "--format", "all", "--output", "-"), "Name a folder"),
        (("2026-10", "--slo-percent", "100"), "such as 99.5"),
        (("2026-10", "--gpu-hour-price", "-1"), "0 or more"),
        (("2026-10", "--gpu-hour-price", "cheap"), "a price is a number"),
        (("2026-10", "--output", "logs/indextts-2026-10-04.jsonl"), "Cannot write"),
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
    """Exit status 1, in the language of the terminal, and no report that looks empty."""
    status, printed, said = ask(
        "2026-10", "--source", "loki", "--loki-url", "http://127.0.0.1:9", "--language", "zh"
    )
    assert (status, printed) == (1, "")
    assert "Loki" in said
    assert "Traceback" not in said
