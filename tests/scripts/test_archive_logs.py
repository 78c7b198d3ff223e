"""Promises of scripts/archive_logs.py."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from observability.generated_logs import Month, generate

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "archive_logs.py"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module, so that not every test has to wait for a new Python."""
    spec = importlib.util.spec_from_file_location("archive_logs_script", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A log folder with two closed days."""
    folder = tmp_path / "logs"
    generate(Month(2026, 2, 60), folder)
    for path in folder.iterdir():
        if path.name > "indextts-2026-02-02.jsonl":
            path.unlink()
    return folder


@pytest.fixture
def run(
    script: ModuleType,
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run it over the folder, in English; its exit status and what it printed."""
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.setenv("INDEXTTS_LOG_DIR", str(logs))
    monkeypatch.chdir(logs.parent)

    def ran(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["archive_logs.py", *arguments])
        status = script.main()
        said = capsys.readouterr()
        return status, said.out, said.err

    return ran


def lines_today(logs: Path) -> list[dict[str, object]]:
    (today,) = (path for path in logs.glob("*.jsonl") if path.name > "indextts-2026-03")
    return [json.loads(line) for line in today.read_text("utf-8").splitlines()]


def test_closed_days_are_put_away_and_that_is_logged(run: Run, logs: Path) -> None:
    """The service's own log says what was done; a second run has nothing to do."""
    status, said, _ = run()
    assert status == 0
    days = "2026-02-01 to 2026-02-02"
    assert said == f"archived: {days}\ncopied to Parquet: {days}\n"
    logged = [(line["event"], line["day"]) for line in lines_today(logs)]
    assert logged == [
        (event, f"2026-02-0{day}") for day in (1, 2) for event in ("log.archived", "log.copied")
    ]
    assert run() == (0, "", "")


def test_the_copy_is_made_anew_on_demand(run: Run, logs: Path) -> None:
    """For every day."""
    run()
    assert run("--rebuild-parquet") == (0, "copied to Parquet: 2026-02-01 to 2026-02-02\n", "")


def test_a_request_and_a_user_are_forgotten(run: Run, logs: Path) -> None:
    """Told by numbers, logged by numbers; what was forgotten is not repeated."""
    run()
    lines = [
        json.loads(line) for line in (logs / "indextts-2026-02-01.jsonl").read_text().splitlines()
    ]
    finished = [line for line in lines if line["event"] == "synthesis.finished"]
    request_id, user = finished[0]["request_id"], finished[-1]["user"]
    status, said, _ = run("--forget-request", request_id.lower())
    assert (status, said) == (0, "Removed lines: 2 (requests: 1, days: 1).\n")
    status, said, _ = run("--forget-user", user)
    assert status == 0
    assert said.startswith("Removed ")
    kept = b"".join(path.read_bytes() for path in logs.glob("*.jsonl")).decode()
    assert request_id not in kept
    assert f'"user": "{user}"' not in kept
    forgotten = [line for line in lines_today(logs) if line["event"] == "log.forgotten"]
    assert [line["by"] for line in forgotten] == ["request", "user"]
    assert run()[1] == ""


def test_what_an_open_day_holds_is_told(run: Run, logs: Path) -> None:
    """In the reader's language, with exit status 1."""
    run()
    (today,) = (path for path in logs.glob("*.jsonl") if path.name > "indextts-2026-03")
    with today.open("a") as file:
        file.write('{"event": "synthesis.started", "user": "somebody"}\n')
    status, said, _ = run("--forget-user", "somebody", "--language", "zh")
    assert status == 1
    assert "其中 1 行未删除" in said
    assert "run this again when that day is over" in run("--forget-user", "somebody")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--forget-request", "no id"), 'A request id has 26 characters, but "no id" has 5.'),
        (("--forget-request", ""), "A request id has 26 characters, and none were given."),
        (("--forget-user", " "), "--forget-user needs a name."),
        (("--log-dir", "nowhere"), "There is no log folder nowhere."),
    ],
)
def test_what_cannot_be_asked_is_refused(
    run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    """In one sentence, with exit status 2."""
    assert run(*arguments) == (2, "", f"{sentence}\n")


def test_a_folder_that_cannot_be_used_is_told(run: Run, tmp_path: Path) -> None:
    """In a sentence with its name: here a file stands where the archives belong."""
    (tmp_path / "archive").touch()
    status, _, told = run("--log-dir", str(tmp_path))
    assert (status, "archive cannot be used (File exists)" in told) == (1, True)


def test_a_storage_that_is_away_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The days are put away here; nothing is dropped, and the exit status says so."""
    monkeypatch.setenv("INDEXTTS_ARCHIVE_BUCKET", "logs")
    monkeypatch.setenv("INDEXTTS_ARCHIVE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("INDEXTTS_ARCHIVE_ACCESS_KEY", "key")
    monkeypatch.setenv("INDEXTTS_ARCHIVE_SECRET_KEY", "a-secret")
    monkeypatch.setenv("INDEXTTS_ARCHIVE_REGION", "us-east-1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    status, said, complained = run()
    assert status == 1
    assert said.startswith("archived: 2026-02-01 to 2026-02-02\n")
    assert "The object storage at http://127.0.0.1:9, bucket logs, failed" in complained
    assert "a-secret" not in said + complained


class Shelf:
    """A bucket in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, path: Path, name: str) -> None:
        """Keep it."""
        self.held[name] = path.read_bytes()

    def holds(self, path: Path, name: str) -> bool:
        """Whether it is kept."""
        return self.held.get(name) == path.read_bytes()

    def get(self, name: str, path: Path) -> bool:
        """Give it back."""
        if name in self.held:
            path.write_bytes(self.held[name])
        return name in self.held

    def delete(self, name: str) -> None:
        """Forget it."""
        del self.held[name]

    def names(self) -> list[str]:
        """All of them."""
        return list(self.held)


@pytest.fixture
def shelf(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The bucket that the settings name."""
    found = Shelf()
    monkeypatch.setenv("INDEXTTS_ARCHIVE_BUCKET", "logs")
    monkeypatch.setenv("INDEXTTS_ARCHIVE_KEEP_DAYS", "36500")
    monkeypatch.setenv("INDEXTTS_INSTANCE", "tts-a")
    monkeypatch.setattr(script, "archive_bucket", lambda _settings: found)
    return found


def test_a_place_that_is_taken_is_told_and_nothing_is_dropped(
    run: Run, logs: Path, shelf: Shelf
) -> None:
    """The days are put away here all the same, and the alert on failed archives hears of it."""
    shelf.held["tts-a/.owner"] = b"another tts-a/"
    status, said, complained = run()
    assert status == 1
    assert "copied to Parquet: 2026-02-01 to 2026-02-02" in said
    assert "give each its own INDEXTTS_INSTANCE" in complained
    assert set(shelf.held) == {"tts-a/.owner"}
    assert "log.archive_failed" in {line["event"] for line in lines_today(logs)}
    assert {line["instance"] for line in lines_today(logs)} == {"tts-a"}
    assert run("--forget-user", "newsroom")[0] == 1


def test_days_are_fetched_for_the_other_scripts(run: Run, logs: Path, shelf: Shelf) -> None:
    """Into log folders below the one that is named; none is told."""
    assert run()[0] == 0
    status, said, _ = run("--fetch", "2026-02-01", "--to", "fetched")
    assert (status, said) == (0, "fetched/tts-a/archive/indextts-2026-02-01.jsonl.gz\n")
    assert run("--fetch", "2026-03") == (1, "", "The bucket has no archive of 2026-03.\n")
    with pytest.raises(SystemExit):
        run("--fetch", "March")
