"""The gateway's process as the service sees it: start it, talk with it, see it end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from indextts_app.cluster import AWAY_SECONDS
from indextts_app.workers import channel
from indextts_app.workers.messages import Messages
from indextts_app.workers.worker import ROOT

log = structlog.get_logger("indextts_app.cluster")

MAX_OUTPUT_LINE = 2_048
LINES_A_MINUTE = 20
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

Hear = Callable[[dict[str, Any], bytes], None]


class Link:
    """One process; `ended` tells how, once it is gone."""

    def __init__(self, hear: Hear) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.last_line = ""
        self._hear = hear
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._background: list[asyncio.Task[None]] = []
        self._minute = float("-inf")
        self._lines = 0

    async def start(self) -> None:
        """
        Start the process.

        Raises:
            OSError: it cannot be.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "indextts_app.cluster.gateway",
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    env={
                        # Ray would end the process after a minute.
                        "RAY_gcs_rpc_server_reconnect_timeout_s": str(AWAY_SECONDS),
                        **os.environ,
                        "PYTHONPATH": str(ROOT),
                        "PYTHONUNBUFFERED": "1",
                    },
                    # A Ctrl-C in the terminal is the service's to handle.
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._transport, _ = await asyncio.get_running_loop().create_unix_connection(
            lambda: Messages(self._hear, self.kill), sock=ours
        )
        output = asyncio.create_task(self._log_output(self._process.stdout))
        self._background = [output, asyncio.create_task(self._await_end(output))]

    @property
    def pid(self) -> int:
        """Of the process; 0 before there is one."""
        return self._process.pid if self._process else 0

    def send(self, head: channel.Head) -> None:
        """Tell it something; nobody hears it any more once it has ended."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(channel.pack_head(head))

    def kill(self) -> None:
        """End it now; requests that are on their way end with it."""
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def close(self, seconds: float) -> None:
        """Let it take leave of the cluster for so long, then end it."""
        if self._transport:
            self._transport.close()
        if self._process:
            await asyncio.wait({self.ended}, timeout=seconds)
            self.kill()
            await asyncio.shield(self.ended)

    async def _await_end(self, output: asyncio.Task[None]) -> None:
        assert self._process  # noqa: S101  # it was started
        code = await self._process.wait()
        # What it said last is why.
        await asyncio.wait({output}, timeout=1)
        if self._transport:
            # What was still to be sent has nobody to hear it.
            self._transport.abort()
        self.ended.set_result(f"signal_{-code}" if code < 0 else f"exit_{code}")

    async def _log_output(self, reader: asyncio.StreamReader | None) -> None:
        rest = b""
        while reader and (chunk := await reader.read(65_536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(line)
            rest = rest[-MAX_OUTPUT_LINE:]
        self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        text = _COLOURS.sub("", line.decode(errors="replace")).strip()[:MAX_OUTPUT_LINE]
        if not text:
            return
        self.last_line = text[:300]
        now = time.monotonic()
        if now - self._minute >= 60:
            self._minute, self._lines = now, 0
        self._lines += 1
        # A node that is lost has its last hundred lines told, a head each failed attempt.
        if self._lines <= LINES_A_MINUTE:
            log.info("cluster.output", message=text)
