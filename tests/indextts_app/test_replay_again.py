"""Promises of a replay by the service: the same fields, and only with the same text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indextts_app.replay import NotReplayable, again, is_same
from observability.text_facts import facts_of

KEY = b"k" * 32
TEXT = "今天天气很好。\n我们去公园。"
KNOWN: dict[str, Any] = {
    "request_id": "01K8ZQ3V7M1ABCDEFGHJKMNPQR",
    "speaker": "steady",
    "emotion_mode": "speaker",
    "format": "mp3",
    "text_len": len(TEXT),
    "text_hash": facts_of(TEXT, KEY).text_hash,
}


def asked(folder: Path, text: str = TEXT, emotion_text: str = "", **known: Any) -> Any:
    """The fields of the replay of a request with these fields."""
    return again(
        {**KNOWN, **known}, text, hash_key=KEY, output_dir=folder, emotion_text=emotion_text
    )


def test_the_same_is_asked_again(tmp_path: Path) -> None:
    """Every field of the request, typed as JSON has them."""
    replay = asked(
        tmp_path,
        emotion_mode="vector",
        emotion_vector="0,0,0.8,0,0,0,0,0",
        emotion_weight=0.5,
        seed=7,
        speed=1.25,
        controls="top_k=30 temperature=0.7 do_sample=false language=zh",
    )
    assert dict(replay.asked) == {
        "text": TEXT,
        "speaker": "steady",
        "format": "mp3",
        "emotion_vector": [0.0, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0],
        "emotion_weight": 0.5,
        "seed": 7,
        "speed": 1.25,
        "top_k": 30,
        "temperature": 0.7,
        "do_sample": False,
        "language": "zh",
    }
    assert replay.recordings == {}


@pytest.mark.parametrize("typed", [TEXT, f" {TEXT}\n", TEXT.replace("\n", "\r\n")])
def test_white_space_around_a_text_is_forgiven(typed: str, tmp_path: Path) -> None:
    """People copy line ends and blanks along; what is asked is the text itself."""
    assert asked(tmp_path, typed).asked["text"] == TEXT


@pytest.mark.parametrize("typed", ["", "今天天气很好", TEXT[:-1], f"{TEXT}!", "\ud800"])
def test_another_text_is_refused(typed: str, tmp_path: Path) -> None:
    """By its hash; the answer says lengths only and never repeats a text."""
    with pytest.raises(NotReplayable) as refusal:
        asked(tmp_path, typed)
    assert f"it had {len(TEXT)} characters" in refusal.value.message.en
    assert f"原文 {len(TEXT)} 字" in refusal.value.message.zh
    assert "天气" not in str(refusal.value)


def test_what_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    """No hash, or a request that was refused before its fields were known."""
    with pytest.raises(NotReplayable, match="no hash"):
        again({"speaker": "a", "format": "wav"}, TEXT, hash_key=KEY, output_dir=tmp_path)
    with pytest.raises(NotReplayable, match="refused before"):
        again({"text_hash": "x"}, TEXT, hash_key=KEY, output_dir=tmp_path)


def test_a_described_emotion_has_to_be_given_again(tmp_path: Path) -> None:
    """Only its length is known; without one of its own the text is read."""
    known = {"emotion_mode": "text", "emotion_text_len": 4}
    assert asked(tmp_path, emotion_text="有点难过", **known).asked["emotion_text"] == "有点难过"
    with pytest.raises(NotReplayable, match="in 4 characters"):
        asked(tmp_path, **known)
    assert asked(tmp_path, emotion_mode="text").asked["emotion_mode"] == "text"


def test_recordings_are_taken_from_where_they_lie(tmp_path: Path) -> None:
    """By their hash, until they are swept."""
    known = {"speaker": "reference", "reference_hash": "ab" * 32}
    with pytest.raises(NotReplayable, match=r"\(reference\) has been deleted"):
        asked(tmp_path, **known)
    path = tmp_path / "references" / f"{'ab' * 32}.wav"
    path.parent.mkdir()
    path.touch()
    replay = asked(tmp_path, **known)
    assert replay.recordings["reference"].path == path
    assert "speaker" not in replay.asked


@pytest.mark.parametrize(
    ("seconds", "rms_dbfs", "same"),
    [(3.0, -20.0, True), (3.1, -20.9, True), (3.3, -20.0, False), (3.0, -22.0, False)],
)
def test_two_results_are_compared(seconds: float, rms_dbfs: float, same: bool) -> None:
    """As long and as loud; nothing to compare with is not the same as different."""
    assert is_same({"audio_seconds": 3.0, "rms_dbfs": -20.0}, seconds, rms_dbfs) is same
    assert is_same({}, seconds, rms_dbfs) is None
