"""
Promises of `observability.observe`.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from observability import drain, losses, observe, record, request_id, set_sinks, stage
from observability.deferred import Deferred
from observability.events import STATUSES, Event, Status
from observability.observe import Observation, current, emit, outcome_of

if TYPE_CHECKING:
    from tests.conftest import Recorder

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"
OTHER_ID = "01K8ZQ3V7M2ABCDEFGHJKMNPQR"
SENTENCE = "我的银行密码是芝麻开门"
PATIENCE_SECONDS = 30.0


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, milliseconds: float) -> None:
        self.now += milliseconds / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every observation that is begun from now on."""
    fake = Clock()
    monkeypatch.setitem(Observation.__init__.__kwdefaults__, "clock", fake)
    return fake


def fails(error: BaseException) -> Callable[[], None]:
    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> None:
        raise error

    return render


def without_fingerprint(event: Event) -> Event:
    assert event.error_fingerprint
    assert len(event.error_fingerprint) == 12
    return replace(event, error_fingerprint=None)


# --- How a call ends -----------------------------------------------------------------------------


def test_a_success_tells_what_was_asked_where_time_went_and_what_came_out(
    clock: Clock, recorder: Recorder
) -> None:
    """One started and one finished event hold all that is known, and nothing else."""

    @observe("render", fields=lambda page: {"request_id": ID, "text_len": len(page)})
    def render(page: str) -> bytes:
        clock.passes(5)
        with stage("text_prep"):
            clock.passes(2)
        with stage("acoustic"):
            clock.passes(30.5)
        record(queue_ms=4.0, audio_seconds=2.0, audio_verdict="ok", pages=3)
        clock.passes(3)
        return page.encode()

    assert render("page") == b"page"
    assert recorder.started_events == [Event(event="render.started", request_id=ID, text_len=4)]
    assert recorder.finished_events == [
        Event(
            event="render.finished",
            request_id=ID,
            text_len=4,
            status="success",
            duration_ms=40.5,
            queue_ms=4.0,
            stage_text_prep_ms=2.0,
            stage_acoustic_ms=30.5,
            stage_other_ms=4.0,
            audio_seconds=2.0,
            audio_verdict="ok",
            rtf=0.01825,
            chars_per_second=109.589,
            extra={"pages": 3},
        )
    ]


@pytest.mark.usefixtures("clock")
def test_in_a_call_without_stages_all_of_it_is_other(recorder: Recorder) -> None:
    """Times add up for every call, also for one that measured nothing."""

    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> None:
        pass

    render()
    assert recorder.finished_events == [
        Event(
            event="render.finished",
            request_id=ID,
            status="success",
            duration_ms=0.0,
            stage_other_ms=0.0,
        )
    ]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("verdict", ["silent", "clipped", "truncated", "wrong_format"])
def test_delivered_but_flawed_is_degraded(recorder: Recorder, verdict: str) -> None:
    """A call that returns audio with any verdict but ok is no success."""

    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> None:
        record(audio_verdict=verdict)

    render()
    assert recorder.finished_events == [
        Event(
            event="render.finished",
            request_id=ID,
            status="degraded",
            duration_ms=0.0,
            stage_other_ms=0.0,
            audio_verdict=verdict,
        )
    ]


def test_an_unexpected_exception_is_failed_under_its_class_name(
    clock: Clock, recorder: Recorder
) -> None:
    """The event has the class, the message and the stage; a traceback is logged beside it."""

    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> None:
        with stage("vocoder"):
            clock.passes(1)
            raise ZeroDivisionError("no sound at all")

    with capture_logs() as logged, pytest.raises(ZeroDivisionError, match="no sound at all"):
        render()
    (finished,) = recorder.finished_events
    assert without_fingerprint(finished) == Event(
        event="render.finished",
        request_id=ID,
        status="failed",
        duration_ms=1.0,
        stage_vocoder_ms=1.0,
        stage_other_ms=0.0,
        error_type="ZeroDivisionError",
        error_message="no sound at all",
        error_stage="vocoder",
    )
    (line,) = logged
    trace = line.pop("traceback")
    assert line == {"event": "exception.unexpected", "log_level": "error"}
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ZeroDivisionError: no sound at all\n")


def test_a_message_is_cut_at_100_characters() -> None:
    """However much an exception says, the event holds 100 characters of it."""
    assert outcome_of(ValueError("长" * 101)).error_message == "长" * 100


def test_an_exception_without_a_message_has_none() -> None:
    """An empty message is absent, not empty."""
    assert outcome_of(ValueError()).error_message is None


def test_an_exception_that_cannot_be_printed_is_told_all_the_same(recorder: Recorder) -> None:
    """A bug in an exception's own `__str__` neither replaces it nor costs the event."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("the bug")

    with pytest.raises(Unprintable):
        fails(Unprintable())()
    (finished,) = recorder.finished_events
    assert (finished.error_type, finished.error_message) == ("Unprintable", None)


def test_the_fingerprint_knows_kind_and_place_and_not_the_message() -> None:
    """The same error of the same function has one fingerprint; another place or kind, another."""

    def here(error: Exception) -> str | None:
        try:
            raise error
        except (ValueError, KeyError) as caught:
            return outcome_of(caught).error_fingerprint

    def there(error: Exception) -> str | None:
        try:
            raise error
        except (ValueError, KeyError) as caught:
            return outcome_of(caught).error_fingerprint

    first = here(ValueError("row 1"))
    assert here(ValueError("row 2")) == first
    assert len({first, there(ValueError("row 1")), here(KeyError("row 1"))}) == 3


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("own", STATUSES)
def test_an_error_that_names_its_status_and_code_is_believed(
    recorder: Recorder, own: Status
) -> None:
    """Status and code go to the event as they are, and no traceback is logged."""

    class Refused(Exception):
        status = own
        code = "queue_full"

    with capture_logs() as logged, pytest.raises(Refused):
        fails(Refused("Try again."))()
    (finished,) = recorder.finished_events
    assert without_fingerprint(finished) == Event(
        event="render.finished",
        request_id=ID,
        status=own,
        duration_ms=0.0,
        stage_other_ms=0.0,
        error_type="queue_full",
        error_message="Try again.",
    )
    assert logged == []


def test_a_code_without_one_of_our_statuses_is_somebody_elses() -> None:
    """HTTP clients' errors and SystemExit have a `code` too; it never becomes an error type."""

    class HttpError(Exception):
        status = 503
        code = 503

    assert outcome_of(HttpError("busy")).error_type == "HttpError"
    assert outcome_of(SystemExit("some free text")).error_type == "SystemExit"


@pytest.mark.usefixtures("clock")
def test_a_cancelled_task_is_cancelled(recorder: Recorder) -> None:
    """Who waits for the task sees asyncio's own cancellation, and the event says cancelled."""

    async def scenario() -> None:
        begun = asyncio.Event()

        @observe("render", fields=lambda: {"request_id": ID})
        async def render() -> None:
            begun.set()
            await asyncio.Future()

        task = asyncio.create_task(render())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture_logs() as logged:
        asyncio.run(scenario())
    (finished,) = recorder.finished_events
    assert without_fingerprint(finished) == Event(
        event="render.finished",
        request_id=ID,
        status="cancelled",
        duration_ms=0.0,
        stage_other_ms=0.0,
        error_type="cancelled",
    )
    assert logged == []


@pytest.mark.usefixtures("clock")
def test_time_that_ran_out_is_timeout(recorder: Recorder) -> None:
    """asyncio's timeout inside the function is told as timeout."""

    @observe("render", fields=lambda: {"request_id": ID})
    async def render() -> None:
        async with asyncio.timeout(0):
            await asyncio.Future()

    with capture_logs() as logged, pytest.raises(TimeoutError):
        asyncio.run(render())
    (finished,) = recorder.finished_events
    assert without_fingerprint(finished) == Event(
        event="render.finished",
        request_id=ID,
        status="timeout",
        duration_ms=0.0,
        stage_other_ms=0.0,
        error_type="timeout",
    )
    assert logged == []


@pytest.mark.usefixtures("clock")
def test_control_c_ends_a_call_like_an_error_and_goes_on(recorder: Recorder) -> None:
    """KeyboardInterrupt passes through, has its event, and needs no traceback."""
    with capture_logs() as logged, pytest.raises(KeyboardInterrupt):
        fails(KeyboardInterrupt())()
    (finished,) = recorder.finished_events
    assert without_fingerprint(finished) == Event(
        event="render.finished",
        request_id=ID,
        status="failed",
        duration_ms=0.0,
        stage_other_ms=0.0,
        error_type="KeyboardInterrupt",
    )
    assert logged == []


@pytest.mark.parametrize(
    "message",
    [
        SENTENCE,
        f"cannot read {SENTENCE!r}",
        ascii(SENTENCE),
        str(SENTENCE.encode()),
        f"half of it: {SENTENCE[3:9]}",
    ],
)
def test_private_text_is_not_in_the_message(recorder: Recorder, message: str) -> None:
    """What the observation knows to be private is masked, quoted or escaped, in event and trace."""

    @observe("render")
    def render() -> None:
        observation = current()
        assert observation
        observation.private.append(SENTENCE)
        raise ValueError(message)

    with capture_logs() as logged, pytest.raises(ValueError):
        render()
    told = str(recorder.finished_events) + str(logged)
    assert "[text]" in told
    assert SENTENCE[3:9] not in told
    assert ascii(SENTENCE[3:9])[1:-1] not in told


def test_personal_data_is_not_in_the_message() -> None:
    """A phone number in an exception's message is redacted, whoever raised it."""
    assert outcome_of(ValueError("电话13812345678")).error_message == "电话[phone]"


# --- What the caller sees ------------------------------------------------------------------------


@pytest.mark.usefixtures("recorder")
def test_what_is_returned_or_raised_goes_through_unchanged() -> None:
    """A plain function's result and exception are the very objects it made."""
    made, error = object(), LookupError("as it was")
    assert observe("render")(lambda: made)() is made
    with pytest.raises(LookupError) as caught:
        fails(error)()
    assert caught.value is error


@pytest.mark.usefixtures("recorder")
def test_what_is_returned_or_raised_goes_through_unchanged_when_awaited() -> None:
    """An async function's result and exception are the very objects it made."""
    made, error = object(), LookupError("as it was")

    @observe("render")
    async def render(raises: bool) -> object:
        if raises:
            raise error
        return made

    assert asyncio.run(render(raises=False)) is made
    with pytest.raises(LookupError) as caught:
        asyncio.run(render(raises=True))
    assert caught.value is error


def test_a_decorated_function_still_looks_like_itself() -> None:
    """Name, docstring and signature stay, and an async function is one to who inspects it."""

    @observe("render")
    async def render(page: str) -> bytes:
        """Turn a page into bytes."""
        return page.encode()

    assert (render.__name__, render.__doc__) == ("render", "Turn a page into bytes.")
    assert str(inspect.signature(render)) == "(page: 'str') -> 'bytes'"
    assert inspect.iscoroutinefunction(render)


def test_a_sink_that_raises_is_counted_and_nothing_else(recorder: Recorder) -> None:
    """The call succeeds, the sinks after the broken one get their events, and the loss shows."""

    class Broken:
        def started(self, event: Event) -> None:
            raise OSError("disk")

        def finished(self, event: Event) -> None:
            raise OSError("disk")

    set_sinks([Broken(), recorder])
    assert observe("render")(lambda: "sound")() == "sound"
    assert losses.lost()["broken"] == 2
    assert len(recorder.started_events) == len(recorder.finished_events) == 1


def test_fields_that_raise_are_counted_and_the_call_goes_on(recorder: Recorder) -> None:
    """A bug in the `fields` of a decorator costs these fields, never the call."""

    @observe("render", fields=lambda page: {"text_len": len(page)})
    def render(page: str | None) -> str:
        return page or "empty"

    before = losses.lost().get("fields", 0)
    assert render(None) == "empty"
    assert losses.lost()["fields"] == before + 1
    assert [event.status for event in recorder.finished_events] == ["success"]


def test_outside_of_a_call_there_is_nothing_to_tell(recorder: Recorder) -> None:
    """`record` and `stage` may be used in code that also runs without a decorated call."""
    record(speaker="zhiyan")
    with stage("acoustic"):
        assert current() is None
    assert recorder.started_events == recorder.finished_events == []


# --- Time ----------------------------------------------------------------------------------------


@settings(database=None, deadline=None, max_examples=200)
@given(
    stages=st.lists(
        st.tuples(
            st.sampled_from(["text_prep", "acoustic", "vocoder"]), st.floats(0, 5000, width=32)
        ),
        min_size=1,
        max_size=6,
    ),
    queue_ms=st.none() | st.floats(0, 5000, width=32),
    rest_ms=st.floats(0, 50),
)
def test_duration_is_queue_plus_stages_plus_other(
    stages: list[tuple[str, float]], queue_ms: float | None, rest_ms: float
) -> None:
    """To the microsecond, whatever the figures: no time is lost, counted twice or minus zero."""
    clock = Clock()
    observation = Observation("render", {"queue_ms": queue_ms}, clock=clock)
    clock.passes((queue_ms or 0) + rest_ms)
    for name, spent_ms in stages:
        with observation.stage(name):
            clock.passes(spent_ms)
    times = observation.times()
    assert round((times.queue_ms or 0) + sum(times.stages_ms.values()), 3) == times.duration_ms
    assert str(times.stages_ms["other"]) != "-0.0"
    assert times.stages_ms["other"] >= -0.01


def test_the_parts_of_a_stage_are_known_and_counted_once() -> None:
    """What a stage's time is made of stands beside the stages and adds nothing to them."""
    observation = Observation("render", {"acoustic_gpt_ms": 7.0004, "acoustic_s2mel_ms": None})
    observation.spent("acoustic", 0.009)
    times = observation.times()
    assert times.parts_ms == {"acoustic_gpt": 7.0}
    assert set(times.stages_ms) == {"acoustic", "other"}


@pytest.mark.parametrize("jump_seconds", [3600.0, -3600.0])
def test_a_clock_that_is_set_moves_no_duration(
    jump_seconds: float, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an hour, forward or back, under a request: its times are those that have passed."""
    wall = time.time

    @observe("render")
    def render() -> None:
        with stage("acoustic"):
            monkeypatch.setattr(time, "time", lambda: wall() + jump_seconds)

    render()
    (event,) = recorder.finished_events
    assert event.duration_ms is not None
    assert event.stage_acoustic_ms is not None
    assert 0 <= event.stage_acoustic_ms <= event.duration_ms < 60_000


def test_a_stage_inside_another_is_counted_once(clock: Clock) -> None:
    """The outer stage's time is without the inner one's, whether timed here or in a worker."""
    observation = Observation("render", {})
    with observation.stage("acoustic"):
        clock.passes(10)
        with observation.stage("vocoder"):
            clock.passes(5)
        clock.passes(3)
        observation.spent("speaker_enc", 0.003)
    assert observation.times().stages_ms == {
        "vocoder": 5.0,
        "speaker_enc": 3.0,
        "acoustic": 10.0,
        "other": 0.0,
    }


def test_a_stage_that_is_entered_again_adds_up(clock: Clock) -> None:
    """The parts of a stage that comes in turns are one figure."""
    observation = Observation("render", {})
    for _ in range(3):
        with observation.stage("acoustic"):
            clock.passes(2)
        with observation.stage("vocoder"):
            clock.passes(1)
    assert observation.times().stages_ms == {"acoustic": 6.0, "vocoder": 3.0, "other": 0.0}


@pytest.mark.parametrize(
    ("fails_in", "told"),
    [("outer", "acoustic"), ("inner", "vocoder"), ("after inner", "acoustic"), ("after", None)],
)
def test_an_error_names_the_innermost_stage_that_ran(
    recorder: Recorder, fails_in: str, told: str | None
) -> None:
    """A stage that ended well is not blamed for what happens after it."""

    def maybe(place: str) -> None:
        if place == fails_in:
            raise LookupError(place)

    @observe("render")
    def render() -> None:
        with stage("acoustic"):
            maybe("outer")
            with stage("vocoder"):
                maybe("inner")
            maybe("after inner")
        maybe("after")

    with capture_logs(), pytest.raises(LookupError):
        render()
    assert [event.error_stage for event in recorder.finished_events] == [told]


def test_a_stage_that_failed_has_its_time(clock: Clock, recorder: Recorder) -> None:
    """The time until the error counts for the stage, so that a slow failure can be seen."""

    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> None:
        with stage("acoustic"):
            clock.passes(1500)
            raise LookupError

    with capture_logs(), pytest.raises(LookupError):
        render()
    assert [event.stage_acoustic_ms for event in recorder.finished_events] == [1500.0]


# --- When events are written ---------------------------------------------------------------------


def test_started_is_written_before_the_function_runs(recorder: Recorder) -> None:
    """A crash in the body finds the started event already handed to every sink."""
    seen: list[int] = []

    @observe("render")
    def render() -> None:
        seen.append(len(recorder.started_events))

    render()
    assert seen == [1]


def test_a_late_start_tells_what_was_learned_and_is_written_once(recorder: Recorder) -> None:
    """`started()` writes the fields known by then; calling it again writes nothing."""

    @observe("render", fields=lambda: {"request_id": ID}, late_start=True)
    def render() -> None:
        assert recorder.started_events == []
        record(speaker="zhiyan")
        observation = current()
        assert observation
        observation.started()
        observation.started()
        record(audio_seconds=1.0)

    render()
    assert recorder.started_events == [
        Event(event="render.started", request_id=ID, speaker="zhiyan")
    ]


def test_a_late_start_that_never_came_is_written_with_the_end(recorder: Recorder) -> None:
    """A call refused before it called `started()` has a started event too, without a duration."""

    @observe("render", fields=lambda: {"request_id": ID}, late_start=True)
    def render() -> None:
        record(speaker="zhiyan")
        raise LookupError

    with capture_logs(), pytest.raises(LookupError):
        render()
    assert recorder.started_events == [
        Event(event="render.started", request_id=ID, speaker="zhiyan")
    ]
    assert [event.status for event in recorder.finished_events] == ["failed"]


def test_every_call_has_one_started_and_one_finished(recorder: Recorder) -> None:
    """200 tasks and 50 threads at once: each has its pair, under its own id, with its own field."""

    @observe("render", fields=lambda number: {"text_len": number})
    async def in_task(number: int) -> None:
        await asyncio.sleep(0)
        record(channels=number)
        if number % 3 == 0:
            raise LookupError

    @observe("render", fields=lambda number: {"text_len": number})
    def in_thread(number: int) -> None:
        record(channels=number)

    async def all_tasks() -> None:
        await asyncio.gather(*map(in_task, range(200)), return_exceptions=True)

    with capture_logs(), ThreadPoolExecutor(16) as threads:
        done = threads.map(in_thread, range(200, 250))
        asyncio.run(all_tasks())
        list(done)
    started = {event.request_id: event.text_len for event in recorder.started_events}
    finished = {event.request_id: event.channels for event in recorder.finished_events}
    assert started == finished
    assert sorted(started.values()) == list(range(250))
    assert len(recorder.started_events) == len(recorder.finished_events) == 250
    assert Counter(event.status for event in recorder.finished_events) == {
        "failed": 67,
        "success": 183,
    }


# --- Work beside the answer ----------------------------------------------------------------------


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> Deferred:
    """A background of one thread in which one more work may wait."""
    small = Deferred(threads=1, backlog=1)
    monkeypatch.setitem(emit.__globals__, "_deferred", small)
    return small


@pytest.mark.usefixtures("clock")
def test_finished_waits_for_later_work_and_the_caller_does_not(recorder: Recorder) -> None:
    """The answer is there before the work ends; the event has what the work found."""
    gate = threading.Event()

    def probe() -> dict[str, str | bool]:
        gate.wait(PATIENCE_SECONDS)
        return {"probe_ok": True, "audio_verdict": "truncated"}

    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> str:
        observation = current()
        assert observation
        record(audio_verdict="ok")
        observation.after(probe, otherwise={"probe_error": "backlog"})
        return "sound"

    assert render() == "sound"
    assert recorder.finished_events == []
    gate.set()
    assert recorder.some_finished.acquire(timeout=PATIENCE_SECONDS)
    assert recorder.finished_events == [
        Event(
            event="render.finished",
            request_id=ID,
            status="degraded",
            duration_ms=0.0,
            stage_other_ms=0.0,
            audio_verdict="truncated",
            probe_ok=True,
        )
    ]


def raising() -> dict[str, bool]:
    raise OSError("no ffprobe")


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("work", [raising, lambda: None])
def test_later_work_that_fails_is_replaced(
    recorder: Recorder, work: Callable[[], dict[str, bool]]
) -> None:
    """What `otherwise` says stands in the event, and the failure is counted."""

    @observe("render", fields=lambda: {"request_id": ID})
    def render() -> None:
        observation = current()
        assert observation
        observation.after(work, otherwise={"probe_error": "backlog"})

    before = losses.lost().get("deferred", 0)
    render()
    assert recorder.some_finished.acquire(timeout=PATIENCE_SECONDS)
    assert recorder.finished_events == [
        Event(
            event="render.finished",
            request_id=ID,
            status="success",
            duration_ms=0.0,
            stage_other_ms=0.0,
            probe_error="backlog",
        )
    ]
    assert losses.lost()["deferred"] == before + 1


@pytest.mark.usefixtures("one_at_a_time")
def test_a_full_backlog_delays_no_answer_and_no_event(recorder: Recorder) -> None:
    """What finds no room is finished at once with `otherwise`; what has room gets its work done."""
    begun, gate = threading.Event(), threading.Event()

    def probe() -> dict[str, bool]:
        begun.set()
        gate.wait(PATIENCE_SECONDS)
        return {"probe_ok": True}

    @observe("render", fields=lambda number: {"text_len": number})
    def render(number: int) -> None:
        observation = current()
        assert observation
        observation.after(probe, otherwise={"probe_error": "backlog"})

    render(1)
    begun.wait(PATIENCE_SECONDS)
    render(2)
    render(3)
    gate.set()
    for _ in range(3):
        assert recorder.some_finished.acquire(timeout=PATIENCE_SECONDS)
    assert [(e.text_len, e.probe_ok, e.probe_error) for e in recorder.finished_events] == [
        (3, None, "backlog"),
        (1, True, None),
        (2, True, None),
    ]


@pytest.mark.usefixtures("one_at_a_time")
def test_draining_writes_every_event_that_is_not_yet_written(recorder: Recorder) -> None:
    """At shutdown what was begun is joined, and what was not is finished with `otherwise`."""
    begun, gate = threading.Event(), threading.Event()

    def probe() -> dict[str, bool]:
        begun.set()
        gate.wait(PATIENCE_SECONDS)
        return {"probe_ok": True}

    @observe("render", fields=lambda number: {"text_len": number})
    def render(number: int) -> None:
        observation = current()
        assert observation
        observation.after(probe, otherwise={"probe_error": "backlog"})

    render(1)
    begun.wait(PATIENCE_SECONDS)
    render(2)
    assert not drain(0)
    gate.set()
    assert drain(PATIENCE_SECONDS)
    assert [(e.text_len, e.probe_ok, e.probe_error) for e in recorder.finished_events] == [
        (1, True, None),
        (2, None, "backlog"),
    ]


# --- request_id ----------------------------------------------------------------------------------


def test_a_call_takes_the_id_of_its_context(recorder: Recorder) -> None:
    """The id that the door put into the context is the id of the event, and stays in place."""
    request_id.current.set(ID)
    assert observe("render")(request_id.current.get)() == ID
    assert [event.request_id for event in recorder.finished_events] == [ID]
    assert request_id.current.get() == ID


def test_a_call_inside_another_has_an_id_of_its_own(recorder: Recorder) -> None:
    """Two events never share an id; the outer call has its own back when the inner one ends."""

    @observe("outer", fields=lambda: {"request_id": ID})
    def outer() -> str | None:
        inner = observe("inner")(request_id.current.get)()
        assert request_id.current.get() == ID
        return inner

    inner_id = outer()
    assert request_id.current.get() is None
    assert [(event.event, event.request_id) for event in recorder.finished_events] == [
        ("inner.finished", inner_id),
        ("outer.finished", ID),
    ]
    assert inner_id not in (None, ID)


def test_fields_may_bring_the_id(recorder: Recorder) -> None:
    """An id given by `fields` goes before that of the context."""
    request_id.current.set(OTHER_ID)
    observe("render", fields=lambda: {"request_id": ID})(lambda: None)()
    assert [event.request_id for event in recorder.finished_events] == [ID]


def test_a_call_without_any_id_gets_a_new_one(recorder: Recorder) -> None:
    """The id is a canonical one, the same in both events."""
    observe("render")(lambda: None)()
    (started,), (finished,) = recorder.started_events, recorder.finished_events
    assert started.request_id == finished.request_id == request_id.parse(started.request_id)


def test_a_caught_error_is_not_the_stage_of_a_later_one(recorder: Recorder) -> None:
    """The stage that an error is blamed on is the one that it was raised in."""

    @observe("render")
    def render() -> None:
        with suppress(KeyError), stage("layout"):
            raise KeyError
        raise ValueError

    with pytest.raises(ValueError):
        render()
    assert recorder.finished_events[0].error_stage is None


def test_an_error_made_of_another_keeps_its_stage(recorder: Recorder) -> None:
    """Translating an error on its way out does not lose where it happened."""

    @observe("render")
    def render() -> None:
        try:
            with stage("layout"):
                raise KeyError
        except KeyError:
            raise ValueError from None

    with pytest.raises(ValueError):
        render()
    assert recorder.finished_events[0].error_stage == "layout"


def test_a_generator_is_refused_when_it_is_decorated() -> None:
    """It has done nothing yet when it returns, so that its event would be untrue."""

    def pages() -> Generator[int]:
        yield 1

    with pytest.raises(TypeError, match="is a generator"):
        observe("render")(pages)
