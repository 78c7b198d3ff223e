"""Promises of the command that asks for the same again."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import pytest

from indextts_app import replay

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"
KNOWN = {"request_id": ID, "speaker": "anna", "emotion_mode": "speaker", "format": "wav"}
HASH, OTHER = "1" * 64, "2" * 64


def fields(**known: Any) -> dict[str, str]:
    """The form that the command sends."""
    words = shlex.split(replay.command({**KNOWN, **known}) or "")
    sent = [word for flag, word in itertools.pairwise(words) if flag == "-F"]
    assert words[-2:] == ["-o", f"{ID}-again.wav"]
    return dict(word.split("=", 1) for word in sent)


@pytest.mark.parametrize(
    ("known", "sent"),
    [
        ({}, {}),
        ({"seed": 0, "speed": 1.0}, {"seed": "0"}),
        ({"speed": 1.5}, {"speed": "1.5"}),
        ({"controls": "do_sample=false top_k=5"}, {"do_sample": "false", "top_k": "5"}),
        (
            {"emotion_mode": "preset", "emotion": "sad", "emotion_weight": 0.65},
            {"emotion": "sad", "emotion_weight": "0.65"},
        ),
        (
            {"emotion_mode": "vector", "emotion_vector": "0,0,0.8,0,0,0,0,0"},
            {"emotion_vector": "[0,0,0.8,0,0,0,0,0]"},
        ),
        ({"emotion_mode": "text", "emotion_text_len": 7}, {"emotion_text": "THE_EMOTION"}),
        ({"emotion_mode": "text"}, {"emotion_mode": "text"}),
        (
            {"emotion_mode": "reference", "emotion_reference_hash": OTHER},
            {"emotion_reference": f"@OUTPUT_DIR/references/{OTHER}.wav"},
        ),
        # A stored speaker has a recording as well, and its id says which.
        ({"reference_hash": HASH}, {}),
        # An engine that only takes pitch and pace from it needs both.
        (
            {"reference_hash": HASH, "reference_truncated": False},
            {"reference": f"@OUTPUT_DIR/references/{HASH}.wav"},
        ),
    ],
    ids=str,
)
def test_what_was_asked_is_asked_again(known: dict[str, Any], sent: dict[str, str]) -> None:
    """Each field of the event becomes one of the form; nothing else is sent."""
    expected = {"text": "THE_TEXT", "speaker": "anna", "format": "wav", **sent}
    assert fields(**known) == expected


def test_a_recorded_voice_has_no_speaker() -> None:
    """Both would be refused."""
    sent = fields(speaker="reference", reference_hash=HASH, reference_truncated=False)
    assert "speaker" not in sent
    assert sent["reference"].endswith(f"{HASH}.wav")


def test_what_never_came_so_far_cannot_be_asked_again() -> None:
    """A request that was refused at the door has no speaker in its event."""
    assert replay.command({"request_id": ID, "text_len": 3}) is None


def test_nothing_in_it_is_for_the_shell() -> None:
    """Whatever an engine or an operator called things."""
    command = replay.command({**KNOWN, "speaker": "a; rm -rf ~ $(id)"}) or ""
    assert "speaker=a; rm -rf ~ $(id)" in shlex.split(command)


def test_a_request_with_a_key_needs_one_again() -> None:
    """The shell takes it from where the scripts do, so that no history keeps it."""
    command = replay.command({**KNOWN, "user": "shop"}) or ""
    assert '-H "Authorization: Bearer $INDEXTTS_API_KEY"' in command
    assert "Authorization" not in (replay.command(KNOWN) or "")


def test_it_asks_the_service_that_was_asked() -> None:
    """Where its instance listens, if its name tells that, and where one does by default."""
    for instance, address in (
        ("10.0.0.7:9000", "10.0.0.7:9000"),
        ("[::1]:7860", "[::1]:7860"),
        ("a-name", replay.ADDRESS),
    ):
        words = shlex.split(replay.command({**KNOWN, "instance": instance}) or "")
        assert words[:2] == ["curl", f"http://{address}/tts"]
