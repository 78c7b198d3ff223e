"""
What people read: who is affected, since when, how it shows, where to look, and the failed requests.

Markdown that WeCom, DingTalk, Feishu and Slack all show: bold, links, code. Lines have a rank, so
that a message which is too long for a receiver loses its least needed lines first, and says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal

from observability.alerts.failures import Failures
from observability.alerts.notification import Alert
from observability.alerts.spool import Change, Parcel

Language = Literal["en", "zh"]
Tone = Literal["critical", "warning", "info", "resolved"]

TONES: Final[tuple[Tone, ...]] = ("critical", "warning", "info")
ICONS: Final[dict[Tone, str]] = {"critical": "🔴", "warning": "🟠", "info": "🔵", "resolved": "🟢"}

LINE_BYTES = 700
"""Of one line; a description in Chinese of 200 characters fits."""

WORDS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "comma": ", ",
        "firing": "Firing",
        "resolved": "Resolved",
        "critical": "critical",
        "warning": "warning",
        "info": "info",
        "since": "since {time}",
        "lasted": "resolved after {lasted}",
        "passed": "fired and resolved before this could be delivered",
        "again": "changed {changes} times before this could be delivered",
        "failed": "**The last {shown} of {total} failed requests** ({window}{matched})",
        "degraded": "**The last {shown} of {total} requests with such audio** ({window}{matched})",
        "turned_away": "**The last {shown} of {total} requests that were turned away** "
        "({window}{matched})",
        "none_failed": "No request failed ({window}{matched}).",
        "none_degraded": "No request with such audio is in the log ({window}{matched}).",
        "unread": "The failed requests could not be read: {reason}",
        "late": "{notifications} notifications since {time} are summed up here: they could not be "
        "delivered before.",
        "truncated": "{alerts} more alerts are not shown.",
        "cut": "… {lines} lines were cut: too long for this receiver.",
        "alerts": "{count} alerts",
        "dashboard": "Dashboard",
        "panel": "Panel",
        "runbook": "Runbook",
        "operations": "Operations page",
        "source": "Query",
        "silence": "Silence",
    },
    "zh": {
        "comma": "，",
        "firing": "告警",
        "resolved": "已恢复",
        "critical": "严重",
        "warning": "警告",
        "info": "提示",
        "since": "始于 {time}",
        "lasted": "持续 {lasted} 后恢复",
        "passed": "在本消息送达之前已触发并恢复",
        "again": "在本消息送达之前变化了 {changes} 次",
        "failed": "**最近 {shown} 次失败请求，共 {total} 次**（{window}{matched}）",
        "degraded": "**最近 {shown} 次此类音频的请求，共 {total} 次**（{window}{matched}）",
        "turned_away": "**最近 {shown} 次被拒的请求，共 {total} 次**（{window}{matched}）",
        "none_failed": "没有失败的请求（{window}{matched}）。",
        "none_degraded": "日志中没有此类音频的请求（{window}{matched}）。",
        "unread": "未能读取失败请求：{reason}",
        "late": "自 {time} 起的 {notifications} 条通知因此前无法送达，合并于此。",
        "truncated": "另有 {alerts} 个告警未显示。",
        "cut": "……内容超出该渠道上限，已截去 {lines} 行。",
        "alerts": "{count} 个告警",
        "dashboard": "仪表盘",
        "panel": "面板",
        "runbook": "处置手册",
        "operations": "运维页面",
        "source": "查询",
        "silence": "静默",
    },
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of Markdown; of a message that is too long those of the highest rank go first."""

    markdown: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message before it is fitted to a receiver; the title is plain text."""

    title: str
    tone: Tone
    lines: tuple[Line, ...]
    language: Language

    def fitted(self, limit: int, size: Callable[[str], int] | None = None) -> str:
        """
        The lines in at most `limit` bytes (or what `size` measures), cut with a note that says so.
        """
        measured = size or _bytes
        whole = "\n".join(line.markdown for line in self.lines)
        if measured(whole) <= limit:
            return whole
        by_rank = sorted(range(len(self.lines)), key=lambda at: (self.lines[at].rank, at))
        for kept in range(len(by_rank) - 1, -1, -1):
            shown = sorted(by_rank[:kept])
            note = WORDS[self.language]["cut"].format(lines=len(self.lines) - kept)
            text = "\n".join([*(self.lines[at].markdown for at in shown), note])
            if measured(text) <= limit:
                return text
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """
    Writes messages in one language.

    Args:
        service_url: the service as people reach it; request ids link to its operations page.
        grafana_url: what links that begin with `/` are below.
        docs_url: what links without a host, such as `docs/runbook.md#…`, are below.
        zone: of the times; UTC says so.
    """

    language: Language = "en"
    service_url: str | None = None
    grafana_url: str | None = None
    docs_url: str | None = None
    zone: tzinfo = UTC

    def message(self, parcel: Parcel, failures: Failures | None) -> Message:
        """The message for a parcel; `failures` is None where there is nothing to attach."""
        alerts = [change.alert for change in parcel.changes]
        firing = [alert for alert in alerts if alert.state == "firing"]
        tone: Tone = _worst(firing) if firing else "resolved"
        return Message(
            title=self._title(alerts, firing, tone),
            tone=tone,
            lines=tuple(self._lines(parcel, failures)),
            language=self.language,
        )

    def _words(self, key: str, **values: object) -> str:
        return WORDS[self.language][key].format(**values)

    def _title(self, alerts: Sequence[Alert], firing: Sequence[Alert], tone: Tone) -> str:
        about = firing or alerts
        said = self._words("firing" if firing else "resolved")
        grade = f" {self._words(tone)}" if firing else ""
        names = " ".join(dict.fromkeys(alert.name for alert in about))
        many = f" ({self._words('alerts', count=len(about))})" if len(about) > 1 else ""
        return f"{ICONS[tone]} [{said}{grade}] {plain(names)[:120]}{many}"

    def _lines(self, parcel: Parcel, failures: Failures | None) -> Iterator[Line]:
        for number, change in enumerate(parcel.changes):
            yield from self._about(change, first=number == 0)
        if parcel.truncated:
            yield Line(self._words("truncated", alerts=parcel.truncated), 3)
        if parcel.attempts and parcel.notifications > 1:
            first = datetime.fromtimestamp(parcel.first_at, UTC)
            yield Line(
                self._words("late", notifications=parcel.notifications, time=self._time(first)),
                1,
            )
        if failures:
            yield from self._failed(failures)
        if links := self._links([change.alert for change in parcel.changes]):
            yield Line(links, 1)

    def _about(self, change: Change, *, first: bool) -> Iterator[Line]:
        alert, rank = change.alert, 0 if first else 4
        when = self._words("since", time=self._time(alert.starts_at))
        if alert.state == "resolved":
            ends_at = alert.ends_at or alert.starts_at
            when = self._words("lasted", lasted=_lasted(ends_at - alert.starts_at))
        said = self._annotation(alert, "summary") or alert.name
        tone = "resolved" if alert.state == "resolved" else _worst([alert])
        line = f"{ICONS[tone]} **{plain(said)}**"
        yield Line(cut(line, LINE_BYTES), rank)
        notes = [when, *(f"{name} `{code(value)}`" for name, value in _telling(alert).items())]
        if change.changes > 1 and alert.state == "resolved":
            notes.append(self._words("passed"))
        elif change.changes > 1:
            notes.append(self._words("again", changes=change.changes))
        yield Line(cut(self._words("comma").join(notes), LINE_BYTES), rank)
        description = self._annotation(alert, "description")
        if description and alert.state == "firing":
            yield Line(cut(plain(description), LINE_BYTES), rank + 2)

    def _failed(self, failures: Failures) -> Iterator[Line]:
        if failures.unread:
            reason = failures.unread[1 if self.language == "zh" else 0]
            yield Line(self._words("unread", reason=plain(reason)), 1)
            return
        window = self._window(failures.since, failures.until)
        comma = self._words("comma")
        matched = "".join(f"{comma}{name} `{code(value)}`" for name, value in failures.matched)
        if not failures.requests:
            none = f"none_{failures.kind}"
            yield Line(self._words(none, window=window, matched=matched), 1)
            return
        shown = len(failures.requests)
        heading = self._words(
            failures.kind, shown=shown, total=failures.total, window=window, matched=matched
        )
        yield Line(cut(heading, LINE_BYTES), 1)
        for number, request in enumerate(failures.requests, 1):
            told = [request.error, request.stage or "–", request.speaker or "–"]
            shown_id = self._request(request.request_id)
            yield Line(cut(f"{number}. {shown_id} {_coded(told)}", LINE_BYTES), 2)

    def _request(self, request_id: str) -> str:
        if not self.service_url:
            return f"`{code(request_id)}`"
        return f"[{request_id}]({self.service_url.rstrip('/')}/operations/?id={request_id})"

    def _links(self, alerts: Sequence[Alert]) -> str:
        """One of each kind; of several alerts those of the first that has it."""
        found: dict[str, str] = {}
        for alert in alerts:
            for name in ("dashboard", "panel", "runbook", "silence", "source"):
                url = self._in_language(alert.links, name)
                if url and (shown := self._link(self._words(name), url)):
                    found.setdefault(name, shown)
        if self.service_url:
            url = f"{self.service_url.rstrip('/')}/operations/"
            found["operations"] = f"[{self._words('operations')}]({url})"
        order = ("dashboard", "panel", "runbook", "operations", "silence", "source")
        return " · ".join(found[name] for name in order if name in found)

    def _link(self, name: str, url: str) -> str | None:
        """A link that cannot break out of its Markdown; of a file without a place, its path."""
        if url.startswith("/") and self.grafana_url:
            url = f"{self.grafana_url.rstrip('/')}{url}"
        is_path = re.fullmatch(r"[\w-][\w./-]*\.md(#[\w-]+)?", url)
        if is_path and self.docs_url:
            url = f"{self.docs_url.rstrip('/')}/{url}"
        elif is_path:
            return f"{name} `{url}`"
        is_link = re.fullmatch(r"https?://[^\s()<>\[\]\"'`]{1,600}", url)
        return f"[{name}]({url})" if is_link else None

    def _annotation(self, alert: Alert, name: str) -> str:
        return self._in_language(alert.annotations, name)

    def _in_language(self, texts: Mapping[str, str], name: str) -> str:
        """The Chinese one where it is wanted and there, else the other."""
        chinese = texts.get(f"{name}_zh") if self.language == "zh" else None
        return chinese or texts.get(name, "")

    def _time(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.zone):%m-%d %H:%M %Z}"

    def _window(self, since: datetime, until: datetime) -> str:
        first, last = since.astimezone(self.zone), until.astimezone(self.zone)
        shown = f"{first:%H:%M}" if first.date() == last.date() else f"{first:%m-%d %H:%M}"
        return f"{shown}–{last:%H:%M %Z}"


def plain(text: str) -> str:
    """The text as one line that no receiver takes for markup, a mention or a link."""
    text = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
    return text.translate(_DISARMED)


def code(text: str) -> str:
    """The text as it may stand between backticks."""
    return plain(text)[:100].replace("`", "'")


def cut(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8, with an ellipsis where it was cut."""
    if _bytes(text) <= limit:
        return text
    return text.encode()[: limit - 3].decode(errors="ignore") + "…"


_DISARMED = str.maketrans(
    {"<": "‹", ">": "›", "[": "［", "]": "］", "`": "'", "*": "＊", "\\": "＼", "@": "＠"}
)

_UNTOLD = {"alertname", "severity", "grafana_folder"}
"""Labels that are told elsewhere."""


def _telling(alert: Alert) -> dict[str, str]:
    told = {name: value for name, value in alert.labels.items() if name not in _UNTOLD}
    return {name: told[name] for name in sorted(told)[:6] if not name.startswith("__")}


def _coded(told: Sequence[str]) -> str:
    return " ".join(f"`{code(one)}`" for one in told)


def _worst(alerts: Sequence[Alert]) -> Tone:
    grades = Counter(alert.severity for alert in alerts)
    return next((tone for tone in TONES if grades[tone]), "warning")


def _lasted(spent: timedelta) -> str:
    seconds = max(0, round(spent.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _bytes(text: str) -> int:
    return len(text.encode())
