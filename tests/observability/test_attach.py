"""
Promises of `observability.attach`, held to a double and to the real class.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import structlog
from model_double import RATE, IndexTTS2Double
from model_environment import MODEL_ENVIRONMENT

import observability
from observability import losses
from observability.metrics import Metrics

ATTACH = sys.modules["observability.attach"]
EXAMPLE = Path(__file__).parents[2] / "examples/attach_script.py"
SENTENCE = "hello world."
NOT_COMPARED = ("timestamp", "request_id", "text_hash", "worker_memory_mb", "error_fingerprint")


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which nothing was attached yet, and whose own log is closed afterwards."""
    monkeypatch.setattr(ATTACH, "_process", ATTACH._Process())
    monkeypatch.setattr(ATTACH.atexit, "register", lambda *_: None)
    logger = logging.getLogger("observability")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    end_process()
    for handler in logger.handlers:
        if handler not in before[0]:
            handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def end_process() -> None:
    """What is left of a process that ended; the next call of `attach` begins another."""
    if ATTACH._process.lock:
        ATTACH._process.lock.close()
    ATTACH._process = ATTACH._Process()


@pytest.fixture
def voice(tmp_path: Path) -> str:
    path = tmp_path / "Zhang San.wav"
    path.write_bytes(b"a recording")
    return str(path)


@pytest.fixture
def tts() -> IndexTTS2Double:
    return IndexTTS2Double()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def attached(tts: IndexTTS2Double, log: Path) -> IndexTTS2Double:
    observability.attach(tts, log, clock=tts.clock)
    return tts


def lines(log: Path) -> list[dict[str, Any]]:
    """The lines of requests."""
    return [
        line
        for path in sorted(log.glob("*.jsonl"))
        for line in map(json.loads, path.read_text("utf-8").splitlines())
        if line["event"].startswith("synthesis.")
    ]


def finished(log: Path) -> dict[str, Any]:
    """The one finished line."""
    (line,) = [line for line in lines(log) if line["event"] == "synthesis.finished"]
    return line


def some(line: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: line[name] for name in names if name in line}


# --- A call --------------------------------------------------------------------------------------


def test_a_call_is_a_started_and_a_finished_line(
    attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """All that is known of it, and of the text and the recording only their hashes."""
    attached.infer(voice, SENTENCE, None, emo_alpha=0.6, emo_vector=[0.1] * 8, top_p=0.9)
    started, ended = lines(log)
    assert started["request_id"] == ended["request_id"]
    asked = {
        "logger": "observability.events",
        "service": "indextts-attached",
        "engine": "indextts2",
        "model_version": "2.0",
        "speaker": "reference",
        "reference_hash": hashlib.sha256(b"a recording").hexdigest(),
        "emotion_mode": "vector",
        "emotion_weight": 0.6,
        "emotion_vector": ",".join(["0.1"] * 8),
        "controls": "top_p=0.9",
        "text_len": 12,
        "text_script": "en",
        "device": "cpu",
    }
    known = {key: value for key, value in started.items() if key not in NOT_COMPARED}
    assert known == {"event": "synthesis.started", "level": "info", **asked}
    known = {key: value for key, value in ended.items() if key not in NOT_COMPARED}
    assert known == {
        "event": "synthesis.finished",
        "level": "info",
        **asked,
        "status": "success",
        "duration_ms": 96_343.75,
        "stage_text_prep_ms": 4_000.0,
        "text_normalize_ms": 3_000,
        "stage_speaker_enc_ms": 27_500.0,
        "stage_acoustic_ms": 55_781.25,
        "acoustic_gpt_ms": 35_000,
        "acoustic_s2mel_ms": 20_750.0,
        "stage_vocoder_ms": 7_000.0,
        "stage_post_ms": 2_000.0,
        "stage_other_ms": 62.5,
        "segments": 1,
        "text_tokens": 3,
        "unknown_tokens": 0,
        "acoustic_tokens": 39,
        "length_limited": False,
        "speaker_cache_hit": False,
        "emotion_cache_hit": False,
        "audio_seconds": 0.5,
        "sample_rate": RATE,
        "channels": 1,
        "audio_verdict": "ok",
        "rms_dbfs": -15.26,
        "peak_dbfs": -12.25,
        "clipped_ratio": 0.0,
        "silence_ratio": 0.0,
        "longest_silence_seconds": 0.0,
        "rtf": 192.6875,
        "chars_per_second": 0.125,
    }


@pytest.mark.parametrize("streams", [False, True])
def test_audio_whose_end_is_missing_is_degraded(
    streams: bool, attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """A segment that ran into the limit of acoustic tokens is no success, however it sounds."""
    made = attached.infer(voice, SENTENCE, None, max_mel_tokens=20, stream_return=streams)
    if streams:
        list(made)
    assert some(finished(log), "status", "audio_verdict", "length_limited") == {
        "status": "degraded",
        "audio_verdict": "truncated",
        "length_limited": True,
    }


def test_the_result_is_what_it_would_be_without(voice: str, tmp_path: Path, log: Path) -> None:
    """Samples, paths and nothing alike; positional and by keyword."""
    plain, observed = IndexTTS2Double(), IndexTTS2Double()
    observability.attach(observed, log)
    asked = {"spk_audio_prompt": voice, "text": SENTENCE, "output_path": None}
    rate, samples = observed.infer(**asked)
    expected_rate, expected = plain.infer(voice, SENTENCE, None)
    assert rate == expected_rate
    np.testing.assert_array_equal(samples, expected)
    path = str(tmp_path / "out.wav")
    assert observed.infer(voice, SENTENCE, path) is path
    plain.returns_none = observed.returns_none = True
    assert plain.infer(voice, SENTENCE, None) is observed.infer(voice, SENTENCE, None) is None


def test_the_official_pages_way_of_calling_works(
    attached: IndexTTS2Double, voice: str, tmp_path: Path, log: Path
) -> None:
    """It sets its own progress at each request and has the audio written to a file."""
    heard: list[float] = []
    path = tmp_path / "spk_1.wav"

    def progress(value: float, desc: str) -> None:
        heard.append(value)

    attached.gr_progress = progress
    output = attached.infer(
        spk_audio_prompt=voice,
        text=SENTENCE,
        output_path=str(path),
        emo_audio_prompt=None,
        verbose=True,
        top_p=0.8,
        top_k=None,
        num_beams=3.0,
        max_mel_tokens=1500,
    )
    assert output == str(path)
    assert heard == [0, 0.1, 0.2, 0.9]
    assert some(finished(log), "status", "format", "audio_bytes", "audio_seconds", "controls") == {
        "status": "success",
        "format": "wav",
        "audio_bytes": path.stat().st_size,
        "audio_seconds": 0.5,
    }


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, {"emotion_mode": "speaker"}),
        (
            {"use_emo_text": True, "emo_text": "sad and slow", "emo_alpha": 0.5},
            {"emotion_mode": "text", "emotion_weight": 0.5, "emotion_text_len": 12},
        ),
        (
            {"emo_audio_prompt": "missing.wav", "emo_alpha": 0.8},
            {"emotion_mode": "reference", "emotion_weight": 0.8},
        ),
        (
            {"emo_vector": [0, 0.5, 0, 0, 0, 0, 0, 0.25]},
            {
                "emotion_mode": "vector",
                "emotion_weight": 1.0,
                "emotion_vector": "0,0.5,0,0,0,0,0,0.25",
            },
        ),
    ],
)
def test_where_the_emotion_comes_from_is_told(
    asked: dict[str, Any],
    told: dict[str, Any],
    attached: IndexTTS2Double,
    voice: str,
    log: Path,
) -> None:
    """By the precedence of `infer` itself."""
    attached.infer(voice, SENTENCE, None, **asked)
    fields = ("emotion_mode", "emotion_weight", "emotion_text_len", "emotion_vector")
    assert some(finished(log), *fields) == told


def test_version_25_tells_its_language_and_pace(voice: str, log: Path) -> None:
    """And is judged by the pace that was asked for."""
    tts = IndexTTS2Double(version="2.5")
    observability.attach(tts, log, clock=tts.clock)
    tts.infer(voice, SENTENCE, None, "EN", duration_factor=1.5)
    fields = ("language", "controls", "model_version", "text_tokens", "unknown_tokens", "status")
    assert some(finished(log), *fields) == {
        "language": "en",
        "controls": "duration_factor=1.5",
        "model_version": "2.5",
        "text_tokens": 4,
        "status": "success",
    }


@pytest.mark.parametrize(
    ("amplitude", "text", "verdict"),
    [
        (0, SENTENCE, "silent"),
        (60_000, SENTENCE, "clipped"),
        (8_000, "床前明月光疑是地上霜举头望明月低头思故乡", "truncated"),
        (8_000, "床前<明|MING2 MING2 MING2 MING2 MING2>月", "ok"),
    ],
)
def test_audio_is_judged(
    amplitude: int,
    text: str,
    verdict: str,
    attached: IndexTTS2Double,
    voice: str,
    tmp_path: Path,
    log: Path,
) -> None:
    """What is delivered with a fault is degraded; how a word is to be said is not spoken."""
    attached.amplitude = amplitude
    for _ in attached.infer(voice, text, None, stream_return=True):
        pass
    status = "success" if verdict == "ok" else "degraded"
    assert some(finished(log), "status", "audio_verdict") == {
        "status": status,
        "audio_verdict": verdict,
    }


def test_what_a_gpu_holds_is_told(voice: str, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tensors and in the allocator: before, at the most and afterwards."""
    waited: list[str] = []
    held = {"memory_allocated": 2e9, "memory_reserved": 3e9}
    held |= {"max_memory_allocated": 5e9, "max_memory_reserved": 6e9}
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        synchronize=waited.append,
        reset_peak_memory_stats=lambda _device: None,
        **{name: lambda _device, held=held: held for name, held in held.items()},
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    tts = IndexTTS2Double()
    tts.device = "cuda:1"
    observability.attach(tts, log)
    tts.infer(voice, SENTENCE, None)
    assert set(waited) == {"cuda:1"}
    ended = finished(log)
    assert {name: value for name, value in ended.items() if name.startswith("gpu_")} == {
        "gpu_memory_before_mb": 2000.0,
        "gpu_memory_peak_mb": 5000.0,
        "gpu_memory_after_mb": 2000.0,
        "gpu_reserved_before_mb": 3000.0,
        "gpu_reserved_peak_mb": 6000.0,
        "gpu_reserved_after_mb": 3000.0,
    }
    assert ended["device"] == "cuda:1"


# --- What goes wrong -----------------------------------------------------------------------------


def test_nothing_returned_is_a_failure(attached: IndexTTS2Double, voice: str, log: Path) -> None:
    """`infer` says nothing of a segment with too many tokens; the log does."""
    attached.returns_none = True
    attached.infer(voice, SENTENCE, None)
    assert some(finished(log), "status", "error_type", "error_stage", "audio_seconds") == {
        "status": "failed",
        "error_type": "no_audio",
        "error_stage": "post",
    }


def test_an_exception_goes_on_and_is_told_without_what_is_private(
    attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """The very same exception; neither the text nor the file's name is in any line."""
    error = attached.bigvgan.breaks = RuntimeError(f"{SENTENCE!r} by {voice} is too much")
    with pytest.raises(RuntimeError) as raised:
        attached.infer(voice, SENTENCE, None)
    assert raised.value is error
    assert some(finished(log), "level", "status", "error_type", "error_stage") == {
        "level": "error",
        "status": "failed",
        "error_type": "RuntimeError",
        "error_stage": "vocoder",
    }
    (written,) = [path.read_text("utf-8") for path in log.glob("*.jsonl")]
    assert "exception.unexpected" in written
    assert "hello world" not in written
    assert "Zhang San" not in written


def test_a_call_that_cannot_be_is_left_to_the_model(attached: IndexTTS2Double, log: Path) -> None:
    """Its own TypeError, told as a failure."""
    with pytest.raises(TypeError, match="text"):
        attached.infer("voice.wav")
    assert some(finished(log), "status", "error_type", "text_len") == {
        "status": "failed",
        "error_type": "TypeError",
        "text_len": 0,
    }


@pytest.mark.parametrize(
    "part", ["asked_of", "text_fields", "speaker_fields", "audio_of", "audio_fields", "piece_of"]
)
@pytest.mark.parametrize("streams", [False, True])
def test_what_fails_on_our_side_is_counted_and_touches_nothing(
    part: str,
    streams: bool,
    attached: IndexTTS2Double,
    voice: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever part of it breaks, the audio comes."""

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ATTACH.indextts_call, part, broken)
    before = losses.lost().get("attach", 0)
    result = attached.infer(voice, SENTENCE, None, stream_return=streams)
    (samples,) = list(result) if streams else [result[1].T]
    assert samples.shape == (1, RATE // 2)
    used = part != "audio_of" if streams else part != "piece_of"
    assert (losses.lost().get("attach", 0) > before) is used


def test_a_log_that_cannot_be_written_touches_nothing(
    attached: IndexTTS2Double, voice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken sink costs its lines only."""

    class Broken:
        def started(self, _: object) -> None:
            raise OSError

        finished = started

    observability.set_sinks([Broken()])
    assert attached.infer(voice, SENTENCE, None) is not None


def test_what_a_crash_swallowed_is_told_as_lost_once(
    tts: IndexTTS2Double, voice: str, log: Path
) -> None:
    """At the next start; the start after that has nothing to tell, whoever configured structlog."""
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    log.mkdir()
    (log / "indextts-2025-01-01.jsonl").write_text(
        '{"event": "synthesis.started", "request_id": "01K8ZQ3V7M1ABCDEFGHJKMNPQR"}\n'
    )
    observability.attach(tts, log)
    end_process()
    observability.attach(IndexTTS2Double(), log)
    assert finished(log)["status"] == "lost"


# --- Streams -------------------------------------------------------------------------------------


def test_a_stream_is_told_when_it_has_ended(
    attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """With the time to the first piece; what its consumer does is in no time of it."""
    pieces = attached.infer(voice, "hello. world.", None, stream_return=True)
    assert lines(log) == []
    for piece in pieces:
        assert piece.shape == (1, RATE // 2)
        assert [line["event"] for line in lines(log)] == ["synthesis.started"]
        attached.clock.passes(1000)
    fields = ("status", "streamed", "first_audio_ms", "audio_seconds", "stage_other_ms", "segments")
    assert some(finished(log), *fields) == {
        "status": "success",
        "streamed": True,
        "first_audio_ms": 94_343.75,
        "audio_seconds": 1.0,
        "stage_other_ms": 62.5,
        "segments": 2,
    }


def test_a_stream_that_is_left_is_cancelled(
    attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """What was heard until then is told."""
    pieces = attached.infer(voice, "hello. world.", None, stream_return=True)
    next(pieces)
    pieces.close()
    assert some(finished(log), "status", "error_type", "audio_seconds", "segments") == {
        "status": "cancelled",
        "error_type": "cancelled",
        "audio_seconds": 0.5,
        "segments": 1,
    }


def test_a_stream_that_fails_has_failed(attached: IndexTTS2Double, voice: str, log: Path) -> None:
    """The exception reaches the consumer."""
    pieces = attached.infer(voice, "hello. world.", None, stream_return=True)
    next(pieces)
    attached.gpt.breaks = RuntimeError("CUDA out of memory")
    with pytest.raises(RuntimeError):
        next(pieces)
    assert some(finished(log), "status", "error_type", "error_stage") == {
        "status": "failed",
        "error_type": "RuntimeError",
        "error_stage": "acoustic",
    }


def test_a_stream_that_nobody_began_was_no_request(
    attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """The model has done nothing either."""
    attached.infer(voice, SENTENCE, None, stream_return=True).close()
    assert lines(log) == []


def test_calls_in_two_threads_have_lines_of_their_own(
    attached: IndexTTS2Double, voice: str, log: Path
) -> None:
    """A stream stands still while another thread makes a call; neither counts the other's work."""
    pieces = attached.infer(voice, SENTENCE, None, stream_return=True)
    next(pieces)
    thread = threading.Thread(target=attached.infer, args=(voice, "hello. world.", None))
    thread.start()
    thread.join()
    assert list(pieces) == []
    ended = [line for line in lines(log) if line["event"] == "synthesis.finished"]
    assert [(line["segments"], line["stage_vocoder_ms"]) for line in ended] == [
        (2, 14_000.0),
        (1, 7_000.0),
    ]


# --- The process ---------------------------------------------------------------------------------


def test_attaching_again_changes_nothing(
    attached: IndexTTS2Double, voice: str, log: Path, tmp_path: Path
) -> None:
    """One pair of lines a call; the same metrics, shared with a second instance."""
    infer = attached.infer
    metrics = observability.attach(attached, tmp_path / "elsewhere")
    assert attached.infer is infer
    other = IndexTTS2Double()
    assert observability.attach(other, log) is metrics
    attached.infer(voice, SENTENCE, None)
    other.infer(voice, SENTENCE, None)
    assert len(lines(log)) == 4
    assert 'indextts_requests_total{emotion="none",engine="indextts2",' in metrics.text().decode()
    assert not (tmp_path / "elsewhere").exists()


def test_metrics_are_served_on_a_port(
    tts: IndexTTS2Double, log: Path, voice: str, unused_port: int
) -> None:
    """Where it is taken, the operator is told before the first request."""
    observability.attach(tts, log, metrics_port=unused_port)
    tts.infer(voice, SENTENCE, None)
    with urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/metrics") as answer:
        assert 'speaker="reference",status="success"} 1.0' in answer.read().decode()
    ATTACH._process.port = None
    with pytest.raises(OSError, match="换一个 metrics_port"):
        observability.attach(IndexTTS2Double(), log, metrics_port=unused_port)


def test_the_programs_own_logging_stays_as_it_is(
    tts: IndexTTS2Double, voice: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its handlers and prints; nothing of theirs, which may quote a text, is in our log."""
    root = logging.getLogger()
    handlers, level, stdout = root.handlers[:], root.level, sys.stdout
    observability.attach(tts, log)
    logging.getLogger("wetext").error("normalised: %s", SENTENCE)
    print(SENTENCE)  # noqa: T201  # as the model does
    tts.infer(voice, SENTENCE, None)
    assert (root.handlers, root.level, sys.stdout) == (handlers, level, stdout)
    assert capsys.readouterr().out == f"{SENTENCE}\n"
    assert all(SENTENCE not in path.read_text("utf-8") for path in log.glob("*.jsonl"))


def test_a_log_of_ones_own_may_be_used(
    tts: IndexTTS2Double, voice: str, log: Path, recorder: Any
) -> None:
    """With the metrics of `observability.setup`, or of sinks of one's own."""
    metrics = Metrics()
    assert observability.attach(tts, log, metrics=metrics) is metrics
    tts.infer(voice, SENTENCE, None)
    assert [event.status for event in recorder.finished_events] == ["success"]
    assert list(log.glob("*.jsonl")) == []


def test_only_an_indextts2_can_be_attached_to(log: Path) -> None:
    """The first version of the model has no marks."""
    with pytest.raises(TypeError, match="infer_v2"):
        observability.attach(object(), log)


def test_an_object_that_lacks_a_part_is_left_as_it_is(tts: IndexTTS2Double, log: Path) -> None:
    """Every part is named; nothing is wrapped, and no log is begun."""
    infer, marks = tts.infer, tts._set_gr_progress
    del tts.bigvgan, tts.s2mel.models["cfm"]
    with pytest.raises(TypeError, match=r"lacks s2mel\.models\.cfm\.inference, bigvgan\.forward;"):
        observability.attach(tts, log)
    assert (tts.infer, tts._set_gr_progress) == (infer, marks)
    assert not log.exists()


OTHER_PROCESS = """
import sys
from model_double import IndexTTS2Double
import observability

tts = IndexTTS2Double()
def get_emb():
    print("begun", flush=True)
    sys.stdin.readline()
tts.get_emb = get_emb
observability.attach(tts, sys.argv[1])
tts.infer(sys.argv[2], "hello.", None)
"""


def test_a_second_process_writes_to_a_folder_of_its_own(
    tts: IndexTTS2Double, voice: str, log: Path
) -> None:
    """It settles no request that the first is still working on, and says where it writes."""
    here = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, log, voice],
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parents[1]}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "begun\n"
        with pytest.warns(UserWarning, match=r"writes to .*logs/2\. .*改用 .*logs/2；"):
            observability.attach(tts, log)
        tts.infer(voice, SENTENCE, None)
        other.communicate("\n" * 10)
    assert other.returncode == 0
    assert [finished(folder)["status"] for folder in (log, log / "2")] == ["success"] * 2
    assert not (log / "2/.hash_key").exists()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


# --- The real class ------------------------------------------------------------------------------

REAL = """
import contextlib, json, runpy, sys
from pathlib import Path
from tiny_model import load, saving_without_codecs, write_recording

checkpoint, version, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
tts = load(checkpoint, version)
saving_without_codecs()
voice = str(write_recording(folder / "voice.wav"))
language = {} if version == "2" else {"lang": "en"}

import observability
metrics = observability.attach(tts, folder / "logs")

heard, output = [], str(folder / "outputs" / "spk_1.wav")
with contextlib.redirect_stdout(sys.stderr):
    tts.gr_progress = lambda value, desc: heard.append(value)
    written = tts.infer(
        spk_audio_prompt=voice, text="HELLO.", output_path=output, emo_audio_prompt=None,
        emo_alpha=0.65, emo_vector=None, use_emo_text=False, emo_text=None, use_random=False,
        verbose=True, max_text_tokens_per_segment=120, do_sample=True, top_p=0.8, **language,
    )
    rate, samples = tts.infer(voice, "HELLO.", None, *language.values())
    pieces = list(tts.infer(voice, "HELLO.", None, *language.values(), stream_return=True))
    with contextlib.suppress(FileNotFoundError):
        tts.infer(str(folder / "nobody.wav"), "HELLO.", None, *language.values())
    nothing = None
    if version == "2":
        nothing = tts.infer(voice, "HELLO " * 700, None, max_text_tokens_per_segment=1000)
        example = sys.argv[4]
        sys.argv[1:] = [str(checkpoint), voice, "HELLO.", output]
        runpy.run_path(example)
print(json.dumps({
    "written": written == output, "heard": heard, "shape": samples.shape, "rate": rate,
    "pieces": len(pieces), "nothing": nothing, "metrics": metrics.text().decode(),
}))
"""


@pytest.mark.parametrize("version", ["2", "2.5"])
def test_the_real_class_is_observed(
    version: str, model_python: Path, request: pytest.FixtureRequest, tmp_path: Path, log: Path
) -> None:
    """Called as the official page calls it, for samples, as a stream, in vain; by the example."""
    fixture = {"2": "tiny_checkpoint", "2.5": "tiny_checkpoint_25"}[version]
    checkpoint = request.getfixturevalue(fixture)
    run = subprocess.run(
        [model_python, "-W", "ignore", "-c", REAL, checkpoint, version, tmp_path, EXAMPLE],
        env={**os.environ, **MODEL_ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    metrics = told.pop("metrics")
    length = told.pop("shape")[0]
    assert told == {
        "written": True,
        "heard": [0, 0.1, 0.2, 0.9] * 3 + [0] + ([0, 0.1, 0.2] if version == "2" else []),
        "rate": RATE,
        "pieces": 2,
        "nothing": None,
    }
    ended = [line for line in lines(log) if line["event"] == "synthesis.finished"]
    statuses = [(line["status"], line.get("error_type")) for line in ended]
    assert statuses[:4] == [("success", None)] * 3 + [("failed", "FileNotFoundError")]
    more = [("failed", "no_audio"), ("success", None)]
    assert statuses[4:] == (more if version == "2" else [])
    written, returned, streamed = ended[:3]
    assert written["audio_seconds"] == returned["audio_seconds"] == round(length / RATE, 3)
    assert streamed["audio_seconds"] == round(length / RATE + 0.2, 3)
    assert [line["speaker_cache_hit"] for line in ended[:3]] == [False, True, True]
    for line in ended:
        stages = [value for name, value in line.items() if name.startswith("stage_")]
        assert sum(stages) == pytest.approx(line["duration_ms"], abs=0.01)
        assert line["stage_other_ms"] < max(0.01 * line["duration_ms"], 50)
    assert 'indextts_requests_total{emotion="none",engine="indextts2",' in metrics
    assert "HELLO" not in "".join(path.read_text("utf-8") for path in log.glob("*.jsonl"))
