"""Promises of serving a result again: the same sound, the asker's own id, one pair of lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playing import played
from prometheus_client.parser import text_string_to_metric_families

from indextts_app.engines.base import EMOTIONS, Capabilities, Features
from indextts_app.results.cache import NONE, ResultCache, Use
from indextts_app.synthesis import AudioFormat, Caller, SynthesisRequest
from observability.audio_probe import request_id_of

if TYPE_CHECKING:
    from conftest import RedisServer, Running  # type: ignore[attr-defined]

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]
MADE = {"result_cache_mb": 16}


@pytest.fixture(scope="module")
async def caching(
    running: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    """A drill that serves results again; every test has texts of its own."""
    async with running(drill_settings(tmp_path_factory.mktemp("caching"), **MADE)) as service:
        yield service


def cached(answer: httpx.Response) -> str | None:
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-result-cache")


async def test_the_same_again_is_served_again(caching: Running) -> None:
    """One pair of lines of its own: nothing of a worker, no rates, and whose audio it is."""
    first = await caching.speak(text="again and again")
    second = await caching.speak(text="again and again")
    assert (cached(first), cached(second)) == ("miss", "hit")
    made = await caching.log.finished(first.headers["x-request-id"])
    started, served = await caching.log.pair(second.headers["x-request-id"])
    assert (made["result_cache_hit"], served["result_cache_hit"]) == (False, True)
    assert served["result_of"] == made["request_id"]
    assert "result_of" not in made
    assert (served["status"], served["audio_verdict"], served["probe_ok"]) == (
        "success",
        "ok",
        True,
    )
    alike = (
        "engine", "speaker", "emotion", "speed", "format", "text_len", "text_hash", "audio_seconds",
        "audio_bytes", "sample_rate", "codec", "rms_dbfs", "peak_dbfs", "silence_ratio",
    )  # fmt: skip
    assert {name: served[name] for name in alike} == {name: made[name] for name in alike}
    assert not {
        "worker", "queue_ms", "rtf", "chars_per_second", "first_audio_ms", "worker_memory_mb",
        "stage_acoustic_ms", "stage_vocoder_ms",
    } & set(served)  # fmt: skip
    stages = [served[name] for name in served if name.startswith("stage_")]
    assert sum(stages) == pytest.approx(served["duration_ms"], abs=0.002)
    assert started["request_id"] == served["request_id"]


@pytest.mark.parametrize("kind", AudioFormat)
async def test_the_file_bears_the_id_of_who_asks(kind: AudioFormat, caching: Running) -> None:
    """In the answer and on the disk; its sound is that of the first."""
    first = await caching.speak(text=f"in {kind.value}", format=kind.value)
    second = await caching.speak(text=f"in {kind.value}", format=kind.value)
    assert cached(second) == "hit"
    request_id = second.headers["x-request-id"]
    assert f'{request_id}.{kind.value}"' in second.headers["content-disposition"]
    await caching.log.finished(request_id)
    path = caching.service.settings.output_dir / f"{request_id}.{kind.value}"
    assert path.read_bytes() == second.content
    if kind is AudioFormat.PCM:
        assert second.content == first.content
    else:
        assert request_id_of(path) == request_id
        assert (played(second.content, 24_000) == played(first.content, 24_000)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Another text"},
        {"speaker": "slow"},
        {"emotion": "happy"},
        {"speed": 1.1},
        {"format": "flac"},
    ],
)
async def test_whatever_is_heard_differently_is_made(
    change: dict[str, Any], caching: Running
) -> None:
    """What is asked is compared as a whole; an absent field is its default."""
    asked = {"text": "All that matters", "speaker": "steady"}
    await caching.speak(**asked)
    assert cached(await caching.speak(**{**asked, **change})) == "miss"
    assert cached(await caching.speak(**{**asked, "speed": 1.0, "emotion": "neutral"})) == "hit"


@pytest.mark.parametrize("speaker", ["truncated", "clipped", "silent", "wrong_rate"])
async def test_bad_audio_is_not_served_again(speaker: str, caching: Running) -> None:
    """It may come out right the next time."""
    for _ in range(2):
        answer = await caching.speak(text="bad audio, once is enough", speaker=speaker)
        assert cached(answer) == "miss"


async def test_a_request_may_do_without(caching: Running) -> None:
    """`cache: false` and `no-store` keep nothing; `no-cache` has it made, and that is kept."""
    text = "not twice the same"
    for without in ({"cache": False}, {"headers": {"Cache-Control": "no-store"}}):
        for _ in range(2):
            answer = await caching.speak(text=text, **without)
            assert cached(answer) is None
            line = await caching.log.finished(answer.headers["x-request-id"])
            assert "result_cache_hit" not in line
    fresh = {"Cache-Control": "no-cache"}
    ids = [
        (await caching.speak(text=text, headers=fresh)).headers["x-request-id"] for _ in range(2)
    ]
    answer = await caching.speak(text=text)
    assert cached(answer) == "hit"
    line = await caching.log.finished(answer.headers["x-request-id"])
    assert line["result_of"] == ids[-1]


async def test_the_canary_hears_the_engine(caching: Running) -> None:
    """Whoever asks whether the engine speaks is not answered from memory."""
    await caching.speak(text="are you there")
    canary = {"X-Request-Source": "canary"}
    assert cached(await caching.speak(text="are you there", headers=canary)) is None


async def test_who_wants_to_hear_it_made_gets_it_whole(caching: Running) -> None:
    """There is nothing left to wait for; in their words as well."""
    text = "a stream of something known"
    await caching.speak(text=text, format="mp3")
    answer = await caching.speak(text=text, format="mp3", stream=True)
    assert cached(answer) == "hit"
    assert int(answer.headers["content-length"]) == len(answer.content)
    theirs = await caching.client.post(
        "/v1/audio/speech", json={"input": text, "stream_format": "sse"}
    )
    assert cached(theirs) == "hit"
    assert json.loads(theirs.text.strip().splitlines()[-1][6:])["type"] == "speech.audio.done"


async def test_the_same_at_the_same_time_is_made_once(caching: Running) -> None:
    """The others wait for it, and each gets an id and an event of its own."""
    answers = await asyncio.gather(
        *(caching.speak(text="all at once", speaker="slow") for _ in range(8))
    )
    assert sorted(map(str, map(cached, answers))) == ["hit"] * 7 + ["miss"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 8


async def test_who_waits_for_anothers_does_not_share_its_fate(
    caching: Running, until: Until
) -> None:
    """When the first is given up, the next one has it made."""
    asked = {"text": "given up", "speaker": "slow"}
    first = asyncio.create_task(caching.speak(**asked))
    await until(lambda: caching.service.pool.busy)
    second = asyncio.create_task(caching.speak(**asked))
    await asyncio.sleep(0)
    first.cancel()
    assert cached(await second) == "miss"
    assert cached(await caching.speak(**asked)) == "hit"


async def test_a_hit_needs_no_place_in_the_queue(caching: Running, until: Until) -> None:
    """Served while every place is taken, and others are refused."""
    await caching.speak(text="no place needed")
    placed = caching.service.synthesizer.admission
    places = caching.service.pool.places
    try:
        placed._placed += places
        assert cached(await caching.speak(text="no place needed")) == "hit"
        assert (await caching.speak(text="a place is needed")).status_code == 503
    finally:
        placed._placed -= places


async def test_metrics_tell_the_share(caching: Running) -> None:
    """From the finished events, as all of them; the bytes from the layers."""
    await caching.speak(text="counted")
    answer = await caching.speak(text="counted")
    await caching.log.finished(answer.headers["x-request-id"])
    text = (await caching.client.get("/metrics")).text
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    events = [
        line["result_cache_hit"]
        for line in caching.log.lines("synthesis.finished")
        if "result_cache_hit" in line
    ]
    assert found["indextts_result_cache_total", ("drill", "hit")] == sum(events)
    assert found["indextts_result_cache_total", ("drill", "miss")] == len(events) - sum(events)
    assert found["indextts_result_cache_bytes", ("memory",)] > 0


async def test_nothing_of_the_text_is_kept(caching: Running) -> None:
    """Neither as a name nor in a file: what stands for it is a keyed hash."""
    typed = "Zwölf Boxkämpfer jagen Viktor"
    await caching.speak(text=typed)
    await caching.service.results.close()
    folder = caching.service.settings.output_dir / "cache"
    files = list(folder.iterdir())
    assert files
    for path in files:
        assert typed.encode() not in path.read_bytes()
        assert len(path.stem) == 64


async def test_a_restart_finds_what_was_made(
    running: Callable[..., Any], drill_settings: Callable[..., Any], tmp_path: Path
) -> None:
    """From the disk; not when the engine was started in another way since."""
    settings = drill_settings(tmp_path, **MADE)
    async with running(settings) as service:
        await service.speak(text="before the restart")
    async with running(settings) as service:
        assert cached(await service.speak(text="before the restart")) == "hit"
    async with running(drill_settings(tmp_path, **MADE, drill_leak_mb=9)) as service:
        assert cached(await service.speak(text="before the restart")) == "miss"


async def test_a_damaged_or_missing_file_is_made_anew(
    running: Callable[..., Any], drill_settings: Callable[..., Any], tmp_path: Path
) -> None:
    """Counted and logged; the request knows nothing of it."""
    settings = drill_settings(tmp_path, **MADE)
    async with running(settings) as service:
        await service.speak(text="damaged")
    (path,) = (tmp_path / "outputs/cache").glob("*.result")
    path.write_bytes(path.read_bytes()[:-100])
    async with running(settings) as service:
        assert cached(await service.speak(text="damaged")) == "miss"
        assert cached(await service.speak(text="damaged")) == "hit"
        assert service.log.lines("result_cache.disk_failed")
        metrics = (await service.client.get("/metrics")).text
        assert 'indextts_result_cache_failures_total{layer="disk"} 1.0' in metrics


async def test_two_services_share_what_either_made(
    running: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path: Path,
    redis_server: RedisServer,
    until: Until,
) -> None:
    """Through a Redis, with one key of hashes; without it each makes its own, and none fails."""
    made = {**MADE, "result_cache_disk_mb": 0, "redis_url": redis_server.url, "hash_key": "k" * 32}
    for name in ("one", "two"):
        (tmp_path / name / "outputs").mkdir(parents=True)
    async with running(drill_settings(tmp_path / "one", **made)) as one:
        first = await one.speak(text="shared")
    async with running(drill_settings(tmp_path / "two", **made)) as two:
        answer = await two.speak(text="shared")
        assert cached(answer) == "hit"
        line = await two.log.finished(answer.headers["x-request-id"])
        assert line["result_of"] == first.headers["x-request-id"]
        redis_server.stop()
        assert cached(await two.speak(text="made here")) == "miss"
        assert cached(await two.speak(text="made here")) == "hit"
        assert len(two.log.lines("result_cache.redis_away")) == 1
        metrics = (await two.client.get("/metrics")).text
        assert 'indextts_result_cache_failures_total{layer="redis"}' in metrics


# --- What may be served again --------------------------------------------------------------------

CAN = Capabilities(
    engine="x",
    engine_version="1",
    model_version="1",
    device="cpu",
    sample_rate=22_050,
    speakers=(),
    emotions=EMOTIONS,
    scripts=(),
    stages=(),
    self_test_text="x",
)
ASKED = SynthesisRequest("hi", "steady", "neutral", 1.0, AudioFormat.WAV)
BOTH = Use(reads=True, writes=True)


@pytest.mark.parametrize(
    ("features", "changes", "use"),
    [
        (Features(), {}, BOTH),
        (Features(), {"cache": False}, NONE),
        (Features(seed=True), {}, NONE),
        (Features(seed=True), {"seed": 7}, BOTH),
        (Features(seed=True), {"cache": True}, BOTH),
        (Features(repeats=False), {}, NONE),
        (Features(repeats=False), {"cache": True}, BOTH),
    ],
)
def test_unasked_only_what_would_come_out_the_same(
    features: Features,
    changes: dict[str, Any],
    use: Use,
    drill_settings: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Chance is not taken away from who asks for it by sending no seed."""
    cache = ResultCache(drill_settings(tmp_path, **MADE), b"k", set_up={})
    can = replace(CAN, features=features)
    assert cache.use(replace(ASKED, **changes), can, Caller("id", "api")) == use
    assert cache.use(replace(ASKED, **changes), can, Caller("id", "replay")) == NONE
    off = ResultCache(drill_settings(tmp_path, result_cache_mb=0), b"k", set_up={})
    assert off.use(replace(ASKED, **changes), can, Caller("id", "api")) == NONE
