"""The failed requests behind an alert: those that its labels mean, and never their text."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from the_moment import NOW

from observability.alerts.failures import DEGRADED, FailedRequest, failures_of
from observability.alerts.notification import Alert
from observability.alerts.relay import store_opener
from observability.alerts.settings import RelaySettings
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter, LogStore, Unanswerable

MakeAlert = Callable[..., Alert]


def line(number: int, **fields: object) -> dict[str, object]:
    """A finished line, `number` minutes before now."""
    moment = NOW - timedelta(minutes=number)
    return {
        "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S}.000000Z",
        "level": "error",
        "event": "synthesis.finished",
        "request_id": f"01KB4SC9RZ6W5B3Y2J8Q0V7X{number:02d}",
        "engine": "drill",
        "speaker": "steady",
        "status": "failed",
        "error_type": "engine_failed",
        "error_stage": "acoustic",
        "error_message": "never shown",
        **fields,
    }


@pytest.fixture
def store(tmp_path: Path) -> Callable[[str | None], LogStore]:
    """Twenty failures a minute apart, a slow success, a silent one, a timeout of `slow`."""
    lines = [line(number) for number in range(20)]
    lines += [
        line(30, status="success", error_type=None),
        line(31, status="degraded", audio_verdict="silent", error_type=None, error_stage=None),
        line(2, request_id="01KB4SC9RZ6W5B3Y2J8Q0V7XZZ", speaker="slow", status="timeout"),
    ]
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (tmp_path / "indextts-2026-11-28.jsonl").write_text(text, "utf-8")
    return lambda _instance: FileLogStore(tmp_path)


def test_the_last_ten_of_all(store: Callable[[str | None], LogStore], an_alert: MakeAlert) -> None:
    """An alert that says nothing of a speaker is about everybody."""
    found = failures_of(store, [an_alert()], NOW)
    assert (len(found.requests), found.total, found.matched, found.unread) == (10, 21, (), None)
    assert found.requests[0] == FailedRequest(
        request_id="01KB4SC9RZ6W5B3Y2J8Q0V7X00",
        finished_at="2026-11-28T03:00:00.000000Z",
        error="engine_failed",
        stage="acoustic",
        speaker="steady",
    )


def test_those_of_the_alerts_speaker(
    store: Callable[[str | None], LogStore], an_alert: MakeAlert
) -> None:
    """Its labels choose, and the message can say so."""
    found = failures_of(store, [an_alert(speaker="slow", engine="drill")], NOW)
    assert [one.request_id[-2:] for one in found.requests] == ["ZZ"]
    assert found.matched == (("speaker", "slow"), ("engine", "drill"))


def test_alerts_of_two_speakers_are_about_both(
    store: Callable[[str | None], LogStore], an_alert: MakeAlert
) -> None:
    """And one without a speaker among them is about everybody."""
    both = [an_alert(speaker="slow"), an_alert(speaker="nobody")]
    assert failures_of(store, both, NOW).total == 1
    assert failures_of(store, [*both, an_alert()], NOW).total == 21


def test_an_alert_on_a_verdict_is_about_delivered_audio(
    store: Callable[[str | None], LogStore], an_alert: MakeAlert
) -> None:
    """Silent audio is no failed request, and is what that alert is about."""
    for verdict in ("silent", "silent,truncated,wrong_format"):
        found = failures_of(store, [an_alert(started=30, verdict=verdict)], NOW)
        assert [one.error for one in found.requests] == ["silent"]
        assert found.kind == "degraded"
    found = failures_of(store, [an_alert(started=30, verdict="clipped")], NOW)
    assert (found.requests, found.kind) == ((), "degraded")


def test_where_none_failed_those_that_were_turned_away(tmp_path: Path, an_alert: MakeAlert) -> None:
    """A full queue fails no request, and is what its alert is about; a caller's fault is not."""
    refusals = ("queue_full", "queue_full", "not_ready", "text_too_long")
    lines = [
        line(number, status="rejected", error_type=code, error_stage=None)
        for number, code in enumerate(refusals)
    ]
    path = tmp_path / "indextts-2026-11-28.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    store = FileLogStore(tmp_path)
    found = failures_of(lambda _: store, [an_alert()], NOW)
    assert [one.error for one in found.requests] == ["queue_full", "queue_full", "not_ready"]
    assert (found.kind, found.total) == ("turned_away", 3)
    full = failures_of(lambda _: store, [an_alert(error_type="queue_full")], NOW)
    assert (full.kind, full.total) == ("turned_away", 2)
    assert full.matched == (("error_type", "queue_full"),)
    assert failures_of(lambda _: store, [an_alert(error_type="no_audio")], NOW).kind == "failed"
    with path.open("a") as file:
        file.write(json.dumps(line(4)) + "\n")
    found = failures_of(lambda _: store, [an_alert()], NOW)
    assert (found.kind, found.total) == ("failed", 1)


def test_alerts_on_audio_say_which() -> None:
    """Their rules name verdicts that lines have, or nothing could be attached."""
    root = Path(__file__).parents[3]
    rules = [
        rule
        for path in (*root.glob("prometheus/rules/*.yml"), root / "loki/rules/fake/indextts.yaml")
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]
    named = {
        rule["alert"]: set(rule["labels"]["verdict"].split(","))
        for rule in rules
        if "alert" in rule and "verdict" in rule["labels"]
    }
    about = {rule["alert"] for rule in rules if "alert" in rule and "verdict" in rule["expr"]}
    assert named.keys() == about == {
        "IndexTTSAudioBroken", "IndexTTSAudioClipped", "IndexTTSSpeakerSilent",
    }  # fmt: skip
    assert set.union(*named.values()) == set(DEGRADED)


def test_of_an_alert_that_is_over_those_of_its_time(
    store: Callable[[str | None], LogStore], an_alert: MakeAlert
) -> None:
    """What failed after its end is another story."""
    alert = an_alert(state="resolved", started=12)
    ended = NOW - timedelta(minutes=10)
    over = Alert(**{**{name: getattr(alert, name) for name in Alert.__slots__}, "ends_at": ended})
    found = failures_of(store, [over], NOW)
    assert [one.request_id[-2:] for one in found.requests] == [f"{n:02d}" for n in range(10, 20)]


def test_a_store_that_is_away_is_said(an_alert: MakeAlert) -> None:
    """In both languages; the alert goes out."""

    def away(_instance: str | None) -> LogStore:
        raise Unanswerable(en="Loki does not answer.", zh="Loki 没有应答。")

    found = failures_of(away, [an_alert()], NOW)
    assert found.unread == ("Loki does not answer.", "Loki 没有应答。")


def test_of_several_log_folders_the_instance_is_chosen(tmp_path: Path) -> None:
    """One folder is one service's, whatever it is called; of several each line says whose it is."""
    day = "indextts-2026-10-04.jsonl"
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        line = {
            "timestamp": f"2026-10-04T08:00:0{number}.000000Z",
            "event": "synthesis.finished",
            "request_id": f"01K8ZQ3V7M{name.upper()}ABCDEFGHJKMNPQ",
            "status": "failed",
            "instance": f"{name}:7860",
        }
        (tmp_path / name / day).write_text(json.dumps(line) + "\n")
    since = datetime(2026, 10, 4, 7, tzinfo=UTC)
    asked = Filter(since=since, until=since + timedelta(hours=2))

    def found(folder: Path, instance: str | None) -> list[object]:
        robot = "https://robot.example"
        settings = RelaySettings(token="t" * 16, slack_url=robot, service_log_dir=folder)  # type: ignore[arg-type]
        lines = store_opener(settings)(instance).search(asked, 5).lines
        return [line["instance"] for line in lines]

    assert found(tmp_path, "a:7860") == ["a:7860"]
    assert found(tmp_path, None) == ["b:7860", "a:7860"]
    assert found(tmp_path / "b", "called otherwise") == ["b:7860"]


def test_one_instance_is_handed_on(
    store: Callable[[str | None], LogStore], an_alert: MakeAlert
) -> None:
    """One instance opens its part of the store; several, or another job's, the whole."""
    asked: list[str | None] = []

    def opened(instance: str | None) -> LogStore:
        asked.append(instance)
        return store(instance)

    failures_of(opened, [an_alert(instance="a"), an_alert("Other", instance="a")], NOW)
    failures_of(opened, [an_alert(instance="a"), an_alert(instance="b")], NOW)
    failures_of(opened, [an_alert(instance="a", job="node")], NOW)
    assert asked == ["a", None, None]
