"""Clients that do not read, send too much, or send what nobody should."""

from __future__ import annotations

import socket
from typing import Any

import psutil
import pytest


def connected(service: Any, sent: bytes) -> socket.socket:
    """A connection on which something was sent."""
    connection = socket.create_connection(("127.0.0.1", service.own.port), 20)
    connection.sendall(sent)
    return connection


def answer_to(service: Any, sent: bytes) -> bytes:
    """The beginning of what is answered; nothing if the connection is closed."""
    with connected(service, b"") as connection:
        try:
            connection.sendall(sent)
            return connection.recv(4096)
        except OSError:
            return b""


def test_scrapes_that_nobody_reads_hold_up_nobody(service: Any) -> None:
    """A Prometheus that hangs costs its connection."""
    hanging = [
        connected(service, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        for _ in range(20)
    ]
    try:
        assert service.speak().status_code == 200
        assert service.client.get("/metrics").status_code == 200
    finally:
        for connection in hanging:
            connection.close()


HEAD = b"POST /tts HTTP/1.1\r\nHost: x\r\n"
FORM = HEAD + b"Content-Type: multipart/form-data; boundary="
HUGE = {
    "50 MB of text": HEAD + b"Content-Length: 50000000\r\n\r\n" + b'{"text": "' + b"x" * 40_000_000,
    "a header of 10 MB": HEAD + b"X-Long: " + b"x" * 10_000_000 + b"\r\n\r\n",
    "a boundary of 5,000 characters": FORM + b"b" * 5_000 + b"\r\nContent-Length: 4\r\n\r\nnone",
    "10,000 parts": FORM
    + b"b\r\nContent-Length: 1000000\r\n\r\n"
    + b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\nx\r\n" * 10_000,
}


@pytest.mark.parametrize("sent", HUGE.values(), ids=HUGE)
def test_what_is_huge_is_refused_before_it_is_kept(service: Any, sent: bytes) -> None:
    """A refusal or a closed connection, no traceback, no memory, and the next one is served."""
    process = psutil.Process(service.pid)
    before = process.memory_info().rss
    answer = answer_to(service, sent)
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 422", b"HTTP/1.1 431")
    assert service.speak().status_code == 200
    assert process.memory_info().rss - before < 60e6
    assert [line for line in service.lines() if "traceback" in line] == []
