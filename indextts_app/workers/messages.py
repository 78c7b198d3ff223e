"""The service's end of a channel, on its event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from indextts_app.workers import channel


class Messages(asyncio.Protocol):
    """Cuts the bytes of a channel into messages; `lost` is called once there can be no more."""

    def __init__(
        self, hear: Callable[[dict[str, Any], bytes], None], lost: Callable[[], None]
    ) -> None:
        self._hear = hear
        self._lost = lost
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`, as for the other."""
        self._buffer += data
        try:
            while len(self._buffer) >= channel.PREFIX_BYTES:
                head, body = channel.lengths(bytes(self._buffer[: channel.PREFIX_BYTES]))
                head_end = channel.PREFIX_BYTES + head
                end = head_end + body
                if len(self._buffer) < end:
                    return
                message = json.loads(self._buffer[channel.PREFIX_BYTES : head_end])
                content = bytes(memoryview(self._buffer)[head_end:end])
                del self._buffer[:end]
                self._hear(message, content)
        except (channel.ChannelBroken, ValueError, KeyError):
            self._lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._lost()
