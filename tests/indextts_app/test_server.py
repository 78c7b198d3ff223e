"""Promises of the whole service as a process: one that starts, serves, dies and ends in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from conftest import LogReader

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Process:
    """A running service, its log, and a client for it."""

    process: subprocess.Popen[bytes]
    log: LogReader
    client: httpx.AsyncClient
    folder: Path

    def speak(self, **asked: Any) -> asyncio.Task[httpx.Response]:
        """A request on its way."""
        return asyncio.create_task(self.client.post("/tts", json={"text": "hello", **asked}))

    async def ended(self) -> int:
        """The exit status, once it has one."""
        return await asyncio.to_thread(self.process.wait, START_SECONDS)


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """A fast drill engine on a free port, every file below `folder`."""
    inherited = {name: value for name, value in os.environ.items() if name[:9] != "INDEXTTS_"}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "INDEXTTS_ENGINE": "drill",
        "INDEXTTS_PORT": "0",
        "INDEXTTS_LOG_DIR": str(folder / "logs"),
        "INDEXTTS_OUTPUT_DIR": str(folder / "outputs"),
        "INDEXTTS_DRILL_SECONDS": "0.005",
        "INDEXTTS_DRILL_SLOW_SECONDS": "0.5",
        **changes,
    }


def refusal(folder: Path, **changes: str) -> str:
    """What a service that may not start says; it must be one line, and exit status 2."""
    done = subprocess.run(
        [sys.executable, "-m", "indextts_app"],
        env=environment(folder, **changes),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("indextts: ")
    return line


@pytest.fixture(scope="session")
def start(log_reader: Callable[[Path], LogReader]) -> Callable[..., Any]:
    """`async with start(folder, **environment) as service:`, listening and with its worker up."""

    @asynccontextmanager
    async def start(
        folder: Path, stdout: int | IO[bytes] | None = None, **changes: str
    ) -> AsyncIterator[Process]:
        log = log_reader(folder / "logs")
        earlier = len(log.lines("service.listening")), len(log.lines("worker.ready"))
        with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err:
            process = subprocess.Popen(  # noqa: ASYNC220  # it serves beside the test
                [sys.executable, "-m", "indextts_app"],
                env=environment(folder, **changes),
                cwd=folder,
                stdout=out if stdout is None else stdout,
                stderr=err,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while (
                    len(log.lines("service.listening")) == earlier[0]
                    or len(log.lines("worker.ready")) == earlier[1]
                ):
                    assert process.poll() is None, (folder / "stderr").read_text()
                    await asyncio.sleep(0.05)
            url = log.lines("service.listening")[-1]["url"]
            async with httpx.AsyncClient(base_url=url, timeout=10) as client:
                yield Process(process, log, client, folder)
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    return start


@pytest.fixture(scope="module")
async def served(start: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Process]:
    """One service for the tests that leave it running."""
    async with start(tmp_path_factory.mktemp("served")) as service:
        yield service


async def test_page_and_api_are_served_side_by_side(served: Process) -> None:
    """The page at /, the API beside it, and a request is spoken."""
    page = await served.client.get("/")
    assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
    assert (await served.client.get("/health")).json() == {"status": "healthy"}
    assert (await served.client.get("/metrics")).text.startswith("# HELP")
    answer = await served.speak()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert (await served.log.finished(answer.headers["x-request-id"]))["version"]


async def test_every_line_is_json_on_disk_and_on_stdout(served: Process, until: Any) -> None:
    """The same lines in both places, nothing else among them, and nothing on stderr."""
    await served.speak(speaker="error")
    stdout = served.folder / "stdout"
    await until(lambda: stdout.read_text() == served.log.text())
    for line in served.log.text().splitlines():
        fields = json.loads(line)
        assert {"timestamp", "level", "event", "service", "version"} <= set(fields)
    assert (served.folder / "stderr").read_text().startswith("Serving on http://127.0.0.1:")


async def test_a_body_beyond_the_limit_is_answered_over_a_real_connection(
    served: Process,
) -> None:
    """A client that sends too much reads the refusal."""
    answer = await served.client.post("/tts", content=b"x" * 2_000_000)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/tts", 405)])
async def test_a_request_for_a_websocket_is_answered_as_if_it_were_none(
    served: Process, path: str, status: int
) -> None:
    """Nothing here speaks it: no other protocol takes the connection, and nothing goes wrong."""
    asks = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    before = served.log.text()
    answer = await served.client.get(path, headers=asks)
    assert (answer.status_code, "sec-websocket-accept" in answer.headers) == (status, False)
    assert answer.headers["x-request-id"]
    assert "Traceback" not in served.log.text().removeprefix(before)


async def test_a_closed_connection_cancels_its_request(served: Process, until: Any) -> None:
    """A client that hangs up frees the worker."""
    before = len(served.log.lines("synthesis.finished", status="cancelled"))
    request = served.speak(speaker="hang")
    await until(lambda: served.log.lines("synthesis.started", speaker="hang"))
    request.cancel()
    await until(
        lambda: len(served.log.lines("synthesis.finished", status="cancelled")) == before + 1
    )


async def test_a_stream_that_is_cut_on_purpose_is_no_fault_of_the_server(served: Process) -> None:
    """The request's own lines say what broke off; an alert on error lines hears it once."""
    asked = {"text": "hello", "speaker": "breaks_off", "stream": True}
    with pytest.raises(httpx.RemoteProtocolError):
        await served.client.post("/tts", json=asked)
    await served.speak()
    assert "without completing response" not in served.log.text()


async def test_a_second_service_does_not_share_the_log(served: Process, tmp_path: Path) -> None:
    """Two writers would declare each other's requests lost."""
    told = refusal(tmp_path, INDEXTTS_LOG_DIR=str(served.folder / "logs"))
    assert "INDEXTTS_LOG_DIR" in told


async def test_a_port_that_is_taken_is_told(served: Process, tmp_path: Path) -> None:
    """One line that names the address and the setting."""
    port = str(served.client.base_url.port)
    told = refusal(tmp_path, INDEXTTS_PORT=port)
    assert f"127.0.0.1:{port}" in told
    assert "INDEXTTS_PORT" in told


def test_a_setting_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """A mistyped knob is named."""
    assert "INDEXTTS_PROT" in refusal(tmp_path, INDEXTTS_PROT="7860")


@pytest.mark.parametrize("setting", ["INDEXTTS_API_KEYS", "INDEXTTS_API_KEYS_FILE"])
def test_keys_that_cannot_be_read_are_told(setting: str, tmp_path: Path) -> None:
    """One line that names the setting, as for any other, and no traceback."""
    told = refusal(tmp_path, **{setting: str(tmp_path / "none")})
    assert setting in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "setting", ["INDEXTTS_LOG_DIR", "INDEXTTS_OUTPUT_DIR", "INDEXTTS_SPEAKER_DIR"]
)
def test_a_folder_that_cannot_be_used_is_told(setting: str, tmp_path: Path) -> None:
    """A file where a folder should be is named together with its setting."""
    (tmp_path / "file").touch()
    told = refusal(tmp_path, **{setting: str(tmp_path / "file" / "folder")})
    assert setting in told
    assert str(tmp_path / "file") in told


@pytest.mark.parametrize("inside", ["", "speakers"])
def test_speakers_are_not_kept_where_files_are_swept(inside: str, tmp_path: Path) -> None:
    """Who would have lost every voice after a day reads so before the start."""
    folder = tmp_path / "outputs" / inside
    told = refusal(tmp_path, INDEXTTS_SPEAKER_DIR=str(folder))
    assert "INDEXTTS_OUTPUT_DIR" in told
    assert "24 hours" in told


def test_a_lock_that_cannot_be_taken_is_told(tmp_path: Path) -> None:
    """What another user or a mishap left in the way of the lock is no traceback either."""
    (tmp_path / "logs" / ".lock").mkdir(parents=True)
    assert "INDEXTTS_LOG_DIR" in refusal(tmp_path)


def test_a_start_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    """A fault that no setting explains is a line with its traceback, in the log and on stdout."""
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / ".hash_key").write_bytes(b"short")
    done = subprocess.run(
        [sys.executable, "-m", "indextts_app"],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["event"], line["level"]) == ("service.failed", "critical")
    assert "holds 5 bytes" in line["traceback"]
    (file,) = (tmp_path / "logs").glob("*.jsonl")
    assert file.read_bytes() == done.stdout


async def test_what_a_killed_service_had_begun_is_declared_lost(
    start: Any, tmp_path: Path, until: Any
) -> None:
    """After kill -9 and a restart, started = finished again, under the same request_id."""
    async with start(tmp_path) as service:
        request = service.speak(speaker="hang")
        await until(lambda: service.log.lines("synthesis.started"))
        workers = psutil.Process(service.process.pid).children(recursive=True)
        partial = tmp_path / "outputs" / ".01K8.wav.part"
        partial.touch()
        service.process.kill()
        with pytest.raises(httpx.HTTPError):
            await request
    (started,) = service.log.lines("synthesis.started")
    assert not service.log.lines("synthesis.finished")
    await until(lambda: not any(worker.is_running() for worker in workers))
    async with start(tmp_path) as service:
        finished = await service.log.finished(started["request_id"])
        assert (finished["status"], finished["error_type"]) == ("lost", "process_died")
        assert (finished["speaker"], finished["text_hash"]) == ("hang", started["text_hash"])
        story = (await service.client.get(f"/requests/{started['request_id']}")).json()
        assert story["status"] == "lost"
        counted = 'indextts_requests_total{emotion="neutral",engine="drill",source="api"'
        assert counted in (await service.client.get("/metrics")).text
    (reconciled,) = service.log.lines("log.reconciled", requests_lost=1)
    assert reconciled["partial_files_removed"] == 1
    assert not partial.exists()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
async def test_a_running_request_is_finished_before_the_end(
    ending: signal.Signals, start: Any, tmp_path: Path, until: Any
) -> None:
    """The client gets its audio, the log its last lines, the shell status 0; also where a terminal
    is closed."""
    if signal.getsignal(ending) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup, and so does their service")
    async with start(tmp_path) as service:
        request = service.speak(speaker="slow")
        await until(lambda: service.log.lines("synthesis.started"))
        service.process.send_signal(ending)
        if ending == signal.SIGHUP:
            # A shell passes it on, and the system says it once more when the shell has ended.
            await until(lambda: service.log.lines("service.draining"))
            service.process.send_signal(ending)
        answer = await request
        assert answer.status_code == 200
        assert await service.ended() == 0
    finished = await service.log.finished(answer.headers["x-request-id"])
    assert finished["status"] == "success"
    (stopped,) = service.log.lines("service.stopped")
    assert (stopped["requests_given_up"], stopped["events_written"]) == (0, True)
    assert not [line for line in service.log.lines() if line["level"] in ("error", "critical")]


async def test_an_open_tab_does_not_delay_the_end(start: Any, tmp_path: Path) -> None:
    """A tab's lasting connection is let go of at once, long before the grace is over."""
    async with start(tmp_path) as service:
        tab = service.client.stream("GET", "/gradio_api/heartbeat/tab")
        async with tab as connection:
            assert "ALIVE" in await anext(connection.aiter_text())
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert await service.ended() == 0
    assert time.monotonic() - began < 10


async def test_a_request_beyond_the_grace_is_given_up(
    start: Any, tmp_path: Path, until: Any
) -> None:
    """SIGTERM with a request that hangs: the end comes, and the request has its event."""
    async with start(tmp_path, INDEXTTS_SHUTDOWN_SECONDS="0") as service:
        request = service.speak(speaker="hang")
        await until(lambda: service.log.lines("synthesis.started"))
        service.process.send_signal(signal.SIGTERM)
        assert await service.ended() == 0
        answer = await request
    assert (answer.status_code, answer.json()["error"]) == (503, "given_up")
    assert answer.headers["retry-after"]
    request_id = answer.headers["x-request-id"]
    finished = await service.log.finished(request_id)
    assert (finished["status"], finished["error_type"]) == ("failed", "given_up")
    (named,) = service.log.lines("requests.given_up")
    assert (named["requests"], named["request_ids"]) == (1, request_id)
    (stopped,) = service.log.lines("service.stopped")
    assert stopped["requests_given_up"] == 1


async def test_those_that_wait_are_finished_too(start: Any, tmp_path: Path, until: Any) -> None:
    """SIGTERM with one running and three queued: all four are answered, each has its event."""
    async with start(tmp_path) as service:
        slow = service.speak(speaker="slow")
        await until(lambda: service.log.lines("synthesis.started"))
        queued = [service.speak() for _ in range(3)]
        await until(lambda: len(service.log.lines("synthesis.started")) == 4)
        service.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(slow, *queued)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert await service.ended() == 0
    assert len(service.log.lines("synthesis.finished", status="success")) == 4
    (draining,) = service.log.lines("service.draining")
    assert draining["in_flight"] == 4


async def test_while_it_drains_nobody_new_is_kept_waiting(
    start: Any, tmp_path: Path, until: Any
) -> None:
    """A request gets its 503 or no connection, and so does whoever asks whether it is ready."""
    async with start(tmp_path, INDEXTTS_SHUTDOWN_SECONDS="25") as service:
        running = service.speak(speaker="hang")
        await until(lambda: service.log.lines("synthesis.started"))
        service.process.send_signal(signal.SIGTERM)
        await until(lambda: service.log.lines("service.draining"))
        async with httpx.AsyncClient(base_url=service.client.base_url, timeout=15) as late:
            for asked in (late.get("/health/ready"), late.post("/tts", json={"text": "hello"})):
                with suppress(httpx.NetworkError, httpx.RemoteProtocolError):
                    assert (await asked).status_code == 503
        assert service.process.poll() is None
        service.process.send_signal(signal.SIGTERM)
        assert (await running).status_code == 503
        assert await service.ended() == 0


async def test_a_second_signal_ends_the_grace(start: Any, tmp_path: Path, until: Any) -> None:
    """Whoever presses Ctrl-C twice means it; the request is told, and has its event."""
    async with start(tmp_path, INDEXTTS_SHUTDOWN_SECONDS="25") as service:
        request = service.speak(speaker="hang")
        await until(lambda: service.log.lines("synthesis.started"))
        service.process.send_signal(signal.SIGINT)
        await until(lambda: service.log.lines("service.draining"))
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        answer = await request
        assert (answer.status_code, answer.json()["error"]) == (503, "given_up")
        assert await service.ended() == 0
        assert time.monotonic() - began < 8
    finished = await service.log.finished(answer.headers["x-request-id"])
    assert finished["error_type"] == "given_up"
    assert service.log.lines("service.stopped")
    assert not list((tmp_path / "outputs").glob("*.part"))


async def test_without_a_reader_of_stdout_it_serves_and_logs(start: Any, tmp_path: Path) -> None:
    """A closed pipe costs the lines on it and nothing else; the loss is counted and told once."""
    async with start(tmp_path, stdout=subprocess.PIPE) as service:
        service.process.stdout.close()
        for _ in range(3):
            answer = await service.speak()
            assert answer.status_code == 200
            await service.log.finished(answer.headers["x-request-id"])
        assert len(service.log.lines("log.sink_failing", sink="stdout")) == 1
        metrics = (await service.client.get("/metrics")).text
        (lost,) = [
            line for line in metrics.splitlines() if 'lines_lost_total{sink="stdout"}' in line
        ]
        assert float(lost.split()[-1]) > 0


async def test_a_supervisor_is_told_when_it_listens_and_when_it_stops(
    start: Any, tmp_path: Path
) -> None:
    """A unit of systemd is active once the port answers, and its watchdog hears from the loop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        async with start(tmp_path, **environment) as service:
            assert await asyncio.to_thread(systemd.recv, 100) == b"READY=1"
            assert await asyncio.to_thread(systemd.recv, 100) == b"WATCHDOG=1"
            service.process.send_signal(signal.SIGTERM)
            said = b""
            while said != b"STOPPING=1":
                said = await asyncio.to_thread(systemd.recv, 100)
            assert await service.ended() == 0
