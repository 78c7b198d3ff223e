"""
Contract servers: they answer in the shapes, and with the faults, that real speech servers were seen
to have. No model runs behind them, and none was ever run: the audio is a tone of 0.2 s a character.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

RATE = 24_000
SECONDS_EACH = 0.2

HTML = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"

VOICE_LISTS: Mapping[str, tuple[str, object]] = {
    "kokoro": ("/v1/audio/voices", {"voices": [{"id": "zf_xiaobei", "name": "Xiaobei"}]}),
    "vllm_omni": (
        "/v1/audio/voices",
        {"voices": ["vivian", "ryan"], "uploaded_voices": [{"name": "mine"}]},
    ),
    "index_tts_vllm": ("/audio/voices", {"jay_promptvn": ["assets/jay_promptvn.wav"]}),
    "speaches": (
        "/v1/audio/voices",
        {"object": "list", "voices": [{"voice_id": "af_heart", "model_id": "kokoro"}]},
    ),
}
"""Path and answer of each server that lists its voices."""


def tone(text: str, rate: int = RATE, channels: int = 1) -> bytes:
    """16-bit samples, with a pitch that speech may have."""
    moments = np.arange(round(len(text) * SECONDS_EACH * rate)) / rate
    samples = (8_000 * np.sin(2 * np.pi * 220 * moments)).astype("<i2")
    return np.repeat(samples, channels).tobytes()


def wav(samples: bytes, rate: int = RATE, channels: int = 1) -> bytes:
    """The file that a well-behaved server sends."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples)
    return buffer.getvalue()


def open_ended(data: bytes, size: int) -> bytes:
    """A WAV that was sent while it was made, so that its head could not know its sizes."""
    head = data[:4] + struct.pack("<I", size) + data[8:40] + struct.pack("<I", size)
    return head + data[44:]


class SpeechServer(ThreadingHTTPServer):
    """
    One contract server, on a free port of this machine.

    `fault` is what the next answers to speech are: one of the methods `fault_*` of the handler.
    `asked` holds each request for speech: path, headers, body.
    """

    daemon_threads = True

    def __init__(self, dialect: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dialect = dialect
        self.fault: str | None = None
        self.rate = RATE
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.voices: Any = VOICE_LISTS.get(dialect, (None, None))[1]
        self.released = threading.Event()
        self._connections: list[socket.socket] = []
        self.left = threading.Event()
        """Set once a client left while it was kept waiting."""

    @property
    def root(self) -> str:
        """Its address, without any prefix."""
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection, kept to be cut."""
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def go_down(self) -> None:
        """As a process does that ends: nothing listens, and every connection is gone."""
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave; that is no news."""


@contextmanager
def serving(dialect: str) -> Iterator[SpeechServer]:
    """A contract server that runs until the block ends."""
    server = SpeechServer(dialect)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SpeechServer

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        path, voices = VOICE_LISTS.get(self.server.dialect, (None, None))
        if self.path == path and voices is not None:
            self._json(200, self.server.voices)
        elif self.path == "/outputs/one.wav":
            self._audio(wav(tone("0123456789", self.server.rate), self.server.rate))
        elif self.path == "/health" and self.server.dialect == "kokoro":
            self._json(200, {"status": "healthy"})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers, body))
        text = str(body.get("input") or body.get("text"))
        if self.server.fault:
            getattr(self, f"fault_{self.server.fault}")(text)
        elif self.server.dialect == "sambert_base64":
            sound = base64.b64encode(wav(tone(text, 16_000), 16_000)).decode()
            self._json(200, {"code": 0, "data": {"audio": sound}})
        elif self.server.dialect == "sambert_url":
            self._json(200, {"code": 0, "audio": "/outputs/one.wav"})
        elif self.server.dialect == "sambert":
            self._audio(wav(tone(text, 16_000), 16_000))
        elif body.get("response_format") == "pcm":
            self._audio(tone(text, self.server.rate), "audio/pcm")
        else:
            self._audio(wav(tone(text, self.server.rate), self.server.rate))

    # What servers were seen to do instead.

    def fault_error_body(self, text: str) -> None:
        """200 with an error in JSON: an exception returned instead of raised."""
        self._json(200, {"status_code": 500, "detail": f"failed on: {text}", "headers": None})

    def fault_html(self, _: str) -> None:
        """A gateway's page, as a success."""
        self._send(200, HTML, "text/html")

    def fault_headerless(self, text: str) -> None:
        """Samples without a header, called WAV."""
        self._audio(tone(text))

    def fault_truncated(self, text: str) -> None:
        """The first half of a WAV, as if it were the whole."""
        data = wav(tone(text))
        self._audio(data[: len(data) // 2])

    def fault_no_frames(self, _: str) -> None:
        """A WAV of 44 bytes: a head and nothing else."""
        self._audio(wav(b""))

    def fault_nothing(self, _: str) -> None:
        """No byte at all."""
        self._audio(b"")

    def fault_endless(self, text: str) -> None:
        """A rate so low that a few characters take minutes."""
        self._audio(wav(tone(text * 40), 800))

    def fault_wrong_rate(self, text: str) -> None:
        """Another rate than before."""
        self._audio(wav(tone(text, 16_000), 16_000))

    def fault_open_ended(self, text: str) -> None:
        """No fault: the head of a stream."""
        self._audio(open_ended(wav(tone(text)), 0xFFFFFFFF))

    def fault_stereo(self, text: str) -> None:
        """No fault either."""
        self._audio(wav(tone(text, channels=2), channels=2))

    def fault_busy(self, _: str) -> None:
        """Too many requests, and when to come back."""
        self._json(429, {"error": {"message": "overloaded"}}, {"Retry-After": "17"})

    def fault_loading(self, _: str) -> None:
        """Not yet, without saying when."""
        self._json(503, {"detail": "loading"})

    def fault_failing(self, text: str) -> None:
        """A traceback that quotes the text."""
        self._json(500, {"status": "error", "error": f"Traceback ... KeyError: {text}"})

    def fault_refusing(self, text: str) -> None:
        """An unknown voice, with the request quoted."""
        self._json(422, {"detail": [{"loc": ["body", "voice"], "input": text}]})

    def fault_forbidding(self, _: str) -> None:
        """A key that it does not know."""
        self._json(401, {"error": {"message": "Incorrect API key provided: sk-secret"}})

    def fault_moved(self, _: str) -> None:
        """To another server, which must not be asked."""
        self._json(307, {}, {"Location": "http://192.0.2.1/v1/audio/speech"})

    def fault_no_content(self, _: str) -> None:
        """A success without anything."""
        self.send_response(204)
        self.end_headers()

    def fault_packed(self, text: str) -> None:
        """Plain audio that a gateway calls compressed."""
        self._send(200, wav(tone(text)), "audio/wav", {"Content-Encoding": "gzip"})

    def fault_reset(self, text: str) -> None:
        """The connection is reset in the middle of the audio."""
        data = wav(tone(text))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def fault_hanging(self, _: str) -> None:
        """No answer until the client leaves, or the test ends."""
        self.connection.setblocking(False)
        while not self.server.released.wait(0.01):
            try:
                if self.connection.recv(1) == b"":
                    self.server.left.set()
                    break
            except BlockingIOError:
                continue
        self.close_connection = True

    def fault_slow(self, text: str) -> None:
        """A byte now and then, for longer than anybody waits."""
        data = wav(tone(text))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for start in range(1_000):
            if self.server.released.is_set():
                break
            self.wfile.write(data[start : start + 1])
            self.wfile.flush()
            time.sleep(0.02)
        self.close_connection = True

    def _audio(self, data: bytes, kind: str = "audio/wav") -> None:
        self._send(200, data, kind)

    def _json(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", headers)

    def _send(
        self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
