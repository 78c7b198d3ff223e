"""
The messages between service and worker: a JSON head and raw bytes, both with their length.

A channel of their own, because models print on stdout. Standard library only: the worker may run
under another interpreter than the service. The gateway to a cluster speaks the same.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from indextts_app.engines.base import Task

if TYPE_CHECKING:
    import asyncio

_LENGTHS = struct.Struct("!II")

OPTIONS_VARIABLE = "INDEXTTS_ENGINE_OPTIONS"
"""Variable of a worker's environment that holds its engine's options, as JSON."""

MAX_HEAD_BYTES = 1024 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024


class ChannelBroken(Exception):
    """The other side is gone, or does not speak this protocol."""


Head = Mapping[str, Any]
Body = bytes | bytearray


def pack_head(head: Head, body_length: int = 0) -> bytes:
    """A message up to its body, which follows as it is."""
    encoded = json.dumps(head).encode()
    return _LENGTHS.pack(len(encoded), body_length) + encoded


def lengths(prefix: bytes) -> tuple[int, int]:
    """The lengths of head and body that a message's first `PREFIX_BYTES` tell."""
    head, body = _LENGTHS.unpack(prefix)
    if head > MAX_HEAD_BYTES or body > MAX_BODY_BYTES:
        raise ChannelBroken("a message claims to be larger than any message is")
    return head, body


PREFIX_BYTES = _LENGTHS.size


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The next message of a blocking stream; raises `ChannelBroken` at its end."""
    head_length, body_length = lengths(_exactly(stream, PREFIX_BYTES))
    head = json.loads(_exactly(stream, head_length))
    return head, _exactly(stream, body_length)


async def read_async(stream: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The same of a stream of asyncio; raises `asyncio.IncompleteReadError` at its end."""
    head_length, body_length = lengths(await stream.readexactly(PREFIX_BYTES))
    head = json.loads(await stream.readexactly(head_length))
    return head, await stream.readexactly(body_length)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ChannelBroken("the other side closed the channel")
    return data


def fields_of(task: Task) -> dict[str, Any]:
    """A task as the head of a message holds it."""
    fields = {name: getattr(task, name) for name in task.__slots__}
    # Read-only mappings are no JSON.
    glossary = {term: dict(readings) for term, readings in task.glossary.items()}
    return {**fields, "controls": dict(task.controls), "glossary": glossary}


def task_of(fields: Mapping[str, Any]) -> Task:
    """The task that a message holds."""
    vector = fields["emotion_vector"]
    return Task(**{**fields, "emotion_vector": None if vector is None else tuple(vector)})
