"""
A local stand-in for the robots of WeCom, DingTalk, Feishu and Slack: real HTTP, answers on demand.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class RobotDouble:
    """
    Keeps what it is sent; `answers` are given one by one, the last one for good.

    An answer is a status and a body; WeCom's and DingTalk's yes unless another is put in.
    """

    url: str
    answers: list[tuple[int, object]] = field(
        default_factory=lambda: [(200, {"errcode": 0, "errmsg": "ok"})]
    )
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, wanted: Callable[[RobotDouble], object], seconds: float = 10.0) -> None:
        """Until something is the case, or fail with what there is."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: wanted(self), seconds), self.bodies

    def answer(self) -> tuple[int, object]:
        """The next answer."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def robot_double() -> Iterator[RobotDouble]:
    """A double on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with double.arrived:
                double.paths.append(self.path)
                double.sizes.append(len(body))
                double.bodies.append(json.loads(body))
                status, said = double.answer()
                double.arrived.notify_all()
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double = RobotDouble(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
