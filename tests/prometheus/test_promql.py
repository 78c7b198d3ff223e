"""
Every PromQL expression of dashboards and rules, run against a real Prometheus.

And two services under one view: together by sum, each alone, a request wherever it was served.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from monitored import (
    FILLED,
    PATIENCE_SECONDS,
    PROGRAMS,
    ROOT,
    Monitored,
    all_running,
    needs_programs,
)
from promql_text import mentions, metrics
from recorded import others

from observability import request_id as request_ids
from observability.log_store.files import FileLogStore
from observability.log_store.loki import LokiLogStore
from observability.log_store.questions import Filter
from observability.reports.month import Month
from observability.reports.monthly import report
from scripts import shipping
from tests.grafana import dashboard_files as dashboards

UNUSED: dict[str, str] = {}
"""Metrics of ours that no dashboard and no rule asks for, with the reason."""

pytestmark = needs_programs


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of `prometheus/rules`, an alert or a recording."""

    name: str
    expr: str


def rules() -> list[Rule]:
    """Every rule of every file."""
    return [
        Rule(rule.get("alert") or rule["record"], rule["expr"])
        for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """Prometheus and all that it scrapes, running, under load; gone with the last test here."""
    with all_running(tmp_path_factory.mktemp("monitored")) as found:
        yield found


def test_every_job_of_the_inventory_is_scraped(monitored: Monitored) -> None:
    """The jobs are named as in the inventory that is deployed, and all of ours answer."""
    text = (ROOT / "prometheus/targets.yml").read_text("utf-8")
    named = set(re.findall(r"job: ([\w-]+)", text))
    here = {"indextts", *PROGRAMS, *others()}
    assert here <= named
    assert not monitored.until_none_is_left(
        here, lambda job: bool(monitored.ask(f'up{{job="{job}"}} == 1'))
    )


def test_every_expression_of_the_dashboards_answers_with_data(monitored: Monitored) -> None:
    """With a value for each variable; a filter of values at the end may leave nothing."""
    wanted = {query.filled(**FILLED) for query in dashboards.all_asked("prometheus")}
    unfiltered = {re.sub(r"\s*[<>]=?\s*[\d.]+$", "", expr) for expr in wanted}
    # A bar's number is of the time that begins at it; there is no such time yet.
    unfiltered = {re.sub(r" offset -\w+", "", expr) for expr in unfiltered}
    assert len(unfiltered) > 100
    assert not monitored.until_none_is_left(unfiltered, lambda expr: bool(monitored.ask(expr)))


def test_every_rule_asks_for_series_that_exist(monitored: Monitored) -> None:
    """Each runs, and whatever it selects was scraped, or is recorded by another."""
    for rule in rules():
        monitored.ask(rule.expr)
    selectors = {name + matchers for rule in rules() for name, matchers in mentions(rule.expr)}
    assert len(selectors) > 50
    assert not monitored.until_none_is_left(selectors, monitored.has_series)


def test_every_recording_has_data(monitored: Monitored) -> None:
    """Or the alerts that rest on it would be blind."""
    recorded = {rule.name for rule in rules() if ":" in rule.name}
    assert not monitored.until_none_is_left(recorded, lambda name: bool(monitored.ask(name)))


def test_every_metric_of_ours_is_looked_at(monitored: Monitored) -> None:
    """By a dashboard or a rule, or there is a reason why not; and no reason without a metric."""
    asked = {query.filled() for query in dashboards.all_asked("prometheus")}
    asked |= {rule.expr for rule in rules()}
    used = {name for expr in asked for name in metrics(expr)}
    answer = httpx.get(f"{monitored.url}/api/v1/label/__name__/values", timeout=30).json()
    ours = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in answer["data"]
        if name.startswith("indextts_")
    }
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert len(ours) > 40
    assert ours - used == set(UNUSED)
    for path in ("docs/dashboards.md", "docs/dashboards.zh.md"):
        told = re.findall(r"`(indextts_\w+)(\*?)", (ROOT / path).read_text("utf-8"))
        families = tuple(name for name, more in told if more)
        names = {name for name, _ in told}
        assert {name for name in ours if not name.startswith(families)} <= names


def test_an_alert_that_fires_says_so_in_both_languages_with_its_links(monitored: Monitored) -> None:
    """As Alertmanager gets it: the texts filled in, the links' beginnings in no label."""
    name = "IndexTTSFailuresInARow"
    seen: dict[str, Any] = {}

    def fires(_: str) -> bool:
        alertmanager = monitored.ask('up{job="alertmanager"}')[0]["metric"]["instance"]
        for alert in httpx.get(f"http://{alertmanager}/api/v2/alerts", timeout=30).json():
            if (alert["labels"]["alertname"], alert["labels"].get("engine")) == (name, "drill"):
                seen[name] = alert
        return bool(seen)

    # It would end with the next audio, which may come before it is seen.
    monitored.only_failures.set()
    try:
        assert not monitored.until_none_is_left({name}, fires)
    finally:
        monitored.only_failures.clear()
    alert = seen[name]
    assert alert["labels"] == {
        "alertname": name,
        "engine": "drill",
        "instance": monitored.service,
        "job": "indextts",
        "severity": "critical",
    }
    texts = alert["annotations"]
    assert re.fullmatch(
        rf"\d+ failures in a row \(drill on {monitored.service}\)", texts["summary"]
    ), json.dumps(texts)
    assert re.fullmatch(rf"连续失败 \d+ 次（{monitored.service} 的 drill）", texts["summary_zh"])
    assert texts["dashboard"] == "http://127.0.0.1:3000/d/indextts-failures?var-engine=drill"
    assert texts["dashboard_zh"] == "http://127.0.0.1:3000/d/indextts-failures-zh?var-engine=drill"
    assert texts["runbook_url"] == "docs/runbook.md#indexttsfailuresinarow"
    assert texts["runbook_url_zh"] == "docs/runbook.zh.md#indexttsfailuresinarow"


def test_the_query_of_the_autoscaler_answers_with_one_number(monitored: Monitored) -> None:
    """As KEDA needs it: of all replicas together, 0 or more."""
    scaled = yaml.safe_load((ROOT / "kubernetes/autoscaling/scaledobject.yaml").read_text("utf-8"))
    (trigger,) = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    assert not monitored.until_none_is_left({query}, lambda expr: bool(monitored.ask(expr)))
    (answer,) = monitored.ask(query)
    assert float(answer["value"][1]) >= 0


# --- Two services under one view -----------------------------------------------------------------


SETTLED_SECONDS = 5.0
"""So long ago everything that was scraped then is stored."""


def asked_of(service: str) -> str:
    """The request_id of a request that a service has just answered."""
    body = {"text": "你好。", "speaker": "steady", "emotion": "calm"}
    answer = httpx.post(f"http://{service}/tts", json=body, timeout=30)
    assert answer.status_code == 200
    return answer.headers["X-Request-ID"]


def story_at(service: str, request_id: str) -> httpx.Response:
    return httpx.get(f"http://{service}/requests/{request_id}", timeout=30)


def expressions(pattern: str) -> list[str]:
    """The dashboards' queries for numbers that look so, without a filter of values at the end."""
    asked = {
        re.sub(r"\s*[<>]=?\s*[\d.]+$| offset -\w+", "", query.expr)
        for query in dashboards.all_asked("prometheus")
    }
    return sorted(expr for expr in asked if re.match(pattern, expr) and "$instance" in expr)


def values(monitored: Monitored, expr: str, instance: str, at: float) -> dict[Any, float]:
    """The numbers of an expression with a choice of instances, by their labels."""
    filled = dashboards.fill(expr, **FILLED, instance=instance)
    return {
        tuple(sorted(series["metric"].items())): float(series["value"][1])
        for series in monitored.ask(filled, at)
    }


@pytest.fixture(scope="module")
def moment(monitored: Monitored) -> float:
    """A moment at which Prometheus knew something of all instances for a while."""
    for service in (monitored.service, monitored.other):
        outcomes = f'indextts_outcomes_total{{instance="{service}"}}'
        seen = f"sum(increase({outcomes}[30s] offset {SETTLED_SECONDS:g}s)) > 2"
        assert not monitored.until_none_is_left({seen}, lambda expr: bool(monitored.ask(expr)))
    return time.time() - SETTLED_SECONDS


@pytest.fixture(scope="module")
def instances(monitored: Monitored, moment: float) -> list[str]:
    """All that Prometheus scrapes as the service, one without a machine among them."""
    found = [
        series["metric"]["instance"] for series in monitored.ask('up{job="indextts"} == 1', moment)
    ]
    assert {monitored.service, monitored.other} < set(found)
    return found


def test_sums_are_those_of_the_instances(
    monitored: Monitored, moment: float, instances: list[str]
) -> None:
    """What a panel adds up for all is what it shows for each, added up: none is hidden or twice."""
    checked = shared = 0
    for expr in expressions(r"sum (by \([^)]*\) )?\((?!.*/)"):
        total = values(monitored, expr, "|".join(instances), moment)
        parts: Counter[Any] = Counter()
        for instance in instances:
            own = values(monitored, expr, instance, moment)
            parts.update(own)
            shared += instance == monitored.other and any(own.values())
        assert set(total) == set(parts), expr
        for labels, value in total.items():
            assert math.isclose(value, parts[labels], rel_tol=1e-6, abs_tol=1e-9), (expr, labels)
        checked += 1
    assert checked > 20
    assert shared > 10


def test_percentiles_lie_between_those_of_the_instances(
    monitored: Monitored, moment: float, instances: list[str]
) -> None:
    """They are of all requests together, and not a mean or the highest of percentiles."""
    differ = 0
    for expr in expressions(r"histogram_quantile\(0\.95, sum by \(le\)"):
        (total,) = values(monitored, expr, "|".join(instances), moment).values()
        each = [
            value
            for instance in instances
            for value in values(monitored, expr, instance, moment).values()
        ]
        assert min(each) - 1e-9 <= total <= max(each) + 1e-9, expr
        differ += not any(math.isclose(total, mean) for mean in (sum(each) / len(each), max(each)))
    assert differ > 3


def test_each_instance_is_seen_alone(
    monitored: Monitored, moment: float, instances: list[str]
) -> None:
    """Where a panel tells instances apart, both are there, and only the chosen one if one is."""
    told = expressions(r"(sum|max|histogram_quantile\(0.95, sum) by \((le, )?instance\)")
    assert len(told) > 5
    for expr in told:
        of = {
            dict(labels)["instance"]
            for labels in values(monitored, expr, monitored.other, moment)
            if "instance" in dict(labels)
        }
        assert of <= {monitored.other}, expr
        seen = values(monitored, expr, "|".join(instances), moment)
        if "indextts_lines_lost_total" not in expr:
            both = {monitored.service, monitored.other}
            assert both <= {dict(labels)["instance"] for labels in seen}, expr


def test_a_dead_instance_counts_whichever_is_chosen(monitored: Monitored) -> None:
    """One that never answered is in no choice, and must not be missed for that."""
    (panel,) = expressions(r"sum\(\(up\{")
    of_other = dashboards.fill(panel, **FILLED, instance=monitored.other)
    assert [series["value"][1] for series in monitored.ask(of_other)] == ["1"]
    # As if the first service did not answer.
    dead = of_other.replace(
        ' or up{job="indextts"} == 0', f' or up{{instance="{monitored.service}"}} - 1'
    )
    assert dead != of_other
    assert [series["value"][1] for series in monitored.ask(dead)] == ["0.5"]


def test_a_service_tells_of_a_request_that_another_served(monitored: Monitored) -> None:
    """From the other's log folder: who served it stands in the story, and nowhere in the id."""
    request_id = asked_of(monitored.service)
    told = story_at(monitored.other, request_id)
    assert told.status_code == 200
    assert told.json()["asked"]["instance"] == monitored.service
    missing = story_at(monitored.other, request_ids.new())
    assert missing.status_code == 404
    assert request_ids.parse(request_id) == request_id


# --- Lines, in a real Loki -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def loki(monitored: Monitored) -> shipping.Loki:
    """It has lines of both services."""
    if monitored.loki is None:
        pytest.skip(f"not on PATH: {', '.join(shipping.missing())}; no line was looked for in Loki")
    finished = (
        'sum by (instance) (count_over_time({app="indextts", event="synthesis.finished"} [1h]))'
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(monitored.loki.numbers(finished, datetime.now(UTC))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return monitored.loki


def test_a_request_is_found_in_loki_by_a_service_that_has_no_other_way(
    monitored: Monitored, loki: shipping.Loki
) -> None:
    """The first service knows of no folder but its own."""
    request_id = asked_of(monitored.other)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (told := story_at(monitored.service, request_id)).status_code == 404:
        assert time.monotonic() < deadline, told.text
        time.sleep(0.5)
    assert told.status_code == 200
    assert told.json()["asked"]["instance"] == monitored.other


def test_lines_are_labelled_with_what_they_say(monitored: Monitored, loki: shipping.Loki) -> None:
    """One shipper read two folders, and each line is its own service's."""
    now = datetime.now(UTC)
    lines = loki.lines('{app="indextts"}', now - timedelta(hours=1), now, limit=2000)
    told = Counter(
        (labels["instance"], f'"instance": "{labels["instance"]}"' in text)
        for labels, _, text in lines
    )
    assert set(told) == {(monitored.service, True), (monitored.other, True)}


def test_lines_on_dashboards_are_those_of_the_chosen_instance(
    monitored: Monitored, loki: shipping.Loki
) -> None:
    """Every panel of lines and of numbers of lines, but those that look a request up."""
    now = datetime.now(UTC)
    some = 0
    for query in dashboards.all_asked("loki"):
        if query.dashboard == "indextts-request":
            assert "$instance" not in query.expr
            continue
        assert query.expr.count("$instance") == query.expr.count('app="indextts"')
        expr = query.filled(**FILLED | {"__range": "5m"}, instance=monitored.other)
        if re.search(r"_over_time", expr):
            loki.numbers(expr, now)
            continue
        found = loki.lines(expr, now - timedelta(minutes=5), now, limit=50)
        assert {labels["instance"] for labels, _, _ in found} <= {monitored.other}
        some += bool(found)
    assert some > 2


def test_figures_from_loki_are_those_of_the_files(
    monitored: Monitored, loki: shipping.Loki
) -> None:
    """Of both services together, and of each alone."""
    until = datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS)
    folders = {
        monitored.service: monitored.folder / "service/logs",
        monitored.other: monitored.folder / "other/logs",
    }
    store = LokiLogStore(loki.url)
    since = until - timedelta(minutes=30)
    for chosen in ((), (monitored.service,), (monitored.other,)):
        asked = Filter(since=since, until=until, instance=chosen)
        files: list[Path] = [folders[name] for name in chosen or folders]
        by = ("instance", "status", "speaker")
        theirs, ours = store.counts(asked, by), FileLogStore(*files).counts(asked, by)
        assert (theirs.groups, theirs.total) == (ours.groups, ours.total)
        assert {group.values[0] for group in ours.groups} == set(chosen or folders)
    month = Month(until.year, until.month)
    made = report(store, month, instances=(monitored.other,))
    assert [row.instance for row in made.instances] == [monitored.other]
    assert made.reconciliation.finished_without_start == 0
