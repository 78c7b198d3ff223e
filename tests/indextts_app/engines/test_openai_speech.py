"""
Promises of the engine `openai_speech`, against contract servers: no model ever ran behind them.

Each through the whole service, because what counts is what a client is told and the log says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contract_servers import SpeechServer, serving

from indextts_app import engines
from indextts_app.engines.base import EngineUnfit
from indextts_app.engines.openai_speech.dialects import DIALECTS
from indextts_app.engines.openai_speech.engine import SELF_TEST_TEXT, OpenAISpeechEngine
from indextts_app.engines.openai_speech.voices import MAX_VOICES, voices_in
from indextts_app.settings import Settings

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

PREFIX = {"index_tts_vllm": ""}
"""Of the base URL; all others have /v1."""


def base_url(server: SpeechServer) -> str:
    return server.root + PREFIX.get(server.dialect, "/v1")


@asynccontextmanager
async def asking(
    server: SpeechServer, folder: Path, drill_settings: Any, running: Any, **changes: Any
) -> AsyncIterator[Running]:
    settings = drill_settings(
        folder,
        engine="openai_speech",
        speech_url=base_url(server),
        speech_dialect=server.dialect,
        **{"remote_timeout_seconds": 1, **changes},
    )
    async with running(settings) as service:
        server.asked.clear()
        yield service


@pytest.fixture(scope="module")
def server() -> Iterator[SpeechServer]:
    with serving("kokoro") as server:
        yield server


@pytest.fixture(scope="module")
async def shared(
    server: SpeechServer,
    tmp_path_factory: pytest.TempPathFactory,
    drill_settings: Callable[..., Settings],
    running: Callable[[Settings], Any],
) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("remote")
    async with asking(server, folder, drill_settings, running) as service:
        yield service


@pytest.fixture
def faulty(server: SpeechServer) -> Iterator[Callable[[str], None]]:
    """`faulty("html")`: what the server answers from now on, until the test ends."""

    def set_fault(name: str) -> None:
        server.fault = name

    yield set_fault
    server.fault = None


SAID = "The speech server behind this service did not deliver: "

FAULTS = {
    # fault: status, code, what the client is told
    "error_body": (503, "remote_bad_audio", "it answered with text"),
    "html": (503, "remote_bad_audio", "it answered with text"),
    "headerless": (503, "remote_bad_audio", "its answer is no audio file."),
    "truncated": (503, "remote_bad_audio", "its WAV was cut short: 50% of the samples are there."),
    "no_frames": (503, "remote_bad_audio", "its audio has no samples."),
    "no_content": (503, "remote_bad_audio", "it answered with status 204 instead"),
    "packed": (503, "remote_bad_audio", "its answer is not packed as it says"),
    "nothing": (503, "remote_bad_audio", "it sent nothing at all."),
    "endless": (503, "remote_bad_audio", "2400 s of audio cannot be 10 characters."),
    "busy": (503, "remote_busy", "it is busy or still loading (429)."),
    "loading": (503, "remote_busy", "it is busy or still loading (503)."),
    "failing": (503, "remote_error", "it failed (500)."),
    "refusing": (503, "remote_refused", "it refuses the request (422)"),
    "forbidding": (503, "remote_refused", "it refuses the API key (401)."),
    "moved": (503, "remote_refused", "it points to another address (307)"),
    "reset": (503, "remote_unreachable", "the connection broke before the answer was whole."),
    "hanging": (504, "remote_timeout", "its answer was not whole within 1 s."),
    "slow": (504, "remote_timeout", "its answer was not whole within 1 s."),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_and_has_its_one_event(
    shared: Running, faulty: Callable[[str], None], fault: str
) -> None:
    """What the server did, in words; never its own, which may quote the text or a key."""
    status, code, said = FAULTS[fault]
    faulty(fault)
    answer = await shared.speak(text="XYZZYtext1")
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, code)
    assert body["message"].startswith(SAID + said)
    _, finished = await shared.log.pair(body["request_id"])
    assert finished["status"] == ("timeout" if status == 504 else "failed")
    assert finished["error_type"] == code
    assert finished["error_stage"] == "engine_http"
    assert finished["stage_engine_http_ms"] > 0
    assert "XYZZY" not in shared.log.text()
    assert "sk-secret" not in shared.log.text()


async def test_a_busy_server_says_when_to_come_back(
    shared: Running, faulty: Callable[[str], None]
) -> None:
    """Its own Retry-After is passed on, and a guess where it has none."""
    faulty("busy")
    assert (await shared.speak()).headers["Retry-After"] == "17"
    faulty("loading")
    assert (await shared.speak()).headers["Retry-After"] == "5"


async def test_the_answer_is_the_servers_audio_and_its_time_one_stage(
    shared: Running, server: SpeechServer
) -> None:
    """Asked for a whole WAV, under our request_id and trace; its parts are timed as well."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await shared.speak(
        {"traceparent": trace}, text="good morning", speaker="zf_xiaobei", speed=1.5
    )
    assert answer.status_code == 200
    assert float(answer.headers["X-Audio-Seconds"]) == pytest.approx(12 * 0.2)
    request_id = answer.headers["X-Request-ID"]
    path, headers, body = server.asked[-1]
    assert path == "/v1/audio/speech"
    assert headers["x-request-id"] == request_id
    assert headers["traceparent"] == trace
    assert body == {
        "model": "kokoro",
        "input": "good morning",
        "voice": "zf_xiaobei",
        "response_format": "wav",
        "speed": 1.5,
        "stream": False,
    }
    _, finished = await shared.log.pair(request_id)
    assert (finished["status"], finished["device"]) == ("success", "remote")
    assert finished["sample_rate"] == 24_000
    parts = [finished[f"engine_http_{name}_ms"] for name in ("connect", "first_byte", "download")]
    assert min(parts) >= 0
    assert 0 < sum(parts) <= finished["stage_engine_http_ms"] + 0.01


@pytest.mark.parametrize("fault", ["open_ended", "stereo"])
async def test_another_kind_of_wav_is_no_fault(
    shared: Running, faulty: Callable[[str], None], fault: str
) -> None:
    """Of open sizes, as a stream has, or in two channels."""
    faulty(fault)
    answer = await shared.speak(text="good morning")
    assert answer.headers["X-Audio-Verdict"] == "ok"
    assert float(answer.headers["X-Audio-Seconds"]) == pytest.approx(12 * 0.2)


async def test_another_rate_than_before_is_told_as_the_wrong_format(
    shared: Running, faulty: Callable[[str], None]
) -> None:
    """It can be heard, so that it is delivered, and is not what was promised."""
    faulty("wrong_rate")
    answer = await shared.speak()
    assert (answer.status_code, answer.headers["X-Audio-Verdict"]) == (200, "wrong_format")


async def test_a_client_that_leaves_ends_the_call(
    shared: Running, server: SpeechServer, faulty: Callable[[str], None], until: Until
) -> None:
    """The connection is closed at once, so that the server can stop as well."""
    faulty("hanging")
    server.left.clear()
    asked = len(server.asked)
    work = asyncio.create_task(shared.speak(text="never mind"))
    await until(lambda: len(server.asked) > asked)
    work.cancel()
    await until(server.left.is_set)
    await until(lambda: shared.log.lines("synthesis.finished", text_len=10, status="cancelled"))


async def test_a_long_text_is_asked_for_in_pieces(shared: Running, server: SpeechServer) -> None:
    """Servers have limits of their own, and their time is one stage all the same."""
    asked = len(server.asked)
    answer = await shared.speak(text="One two three four. " * 30)
    assert answer.headers["X-Audio-Verdict"] == "ok"
    bodies = [body["input"] for _, _, body in server.asked[asked:]]
    assert "".join(bodies) == "One two three four. " * 30
    finished = await shared.log.finished(answer.headers["X-Request-ID"])
    assert finished["segments"] == len(bodies) == 3
    assert finished["engine_http_first_byte_ms"] <= finished["stage_engine_http_ms"]


BODIES: dict[str, dict[str, object]] = {
    "openai": {"voice": "alloy", "instructions": "Speak in a sad tone of voice.", "speed": 1.0},
    "emotivoice": {"voice": "8051", "prompt": "悲伤", "speed": 1.0},
    "vllm_omni": {
        "voice": "vivian",
        "instructions": "Speak in a sad tone of voice.",
        "stream": False,
        "speed": 1.0,
    },
    "kokoro": {"voice": "zf_xiaobei", "stream": False, "speed": 1.0},
    "index_tts_vllm": {"voice": "jay_promptvn"},
    "speaches": {"voice": "af_heart", "stream_format": "audio", "speed": 1.0},
}


@pytest.mark.parametrize("name", DIALECTS)
def test_each_server_is_asked_in_its_dialect(name: str) -> None:
    """Its prefix, its list of voices, its field for the emotion, and never for a stream."""
    dialect = DIALECTS[name]
    with serving(name) as server:
        engine = OpenAISpeechEngine(url=base_url(server), dialect=name, timeout_seconds=5)
        can = engine.load()
        emotion = "sad" if dialect.emotion_field else "neutral"
        asked = engine._body("hi", can.speakers[0].id, emotion, 1.0)
        assert server.asked[-1][0] == PREFIX.get(name, "/v1") + "/audio/speech"
        assert server.asked[-1][2]["input"] == SELF_TEST_TEXT
        engine.close()
    expected = {"model": dialect.model, "input": "hi", "response_format": "wav", **BODIES[name]}
    assert asked == expected
    assert can.emotions[0] == "neutral"
    assert ("sad" in can.emotions) == (emotion == "sad")
    assert can.features == engines.features("openai_speech", {"dialect": name})
    assert can.sample_rate == 24_000


def test_a_headerless_server_is_asked_for_samples_of_a_known_rate() -> None:
    """Where the format is set to pcm."""
    with serving("openai") as server:
        engine = OpenAISpeechEngine(url=base_url(server), format="pcm", rate=22_050)
        assert engine.load().sample_rate == 22_050
        assert server.asked[-1][2]["response_format"] == "pcm"
        engine.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["a", "b", "a", ""], ("a", "b")),
        (
            [{"id": "1", "name": "One"}, {"name": "Two"}, {"filename": "three.wav"}],
            ("1", "Two", "three.wav"),
        ),
        ({"voices": [{"voice_id": "v"}], "uploaded_voices": [{"name": "mine"}]}, ("v", "mine")),
        ({"data": [{"id": "d", "name": "D"}]}, ("d",)),
        ({"jay": ["a.wav"], "may": []}, ("jay", "may")),
        ({"status": "ok", "voices": ["x.wav"]}, ("x.wav",)),
        ([1, None, {"id": 3}, "no\nline", "x" * 101], ()),
        ("text", ()),
        ([str(number) for number in range(2_000)], tuple(map(str, range(MAX_VOICES)))),
    ],
)
def test_a_list_of_voices_is_read_in_any_known_shape(answer: object, expected: Any) -> None:
    """Each voice once, in the order of the list, and nothing that is no name."""
    assert voices_in(answer) == expected


def unfit(**options: Any) -> str:
    with pytest.raises(EngineUnfit) as refused:
        OpenAISpeechEngine(timeout_seconds=1, **options).load()
    return str(refused.value)


def test_a_server_that_cannot_be_used_is_named_with_the_reason() -> None:
    """At the start, where the operator looks: what was seen of it, and what to do."""
    assert unfit() == "set INDEXTTS_SPEECH_URL to the base URL of the speech server"
    with serving("kokoro") as server:
        url = base_url(server)
        server.fault = "loading"
        assert unfit(url=url, dialect="kokoro") == (
            f"the speech server at {url}/ ({server.root}/health answers): "
            "it is busy or still loading (503)."
        )
        server.voices = {"voices": []}
        assert "set INDEXTTS_SPEECH_VOICES" in unfit(url=url, dialect="kokoro")
        assert "port open only" in unfit(url=url, dialect="emotivoice")
    # What stands in the address is told to nobody who asks for the service's health.
    assert unfit(url=url.replace("//", "//anna:can@ry@"), dialect="kokoro") == (
        f"the speech server at {url}/ (port closed): nothing answers at its address; "
        "it may not be running."
    )


async def test_a_server_that_goes_down_is_told_until_it_is_back(
    tmp_path: Path, drill_settings: Callable[..., Settings], running: Callable[[Settings], Any]
) -> None:
    """Each request fails with what is known, and the service itself says that it is not well."""
    with serving("kokoro") as server:
        async with asking(server, tmp_path, drill_settings, running) as service:
            server.go_down()
            for _ in range(3):
                answer = await service.speak()
                assert (answer.status_code, answer.json()["error"]) == (503, "remote_unreachable")
            health = await service.client.get("/health")
            assert health.status_code == 503


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("from_file", [False, True])
async def test_the_key_goes_to_the_server_and_nowhere_else(
    tmp_path: Path,
    drill_settings: Callable[..., Settings],
    running: Callable[[Settings], Any],
    from_file: bool,
) -> None:
    """Neither the command line of the worker nor the log has it."""
    key = "sk-1234567890abcdef"
    (tmp_path / "key").write_text(f"{key}\n")
    given = {"speech_api_key_file": tmp_path / "key"} if from_file else {"speech_api_key": key}
    with serving("openai") as server:
        async with asking(server, tmp_path, drill_settings, running, **given) as service:
            assert (await service.speak()).status_code == 200
            (pid,) = service.service.pool.pids().values()
            assert key not in command_line(pid)
            assert key not in repr(service.service.settings)
        assert server.asked[-1][1]["authorization"] == f"Bearer {key}"
    assert key not in "".join(path.read_text() for path in (tmp_path / "logs").glob("*.jsonl"))
