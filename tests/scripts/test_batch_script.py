"""The batch as a command: a table in, a folder of audio out, against a service that really runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from service_process import serving

from scripts import batch

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("service")) as (_, client):
        yield client


@pytest.fixture
def command(service: httpx.Client) -> Command:
    """`command("table.csv", "--output", folder)`."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "scripts/batch.py", "--url", str(service.base_url)]
            + [str(one) for one in arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_a_table_becomes_a_folder_of_audio(command: Command, tmp_path: Path) -> None:
    """With its manifest; a broken row is told by its line, and in the exit status."""
    table, output = tmp_path / "t.csv", tmp_path / "audio"
    table.write_text("text,name\none,first\n" + "two,second,too,many\n" + "three,third\n")
    run = command(table, "--output", output, "--set", "format=mp3")
    assert run.returncode == 1
    assert "line 3: The row cannot be read: it has more cells" in run.stderr
    assert "finished: 1 rejected, 2 success" in run.stderr
    assert sorted(path.name for path in output.iterdir()) == [
        "1-first.mp3",
        "3-third.mp3",
        "manifest.csv",
    ]


def test_a_batch_can_be_watched_again(
    command: Command, service: httpx.Client, tmp_path: Path
) -> None:
    """By whoever has its id."""
    sent = service.post("/batches", json={"rows": [{"text": "one"}] * 3})
    run = command("--job", sent.json()["job_id"], "--output", tmp_path / "audio")
    assert (run.returncode, len(list((tmp_path / "audio").iterdir()))) == (0, 4)


def test_a_batch_can_be_cancelled(command: Command, service: httpx.Client) -> None:
    """What is done stays."""
    rows = [{"text": "one", "speaker": "slow"}] * 9
    job_id = service.post("/batches", json={"rows": rows}).json()["job_id"]
    run = command("--cancel", job_id)
    assert run.returncode == 1
    assert "cancelled: " in run.stderr
    assert service.get(f"/batches/{job_id}").json()["state"] == "cancelled"


def test_a_service_behind_a_proxy_may_be_away_for_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is waited for, and that is said once; for ever it is not."""
    monkeypatch.setattr(batch, "LOOK_SECONDS", 0)
    answers = iter(
        [httpx.Response(502), httpx.Response(503), httpx.Response(200, json={"done": 7})]
    )
    service = batch.Service("http://service", None)
    service._client = httpx.Client(
        base_url="http://service", transport=httpx.MockTransport(lambda _: next(answers))
    )
    assert service.status("01M7YQJX7PTPC1PAJTN75109G2") == {"done": 7}
    assert capsys.readouterr().err.count("No answer; waiting for up to 120 s.") == 1
    answers = iter([httpx.Response(504)] * 2)
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", -1)
    with pytest.raises(batch.Refused, match="The service answered 504"):
        service.status("01M7YQJX7PTPC1PAJTN75109G2")


def test_what_cannot_be_done_is_told_with_the_services_reason(
    command: Command, tmp_path: Path
) -> None:
    """A table that is none, an id that is none, a file that is none, a service that is none."""
    (tmp_path / "none.csv").write_text("nothing\n")
    assert "The table cannot be read" in (run := command(tmp_path / "none.csv")).stderr
    assert run.returncode == 2
    assert "There is no such batch here" in command("--job", "01M7YQJX7PTPC1PAJTN75109G2").stderr
    assert "No such file" in command(tmp_path / "missing.csv").stderr
    (tmp_path / "one.csv").write_text("text\none\n")
    away = command(tmp_path / "one.csv", "--url", "http://127.0.0.1:9")
    assert (away.returncode, "No answer from http://127.0.0.1:9" in away.stderr) == (2, True)
    assert command().returncode == 2
    assert json.dumps("name a table, --job or --cancel")[1:-1] in command().stderr
