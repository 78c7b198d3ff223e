"""
PromQL and LogQL in the words of the dashboards, with the variables that every page has.

Prometheus answers how many and how fast, Loki answers which: what would be a label with too many
values (a user, a fingerprint, a request) is asked of the lines.
"""

from __future__ import annotations

INSTANCE = 'instance=~"$instance"'
REQUESTS = f'{INSTANCE}, engine=~"$engine"'
SPOKEN = f'{REQUESTS}, speaker=~"$speaker"'

DELIVERED = 'status=~"success|degraded"'
"""Latencies are of requests that got audio, as in the monthly report and the alerts."""

ANSWERS = f'(up{{job="indextts", {INSTANCE}}} or up{{job="indextts"}} == 0)'
"""
Whether each chosen instance answers, and which do not at all.

The choice is made of what instances say of themselves: one that never answered is in none.
"""

ALERTS = 'alertname=~"IndexTTS.+", alertstate="firing", severity=~"critical|warning"'

WINDOW = "$__rate_interval"
RANGE = "$__range"

FAILED = 'status=~"failed|timeout|lost"'
FINISHED = f'{{app="indextts", event="synthesis.finished", {INSTANCE}}}'
ANY_LINE = f'{{app="indextts", {INSTANCE}}}'
CHOSEN = '| engine=~"$engine" | model_version=~"$model_version" | speaker=~"$speaker"'
"""Of structured metadata, which the shipper keeps beside each line."""


def rate(
    metric: str, *, by: str = "", of: str = REQUESTS, more: str = "", window: str = WINDOW
) -> str:
    """So many a second, summed over instances, by some labels."""
    return f"{_sum(by)}(rate({_chosen(metric, of, more)}[{window}]))"


def increase(
    metric: str, *, by: str = "", of: str = REQUESTS, more: str = "", window: str = RANGE
) -> str:
    """So many in the window, of series that stand at zero from the start."""
    return f"{_sum(by)}(increase({_chosen(metric, of, more)}[{window}]))"


def increase_from(metric: str, *, by: str = "", of: str = REQUESTS, window: str) -> str:
    """So many in the window that begins at each point: a day's bar stands at that day's start."""
    return f"{_sum(by)}(increase({_chosen(metric, of, '')}[{window}] offset -{window}))"


def counted(
    metric: str, *, by: str = "", of: str = SPOKEN, more: str = "", window: str = RANGE
) -> str:
    """
    So many in the window, the first one of each series included.

    A series that begins in the window begins at 1, which `increase` does not see: with a series
    for each speaker and emotion that would be a good part of a quiet day. What it began with is the
    least that it was: a service that starts again begins at as little.
    """
    series = _chosen(metric, of, more)
    begun = f"min_over_time({series}[{window}]) unless {series} offset {window}"
    # The label tells the two apart, so that the sum has both.
    both = f'increase({series}[{window}]) or label_replace({begun}, "begun", "yes", "", "")'
    return f"{_sum(by)}({both})"


def percentile(
    quantile: float,
    metric: str,
    *,
    by: str = "",
    of: str = REQUESTS,
    more: str = "",
    window: str = WINDOW,
) -> str:
    """A percentile of a histogram, over instances, by some labels."""
    labels = f"le, {by}" if by else "le"
    inner = f"sum by ({labels}) (rate({_chosen(metric + '_bucket', of, more)}[{window}]))"
    return f"histogram_quantile({quantile}, {inner})"


def mean(
    metric: str, *, by: str = "", of: str = REQUESTS, more: str = "", window: str = WINDOW
) -> str:
    """The mean of a histogram."""
    return share(
        rate(f"{metric}_sum", by=by, of=of, more=more, window=window),
        rate(f"{metric}_count", by=by, of=of, more=more, window=window),
    )


def share(part: str, whole: str) -> str:
    """A part of a whole; no value where there is no whole."""
    return f"{part} / {whole}"


def part_of(part: str, whole: str) -> str:
    """A share of what has no series while there is none of it: it is 0 then, and not unknown."""
    return f"({part} or 0 * {whole}) / {whole}"


def error_share(window: str) -> str:
    """What the service owed and did not give, of all that it owed."""
    return share(
        rate("indextts_outcomes_total", more='outcome="unavailable"', window=window),
        rate("indextts_outcomes_total", more='outcome!="excluded"', window=window),
    )


def alerts(by: str) -> str:
    """
    Alerts that fire: of the chosen instances, of all together, and of all that is no service.

    And of whichever is down: one that is down for longer than the time shown cannot be chosen.
    """
    return (
        f'max by ({by}) (ALERTS{{{ALERTS}, instance=~"$instance|"}}'
        f' or ALERTS{{{ALERTS}, job!="indextts"}}'
        f' or ALERTS{{{ALERTS}, alertname="IndexTTSDown"}})'
    )


def by_model_version(inner: str) -> str:
    """Series of instances, told apart by the version of the model that each ran at the time."""
    return f"{inner} * on (instance) group_left (model_version) indextts_build_info"


def finished(*filters: str, failed: bool = False) -> str:
    """The finished lines of what was chosen, by more filters of their metadata."""
    of = FINISHED.replace("}", ', level="error"}') if failed else FINISHED
    return " ".join((of, CHOSEN, *filters))


def lines_counted(lines: str, *, by: str = "", window: str = RANGE) -> str:
    """How many lines, by some of their metadata."""
    return f"{_sum(by)}(count_over_time({lines} [{window}]))"


def lines_percentile(quantile: float, lines: str, field: str, *, by: str) -> str:
    """An exact percentile of a number in the lines."""
    unwrapped = f'{lines} | unwrap {field} | __error__="" [{RANGE}]'
    return f"quantile_over_time({quantile}, {unwrapped}) by ({by})"


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum "


def _chosen(metric: str, of: str, more: str) -> str:
    return f"{metric}{{{', '.join(filter(None, (of, more)))}}}"
