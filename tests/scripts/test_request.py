"""Promises of scripts/request.py: the story of an id or a file, or one sentence why not."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ulid import ULID

from indextts_app import audio, story
from indextts_app.synthesis import AudioFormat

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "request.py"

MOMENT = datetime.now(UTC) - timedelta(hours=1)
ID = str(ULID.from_datetime(MOMENT))

STARTED = {
    "timestamp": MOMENT.isoformat(timespec="microseconds"),
    "level": "info",
    "event": "synthesis.started",
    "request_id": ID,
    "engine": "drill",
    "speaker": "error",
    "format": "wav",
    "text_len": 5,
}
FINISHED = {
    **STARTED,
    "level": "error",
    "event": "synthesis.finished",
    "status": "failed",
    "error_type": "engine_error",
    "duration_ms": 12.5,
    "queue_ms": 0.5,
    "stage_acoustic_ms": 8.0,
    "stage_other_ms": 4.0,
}
TRACE = {
    **{name: STARTED[name] for name in ("timestamp", "request_id")},
    "level": "error",
    "event": "worker.error",
    "traceback": "Traceback:\n  in synthesize\nRuntimeError: drill",
}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A terminal in English, in a folder without settings."""
    for name in ("LC_ALL", "LC_MESSAGES", "INDEXTTS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A log folder with one failed request."""
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = "".join(f"{json.dumps(line)}\n" for line in (STARTED, TRACE, FINISHED))
    (folder / f"indextts-{MOMENT.date()}.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module, so that not every test has to wait for a new Python."""
    spec = importlib.util.spec_from_file_location("request_script", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ask:
    """Exit status, stdout and stderr of the script with these arguments."""

    def ask(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        status = script.main()
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return ask


def test_an_id_is_told(ask: Ask, logs: Path) -> None:
    """Status, meaning, every part and what to do stand on one page."""
    status, page, complaint = ask(ID, "--log-dir", logs)
    assert (status, complaint) == (0, "")
    assert page.startswith(f"{ID}  failed\n{story.STATUS['failed'].en}\n")
    for head in ("Asked", "Time", "Outcome", "What to do", "Lines"):
        assert f"\n{head}\n" in page
    assert story.ADVICE["engine_error"].en in page
    assert "RuntimeError: drill" in page
    assert "acoustic                 8.000 ms  █" in page
    assert "\nTo ask again\n  curl http://127.0.0.1:7860/tts -F text=THE_TEXT" in page


def test_it_speaks_chinese(ask: Ask, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Chinese terminal, whether or not that locale is installed, or where asked to."""
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    by_terminal = ask(ID, "--log-dir", logs)
    monkeypatch.setenv("LANG", "C")
    assert ask(ID, "--log-dir", logs, "--language", "zh") == by_terminal
    assert story.STATUS["failed"].zh in by_terminal[1]
    assert story.ADVICE["engine_error"].zh in by_terminal[1]
    assert "\n建议\n" in by_terminal[1]
    assert "\n重新合成\n" in by_terminal[1]


def test_a_typed_id_is_forgiven(ask: Ask, logs: Path) -> None:
    """Lower case, the usual misreadings and the tag's own form lead to the same story."""
    expected = ask(ID, "--log-dir", logs)
    typed = ID.lower().replace("0", "o").replace("1", "l")
    for form in (typed, f" request_id={ID} "):
        assert ask(form, "--log-dir", logs) == expected


@pytest.mark.parametrize("kind", [kind for kind in AudioFormat if kind is not AudioFormat.PCM])
def test_an_audio_file_is_enough(kind: AudioFormat, ask: Ask, logs: Path, tmp_path: Path) -> None:
    """A file alone, whatever it is called now, leads to the request that made it."""
    path = tmp_path / "complaint.dat"
    path.write_bytes(audio.encoded(np.zeros(4_410, np.int16), 22_050, kind, ID))
    assert ask(path, "--log-dir", logs) == ask(ID, "--log-dir", logs)


def test_several_log_folders_are_searched(ask: Ask, logs: Path, tmp_path: Path) -> None:
    """Each named, or all in one; a request is running only while its own service runs."""
    other = tmp_path / "all" / "other"
    other.mkdir(parents=True)
    began = MOMENT + timedelta(seconds=1)
    asked = str(ULID.from_datetime(began))
    line = {**STARTED, "timestamp": began.isoformat(timespec="microseconds"), "request_id": asked}
    (other / f"indextts-{began.date()}.jsonl").write_text(
        json.dumps({**line, "instance": "tts-b:7860"}) + "\n"
    )
    for folders in (("--log-dir", str(logs), "--log-dir", str(other)), ("--log-dir", "all")):
        status, told, _ = ask(asked, *folders)
        assert (status, "tts-b:7860" in told) == (0, True)
        assert story.STATUS["lost"].en in told
    with (logs / ".lock").open("w") as first, (other / ".lock").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        both = ("--log-dir", str(logs), "--log-dir", str(other))
        assert story.STATUS["lost"].en in ask(asked, *both)[1]
        fcntl.flock(second, fcntl.LOCK_EX)
        assert story.STATUS["running"].en in ask(asked, *both)[1]
    (logs / "2").mkdir()
    (other / f"indextts-{began.date()}.jsonl").rename(logs / "2" / f"indextts-{began.date()}.jsonl")
    with (logs / ".lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert story.STATUS["lost"].en in ask(asked, "--log-dir", str(logs))[1]


def test_the_story_is_for_programs_too(ask: Ask, logs: Path) -> None:
    """--json is one JSON document with the same content."""
    status, document, _ = ask(ID, "--log-dir", logs, "--json")
    told = json.loads(document)
    assert (status, told["request_id"], told["status"]) == (0, ID, "failed")
    assert told["advice"][0]["zh"] == story.ADVICE["engine_error"].zh
    assert "报错" in document


def without_a_story(folder: Path) -> dict[str, tuple[str, int, str, str]]:
    """What is asked, the exit status, and a part of the sentence in each language."""
    silent = folder / "music.wav"
    silent.write_bytes(audio.encoded(np.zeros(4_410, np.int16), 22_050, AudioFormat.WAV, "none"))
    text = folder / "notes.txt"
    text.write_text("no audio")
    days = timedelta(days=400)
    return {
        "unknown": (str(ULID.from_datetime(MOMENT)), 1, "No line has this id", "没有该编号的记录"),
        "too old": (str(ULID.from_datetime(MOMENT - days)), 1, "the archive", "请查归档"),
        "of the future": (str(ULID.from_datetime(MOMENT + days)), 1, "in the future", "在未来"),
        "too short": ("01K8", 2, "has 4", "有 4 个"),
        "no letter of ids": (f"{ID[:-1]}!", 2, 'never holds "!"', "不会出现“!”"),
        "no file has such a name": ("x" * 5_000, 2, "has 5000", "有 5000 个"),
        "not made here": (str(silent), 1, "no request_id in its tags", "没有请求编号"),
        "no audio": (str(text), 1, "no request_id in its tags", "没有请求编号"),
        "absent file": (str(folder / "absent.wav"), 1, "There is no file", "没有文件"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "unknown",
        "too old",
        "of the future",
        "too short",
        "no letter of ids",
        "no file has such a name",
        "not made here",
        "no audio",
        "absent file",
    ],
)
def test_without_a_story_there_is_a_sentence(
    case: str, ask: Ask, logs: Path, tmp_path: Path
) -> None:
    """Each reason has a sentence and an exit status of its own, in both languages."""
    asked, status, en, zh = without_a_story(tmp_path)[case]
    for language, part in (("en", en), ("zh", zh)):
        result = ask(asked, "--log-dir", logs, "--language", language)
        assert result[:2] == (status, "")
        assert part in result[2]
        assert len(result[2].splitlines()) == 1


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_folder_is_told(ask: Ask, tmp_path: Path, there: bool) -> None:
    """The operator who looks in the wrong place reads which place it was."""
    if there:
        (tmp_path / "elsewhere").mkdir()
    status, _, complaint = ask(ID, "--log-dir", tmp_path / "elsewhere")
    assert status == 1
    assert str(tmp_path / "elsewhere") in complaint


def test_a_wrong_setting_is_told(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log folder comes from the settings, a mistyped one is a sentence."""
    monkeypatch.setenv("INDEXTTS_LOGDIR", str(tmp_path))
    status, _, complaint = ask(ID)
    assert status == 2
    assert "INDEXTTS_LOGDIR" in complaint


def test_it_runs_from_anywhere(logs: Path) -> None:
    """As a command, in another folder, with the log folder from the settings."""
    done = subprocess.run(
        [sys.executable, SCRIPT, ID],
        cwd=logs,
        env={"INDEXTTS_LOG_DIR": str(logs), "LANG": "zh_CN.UTF-8"},
        capture_output=True,
        check=True,
    )
    assert story.STATUS["failed"].zh in done.stdout.decode()
