"""Promises of self-healing in the service: settings in, metrics, health and log lines out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]
Settings = Callable[..., Any]
RunningService = Callable[[Any], Any]


async def restarts(service: Any) -> dict[str, float]:
    """What the metrics say, by reason."""
    text = (await service.client.get("/metrics")).text
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "indextts_worker_restarts_total"
    }


async def test_a_worker_that_served_its_number_is_recycled(
    drill_settings: Settings, running: RunningService, until: Until, tmp_path: Path
) -> None:
    """With `act`: counted under its reason, no error in the log, and no request lost."""
    settings = drill_settings(tmp_path, self_heal="act", recycle_requests=3)
    async with running(settings) as service:
        for _ in range(5):
            assert (await service.speak()).status_code == 200
        await until(lambda: service.log.lines("worker.recycled", reason="requests"))
        assert await restarts(service) == {"recycled": 1}
        assert not [line for line in service.log.lines() if line["level"] == "error"]


async def test_by_default_it_is_only_proposed(
    drill_settings: Settings, running: RunningService, tmp_path: Path
) -> None:
    """With `observe` a person decides."""
    async with running(drill_settings(tmp_path, recycle_requests=3)) as service:
        for _ in range(5):
            assert (await service.speak()).status_code == 200
        (line,) = service.log.lines("worker.recycle_proposed")
        assert (line["reason"], line["served"]) == ("requests", 3)
        assert await restarts(service) == {}


async def test_an_unloaded_service_is_healthy_and_answers(
    drill_settings: Settings, running: RunningService, until: Until, tmp_path: Path
) -> None:
    """Whoever asks next waits for the engine, and nobody is told that the service is down."""
    settings = drill_settings(tmp_path, self_heal="act", idle_unload_seconds=0.3)
    async with running(settings) as service:
        await until(lambda: service.log.lines("worker.unloaded"))
        assert (await service.client.get("/health")).json() == {"status": "healthy"}
        assert "unloaded" in (await service.client.get("/health/ready")).json()["reason"]
        assert "indextts_workers_unloaded 1.0" in (await service.client.get("/metrics")).text
        assert (await service.speak()).status_code == 200
        assert (await restarts(service))["unloaded"] >= 1


async def test_who_comes_too_early_is_told_when_to_come(
    drill_settings: Settings, running: RunningService, until: Until, tmp_path: Path
) -> None:
    """503 with the time in message and header, at once; the engine is loaded meanwhile."""
    settings = drill_settings(tmp_path, self_heal="act", idle_unload_seconds=0.3)
    async with running(settings) as service:
        await until(lambda: service.log.lines("worker.unloaded"))
        service.service.pool._start_seconds = settings.timeout_seconds + 30
        refused = await service.speak(headers={"Accept-Language": "zh"})
        assert (refused.status_code, refused.json()["error"]) == (503, "not_ready")
        assert refused.headers["retry-after"] == "40"
        assert "大约需要 40 秒" in refused.json()["message"]
        finished = await service.log.finished(refused.json()["request_id"])
        assert (finished["status"], finished["duration_ms"] < 1_000) == ("rejected", True)
        await until(lambda: len(service.log.lines("worker.ready")) == 2)
        assert (await service.speak()).status_code == 200


async def test_the_leak_can_be_rehearsed(
    drill_settings: Settings, running: RunningService, until: Until, tmp_path: Path
) -> None:
    """An operator asks the drill for a leak, and sees each rung of the ladder in the log."""
    settings = drill_settings(
        tmp_path,
        drill_seconds=0,
        drill_leak_mb=3,
        self_heal="act",
        empty_cache_mb=5,
        worker_memory_mb=130,
        memory_slope_mb=1,
    )
    async with running(settings) as service:
        for _ in range(40):
            assert (await service.speak(speaker="leak")).status_code == 200
        await until(lambda: service.log.lines("worker.recycled"))
        assert service.log.lines("memory.cache_emptied")
        assert service.log.lines("memory.speakers_dropped")
        recycled = service.log.lines("worker.recycled")[0]
        assert recycled["worker_after_mb"] < recycled["worker_before_mb"]
        fields = service.log.lines("synthesis.finished")[-1]
        assert fields["worker_memory_mb"] > 0
