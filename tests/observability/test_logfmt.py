"""Promises of the one string field that holds pairs."""

from __future__ import annotations

from observability import logfmt


def test_pairs_come_back_as_text() -> None:
    """In their order; whole numbers keep all their digits, others six."""
    line = logfmt.line({"on": True, "off": False, "seed": 4294967295, "t": 0.1234567, "to": "zh"})
    assert line == "on=true off=false seed=4294967295 t=0.123457 to=zh"
    assert logfmt.pairs(line) == {
        "on": "true",
        "off": "false",
        "seed": "4294967295",
        "t": "0.123457",
        "to": "zh",
    }
    assert logfmt.line({}) == ""
    assert logfmt.pairs("") == {}
