"""The message says who is affected, since when and where to look, in at most the allowed bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from the_moment import NOW

from observability.alerts.failures import FailedRequest, Failures, Kind
from observability.alerts.message import Writer, cut, plain
from observability.alerts.notification import Alert
from observability.alerts.spool import Change, Parcel

MakeAlert = Callable[..., Alert]

ID = "01KB4SC9RZ6W5B3Y2J8Q0V7X1"


def parcel_of(*changes: Change, notifications: int = 1, attempts: int = 0) -> Parcel:
    return Parcel(
        channel="wecom",
        group="g",
        source="alertmanager",
        changes=changes,
        truncated=0,
        notifications=notifications,
        first_at=(NOW - timedelta(minutes=40)).timestamp(),
        attempts=attempts,
    )


def changed(*alerts: Alert, changes: int = 1) -> list[Change]:
    return [Change(alert=alert, changes=changes) for alert in alerts]


def failed(count: int = 10, *, total: int = 523, speaker: str = "zhiyan") -> Failures:
    return Failures(
        requests=tuple(
            FailedRequest(
                request_id=f"{ID}{number % 10}",
                finished_at="2026-11-28T02:59:00Z",
                error="engine_failed",
                stage="acoustic",
                speaker=speaker,
            )
            for number in range(count)
        ),
        total=total,
        since=NOW - timedelta(minutes=20),
        until=NOW,
        matched=(("speaker", speaker),),
    )


def lines_of(*lines: str) -> str:
    return "\n".join(lines)


def text_of(writer: Writer, changes: Sequence[Change], failures: Failures | None = None) -> str:
    message = writer.message(parcel_of(*changes), failures)
    return f"{message.title}\n{message.fitted(100_000)}"


def test_a_firing_alert_in_english(an_alert: MakeAlert) -> None:
    """Whole, as a person reads it."""
    writer = Writer(service_url="https://tts.example.org/", grafana_url="https://g.example.org")
    assert text_of(writer, changed(an_alert(speaker="zhiyan")), failed(2)) == lines_of(
        "🔴 [Firing critical] IndexTTSErrorShareHigh",
        "🔴 **12 % of the requests fail**",
        "since 11-28 02:55 UTC, speaker `zhiyan`",
        "More than 10 % have failed for 5 minutes.",
        "**The last 2 of 523 failed requests** (02:40–03:00 UTC, speaker `zhiyan`)",
        f"1. [{ID}0](https://tts.example.org/operations/?id={ID}0) "
        "`engine_failed` `acoustic` `zhiyan`",
        f"2. [{ID}1](https://tts.example.org/operations/?id={ID}1) "
        "`engine_failed` `acoustic` `zhiyan`",
        "[Dashboard](https://g.example.org/d/indextts-failures) · "
        "[Runbook](https://example.org/runbook#errors) · "
        "[Operations page](https://tts.example.org/operations/)",
    )


def test_a_firing_alert_in_chinese(an_alert: MakeAlert) -> None:
    """The rule's Chinese annotations, times in the reader's own zone."""
    writer = Writer(language="zh", zone=ZoneInfo("Asia/Shanghai"))
    assert text_of(writer, changed(an_alert()), failed(1)) == lines_of(
        "🔴 [告警 严重] IndexTTSErrorShareHigh",
        "🔴 **12% 的请求失败**",
        "始于 11-28 10:55 CST",
        "失败率已连续 5 分钟超过 10%。",
        "**最近 1 次失败请求，共 523 次**（10:40–11:00 CST，speaker `zhiyan`）",
        f"1. `{ID}0` `engine_failed` `acoustic` `zhiyan`",
        "[处置手册](https://example.org/runbook#errors)",
    )


def test_a_resolve_says_how_long_it_lasted(an_alert: MakeAlert) -> None:
    """And nothing more: no failures, no description of what is over."""
    assert text_of(Writer(), changed(an_alert(state="resolved"))) == lines_of(
        "🟢 [Resolved] IndexTTSErrorShareHigh",
        "🟢 **12 % of the requests fail**",
        "resolved after 5 min",
        "[Runbook](https://example.org/runbook#errors)",
    )


def test_what_piled_up_is_said(an_alert: MakeAlert) -> None:
    """How many notifications, since when, and what came and went meanwhile."""
    changes = [
        *changed(an_alert("IndexTTSQueueFull"), changes=5),
        *changed(an_alert(state="resolved"), changes=2),
    ]
    message = Writer().message(parcel_of(*changes, notifications=7, attempts=9), None)
    text = message.fitted(100_000)
    assert message.title == "🔴 [Firing critical] IndexTTSQueueFull"
    assert "changed 5 times before this could be delivered" in text
    assert "fired and resolved before this could be delivered" in text
    assert "7 notifications since 11-28 02:20 UTC are summed up here" in text


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("limit", [300, 1_000, 2_048, 4_096, 18_000])
def test_a_long_message_keeps_what_matters(an_alert: MakeAlert, language: str, limit: int) -> None:
    """Never over the limit; other alerts go before failed requests, and the cut is told."""
    writer = Writer(language="zh" if language == "zh" else "en")
    alerts = [an_alert(f"IndexTTSAlert{number}", number=str(number)) for number in range(200)]
    message = writer.message(parcel_of(*changed(*alerts)), failed(10, speaker="说" * 30))
    text = message.fitted(limit)
    assert len(text.encode()) <= limit
    note = "lines were cut" if language == "en" else "已截去"
    assert note in text
    if limit >= 4_096:
        assert text.count(ID) == 10


def test_it_fits_wecom_with_ten_failures_and_their_links(an_alert: MakeAlert) -> None:
    """The usual alert is whole in WeCom's 4,096 bytes."""
    writer = Writer(
        language="zh",
        service_url="https://tts.internal.example.org",
        grafana_url="https://g.example.org",
    )
    message = writer.message(parcel_of(*changed(an_alert())), failed(10, speaker="默认女声"))
    text = message.fitted(3_900)
    assert text.count(f"/operations/?id={ID}") == 10
    assert "截去" not in text


def test_no_value_becomes_markup(an_alert: MakeAlert) -> None:
    """A speaker's name may be anything: no mention, no link, no new line, no colour of its own."""
    nasty = '<@all> [x](http://evil)\n# big **b** `tick` <font color="warning">\u202e'
    alert = an_alert(speaker=nasty)
    text = text_of(Writer(), changed(alert), failed(1, speaker=nasty))
    for markup in ("<", "@all", "](http://evil", "\n# big", "**b**", "`tick`", "\u202e"):
        assert markup not in text
    assert plain("a\r\nb\x1b[31m") == "a b ［31m"


def test_no_link_that_is_none(an_alert: MakeAlert) -> None:
    """Only http(s), and nothing that ends the link early."""
    alert = an_alert()
    for url in ("javascript:alert(1)", "https://a.b/) [x](http://evil", "/relative"):
        text = text_of(Writer(), changed(Alert(**{**_fields(alert), "links": {"runbook": url}})))
        assert "Runbook" not in text


@pytest.mark.parametrize(
    ("writer", "shown"),
    [
        (Writer(), "Dashboard](http://g/d/x) · Runbook `docs/runbook.md#down`"),
        (Writer(docs_url="https://git/x"), "[Runbook](https://git/x/docs/runbook.md#down)"),
        (Writer(language="zh"), "仪表盘](http://g/d/x-zh) · 处置手册 `docs/runbook.zh.md#down`"),
    ],
)
def test_links_are_in_the_readers_language(an_alert: MakeAlert, writer: Writer, shown: str) -> None:
    """A runbook that has no address is named by its path."""
    links = {
        "dashboard": "http://g/d/x",
        "dashboard_zh": "http://g/d/x-zh",
        "runbook": "docs/runbook.md#down",
        "runbook_zh": "docs/runbook.zh.md#down",
    }
    alert = Alert(**{**_fields(an_alert()), "links": links})
    assert shown in text_of(writer, changed(alert))


def _fields(alert: Alert) -> dict[str, object]:
    return {name: getattr(alert, name) for name in Alert.__slots__}


def test_failures_that_cannot_be_read_are_said(an_alert: MakeAlert) -> None:
    """The alert is told all the same."""
    unread = Failures(since=NOW, until=NOW, unread=("Loki is away.", "Loki 不可用。"))
    assert "could not be read: Loki is away." in text_of(Writer(), changed(an_alert()), unread)
    chinese = text_of(Writer(language="zh"), changed(an_alert()), unread)
    assert "未能读取失败请求：Loki 不可用。" in chinese
    none = Failures(since=NOW - timedelta(minutes=20), until=NOW)
    assert "No request failed (02:40–03:00 UTC)." in text_of(Writer(), changed(an_alert()), none)


@pytest.mark.parametrize(
    ("kind", "english", "chinese"),
    [
        ("failed", "The last 2 of 523 failed requests", "最近 2 次失败请求，共 523 次"),
        ("degraded", "The last 2 of 523 requests with such audio", "最近 2 次此类音频的请求"),
        ("turned_away", "The last 2 of 523 requests that were turned away", "最近 2 次被拒的请求"),
    ],
)
def test_what_is_attached_is_called_by_its_name(
    an_alert: MakeAlert, kind: Kind, english: str, chinese: str
) -> None:
    """Silent audio did not fail, and who was turned away never came to the engine."""
    attached = replace(failed(2), kind=kind)
    assert english in text_of(Writer(), changed(an_alert()), attached)
    assert chinese in text_of(Writer(language="zh"), changed(an_alert()), attached)
    if kind != "turned_away":
        none = replace(attached, requests=(), total=0)
        shown = "No request failed" if kind == "failed" else "No request with such audio"
        assert shown in text_of(Writer(), changed(an_alert()), none)


def test_a_cut_text_is_still_utf8() -> None:
    """No half character at the end."""
    assert cut("说话人", 8) == "说…"
    assert cut("说话人", 9) == "说话人"
