"""Promises of the REST API, asked over ASGI: the real service without its page."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
from playing import played
from prometheus_client.parser import text_string_to_metric_families

from indextts_app import api, audio, errors
from indextts_app.engines.base import EMOTIONS
from indextts_app.engines.drill import FAULTS
from indextts_app.error_body import ErrorBody
from indextts_app.synthesis import RECORDINGS, AudioFormat, Caller, SynthesisForm
from observability import request_id

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]


def wav(seconds: float = 2.0, *, level: int = 8_000, rate: int = 24_000) -> bytes:
    """A recording of a buzz with the pitch of a voice."""
    moments = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 140 * part * moments) / part for part in range(1, 12))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.round(level / 2 * buzz).astype(np.int16), rate, format="WAV")
    return buffer.getvalue()


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    """The body of an error, which has the one shape and the id of its header."""
    body: dict[str, str] = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), body
    assert set(body) == set(ErrorBody.model_fields)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["message"]
    return body


async def leave(
    shared: Running,
    body: bytes,
    kind: str = "application/json",
    *,
    until: Until,
    when: Callable[[], object] = lambda: True,
    more_body: bool = False,
) -> dict[str, Any]:
    """Send a body and close the connection at some moment; returns the finished line."""
    messages = [{"type": "http.request", "body": body, "more_body": more_body}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await until(when)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/tts",
        "headers": [(b"content-type", kind.encode())],
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
    await shared.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 499
    (ours,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    return await shared.log.finished(ours.decode())


class TestTts:
    """POST /tts."""

    @pytest.mark.parametrize("kind", AudioFormat)
    async def test_json_in_audio_out(self, kind: AudioFormat, shared: Running) -> None:
        """The body is a file of the format that was asked for, and says so."""
        answer = await shared.speak(text="你好，世界", format=kind.value)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == api.MEDIA_TYPES[kind]
        rate = audio.rate_of(kind, 22_050)
        if kind is AudioFormat.PCM:
            assert answer.headers["x-sample-rate"] == "24000"
            heard = np.frombuffer(answer.content, "<i2").astype(np.int16)
        else:
            heard = played(answer.content, rate)
        assert len(heard) / rate == pytest.approx(1.0, abs=0.1)
        line = await shared.log.finished(answer.headers["x-request-id"])
        assert (line["codec"], line["audio_verdict"]) == (audio.CODECS[kind], "ok")
        assert line["status"] == "success"

    async def test_the_headers_say_what_the_event_says(self, shared: Running) -> None:
        """Id, verdict, length, name and times of an answer are those of its finished line."""
        answer = await shared.speak(speaker="truncated")
        line = await shared.log.finished(answer.headers["x-request-id"])
        assert answer.headers["x-audio-verdict"] == line["audio_verdict"] == "truncated"
        assert float(answer.headers["x-audio-seconds"]) == line["audio_seconds"]
        assert f'{line["request_id"]}.wav"' in answer.headers["content-disposition"]
        timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
        assert float(timing["acoustic"]) == line["stage_acoustic_ms"]
        assert float(timing["total"]) == pytest.approx(line["duration_ms"], abs=5)
        assert line["source"] == "api"

    async def test_a_form_is_as_good_as_json(self, shared: Running) -> None:
        """Multipart fields are read, numbers among them."""
        fields = {"text": "hello", "speaker": "steady", "emotion": "calm", "speed": "2.0"}
        answer = await shared.client.post(
            "/tts", files={name: (None, value) for name, value in fields.items()}
        )
        assert answer.status_code == 200
        line = await shared.log.finished(answer.headers["x-request-id"])
        assert (line["emotion"], line["speed"], line["text_len"]) == ("calm", 2.0, 5)

    async def test_a_reference_that_has_no_use_is_refused(self, shared: Running) -> None:
        """The drill clones nobody; the upload is deleted all the same."""
        answer = await shared.client.post(
            "/tts", data={"text": "hello"}, files={"reference": ("voice.wav", wav())}
        )
        assert "no use" in refused(answer, 422, "reference_refused")["message"]
        uploads = shared.service.settings.output_dir / "uploads"
        assert list(uploads.glob("*")) == []

    @pytest.mark.parametrize(
        ("given", "kept"),
        [("order-17", "order-17"), ("a" * 50_000, None), ("two words", None)],
        ids=["plain", "50 kB", "spaces"],
    )
    async def test_the_clients_own_id_stands_beside_ours(
        self, given: str, kept: str | None, shared: Running
    ) -> None:
        """A plain one is in the event, a hostile one nowhere; the answer always has ours."""
        answer = await shared.speak(headers={"X-Request-ID": given})
        ours = answer.headers["x-request-id"]
        assert request_id.parse(ours) == ours
        line = await shared.log.finished(ours)
        assert line.get("client_request_id") == kept
        assert "aaaaaaaaaa" not in shared.log.text()

    async def test_a_callers_trace_stands_in_both_lines(self, shared: Running) -> None:
        """As W3C Trace Context has it; a header that is none changes nothing."""
        trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        answer = await shared.speak(headers={"traceparent": f"00-{trace}-{span}-01"})
        for line in await shared.log.pair(answer.headers["x-request-id"]):
            assert (line["trace_id"], line["parent_span_id"]) == (trace, span)
            assert "span_id" not in line
        answer = await shared.speak(headers={"traceparent": f"00-{trace}-{'0' * 16}-01"})
        assert "trace_id" not in await shared.log.finished(answer.headers["x-request-id"])

    async def test_the_address_is_masked(self, shared: Running) -> None:
        """The event leads to the client's network only."""
        async with shared.client_from("203.0.113.77") as client:
            answer = await client.post("/tts", json={"text": "hello"})
        line = await shared.log.finished(answer.headers["x-request-id"])
        assert line["client_ip"] == "203.0.113.0"

    @pytest.mark.parametrize(
        ("speaker", "status", "code"),
        [
            ("error", 503, "engine_error"),
            ("out_of_memory", 503, "out_of_memory"),
            ("empty", 503, "no_audio"),
            ("crash", 503, "worker_died"),
        ],
    )
    async def test_a_failure_is_answered_with_its_code(
        self, speaker: str, status: int, code: str, shared: Running
    ) -> None:
        """The client reads what it may do, and when to come back."""
        answer = await shared.speak(speaker=speaker)
        refused(answer, status, code)
        assert int(answer.headers["retry-after"]) >= 1

    async def test_beyond_the_deadline_it_is_504(
        self, shared: Running, until: Until, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A request that takes too long is answered at the deadline."""
        # One that would have to wait for a worker's restart is refused at once.
        await until(lambda: shared.service.pool.ready_workers)
        impatient = shared.service.settings.model_copy(update={"timeout_seconds": 0.1})
        monkeypatch.setattr(shared.service.synthesizer, "_settings", impatient)
        refused(await shared.speak(speaker="slow"), 504, "deadline_exceeded")

    async def test_a_full_queue_is_503(
        self, shared: Running, monkeypatch: pytest.MonkeyPatch, until: Until
    ) -> None:
        """More than may wait are told to come back."""
        answer = await shared.speak()
        # After the bad outcomes before, the engine may be tried until this good one is known.
        await shared.log.finished(answer.headers["X-Request-ID"])
        await until(lambda: not shared.service.pool.busy)
        monkeypatch.setattr(shared.service.pool, "_max_queue", 0)
        running = asyncio.create_task(shared.speak(speaker="slow"))
        await until(lambda: shared.service.pool.busy)
        answer = await shared.speak()
        refused(answer, 503, "queue_full")
        assert answer.headers["retry-after"] == "2"
        assert (await running).status_code == 200

    async def test_a_client_that_leaves_cancels_its_request(
        self, shared: Running, until: Until
    ) -> None:
        """The engine stops, the event says cancelled, and the worker is free for others."""
        body = b'{"text": "hello", "speaker": "slow"}'
        line = await leave(shared, body, until=until, when=lambda: shared.service.pool.busy)
        assert (line["status"], line["error_type"]) == ("cancelled", "cancelled")
        assert (await shared.speak()).status_code == 200

    @pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
    async def test_a_client_that_leaves_while_it_sends_has_its_event(
        self, kind: str, shared: Running, until: Until
    ) -> None:
        """A body that breaks off is no fault of the service, and is not logged as one."""
        line = await leave(shared, b"--x\r\n", kind, more_body=True, until=until)
        assert (line["status"], line["error_type"]) == ("cancelled", "client_gone")
        assert not shared.log.lines("http.unexpected")


class TestErrors:
    """One shape for everything that goes wrong."""

    async def test_what_does_not_exist(self, shared: Running) -> None:
        """404 and 405 look like any other error."""
        refused(await shared.client.get("/nowhere"), 404, "not_found")
        answer = await shared.client.get("/tts")
        refused(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (b"", "application/json"),
            (b"{", "application/json"),
            (b"\xff\xfe\xfd", "application/json"),
            (b"[" * 100_000, "application/json"),
            (b'["text"]', "application/json"),
            (b"null", "application/json"),
            (b"text=hello", "application/x-www-form-urlencoded"),
            (b"hello", "multipart/form-data"),
            (b"--x\r\n\r\n\r\n", "multipart/form-data; boundary=x"),
        ],
        ids=lambda value: ascii(value)[:30],
    )
    async def test_what_cannot_be_read(self, content: bytes, kind: str, shared: Running) -> None:
        """Neither JSON nor a form: 400, and there is an event of it."""
        answer = await shared.client.post("/tts", content=content, headers={"Content-Type": kind})
        refused(answer, 400, "malformed_request")
        line = await shared.log.finished(answer.headers["x-request-id"])
        assert (line["status"], line["error_type"]) == ("rejected", "malformed_request")

    @pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
    async def test_what_is_too_large(self, kind: str, shared: Running) -> None:
        """Reading stops at the limit, JSON or form: 413, and there is an event of it."""
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            yield b'--x\r\nContent-Disposition: form-data; name="reference"; filename="a"\r\n\r\n'
            for _ in range(1_000):
                sent += 1
                yield b"x" * 100_000

        answer = await shared.client.post("/tts", content=endless(), headers={"Content-Type": kind})
        refused(answer, 413, "too_large")
        assert sent < 210
        line = await shared.log.finished(answer.headers["x-request-id"])
        assert (line["status"], line["error_type"]) == ("rejected", "too_large")

    async def test_what_nobody_foresaw(
        self, shared: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fault of ours is a 500 with its request_id; what it was stands in the log only."""

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("canary of a secret")

        monkeypatch.setattr("indextts_app.synthesizer.validated", broken)
        answer = await shared.speak()
        body = refused(answer, 500, "service_error")
        assert "canary" not in json.dumps(body)
        line = await shared.log.finished(body["request_id"])
        assert (line["status"], line["error_type"]) == ("failed", "RuntimeError")
        traces = shared.log.lines("exception.unexpected", request_id=body["request_id"])
        assert "canary of a secret" in traces[0]["traceback"]

    async def test_messages_speak_the_clients_language(self, shared: Running) -> None:
        """Chinese where the client prefers it, in the answer only."""
        answer = await shared.speak(text="", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
        body = refused(answer, 422, "text_empty")
        assert body["message"] == errors.TextEmpty(limit=10_000).message("zh")
        line = await shared.log.finished(body["request_id"])
        assert line["error_message"] == errors.TextEmpty(limit=10_000).message()


class TestKnowledge:
    """What can be asked about the service."""

    async def test_speakers(self, shared: Running) -> None:
        """All that may be chosen, with names in both languages."""
        body = (await shared.client.get("/speakers")).json()
        assert [speaker["id"] for speaker in body["speakers"]] == list(FAULTS)
        assert all(speaker["name"] and speaker["name_zh"] for speaker in body["speakers"])
        assert body["emotions"] == list(EMOTIONS)
        assert body["formats"] == ["wav", "mp3", "flac", "ogg", "opus", "aac", "pcm"]
        assert body["reference"] == "none"
        assert set(body["notes"]["speaker"]) == {"en", "zh"}

    async def test_speakers_before_the_engine_is_loaded(
        self, shared: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is offered that is not known yet."""
        monkeypatch.setattr(shared.service.pool, "capabilities", None)
        refused(await shared.client.get("/speakers"), 503, "not_ready")

    async def test_documentation(self, shared: Running) -> None:
        """/docs answers, and the schema describes both content types and every error."""
        assert (await shared.client.get("/docs")).status_code == 200
        schema = (await shared.client.get("/openapi.json")).json()
        tts = schema["paths"]["/tts"]["post"]
        content = tts["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
        form = content["multipart/form-data"]["schema"]["properties"]
        assert set(form) == {*SynthesisForm.model_fields, *RECORDINGS}
        assert set(tts["responses"]) >= {"200", "400", "413", "422", "503", "504"}
        assert set(tts["responses"]["200"]["content"]) == set(api.MEDIA_TYPES.values())
        assert "/requests/{request_id}" in schema["paths"]


class TestHealth:
    """Whether to send requests."""

    async def test_a_good_service_is_healthy(self, shared: Running) -> None:
        """All three questions are answered with 200."""
        await shared.speak()
        assert (await shared.client.get("/health")).json() == {"status": "healthy"}
        assert (await shared.client.get("/health/live")).json() == {"status": "alive"}
        ready = await shared.client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")

    async def test_while_the_worker_is_away(self, shared: Running, until: Until) -> None:
        """Not ready, with the reason, but alive; once the replacement speaks, ready again."""
        pool = shared.service.pool
        os.kill(pool.pids()["0"], signal.SIGKILL)
        await until(lambda: not pool.ready_workers)
        ready = await shared.client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
        assert "no worker is ready" in ready.json()["reason"]
        assert (await shared.client.get("/health")).status_code == 503
        assert (await shared.client.get("/health/live")).status_code == 200
        await until(lambda: pool.ready_workers)
        assert (await shared.client.get("/health")).status_code == 200

    async def test_after_three_failures_a_trial_decides(
        self, shared: Running, until: Until
    ) -> None:
        """An engine that failed three times in a row but speaks when tried is ready."""
        log = shared.log
        await until(
            lambda: len(log.lines("synthesis.started")) == len(log.lines("synthesis.finished"))
        )
        for _ in range(3):
            await shared.speak(speaker="error")
        ready = await shared.client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert "a trial just now did not" in ready.json()["reason"]


class TestMetrics:
    """GET /metrics."""

    @staticmethod
    async def samples(shared: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        answer = await shared.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    async def test_a_request_is_counted_once(self, shared: Running) -> None:
        """The counter of its labels rises by one, with its audio."""
        await shared.log.finished((await shared.speak()).headers["x-request-id"])
        labels = {"emotion": "sad", "engine": "drill", "source": "api", "speaker": "silent"}
        key = ("indextts_requests_total", tuple(sorted({**labels, "status": "degraded"}.items())))
        before = (await self.samples(shared)).get(key, 0.0)
        answer = await shared.speak(speaker="silent", emotion="sad")
        await shared.log.finished(answer.headers["x-request-id"])
        async with asyncio.timeout(5):
            # The line comes first, the counter a moment later.
            while (await self.samples(shared)).get(key) != before + 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def test_it_is_for_the_allowed_only(self, shared: Running) -> None:
        """Loopback reads it, in either notation; the world does not."""
        for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            async with shared.client_from(host) as client:
                assert (await client.get("/metrics")).status_code == 200
        for host in ("203.0.113.7", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "nonsense"):
            async with shared.client_from(host) as client:
                body = refused(await client.get("/metrics"), 403, "forbidden")
                assert "INDEXTTS_METRICS_ALLOW" in body["message"]

    async def test_a_forwarded_header_opens_nothing(self, shared: Running) -> None:
        """It is the connection's address that counts."""
        headers = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
        async with shared.client_from("203.0.113.7") as client:
            assert (await client.get("/metrics", headers=headers)).status_code == 403

    async def test_no_client_can_add_a_series(self, shared: Running) -> None:
        """Three hundred made-up paths, methods, speakers, emotions and headers change no label."""
        refusals: list[dict[str, Any]] = [
            {"speaker": "?"},
            {"emotion": "?"},
            {"format": "?"},
            {"text": ""},
            {"text": "?"},
            {"text": "\0"},
            {"text": "a" * 10_001},
            {"more": 1},
        ]
        for fields in refusals:
            await shared.speak(**fields)
        await shared.client.post("/tts", content=b"?")
        before = set(await self.samples(shared))
        made_up = random.Random(1)  # noqa: S311  # the same words each time
        for number in range(300):
            word = f"x{made_up.getrandbits(40):x}"
            headers = {"X-Request-ID": word, "User-Agent": word, word: word}
            match number % 6:
                case 0:
                    await shared.client.get(f"/{word}/{word}", headers=headers)
                case 1:
                    await shared.client.request(word.upper(), "/tts", headers=headers)
                case 2:
                    await shared.speak(speaker=word, headers=headers)
                case 3:
                    await shared.speak(emotion=word, headers=headers)
                case 4:
                    await shared.speak(format=word, headers=headers)
                case _:
                    await shared.speak(**{word: word}, headers=headers)
        assert set(await self.samples(shared)) == before
        assert len(before) < 2_000

    async def test_no_sample_is_nan(self, shared: Running) -> None:
        """After every fault, each figure is still a number."""
        for speaker in ("empty", "silent", "error"):
            await shared.log.finished((await shared.speak(speaker=speaker)).headers["x-request-id"])
        assert not [key for key, value in (await self.samples(shared)).items() if math.isnan(value)]


class TestStory:
    """GET /requests/{request_id}."""

    async def test_a_request_is_told(self, shared: Running) -> None:
        """Asked, times, outcome, meaning and advice in both languages, and the lines themselves."""
        asked = (await shared.speak(speaker="error")).headers["x-request-id"]
        await shared.log.finished(asked)
        story = (await shared.client.get(f"/requests/{asked.lower()}")).json()
        assert (story["request_id"], story["status"]) == (asked, "failed")
        assert story["asked"]["speaker"] == "error"
        assert story["stages_ms"]["acoustic"] > 0
        assert story["outcome"]["error_type"] == "engine_error"
        assert set(story["meaning"]) == set(story["advice"][0]) == {"en", "zh"}
        events = [line["event"] for line in story["lines"]]
        assert events == ["synthesis.started", "worker.error", "synthesis.finished"]

    async def test_a_malformed_id_is_422(self, shared: Running) -> None:
        """What cannot be an id is told apart from what is not known, in both languages."""
        refused(await shared.client.get("/requests/abc"), 422, "malformed_request_id")
        answer = await shared.client.get("/requests/abc", headers={"Accept-Language": "zh"})
        assert "26 个字符" in refused(answer, 422, "malformed_request_id")["message"]

    @pytest.mark.parametrize(
        ("unknown", "sentence"),
        [
            (None, "No line has this id"),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "Look in the archive"),
            ("7ZARZ3NDEKTSV4RRFFQ69G5FAV", "beyond the year 9999"),
            ("1ZARZ3NDEKTSV4RRFFQ69G5FAV", "in the future"),
        ],
    )
    async def test_an_unknown_id_has_its_own_sentence(
        self, unknown: str | None, sentence: str, shared: Running
    ) -> None:
        """Never here, too old, impossible, or of the future."""
        await shared.speak()
        answer = await shared.client.get(f"/requests/{unknown or request_id.new()}")
        assert answer.status_code in (404, 422)
        assert sentence in answer.json()["message"]

    async def test_it_is_for_operators_only(self, shared: Running) -> None:
        """A request_id alone tells a stranger nothing, not even that it exists."""
        asked = (await shared.speak()).headers["x-request-id"]
        async with shared.client_from("203.0.113.7") as client:
            for wanted in (asked, request_id.new(), "abc"):
                refused(await client.get(f"/requests/{wanted}"), 403, "forbidden")


async def test_one_client_has_so_many_at_a_time(
    tmp_path: Path, drill_settings: Callable[..., Any], running: Callable[..., Any], until: Until
) -> None:
    """One more is 429 with an event of its own; another address is served."""
    slow = {"text": "hello", "speaker": "slow"}
    async with (
        running(drill_settings(tmp_path, max_per_client=2, drill_slow_seconds=5)) as service,
        service.client_from("203.0.113.7") as greedy,
        service.client_from("203.0.113.8") as other,
    ):
        tasks = [asyncio.create_task(greedy.post("/tts", json=slow)) for _ in range(2)]
        await until(lambda: service.service.synthesizer.in_flight == 2)
        body = refused(await greedy.post("/tts", json=slow), 429, "too_many_in_flight")
        finished = await service.log.finished(body["request_id"])
        assert finished["status"] == "rejected"
        assert finished["error_type"] == "too_many_in_flight"
        tasks.append(asyncio.create_task(other.post("/tts", json={"text": "hello"})))
        await until(lambda: service.service.pool.waiting == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_recording_is_not_decoded_without_a_place(
    tmp_path: Path,
    drill_settings: Callable[..., Any],
    running: Callable[..., Any],
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is refused has cost no ffmpeg."""
    async with running(drill_settings(tmp_path, max_queue=0, drill_slow_seconds=5)) as service:
        accepted = []
        pool = service.service.pool
        assert pool.capabilities
        features = replace(pool.capabilities.features, reference="prosody")
        pool.capabilities = replace(pool.capabilities, features=features)
        monkeypatch.setattr(service.service.library, "accept", lambda *_: accepted.append(1))
        busy = asyncio.create_task(service.speak(speaker="slow"))
        await until(lambda: pool.busy == 1)
        answer = await service.client.post(
            "/tts", data={"text": "hello"}, files={"reference": wav()}
        )
        refused(answer, 503, "queue_full")
        assert answer.headers["retry-after"]
        assert not accepted
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_reading_a_body_uses_up_time(shared: Running) -> None:
    """The deadline counts from the door, so that a slow upload leaves less for the engine."""
    caller = Caller(request_id.new(), "api", arrived=time.monotonic() - 60)
    with pytest.raises(errors.DeadlineExceeded):
        await shared.service.synthesizer.synthesize({"text": "hello"}, caller)
    assert (await shared.log.finished(caller.request_id))["status"] == "timeout"


@pytest.mark.parametrize(
    "lacks", [b"\r\n--sep--\r\n", b"--\r\n", b" there.\r\n--sep--\r\n", b"sep--\r\n"]
)
async def test_a_form_that_ends_early_is_refused(shared: Running, lacks: bytes) -> None:
    """Its last field would be lost without a word; with its end it is spoken."""
    body = (
        b'--sep\r\nContent-Disposition: form-data; name="speed"\r\n\r\n1.0\r\n'
        b'--sep\r\nContent-Disposition: form-data; name="text"\r\n\r\nHello there.\r\n--sep--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=sep"}
    assert (await shared.client.post("/tts", content=body, headers=headers)).status_code == 200
    cut = body.removesuffix(lacks)
    assert cut != body
    answer = await shared.client.post("/tts", content=cut, headers=headers)
    refused(answer, 400, "malformed_request")


@pytest.mark.parametrize("boundary", ["b" * 5_000, "", 'x"y', "é"])
async def test_a_strange_boundary_is_no_fault_of_ours(shared: Running, boundary: str) -> None:
    """Whatever it is, the client is told in the one shape."""
    kind = f"multipart/form-data; boundary={boundary}".encode()
    answer = await shared.client.post("/tts", content=b"x", headers=[(b"content-type", kind)])
    refused(answer, 400, "malformed_request")


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_monitors_may_ask_with_head(shared: Running, path: str) -> None:
    """As for GET."""
    answer = await shared.client.head(path)
    assert answer.status_code == (await shared.client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/tts", "POST"),
        ("DELETE", "/speakers", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("PATCH", "/glossary/a/b", "DELETE, PUT"),
    ],
)
async def test_another_method_is_named(shared: Running, method: str, path: str, allow: str) -> None:
    """405 with what the path does answer to."""
    answer = await shared.client.request(method, path)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow
