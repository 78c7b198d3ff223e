"""Figures are rounded for eyes without saying what is not so."""

from __future__ import annotations

import pytest

from observability.reports import charts, numbers


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.12345, "12.3%"), (1.0, "100%"), (0.0, "0%"), (0.99996, "99.996%"), (0.0004, "0.04%"),
        (0.9996, "99.96%"), (21.259, "2,125.9%"), (None, "–"),
    ],
)  # fmt: skip
def test_nearly_all_is_not_all(share: float | None, shown: str) -> None:
    """Three nines and a half are not shown as a hundred percent, nor one in a thousand as none."""
    assert numbers.percent(share) == shown


def test_times_and_lengths_have_their_unit() -> None:
    """Milliseconds below a second, hours from one on."""
    assert [numbers.milliseconds(value) for value in (4.5, 999.4, 1_830, None)] == [
        "4.5 ms", "999 ms", "1.83 s", "–",
    ]  # fmt: skip
    assert [numbers.hours(value) for value in (12.0, 90.0, 5_400.0)] == [
        "12.0 s",
        "1.5 min",
        "1.5 h",
    ]
    assert [numbers.change(value) for value in (0.2, -0.05)] == ["+20.0%", "−5.0%"]
    assert [numbers.amount(value) for value in (0.0, 0.00234, 12.345)] == [
        "0.00",
        "0.0023",
        "12.35",
    ]


def test_a_chart_without_values_is_drawn() -> None:
    """Zeros are a chart without columns, and no division."""
    part = charts.Part("a", charts.BLUE, [0, 0])
    assert "<rect" not in charts.columns(["1", "2"], [part], words="nothing")
    assert "<svg" in charts.bars([], words="nothing")
    assert charts.gauge(3.0, words="over").count("<rect") == 2


def test_columns_stack_to_their_total() -> None:
    """Heights are in proportion, one over the other, and each says its figure."""
    parts = [charts.Part("x", charts.BLUE, [30]), charts.Part("y", charts.RED, [10])]
    chart = str(charts.columns(["Monday"], parts, words="w"))
    assert "<title>Monday · x: 30</title>" in chart
    assert "<title>Monday · y: 10</title>" in chart
    heights = [float(part.split('height="')[1].split('"')[0]) for part in chart.split("<rect")[1:]]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
