"""
Promises of the one path: the whole story in one event, on disk before the work and exactly once.

With real drill workers, real files and the real ffprobe.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indextts_app import audio, errors, references, synthesizer
from indextts_app.engines.base import Samples, Task
from indextts_app.synthesis import AudioFormat, Caller, SynthesisResult
from observability import request_id, text_facts
from observability.events import field_names

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

TEXT = "the quick brown fox jumps over the lazy dog"


@dataclass
class Watch:
    """Remembers what a watcher is told."""

    positions: list[int] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)
    samples: int = 0

    def waiting(self, ahead: int) -> None:
        self.positions.append(ahead)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def segment(self, number: int, count: int) -> None:
        self.segments.append((number, count))

    def audio(self, samples: Samples, sample_rate: int) -> None:
        self.samples += len(samples)


def caller() -> Caller:
    return Caller(request_id.new(), "api", client_ip="203.0.113.0", client_request_id="order-17")


async def synthesize(
    running: Running,
    by: Caller,
    watcher: Watch | None = None,
    *,
    needs_file: bool = False,
    **asked: Any,
) -> SynthesisResult:
    return await running.service.synthesizer.synthesize(
        {"text": TEXT, **asked}, by, watcher=watcher, needs_file=needs_file
    )


NOT_DETERMINISTIC = {
    "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "request_id": r"[0-9A-Z]{26}",
    "text_hash": "[0-9a-f]{32}",
    "worker": r"0:\d+",
}
MEASURED = (
    "duration_ms",
    "queue_ms",
    "stage_text_prep_ms",
    "stage_speaker_enc_ms",
    "stage_acoustic_ms",
    "stage_vocoder_ms",
    "stage_post_ms",
    "stage_other_ms",
    "first_audio_ms",
    "probe_ms",
    "rtf",
    "chars_per_second",
    "worker_memory_mb",
)


async def test_the_finished_event_tells_everything(shared: Running) -> None:
    """The whole line of one request, field for field; only times and ids are not the same again."""
    by = caller()
    await synthesize(shared, by, emotion="happy", speed=1.25, format="flac")
    line = await shared.log.finished(by.request_id)
    for name, pattern in NOT_DETERMINISTIC.items():
        assert re.fullmatch(pattern, line.pop(name)), name
    measured = {name: line.pop(name) for name in MEASURED}
    assert all(isinstance(value, float) and value >= 0 for value in measured.values()), measured
    assert line == {
        "level": "info",
        "event": "synthesis.finished",
        "client_request_id": "order-17",
        "source": "api",
        "client_ip": "203.0.113.0",
        "engine": "drill",
        "engine_version": "1",
        "model_version": "tone-1",
        "speaker": "steady",
        "emotion": "happy",
        "emotion_mode": "preset",
        "speed": 1.25,
        "format": "flac",
        "text_len": len(TEXT),
        "text_script": "en",
        "audio_seconds": 6.88,
        "audio_bytes": line["audio_bytes"],
        "sample_rate": 22_050,
        "channels": 1,
        "codec": "flac",
        "audio_verdict": "ok",
        "rms_dbfs": -15.27,
        "peak_dbfs": -12.25,
        "clipped_ratio": 0.0,
        "silence_ratio": 0.0,
        "longest_silence_seconds": 0.0,
        "probe_ok": True,
        "status": "success",
        "device": "cpu",
        "logger": "observability.events",
    }


async def test_the_times_add_up(shared: Running) -> None:
    """Queue, stages and other are the duration, to the microsecond."""
    by = caller()
    await synthesize(shared, by)
    line = await shared.log.finished(by.request_id)
    parts = [value for name, value in line.items() if re.fullmatch(r"stage_.*_ms|queue_ms", name)]
    assert sum(parts) == pytest.approx(line["duration_ms"], abs=0.0015)
    assert line["rtf"] == pytest.approx(
        (line["duration_ms"] - line["queue_ms"]) / 1000 / line["audio_seconds"], rel=0.01
    )


async def test_the_result_is_the_stored_file(shared: Running) -> None:
    """What is delivered lies under the request_id in the output folder, byte for byte."""
    by = caller()
    watch = Watch()
    result = await synthesize(shared, by, watch, needs_file=True, format="ogg")
    folder = shared.service.settings.output_dir
    assert result.path == folder / f"{by.request_id}.ogg"
    assert result.path.read_bytes() == result.audio
    assert (result.verdict, result.request.format) == ("ok", AudioFormat.OGG)
    assert watch.stages == ["text_prep", "speaker_enc", "acoustic", "vocoder", "post", "post"]
    assert watch.segments == [(1, 1)]
    assert watch.samples == result.signal.audio_seconds * 22_050
    assert not list(folder.glob(".*.part"))


async def test_started_is_on_disk_before_the_engine_is_asked(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the engine cannot hide that there was a request."""
    by = caller()
    seen: list[dict[str, Any]] = []
    run = shared.service.pool.run

    async def looked(task: Task, listener: Any, **more: Any) -> Any:
        seen.extend(shared.log.lines(request_id=by.request_id))
        return await run(task, listener, **more)

    monkeypatch.setattr(shared.service.pool, "run", looked)
    await synthesize(shared, by)
    assert [line["event"] for line in seen] == ["synthesis.started"]
    assert seen[0]["text_len"] == len(TEXT)
    assert seen[0]["speaker"] == "steady"


@pytest.mark.parametrize(
    ("speaker", "verdict"),
    [
        ("silent", "silent"),
        ("clipped", "clipped"),
        ("truncated", "truncated"),
        ("wrong_rate", "wrong_format"),
    ],
)
async def test_flawed_audio_is_delivered_and_called_degraded(
    speaker: str, verdict: str, shared: Running
) -> None:
    """The caller has the audio and its verdict, the event the same verdict."""
    by = caller()
    result = await synthesize(shared, by, speaker=speaker)
    line = await shared.log.finished(by.request_id)
    assert (result.verdict, len(result.audio) > 44) == (verdict, True)
    assert (line["status"], line["audio_verdict"], line["level"]) == (
        "degraded",
        verdict,
        "warning",
    )
    assert "error_type" not in line


@pytest.mark.parametrize(
    ("speaker", "code", "stage"),
    [
        ("error", "engine_error", "acoustic"),
        ("out_of_memory", "out_of_memory", "acoustic"),
        ("crash", "worker_died", "acoustic"),
        ("empty", "no_audio", None),
    ],
)
async def test_a_failure_has_its_code_and_its_stage(
    speaker: str, code: str, stage: str | None, shared: Running
) -> None:
    """The event says what went wrong and where, and the same fault has the same fingerprint."""
    fingerprints = set()
    for _ in range(2):
        by = caller()
        with pytest.raises(errors.SynthesisFailed) as raised:
            await synthesize(shared, by, speaker=speaker)
        line = await shared.log.finished(by.request_id)
        assert raised.value.code == line["error_type"] == code
        assert (line["status"], line["level"]) == ("failed", "error")
        assert line.get("error_stage") == stage
        assert line["error_message"] == raised.value.message()[:100]
        assert line["speaker"] == speaker
        fingerprints.add(line["error_fingerprint"])
    assert len(fingerprints) == 1


async def test_a_refused_request_has_its_event(shared: Running) -> None:
    """One started and one finished line, with what may be known of the text and nothing more."""
    by = caller()
    with pytest.raises(errors.UnknownSpeaker):
        await synthesize(shared, by, speaker="nobody")
    started, finished = await shared.log.pair(by.request_id)
    assert (finished["status"], finished["error_type"]) == ("rejected", "unknown_speaker")
    assert finished["text_len"] == len(TEXT)
    assert "speaker" not in started
    assert "speaker" not in finished


async def test_a_fault_of_our_own_is_logged_with_its_traceback(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody foresaw has its event and its traceback, both without the text."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"cannot handle {TEXT}")

    monkeypatch.setattr(audio, "encoded", broken)
    by = caller()
    with pytest.raises(RuntimeError):
        await synthesize(shared, by)
    line = await shared.log.finished(by.request_id)
    assert (line["status"], line["error_type"]) == ("failed", "RuntimeError")
    (trace,) = shared.log.lines("exception.unexpected", request_id=by.request_id)
    assert "in broken" in trace["traceback"]
    assert TEXT not in shared.log.text()


def full(_data: bytes, _path: Path) -> None:
    raise OSError(28, "No space left on device")


async def test_a_full_disk_fails_who_needs_the_file(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page plays the stored file, so that it has nothing to show."""
    monkeypatch.setattr(audio, "stored", full)
    by = caller()
    with pytest.raises(errors.StorageFailed):
        await synthesize(shared, by, needs_file=True)
    assert (await shared.log.finished(by.request_id))["error_type"] == "storage_failed"


async def test_a_full_disk_does_not_fail_who_gets_the_bytes(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audio is delivered, and the event says that it is not in the output folder."""
    monkeypatch.setattr(audio, "stored", full)
    by = caller()
    assert (await synthesize(shared, by)).audio[:4] == b"RIFF"
    line = await shared.log.finished(by.request_id)
    assert (line["status"], line["probe_error"]) == ("success", "not_stored")


async def test_a_cancelled_request_has_its_event(shared: Running, until: Until) -> None:
    """Whoever cancels is free at once; the event says in which stage it was."""
    by = caller()
    watch = Watch()
    task = asyncio.create_task(synthesize(shared, by, watch, speaker="slow"))
    await until(lambda: "acoustic" in watch.stages)
    assert shared.service.synthesizer.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    line = await shared.log.finished(by.request_id)
    assert (line["status"], line["error_type"], line["error_stage"], line["level"]) == (
        "cancelled",
        "cancelled",
        "acoustic",
        "info",
    )
    assert shared.service.synthesizer.in_flight == 0


async def test_a_request_that_leaves_the_queue_has_only_waited(
    shared: Running, until: Until
) -> None:
    """Its event has the time in the queue and no engine's stage; the watcher knew its place."""
    by = caller()
    watch = Watch()
    first = asyncio.create_task(synthesize(shared, caller(), speaker="slow"))
    await until(lambda: shared.service.pool.busy)
    second = asyncio.create_task(synthesize(shared, by, watch))
    await until(lambda: watch.positions)
    await asyncio.sleep(0.02)
    second.cancel()
    await first
    line = await shared.log.finished(by.request_id)
    assert watch.positions[0] == 0
    assert line["queue_ms"] >= 20
    assert "worker" not in line
    assert [name for name in line if name.startswith("stage_")] == ["stage_other_ms"]


async def test_beyond_the_deadline_it_is_a_timeout(
    shared: Running, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is answered at the deadline though the engine hangs; the next one is served."""
    (worker,) = shared.service.pool._latest.values()
    monkeypatch.setattr(worker, "_spec", replace(worker._spec, settle_seconds=0.05))
    impatient = shared.service.settings.model_copy(update={"timeout_seconds": 0.3})
    by, after = caller(), caller()
    with monkeypatch.context() as patched:
        patched.setattr(shared.service.synthesizer, "_settings", impatient)
        with pytest.raises(errors.DeadlineExceeded, match=r"0\.3 s,"):
            await synthesize(shared, by, speaker="hang")
    line = await shared.log.finished(by.request_id)
    assert (line["status"], line["error_type"], line["error_stage"]) == (
        "timeout",
        "deadline_exceeded",
        "acoustic",
    )
    assert 300 <= line["duration_ms"] < 1_500
    assert (await synthesize(shared, after)).audio
    assert (await shared.log.finished(after.request_id))["status"] == "success"


async def test_the_answer_does_not_wait_for_the_probe_and_the_event_does(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While ffprobe runs, the caller has its audio and the log has no finished line yet."""
    let_go = threading.Event()
    probe = synthesizer.probe

    def slow(path: Path) -> Any:
        let_go.wait(10)
        return probe(path)

    monkeypatch.setattr(synthesizer, "probe", slow)
    by = caller()
    try:
        assert (await synthesize(shared, by)).audio
        await asyncio.sleep(0.05)
        assert not shared.log.lines("synthesis.finished", request_id=by.request_id)
    finally:
        let_go.set()
    line = await shared.log.finished(by.request_id)
    assert line["probe_ok"] is True
    assert line["duration_ms"] < 10_000


async def test_without_ffprobe_the_audio_is_delivered_all_the_same(
    shared: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing program is no verdict on the audio; the event says that nobody looked."""
    for name in ("sh", "timeout", "nice", "prlimit"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    by = caller()
    assert (await synthesize(shared, by)).verdict == "ok"
    line = await shared.log.finished(by.request_id)
    assert (line["status"], line["audio_verdict"]) == ("success", "ok")
    assert (line["probe_ok"], line["probe_error"]) == (False, "unavailable")


async def test_a_file_that_was_damaged_on_disk_is_degraded(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ffprobe finds in the stored file counts, not only what the samples were."""
    probe = synthesizer.probe

    def damaged(path: Path) -> Any:
        path.write_bytes(path.read_bytes()[:10_000])
        return probe(path)

    monkeypatch.setattr(synthesizer, "probe", damaged)
    by = caller()
    assert (await synthesize(shared, by, format="flac")).verdict == "ok"
    line = await shared.log.finished(by.request_id)
    assert (line["status"], line["audio_verdict"]) == ("degraded", "truncated")


async def test_the_text_is_known_by_its_keyed_hash_only(shared: Running) -> None:
    """Equal texts have equal hashes, which the key explains, and no line holds the text."""
    first, second = caller(), caller()
    await synthesize(shared, first)
    await synthesize(shared, second, speaker="silent")
    hashes = {(await shared.log.finished(by.request_id))["text_hash"] for by in (first, second)}
    key = (shared.service.settings.output_dir / ".hash_key").read_bytes()
    assert hashes == {text_facts.facts_of(TEXT, key).text_hash}
    assert TEXT not in shared.log.text()


async def test_a_reference_that_the_engine_has_no_use_for_is_refused(
    shared: Running, tmp_path: Path
) -> None:
    """Nobody should believe that the drill's tone is their voice."""
    by = caller()
    upload = references.Upload(tmp_path / "voice.wav", tmp_path)
    with pytest.raises(errors.ReferenceRefused, match="no use"):
        await shared.service.synthesizer.synthesize(
            {"text": TEXT}, by, recordings={"reference": upload}
        )
    assert (await shared.log.finished(by.request_id))["error_type"] == "reference_refused"


async def test_before_the_engine_is_loaded_requests_are_refused(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller reads that it may try again soon; the event is there as for any request."""
    monkeypatch.setattr(shared.service.pool, "capabilities", None)
    by = caller()
    with pytest.raises(errors.NotReady, match="still loading"):
        await synthesize(shared, by)
    assert (await shared.log.finished(by.request_id))["error_type"] == "not_ready"


async def test_each_event_holds_only_known_fields(shared: Running) -> None:
    """After all of the above, no line of the path has a field that the schema does not name."""
    known = {*field_names(), "timestamp", "level", "event", "logger"}
    for event in ("synthesis.started", "synthesis.finished"):
        lines = shared.log.lines(event)
        assert lines
        assert {name for line in lines for name in line} <= known


async def test_started_equals_finished(shared: Running, until: Until) -> None:
    """After all of the above, each request has one started and one finished line."""
    await until(
        lambda: (
            len(shared.log.lines("synthesis.started"))
            == len(shared.log.lines("synthesis.finished"))
        )
    )
    started = [line["request_id"] for line in shared.log.lines("synthesis.started")]
    finished = [line["request_id"] for line in shared.log.lines("synthesis.finished")]
    assert len(set(started)) == len(started)
    assert sorted(started) == sorted(finished)
