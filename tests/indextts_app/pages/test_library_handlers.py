"""Promises of what the page keeps: speakers, presets, the glossary."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from pydantic import SecretStr

from indextts_app.engines import features
from indextts_app.engines.base import EMOTIONS, Capabilities
from indextts_app.library import Library
from indextts_app.operators import COOKIE, Operators
from indextts_app.pages import asking
from indextts_app.pages.fields import Fields
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.pages.library_handlers import DECLINED, LibraryHandlers
from indextts_app.settings import Settings
from indextts_app.synthesizer import Synthesizer

CAN = features("indextts2", {"model_version": "2"})
ENGINE = Capabilities(
    engine="indextts2",
    engine_version="2",
    model_version="2",
    device="cpu",
    sample_rate=22_050,
    speakers=(),
    emotions=EMOTIONS,
    scripts=(),
    stages=("acoustic",),
    self_test_text="你好",
    features=CAN,
)
OPENED: dict[str, Any] = {
    "text": "今天天气很好。",
    "preset": "",
    "live": True,
    "reference": None,
    "emotion_reference": None,
    **asking.filled(CAN, {"speaker": "sample"}),
}


class Page:
    """The handlers of a page whose library is real, and what they did."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            _env_file=None, output_dir=folder / "outputs", speaker_dir=folder / "kept"
        )
        self.library = Library(self.settings)
        self.uploads = upload_folder(self.settings.output_dir)
        self.uploads.mkdir(parents=True)
        fields = Fields()
        for name in OPENED:
            fields.add(name, cast("Any", object()))
        self.handlers = LibraryHandlers(
            cast("Synthesizer", self), self.settings, CAN, fields, Operators(self.settings)
        )

    @property
    def capabilities(self) -> Capabilities:
        return replace(ENGINE, speakers=self.library.speakers.offered())

    def recording(self, hertz: float = 220.0) -> dict[str, str]:
        """An upload, as the browser describes it."""
        path = self.uploads / f"{hertz}.wav"
        soundfile.write(path, 0.3 * np.sin(np.arange(24_000) * 2 * np.pi * hertz / 24_000), 24_000)
        return {"path": str(path)}

    def kept(self) -> list[str]:
        """Every file of the library but the recordings."""
        return sorted(path.name for path in self.settings.speaker_dir.rglob("*.json"))


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """A page with an empty library."""
    return Page(tmp_path)


def visitor(host: str = "127.0.0.1", language: str = "en", **headers: str) -> Any:
    """A request of somebody at this address."""
    told = {"accept-language": language, "host": "localhost:7860", **headers}
    return SimpleNamespace(headers=told, client=SimpleNamespace(host=host))


def did(handler: Any, *values: object, by: Any = None) -> list[dict[str, Any]]:
    """The updates of a handler."""
    return list(asyncio.run(handler(by or visitor(), *values)))


def changes(updates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the updates change, the last of them aside, which tells of it."""
    return [
        {key: value for key, value in update.items() if key != "__type__"}
        for update in updates[:-1]
    ]


def fields(**filled: Any) -> list[Any]:
    """The values of all fields, as the browser sends them."""
    return list({**OPENED, **filled}.values())


def test_a_recording_becomes_a_speaker_and_goes_again(page: Page) -> None:
    """It is chosen at once, listed by its name, and gone when it is deleted."""
    voice = page.recording()
    speakers, source, name, told = did(page.handlers.save_speaker, "Ann <b>", voice)
    assert speakers["choices"][-1] == ("Ann <b>", "ann-b")
    assert (speakers["value"], source["value"], name["value"]) == ("ann-b", "stored", "")
    assert "Saved: Ann &lt;b&gt;" in told["value"]

    speakers, told = did(page.handlers.delete_speaker, "ann-b")
    assert [speaker for _, speaker in speakers["choices"]] == ["sample"]
    assert speakers["value"] == "sample"
    assert page.kept() == []


@pytest.mark.parametrize(
    ("name", "recording", "told"),
    [
        ("Ann", None, "Upload or record one"),
        ("", "voice", "1 to 60 characters"),
        (None, "voice", "1 to 60 characters"),
        ("Ann", {"path": "/etc/passwd"}, "cannot be used"),
        ("Ann", {"path": ["x"]}, "cannot be used"),
        ("Ann", "text", "cannot be used"),
    ],
)
def test_a_speaker_that_cannot_be_made_changes_nothing(
    page: Page, name: Any, recording: Any, told: str
) -> None:
    """The reason is told; the page stays as it is."""
    recording = page.recording() if recording == "voice" else recording
    updates = did(page.handlers.save_speaker, name, recording)
    assert changes(updates) == [{}, {}, {}]
    assert 'role="alert"' in updates[-1]["value"]
    assert told in updates[-1]["value"]
    assert page.kept() == []


def test_the_built_in_speaker_stays(page: Page) -> None:
    """It is told why, in the visitor's language."""
    updates = did(page.handlers.delete_speaker, "sample", by=visitor(language="zh-CN"))
    assert changes(updates) == [{}]
    assert "内置" in updates[-1]["value"]


def test_who_does_not_confirm_changes_nothing(page: Page) -> None:
    """A deletion that was declined is not even told."""
    assert all("value" not in update for update in did(page.handlers.delete_speaker, DECLINED))
    assert all("value" not in update for update in did(page.handlers.delete_preset, DECLINED))


@pytest.mark.parametrize("host", ["203.0.113.9", "", "testclient"])
def test_strangers_change_nothing_that_is_kept(page: Page, host: str) -> None:
    """Each handler that writes refuses other addresses, and names the setting."""
    stranger = visitor(host)
    did(page.handlers.save_preset, "Mine", "", *fields())
    did(page.handlers.add_term, "API", "接口", "")
    before = page.kept()
    for handler, values in (
        (page.handlers.save_speaker, ["Ann", page.recording()]),
        (page.handlers.delete_speaker, ["sample"]),
        (page.handlers.save_preset, ["Theirs", "", *fields()]),
        (page.handlers.delete_preset, ["mine"]),
        (page.handlers.add_term, ["GPU", "显卡", ""]),
        (page.handlers.delete_term, ["API"]),
    ):
        updates = did(handler, *values, by=stranger)
        assert not any(changes(updates))
        assert "INDEXTTS_OPERATIONS_ALLOW" in updates[-1]["value"]
    assert page.kept() == before
    assert list(page.library.glossary.all()) == ["API"]
    # Loading one changes nothing for others.
    assert "Loaded: Mine" in did(page.handlers.load_preset, "mine", by=stranger)[-1]["value"]


def test_a_preset_brings_back_every_field(page: Page) -> None:
    """Text aside, the page is as it was when the preset was saved, recordings included."""
    as_saved = {
        "voice": "recording",
        "reference": page.recording(200),
        "emotion_mode": "reference",
        "emotion_reference": page.recording(300),
        "emotion_weight": 0.4,
        "format": "mp3",
        "seed": "7",
        "control_temperature": 1.1,
        "control_use_glossary": False,
    }
    presets, name, description, told = did(
        page.handlers.save_preset, "News", "calm", *fields(**as_saved)
    )
    assert (presets["choices"], presets["value"]) == ([("News", "news")], "news")
    assert (name["value"], description["value"]) == ("", "")
    assert "Saved: News" in told["value"]

    *updates, told = did(page.handlers.load_preset, "news")
    loaded = {
        name: update["value"]
        for name, update in zip(OPENED, updates, strict=True)
        if "value" in update
    }
    files = {name: Path(loaded.pop(name)["path"]) for name in ("reference", "emotion_reference")}
    expected = {**OPENED, **as_saved, "preset": "news"}
    untouched = ("text", "live", "speaker", "reference", "emotion_reference")
    assert loaded == {name: expected[name] for name in expected if name not in untouched}
    assert files["reference"].read_bytes() != files["emotion_reference"].read_bytes()
    # Where Gradio serves them, and where a request may name them.
    assert {path.parent for path in files.values()} == {page.uploads}
    assert "Loaded: News" in told["value"]
    described = asyncio.run(page.handlers.describe_preset(visitor(), "news"))
    assert "<dt>Temperature</dt><dd>1.1</dd>" in described["value"]

    presets, used, told = did(page.handlers.delete_preset, "news")
    assert (presets["choices"], presets["value"], used["value"]) == ([], None, "")


def test_a_preset_without_recordings_takes_those_of_the_page_away(page: Page) -> None:
    """Nobody hears the voice of before under the name of a preset."""
    did(page.handlers.save_preset, "Plain", "", *fields())
    *updates, _told = did(page.handlers.load_preset, "plain")
    loaded = dict(zip(OPENED, updates, strict=True))
    assert loaded["reference"]["value"] is loaded["emotion_reference"]["value"] is None
    assert loaded["voice"]["value"] == "stored"


@pytest.mark.parametrize("chosen", ["gone", "../x", ["x"], 3])
def test_a_preset_that_is_not_there_is_told(page: Page, chosen: Any) -> None:
    """Whatever the browser sends in its place, no field changes."""
    updates = did(page.handlers.load_preset, chosen)
    assert not any(changes(updates))
    assert "no such preset" in updates[-1]["value"]
    assert asyncio.run(page.handlers.describe_preset(visitor(), chosen))["value"] == ""


def test_with_nothing_chosen_there_is_nothing_to_load(page: Page) -> None:
    """The visitor is told to choose first."""
    for handler in (page.handlers.load_preset, page.handlers.delete_preset):
        assert "Choose one first" in did(handler, None)[-1]["value"]


def test_a_preset_of_another_engine_says_what_is_lost(page: Page) -> None:
    """What this engine has is loaded; what it has not is named."""
    page.library.presets.add("Five", "", {"format": "ogg", "duration_factor": 1.2}, {})
    *updates, told = did(page.handlers.load_preset, "five")
    assert dict(zip(OPENED, updates, strict=True))["format"]["value"] == "ogg"
    assert "duration_factor" in told["value"]


def test_terms_come_and_go(page: Page) -> None:
    """The table and the list follow, whatever the term is made of."""
    table, terms, *empty, told = did(page.handlers.add_term, "<b>API", "接口", "")
    assert "&lt;b&gt;API" in table["value"]
    assert terms["choices"] == ["<b>API"]
    assert [update["value"] for update in empty] == ["", "", ""]
    assert "has the term now" in told["value"]
    table, terms, _told = did(page.handlers.delete_term, "<b>API")
    assert "no terms yet" in table["value"]
    assert terms["choices"] == []


@pytest.mark.parametrize(("term", "chinese"), [("", "x"), ("API", ""), ("API", "a\\b"), (3, "x")])
def test_a_term_that_does_not_fit_changes_nothing(page: Page, term: Any, chinese: Any) -> None:
    """It is told what would fit."""
    updates = did(page.handlers.add_term, term, chinese, None)
    assert not any(changes(updates))
    assert "1 to 100 characters" in updates[-1]["value"]


def test_speakers_are_offered_in_the_visitors_language(page: Page) -> None:
    """The built-in one has a name in each."""
    speakers, *_ = did(
        page.handlers.save_speaker, "安", page.recording(), by=visitor(language="zh")
    )
    assert [name for name, _ in speakers["choices"]] == ["示例（合成音）", "安"]


def test_another_sites_page_changes_nothing(page: Page) -> None:
    """Its request comes from the operator's own browser, and says where it was made."""
    foreign = [
        visitor(**{"sec-fetch-site": "cross-site"}),
        visitor(origin="https://evil.example"),
        visitor(origin="null"),
    ]
    for by in foreign:
        *_, told = did(page.handlers.add_term, "API", "接口", "", by=by)
        assert "Another site" in told["value"]
    assert page.library.glossary.all() == {}
    *_, told = did(
        page.handlers.add_term, "API", "接口", "", by=visitor(origin="http://localhost:7860")
    )
    assert "API" in page.library.glossary.all()


def test_with_a_password_operators_log_in_first(page: Page) -> None:
    """The session of the operations page is good for this one, and the address is not enough."""
    page.handlers._operators = operators = Operators(
        page.settings.model_copy(update={"operations_password": SecretStr("password 1")})
    )
    *_, told = did(page.handlers.add_term, "API", "接口", "")
    assert "/operations" in told["value"]
    token = operators.login("127.0.0.1", "operator", "password 1")
    did(page.handlers.add_term, "API", "接口", "", by=visitor(cookie=f"{COOKIE}={token}"))
    assert "API" in page.library.glossary.all()


@pytest.mark.parametrize(("language", "told"), [("en", "Give it a name"), ("zh", "请取一个名称")])
def test_an_empty_name_is_asked_for_in_the_words_of_the_page(
    language: str, told: str, page: Page
) -> None:
    """Neither the field's name nor that of the API is known to who looks at the page."""
    answer = did(page.handlers.save_speaker, " ", page.recording(), by=visitor(language=language))
    assert told in answer[-1]["value"]
    assert "'name'" not in answer[-1]["value"]


def test_only_what_can_be_deleted_is_offered_for_it(page: Page) -> None:
    """The built-in speaker stays, whoever asks."""
    offered = {
        chosen: asyncio.run(page.handlers.offer_deletion(chosen))["interactive"]
        for chosen in ("sample", "anna", None)
    }
    assert offered == {"sample": False, "anna": True, None: False}
