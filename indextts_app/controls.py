"""The engine's own knobs: a value for each, checked against the table that the engine publishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indextts_app import errors
from indextts_app.engines.base import Control, Value
from observability import logfmt


def chosen(asked: Mapping[str, object], controls: Sequence[Control]) -> dict[str, Value]:
    """
    A value for each control, in the table's order: what was asked, or else its default.

    Raises:
        errors.InvalidField, errors.UnknownChoice: a value that does not fit, with what would.
    """
    return {
        control.name: control.default
        if asked.get(control.name) is None
        else _fitting(control, asked[control.name])
        for control in controls
    }


def changed(values: Mapping[str, Value], controls: Sequence[Control]) -> str | None:
    """The values that are not at their default as logfmt, in the table's order; None for none."""
    found = {
        control.name: values[control.name]
        for control in controls
        if values.get(control.name, control.default) != control.default
    }
    return logfmt.line(found) or None


def _fitting(control: Control, value: object) -> Value:
    if control.kind == "switch":
        if isinstance(value, bool):
            return value
        raise errors.InvalidField(
            field=control.name,
            reason="it is a switch. Send true or false.",
            reason_zh="这是开关，请发送 true 或 false。",
        )
    if control.kind == "choice":
        if isinstance(value, str) and value in control.choices:
            return value
        raise errors.UnknownChoice(control.name, control.choices)
    whole = control.kind == "integer"
    # A bool counts as an int for Python; NaN and infinity fail the comparison.
    if (
        isinstance(value, int if whole else (int, float))
        and not isinstance(value, bool)
        and control.lowest <= value <= control.highest
    ):
        return value if whole else float(value)
    number, number_zh = ("whole number", "整数") if whole else ("number", "数")
    between = f"{control.lowest:g}", f"{control.highest:g}"
    raise errors.InvalidField(
        field=control.name,
        reason=f"it must be a {number} from {between[0]} to {between[1]}.",
        reason_zh=f"应为 {between[0]} 到 {between[1]} 之间的{number_zh}。",
    )
