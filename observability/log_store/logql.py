"""
The questions as LogQL, for Loki itself and to be copied into Grafana.

Lines are chosen by the stream's labels, then by a line filter (which Loki answers from the raw
text, quickly), then by their JSON fields. Nothing rests on labels beyond the selector, nor on
structured metadata, so any shipper's configuration will do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta

from observability.log_store.questions import FILTER_FIELDS, OPERATION, Filter

SELECTOR = '{app="indextts"}'

FINISHED, STARTED = f"{OPERATION}.finished", f"{OPERATION}.started"

_TOLERANT = '| __error__=""'
"""One line that is no JSON would otherwise break every count over its time."""


def lines(asked: Filter, *, selector: str = SELECTOR) -> str:
    """The finished lines that a filter means; its time goes beside the query."""
    return _matching(asked, selector)


def counts(
    asked: Filter, by: Sequence[str] = (), *, window: timedelta, selector: str = SELECTOR
) -> str:
    """How many requests a filter means, by the values of some fields, over a window of time."""
    if unknown := [name for name in by if name not in FILTER_FIELDS]:
        raise ValueError(f"cannot count by {', '.join(unknown)}")
    grouped = f" by ({', '.join(by)})" if by else ""
    matching = _matching(asked, selector, by)
    return f"sum{grouped} (count_over_time({matching} [{_duration(window)}]))"


def of_request(request_id: str, *, selector: str = SELECTOR) -> str:
    """The lines that hold a request's id."""
    return f"{selector} |= {_text(request_id)}"


def of_event(event: str, *, selector: str = SELECTOR) -> str:
    """The lines that hold the name of an event."""
    return f"{selector} |= {_text(event)}"


def count_of_lines(window: timedelta, *, selector: str = SELECTOR) -> str:
    """How many lines of any kind there are in a window of time."""
    return f"sum(count_over_time({selector} [{_duration(window)}]))"


def _matching(asked: Filter, selector: str, by: Sequence[str] = ()) -> str:
    wanted = dict.fromkeys((*asked.values(), *by))
    if asked.client_request_id is not None:
        wanted["client_request_id"] = None
    parts = [selector, f"|= {_text(FINISHED)}"]
    # A line holds a value as it is unless JSON has to escape it.
    parts += [
        f"|= {_text(chosen[0])}"
        for chosen in asked.values().values()
        if len(chosen) == 1 and _text(chosen[0]) == f'"{chosen[0]}"'
    ]
    extracted = ", ".join(f'{name}="{name}"' for name in ("event", *wanted))
    parts += [f"| json {extracted}", _TOLERANT, f"| event={_text(FINISHED)}"]
    for name, chosen in asked.values().items():
        if len(chosen) == 1:
            parts.append(f"| {name}={_text(chosen[0])}")
        else:
            parts.append(f"| {name}=~{_text('|'.join(map(re.escape, chosen)))}")
    if asked.client_request_id is not None:
        pattern = f"(?i).*{re.escape(asked.client_request_id)}.*"
        parts.append(f"| client_request_id=~{_text(pattern)}")
    return " ".join(parts)


def _text(text: str) -> str:
    """A string of LogQL; its escapes are Go's, of which JSON's are a part."""
    return json.dumps(text, ensure_ascii=False)


def _duration(window: timedelta) -> str:
    seconds = max(1, -(-window // timedelta(seconds=1)))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
