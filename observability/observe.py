"""
The decorator: one started and exactly one finished event for every call, whatever happens.

    @observe("render")
    def render(page: str) -> bytes:
        with stage("layout"):
            ...
        record(text_len=len(page))

Every call gets a request_id, the time of each stage, and an outcome; the events go to the sinks
that `observability.setup` (or `set_sinks`) put in place. A sink that fails is counted, and the
call goes on.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar, cast

import structlog

from observability import losses, redaction, request_id, tracing
from observability.deferred import Deferred
from observability.events import PARTS, STATUSES, Event, Scalar, Status

P = ParamSpec("P")
R = TypeVar("R")

Known = Mapping[str, Scalar | None]
Late = Callable[[], Known]

ERROR_MESSAGE_CHARS = 100

log = structlog.get_logger("observability.observe")


class Sink(Protocol):
    """Somewhere that events go: a log, metrics, spans."""

    def started(self, event: Event) -> None:
        """A call began; nothing that can fail has been tried yet."""

    def finished(self, event: Event) -> None:
        """A call ended, in whichever way `event.status` says."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    status: Status
    error_type: str | None = None
    error_message: str | None = None
    error_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Where a call's time went; `duration_ms` is the sum of the rest, to the microsecond."""

    duration_ms: float
    queue_ms: float | None
    stages_ms: Mapping[str, float]
    """The measured stages and `other`, which is all of it where no stage was measured."""
    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """What is known of the parts of stages, by their names in `events.PARTS`."""


_sinks: tuple[Sink, ...] = ()
_deferred = Deferred()
_current: ContextVar[Observation | None] = ContextVar("observation", default=None)


def set_sinks(sinks: Sequence[Sink]) -> None:
    """Send every event from now on to these sinks, in this order."""
    global _sinks
    _sinks = tuple(sinks)


def drain(timeout_seconds: float) -> bool:
    """Wait until every finished event is written; False if some are not when time is out."""
    return _deferred.drain(timeout_seconds)


def emit(kind: str, event: Event) -> None:
    """Hand an event to every sink (`kind` is started or finished); failures are counted."""
    for sink in _sinks:
        try:
            getattr(sink, kind)(event)
        except Exception:  # noqa: BLE001  # an edge: observability never fails what it observes
            losses.count(type(sink).__name__.lower())


class Observation:
    """What is known so far about one call; a context manager around the call itself."""

    def __init__(
        self,
        name: str,
        known: Known,
        *,
        late_start: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self.request_id = str(known.get("request_id") or _inherited_id() or request_id.new())
        self.current_stage: str | None = None
        self.private: list[str] = []
        self._failed: tuple[BaseException, str] | None = None
        self._known: dict[str, Scalar | None] = {**known, "request_id": self.request_id}
        enclosing = _current.get()
        trace = tracing.placed(
            self._known.pop(tracing.HEADER, None), enclosing.traceparent if enclosing else None
        )
        self._known |= trace.fields
        self.traceparent: str | None = trace.header
        """The header for whoever is asked on behalf of this call; None without a trace."""
        self._stages: dict[str, float] = {}
        self._error_stage: str | None = None
        self._late: list[tuple[Late, Known]] = []
        self._late_start = late_start
        self._has_started = False
        self._clock = clock
        self._began = clock()
        self._began_at = time.time()
        self._tokens: tuple[Token[Observation | None], Token[str | None]] | None = None

    def record(self, **fields: Scalar | None) -> None:
        """Put fields on the event; the last word on a field counts."""
        self._known.update(fields)

    def since_start_ms(self) -> float:
        """Milliseconds since the call began."""
        return (self._clock() - self._began) * 1000

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as (part of) a stage, without the stages inside it."""
        before, self.current_stage = self.current_stage, name
        began, counted = self._clock(), sum(self._stages.values())
        try:
            yield
        except BaseException as error:  # raised again; only where it happened is kept
            if self._failed is None or self._failed[0] is not error:
                self._failed = (error, name)
            raise
        finally:
            inside = sum(self._stages.values()) - counted
            self.spent(name, self._clock() - began - inside)
            self.current_stage = before

    def spent(self, name: str, seconds: float) -> None:
        """Add time to a stage that was measured elsewhere, in a worker say."""
        self._stages[name] = self._stages.get(name, 0.0) + seconds

    def started(self) -> None:
        """Write the started event, once; calls after the first do nothing."""
        if not self._has_started:
            self._has_started = True
            emit("started", Event.build(f"{self.name}.started", self._known))

    def after(self, work: Late, *, otherwise: Known) -> None:
        """
        Let `work` add fields before the finished event is written, without the caller waiting.

        Where it cannot run (backlog full, shutting down, it raised), `otherwise` is recorded.
        """
        self._late.append((work, otherwise))

    def __enter__(self) -> Self:
        self._tokens = (_current.set(self), request_id.current.set(self.request_id))
        if not self._late_start:
            self.started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.started()
        self._record_times()
        outcome = outcome_of(error, self.private)
        self._error_stage = self._stage_of(error)
        if error is not None and outcome.status == "failed" and _is_unexpected(error):
            self._log_traceback(error)
        if self._tokens:
            _current.reset(self._tokens[0])
            request_id.current.reset(self._tokens[1])
        if self._late:
            _deferred.submit(lambda whole: self._finish(outcome, whole=whole))
        else:
            self._finish(outcome, whole=True)

    def times(self) -> Times:
        """Where the time went so far."""
        duration_ms = round(self.since_start_ms(), 3)
        queue_ms = self._known.get("queue_ms")
        queue_ms = round(queue_ms, 3) if isinstance(queue_ms, int | float) else None
        stages_ms = {name: round(seconds * 1000, 3) for name, seconds in self._stages.items()}
        measured = sum(stages_ms.values()) + (queue_ms or 0.0)
        # Adding zero makes a plain zero of the negative one that rounding may leave.
        stages_ms["other"] = round(duration_ms - measured, 3) + 0.0
        parts_ms = {
            name: round(spent, 3)
            for name in PARTS
            if isinstance(spent := self._known.get(f"{name}_ms"), int | float)
        }
        return Times(duration_ms, queue_ms, stages_ms, parts_ms)

    def _record_times(self) -> None:
        times = self.times()
        self.record(
            duration_ms=times.duration_ms,
            queue_ms=times.queue_ms,
            **{f"stage_{name}_ms": spent for name, spent in times.stages_ms.items()},
        )
        work_seconds = (times.duration_ms - (times.queue_ms or 0.0)) / 1000
        audio_seconds, text_len = self._known.get("audio_seconds"), self._known.get("text_len")
        if self._known.get("result_cache_hit"):
            # Nothing was made: a rate would be one of copying.
            return
        if isinstance(audio_seconds, float) and audio_seconds > 0 and work_seconds > 0:
            self.record(rtf=round(work_seconds / audio_seconds, 6))
            if isinstance(text_len, int):
                self.record(chars_per_second=round(text_len / work_seconds, 3))

    def _finish(self, outcome: Outcome, *, whole: bool) -> None:
        for work, otherwise in self._late:
            self.record(**_late_fields(work, otherwise, whole=whole))
        status = outcome.status
        if status == "success" and self._known.get("audio_verdict", "ok") != "ok":
            status = "degraded"
        self.record(
            status=status,
            error_type=outcome.error_type,
            error_message=outcome.error_message,
            error_fingerprint=outcome.error_fingerprint,
        )
        if outcome.error_type:
            self.record(error_stage=self._error_stage)
        emit(
            "finished",
            Event.build(f"{self.name}.finished", self._known, began_at=self._began_at),
        )

    def _stage_of(self, error: BaseException | None) -> str | None:
        """Where an error happened: the stage that it, or what led to it, was raised in."""
        while error is not None:
            if self._failed and self._failed[0] is error:
                return self._failed[1]
            error = error.__cause__ or error.__context__
        return self.current_stage

    def _log_traceback(self, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error))
        log.error("exception.unexpected", traceback=redaction.mask_private(trace, self.private))


def observe(
    name: str,
    *,
    fields: Callable[..., Known] | None = None,
    late_start: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Write `<name>.started` and exactly one `<name>.finished` for every call of the function.

    Works on plain and on async functions; the finished event is written when the function
    returns, raises or is cancelled, and what it returns or raises goes on unchanged.

    Args:
        name: first part of the event's name.
        fields: called with the call's own arguments, returns fields known from the start
            (`request_id` among them, where the caller has one already, and `traceparent`, the
            header of a caller that traces).
        late_start: the function calls `current().started()` itself once it knows what was
            asked; the started event is written at the latest with the finished one.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator: it has done nothing yet when it returns. "
                "Observe the function that consumes it."
            )

        def observation(*args: P.args, **kwargs: P.kwargs) -> Observation:
            known: Known = {}
            try:
                known = dict(fields(*args, **kwargs)) if fields else {}
            except Exception:  # noqa: BLE001  # an edge: observability never fails what it observes
                losses.count("fields")
            return Observation(name, known, late_start=late_start)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def observed_async(*args: P.args, **kwargs: P.kwargs) -> object:
                with observation(*args, **kwargs):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", observed_async)

        @functools.wraps(function)
        def observed(*args: P.args, **kwargs: P.kwargs) -> R:
            with observation(*args, **kwargs):
                return function(*args, **kwargs)

        return observed

    return decorate


def current() -> Observation | None:
    """The observation of the decorated call that this code runs in."""
    return _current.get()


def record(**fields: Scalar | None) -> None:
    """Put fields on the event of the decorated call that this code runs in, if any."""
    if observation := current():
        observation.record(**fields)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time the block as a stage of the decorated call that this code runs in, if any."""
    if observation := current():
        with observation.stage(name):
            yield
    else:
        yield


def outcome_of(error: BaseException | None, private: Sequence[str] = ()) -> Outcome:
    """
    The outcome that an exception stands for.

    An exception may say so itself: `status` (one of `events.STATUSES`) and with it `code`.
    Otherwise asyncio's cancellation is `cancelled`, a TimeoutError `timeout`, anything else
    `failed` under its class name. `private` texts and personal data never reach the message.
    """
    if error is None:
        return Outcome("success")
    if own_status := _own_status(error):
        status, error_type = own_status, str(getattr(error, "code", type(error).__name__))
    elif isinstance(error, asyncio.CancelledError):
        status = error_type = "cancelled"
    elif isinstance(error, TimeoutError):
        status = error_type = "timeout"
    else:
        status, error_type = "failed", type(error).__name__
    message = redaction.redact(redaction.mask_private(_said(error), private))
    return Outcome(
        status=status,
        error_type=error_type,
        error_message=message[:ERROR_MESSAGE_CHARS] or None,
        error_fingerprint=_fingerprint(error_type, error),
    )


def _fingerprint(error_type: str, error: BaseException) -> str:
    """Same kind of error from the same function: same fingerprint, whatever the message says."""
    origin = getattr(error, "origin", None)
    if not origin and (trace := error.__traceback__):
        while trace.tb_next:
            trace = trace.tb_next
        code = trace.tb_frame.f_code
        origin = f"{code.co_filename.rpartition('/')[2]}:{code.co_name}"
    return hashlib.sha256(f"{error_type}@{origin or ''}".encode()).hexdigest()[:12]


def _is_unexpected(error: BaseException) -> bool:
    return isinstance(error, Exception) and _own_status(error) is None


def _own_status(error: BaseException) -> Status | None:
    """Only with a status is a `code` one of ours: SystemExit and HTTP clients' errors have one."""
    return next((status for status in STATUSES if status == getattr(error, "status", None)), None)


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an edge: foreign code runs here
        return ""


def _inherited_id() -> str | None:
    """The request_id of this context, unless an enclosing observation already bears it."""
    inherited = request_id.current.get()
    enclosing = _current.get()
    return None if enclosing and enclosing.request_id == inherited else inherited


def _late_fields(work: Late, otherwise: Known, *, whole: bool) -> Known:
    if not whole:
        return otherwise
    try:
        return dict(work())
    except Exception:  # noqa: BLE001  # an edge: observability never fails what it observes
        losses.count("deferred")
        return otherwise
