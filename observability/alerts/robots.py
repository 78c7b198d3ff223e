"""
The group robots of WeCom, DingTalk and Feishu: their Markdown, their signatures, their own errors.

All three answer 200 to what they refuse and say so in the body, and count bytes. Written here
because Apprise 2.3 takes the answers of WeCom and DingTalk for a yes whatever their body says,
counts characters, sends WeCom plain text only, encodes DingTalk's signature twice, and knows none
of Feishu's. tests/observability/alerts/test_robots.py holds each of these against Apprise as
installed: once one fails, that robot can go over to Apprise.

Shapes: developer.work.weixin.qq.com (group robot), open.dingtalk.com (custom robot),
open.feishu.cn (custom bot).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from observability.alerts.message import Message, Tone, cut
from observability.alerts.receivers import Undelivered

TIMEOUT = httpx.Timeout(15.0, connect=5.0)

BUSY_SECONDS = 60.0
"""Limits are by the minute; DingTalk shuts a robot out for ten once it is over."""


class Robot(ABC):
    """A robot behind one secret address; nothing of it shows in `repr` or in errors."""

    name: str
    pause_seconds = 3.0  # 20 messages a minute
    limit_bytes: int
    busy_codes: frozenset[int]
    _code_field = "errcode"

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        name: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            url: the robot's whole address, as its page shows it.
            secret: of the signature, where the robot was set up to check one.
            name: what it is called where there are several.
        """
        self._url = httpx.URL(url)
        self._secret = secret
        self._now = now
        self.name = name or self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def deliver(self, message: Message) -> None:
        """Send it, and believe only the answer's own code."""
        body = json.dumps(self._signed(self.body(message)), ensure_ascii=False).encode()
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as client:
                answer = await client.post(
                    self._url.copy_merge_params(self._query()),
                    content=body,
                    headers={"Content-Type": "application/json; charset=utf-8"},
                )
        except httpx.TimeoutException:
            raise Undelivered("timeout") from None
        except httpx.HTTPError as error:
            raise Undelivered(type(error).__name__) from None
        if answer.status_code == 429:
            raise Undelivered("http_429", wait_seconds=_wait(answer))
        if answer.status_code != 200:
            raise Undelivered(f"http_{answer.status_code}")
        self._believe(answer)

    def _believe(self, answer: httpx.Response) -> None:
        try:
            code = int(answer.json()[self._code_field])
        except (ValueError, KeyError, TypeError):
            raise Undelivered("strange_answer") from None
        if code:
            wait_seconds = BUSY_SECONDS if code in self.busy_codes else None
            raise Undelivered(f"refused_{code}", wait_seconds=wait_seconds)

    @abstractmethod
    def body(self, message: Message) -> dict[str, Any]:
        """The message in the robot's shape, within its limit."""

    def _signed(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def _query(self) -> Mapping[str, str]:
        return {}


class WeCom(Robot):
    """企业微信群机器人: Markdown of up to 4,096 bytes, 20 messages a minute."""

    name = "wecom"
    limit_bytes = 4_096
    busy_codes = frozenset({-1, 45009})
    _colours: Final[dict[Tone, str]] = {
        "critical": "warning",
        "warning": "warning",
        "info": "comment",
        "resolved": "info",
    }

    def body(self, message: Message) -> dict[str, Any]:
        """Title in the tone's colour, then the lines."""
        title = f'<font color="{self._colours[message.tone]}">{cut(message.title, 400)}</font>\n'
        content = title + message.fitted(self.limit_bytes - len(title.encode()))
        return {"msgtype": "markdown", "markdown": {"content": content}}


class DingTalk(Robot):
    """钉钉群机器人: Markdown, 20,000 bytes with everything, 20 messages a minute."""

    name = "dingtalk"
    limit_bytes = 18_000
    busy_codes = frozenset({-1, 130101, 130102})

    def body(self, message: Message) -> dict[str, Any]:
        """One line break shows as none here: each line is a paragraph."""
        title = cut(message.title, 400)
        lines = message.fitted(
            self.limit_bytes - 1_000, lambda text: len(text.encode()) + text.count("\n") * 3
        )
        text = f"#### {title}\n\n" + lines.replace("\n", "\n\n")
        return {"msgtype": "markdown", "markdown": {"title": title, "text": text}}

    def _query(self) -> Mapping[str, str]:
        if not self._secret:
            return {}
        timestamp = str(round(self._now() * 1000))
        digest = hmac.digest(
            self._secret.encode(), f"{timestamp}\n{self._secret}".encode(), hashlib.sha256
        )
        return {"timestamp": timestamp, "sign": base64.b64encode(digest).decode()}


class Feishu(Robot):
    """飞书群机器人 (and Lark): a card of up to 20 KB, 5 messages a second."""

    name = "feishu"
    pause_seconds = 1.0
    limit_bytes = 18_000
    busy_codes = frozenset({9499, 11232})
    _code_field = "code"
    _colours: Final[dict[Tone, str]] = {
        "critical": "red",
        "warning": "orange",
        "info": "blue",
        "resolved": "green",
    }

    def body(self, message: Message) -> dict[str, Any]:
        """A card whose head has the tone's colour."""
        return {
            "msg_type": "interactive",
            "card": {
                "config": {"wide_screen_mode": True},
                "header": {
                    "title": {"tag": "plain_text", "content": cut(message.title, 400)},
                    "template": self._colours[message.tone],
                },
                "elements": [
                    {
                        "tag": "markdown",
                        "content": message.fitted(self.limit_bytes - 1_000, _json_bytes),
                    }
                ],
            },
        }

    def _signed(self, body: dict[str, Any]) -> dict[str, Any]:
        """Feishu's key is time and secret, and what is signed is empty."""
        if not self._secret:
            return body
        timestamp = str(int(self._now()))
        digest = hmac.digest(f"{timestamp}\n{self._secret}".encode(), b"", hashlib.sha256)
        return {"timestamp": timestamp, "sign": base64.b64encode(digest).decode(), **body}


def _json_bytes(text: str) -> int:
    """In the JSON around it, which escapes line breaks and quotes."""
    return len(json.dumps(text, ensure_ascii=False).encode())


def _wait(answer: httpx.Response) -> float:
    try:
        return min(600.0, max(1.0, float(answer.headers["Retry-After"])))
    except (KeyError, ValueError):
        return BUSY_SECONDS
