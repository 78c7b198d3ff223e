"""Promises of the operations page's panels: everything told, nothing run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from indextts_app import story
from indextts_app.desk import Now, Pulse
from indextts_app.pages.operations import fragments
from indextts_app.pages.operations.failure_panel import drilled_panel, failure_panel, other_panel
from indextts_app.pages.operations.live_panel import live_panel
from indextts_app.pages.operations.neighbour_picture import neighbour_picture
from indextts_app.pages.operations.report_panel import report_panel
from indextts_app.pages.operations.story_panel import story_panel
from observability import triage
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter, Neighbours, Reading
from observability.reports.month import Month
from observability.reports.monthly import report
from observability.resources import GpuReading

ID, OTHER = "01K8ZQ3V7M1ABCDEFGHJKMNPQR", "01K8ZQ3V7M1ABCDEFGHJKMNPQS"
MOMENT = datetime(2026, 3, 15, 12, tzinfo=UTC)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
FAILED: dict[str, Any] = {
    "timestamp": "2026-03-15T11:59:00.000000Z",
    "level": "error",
    "event": "synthesis.finished",
    "request_id": ID,
    "status": "failed",
    "error_type": "engine_error",
    "error_stage": "acoustic",
    "speaker": "steady",
    "duration_ms": 40.0,
    "queue_ms": 10.0,
    "stage_acoustic_ms": 20.0,
    "stage_other_ms": 10.0,
    "format": "wav",
    "worker": "0:7",
}
NOW = Now(
    engine="drill",
    model_version="1",
    in_flight=3,
    waiting=31,
    max_queue=32,
    busy=2,
    ready=2,
    unloaded=0,
    workers=2,
    unavailable=None,
    memory={"1": 60_000_000, "0": 1_200_000_000},
    gpus=(GpuReading(0, 20_000_000_000, 24_000_000_000, 0.93, 70.0),),
)


def tag_names(html: str) -> set[str]:
    """The elements of a fragment."""
    return set(re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", html))


def neighbours(**changes: Any) -> Neighbours:
    """One other request that failed alike a second earlier."""
    other = {**FAILED, "request_id": OTHER, "timestamp": "2026-03-15T11:58:59.000000Z", **changes}
    return Neighbours(
        line=FAILED,
        lines=(other,),
        requests=1,
        failed=1,
        failed_alike=1,
        silent=0,
        reading=Reading(source="files"),
    )


def told(**changes: Any) -> story.Story:
    """The story of the failed request."""
    trace = {"event": "worker.error", "traceback": "Traceback:\n  <module>\nKeyError", "level": "e"}
    return story.told(ID, [{**FAILED, **changes}, trace], neighbours())


def stored(folder: Path, *lines: dict[str, Any]) -> FileLogStore:
    """A store of these finished lines."""
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "indextts-2026-03-15.jsonl").write_text(text)
    return FileLogStore(folder, clock=lambda: MOMENT)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_story_says_everything(language: str) -> None:
    """Status, cause with its next step, times, neighbours, fields, command, query and lines."""
    tale = told()
    panel = unescape(story_panel(tale, language))
    for sentence in (tale.meaning, tale.causes[0].text, tale.causes[0].next_step, tale.advice[0]):
        assert getattr(sentence, language) in panel
    assert tale.around is not None
    assert getattr(tale.around.summary, language) in panel
    assert 'data-status="failed"' in panel
    assert f'data-copy="{tale.replay}"' in panel
    assert '{app="indextts"} |= "01K8' in panel
    assert "stage-picture" in panel
    assert f'data-open="{OTHER}"' in panel
    assert "KeyError" in panel


def test_a_story_of_little_is_told_too() -> None:
    """A request that still runs, whose neighbours are not known."""
    panel = story_panel(story.told(ID, [{"event": "synthesis.started"}]), "en")
    assert 'data-status="running"' in panel
    assert "No times are known of it." in panel
    assert "could not be asked" in panel


def test_nothing_of_a_line_is_run(tmp_path: Path) -> None:
    """A name out of the log is text, in a title, a button, a table and a query."""
    names = ("speaker", "error_type", "error_message", "worker", "error_stage", "status")
    fields = dict.fromkeys(names, HOSTILE)
    hostile = story.told(HOSTILE, [{**FAILED, **fields}], neighbours(**fields, request_id=HOSTILE))
    hostile = replace(hostile, also=(HOSTILE,))
    store = stored(tmp_path, {**FAILED, **fields, "status": "failed"})
    asked = Filter(since=MOMENT - timedelta(hours=1), until=MOMENT)
    found = triage.triaged(store, asked, ("speaker",))
    panels = [
        story_panel(hostile, "en"),
        failure_panel(found, HOSTILE, "en"),
        other_panel(found, "en"),
        drilled_panel(store.search(asked), HOSTILE, HOSTILE, HOSTILE, "en"),
        fragments.message(HOSTILE, HOSTILE),
        live_panel(
            Pulse(
                moment=MOMENT,
                now=replace(NOW, engine=HOSTILE, unavailable=HOSTILE, ready=0),
                series=None,
                total=None,
            ),
            "en",
        ),
    ]
    for panel in panels:
        assert not tag_names(panel) & {"script", "img"}
    assert "&lt;script&gt;" in "".join(panels)


def test_neighbours_are_drawn_in_time() -> None:
    """This request in the middle, outlined; the other one to the left, and it can be opened."""
    around = told().around
    assert around is not None
    picture = neighbour_picture(around, FAILED, "en")
    places = {
        kind: float(x)
        for kind, x in re.findall(r'<rect (class="own"|data-open="\w+") x="(.*?)"', picture)
    }
    assert places[f'data-open="{OTHER}"'] < places['class="own"']
    assert places['class="own"'] == pytest.approx(360 - 2.5, abs=0.1)
    assert "engine_error · 40 ms" in picture
    assert neighbour_picture(around, {}, "en") == ""


def test_the_failures_nearest_to_a_request_stand_beside_it() -> None:
    """Before and after it, in the order of time, however many there were further away."""
    own = datetime.fromisoformat(FAILED["timestamp"])
    offsets = [*range(-58, 0, 2), 1, 3, 5]
    lines = tuple(
        {
            **FAILED,
            "request_id": f"{60 + offset:026d}",
            "timestamp": (own + timedelta(seconds=offset)).isoformat(),
        }
        for offset in offsets
    )
    around = replace(neighbours(), lines=lines, requests=len(lines))
    panel = story_panel(story.told(ID, [FAILED], around), "en")
    shown = re.findall(r'<button[^>]*data-open="(\d{26})"', panel)
    assert [int(each) - 60 for each in shown] == [-10, -8, -6, -4, -2, 1, 3, 5]


def test_failures_can_be_drilled_into(tmp_path: Path) -> None:
    """Each group carries its value and its share; the query is there to be copied."""
    lines = [
        {**FAILED, "request_id": f"01K8ZQ3V7M1ABCDEFGHJKMNP{number:02}", "error_type": kind}
        for number, kind in enumerate(["out_of_memory"] * 3 + ["engine_error", None])
    ]
    lines = [{name: value for name, value in line.items() if value} for line in lines]
    asked = Filter(since=MOMENT - timedelta(hours=1), until=MOMENT)
    found = triage.triaged(stored(tmp_path, *lines), asked, ("error_type",))
    panel = unescape(failure_panel(found, "type", "en"))
    assert re.findall(r'data-drill="(\w+)"', panel) == ["out_of_memory", "engine_error"]
    assert "not known" in panel
    assert "60%" in panel.replace(".0%", "%")
    assert 'data-copy="sum by (error_type)' in panel


def test_an_empty_time_says_so(tmp_path: Path) -> None:
    """Nothing asked is not the same as nothing failed."""
    asked = Filter(since=MOMENT - timedelta(hours=1), until=MOMENT)
    store = stored(tmp_path)
    assert "No request finished" in failure_panel(triage.triaged(store, asked), "x", "en")
    store = stored(tmp_path, {**FAILED, "status": "success"})
    assert "Nothing failed" in failure_panel(triage.triaged(store, asked), "x", "en")


def test_the_pulse_is_shown(tmp_path: Path) -> None:
    """Rate, latencies, queue, workers by slot and GPU; what is too much is marked."""
    store = stored(tmp_path, *[{**FAILED, "request_id": ID, "status": "success"}])
    asked = Filter(since=MOMENT - timedelta(minutes=15), until=MOMENT)
    series = store.series(asked, timedelta(seconds=30))
    pulse = Pulse(moment=MOMENT, now=NOW, series=series, total=store.counts(asked).total)
    panel = live_panel(pulse, "en")
    assert "12:00:00 UTC" in panel
    assert '<div class="bad"><dt>Queue</dt><dd>31</dd><small>/ 32</small>' in panel
    assert "0: 1.2 GB · 1: 60 MB" in panel
    assert "<dt>GPU 0</dt><dd>93%</dd><small>20.0 GB / 24.0 GB</small>" in panel
    assert panel.count('<svg viewBox="0 0 720') == 2
    without = live_panel(Pulse(moment=MOMENT, now=NOW, series=None, total=None), "zh")
    assert "无法查询日志" in without


def test_a_report_is_shown_in_a_frame_that_runs_nothing(tmp_path: Path) -> None:
    """A sandbox without any right, and its files beside it, by relative addresses."""
    made = report(stored(tmp_path, FAILED), Month(2026, 3), now=MOMENT)
    panel = report_panel(made, "zh")
    assert 'sandbox=""' in panel
    assert 'href="report/2026-03.html?source=files&amp;language=zh"' in panel
    assert panel.count("<iframe") == 1
    # The whole page is one attribute.
    assert tag_names(panel) == {"p", "span", "a", "iframe"}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("duration_ms", 1234.0, "1.23 s"),
        ("audio_seconds", 3.0, "3 s"),
        ("rms_dbfs", -20.25, "-20.25 dBFS"),
        ("seed", 4294967295, "4294967295"),
        ("probe_ok", True, "yes"),
        ("audio_verdict", "silent", "Silent"),
        ("speaker", "<b>", "&lt;b&gt;"),
    ],
)
def test_values_have_their_unit(name: str, value: object, shown: str) -> None:
    """As people read them."""
    assert fragments.value_of(name, value, "en") == shown
