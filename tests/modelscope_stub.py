"""
A stand-in for ModelScope on loopback: the two requests by which its client lists and fetches.

It speaks the protocol that modelscope-hub 0.5.1 uses: the list with sizes and SHA-256, files with
ranges, and errors as JSON. What a test wants to go wrong is set on the running stub.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from indextts_app.engines.indextts2.weights import LAYOUTS

Repositories = Mapping[str, Mapping[str, Path]]
"""For each repository its files: the path in it, and where the content lies."""

_ROUTE = re.compile(r"/api/v1/models/(?P<id>[^/]+/[^/]+)/repo(?P<listing>/files)?")


@dataclass(frozen=True)
class Fetched:
    """One request for a file, and from which byte on."""

    repository: str
    path: str
    first_byte: int


@dataclass
class Stub:
    """A running stub; `url` is what `MODELSCOPE_ENDPOINT` has to be."""

    url: str
    repositories: Repositories
    fetched: list[Fetched] = field(default_factory=list)
    """Every request for a file, in order."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """By path: for each coming request the bytes after which its connection breaks."""
    listed_sha256: dict[str, str] = field(default_factory=dict)
    """By path: another SHA-256 than the content's; "" for none."""
    unlisted: set[str] = field(default_factory=set)
    """Paths that the list leaves out."""
    refused: int | None = None
    """A status with which every request is answered."""


@contextmanager
def serving(repositories: Repositories) -> Iterator[Stub]:
    """Serve these repositories until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}", repositories)
    server.stub = stub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serve_repositories(folder: Path, version: str = "2") -> Iterator[Stub]:
    """Serve a complete model folder as the repositories that its files come from."""
    repositories = {
        repository.id: {weight.source: folder / weight.path for weight in repository.weights}
        for repository in LAYOUTS[version]
    }
    with serving(repositories) as stub:
        yield stub


@contextmanager
def quiet_client() -> Iterator[None]:
    """The client without its own log, which it writes to the first test's captured output."""
    log = logging.getLogger("modelscope_hub")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(before)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """List a repository's files, or send one of them."""
        stub: Stub = self.server.stub  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        route = _ROUTE.fullmatch(parts.path)
        files = stub.repositories.get(route["id"]) if route else None
        if stub.refused:
            self._answer(stub.refused, {"Code": stub.refused, "Message": "refused"})
        elif route is None or files is None or asked.get("Revision") != "master":
            self._answer(404, {"Code": 10010205001, "Message": "not found", "Success": False})
        elif route["listing"]:
            self._list(stub, files, asked.get("Root", ""))
        elif path := files.get(asked.get("FilePath", "")):
            self._send(stub, route["id"], asked["FilePath"], path.read_bytes())
        else:
            self._answer(404, {"Code": 404, "Message": "no such file", "Success": False})

    def _list(self, stub: Stub, files: Mapping[str, Path], root: str) -> None:
        entries = [
            {
                "Path": path,
                "Name": path.rpartition("/")[2],
                "Type": "blob",
                "Size": source.stat().st_size,
                "Sha256": stub.listed_sha256.get(path, _sha256(source)),
                "Revision": "f00d",
                "CommittedDate": 1_700_000_000,
            }
            for path, source in files.items()
            if path.startswith(root) and path not in stub.unlisted
        ]
        self._answer(200, {"Code": 200, "Success": True, "Data": {"Files": entries}})

    def _send(self, stub: Stub, repository: str, path: str, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        stub.fetched.append(Fetched(repository, path, first))
        rest = content[first:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if cuts := stub.cuts.get(path):
            rest = rest[: cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(rest)

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """A test's output is for its own."""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
