"""
Promises of what is kept, asked over REST, and of a request that uses it.

The real service; only its engine is a stand-in that offers what IndexTTS-2 offers, keeps the tasks
it is given, and answers with a tone.
"""

from __future__ import annotations

import asyncio
import io
import json
import shlex
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile

from indextts_app import errors, references, replay
from indextts_app.engines.base import Features, Segment, Task
from indextts_app.engines.indextts2.features import features
from indextts_app.error_body import ErrorBody
from indextts_app.synthesis import Caller
from indextts_app.workers.listener import Listener
from indextts_app.workers.worker import Delivery
from observability import drain

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

ELSEWHERE = "203.0.113.7"
SAD = [0, 0, 0.8, 0, 0, 0, 0, 0]
VERSION_2, VERSION_25 = features(model_version="2"), features(model_version="2.5")


def is_there(path: str | None) -> bool:
    """Whether an engine could read this recording, or needs none."""
    return path is None or Path(path).exists()


@dataclass
class StandIn:
    """What the engine was asked, and what it says of its work."""

    tasks: list[Task] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    busy: asyncio.Event | None = None
    """Set by a test that holds requests up."""

    async def run(self, task: Task, listener: Listener, **_: float) -> Delivery:
        """A tone of one second; the recordings must be there, as for an engine that reads them."""
        for path in (task.reference, task.emotion_reference):
            assert is_there(path)
        self.tasks.append(task)
        if self.busy:
            await self.busy.wait()
            assert is_there(task.reference)
        listener.measured({"acoustic": 0.01}, self.notes)
        tone = np.sin(np.arange(24_000) / 10) * 8_000
        return Delivery(tone.astype(np.int16), 24_000, None)

    async def preview(self, task: Task) -> tuple[Segment, ...]:
        """The words."""
        self.tasks.append(task)
        return tuple(Segment(word, len(word)) for word in task.text.split())

    @property
    def task(self) -> Task:
        """The last one."""
        return self.tasks[-1]


@pytest.fixture(scope="module")
async def service(
    running: Any, drill_settings: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """One service for all tests; each leaves its library empty."""
    folder = tmp_path_factory.mktemp("library")
    async with running(drill_settings(folder, max_speakers=3, max_upload_mb=2)) as service:
        yield service


@contextmanager
def offering(service: Running, offered: Features) -> Iterator[StandIn]:
    """The service with an engine that offers these features."""
    pool, engine = service.service.pool, StandIn()
    before = pool.capabilities
    assert before
    pool.capabilities = replace(
        before, engine="indextts2", features=offered, speakers=(), sample_rate=24_000
    )
    pool.run = engine.run  # type: ignore[method-assign, assignment]
    pool.preview = engine.preview  # type: ignore[method-assign]
    try:
        yield engine
    finally:
        pool.capabilities = before
        del pool.run, pool.preview
        library = service.service.library
        for preset in library.presets.all():
            library.remove_preset(preset.id)
        for speaker in library.speakers.all()[1:]:
            library.remove_speaker(speaker.id)
        library.glossary.replace({})


@pytest.fixture
def engine(service: Running) -> Iterator[StandIn]:
    """An engine like IndexTTS-2."""
    with offering(service, VERSION_2) as engine:
        yield engine


def wav(seconds: float = 2.0, *, pitch: int = 140) -> bytes:
    """A recording; another pitch is another content."""
    tone = np.sin(np.arange(round(seconds * 24_000)) * pitch / 4_000) * 8_000
    buffer = io.BytesIO()
    soundfile.write(buffer, tone.astype(np.int16), 24_000, format="WAV")
    return buffer.getvalue()


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an error, which has the one shape."""
    body: dict[str, str] = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), body
    assert set(body) == set(ErrorBody.model_fields)
    return body["message"]


async def make(service: Running, name: str = "Anna", recording: bytes = b"") -> httpx.Response:
    """What `POST /speakers` answers."""
    return await service.client.post(
        "/speakers", data={"name": name}, files={"audio": ("x.wav", recording or wav())}
    )


async def keep(
    service: Running, fields: Mapping[str, Any], name: str = "Mine", **files: bytes
) -> httpx.Response:
    """What `POST /presets` answers."""
    return await service.client.post(
        "/presets",
        files={
            "name": (None, name),
            "description": (None, "for tests"),
            "fields": (None, json.dumps(fields)),
            **{name: (name, content) for name, content in files.items()},
        },
    )


def form_of(command: str, output_dir: Path, text: str) -> dict[str, Any]:
    """What curl would send."""
    words = shlex.split(command)
    assert words[:2] == ["curl", f"http://{replay.ADDRESS}/tts"]
    files: dict[str, Any] = {}
    for flag, word in zip(words[2::2], words[3::2], strict=True):
        name, _, value = word.partition("=")
        value = value.replace("OUTPUT_DIR", str(output_dir)).replace("THE_TEXT", text)
        if flag == "-F" and value.startswith("@"):
            files[name] = (name, Path(value[1:]).read_bytes())
        elif flag == "-F":
            files[name] = (None, value)
    return files


def kept_files(service: Running) -> set[str]:
    """The recordings, speakers and presets on the disk, the built-in one aside."""
    folder = service.service.settings.speaker_dir
    sample = service.service.library.speakers.all()[0].sha256
    return {f"{path.parent.name}/{path.name}" for path in folder.glob("*/*") if path.stem != sample}


class TestSpeakers:
    """GET, POST and DELETE /speakers."""

    async def test_the_offer_is_the_engines(self, service: Running, engine: StandIn) -> None:
        """All that may be asked for: speakers, modes, controls with ranges, what is supported."""
        body = (await service.client.get("/speakers")).json()
        (sample,) = body["speakers"]
        assert (sample["id"], sample["created"]) == ("sample", None)
        assert body["reference"] == "voice"
        assert body["emotion_modes"] == list(VERSION_2.emotion_modes)
        assert [control["name"] for control in body["controls"]] == [
            control.name for control in VERSION_2.controls
        ]
        (temperature,) = [one for one in body["controls"] if one["name"] == "temperature"]
        assert temperature == {
            "name": "temperature",
            "label": {"en": "Temperature", "zh": "温度 temperature"},
            "kind": "number",
            "default": 0.8,
            "lowest": 0.1,
            "highest": 2.0,
            "step": 0.1,
            "group": "generation",
            "info": None,
        }
        flags = {name: body[name] for name in ("speed", "seed", "segments", "streams", "glossary")}
        assert flags == {
            "speed": False,
            "seed": True,
            "segments": True,
            "streams": True,
            "glossary": True,
        }
        assert "XUAN4" in body["text_hint"]["en"]
        assert set(body["fields"]) >= {"text", "seed", "emotion_vector", "top_k", "reference"}

    async def test_choices_and_switches_have_no_range(self, service: Running) -> None:
        """A page can be built from the answer alone."""
        with offering(service, VERSION_25):
            body = (await service.client.get("/speakers")).json()
        by_name = {control["name"]: control for control in body["controls"]}
        assert "choices" in by_name["language"]
        assert "lowest" not in by_name["language"]
        assert not {"choices", "lowest", "step"} & set(by_name["do_sample"])

    async def test_a_speaker_is_made_used_and_forgotten(
        self, service: Running, engine: StandIn
    ) -> None:
        """From a recording to a request with its id; afterwards nothing of it is left."""
        answer = await make(service, "旁白 A")
        made = answer.json()
        assert answer.status_code == 201
        assert (made["name"], made["seconds"]) == ("旁白 A", 2.0)
        listed = (await service.client.get("/speakers")).json()["speakers"]
        assert [speaker["id"] for speaker in listed] == ["sample", made["id"]]
        spoken = await service.speak(speaker=made["id"])
        assert engine.task.speaker == made["id"]
        assert Path(str(engine.task.reference)).stem == made["reference_hash"]
        line = await service.log.finished(spoken.headers["x-request-id"])
        assert (line["speaker"], line["reference_hash"]) == (made["id"], made["reference_hash"])
        assert line["reference_seconds"] == 2.0
        assert "reference_truncated" not in line
        gone = await service.client.delete(f"/speakers/{made['id']}")
        assert (gone.status_code, gone.content) == (204, b"")
        refused(await service.speak(speaker=made["id"]), 422, "unknown_speaker")
        assert kept_files(service) == set()

    async def test_a_long_recording_makes_a_speaker_that_says_so(
        self, service: Running, engine: StandIn
    ) -> None:
        """Whoever makes it can cut it better; who asks for it later is not told each time."""
        made = (await make(service, recording=wav(16.0))).json()
        assert (made["seconds"], made["truncated"]) == (15.0, True)
        assert "x-hints" not in (await service.speak(speaker="anna")).headers

    async def test_without_a_speaker_the_sample_speaks(
        self, service: Running, engine: StandIn
    ) -> None:
        """A first try needs nobody's recording."""
        assert (await service.speak()).status_code == 200
        sample = service.service.library.speakers.all()[0]
        assert (engine.task.speaker, Path(str(engine.task.reference)).stem) == (
            "sample",
            sample.sha256,
        )

    async def test_only_operators_may_change_what_is_kept(
        self, service: Running, engine: StandIn
    ) -> None:
        """Everybody may read it; the refusal says why, and which setting allows more."""
        assert (await keep(service, {})).status_code == 201
        async with service.client_from(ELSEWHERE) as client:
            for method, path in (
                ("POST", "/speakers"),
                ("DELETE", "/speakers/sample"),
                ("POST", "/presets"),
                ("DELETE", "/presets/mine"),
                ("PUT", "/glossary"),
                ("PUT", "/glossary/API"),
                ("DELETE", "/glossary/API"),
            ):
                message = refused(await client.request(method, path), 403, "keeping_forbidden")
                assert "INDEXTTS_OPERATIONS_ALLOW" in message
            for path in ("/speakers", "/presets", "/presets/mine", "/glossary"):
                assert (await client.get(path)).status_code == 200
            assert (await client.post("/segments", json={"text": "a"})).status_code == 200

    async def test_another_sites_page_changes_nothing(
        self, service: Running, engine: StandIn
    ) -> None:
        """Forms and plain text may be sent by any page, to any name that means this machine."""
        before = kept_files(service)
        form = {"name": (None, "Anna"), "audio": ("x", wav())}
        foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        client = service.client
        refused(await client.post("/speakers", files=form, headers=foreign), 403, "foreign_site")
        rebound = {"Host": "rebind.evil.example"}
        for method, path in (
            ("POST", "/speakers"),
            ("DELETE", "/speakers/sample"),
            ("POST", "/presets"),
            ("DELETE", "/presets/mine"),
            ("PUT", "/glossary"),
            ("PUT", "/glossary/API"),
            ("DELETE", "/glossary/API"),
            ("GET", "/requests/01K8ZQ3V7M1ABCDEFGHJKMNPQR"),
        ):
            if method != "GET":
                refused(await client.request(method, path, headers=foreign), 403, "foreign_site")
            refused(await client.request(method, path, headers=rebound), 403, "name_not_own")
        plain = {"Content-Type": "text/plain"}
        answer = await client.post("/presets", content=b'{"name": "x"}', headers=plain)
        refused(answer, 400, "malformed_request")
        assert kept_files(service) == before

    async def test_a_speaker_takes_its_voice_and_its_figures_along(
        self, service: Running, engine: StandIn
    ) -> None:
        """Neither a file with the recording nor a series with the id is left."""
        heard = await service.client.post(
            "/tts", data={"text": "a"}, files={"reference": ("a", wav())}
        )
        await service.log.finished(heard.headers["x-request-id"])
        made = (await make(service)).json()
        spoken = await service.speak(speaker=made["id"])
        await service.log.finished(spoken.headers["x-request-id"])
        metrics = service.service.metrics
        assert 'speaker="anna"' in metrics.text().decode()
        assert (await service.client.delete("/speakers/anna")).status_code == 204
        assert 'speaker="anna"' not in metrics.text().decode()
        settings = service.service.settings
        for folder in (settings.output_dir, settings.speaker_dir):
            assert not list(folder.rglob(f"{made['reference_hash']}*"))

    async def test_what_is_kept_lies_in_one_place(self, service: Running, engine: StandIn) -> None:
        """A recording that was sent to be kept is not among those of requests."""
        await make(service, recording=wav(pitch=150))
        made = (await keep(service, {}, reference=wav(pitch=160))).json()
        references = service.service.settings.output_dir / "references"
        assert not list(references.glob("*/*"))
        for sha256 in (*made["recordings"].values(),):
            assert not (references / f"{sha256}.wav").exists()

    async def test_a_full_disk_is_told(
        self, service: Running, engine: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Wherever it is noticed: what to do is said, and a request has its event."""

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        speak = {"data": {"text": "hello"}, "files": {"reference": ("a", wav(pitch=170))}}
        for place, name in ((Path, "write_bytes"), (references, "write"), (Path, "mkdir")):
            with monkeypatch.context() as patched:
                patched.setattr(place, name, full)
                spoken = await service.client.post("/tts", **speak)
                made = await make(service, recording=wav(pitch=170))
            refused(spoken, 503, "storage_failed")
            line = await service.log.finished(spoken.headers["x-request-id"])
            assert (line["error_type"], line["status"]) == ("storage_failed", "failed")
            refused(made, 503, "storage_failed")

    async def test_an_engine_that_cannot_clone_says_so(self, service: Running) -> None:
        """Nobody should believe that the drill speaks with their voice."""
        message = refused(await make(service), 422, "not_supported")
        assert "drill" in message
        assert "indextts2" in message

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            ({"files": {"name": (None, "Anna")}}, "reference_refused"),
            ({"files": {"name": (None, "A"), "audio": (None, "text")}}, "reference_refused"),
            ({"files": {"name": (None, "A"), "audio": ("x", b"noise")}}, "reference_refused"),
            ({"files": {"audio": ("x", wav(0.05)), "name": (None, "A")}}, "reference_refused"),
            ({"files": {"audio": ("x", wav())}}, "invalid_field"),
            ({"files": {"audio": ("x", wav()), "name": (None, "a\nb")}}, "invalid_field"),
            ({"files": {"audio": ("x", wav()), "title": (None, "A")}}, "unknown_field"),
            ({"files": {"audio": ("x", wav()), "name": (None, "sample")}}, "name_taken"),
            ({"json": {"name": "Anna"}}, "reference_refused"),
        ],
        ids=str,
    )
    async def test_what_makes_no_speaker(
        self, sent: dict[str, Any], code: str, service: Running, engine: StandIn
    ) -> None:
        """Each refusal has its code, and leaves nothing behind."""
        refused(await service.client.post("/speakers", **sent), 422, code)
        assert kept_files(service) == set()
        assert not list((service.service.settings.output_dir / "uploads").glob("*"))

    async def test_what_cannot_be_read(self, service: Running, engine: StandIn) -> None:
        """Neither JSON nor a form, two files, or more bytes than may be sent."""
        refused(await service.client.post("/speakers", content=b"{"), 400, "malformed_request")
        for name in ("audio", "name"):
            two = [("audio", ("a", wav())), (name, ("b", wav()))]
            refused(await service.client.post("/speakers", files=two), 400, "malformed_request")
        refused(await make(service, recording=b"x" * 3_000_000), 413, "too_large")

    async def test_there_is_a_limit_and_a_way_out(self, service: Running, engine: StandIn) -> None:
        """The fourth of three is told to delete one."""
        for number in range(3):
            assert (await make(service, f"voice {number}")).status_code == 201
        assert "Delete some first" in refused(await make(service, "four"), 422, "library_full")
        assert "already" in refused(await make(service, "VOICE 1"), 422, "name_taken")

    async def test_what_is_not_there_cannot_be_forgotten(
        self, service: Running, engine: StandIn
    ) -> None:
        """404, and the built-in one stays."""
        refused(await service.client.delete("/speakers/nobody"), 404, "not_kept")
        refused(await service.client.delete("/speakers/sample"), 422, "still_used")

    async def test_a_running_request_keeps_its_voice(
        self, service: Running, engine: StandIn, until: Any
    ) -> None:
        """Its speaker is forgotten meanwhile; the recording goes when the request is over."""
        made = (await make(service)).json()
        engine.busy = asyncio.Event()
        speaking = asyncio.create_task(service.speak(speaker="anna"))
        await until(lambda: engine.tasks)
        assert (await service.client.delete("/speakers/anna")).status_code == 204
        assert kept_files(service) == {f"recordings/{made['reference_hash']}.wav"}
        engine.busy.set()
        assert (await speaking).status_code == 200
        assert kept_files(service) == set()

    async def test_a_recording_that_is_gone_is_no_fault_of_the_caller_for_long(
        self, service: Running, engine: StandIn
    ) -> None:
        """Somebody emptied the folder: the message says what to do, the engine is not asked."""
        made = (await make(service)).json()
        folder = service.service.settings.speaker_dir / "recordings"
        (folder / f"{made['reference_hash']}.wav").unlink()
        message = refused(await service.speak(speaker="anna"), 422, "invalid_field")
        assert "make it anew" in message
        assert engine.tasks == []


class TestRequest:
    """POST /tts to an engine with everything."""

    async def test_the_engine_gets_all_of_it(self, service: Running, engine: StandIn) -> None:
        """JSON fields arrive in the task, the controls complete."""
        await service.speak(
            emotion_vector=SAD, emotion_weight=0.5, seed=7, temperature=1.5, emotion_random=True
        )
        defaults = {control.name: control.default for control in VERSION_2.controls}
        task = engine.task
        assert task == Task(
            request_id=task.request_id,
            text="hello",
            speaker="sample",
            emotion="neutral",
            speed=1.0,
            reference=task.reference,
            emotion_mode="vector",
            emotion_weight=0.5,
            emotion_vector=tuple(SAD),
            seed=7,
            controls={**defaults, "temperature": 1.5, "emotion_random": True},
        )

    async def test_a_form_says_the_same(self, service: Running, engine: StandIn) -> None:
        """Numbers, switches and lists are JSON in a form; texts stay texts, digits or not."""
        fields = {
            "text": "7",
            "emotion_text": "true",
            "emotion_weight": "0.5",
            "seed": "7",
            "temperature": "1.5",
            "do_sample": "false",
        }
        files: dict[str, Any] = {name: (None, value) for name, value in fields.items()}
        answer = await service.client.post("/tts", files=files)
        assert answer.status_code == 200, answer.text
        task = engine.task
        assert (task.text, task.emotion_text, task.emotion_weight) == ("7", "true", 0.5)
        assert (task.seed, task.controls["temperature"], task.controls["do_sample"]) == (
            7,
            1.5,
            False,
        )
        files |= {"emotion_vector": (None, json.dumps(SAD))}
        del files["emotion_text"]
        assert (await service.client.post("/tts", files=files)).status_code == 200
        assert engine.task.emotion_vector == tuple(SAD)

    async def test_two_recordings(self, service: Running, engine: StandIn) -> None:
        """A voice and an emotion, each a file of our own making; both are in the event."""
        answer = await service.client.post(
            "/tts",
            data={"text": "hello", "emotion_weight": "0.4"},
            files={"reference": ("a", wav()), "emotion_reference": ("b", wav(3.0, pitch=200))},
        )
        assert answer.status_code == 200, answer.text
        line = await service.log.finished(answer.headers["x-request-id"])
        task = engine.task
        assert (task.speaker, task.emotion_mode, task.emotion_weight) == (
            "reference",
            "reference",
            0.4,
        )
        assert Path(str(task.reference)).stem == line["reference_hash"]
        assert Path(str(task.emotion_reference)).stem == line["emotion_reference_hash"]
        assert (line["reference_seconds"], line["emotion_reference_seconds"]) == (2.0, 3.0)
        assert (line["speaker"], line["reference_truncated"]) == ("reference", False)
        assert "emotion" not in line
        assert not list((service.service.settings.output_dir / "uploads").glob("*"))

    async def test_a_bad_emotion_recording_is_named(
        self, service: Running, engine: StandIn
    ) -> None:
        """Nobody looks for the fault in the other recording."""
        for bad in (("b", wav(0.05)), (None, "a path")):
            answer = await service.client.post(
                "/tts",
                files={
                    "text": (None, "hello"),
                    "reference": ("a", wav()),
                    "emotion_reference": bad,
                },
            )
            refused(answer, 422, "emotion_reference_refused")
        assert engine.tasks == []

    async def test_the_seed_is_always_told(self, service: Running, engine: StandIn) -> None:
        """The request's own, or one that the service chose; header, event and task agree."""
        given = await service.speak(seed=7)
        chosen = [await service.speak() for _ in range(2)]
        assert given.headers["x-seed"] == "7"
        assert len({answer.headers["x-seed"] for answer in chosen}) == 2
        for answer, task in zip([given, *chosen], engine.tasks, strict=True):
            line = await service.log.finished(answer.headers["x-request-id"])
            assert int(answer.headers["x-seed"]) == line["seed"] == task.seed
            assert 0 <= line["seed"] < 2**32

    async def test_the_event_is_enough_to_ask_again(
        self, service: Running, engine: StandIn
    ) -> None:
        """The story's own command, its text filled in, gives the engine the same task."""
        answer = await service.client.post(
            "/tts",
            data={
                "text": "hello",
                "emotion_vector": json.dumps(SAD),
                "emotion_weight": "0.3",
                "top_k": "0",
                "do_sample": "false",
                "format": "flac",
            },
            files={"reference": ("a", wav())},
        )
        first = engine.task
        request_id = answer.headers["x-request-id"]
        line = await service.log.finished(request_id)
        assert line["controls"] == "do_sample=false top_k=0"
        assert line["emotion_vector"] == "0,0,0.8,0,0,0,0,0"
        story = (await service.client.get(f"/requests/{request_id}")).json()
        files = form_of(story["replay"], service.service.settings.output_dir, "hello")
        again = await service.client.post("/tts", files=files)
        assert again.status_code == 200, again.text
        assert engine.task == replace(
            first, request_id=engine.task.request_id, reference=engine.task.reference
        )

    async def test_a_description_is_private(self, service: Running, engine: StandIn) -> None:
        """No line of the log holds it, whatever becomes of the request; its length is known."""
        canary = "as if a canary had died"
        answer = await service.speak(emotion_text=canary)
        assert engine.task.emotion_text == canary
        line = await service.log.finished(answer.headers["x-request-id"])
        assert (line["emotion_text_len"], line["emotion_mode"]) == (len(canary), "text")
        refused(await service.speak(emotion_text=canary, emotion="sad"), 422, "emotion_unclear")
        assert "canary" not in service.log.text()

    async def test_a_description_stays_private_in_a_traceback(
        self, service: Running, engine: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even where a fault of ours quotes it."""
        canary = "as if a canary had died"

        def broken(task: Task, _listener: object, **_: float) -> None:
            raise RuntimeError(f"cannot feel {task.emotion_text}")

        monkeypatch.setattr(service.service.pool, "run", broken)
        answer = await service.speak(emotion_text=canary)
        refused(answer, 500, "service_error")
        await service.log.finished(answer.headers["x-request-id"])
        assert "cannot feel" in service.log.text()
        assert canary not in service.log.text()

    async def test_hints_say_what_could_be_better(self, service: Running, engine: StandIn) -> None:
        """In the header, in the result for the page, in the story, and as a metric."""
        engine.notes = {"unknown_tokens": 2, "length_limited": True, "segments": 1}
        before = service.service.metrics.text().decode()
        answer = await service.client.post(
            "/tts", data={"text": "hello"}, files={"reference": ("a", wav(16.0))}
        )
        assert answer.headers["x-hints"] == "unknown_tokens, reference_truncated, length_limited"
        request_id = answer.headers["x-request-id"]
        line = await service.log.finished(request_id)
        assert (line["reference_truncated"], line["reference_seconds"]) == (True, 15.0)
        assert (line["audio_verdict"], line["status"]) == ("truncated", "degraded")
        assert answer.headers["x-audio-verdict"] == "truncated"
        advice = (await service.client.get(f"/requests/{request_id}")).json()["advice"]
        assert len(advice) == 4
        assert "split a long text" in advice[0]["en"]
        assert "2 of the characters" in advice[1]["en"]
        assert "15 seconds" in advice[2]["en"]
        assert "max_mel_tokens" in advice[3]["zh"]
        after = service.service.metrics.text().decode()
        for hint in ("unknown_tokens", "reference_truncated", "length_limited"):
            series = f'indextts_hints_total{{engine="drill",hint="{hint}"}} 1.0'
            assert series in after
            assert series not in before
        engine.notes = {"unknown_tokens": 0, "length_limited": False}
        assert "x-hints" not in (await service.speak()).headers

    async def test_the_result_has_hints_and_seed_for_the_page(
        self, service: Running, engine: StandIn
    ) -> None:
        """Sentences in both languages, beside the request that was really made."""
        engine.notes = {"unknown_tokens": 3}
        result = await service.service.synthesizer.synthesize(
            {"text": "hello"}, Caller("01K8ZQ3V7M1ABCDEFGHJKMNPQR", "page")
        )
        (hint,) = result.hints
        assert hint.code == "unknown_tokens"
        assert "3" in hint.text.en
        assert "3" in hint.text.zh
        assert result.seed == result.request.seed == engine.task.seed


class TestPresets:
    """GET, POST and DELETE /presets, and /tts with one."""

    async def test_a_preset_is_kept_used_and_forgotten(
        self, service: Running, engine: StandIn
    ) -> None:
        """Fields and both recordings; afterwards nothing of it is left."""
        fields = {"emotion_weight": 0.4, "temperature": 1.2, "seed": 7}
        answer = await keep(service, fields, reference=wav(), emotion_reference=wav(3.0, pitch=200))
        made = answer.json()
        assert answer.status_code == 201, made
        assert (made["id"], made["name"], made["description"]) == ("mine", "Mine", "for tests")
        assert made["fields"] == fields
        assert (await service.client.get("/presets")).json() == {"presets": [made]}
        assert (await service.client.get("/presets/mine")).json() == made
        spoken = await service.speak(preset="mine")
        task = engine.task
        assert (task.speaker, task.emotion_mode, task.emotion_weight, task.seed) == (
            "reference",
            "reference",
            0.4,
            7,
        )
        assert task.controls["temperature"] == 1.2
        assert Path(str(task.reference)).stem == made["recordings"]["reference"]
        line = await service.log.finished(spoken.headers["x-request-id"])
        assert (line["preset"], line["seed"]) == ("mine", 7)
        assert line["emotion_reference_hash"] == made["recordings"]["emotion_reference"]
        assert (await service.client.delete("/presets/mine")).status_code == 204
        assert kept_files(service) == set()
        refused(await service.speak(preset="mine"), 422, "unknown_preset")
        refused(await service.client.get("/presets/mine"), 404, "not_kept")
        refused(await service.client.delete("/presets/mine"), 404, "not_kept")

    async def test_what_is_asked_goes_first(self, service: Running, engine: StandIn) -> None:
        """An own emotion instead of the preset's, an own speaker instead of its recording."""
        await keep(service, {"emotion_vector": SAD, "top_k": 5}, reference=wav())
        await service.speak(preset="mine", emotion="happy", speaker="sample", top_k=6)
        task = engine.task
        assert (task.speaker, task.emotion_mode, task.emotion, task.emotion_vector) == (
            "sample",
            "preset",
            "happy",
            None,
        )
        assert task.controls["top_k"] == 6

    async def test_its_recording_may_be_named_as_in_a_request(
        self, service: Running, engine: StandIn
    ) -> None:
        """`speaker: "reference"` says what the recording says."""
        answer = await keep(service, {"speaker": "reference", "seed": 7}, reference=wav())
        assert answer.status_code == 201, answer.text
        assert answer.json()["fields"] == {"seed": 7}
        assert (await service.speak(preset="mine")).status_code == 200
        assert engine.task.speaker == "reference"
        refused(await keep(service, {"speaker": "reference"}, "b"), 422, "unknown_speaker")

    async def test_its_recording_outlives_the_speaker_of_the_same(
        self, service: Running, engine: StandIn
    ) -> None:
        """What somebody still refers to is not deleted with somebody else's speaker."""
        await make(service, recording=wav())
        made = (await keep(service, {}, reference=wav())).json()
        await service.client.delete("/speakers/anna")
        assert f"recordings/{made['recordings']['reference']}.wav" in kept_files(service)
        assert (await service.speak(preset="mine")).status_code == 200

    async def test_its_speaker_cannot_be_forgotten(self, service: Running, engine: StandIn) -> None:
        """The message names the presets that would break."""
        await make(service)
        await keep(service, {"speaker": "anna"})
        message = refused(await service.client.delete("/speakers/anna"), 422, "still_used")
        assert "mine" in message

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"text": "canary"}, "invalid_field"),
            ({"preset": "other"}, "invalid_field"),
            ({"stream": True}, "invalid_field"),
            ({"speaker": "nobody"}, "unknown_speaker"),
            ({"temperature": 9}, "invalid_field"),
            ({"emotion_vector": [0.1] * 7}, "invalid_field"),
            ({"canary": 1}, "unknown_field"),
            ([1], "invalid_field"),
            ("canary", "invalid_field"),
        ],
        ids=str,
    )
    async def test_a_preset_that_would_not_work_is_not_kept(
        self, fields: Any, code: str, service: Running, engine: StandIn
    ) -> None:
        """It is checked now, not when somebody needs it."""
        message = refused(await keep(service, fields), 422, code)
        assert "canary" not in message
        assert service.service.library.presets.all() == ()

    async def test_presets_work_with_any_engine(self, service: Running) -> None:
        """The drill has emotions by name, and so have its presets."""
        assert (await keep(service, {"emotion": "sad", "speed": 1.5})).status_code == 201
        answer = await service.speak(preset="mine")
        line = await service.log.finished(answer.headers["x-request-id"])
        assert (line["emotion"], line["speed"], line["preset"]) == ("sad", 1.5, "mine")
        await service.client.delete("/presets/mine")


class TestGlossary:
    """GET, PUT and DELETE /glossary, and /tts with it."""

    async def test_a_term_is_kept_used_and_forgotten(
        self, service: Running, engine: StandIn
    ) -> None:
        """The engine gets the terms of its text, unless the request switches them off."""
        readings = {"zh": "M 二", "en": "M dot two"}
        answer = await service.client.put("/glossary/M.2", json=readings)
        assert answer.json() == {"terms": {"M.2": readings}}
        await service.client.put("/glossary/TCP%2FIP", json={"en": "T C P I P"})
        assert set((await service.client.get("/glossary")).json()["terms"]) == {"M.2", "TCP/IP"}
        await service.speak(text="an m.2 disk")
        assert engine.task.glossary == {"M.2": readings}
        await service.speak(text="an m.2 disk", use_glossary=False)
        assert engine.task.glossary == {}
        assert (await service.client.delete("/glossary/TCP%2FIP")).status_code == 204
        refused(await service.client.delete("/glossary/TCP%2FIP"), 404, "not_kept")

    async def test_the_event_knows_what_was_read(self, service: Running, engine: StandIn) -> None:
        """A hash of the terms that were applied, whatever their order; none without a term."""

        async def hashed(text: str = "an API on M.2", **asked: Any) -> str | None:
            answer = await service.speak(text=text, **asked)
            line = await service.log.finished(answer.headers["x-request-id"])
            return line.get("glossary_hash")

        one, other = {"API": {"zh": "接口"}}, {"M.2": {"en": "M dot two"}}
        client = service.client
        assert await hashed() is None
        await client.put("/glossary", json=one | other)
        first = await hashed()
        assert len(first or "") == 32
        await client.put("/glossary", json=other | one)
        assert await hashed() == first
        assert await hashed("hello") is None
        assert await hashed(use_glossary=False) is None
        await client.put("/glossary/API", json={"zh": "应用接口"})
        assert await hashed() not in (None, first)
        assert "接口" not in service.log.text()

    async def test_the_whole_can_be_replaced(self, service: Running, engine: StandIn) -> None:
        """By an object of terms; what is none is refused."""
        terms = {"API": {"zh": "接口"}}
        assert (await service.client.put("/glossary", json=terms)).json() == {"terms": terms}
        for bad in ({"API": "x"}, {"API": {}}):
            refused(await service.client.put("/glossary", json=bad), 422, "invalid_field")
        refused(await service.client.put("/glossary", json=[1]), 400, "malformed_request")
        assert (await service.client.get("/glossary")).json() == {"terms": terms}

    async def test_an_engine_without_one_says_so(self, service: Running) -> None:
        """Terms that nobody would read are not taken; old ones can be deleted."""
        with offering(service, VERSION_25) as engine:
            service.service.library.glossary.put("API", {"zh": "接口"})
            answer = await service.client.put("/glossary/x", json={"zh": "艾克斯"})
            refused(answer, 422, "not_supported")
            await service.speak(text="an API")
            assert engine.task.glossary == {}
            assert (await service.client.delete("/glossary/API")).status_code == 204


class TestSegments:
    """POST /segments."""

    async def test_a_text_is_shown_as_it_will_be_cut(
        self, service: Running, engine: StandIn
    ) -> None:
        """With everything that it would be asked for with; what is null is absent."""
        answer = await service.client.post(
            "/segments", json={"text": "one three", "segment_tokens": 40, "seed": None}
        )
        assert answer.json() == {
            "segments": [{"text": "one", "tokens": 3}, {"text": "three", "tokens": 5}]
        }
        assert engine.task.controls["segment_tokens"] == 40

    async def test_the_presets_own_limit_counts(self, service: Running, engine: StandIn) -> None:
        """A request that names it would be cut so."""
        await keep(service, {"segment_tokens": 40}, reference=wav())
        answer = await service.client.post("/segments", json={"text": "a", "preset": "mine"})
        assert answer.status_code == 200, answer.text
        assert engine.task.controls["segment_tokens"] == 40

    @pytest.mark.parametrize(
        ("asked", "status"),
        [
            ({"bogus": 1}, 422),
            ({"preset": "nobody's"}, 422),
            ({"speaker": "nobody"}, 422),
            ({"emotion_vector": [2]}, 422),
            ({"emotion_mode": "text", "emotion_random": True}, 200),
            ({"emotion": None, "speed": None, "format": None}, 200),
        ],
        ids=str,
    )
    async def test_what_speech_refuses_is_refused_here(
        self, asked: dict[str, Any], status: int, service: Running, engine: StandIn
    ) -> None:
        """And what it takes is taken: a preview is of a request that can be made."""
        for path in ("/segments", "/tts"):
            answer = await service.client.post(path, json={"text": "hello", **asked})
            assert answer.status_code == status, (path, answer.text)

    async def test_what_cannot_be_cut(self, service: Running, engine: StandIn) -> None:
        """The same refusals as for speech, without an event: nothing was asked of the engine."""
        assert await asyncio.to_thread(drain, 5.0)
        before = len(service.log.lines("synthesis.finished"))
        for asked, code in (
            ({"text": ""}, "text_empty"),
            ({}, "invalid_field"),
            ({"text": "a" * 10_001}, "text_too_long"),
            ({"text": "a", "segment_tokens": 1}, "invalid_field"),
        ):
            refused(await service.client.post("/segments", json=asked), 422, code)
        assert await asyncio.to_thread(drain, 5.0)
        assert len(service.log.lines("synthesis.finished")) == before

    async def test_an_engine_that_cuts_nothing_says_so(self, service: Running) -> None:
        """There is nothing to show."""
        with offering(service, replace(VERSION_2, segments=False)):
            answer = await service.client.post("/segments", json={"text": "hello"})
            refused(answer, 422, "not_supported")


async def test_every_error_of_the_library_is_described() -> None:
    """Codes that clients may meet here have a class of their own."""
    assert {
        errors.NameTaken.code,
        errors.LibraryFull.code,
        errors.StillUsed.code,
        errors.NotKept.code,
        errors.KeepingForbidden.code,
        errors.NotSupported.code,
    } <= errors.codes()
