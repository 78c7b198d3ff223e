"""
Two lines give an existing IndexTTS-2 script, or the official webui.py, its log and its metrics.

    import observability
    observability.attach(tts)

Each call of `tts.infer` from then on is one request: a started and a finished line, stages, a check
of the audio, metrics. What `infer` returns or raises is what it would be without. Where this module
fails, the loss is counted and the synthesis is not touched.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import numpy as np
import psutil
import structlog
from prometheus_client import start_http_server

from observability import indextts_call, indextts_probe, logs, losses, recovery
from observability.day_file import KEEP_DAYS, DayFile
from observability.indextts_call import Asked, Audio, Known, Samples
from observability.indextts_probe import Measured, Probe
from observability.metrics import Metrics
from observability.observe import Observation, drain, set_sinks
from observability.own_folder import own_folder
from observability.text_facts import hash_key

R = TypeVar("R")

EVENT: Final = "synthesis"
ENGINE: Final = "indextts2"
STATIC: Final = {"service": "indextts-attached"}
HASH_KEY_FILE: Final = ".hash_key"
DRAIN_SECONDS: Final = 5.0
MEGABYTE: Final = 1e6


@dataclass(slots=True)
class _Process:
    """What all instances of one process share."""

    metrics: Metrics | None = None
    port: int | None = None
    lock: TextIO | None = None
    """Open for as long as the process may write to its folder."""


_process = _Process()
_lock = threading.Lock()


class NoAudio(Exception):
    """`infer` returned None: a segment has more tokens than the model has positions for."""

    status = "failed"
    code = "no_audio"


class Closed(Exception):
    """Whoever consumed the stream left before its end."""

    status = "cancelled"
    code = "cancelled"


def attach(
    tts: Any,  # noqa: ANN401  # a class of a package that is not installed here
    log_dir: str | Path = "logs",
    *,
    stdout: bool = False,
    keep_days: int = KEEP_DAYS,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
    metrics: Metrics | None = None,
    instance: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Metrics:
    """
    Observe every call of `tts.infer` from now on; a second call for the same instance does nothing.

    The log holds this library's own lines: what the program prints or logs stays where it is. Log
    and metrics are made by the first call in a process and shared by the later ones.

    Args:
        tts: an instance of `IndexTTS2`, of `indextts.infer_v2` or `indextts.infer_v2_5`.
        log_dir: folder of the JSON lines; made if missing, with the key that texts are hashed
            with. Where another process writes there, this one warns and takes the folder `2` in
            it, or `3` …, by the same key.
        stdout: whether the lines go to stdout as well.
        keep_days: files of older days are deleted, at least 7 are kept.
        metrics_port: where Prometheus may scrape.
        metrics_host: the address of that port.
        metrics: those of an earlier `observability.setup`, whose log is then used.
        instance: name of this process among several, in every line.
        clock: seconds that never go back.

    Returns:
        The metrics: `metrics.text()`, or its `registry` for a server of your own.

    Raises:
        TypeError: the object is no IndexTTS2, or lacks a part; nothing of it was changed.
        OSError: the folder cannot be written, or the port is taken.
    """
    with _lock:
        observed_by: Metrics | None = getattr(getattr(tts, "infer", None), "observed_by", None)
        if observed_by is not None:
            return observed_by
        indextts_probe.check(tts)
        folder = Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        key = hash_key(folder / HASH_KEY_FILE)
        own = _process.metrics = (
            metrics
            or _process.metrics
            or _log_to(folder, stdout=stdout, keep_days=keep_days, instance=instance)
        )
        if metrics_port is not None and _process.port is None:
            _serve(own, metrics_port, metrics_host)
        probe = Probe(tts, clock=clock)
        tts.infer = _observed(tts, probe, own, functools.partial(_Request, tts, key, clock))
        return own


def _log_to(folder: Path, *, stdout: bool, keep_days: int, instance: str | None) -> Metrics:
    """As `observability.setup` does it, but for this library's loggers only."""
    folder, _process.lock = own_folder(folder, stacklevel=4)
    sinks: dict[str, logs.LineSink] = {"file": DayFile(folder, keep_days=keep_days)}
    if stdout:
        sinks["stdout"] = logs.StdoutLines(os.dup(1))
    handler = logs.LineHandler(sinks, STATIC | ({"instance": instance} if instance else {}))
    logger = logging.getLogger("observability")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not structlog.is_configured():
        logs.configure_structlog()
    metrics = Metrics()
    set_sinks([logs.EventLog(), metrics])
    lost = recovery.write_lost(folder)
    # Not through structlog, which the program may have configured for itself: without this line
    # the next start would count the same requests as lost once more.
    logger.info({"event": recovery.RECONCILED, "requests_lost": lost})
    atexit.register(handler.close)
    atexit.register(drain, DRAIN_SECONDS)
    return metrics


def _serve(metrics: Metrics, port: int, host: str) -> None:
    try:
        start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the metrics cannot be served at {host}:{port} ({error.strerror}). Give attach another"
            f" metrics_port. 指标端口 {host}:{port} 不可用，请为 attach 换一个 metrics_port。",
        ) from error
    _process.port = port


def _observed(
    tts: Any,  # noqa: ANN401
    probe: Probe,
    metrics: Metrics,
    begun: Callable[[Asked], _Request],
) -> Callable[..., Any]:
    infer = tts.infer
    signature = inspect.signature(infer)

    @functools.wraps(infer)
    def observed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        asked = _quietly(indextts_call.asked_of, signature, args, kwargs)
        request = None if asked is None else _quietly(begun, asked)
        if request is None:
            return infer(*args, **kwargs)
        if not request.streams:
            request.begin()
        with request.failing(), probe.measure(on_stage=request.stage) as measured:
            request.measured = measured
            result = infer(*args, **kwargs)
        if inspect.isgenerator(result):
            return request.streamed(result)
        request.end(result)
        return result

    observed.observed_by = metrics  # type: ignore[attr-defined]
    return observed


class _Request:
    """One call of `infer` from its arguments to its finished line; fails nobody."""

    def __init__(
        self,
        tts: Any,  # noqa: ANN401
        key: bytes,
        clock: Callable[[], float],
        asked: Asked,
    ) -> None:
        self.measured = Measured()
        self.streams = bool(asked.get("stream_return"))
        self._asked = asked
        self._clock = _Stopwatch(clock)
        if not self.streams:  # which do nothing until they are asked for a piece
            self._clock.go_on()
        self._observation = Observation(EVENT, {}, clock=self._clock)
        self._observation.private += indextts_call.private_of(asked)
        self._device = str(getattr(tts, "device", "cpu"))
        for describe in (
            lambda: _model_fields(tts, self._device),
            lambda: indextts_call.text_fields(asked, key),
            lambda: indextts_call.speaker_fields(asked),
            lambda: indextts_call.emotion_fields(asked),
            lambda: indextts_call.other_fields(asked),
        ):
            self._record(describe)

    def begin(self) -> None:
        """Write the started line."""
        self._clock.go_on()
        _quietly(self._observation.started)
        self._record(_memory_before, self._device)

    def stage(self, name: str) -> None:
        """The stage that an error from now on happened in."""
        self._observation.current_stage = name

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Write the finished line if the block raises."""
        try:
            yield
        except BaseException as error:  # raised again; the finished line tells of it
            self._finish(error)
            raise

    def end(self, result: Any) -> None:  # noqa: ANN401
        """Write the finished line of a call that returned its audio, or nothing."""
        if result is None:
            self._finish(NoAudio("infer returned None"))
            return
        with self._observation.stage("post"):
            audio = _quietly(indextts_call.audio_of, result)
            self._record(indextts_call.file_fields, result)
            self._judge(audio)
        self._finish(None)

    def streamed(self, generator: Generator[Any, Any, Any]) -> Generator[Any, None, Any]:
        """
        The same pieces; the finished line follows the last one, an error, or the end of interest.

        The clock stands still while the consumer has the piece: what it does is not our time.
        """
        self.begin()
        heard = _Heard()
        try:
            while True:
                self._clock.go_on()
                try:
                    piece = next(generator)
                except StopIteration as end:
                    self._end_stream(heard)
                    return end.value
                self._hear(heard, piece)
                self._clock.stop()
                yield piece
        except GeneratorExit:
            self._clock.go_on()
            self._record(heard.length_fields)
            self._finish(Closed("the stream was closed before its end"))
            raise
        except BaseException as error:  # raised again; the finished line tells of it
            self._finish(error)
            raise
        finally:
            generator.close()

    def _hear(self, heard: _Heard, piece: object) -> None:
        if (samples := _quietly(indextts_call.piece_of, piece)) is not None:
            if not heard.length:
                self._observation.record(
                    first_audio_ms=round(self._observation.since_start_ms(), 3)
                )
            heard.hear(samples)

    def _end_stream(self, heard: _Heard) -> None:
        if not heard.length:
            self._finish(NoAudio("the stream was empty"))
            return
        with self._observation.stage("post"):
            self._judge(_quietly(heard.audio))
        self._finish(None)

    def _judge(self, audio: Audio | None) -> None:
        if audio is not None:
            limited = bool(self.measured.length_limited)
            self._record(indextts_call.audio_fields, audio, self._asked, limited)

    def _finish(self, error: BaseException | None) -> None:
        _quietly(self._write_finished, error)

    def _write_finished(self, error: BaseException | None) -> None:
        observation = self._observation
        for name, seconds in self.measured.stages.items():
            observation.spent(name, seconds)
        observation.record(**self.measured.fields())
        self._record(_memory_after, self._device)
        # Entered for its end only: a stream's consumer may go on in another context.
        observation.__enter__()
        observation.__exit__(type(error) if error else None, error, None)

    def _record(self, describe: Callable[..., Known], *args: object) -> None:
        self._observation.record(**(_quietly(describe, *args) or {}))


class _Heard:
    """What a stream sent so far, within bounds."""

    def __init__(self) -> None:
        self.length = 0
        self._samples: list[Samples] = []

    def hear(self, samples: Samples) -> None:
        if self.length < indextts_call.CHECKED_SECONDS * indextts_call.SAMPLE_RATE:
            self._samples.append(samples)
        self.length += samples.size

    def length_fields(self) -> Known:
        rate = indextts_call.SAMPLE_RATE
        return {"audio_seconds": round(self.length / rate, 3), "sample_rate": rate}

    def audio(self) -> Audio:
        rate = indextts_call.SAMPLE_RATE
        return Audio(np.concatenate(self._samples), rate, self.length / rate)


class _Stopwatch:
    """Seconds that pass only while it goes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._passed = 0.0
        self._since: float | None = None

    def __call__(self) -> float:
        if self._since is None:
            return self._passed
        return self._passed + self._clock() - self._since

    def stop(self) -> None:
        self._passed, self._since = self(), None

    def go_on(self) -> None:
        if self._since is None:
            self._since = self._clock()


def _model_fields(tts: Any, device: str) -> Known:  # noqa: ANN401
    version = getattr(tts, "model_version", None)
    return {
        "engine": ENGINE,
        "engine_version": _package_version(),
        "model_version": str(version) if isinstance(version, int | float | str) else None,
        "device": device,
    }


@functools.cache
def _package_version() -> str | None:
    try:
        return metadata.version("indextts")
    except metadata.PackageNotFoundError:
        return None


def _memory_before(device: str) -> Known:
    if not device.startswith("cuda"):
        return {}
    from torch import cuda

    cuda.reset_peak_memory_stats(device)
    return {
        "gpu_memory_before_mb": _mb(cuda.memory_allocated(device)),
        "gpu_reserved_before_mb": _mb(cuda.memory_reserved(device)),
    }


def _memory_after(device: str) -> Known:
    known: Known = {"worker_memory_mb": _mb(psutil.Process().memory_info().rss)}
    if device.startswith("cuda"):
        from torch import cuda

        known |= {
            "gpu_memory_peak_mb": _mb(cuda.max_memory_allocated(device)),
            "gpu_memory_after_mb": _mb(cuda.memory_allocated(device)),
            "gpu_reserved_peak_mb": _mb(cuda.max_memory_reserved(device)),
            "gpu_reserved_after_mb": _mb(cuda.memory_reserved(device)),
        }
    return known


def _mb(count: float) -> float:
    return round(count / MEGABYTE, 3)


def _quietly(function: Callable[..., R], *args: object) -> R | None:
    try:
        return function(*args)
    except Exception:  # noqa: BLE001  # an edge: observability never fails what it observes
        losses.count("attach")
        return None
