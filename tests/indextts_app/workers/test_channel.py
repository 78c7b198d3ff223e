"""Promises of the channel: a message arrives whole and unchanged, or the channel is broken."""

from __future__ import annotations

import io
import struct

import pytest

from indextts_app.workers import channel


def test_messages_arrive_in_order_and_unchanged() -> None:
    """Heads of any JSON value and bodies of any bytes come out as they went in."""
    messages = [
        ({"kind": "task", "text": "你好 \ud800 \0 \n", "speed": 1.5, "reference": None}, b""),
        ({"kind": "audio"}, bytes(range(256)) * 300),
        ({}, b""),
    ]
    stream = io.BytesIO(
        b"".join(channel.pack_head(head, len(body)) + body for head, body in messages)
    )
    assert [channel.read(stream) for _ in messages] == messages


def test_a_view_of_samples_is_a_body() -> None:
    """Audio is packed from the array's own memory."""
    packed = channel.pack_head({"kind": "audio"}, 2) + b"\x01\x02"
    assert channel.read(io.BytesIO(packed)) == ({"kind": "audio"}, b"\x01\x02")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 20, -1])
def test_a_message_that_breaks_off_is_no_message(kept: int) -> None:
    """Wherever the other side died, the reader is told."""
    packed = channel.pack_head({"kind": "done"}, 10) + b"1234567890"
    with pytest.raises(channel.ChannelBroken):
        channel.read(io.BytesIO(packed[:kept]))


@pytest.mark.parametrize(
    ("head", "body"), [(channel.MAX_HEAD_BYTES + 1, 0), (0, channel.MAX_BODY_BYTES + 1)]
)
def test_a_claimed_size_has_a_bound(head: int, body: int) -> None:
    """Bytes that are no message ask for no gigabytes of memory."""
    with pytest.raises(channel.ChannelBroken):
        channel.read(io.BytesIO(struct.pack("!II", head, body)))
