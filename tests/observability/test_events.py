"""
Promises of `observability.events`.
"""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields

import pytest

from observability.events import STAGES, Event, field_names, trusted_fields

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"
GROUPS = ["identity", "asked", "time", "came_out", "verdict", "outcome", "cost"]


@pytest.mark.parametrize("name", field_names())
def test_every_field_is_explained_in_both_languages(name: str) -> None:
    """Help in English and Chinese, of one line each, and one of the known groups."""
    meta = field_names()[name]
    assert re.fullmatch(r"[ -~]{3,80}", meta["en"])
    assert re.fullmatch(r"[^\n]*[\u4e00-\u9fff][^\n]*", meta["zh"])
    assert meta["group"] in GROUPS


def test_the_groups_stand_in_the_order_of_the_story() -> None:
    """Fields of a group stand together: who, what, when, what came out, how good, how it ended."""
    groups = [meta["group"] for meta in field_names().values()]
    assert list(dict.fromkeys(groups)) == GROUPS
    assert sorted(groups, key=GROUPS.index) == groups


def test_every_stage_has_its_field_and_every_such_field_its_stage() -> None:
    """`STAGES` and the `stage_*_ms` fields name the same stages in the same order."""
    named = [found[1] for name in field_names() if (found := re.fullmatch(r"stage_(\w+)_ms", name))]
    assert tuple(named) == STAGES


def test_what_ends_in_a_unit_is_a_number() -> None:
    """Fields with a unit in their name are numbers, flags are booleans."""
    types = {item.name: item.type for item in fields(Event)}
    for name in field_names():
        if re.search(r"_(ms|seconds|dbfs|ratio)$", name):
            assert types[name] == "float | None"
        if re.search(r"_(bytes|len|rate)$", name):
            assert types[name] == "int | None"


def test_only_ids_and_hashes_of_our_own_are_trusted() -> None:
    """Whatever a client can fill is redacted like any text."""
    assert trusted_fields() == {
        "request_id",
        "trace_id",
        "span_id",
        "parent_span_id",
        "text_hash",
        "reference_hash",
        "emotion_reference_hash",
        "glossary_hash",
        "error_fingerprint",
        "job_id",
        "result_of",
    }


def test_a_line_is_flat_in_the_order_of_the_schema_and_without_what_is_absent() -> None:
    """Zero, empty and false are said; None is left out; fields of others come last."""
    event = Event(
        event="synthesis.finished",
        status="failed",
        request_id=ID,
        probe_ok=False,
        text_len=0,
        duration_ms=0.0,
        error_message="",
        extra={"pages": 3},
    )
    assert list(event.line().items()) == [
        ("event", "synthesis.finished"),
        ("request_id", ID),
        ("text_len", 0),
        ("duration_ms", 0.0),
        ("probe_ok", False),
        ("status", "failed"),
        ("error_message", ""),
        ("pages", 3),
    ]


def test_building_keeps_what_the_schema_does_not_name_apart() -> None:
    """Known fields are attributes, others `extra`, and unknown absent ones nothing."""
    built = Event.build(
        "render.finished",
        {"request_id": ID, "speaker": None, "text_len": 3, "pages": 3, "author": None},
    )
    assert built == Event(event="render.finished", request_id=ID, text_len=3, extra={"pages": 3})


def test_a_field_of_others_cannot_pass_for_the_event() -> None:
    """A field that is called `event` does not rename the line."""
    built = Event.build("render.finished", {"request_id": ID, "event": "forged"})
    assert built.line() == {"event": "render.finished", "request_id": ID}


def test_stages_are_told_in_the_order_of_the_work() -> None:
    """Those of the schema first, `other` after them, then those that others measured."""
    built = Event.build(
        "render.finished",
        {
            "request_id": ID,
            "stage_layout_ms": 4,
            "stage_other_ms": 3.0,
            "stage_post_ms": 2.0,
            "stage_acoustic_ms": 1.0,
            "queue_ms": 9.0,
        },
    )
    assert list(built.stages_ms().items()) == [
        ("acoustic", 1.0),
        ("post", 2.0),
        ("other", 3.0),
        ("layout", 4.0),
    ]


def test_an_event_does_not_change() -> None:
    """Every sink sees the same one."""
    with pytest.raises(FrozenInstanceError):
        Event(event="render.started", request_id=ID).status = "success"  # type: ignore[misc]
