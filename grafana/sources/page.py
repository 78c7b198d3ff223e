"""
A dashboard put together: its variables, its links to the others, and its panels on the grid.

Each dashboard exists once for each language, with the same panels, queries and variables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from grafana.sources.panels import PROMETHEUS, link
from grafana.sources.queries import alerts

LANGUAGES = ("en", "zh")
COLUMNS = 24

ORDER = ("overview", "stages", "speakers", "failures", "request", "usage", "resources")
"""The dashboards in the order of the links at the top of each."""

NAMES = {
    "overview": ("Overview", "总览"),
    "stages": ("Stages", "各阶段"),
    "speakers": ("Speakers and emotions", "发音人与情感"),
    "failures": ("Failures", "失败"),
    "request": ("Request", "单个请求"),
    "usage": ("Usage", "用量"),
    "resources": ("Resources", "资源"),
}

EVERY_VARIABLE = "${__all_variables}&${__url_time_range}"


class Panel(Protocol):
    """A builder of a panel, of whichever kind."""

    def build(self) -> models.Panel:
        """The panel."""


@dataclass(frozen=True, slots=True)
class Language:
    """`say(English, Chinese)` is the one of this language; `to(name)` addresses a dashboard."""

    code: str

    def __call__(self, en: str, zh: str) -> str:
        return zh if self.code == "zh" else en

    def uid(self, name: str) -> str:
        """The uid of a dashboard in this language."""
        return f"indextts-{name}-zh" if self.code == "zh" else f"indextts-{name}"

    def to(self, name: str, more: str = EVERY_VARIABLE) -> str:
        """The address of a dashboard, with what it is to show."""
        return f"/d/{self.uid(name)}?{more}"

    def around(self, name: str, minutes: int = 10) -> dashboard.DashboardLink:
        """A link from a point of a graph: another dashboard, some minutes around that point."""
        when = f"time=${{__value.time}}&time.window={minutes * 60_000}"
        title = f"{self(*NAMES[name])} ±{minutes // 2} min"
        return link(title, self.to(name, f"{when}&${{__all_variables}}"))


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side; `widths` in 24ths, equal if not given."""

    panels: Sequence[Panel]
    height: int = 8
    widths: Sequence[int] = ()
    title: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What one dashboard shows."""

    name: str
    about: str
    rows: Sequence[Row]
    since: str = "now-6h"
    until: str = "now"
    refresh: str = "30s"
    variables: Sequence[Any] = field(default_factory=tuple)

    def build(self, say: Language) -> str:
        """The dashboard's JSON."""
        board = (
            dashboard.Dashboard(f"IndexTTS-2 · {say(*NAMES[self.name])}")
            .uid(say.uid(self.name))
            .description(self.about)
            .tags(["indextts", say.code])
            .time(self.since, self.until)
            .refresh(self.refresh)
            .timezone("browser")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .editable()
            .links(_links(self.name, say))
            .annotations(_annotations(say))
            .variables([*_sources(), *_common(say), *self.variables])
        ).build()
        board.panels = list(_placed(self.rows))
        return json.dumps(board, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _placed(rows: Sequence[Row]) -> Any:  # noqa: ANN401  # the SDK's panels and rows
    y = number = 0
    for row in rows:
        if row.title:
            number += 1
            heading = dashboard.Row(row.title).id(number)
            yield heading.grid_pos(models.GridPos(h=1, w=COLUMNS, x=0, y=y)).build()
            y += 1
        widths = row.widths or [COLUMNS // len(row.panels)] * len(row.panels)
        x = 0
        for building, width in zip(row.panels, widths, strict=True):
            number += 1
            panel = building.build()
            panel.id_val = number
            panel.grid_pos = models.GridPos(h=row.height, w=width, x=x, y=y)
            for letter, target in zip("ABCDEFGHIJKLMNOP", panel.targets or (), strict=False):
                target.ref_id = letter  # type: ignore[attr-defined]  # both kinds of query have it
            yield panel
            x += width
        y += row.height


def _links(name: str, say: Language) -> list[Any]:
    others = [
        dashboard.DashboardLink(say(*NAMES[other]))
        .type(models.DashboardLinkType.LINK)
        .url(f"/d/{say.uid(other)}")
        .include_vars(include_vars=True)
        .keep_time(keep_time=other not in ("request", "usage") and name not in ("request", "usage"))
        for other in ORDER
        if other != name
    ]
    other = Language("en" if say.code == "zh" else "zh")
    return [
        *others,
        dashboard.DashboardLink(say("中文", "English"))
        .type(models.DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{other.uid(name)}")
        .include_vars(include_vars=True)
        .keep_time(keep_time=True),
    ]


def _annotations(say: Language) -> list[Any]:
    return [
        dashboard.AnnotationQuery()
        .name(say("Alerts", "告警"))
        .datasource(PROMETHEUS)
        .enable(enable=True)
        .icon_color("red")
        .expr(alerts("alertname, severity")),
        dashboard.AnnotationQuery()
        .name(say("Starts of the service", "服务启动"))
        .datasource(PROMETHEUS)
        .enable(enable=True)
        .icon_color("blue")
        .expr(
            # Also of a service that was away for long, in whose last samples nothing changes.
            "time() - max by (instance) (indextts_process_start_time_seconds"
            '{instance=~"$instance"}) < 120'
        ),
    ]


def _sources() -> list[Any]:
    return [
        dashboard.DatasourceVariable(kind).type(kind).label(kind.title())
        for kind in ("prometheus", "loki")
    ]


def _common(say: Language) -> list[Any]:
    return [
        _asked("engine", say("Engine", "引擎"), "indextts_outcomes_total"),
        _asked(
            "model_version",
            say("Model version", "模型版本"),
            'indextts_build_info{engine=~"$engine"}',
        ),
        # All means all that run what was chosen before: a model version is a choice of instances.
        _asked(
            "instance",
            say("Instance", "实例"),
            'indextts_build_info{engine=~"$engine", model_version=~"$model_version"}',
            everything="",
        ),
        _asked(
            "speaker",
            say("Speaker", "发音人"),
            'indextts_requests_total{engine=~"$engine", instance=~"$instance"}',
        ),
    ]


def _asked(name: str, label: str, series: str, *, everything: str = ".*") -> Any:  # noqa: ANN401
    asked = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query({"query": f"label_values({series}, {name})", "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )
    return asked.all_value(everything) if everything else asked
