"""
The service put together: settings in, a running server out, and an orderly end.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import math
import os
import signal
import socket
import sys
import tempfile
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
from starlette.middleware.cors import CORSMiddleware

from indextts_app import (
    __version__,
    allocator,
    api,
    batch_api,
    connections,
    engines,
    errors,
    library_api,
    methods,
    retention,
    streaming,
    supervisor,
)
from indextts_app.acceptor import Acceptor
from indextts_app.access import AccessMiddleware, tell_if_open
from indextts_app.api_keys import ApiKeys
from indextts_app.archive_bucket import archived_requests
from indextts_app.batches.runner import Batches
from indextts_app.cluster.pool import ClusterPool
from indextts_app.cluster.spec import OVERTIME_SECONDS, ReplicaSpec, cluster_of
from indextts_app.connections import Connections
from indextts_app.crowd import CrowdMiddleware
from indextts_app.desk import Desk, Now
from indextts_app.door import EdgeMiddleware, RequestIdMiddleware
from indextts_app.engines.base import Capabilities
from indextts_app.healing import Healer
from indextts_app.library import Library
from indextts_app.openai_api import routes as openai_routes
from indextts_app.operators import Operators
from indextts_app.pages import gradio_environment
from indextts_app.readiness import Readiness
from indextts_app.results import weights
from indextts_app.results.cache import ResultCache
from indextts_app.security_headers import SecurityHeadersMiddleware
from indextts_app.settings import Settings, SettingsError
from indextts_app.storage import FilesInUseMiddleware, PageUploadsMiddleware, Storage
from indextts_app.supervisor import LoopWatch
from indextts_app.synthesizer import Synthesizer
from indextts_app.turnstile import Turnstile, TurnstileMiddleware
from indextts_app.workers.interface import Pool
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import EngineSpec
from observability import drain, logs, recovery, set_sinks, tracing
from observability.log_store.files import FileLogStore
from observability.log_store.sources import open_store
from observability.metrics import Metrics
from observability.resources import GpuCollector, GpuSampler, WorkerCollector, memory_of
from observability.text_facts import hash_key

log = structlog.get_logger("indextts_app.server")

EXPOSED_HEADERS = (
    "X-Request-ID",
    "X-Audio-Verdict",
    "X-Audio-Seconds",
    "X-Seed",
    "X-Hints",
    "X-Result-Cache",
    "X-Sample-Rate",
    "X-Speaker",
    "Server-Timing",
    "Retry-After",
)
"""Headers of an answer that a page of an origin that may ask can read."""

DRAIN_LOG_SECONDS = 10.0

LAST_ANSWERS_SECONDS = 3.0
"""For the answers to requests that were given up at the end of the grace."""

AT_ONCE_SECONDS = 0.5
"""After a second signal, the same."""

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep their idle connections (nginx: 60 s), which would else use one that is
just being closed; idle ones make room for others anyway."""

EXIT_FAILED = 70
"""As `EX_SOFTWARE` of sysexits.h: the service could not mend itself."""

MAX_NAMED = 50
"""Requests that are named when they are given up; each has its own line as well."""

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
        self.pool = self._pool(options)
        key = settings.hash_key
        self._hash_key = (
            key.get_secret_value().encode() if key else hash_key(settings.output_dir / ".hash_key")
        )
        self.keys = ApiKeys(settings)
        self.storage = Storage(
            settings,
            on_swept=lambda reason, files: self.metrics.files_swept.labels(reason).inc(files),
        )
        self.results = ResultCache(
            settings,
            self._hash_key,
            set_up={**options, "weights": _weights(settings)},
            stored=self.storage.added,
            failed=lambda layer: self.metrics.result_cache_failures.labels(layer).inc(),
        )
        self.healer = Healer(
            self.pool, acts=settings.self_heal == "act", give_up=lambda _reason: self._fail()
        )
        self.synthesizer = Synthesizer(
            self.pool,
            settings,
            self._hash_key,
            self.library,
            self.storage,
            self.results,
            brake=self.healer.refusal,
        )
        self.turnstile = Turnstile(self.synthesizer.admission, engine=settings.engine)
        self.batches = Batches(self.synthesizer, settings)
        self.readiness = Readiness(self.pool, trouble=lambda: self.healer.trouble)
        self.operators = Operators(settings)
        loki = settings.loki_url
        self.desk = Desk(
            FileLogStore(*settings.all_log_dirs),
            settings,
            self._state,
            own=FileLogStore(settings.log_dir),
            loki=open_store("loki", loki_url=loki) if loki else None,
            archives=archived_requests(settings),
        )
        self._gpu = GpuSampler()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.connections = Connections(connections.possible(settings.max_connections))
        self._let_go: list[Callable[[], None]] = []
        self._is_hurried = False
        self.exit_status = 0
        self._given_up = 0
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
                    self.synthesizer,
                    self.settings,
                    self.features,
                    self.operators,
                    batches=self.batches,
                    logs_in=self.keys.are_needed,
                ),
                self.settings,
                self.features,
            ),
        ]
        return app

    def begin_stop(self) -> None:
        """
        Take no more requests, and give those that run their grace; may be called by a signal.

        What only stays open until its client leaves is closed.
        """
        if self._loop:
            for begin in (*self._let_go, self._refuse_more):
                self._loop.call_soon_threadsafe(begin)

    def stop_now(self, then: Callable[[], None]) -> None:
        """End the grace, and in a moment everything else; may be called by a signal."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._give_up)
            self._loop.call_soon_threadsafe(self._loop.call_later, AT_ONCE_SECONDS, then)

    def _fail(self) -> None:
        """End in order, with a status that tells a supervisor to start it anew."""
        self.exit_status = EXIT_FAILED
        os.kill(os.getpid(), signal.SIGTERM)

    def _refuse_more(self) -> None:
        log.info("service.draining", in_flight=self.synthesizer.in_flight)
        self.pool.drain()
        if self._loop:
            self._loop.call_later(self.settings.shutdown_seconds, self._give_up)

    def _give_up(self) -> None:
        """Stop what still runs, and name it."""
        self._is_hurried = True
        if given_up := self.synthesizer.underway.give_up():
            self._given_up += len(given_up)
            log.warning(
                "requests.given_up",
                requests=len(given_up),
                request_ids=", ".join(given_up[:MAX_NAMED]),
            )

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
        routers = (
            api.router(
                self.synthesizer,
                settings,
                self.readiness,
                self.metrics,
                desk=self.desk,
                operators=self.operators,
            ),
            library_api.router(self.synthesizer, settings, self.operators),
            openai_routes.router(self.synthesizer, settings),
            batch_api.router(self.batches, self.synthesizer, settings),
        )
        for router in routers:
            app.include_router(router)
        methods.close(app, [route for router in routers for route in router.routes])
        app.include_router(openai_routes.elsewhere())
        api.add_error_handlers(app)
        app.add_middleware(CrowdMiddleware, max_held=self.connections.max_connections // 4)
        app.add_middleware(FilesInUseMiddleware, storage=self.storage)
        app.add_middleware(PageUploadsMiddleware, storage=self.storage)
        app.add_middleware(TurnstileMiddleware, turnstile=self.turnstile)
        app.add_middleware(
            AccessMiddleware,
            keys=self.keys,
            operators=self.operators,
            origins=settings.cors_origins,
        )
        app.add_middleware(
            EdgeMiddleware,
            max_bytes=int(settings.max_upload_mb * 1e6),
            body_seconds=settings.timeout_seconds,
        )
        # Without an origin that may, Gradio would let pages of any site ask.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
        app.add_middleware(SecurityHeadersMiddleware)
        app.add_middleware(RequestIdMiddleware)
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        background = [
            asyncio.create_task(self.storage.sweep_forever()),
            asyncio.create_task(self.healer.watch_forever()),
            asyncio.create_task(allocator.give_memory_back_forever()),
        ]
        self._gpu.start()
        self.pool.start()
        self.batches.start()
        try:
            yield
        finally:
            await self.batches.stop()
            grace = 0.0 if self._is_hurried else self.settings.shutdown_seconds
            given_up = self._given_up + await self.pool.stop(grace)
            await self.results.close()
            for task in background:
                task.cancel()
            self.desk.close()
            self._gpu.stop()
            written = await asyncio.to_thread(self._drain)
            log.info("service.stopped", requests_given_up=given_up, events_written=written)

    def _drain(self) -> bool:
        return self.turnstile.drain(DRAIN_LOG_SECONDS) and drain(DRAIN_LOG_SECONDS)

    def _pool(self, options: dict[str, float | str]) -> Pool:
        settings = self.settings
        cluster = cluster_of(settings)
        spec = EngineSpec(
            engine=settings.engine,
            options=options,
            sample_voice=self._sample_voice(),
            start_seconds=settings.worker_start_seconds
            or START_SECONDS.get(settings.engine, 120.0),
            settle_seconds=SETTLE_SECONDS.get(settings.engine, 2.0),
            trial_seconds=TRIAL_SECONDS.get(settings.engine, 10.0),
            secrets=_engine_secrets(settings),
            **({"python": settings.worker_python} if settings.worker_python else {}),
        )
        ladder = Ladder(
            empty_cache_mb=settings.empty_cache_mb,
            worker_memory_mb=settings.worker_memory_mb,
            memory_slope_mb=settings.memory_slope_mb,
            recycle_requests=settings.recycle_requests,
            idle_unload_seconds=settings.idle_unload_seconds,
            acts=settings.self_heal == "act",
        )
        if cluster:
            return ClusterPool(
                cluster,
                ReplicaSpec(
                    spec, ladder, cluster.memory_mb, settings.timeout_seconds + OVERTIME_SECONDS
                ),
                max_queue=settings.max_queue,
                on_ready=self._tell_versions,
                on_restart=self._count_restart,
            )
        return WorkerPool(
            spec,
            size=settings.workers,
            max_queue=settings.max_queue,
            ladder=ladder,
            on_ready=self._tell_versions,
            on_restart=self._count_restart,
        )

    def _count_restart(self, reason: str) -> None:
        self.metrics.worker_restarts.labels(reason).inc()

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
            workers=self.pool.size,
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
            device=can.device,
        )

    def _register_gauges(self) -> None:
        registry = self.metrics.registry
        for name, text, figure in (
            ("in_flight", "Requests between door and answer.", lambda: self.synthesizer.in_flight),
            ("queue_depth", "Requests waiting for a worker.", lambda: self.pool.waiting),
            (
                "queue_limit",
                "Requests that may wait; more are refused.",
                lambda: self.settings.max_queue,
            ),
            (
                "slo_objective_ratio",
                "Availability that is promised.",
                lambda: self.settings.slo_percent / 100,
            ),
            ("workers_ready", "Workers that are loaded.", lambda: self.pool.ready_workers),
            (
                "workers_unloaded",
                "Workers that were idle for so long that the next request loads them.",
                lambda: self.pool.unloaded_workers,
            ),
            ("outputs_bytes", "Audio and uploads that are kept.", lambda: self.storage.bytes_used),
            (
                "outputs_free_bytes",
                "What the file system of the output folder has left.",
                lambda: self.storage.bytes_free,
            ),
            (
                "breaker_open",
                "1 while the engine has failed its last trial.",
                lambda: self.healer.is_open,
            ),
            ("workers_busy", "Workers with a request.", lambda: self.pool.busy),
        ):
            Gauge(f"indextts_{name}", text, registry=registry).set_function(figure)
        held = Gauge(
            "indextts_result_cache_bytes",
            "What is held of results that may be served again.",
            ("layer",),
            registry=registry,
        )
        held.labels("memory").set_function(lambda: self.results.bytes_in_memory)
        held.labels("disk").set_function(lambda: self.results.bytes_on_disk)
        ProcessCollector(namespace="indextts", registry=registry)
        registry.register(WorkerCollector(self.pool.pids))
        registry.register(GpuCollector(self._gpu))


def run(settings: Settings) -> None:
    """
    Serve until a signal ends it.

    Raises:
        SettingsError: the port or one of the folders is in use, or cannot be used; no API keys.
    """
    allocator.bound()
    _writable(settings.log_dir, "INDEXTTS_LOG_DIR")
    _writable(settings.output_dir, "INDEXTTS_OUTPUT_DIR")
    _writable(settings.speaker_dir, "INDEXTTS_SPEAKER_DIR")
    _writable(settings.batch_dir, "INDEXTTS_BATCH_DIR")
    for folder, setting in (
        (settings.speaker_dir, "INDEXTTS_SPEAKER_DIR"),
        (settings.batch_dir, "INDEXTTS_BATCH_DIR"),
    ):
        if folder.resolve().is_relative_to(settings.output_dir.resolve()):
            raise SettingsError(
                f"{setting} ({folder}) lies in INDEXTTS_OUTPUT_DIR, where files are deleted after "
                f"{settings.output_keep_hours:g} hours: choose another folder."
            )
    with (
        _listening(settings) as listener,
        _only_writer(settings.log_dir, "INDEXTTS_LOG_DIR", ".lock"),
        _only_writer(settings.output_dir, "INDEXTTS_OUTPUT_DIR", ".outputs.lock"),
        _only_writer(settings.speaker_dir, "INDEXTTS_SPEAKER_DIR", ".speakers.lock"),
        _only_writer(settings.batch_dir, "INDEXTTS_BATCH_DIR", ".batches.lock"),
    ):
        lines = logs.set_up(
            settings.log_dir,
            keep_days=settings.log_keep_days,
            static={
                "service": "indextts",
                "version": __version__,
                "instance": settings.instance_name(listener.getsockname()[1]),
            },
            stdout=settings.log_stdout,
        )
        try:
            _serve(settings, listener)
        except SettingsError:
            raise
        except Exception as error:  # an edge: why the service ended belongs in its log
            log.critical("service.failed", exc_info=error)
            raise SystemExit(1) from None
        finally:
            lines.close()


def _serve(settings: Settings, listener: socket.socket) -> None:
    service = Service(settings)
    set_sinks(
        [logs.EventLog(), service.metrics, service.readiness, service.healer, *tracing.sinks()]
    )
    lost = recovery.write_lost(settings.log_dir)
    log.info(
        recovery.RECONCILED,
        requests_lost=lost,
        partial_files_removed=sum(
            map(retention.remove_partial, (settings.output_dir, settings.speaker_dir))
        ),
    )
    _use_own_temporary_files(settings.output_dir / "tmp")
    host, port = listener.getsockname()[:2]
    log.info("service.started", engine=settings.engine, workers=service.pool.size, port=port)
    logging.getLogger("uvicorn.error").addFilter(streaming.is_no_cut)
    config = uvicorn.Config(
        service.app(),
        log_config=None,
        access_log=False,
        server_header=False,
        http=service.connections.protocol,  # type: ignore[arg-type]  # a factory will do
        # Nothing here speaks it; a library for it may be there all the same, with Ray.
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # Not from the environment: whoever may set a client's address is an operator.
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        # Our own grace comes first: it answers those whose time is over.
        timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds + LAST_ANSWERS_SECONDS),
    )
    tell_if_open(settings, service.keys)
    log.info("service.listening", url=f"http://{host}:{port}")
    if sys.__stderr__:
        sys.__stderr__.write(f"Serving on http://{host}:{port} (Ctrl-C ends it)\n")
    # uvicorn raises the signal that ended it once more for the handler before its own; the default
    # one would kill the process with its last lines unwritten.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)
    server = _Server(config, service, listener)
    with _hanging_up_ends(server):
        # Without sockets of its own: uvicorn would accept everything at once.
        server.run(sockets=[])
    if service.exit_status:
        raise SystemExit(service.exit_status)


def _use_own_temporary_files(folder: Path) -> None:
    """Large uploads come in as temporary files: /tmp may be missing, read-only, or in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)


class _Server(uvicorn.Server):
    """
    Lets connections in by our own acceptor, and tells the service when it is asked to stop,
    before it waits for open connections.

    The first signal drains; a second one ends the grace of what still runs.
    """

    def __init__(self, config: uvicorn.Config, service: Service, listener: socket.socket) -> None:
        super().__init__(config)
        self._service = service
        self._listener = listener
        self._acceptor: Acceptor | None = None
        self._watch: LoopWatch | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept."""
        await super().startup(sockets=sockets)
        # What is there now stays: looking through Gradio's objects takes 0.1 s each time.
        gc.collect()
        gc.freeze()
        self._acceptor = Acceptor(
            self._listener,
            self._protocol,
            self._service.turnstile,
            max_silent=connections.unheard(self._service.connections.max_connections),
        )
        self._watch = LoopWatch(
            asyncio.get_running_loop(), acts=self._service.settings.self_heal == "act"
        )
        self._watch.start()
        supervisor.notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then end in order."""
        supervisor.notify("STOPPING=1")
        self._service.connections.are_last = True
        if self._acceptor:
            self._acceptor.close()
        await super().shutdown(sockets=sockets)
        if self._watch:
            self._watch.stop()

    def _protocol(self) -> asyncio.BaseProtocol:
        # As uvicorn does for a listener of its own.
        made: asyncio.BaseProtocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return made

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._service.stop_now(then=self._force)
            return
        self._service.begin_stop()
        super().handle_exit(sig, frame)

    def _force(self) -> None:
        self.force_exit = True


@contextmanager
def _hanging_up_ends(server: _Server) -> Iterator[None]:
    """A terminal that is closed ends the service in order; under nohup it does not."""

    def hang_up(_: int, frame: FrameType | None) -> None:
        # The shell passes it on and the system says it again: nobody asked for an end in haste.
        if not server.should_exit:
            server.handle_exit(signal.SIGTERM, frame)

    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (while ")[0]
        raise SettingsError(
            f"Cannot listen on {settings.host}:{settings.port} ({reason}). "
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


def _weights(settings: Settings) -> str | None:
    """What tells the model's weights from others; None where they are not on this machine."""
    if settings.engine != "indextts2":
        return None
    try:
        return weights.fingerprint(settings.model_dir)
    except OSError:
        return None


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
    if settings.engine == "sambert":
        return {
            "url": settings.sambert_url or "",
            "model": settings.sambert_model,
            "voices": settings.sambert_voices,
            "text_field": settings.sambert_text_field,
            "voice_field": settings.sambert_voice_field,
            "audio_field": settings.sambert_audio_field,
            "timeout_seconds": settings.remote_timeout_seconds,
        }
    if settings.engine == "openai_speech":
        return {
            "url": settings.speech_url or "",
            "dialect": settings.speech_dialect,
            "model": settings.speech_model,
            "voices": settings.speech_voices,
            "format": settings.speech_format,
            "rate": settings.speech_rate,
            "timeout_seconds": settings.remote_timeout_seconds,
        }
    return {}


def _engine_secrets(settings: Settings) -> dict[str, str]:
    if settings.engine != "openai_speech":
        return {}
    if settings.speech_api_key_file:
        try:
            key = settings.speech_api_key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(
                f"INDEXTTS_SPEECH_API_KEY_FILE cannot be read ({error.strerror}): name a file "
                "that the service may read."
            ) from None
        return {"INDEXTTS_SPEECH_API_KEY": key}
    key_or_none = settings.speech_api_key
    return {"INDEXTTS_SPEECH_API_KEY": key_or_none.get_secret_value()} if key_or_none else {}
