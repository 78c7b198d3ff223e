"""What is read out of PromQL is what is in it."""

from __future__ import annotations

import pytest
from promql_text import mentions


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("up == 0", [("up", "")]),
        ('absent(up{job="x"})', [("up", '{job="x"}')]),
        ('sum by (le, a) (rate(x_bucket{b=~"c|d{2}"}[5m])) > 3', [("x_bucket", '{b=~"c|d{2}"}')]),
        ("a and on (instance) b unless c offset 1h", [("a", ""), ("b", ""), ("c", "")]),
        ("x:y:ratio5m > on (job) 14.4 * z", [("x:y:ratio5m", ""), ("z", "")]),
        ('label_replace(vector(1), "a", "$1", "b", "c")', []),
        ("a * on (i) group_left (v) b", [("a", ""), ("b", "")]),
    ],
)
def test_metrics_are_told_from_functions_words_and_labels(
    expr: str, found: list[tuple[str, str]]
) -> None:
    """Each mention with its matchers, in the order of the expression."""
    assert list(mentions(expr)) == found
