"""
The kinds of panel that the dashboards are made of, each with its defaults set once.

Every function gives a builder of Grafana's own SDK, which the caller may refine; every query names
its data source by a variable, so that a dashboard can be imported into any Grafana.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    loki,
    piechart,
    prometheus,
    stat,
    table,
    text,
    timeseries,
    xychart,
)
from grafana_foundation_sdk.builders import logs as logs_panel
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_kinds
from grafana_foundation_sdk.models import piechart as piechart_kinds
from grafana_foundation_sdk.models import prometheus as prometheus_kinds
from grafana_foundation_sdk.models import text as text_kinds
from grafana_foundation_sdk.models import xychart as xychart_kinds

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${prometheus}")
LOKI = models.DataSourceRef(type_val="loki", uid="${loki}")

GREEN, YELLOW, RED = "green", "yellow", "red"
SECONDS, SHARE, BYTES, PER_MINUTE = "s", "percentunit", "bytes", "cpm"

P = TypeVar("P")
Query = prometheus.Dataquery | loki.Dataquery
Links = Sequence[dashboard.DashboardLink]
Steps = Sequence[tuple[str, float]]


def prom(expr: str, legend: str = "", *, step: str = "") -> prometheus.Dataquery:
    """PromQL over time."""
    query = prometheus.Dataquery().datasource(PROMETHEUS).expr(expr).range()
    query.legend_format(legend or "__auto")
    return query.interval(step) if step else query


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """PromQL for one moment, the end of the time shown."""
    query = prometheus.Dataquery().datasource(PROMETHEUS).expr(expr).instant()
    return query.legend_format(legend or "__auto")


def rows(expr: str) -> prometheus.Dataquery:
    """PromQL for one moment, as rows of a table."""
    return now(expr).format(prometheus_kinds.PromQueryFormat.TABLE)


def buckets(expr: str) -> prometheus.Dataquery:
    """PromQL of a histogram's buckets, for a heat map."""
    return prom(expr, "{{le}}").format(prometheus_kinds.PromQueryFormat.HEATMAP)


def lines(expr: str, *, limit: int = 200) -> loki.Dataquery:
    """Log lines, newest first."""
    query = loki.Dataquery().datasource(LOKI).expr(expr).query_type("range")
    return query.max_lines(limit)


def line_numbers(expr: str, legend: str = "") -> loki.Dataquery:
    """Numbers made of log lines, for the whole time shown."""
    query = loki.Dataquery().datasource(LOKI).expr(expr).query_type("instant")
    return query.legend_format(legend)


def line_rates(expr: str, legend: str = "") -> loki.Dataquery:
    """Numbers made of log lines, over time."""
    query = loki.Dataquery().datasource(LOKI).expr(expr).query_type("range")
    return query.legend_format(legend)


def graph(
    title: str,
    *queries: Query,
    unit: str,
    about: str = "",
    stacked: bool = False,
    bars: bool = False,
    ahead: bool = False,
    limits: Steps = (),
    links: Links = (),
) -> timeseries.Panel:
    """
    Lines over time, with a table of last, mean and highest below; or bars, `ahead` from each point
    where its number is of the time that begins there.
    """
    panel = _with(timeseries.Panel(), title, queries, about, links).unit(unit).min(0)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.TABLE)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs(["lastNotNull", "mean", "max"])
    )
    panel.tooltip(
        common.VizTooltipOptions()
        .mode(kinds.TooltipDisplayMode.MULTI)
        .sort(kinds.SortOrder.DESCENDING)
    )
    panel.line_width(1).fill_opacity(60 if stacked or bars else 8)
    panel.show_points(kinds.VisibilityMode.AUTO).span_nulls(span_nulls=False)
    if bars:
        panel.draw_style(kinds.GraphDrawStyle.BARS)
    if ahead:
        panel.bar_alignment(kinds.BarAlignment.AFTER)
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds(_steps(limits)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        )
    return panel


def number(
    title: str,
    *queries: Query,
    unit: str,
    about: str = "",
    limits: Steps = (),
    base: str = GREEN,
    decimals: int | None = None,
    links: Links = (),
) -> stat.Panel:
    """One number, large; coloured where it has limits."""
    panel = _with(stat.Panel(), title, queries, about, links).unit(unit)
    panel.reduce_options(_last()).graph_mode(kinds.BigValueGraphMode.AREA)
    panel.thresholds(_steps(limits, base=base)).color_mode(
        kinds.BigValueColorMode.VALUE if limits else kinds.BigValueColorMode.NONE
    )
    return panel if decimals is None else panel.decimals(decimals)


def bars(
    title: str,
    *queries: Query,
    unit: str,
    about: str = "",
    limits: Steps = (),
    base: str = GREEN,
    links: Links = (),
) -> bargauge.Panel:
    """A bar for each series, at the end of the time shown."""
    panel = _with(bargauge.Panel(), title, queries, about, links).unit(unit).min(0)
    panel.orientation(kinds.VizOrientation.HORIZONTAL).reduce_options(_last())
    panel.display_mode(kinds.BarGaugeDisplayMode.BASIC).show_unfilled(show_unfilled=False)
    if limits:
        return panel.thresholds(_steps(limits, base=base))
    return panel.color_scheme(
        dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
    )


def pie(
    title: str, *queries: Query, unit: str, about: str = "", links: Links = ()
) -> piechart.Panel:
    """Shares of a whole, with values and percentages beside."""
    panel = _with(piechart.Panel(), title, queries, about, links).unit(unit)
    return (
        panel.pie_type(piechart_kinds.PieChartType.DONUT)
        .reduce_options(_last())
        .legend(
            piechart.PieChartLegendOptions()
            .display_mode(kinds.LegendDisplayMode.TABLE)
            .placement(kinds.LegendPlacement.RIGHT)
            .show_legend(show_legend=True)
            .values(
                [
                    piechart_kinds.PieChartLegendValues.VALUE,
                    piechart_kinds.PieChartLegendValues.PERCENT,
                ]
            )
        )
    )


def heat(title: str, query: Query, *, about: str = "", links: Links = ()) -> heatmap.Panel:
    """How many requests took how long, over time."""
    panel = _with(heatmap.Panel(), title, (query,), about, links)
    panel.calculate(calculate=False).cell_gap(1)
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heatmap_kinds.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .scale(heatmap_kinds.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
    )
    return panel.y_axis(heatmap.YAxisConfig().unit(SECONDS)).show_legend()


def grid(
    title: str,
    *queries: Query,
    about: str = "",
    transform: Sequence[tuple[str, dict[str, Any]]] = (),
    units: dict[str, str] | None = None,
    column_links: dict[str, Links] | None = None,
) -> table.Panel:
    """A table; `units` and `column_links` are by the name of a column."""
    panel = _with(table.Panel(), title, queries, about, ())
    for name, options in transform:
        panel.with_transformation(models.DataTransformerConfig(id_val=name, options=options))
    for column, unit in (units or {}).items():
        panel.override_by_name(column, [models.DynamicConfigValue(id_val="unit", value=unit)])
    for column, links in (column_links or {}).items():
        built = [link.build().to_json() for link in links]
        panel.override_by_name(column, [models.DynamicConfigValue(id_val="links", value=built)])
    return panel.filterable(filterable=True)


def log(title: str, query: Query, *, about: str = "", pretty: bool = False) -> logs_panel.Panel:
    """Log lines; their request_id links to the request, by the data source's derived field."""
    panel = _with(logs_panel.Panel(), title, (query,), about, ())
    panel.show_time(show_time=True).wrap_log_message(wrap_log_message=True)
    panel.prettify_log_message(prettify_log_message=pretty)
    panel.enable_log_details(enable_log_details=True).dedup_strategy(kinds.LogsDedupStrategy.NONE)
    return panel.sort_order(kinds.LogsSortOrder.DESCENDING)


def scatter(title: str, query: Query, *, x: str, y: str, about: str = "") -> xychart.Panel:
    """A point for each line: one of its numbers against another."""
    panel = _with(xychart.Panel(), title, (query,), about, ())
    for name, options in (
        ("extractFields", {"source": "labels", "replace": True}),
        ("convertFieldType", {"conversions": [_number(x), _number(y)], "fields": {}}),
        ("filterFieldsByName", {"include": {"names": [x, y]}}),
    ):
        panel.with_transformation(models.DataTransformerConfig(id_val=name, options=options))
    panel.mapping(xychart_kinds.SeriesMapping.MANUAL)
    across = xychart.XychartXYSeriesConfigX().matcher(_named(x))
    up = xychart.XychartXYSeriesConfigY().matcher(_named(y))
    return panel.series([xychart.XYSeriesConfig().x(across).y(up)])


def words(content: str) -> text.Panel:
    """Markdown."""
    return text.Panel().mode(text_kinds.TextMode.MARKDOWN).content(content)


def link(title: str, url: str) -> dashboard.DashboardLink:
    """A link from a value; the URL may hold Grafana's variables."""
    return dashboard.DashboardLink(title).url(url)


def right_axis(unit: str, *, highest: float | None = None) -> list[models.DynamicConfigValue]:
    """What gives some of a graph's lines an axis of their own, on the right."""
    values: list[tuple[str, Any]] = [("unit", unit), ("custom.axisPlacement", "right")]
    if highest is not None:
        values.append(("max", highest))
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in values]


def _with(panel: P, title: str, queries: Sequence[Query], about: str, links: Links) -> P:
    building: Any = panel
    building.title(title)
    if queries:
        building.datasource(queries[0].build().datasource)
    for query in queries:
        building.with_target(query)
    if about:
        building.description(about)
    if links:
        building.data_links(list(links))
    return panel


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)


def _steps(limits: Steps, *, base: str = GREEN) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color=base)]
    steps += [models.Threshold(value=value, color=color) for color, value in limits]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _number(field: str) -> dict[str, str]:
    return {"targetField": field, "destinationType": "number"}


def _named(field: str) -> xychart.MatcherConfig:
    return xychart.MatcherConfig().id("byName").options(field)
