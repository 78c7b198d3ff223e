"""One HTTP call of an engine: timed, bounded in time and size, given up with its request."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from indextts_app.engines.base import Cancelled, Job, RemoteFailed, Translated

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

CONNECT_SECONDS = 5.0
MAX_BYTES = 256 * 1024 * 1024
"""Of one answer: an hour and a half of 24 kHz speech."""

LOOK_SECONDS = 0.02
"""How often a call looks whether its request was given up."""

MAX_RETRY_AFTER_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, and how long it took: together `seconds` is the whole call."""

    status: int
    content_type: str
    content: bytes
    connect_seconds: float
    first_byte_seconds: float
    download_seconds: float


def shown(url: str) -> str:
    """The address as it may be told, without the name and password that may stand in it."""
    return re.sub("//[^/?#]*@", "//", url, count=1)


class Caller:
    """
    A client for one server, whose address is configuration: no redirect and no proxy is followed.

    Args:
        headers: sent with every call, a key among them perhaps; they are never logged.
        timeout_seconds: longest time of one call, its answer included.
    """

    def __init__(self, headers: Mapping[str, str], timeout_seconds: float) -> None:
        import httpx

        self._httpx = httpx
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.new_event_loop()
        self._client = httpx.AsyncClient(
            headers=dict(headers),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
        )

    def speak(self, job: Job, url: str, body: Mapping[str, object]) -> Answer:
        """
        What the server answers to this request, as stage `engine_http`; 200 for certain.

        Raises:
            Cancelled: the request was given up.
            RemoteFailed: there is no such answer.
        """
        headers = {"X-Request-ID": job.task.request_id}
        if job.task.traceparent:
            headers["traceparent"] = job.task.traceparent
        with job.stage("engine_http"):
            answer = self._run(self._unless_cancelled(job, self._post(url, body, headers)))
            job.note(
                engine_http_connect_ms=1000 * answer.connect_seconds,
                engine_http_first_byte_ms=1000 * answer.first_byte_seconds,
                engine_http_download_ms=1000 * answer.download_seconds,
            )
        return answer

    def post(self, url: str, body: Mapping[str, object]) -> Answer:
        """The same before there is a request: while the engine is loaded."""
        return self._run(self._post(url, body, {}))

    def get(self, url: str, job: Job | None = None) -> Answer:
        """What the server has there; 200 for certain, else `RemoteFailed`."""
        call = self._call("GET", url, None, {})
        return self._run(self._unless_cancelled(job, call) if job else call)

    def close(self) -> None:
        """Close every connection; nothing can be asked any more."""
        self._run(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def is_open(self, url: str) -> bool:
        """Whether anybody takes connections there, which says nothing of what answers."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)

        async def connect() -> bool:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, writer = await asyncio.open_connection(parts.hostname, port)
            except (OSError, TimeoutError):
                return False
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True

        return self._run(connect())

    async def _post(
        self, url: str, body: Mapping[str, object], headers: Mapping[str, str]
    ) -> Answer:
        return await self._call("POST", url, body, headers)

    async def _call(
        self, method: str, url: str, body: object, headers: Mapping[str, str]
    ) -> Answer:
        httpx = self._httpx
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._answer(method, url, body, headers)
        except (TimeoutError, httpx.TimeoutException) as error:
            if isinstance(error, httpx.ConnectTimeout):
                raise _unreachable(
                    "no connection could be made in time.", "无法及时建立连接。"
                ) from None
            limit = f"{self._timeout_seconds:g}"
            raise RemoteFailed(
                "remote_timeout",
                Translated(
                    f"its answer was not whole within {limit} s.",
                    f"{limit} 秒内未返回完整结果。",
                ),
            ) from None
        except httpx.ConnectError:
            raise _unreachable(
                "nothing answers at its address; it may not be running.",
                "该地址无人应答，服务器可能没有运行。",
            ) from None
        except httpx.DecodingError:
            raise RemoteFailed(
                "remote_bad_audio",
                Translated(
                    "its answer is not packed as it says (Content-Encoding).",
                    "返回内容与其声明的压缩方式不符（Content-Encoding）。",
                ),
            ) from None
        except httpx.TransportError:
            raise _unreachable(
                "the connection broke before the answer was whole.", "连接在返回完整结果前中断。"
            ) from None

    async def _answer(
        self, method: str, url: str, body: object, headers: Mapping[str, str]
    ) -> Answer:
        connecting = _Connecting()
        began = time.perf_counter()
        async with self._client.stream(
            method,
            url,
            headers=dict(headers),
            extensions={"trace": connecting},
            **({} if body is None else {"json": body}),  # type: ignore[arg-type]
        ) as response:
            answered = time.perf_counter()
            _check_status(response)
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise RemoteFailed(
                        "remote_bad_audio",
                        Translated("its answer does not end.", "返回内容没有尽头。"),
                    )
        ended = time.perf_counter()
        return Answer(
            status=response.status_code,
            content_type=response.headers.get("content-type", ""),
            content=bytes(content),
            connect_seconds=connecting.seconds,
            first_byte_seconds=answered - began - connecting.seconds,
            download_seconds=ended - answered,
        )

    def _run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self._loop.run_until_complete(wait())

    @staticmethod
    async def _unless_cancelled(job: Job, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if job.cancelled:
                task.cancel()
                await asyncio.wait({task})
                raise Cancelled
        return await task


class _Connecting:
    """Adds up the time of connections, as httpcore's trace tells it; zero for one kept open."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    async def __call__(self, event: str, _info: Mapping[str, object]) -> None:
        name, _, moment = event.rpartition(".")
        if name in ("connection.connect_tcp", "connection.start_tls"):
            if moment == "started":
                self._began = time.perf_counter()
            else:
                self.seconds += time.perf_counter() - self._began


def _check_status(response: httpx.Response) -> None:
    """Its own message is not repeated: it may quote the text."""
    status = response.status_code
    if status == 200:
        return
    if status < 300:
        raise RemoteFailed(
            "remote_bad_audio",
            Translated(
                f"it answered with status {status} instead of the whole audio.",
                f"返回状态 {status}，没有完整音频。",
            ),
        )
    if status < 400:
        raise RemoteFailed(
            "remote_refused",
            Translated(
                f"it points to another address ({status}), which is not asked. Set the address "
                "where it answers itself.",
                f"它指向另一个地址（{status}），不予请求。请把地址设为直接应答的地址。",
            ),
        )
    if status in (429, 503):
        raise RemoteFailed(
            "remote_busy",
            Translated(f"it is busy or still loading ({status}).", f"繁忙或仍在加载（{status}）。"),
            retry_after_seconds=_retry_after(response.headers.get("retry-after")),
        )
    if status in (401, 403):
        raise RemoteFailed(
            "remote_refused",
            Translated(f"it refuses the API key ({status}).", f"拒绝了 API 密钥（{status}）。"),
        )
    if status >= 500:
        raise RemoteFailed(
            "remote_error",
            Translated(f"it failed ({status}).", f"内部错误（{status}）。"),
        )
    raise RemoteFailed(
        "remote_refused",
        Translated(
            f"it refuses the request ({status}): speaker, model or address may not fit.",
            f"拒绝了请求（{status}）：发音人、模型或地址可能不符。",
        ),
    )


def _retry_after(value: str | None) -> int | None:
    """Seconds; the other form, a date, is passed over."""
    if value is None or not value.strip().isdecimal() or len(value) > 9:
        return None
    return min(max(int(value), 1), MAX_RETRY_AFTER_SECONDS)


def _unreachable(en: str, zh: str) -> RemoteFailed:
    return RemoteFailed("remote_unreachable", Translated(en, zh))
