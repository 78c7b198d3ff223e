"""The dashboards are what their sources make, hold together, and lead where they say."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboard_files import FOLDER, PATHS, ROOT, asked, load, panels
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.sources import DASHBOARDS, build
from tests.prometheus.promql_text import metrics

BUILT_IN = {
    "__all_variables", "__url_time_range", "__rate_interval", "__range", "__interval", "__auto",
    "__value",
}  # fmt: skip

each_dashboard = pytest.mark.parametrize(
    "path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)


def urls(board: dict[str, Any]) -> list[str]:
    """Every address that a dashboard links to."""
    found: list[str] = [each["url"] for each in board["links"]]
    for panel in panels(board):
        config = panel.get("fieldConfig", {})
        links = list(config.get("defaults", {}).get("links") or ())
        for override in config.get("overrides") or ():
            for item in override["properties"]:
                links += item["value"] if item["id"] == "links" else ()
        found += [link["url"] for link in links]
    return found


def test_the_files_are_what_the_sources_make() -> None:
    """Nobody edited them by hand, and nobody forgot scripts/build_dashboards.py."""
    made = {str(path): text for path, text in build().items()}
    there = {str(path.relative_to(FOLDER)): path.read_text("utf-8") for path in PATHS}
    assert DASHBOARDS == FOLDER
    assert there == made, "run scripts/build_dashboards.py"


@each_dashboard
def test_grafanas_own_types_hold_all_of_it(path: Path) -> None:
    """Read into the SDK's classes and written again it is the same: no key of ours is unknown."""
    plugins.register_default_plugins()
    board = load(path)
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    # Of panels whose fields have no options of their own, an empty `custom` is written.
    for panel in panels(again):
        if panel["type"] in ("bargauge", "heatmap", "piechart"):
            panel["fieldConfig"]["defaults"].pop("custom", None)
            load_defaults = board["panels"][panel["id"] - 1]["fieldConfig"]["defaults"]
            load_defaults.pop("custom", None)
    assert again == board


@each_dashboard
def test_panels_have_their_place(path: Path) -> None:
    """Each has an id of its own, lies on the grid of 24 columns, and on no other."""
    board = load(path)
    every = list(panels(board))
    assert len({panel["id"] for panel in every}) == len(every)
    taken: dict[tuple[int, int], int] = {}
    for panel in every:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on panel {taken[x, y]}"
                taken[x, y] = panel["id"]
    rows = sorted({y for _, y in taken})
    assert all(after - before == 1 for before, after in pairwise(rows)), "a gap"


@each_dashboard
def test_panels_say_what_they_show(path: Path) -> None:
    """Each has a title, and a unit where it shows numbers."""
    for panel in panels(load(path)):
        if panel["type"] != "text":
            assert panel["title"]
        if panel["type"] in ("timeseries", "stat", "bargauge", "piechart"):
            assert panel["fieldConfig"]["defaults"]["unit"]


@each_dashboard
def test_every_query_has_a_source_and_a_name(path: Path) -> None:
    """By the variable of the data source, so that the dashboard can be imported anywhere."""
    for panel in panels(load(path)):
        targets = panel.get("targets") or []
        assert len({target["refId"] for target in targets}) == len(targets)
        assert bool(targets) == (panel["type"] not in ("row", "text"))
        for target in targets:
            kind = target["datasource"]["type"]
            assert target["datasource"]["uid"] == f"${{{kind}}}"
            assert target["datasource"] == panel["datasource"]


@each_dashboard
def test_every_variable_that_is_used_exists(path: Path) -> None:
    """In queries, in links, and in what other variables are asked for."""
    board = load(path)
    defined = {variable["name"] for variable in board["templating"]["list"]}
    texts = [query.expr for query in asked(board)] + urls(board)
    texts += [target["datasource"]["uid"] for p in panels(board) for target in p.get("targets", ())]
    used = {
        found[0] or found[1]
        for text in texts
        for found in re.findall(r"\$\{(\w+)[.:}]|\$([A-Za-z_]\w*)", text)
    }
    assert used <= defined | BUILT_IN
    assert not {name for name in defined if name.startswith("__")}


OF_NO_INSTANCE = ("node_", "promtail_", "loki_", "indextts_alert_relay_", "indextts_canary_")
"""Metrics of programs beside the service: their `instance` is an address of their own."""

OF_EVERY_JOB = {"up", "scrape_duration_seconds"}
CHOSEN_BEFORE = ("engine", "model_version", "instance", "moment")
"""Variables that are asked for before an instance is chosen, or without one."""


@each_dashboard
def test_every_panel_heeds_the_choice_of_instances(path: Path) -> None:
    """But for the look-up of a request, whose id names no machine, and for what stands beside."""
    for query in asked(load(path)):
        if query.language == "loki" and query.dashboard.startswith("indextts-request"):
            assert "$instance" not in query.expr
        elif query.panel not in CHOSEN_BEFORE:
            names = metrics(query.expr) if query.language == "prometheus" else {"a line"}
            if not all(name.startswith(OF_NO_INSTANCE) for name in names - OF_EVERY_JOB):
                assert "$instance" in query.expr, (query.panel, query.expr)


@each_dashboard
def test_what_instances_have_each_is_added_up(path: Path) -> None:
    """A total is a sum; the highest or lowest of instances is asked for where it is meant."""
    meant = {"indextts_consecutive_failures", "indextts_slo_objective_ratio", "ALERTS", "up"}
    meant |= {"indextts_process_start_time_seconds"}
    for query in asked(load(path)):
        if query.language == "prometheus":
            for names in re.findall(r"\b(?:max|min|avg|count)\b[^{]*?\(+(\w+)\{", query.expr):
                assert names in meant or names.startswith(OF_NO_INSTANCE), query.expr


@each_dashboard
def test_every_link_leads_to_a_dashboard_of_its_language(path: Path) -> None:
    """And every variable that it sets exists there."""
    boards = {board["uid"]: board for board in map(load, PATHS)}
    own = load(path)
    for url in urls(own):
        target = re.match(r"/d/([\w-]+)", url)
        assert target, url
        assert target[1] in boards
        there = {variable["name"] for variable in boards[target[1]]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", url)) <= there
        if url not in {link["url"] for link in own["links"]}:
            assert target[1].endswith("-zh") == own["uid"].endswith("-zh")


def test_both_languages_show_the_same() -> None:
    """The same panels, queries and places; only the words differ, and they do."""
    for path in PATHS:
        if path.parent.name == "en":
            english, chinese = load(path), load(FOLDER / "zh" / path.name)
            assert chinese["uid"] == f"{english['uid']}-zh"
            assert [query.expr for query in asked(english)] == [q.expr for q in asked(chinese)]
            assert [p["gridPos"] for p in panels(english)] == [
                p["gridPos"] for p in panels(chinese)
            ]
            assert re.search("[\u4e00-\u9fff]", chinese["title"])
            assert not re.search("[\u4e00-\u9fff]", str(english["panels"]))


def test_alerts_lead_to_dashboards_that_exist() -> None:
    """And set variables that exist there."""
    boards = {board["uid"]: board for board in map(load, PATHS)}
    rules = "".join(path.read_text("utf-8") for path in (ROOT / "prometheus/rules").glob("*.yml"))
    links = re.findall(r'dashboard(?:_zh)?: "[^/]*/d/([\w-]+)([^"]*)"', rules)
    assert len(links) == rules.count(" dashboard") > 0
    assert any("var-" in query for _, query in links)
    for uid, query in links:
        there = {variable["name"] for variable in boards[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= there


def test_the_data_sources_lead_from_a_line_to_its_request() -> None:
    """Their links and correlations name sources, dashboards and variables that exist."""
    config = yaml.safe_load(
        (ROOT / "grafana/provisioning/datasources/indextts.yaml").read_text("utf-8")
    )
    sources = {source["uid"]: source for source in config["datasources"]}
    assert {source["type"] for source in sources.values()} >= {"prometheus", "loki"}
    boards = {board["uid"]: board for board in map(load, PATHS)}
    fields = sources["loki"]["jsonData"]["derivedFields"]
    assert {field["matcherRegex"] for field in fields} == {"request_id", "trace_id"}
    for field in fields:
        if source := field.get("datasourceUid"):
            assert source in sources
            assert field["url"] == "$${__value.raw}"
            continue
        found = re.fullmatch(r"/d/([\w-]+)\?var-(\w+)=\$\$\{__value\.raw\}", field["url"])
        assert found
        there = {variable["name"] for variable in boards[found[1]]["templating"]["list"]}
        assert found[2] in there
    for correlation in sources["loki"]["correlations"]:
        assert correlation["targetUID"] in sources
        made = {step["mapValue"] for step in correlation["config"]["transformations"]}
        used = set(re.findall(r"\$\$\{(\w+)\}", correlation["config"]["target"]["expr"]))
        assert used == made


def test_the_folders_of_the_dashboards_are_provided() -> None:
    """One folder of Grafana for each language."""
    config = yaml.safe_load(
        (ROOT / "grafana/provisioning/dashboards/indextts.yaml").read_text("utf-8")
    )
    paths = {provider["options"]["path"] for provider in config["providers"]}
    assert paths == {f"${{DASHBOARDS_DIR}}/{path.parent.name}" for path in PATHS}
