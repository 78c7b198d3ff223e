"""
The service put together: settings in, a running server out, and an orderly end.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import Gauge
from prometheus_client.process_collector import ProcessCollector

from indextts_app import __version__, api, engines, errors, library_api, retention, streaming
from indextts_app.desk import Desk, Now
from indextts_app.door import EdgeMiddleware, RequestIdMiddleware
from indextts_app.engines.base import Capabilities
from indextts_app.library import Library
from indextts_app.operators import Operators
from indextts_app.pages import gradio_environment
from indextts_app.readiness import Readiness
from indextts_app.settings import Settings, SettingsError
from indextts_app.synthesizer import Synthesizer
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import EngineSpec
from observability import drain, logs, recovery, set_sinks
from observability.log_store.files import FileLogStore
from observability.metrics import Metrics
from observability.resources import GpuCollector, GpuSampler, WorkerCollector, memory_of
from observability.text_facts import hash_key

log = structlog.get_logger("indextts_app.server")

SWEEP_SECONDS = 600.0
DRAIN_LOG_SECONDS = 10.0

START_SECONDS = {"indextts2": 900.0}
"""How long weights may take to be checked and loaded; 264 s were reported for a slow disk."""

SETTLE_SECONDS = {"indextts2": 20.0}
"""How long a cancelled engine may take where it cannot stop at once: a vocoder is one call."""

TRIAL_SECONDS = {"indextts2": 60.0}
"""How long a short sentence may take: a CPU needs many times what a GPU does."""


class Service:
    """Everything that lives as long as the process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(error_types=errors.codes() | {"cancelled", "process_died"})
        self.library = Library(settings, forgotten=self.metrics.forget_speaker)
        options = _engine_options(settings)
        self.features = engines.features(settings.engine, options)
        self.pool = WorkerPool(
            EngineSpec(
                engine=settings.engine,
                options=options,
                sample_voice=self._sample_voice(),
                start_seconds=settings.worker_start_seconds
                or START_SECONDS.get(settings.engine, 120.0),
                settle_seconds=SETTLE_SECONDS.get(settings.engine, 2.0),
                trial_seconds=TRIAL_SECONDS.get(settings.engine, 10.0),
                **({"python": settings.worker_python} if settings.worker_python else {}),
            ),
            size=settings.workers,
            max_queue=settings.max_queue,
            ladder=Ladder(
                empty_cache_mb=settings.empty_cache_mb,
                worker_memory_mb=settings.worker_memory_mb,
                memory_slope_mb=settings.memory_slope_mb,
                recycle_requests=settings.recycle_requests,
                idle_unload_seconds=settings.idle_unload_seconds,
                acts=settings.self_heal == "act",
            ),
            on_ready=self._tell_versions,
            on_restart=lambda reason: self.metrics.worker_restarts.labels(reason).inc(),
        )
        key = settings.hash_key
        self._hash_key = (
            key.get_secret_value().encode() if key else hash_key(settings.output_dir / ".hash_key")
        )
        self.synthesizer = Synthesizer(self.pool, settings, self._hash_key, self.library)
        self.readiness = Readiness(self.pool)
        self.operators = Operators(settings)
        self.desk = Desk(FileLogStore(settings.log_dir), settings, self._state)
        self._gpu = GpuSampler()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._let_go: list[Callable[[], None]] = []
        self._register_gauges()

    def app(self) -> FastAPI:
        """The ASGI application: API first, page last, because a page at / hides what follows."""
        app = self.api_app()
        # Gradio reads its environment when it is imported.
        gradio_environment.prepare(self.settings.output_dir)
        from indextts_app.pages import mount, synthesis_page
        from indextts_app.pages.operations import place

        self._let_go = [
            place.mount(
                app,
                self.settings,
                desk=self.desk,
                operators=self.operators,
                synthesizer=self.synthesizer,
                hash_key=self._hash_key,
            ),
            mount.mount(
                app,
                synthesis_page.build(
                    self.synthesizer, self.settings, self.features, self.operators
                ),
                self.settings,
                self.features,
            ),
        ]
        return app

    def let_go(self) -> None:
        """Close what only stays open until the client leaves; may be called by a signal."""
        if self._loop:
            for let_go in self._let_go:
                self._loop.call_soon_threadsafe(let_go)

    def api_app(self) -> FastAPI:
        """The application without its page; its lifespan starts and ends the workers."""
        settings = self.settings
        # FastAPI's own documentation page fetches its scripts from another host.
        app = FastAPIOffline(
            redoc_url=None,
            title="IndexTTS-2, observable",
            version=__version__,
            lifespan=self._lifespan,
        )
        app.include_router(
            api.router(
                self.synthesizer,
                settings,
                self.readiness,
                self.metrics,
                desk=self.desk,
                operators=self.operators,
            )
        )
        app.include_router(library_api.router(self.synthesizer, settings, self.operators))
        api.add_error_handlers(app)
        app.add_middleware(EdgeMiddleware, max_bytes=int(settings.max_upload_mb * 1e6))
        app.add_middleware(RequestIdMiddleware)
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        sweeper = asyncio.create_task(self._sweep_forever())
        self._gpu.start()
        self.pool.start()
        try:
            yield
        finally:
            given_up = await self.pool.stop(self.settings.shutdown_seconds)
            sweeper.cancel()
            self.desk.close()
            self._gpu.stop()
            written = await asyncio.to_thread(drain, DRAIN_LOG_SECONDS)
            log.info("service.stopped", requests_given_up=given_up, events_written=written)

    async def _sweep_forever(self) -> None:
        while True:
            removed = await asyncio.to_thread(
                retention.sweep,
                self.settings.output_dir,
                keep_seconds=self.settings.output_keep_hours * 3600,
            )
            if removed:
                log.info("outputs.swept", files=removed)
            await asyncio.sleep(SWEEP_SECONDS)

    def _sample_voice(self) -> Path | None:
        return self.library.speakers.sample().path if self.features.reference == "voice" else None

    def _state(self) -> Now:
        can = self.pool.capabilities
        return Now(
            engine=self.settings.engine,
            model_version=can.model_version if can else None,
            in_flight=self.synthesizer.in_flight,
            waiting=self.pool.waiting,
            max_queue=self.settings.max_queue,
            busy=self.pool.busy,
            ready=self.pool.ready_workers,
            unloaded=self.pool.unloaded_workers,
            workers=self.settings.workers,
            unavailable=self.pool.unavailable,
            memory=memory_of(self.pool.pids()),
            gpus=self._gpu.readings,
        )

    def _tell_versions(self, can: Capabilities) -> None:
        self.metrics.build_info(
            version=__version__,
            engine=can.engine,
            engine_version=can.engine_version,
            model_version=can.model_version,
        )

    def _register_gauges(self) -> None:
        registry = self.metrics.registry
        for name, text, figure in (
            ("in_flight", "Requests between door and answer.", lambda: self.synthesizer.in_flight),
            ("queue_depth", "Requests waiting for a worker.", lambda: self.pool.waiting),
            ("workers_ready", "Workers that are loaded.", lambda: self.pool.ready_workers),
            (
                "workers_unloaded",
                "Workers that were idle for so long that the next request loads them.",
                lambda: self.pool.unloaded_workers,
            ),
            ("workers_busy", "Workers with a request.", lambda: self.pool.busy),
        ):
            Gauge(f"indextts_{name}", text, registry=registry).set_function(figure)
        ProcessCollector(namespace="indextts", registry=registry)
        registry.register(WorkerCollector(self.pool.pids))
        registry.register(GpuCollector(self._gpu))


def run(settings: Settings) -> None:
    """
    Serve until a signal ends it.

    Raises:
        SettingsError: the port or one of the folders is in use, or cannot be used.
    """
    _writable(settings.log_dir, "INDEXTTS_LOG_DIR")
    _writable(settings.output_dir, "INDEXTTS_OUTPUT_DIR")
    _writable(settings.speaker_dir, "INDEXTTS_SPEAKER_DIR")
    if settings.speaker_dir.resolve().is_relative_to(settings.output_dir.resolve()):
        raise SettingsError(
            f"INDEXTTS_SPEAKER_DIR ({settings.speaker_dir}) lies in INDEXTTS_OUTPUT_DIR, where "
            f"files are deleted after {settings.output_keep_hours:g} hours: choose another folder."
        )
    with (
        _listening(settings) as listener,
        _only_writer(settings.log_dir, "INDEXTTS_LOG_DIR", ".lock"),
        _only_writer(settings.output_dir, "INDEXTTS_OUTPUT_DIR", ".outputs.lock"),
        _only_writer(settings.speaker_dir, "INDEXTTS_SPEAKER_DIR", ".speakers.lock"),
    ):
        lines = logs.set_up(
            settings.log_dir,
            keep_days=settings.log_keep_days,
            static={"service": "indextts", "version": __version__},
            stdout=settings.log_stdout,
        )
        try:
            _serve(settings, listener)
        except Exception as error:  # an edge: why the service ended belongs in its log
            log.critical("service.failed", exc_info=error)
            raise SystemExit(1) from None
        finally:
            lines.close()


def _serve(settings: Settings, listener: socket.socket) -> None:
    service = Service(settings)
    set_sinks([logs.EventLog(), service.metrics, service.readiness])
    lost = recovery.write_lost(settings.log_dir)
    log.info(
        recovery.RECONCILED,
        requests_lost=lost,
        partial_files_removed=sum(
            map(retention.remove_partial, (settings.output_dir, settings.speaker_dir))
        ),
    )
    host, port = listener.getsockname()[:2]
    log.info("service.started", engine=settings.engine, workers=settings.workers, port=port)
    logging.getLogger("uvicorn.error").addFilter(streaming.is_no_cut)
    config = uvicorn.Config(
        service.app(),
        log_config=None,
        access_log=False,
        server_header=False,
        # Not from the environment: whoever may set a client's address is an operator.
        forwarded_allow_ips="127.0.0.1",
        timeout_graceful_shutdown=int(settings.shutdown_seconds) + 1,
    )
    log.info("service.listening", url=f"http://{host}:{port}")
    if sys.__stderr__:
        sys.__stderr__.write(f"Serving on http://{host}:{port} (Ctrl-C ends it)\n")
    # uvicorn raises the signal that ended it once more for the handler before its own; the default
    # one would kill the process with its last lines unwritten.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)
    _Server(config, service).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells the service when it is asked to stop, before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.let_go()
        super().handle_exit(sig, frame)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}). "
            "Another service may have the port: set INDEXTTS_PORT."
        ) from None
    with listener:
        yield listener


def _writable(folder: Path, setting: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _cannot_write(folder, setting, error) from None


def _cannot_write(folder: Path, setting: str, error: OSError) -> SettingsError:
    return SettingsError(f"Cannot write to the folder {folder} ({error.strerror}): set {setting}.")


@contextmanager
def _only_writer(folder: Path, setting: str, lock_name: str) -> Iterator[None]:
    """Two services in one folder would settle each other's requests, and sweep their files."""
    try:
        lock = (folder / lock_name).open("w")
    except OSError as error:
        raise _cannot_write(folder, setting, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"Another service writes to {folder}: give each its own {setting}."
            ) from None
        yield


def _engine_options(settings: Settings) -> dict[str, float | str]:
    if settings.engine == "drill":
        return {
            "seconds": settings.drill_seconds,
            "slow_seconds": settings.drill_slow_seconds,
            "leak_mb": settings.drill_leak_mb,
        }
    if settings.engine == "indextts2":
        return {
            "model_dir": str(settings.model_dir),
            "model_version": settings.model_version,
            "device": settings.device,
            "half_precision": settings.half_precision,
            "emotion_from_text": settings.emotion_from_text,
            "cuda_kernel": settings.cuda_kernel,
            "deepspeed": settings.deepspeed,
            "accel": settings.accel,
            "torch_compile": settings.torch_compile,
            "speaker_cache_mb": settings.speaker_cache_mb,
        }
    return {}
