"""From a webhook to the receiver and back to the log: nothing lost, nothing twice, no secret."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from robot_double import RobotDouble
from test_failures import line
from the_moment import Clock

from observability import logs, set_sinks
from observability.alerts.courier import Courier, back_off
from observability.alerts.heartbeat import Heartbeat
from observability.alerts.message import Writer
from observability.alerts.notification import Alert, Notification
from observability.alerts.relay import Relay
from observability.alerts.robots import WeCom
from observability.alerts.settings import RelaySettings
from observability.alerts.spool import Parcel, Spool
from observability.log_store.questions import LogStore

pytestmark = pytest.mark.anyio

TOKEN = "0123456789abcdef-token"  # noqa: S105  # of no relay
BEARER = {"Authorization": f"Bearer {TOKEN}"}

MakeAlert = Callable[..., Alert]
Notify = Callable[..., Notification]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def body(state: str = "firing", *, name: str = "IndexTTSDown", group: str = "g") -> dict[str, Any]:
    return {
        "groupKey": group,
        "receiver": "relay",
        "alerts": [
            {
                "status": state,
                "labels": {"alertname": name, "severity": "critical", "speaker": "steady"},
                "annotations": {"summary_zh": "服务已停止"},
                "startsAt": "2026-11-28T02:50:00Z",
                "endsAt": "2026-11-28T02:58:00Z" if state == "resolved" else "0001-01-01T00:00:00Z",
                "fingerprint": name,
            }
        ],
    }


@pytest.fixture
def settings(tmp_path: Path, robot: RobotDouble) -> RelaySettings:
    """One WeCom robot; a service that failed twenty times."""
    service = tmp_path / "service"
    service.mkdir()
    text = "".join(json.dumps(line(number)) + "\n" for number in range(20))
    (service / "indextts-2026-11-28.jsonl").write_text(text, "utf-8")
    return RelaySettings(
        token=TOKEN,  # type: ignore[arg-type]
        wecom_url=f"{robot.url}/send?key=hunter2",  # type: ignore[arg-type]
        language="zh",
        service_log_dir=service,
        spool_dir=tmp_path / "spool",
        log_dir=tmp_path / "log",
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot on this machine has no limit by the minute."""
    monkeypatch.setattr(WeCom, "pause_seconds", 0.05)


@asynccontextmanager
async def running(settings: RelaySettings) -> AsyncIterator[tuple[Relay, httpx.AsyncClient]]:
    """The relay with its couriers, without a socket."""
    lines = logs.set_up(settings.log_dir, stdout=False, capture=False)
    relay = Relay(settings)
    set_sinks([logs.EventLog(), relay.metrics])
    app = relay.app()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay")
    try:
        async with app.router.lifespan_context(app), client:
            yield relay, client
    finally:
        lines.close()


def logged(settings: RelaySettings, event: str) -> list[dict[str, Any]]:
    text = "".join(path.read_text("utf-8") for path in settings.log_dir.glob("*.jsonl"))
    return [one for one in map(json.loads, text.splitlines()) if one["event"] == event]


async def arrived(robot: RobotDouble, count: int) -> None:
    await asyncio.to_thread(robot.wait_for, lambda double: len(double.bodies) >= count)


async def delivered(relay: Relay) -> None:
    async with asyncio.timeout(10):
        while relay.spool.waiting():  # noqa: ASYNC110  # of a file, not of this loop
            await asyncio.sleep(0.01)


async def test_an_alert_reaches_the_robot_with_ten_failures_and_resolves(
    settings: RelaySettings, robot: RobotDouble
) -> None:
    """The whole way; the resolve tells so; the line and the metrics agree."""
    async with running(settings) as (_, client):
        answer = await client.post("/alertmanager", json=body(), headers=BEARER)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
        await arrived(robot, 1)
        again = await client.post("/grafana", json=body(), headers=BEARER)
        assert again.json()["accepted"] == 0
        await client.post("/alertmanager", json=body("resolved"), headers=BEARER)
        await arrived(robot, 2)
        async with asyncio.timeout(10):
            while len(logged(settings, "alert.finished")) < 2:  # noqa: ASYNC110  # in a file
                await asyncio.sleep(0.01)
        metrics = (await client.get("/metrics")).text
    first, second = (sent["markdown"]["content"] for sent in robot.bodies)
    assert "🔴 [告警 严重] IndexTTSDown" in first
    assert first.count("01KB4SC9RZ6W5B3Y2J8Q0V7X") == 10
    assert "never shown" not in first
    assert "🟢 [已恢复] IndexTTSDown" in second
    assert "持续 8 min 后恢复" in second
    (delivery, _) = logged(settings, "alert.finished")
    assert delivery["status"] == "success"
    assert {name: delivery[name] for name in ("receiver", "alert_names", "firing", "failures")} == {
        "receiver": "wecom", "alert_names": "IndexTTSDown", "firing": 1, "failures": 10,
    }  # fmt: skip
    assert {"stage_failures_ms", "stage_send_ms"} <= set(delivery)
    counted = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert counted["indextts_alert_relay_deliveries_total", "wecom", "success"] == 2
    assert counted["indextts_alert_relay_notifications_total", "success"] == 3
    assert counted["indextts_alert_relay_waiting_groups", "wecom"] == 0
    text = "".join(path.read_text("utf-8") for path in settings.log_dir.glob("*.jsonl"))
    assert "hunter2" not in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    ("headers", "content", "status", "error"),
    [
        ({}, json.dumps(body()), 401, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, json.dumps(body()), 401, "unauthorized"),
        (BEARER, "{}", 400, "malformed"),
        (BEARER, "x" * 4_000_001, 413, "too_large"),
    ],
)
async def test_what_is_not_taken_is_told_why(
    settings: RelaySettings, headers: dict[str, str], content: str, status: int, error: str
) -> None:
    """With the request_id of its line; on the heartbeat's way as well."""
    async with running(settings) as (_, client):
        answer = await client.post("/alertmanager", content=content, headers=headers)
        beat = await client.post("/heartbeat", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert beat.status_code == status
    (finished,) = logged(settings, "notification.finished")
    assert finished["error_type"] == error
    assert finished["request_id"] == answer.json()["request_id"] == answer.headers["X-Request-ID"]


async def test_a_full_spool_is_the_senders_to_keep(
    settings: RelaySettings, robot: RobotDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503: Alertmanager tries again."""
    robot.answers = [(500, {})]
    async with running(settings) as (relay, client):
        monkeypatch.setattr(relay.spool, "_max_groups", 1)
        assert (await client.post("/alertmanager", json=body(), headers=BEARER)).is_success
        full = await client.post("/alertmanager", json=body(group="h"), headers=BEARER)
        health = await client.get("/health")
    assert (full.status_code, full.json()["error"]) == (503, "spool_full")
    assert health.json() == {"status": "healthy", "waiting": {"wecom": 1}}


async def test_what_was_taken_outlives_the_relay(
    settings: RelaySettings, robot: RobotDouble
) -> None:
    """The robot is away when one relay ends, and is told once by the next."""
    robot.answers = [(500, {})]
    async with running(settings) as (_, client):
        await client.post("/alertmanager", json=body(), headers=BEARER)
        await arrived(robot, 1)
    robot.answers = [(200, {"errcode": 0})]
    async with running(settings) as (relay, _):
        await delivered(relay)
    assert len(robot.bodies) == 2


# --- The courier, step by step ------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", now=clock)
    yield made
    made.close()


def no_store(_instance: str | None) -> LogStore:
    raise AssertionError("nothing to read")


async def test_an_outage_ends_in_one_message(
    spool: Spool, robot: RobotDouble, clock: Clock, an_alert: MakeAlert, notified: Notify
) -> None:
    """Forty notifications while the robot is away; the attempts grow rare; then one message."""
    courier = Courier(WeCom(robot.url), spool, Writer(), no_store, failures=0)
    robot.answers = [(502, {})]
    pauses = []
    for number in range(40):
        state = "firing" if number % 2 == 0 else "resolved"
        spool.take(notified(an_alert(state=state, started=50 - number)), ["wecom"])
        pauses.append(await courier.carry_one())
        clock.now += 30
    tried = [pause for pause in pauses if pause is not None]
    assert tried == sorted(tried)
    assert len(tried) < 15
    robot.answers = [(200, {"errcode": 0})]
    clock.now += 300
    assert await courier.carry_one() == WeCom.pause_seconds
    assert await courier.carry_one() is None
    content = robot.bodies[-1]["markdown"]["content"]
    assert "[Resolved]" in content
    assert "40 notifications since" in content


async def test_a_robot_that_asks_for_peace_gets_it(
    spool: Spool, robot: RobotDouble, clock: Clock, an_alert: MakeAlert, notified: Notify
) -> None:
    """Its limit is by the minute: nothing is sent before one has passed."""
    courier = Courier(WeCom(robot.url), spool, Writer(), no_store, failures=0)
    robot.answers = [(200, {"errcode": 45009}), (200, {"errcode": 0})]
    spool.take(notified(an_alert()), ["wecom"])
    assert await courier.carry_one() == 60
    clock.now += 59
    assert await courier.carry_one() is None
    clock.now += 1
    assert await courier.carry_one() == WeCom.pause_seconds


async def test_an_alert_is_told_even_if_its_failures_cannot_be_read(
    spool: Spool, robot: RobotDouble, an_alert: MakeAlert, notified: Notify
) -> None:
    """A bug in the log store is not the alert's."""
    courier = Courier(WeCom(robot.url), spool, Writer(), no_store)
    spool.take(notified(an_alert()), ["wecom"])
    await courier.carry_one()
    assert "could not be read: see the relay's log." in robot.bodies[0]["markdown"]["content"]
    assert not spool.waiting()


async def test_an_alert_that_cannot_be_written_is_kept(
    spool: Spool, robot: RobotDouble, an_alert: MakeAlert, notified: Notify
) -> None:
    """And stops no other: the courier goes on."""

    class Broken(Writer):
        def message(self, *_: object) -> Any:
            raise ZeroDivisionError

    courier = Courier(WeCom(robot.url), spool, Broken(), no_store, failures=0)
    spool.take(notified(an_alert()), ["wecom"])
    assert await courier.carry_one() == back_off(0)
    assert spool.waiting()["wecom"][0] == 1


@pytest.mark.parametrize("steps", range(4))
async def test_a_courier_that_is_woken_while_it_ends_ends(
    spool: Spool, robot: RobotDouble, steps: int
) -> None:
    """However far the waking has come: a relay that is told to stop waits for its couriers."""
    courier = Courier(WeCom(robot.url), spool, Writer(), no_store)
    carrying = asyncio.create_task(courier.run())
    async with asyncio.timeout(10):
        while not courier._woken._waiters:  # noqa: ASYNC110  # until it listens
            await asyncio.sleep(0)
    courier.wake()
    for _ in range(steps):
        await asyncio.sleep(0)
    carrying.cancel()
    await asyncio.wait([carrying], timeout=5)
    assert carrying.cancelled()


def test_the_back_off_is_bounded() -> None:
    """One second at first, five minutes at most."""
    assert [back_off(attempts) for attempts in (0, 1, 2, 8, 9, 10_000)] == [1, 2, 4, 256, 300, 300]


# --- The dead man's switch ----------------------------------------------------------------------


async def test_a_silence_of_the_alerting_is_told_and_its_end(
    clock: Clock, an_alert: MakeAlert, notified: Notify
) -> None:
    """Once each; a start without any heartbeat counts as silence too."""
    heartbeat = Heartbeat(900, now=clock)
    assert heartbeat.news() is None
    clock.now += 901
    news = heartbeat.news()
    assert news
    assert news.alerts[0].state == "firing"
    heartbeat.told(news)
    assert heartbeat.news() is None
    await heartbeat.heard(notified(an_alert("IndexTTSWatchdog", "resolved")))
    assert heartbeat.news() is None
    await heartbeat.heard(notified(an_alert("IndexTTSWatchdog")))
    news = heartbeat.news()
    assert news
    assert news.alerts[0].state == "resolved"


async def test_a_heartbeat_is_passed_on(
    clock: Clock, robot: RobotDouble, an_alert: MakeAlert, notified: Notify
) -> None:
    """To an outside watch, which may be away: that is its own business."""
    heartbeat = Heartbeat(900, outside_url="http://127.0.0.1:9/ping/secret", now=clock)
    clock.now += 100
    await heartbeat.heard(notified(an_alert()))
    assert heartbeat.heard_at == clock.now
    assert "secret" not in repr(heartbeat)


async def test_a_spool_that_fails_for_a_while_stops_nobody(
    settings: RelaySettings, robot: RobotDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full once does not end the carrying of what comes later."""
    healthy = Spool.next_parcel
    faults = [sqlite3.OperationalError("database or disk is full")]

    def failing_once(spool: Spool, channel: str) -> Parcel | None:
        if faults:
            raise faults.pop()
        return healthy(spool, channel)

    monkeypatch.setattr(Spool, "next_parcel", failing_once)
    async with running(settings) as (_, client):
        await client.post("/alertmanager", json=body(), headers=BEARER)
        await arrived(robot, 1)
    assert not faults
