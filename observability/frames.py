"""Where an exception happened, without what it says: messages may quote what a user sent."""

from __future__ import annotations

import traceback


def frames_of(error: BaseException) -> str:
    """The type of an exception and of its causes with their frames, and no message of any."""
    return "\n".join(_lines(traceback.TracebackException.from_exception(error)))


def _lines(trace: traceback.TracebackException) -> list[str]:
    cause = trace.__cause__ or (None if trace.__suppress_context__ else trace.__context__)
    kind = getattr(trace.exc_type, "__name__", "") or ""
    own = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in trace.stack]
    return [*(_lines(cause) if cause else []), *own, kind]
