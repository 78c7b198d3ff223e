"""The tables open in a spreadsheet, and hold the report's rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from month_of_lines import NOW, SINCE, kept, request

from observability.reports.figures import Report
from observability.reports.month import Month
from observability.reports.monthly import report
from observability.reports.tables import TABLES, csv_tables


def rows(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:])))


def test_each_table_holds_its_rows(month_report: Report) -> None:
    """Rows and figures are the report's own."""
    tables = csv_tables(month_report)
    assert tuple(tables) == TABLES
    assert [row["speaker"] for row in rows(tables["speakers"])] == [
        row.speaker for row in month_report.speakers
    ]
    (summary,) = rows(tables["summary"])
    assert int(summary["requests"]) == month_report.requests
    assert float(summary["latency_p95_ms"]) == month_report.latency_ms.p95
    assert int(summary["lost"]) == month_report.by_status["lost"]
    assert len(rows(tables["days"])) == 31
    assert len(rows(tables["hours"])) == 7 * 24
    assert float(rows(tables["weeks"])[0]["stage_acoustic_ms"]) > 0
    assert {row["kind"] for row in rows(tables["advice"])} <= {"act", "fine"}


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    """What a spreadsheet would run is quoted; Chinese and commas stand as they are."""
    lines = request(SINCE, status="success", user="=HYPERLINK(1)", speaker="小,明", duration_ms=1.0)
    tables = csv_tables(report(kept(tmp_path, lines), Month(2026, 10), now=NOW))
    assert rows(tables["users"])[0]["user"] == "'=HYPERLINK(1)"
    assert rows(tables["speakers"])[0]["speaker"] == "小,明"


def test_an_empty_table_has_its_head(tmp_path: Path) -> None:
    """A program that reads the columns finds them in a month without rows as well."""
    tables = csv_tables(report(kept(tmp_path, []), Month(2026, 10), now=NOW))
    for name, column in (
        ("users", "gpu_seconds"),
        ("errors", "error_type"),
        ("versions", "p95_ms"),
    ):
        assert column in tables[name].splitlines()[0]
        assert rows(tables[name]) == []
