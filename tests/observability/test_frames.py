"""Promises of `observability.frames`."""

from __future__ import annotations

from observability.frames import frames_of


def test_where_it_happened_is_told_and_what_was_said_is_not() -> None:
    """Types and frames of an error and of its cause, the cause first, and no message."""

    def read() -> None:
        raise KeyError("canary")

    try:
        try:
            read()
        except KeyError as cause:
            raise ValueError("canary") from cause
    except ValueError as error:
        told = frames_of(error)
    assert "canary" not in told
    names = [line.rpartition(" ")[2] for line in told.splitlines()]
    this = "test_where_it_happened_is_told_and_what_was_said_is_not"
    assert names == [this, "read", "KeyError", this, "ValueError"]
