"""
Promises of the engine `sambert`: against contract servers and a contract double of the pipeline.

The model itself was never run: its packages are not to be had for a Python of today.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from contract_servers import serving
from hypothesis import given
from hypothesis import strategies as st

from indextts_app import engines
from indextts_app.engines.base import EngineUnfit
from indextts_app.engines.sambert.engine import SambertEngine
from indextts_app.engines.sambert.voices import CATEGORIES, emotions, has_emotions, ssml
from indextts_app.settings import Settings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]

Make = Callable[..., Settings]


ESCAPED = (
    '<speak><emotion category="fear" intensity="1.5">'
    "a&lt;b &amp; &apos;c&apos; &quot;d&quot;&gt;e</emotion></speak>"
)


@pytest.mark.parametrize(
    ("text", "emotion", "expected"),
    [
        ("今天真不错！", "neutral", "今天真不错！"),
        (
            "今天真不错！",
            "happy",
            '<speak><emotion category="happy" intensity="1.5">今天真不错！</emotion></speak>',
        ),
        ("a<b & 'c' \"d\">e", "afraid", ESCAPED),
        ("<speak>1</speak>", "neutral", "<speak>&lt;speak&gt;1&lt;/speak&gt;</speak>"),
    ],
)
def test_the_emotion_stands_around_the_text(text: str, emotion: str, expected: str) -> None:
    """In its own words for it; a neutral text that is no SSML stays as it is."""
    assert ssml(text, emotion, 1.5) == expected


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])), st.sampled_from([*CATEGORIES])
)
def test_no_text_can_break_out_of_its_emotion(text: str, emotion: str) -> None:
    """Whatever stands in it is read, and is no markup."""
    asked = ssml(text, emotion, 1.0)
    if asked != text:
        assert "".join(ET.fromstring(asked).itertext()) == text  # noqa: S314  # our own


@pytest.mark.parametrize(
    ("dialect", "audio_field"),
    [("sambert", "audio"), ("sambert_base64", "data.audio"), ("sambert_url", "audio")],
)
async def test_a_service_is_asked_in_its_own_words(
    tmp_path: Path, drill_settings: Make, running: Any, dialect: str, audio_field: str
) -> None:
    """Audio as it is, as base64 in JSON, or at an address of the same server."""
    with serving(dialect) as server:
        settings = drill_settings(
            tmp_path,
            engine="sambert",
            sambert_url=f"{server.root}/api/tts",
            sambert_text_field="text",
            sambert_voice_field="spk",
            sambert_audio_field=audio_field,
        )
        server.rate = 16_000
        async with running(settings) as service:
            offered = (await service.client.get("/speakers")).json()
            answer = await service.speak(
                text="今天天气很好呀。", emotion="surprised", intensity=0.5
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Audio-Verdict"] == "ok"
            finished = await service.log.finished(answer.headers["X-Request-ID"])
        path, headers, body = server.asked[-1]
    assert [one["id"] for one in offered["speakers"]] == ["zhiyan", "zhibei", "zhizhe", "zhitian"]
    assert path == "/api/tts"
    assert headers["x-request-id"] == answer.headers["X-Request-ID"]
    assert body == {
        "text": '<speak><emotion category="surprise" intensity="0.5">今天天气很好呀。'
        "</emotion></speak>",
        "spk": "zhiyan_emo",
    }
    assert (finished["speaker"], finished["emotion"]) == ("zhiyan", "surprised")
    assert (finished["controls"], finished["sample_rate"]) == ("intensity=0.5", 16_000)
    assert finished["stage_engine_http_ms"] > 0


@pytest.fixture(scope="module")
def service_url() -> Iterator[str]:
    with serving("sambert_base64") as server:
        yield f"{server.root}/api/tts"


def unfit(**options: Any) -> str:
    with pytest.raises(EngineUnfit) as refused:
        SambertEngine(timeout_seconds=2, **options).load()
    return str(refused.value)


def test_json_without_audio_is_told_with_the_setting_that_may_mend_it(service_url: str) -> None:
    """The field has another name, or it is an error."""
    message = unfit(url=service_url, audio_field="audio")
    assert message.startswith(f"the Sambert service at {service_url} (port open only): ")
    assert "no audio at 'audio'" in message
    assert "INDEXTTS_SAMBERT_AUDIO_FIELD" in message


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no_frames", "its audio has no samples."),
        ("error_body", "its JSON has no audio"),
        ("html", "it answered with text"),
        ("truncated", "cut short"),
        ("failing", "it failed (500)"),
    ],
)
def test_a_service_that_cannot_be_used_is_named_with_the_reason(fault: str, said: str) -> None:
    """A file of 44 bytes, which is what an empty text is answered with, is a failure as well."""
    with serving("sambert") as server:
        server.fault = fault
        assert said in unfit(url=server.root)
    message = unfit(url=server.root.replace("//", "//anna:can@ry@"))
    assert f"at {server.root} (port closed): nothing answers" in message


def test_an_address_elsewhere_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever answers could have this machine ask any other."""
    import json

    from indextts_app.engines.base import RemoteFailed
    from indextts_app.engines.sambert.service import SpeechService

    service = SpeechService(
        url="http://127.0.0.1:9/tts",
        text_field="text",
        voice_field="voice",
        audio_field="audio",
        timeout_seconds=1,
    )
    for address in ("http://127.0.0.1:10/a.wav", "https://127.0.0.1:9/a.wav", "http://metadata/"):
        with pytest.raises(RemoteFailed, match="on another server, which is not asked"):
            service._heard(json.dumps({"audio": address}).encode(), None)
    service.close()


# --- In the worker, on a contract double of modelscope.pipelines ---------------------------------


@pytest.fixture(scope="session")
def double_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This interpreter, in which `modelscope` is the double beside the others."""
    python = tmp_path_factory.mktemp("sambert") / "python"
    doubles = ROOT / "tests/doubles/sambert"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{doubles}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


async def test_the_pipelines_three_stages_are_timed(
    tmp_path: Path, drill_settings: Make, running: Any, double_pipeline: Path
) -> None:
    """The first request of a voice loads its weights, and says so; the next does not."""
    settings = drill_settings(tmp_path, engine="sambert", worker_python=double_pipeline)
    async with running(settings) as service:
        lines = []
        for _ in range(2):
            answer = await service.speak(
                text="今天很好。我们走吧。", speaker="zhibei", emotion="sad"
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Audio-Verdict"] == "ok"
            lines.append(await service.log.finished(answer.headers["X-Request-ID"]))
        empty = await service.speak(text="——1——", speaker="zhizhe")
        failed = await service.log.finished(empty.headers["X-Request-ID"])
    first, second = lines
    for line in lines:
        assert line["sample_rate"] == 16_000
        assert line["stage_text_prep_ms"] >= 1
        assert line["stage_acoustic_ms"] >= 8
        assert line["stage_vocoder_ms"] >= 4
        assert line["device"] == "local"
    assert first["cold_start"] is True
    assert first["model_load_ms"] >= 20
    assert "cold_start" not in second
    assert (empty.status_code, failed["error_type"]) == (503, "remote_bad_audio")


async def test_a_voice_without_emotions_says_so(
    tmp_path: Path, drill_settings: Make, running: Any, double_pipeline: Path
) -> None:
    """Each voice has its own set; what the front-end would pass over is refused."""
    settings = drill_settings(tmp_path, engine="sambert", worker_python=double_pipeline)
    async with running(settings) as service:
        refused = await service.speak(text="今天很好。", speaker="zhida", emotion="happy")
        plain = await service.speak(text="今天很好。", speaker="zhida")
        unknown = await service.speak(text="今天很好。", emotion="melancholic")
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_field")
    assert "the voice 'zhida' has no emotions" in refused.json()["message"]
    assert plain.status_code == 200
    assert unknown.json()["error"] == "unknown_emotion"


def test_a_service_may_leave_the_ending_of_a_name_out() -> None:
    """The four exist with emotions only; of others, the ending tells."""
    known = ("zhiyan", "zhibei", "zhizhe", "zhitian", "zhiyan_emo", "mine_emo")
    assert [voice for voice in (*known, "zhida", "zhiyuan") if has_emotions(voice)] == [*known]
    assert "happy" in emotions(("zhida", "zhibei"))
    assert emotions(("zhida",)) == ("neutral",)


def test_a_python_that_cannot_is_told_what_can() -> None:
    """The real modelscope refuses Python 3.11; here already for want of torch."""
    message = unfit()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert message.startswith(f"Sambert does not load under Python {version}: ")
    assert "INDEXTTS_WORKER_PYTHON" in message


def test_what_may_be_asked_is_known_beforehand() -> None:
    """No pace, as the model has none; the intensity with the emotion."""
    features = engines.features("sambert", {"url": ""})
    assert not features.speed
    assert [control.name for control in features.controls] == ["intensity"]


def test_the_worker_runs_under_the_oldest_python_that_modelscope_leaves() -> None:
    """3.10: what a worker imports must load there; skipped where there is none."""
    python = next(
        (path for path in Path("/usr/bin").glob("python3.10") if path.exists()), None
    ) or next(iter(Path.home().glob(".pyenv/versions/3.10.*/bin/python")), None)
    if python is None:
        pytest.skip("there is no Python 3.10 on this machine")
    script = (
        "import sys, types; sys.modules['numpy'] = n = types.ModuleType('numpy')\n"
        "n.typing = t = types.ModuleType('numpy.typing'); sys.modules['numpy.typing'] = t\n"
        "n.int16 = int; t.NDArray = list\n"
        "import indextts_app.engines.sambert.engine, indextts_app.workers.channel\n"
    )
    run = subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
