"""A month of lines and the report of it, made once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from month_of_lines import NOW, SINCE, Line, drawn, kept

from observability.reports.figures import Report, Terms
from observability.reports.month import Month
from observability.reports.monthly import report


@pytest.fixture(scope="session")
def month_lines() -> list[Line]:
    """October 2026: 1,500 requests of every kind."""
    return drawn(1, 1_500)


@pytest.fixture(scope="session")
def month_report(month_lines: list[Line], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of these lines, after a September of 300 requests."""
    september = drawn(2, 300, datetime(2026, 9, 1, tzinfo=UTC), SINCE - timedelta(hours=2))
    store = kept(tmp_path_factory.mktemp("month"), september + month_lines)
    terms = Terms(slo=0.99, gpu_hour_price=12.5, currency="EUR")
    return report(store, Month(2026, 10), terms=terms, now=NOW)
