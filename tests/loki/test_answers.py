"""Every LogQL expression is put to a real Loki, filled by the real Promtail: each has an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from expressions import asked, dashboard_expressions, questions
from shipped import Shipped
from trouble import MOMENT_OF_OTHERS, REQUEST_WITH_EVERY_STAGE

from observability.events import STAGES


@pytest.fixture(scope="session")
def known(shipped: Shipped) -> Mapping[str, str]:
    """What one knows when one asks, taken from a request that failed."""
    failures = '{app="indextts", event="synthesis.finished", level="error"}'
    (_, _, text), *_ = shipped.loki.lines(failures, shipped.since, shipped.until, limit=1)
    line = json.loads(text)
    return {name: line[name] for name in ("request_id", "text_hash", "speaker", "user")} | {
        "client_request_id": "order-4711"
    }


@pytest.mark.parametrize("question", questions(), ids=lambda question: question["id"])
def test_the_book_has_an_answer(
    shipped: Shipped, known: Mapping[str, str], question: Mapping[str, Any]
) -> None:
    """Lines, numbers or a graph: not nothing."""
    expression = asked(question, known)
    if question["kind"] == "lines":
        found = shipped.loki.lines(expression, shipped.since, shipped.until, limit=20)
        assert all(text.strip() for _, _, text in found)
        assert not [labels for labels, _, _ in found if labels.get("__error__")]
        assert not [text for _, _, text in found if "<no value>" in text]
        assert found
    else:
        assert numbers(shipped, expression)


def test_the_dashboards_have_answers(shipped: Shipped) -> None:
    """Each with any value for its variables."""
    unanswered = []
    for name, expression in dashboard_expressions():
        is_of_numbers = re.search(r"_over_time|\brate\(|\btopk\(", expression)
        if is_of_numbers:
            found = bool(numbers(shipped, expression))
        else:
            found = bool(shipped.loki.lines(expression, shipped.since, shipped.until, limit=5))
        if not found:
            unanswered.append((name, expression))
    assert unanswered == []


def numbers(shipped: Shipped, expression: str) -> object:
    """Numbers at the end of the month, or at the trouble's moment, or at any hour of the month."""
    return (
        shipped.loki.numbers(expression, shipped.until)
        or shipped.loki.numbers(expression, MOMENT_OF_OTHERS)
        or shipped.loki.graph(
            expression, shipped.until - timedelta(days=30), shipped.until, timedelta(hours=1)
        )
    )


def test_slow_requests_know_every_stage() -> None:
    """A stage that is new to the event is new to the book as well."""
    for question in questions():
        if question["id"] in ("slow_requests", "slow_by_stage"):
            stages = re.findall(r'="stage_(\w+)_ms"', question["logql"])
            assert set(stages) == set(STAGES)
            for name in ("queue", *STAGES):
                assert re.search(rf"}}}}{name}{{{{", question["logql"])


def test_five_in_a_row_are_seen_although_there_was_a_success_before(shipped: Shipped) -> None:
    """Of this speaker one request was delivered five minutes ago, and all six since failed."""
    question = next(each for each in questions() if each["id"] == "five_failures_in_a_row")
    found = shipped.loki.numbers(asked(question), MOMENT_OF_OTHERS)
    assert found[(("speaker", "demo-02"),)] == 6


def test_one_request_tells_each_of_its_stages(shipped: Shipped) -> None:
    """Queue and every stage stand there by their names."""
    question = next(each for each in questions() if each["id"] == "one_request_by_stage")
    given = re.escape('request_id="') + r"\w+"
    query = re.sub(given, f'request_id="{REQUEST_WITH_EVERY_STAGE}', asked(question))
    (_, _, text), *_ = shipped.loki.lines(query, shipped.since, shipped.until, limit=1)
    for name in ("queue", *STAGES):
        assert re.search(rf"[=+] {name} [\d.]+", text), text


def test_slow_requests_name_their_slowest_stage(shipped: Shipped) -> None:
    """The one that the line's own times say."""
    question = next(each for each in questions() if each["id"] == "slow_requests")
    (query, _) = asked(question).split("| line_format", 1)
    lines = shipped.loki.lines(query, shipped.since, shipped.until, limit=200)
    assert len(lines) == 200
    for labels, _, text in lines:
        line = json.loads(text)
        times = {
            name.removeprefix("stage_").removesuffix("_ms"): spent
            for name, spent in line.items()
            if name == "queue_ms" or (name.startswith("stage_") and name.endswith("_ms"))
        }
        assert labels["slowest"] == max(times, key=times.__getitem__)


def test_numbers_are_the_lines_own(shipped: Shipped) -> None:
    """Structured metadata is what stands in the line, in every line."""
    query = '{app="indextts", event="synthesis.finished"}'
    for labels, _, text in shipped.loki.lines(query, shipped.since, shipped.until, limit=1000):
        line = json.loads(text)
        for name in ("request_id", "status", "speaker", "error_type", "user", "text_len"):
            assert labels.get(name) == (str(line[name]) if name in line else None)
        for name in ("duration_ms", "audio_seconds", "gpu_seconds"):
            assert (name in labels) == (name in line)
            assert float(labels.get(name, 0)) == line.get(name, 0)
