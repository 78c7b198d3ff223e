"""
The relay put together: an application that takes webhooks, and a courier for each receiver.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from observability import metrics as metrics_module
from observability.alerts import notification as notifications
from observability.alerts.apprise_receiver import AppriseReceiver
from observability.alerts.courier import Courier
from observability.alerts.failures import OpenStore
from observability.alerts.heartbeat import Heartbeat
from observability.alerts.message import Writer
from observability.alerts.receivers import Receiver
from observability.alerts.relay_metrics import RelayMetrics
from observability.alerts.robots import DingTalk, Feishu, WeCom
from observability.alerts.settings import RelaySettings, SettingsError
from observability.alerts.spool import Full, Spool
from observability.log_store import logql
from observability.log_store.day_sources import log_folders
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter, Found, LogStore
from observability.log_store.sources import open_store
from observability.observe import current, observe, record

MAX_BODY_BYTES = 4_000_000
"""Of a notification; Alertmanager sends what it has of a group, some KB an alert."""

HEARTBEAT_LOOK_SECONDS = 5.0


class Refused(Exception):
    """A request that is not taken; the message says what would be."""

    def __init__(self, http_status: int, code: str, message: str, status: str = "rejected") -> None:
        super().__init__(message)
        self.http_status = http_status
        self.request_id: str | None = None
        self.code = code
        self.status = status


class Relay:
    """Everything that lives as long as the process."""

    def __init__(
        self, settings: RelaySettings, receivers: Sequence[Receiver] | None = None
    ) -> None:
        self.settings = settings
        outside = settings.heartbeat_url
        self.heartbeat = Heartbeat(
            settings.heartbeat_minutes * 60,
            outside_url=outside.get_secret_value() if outside else None,
        )
        self.spool = Spool(settings.spool_dir, repeat_seconds=settings.repeat_minutes * 60)
        receivers = receivers_of(settings) if receivers is None else receivers
        self.names = [receiver.name for receiver in receivers]
        self.metrics = RelayMetrics(self.names, self.spool, self.heartbeat)
        writer = Writer(
            language=settings.language,
            service_url=settings.service_url,
            grafana_url=settings.grafana_url,
            docs_url=settings.docs_url,
            zone=ZoneInfo(settings.time_zone),
        )
        self._couriers = [
            Courier(
                receiver, self.spool, writer, store_opener(settings), failures=settings.failures
            )
            for receiver in receivers
        ]

    def app(self) -> Starlette:
        """The ASGI application; its lifespan starts and ends the couriers."""
        return Starlette(
            routes=[
                Route("/alertmanager", self._notified, methods=["POST"]),
                Route("/grafana", self._notified, methods=["POST"]),
                Route("/heartbeat", self._heartbeat, methods=["POST"]),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(courier.run()) for courier in self._couriers]
        tasks.append(asyncio.create_task(self._listen_for_silence()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.spool.close()

    async def _listen_for_silence(self) -> None:
        while True:
            if news := self.heartbeat.news():
                # Not told yet, so the next look tries again.
                with contextlib.suppress(Refused, sqlite3.Error):
                    await self._keep(news)
                    self.heartbeat.told(news)
            await asyncio.sleep(HEARTBEAT_LOOK_SECONDS)

    async def _notified(self, request: Request) -> Response:
        try:
            return await self._take(request)
        except Refused as refused:
            return self._refusal(refused)

    async def _heartbeat(self, request: Request) -> Response:
        try:
            self._admit(request)
            await self.heartbeat.heard(await _read(request))
        except Refused as refused:
            return self._refusal(refused)
        return JSONResponse({"accepted": 1})

    @observe("notification")
    async def _take(self, request: Request) -> Response:
        observation = current()
        request_id = observation.request_id if observation else ""
        headers = {"X-Request-ID": request_id}
        try:
            self._admit(request)
            notification = await _read(request)
            record(source=notification.source, alerts=len(notification.alerts))
            new = await self._keep(notification)
        except Refused as refused:
            refused.request_id = request_id
            raise
        record(new=new)
        return JSONResponse({"accepted": new, "request_id": request_id}, headers=headers)

    async def _keep(self, notification: notifications.Notification) -> int:
        try:
            new = await asyncio.to_thread(self.spool.take, notification, self.names)
        except Full:
            raise Refused(
                503,
                "spool_full",
                "Too many groups wait for a receiver that is away. Send it again later.",
                "failed",
            ) from None
        for courier in self._couriers:
            courier.wake()
        return new

    def _admit(self, request: Request) -> None:
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {self.settings.token.get_secret_value()}"
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Refused(
                401,
                "unauthorized",
                "Send the relay's token: Authorization: Bearer …, in Alertmanager "
                "http_config.authorization.credentials_file.",
            )

    def _refusal(self, refused: Refused) -> Response:
        body = {"error": refused.code, "message": str(refused)}
        headers = {"WWW-Authenticate": "Bearer"} if refused.http_status == 401 else {}
        if refused.request_id:
            body["request_id"] = headers["X-Request-ID"] = refused.request_id
        return JSONResponse(body, refused.http_status, headers)

    async def _health(self, _request: Request) -> Response:
        """Healthy while it can take alerts; what waits for a receiver is told beside."""
        waiting = await asyncio.to_thread(self.spool.waiting)
        told = {name: waiting.get(name, (0, 0.0))[0] for name in self.names}
        return JSONResponse({"status": "healthy", "waiting": told})

    async def _metrics(self, _request: Request) -> Response:
        text = await asyncio.to_thread(self.metrics.text)
        return Response(text, media_type=metrics_module.CONTENT_TYPE)


async def _read(request: Request) -> notifications.Notification:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refused(
                413, "too_large", f"At most {MAX_BODY_BYTES} bytes: set max_alerts in the webhook."
            )
    try:
        return notifications.parse(body)
    except notifications.Malformed as why:
        raise Refused(
            400, "malformed", f"This is no notification of Alertmanager or Grafana ({why})."
        ) from None


def receivers_of(settings: RelaySettings) -> list[Receiver]:
    """
    Everybody who is to be told.

    Raises:
        SettingsError: an address that nobody knows what to do with.
    """

    def secret(name: str) -> str | None:
        value = getattr(settings, name)
        return value.get_secret_value() if value else None

    found: list[Receiver] = []
    if url := secret("wecom_url"):
        found.append(WeCom(url))
    if url := secret("dingtalk_url"):
        found.append(DingTalk(url, secret=secret("dingtalk_secret")))
    if url := secret("feishu_url"):
        found.append(Feishu(url, secret=secret("feishu_secret")))
    others = [("slack", secret("slack_url")), ("email", secret("email_url"))]
    lines = (secret("other_urls") or "").split()
    others += [(f"other_{number}", line) for number, line in enumerate(lines, 1)]
    try:
        found += [AppriseReceiver(name, url) for name, url in others if url]
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return found


class _OfInstance(FileLogStore):
    """Searches the lines of one of several services."""

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder)
        self._instance = instance

    def search(self, asked: Filter, limit: int = 100, *, slowest: bool = False) -> Found:
        """The requests that a filter means, the newest first, or else the slowest."""
        return super().search(replace(asked, instance=(self._instance,)), limit, slowest=slowest)


def store_opener(settings: RelaySettings) -> OpenStore:
    """Opens the log store that the settings name, or the part of it that one instance wrote."""

    def opened(instance: str | None) -> LogStore:
        selector = logql.SELECTOR
        if instance:
            extra = f"{settings.loki_instance_label}={json.dumps(instance)}"
            selector = selector.replace("}", f", {extra}}}")
        folder = settings.service_log_dir
        if instance and settings.source == "files" and len(log_folders([folder])) > 1:
            return _OfInstance(folder, instance)
        return open_store(settings.source, folder, loki_url=settings.loki_url, selector=selector)

    return opened
