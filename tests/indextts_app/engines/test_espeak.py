"""What the espeak engine promises, heard from the real library."""

from __future__ import annotations

import subprocess
import sys
import time
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from indextts_app.engines import espeak
from indextts_app.engines.base import (
    EMOTIONS,
    Cancelled,
    Capabilities,
    EngineUnfit,
    ReferenceUnusable,
    Samples,
    Task,
)
from indextts_app.engines.chinese_text import respell
from indextts_app.engines.espeak import EspeakEngine
from indextts_app.engines.espeak_library import Library
from indextts_app.engines.reference_prosody import measure
from observability.canary import EXACT_SPEAKERS

ZH = "今天天气很好，我们一起去公园散步吧。"
EN = "The weather is fine today, let us take a walk in the park."
MIXED = "我们用Gradio和TTS做一个demo。"
DEBIAN = Path("/usr/lib/x86_64-linux-gnu/libespeak-ng.so.1")


class Recorder:
    """A job that remembers everything the engine did with it."""

    def __init__(self, task: Task, cancel_after: int | None = None) -> None:
        self.task = task
        self.cancel_after = cancel_after
        self.chunks: list[Samples] = []
        self.first_audio = 0.0
        self.wall = 0.0
        self.stages: Counter[str] = Counter()
        self.notes: dict[str, float | str] = {}
        self.said = ""
        self.shown: list[str] = []
        self.hand_over_seconds = 0.0
        self.started = time.perf_counter()

    @property
    def cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.chunks) >= self.cancel_after

    def check_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.entered(name)
        start = time.perf_counter()
        yield
        self.spent(name, time.perf_counter() - start)

    def entered(self, name: str) -> None:
        self.shown.append(name)

    def spent(self, name: str, seconds: float) -> None:
        self.stages[name] += seconds  # type: ignore[assignment]

    def note(self, **fields: float | str) -> None:
        self.notes.update(fields)

    def spoken(self, text: str) -> None:
        self.said = text

    def audio(self, samples: Samples) -> None:
        self.first_audio = self.first_audio or time.perf_counter() - self.started
        self.chunks.append(samples)
        if self.hand_over_seconds:
            time.sleep(self.hand_over_seconds)

    @property
    def samples(self) -> Samples:
        return np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.int16)

    @property
    def seconds(self) -> float:
        return len(self.samples) / 22050

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean((self.samples / 32768.0) ** 2)))

    @property
    def f0_hz(self) -> float:
        found = measure(self.samples, 22050).f0_hz
        assert found is not None
        return found


class Voice:
    """A loaded engine that speaks on request."""

    def __init__(self) -> None:
        self.engine = EspeakEngine()
        self.can: Capabilities = self.engine.load()

    def job(
        self,
        text: str = ZH,
        speaker: str = "espeak-f2",
        emotion: str = "neutral",
        speed: float = 1.0,
        reference: Path | None = None,
        cancel_after: int | None = None,
    ) -> Recorder:
        path = None if reference is None else str(reference)
        return Recorder(Task("test", text, speaker, emotion, speed, path), cancel_after)

    def run(self, job: Recorder) -> Recorder:
        job.started = time.perf_counter()
        self.engine.synthesize(job)
        job.wall = time.perf_counter() - job.started
        return job

    def say(
        self,
        text: str = ZH,
        speaker: str = "espeak-f2",
        emotion: str = "neutral",
        speed: float = 1.0,
        reference: Path | None = None,
    ) -> Recorder:
        return self.run(self.job(text, speaker, emotion, speed, reference))


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice()


def write_reference(path: Path, samples: Samples) -> Path:
    """As the service makes it: 24 kHz, mono, 16 bits."""
    count = len(samples) * 24_000 // 22_050
    at = np.arange(count) * 22_050 / 24_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(np.interp(at, np.arange(len(samples)), samples).astype("<i2").tobytes())
    return path


def test_it_says_what_it_can_do(voice: Voice) -> None:
    """A pleasant default speaker first, all emotions, and notes that promise no more than is."""
    can = voice.can
    assert can.engine == "espeak"
    assert can.engine_version.startswith("1.52")
    assert can.sample_rate == 22050
    assert can.speakers[0].id == "espeak-f2"
    assert can.emotions == EMOTIONS
    assert can.reference == "pitch_and_pace"
    assert set(can.notes) == {"speaker", "emotion", "reference"}
    assert voice.say(can.self_test_text).rms > 0.03


@pytest.mark.parametrize("text", [ZH, EN, MIXED])
def test_it_speaks_chinese_english_and_both(voice: Voice, text: str) -> None:
    """Every language gives a sound of speaking length, loud enough and hardly ever clipped."""
    job = voice.say(text)
    assert 1.5 < job.seconds < 8.0
    assert 0.03 < job.rms < 0.3
    assert np.mean(np.abs(job.samples.astype(int)) > 32_700) < 1e-3


@pytest.mark.parametrize("text", [ZH, EN])
@pytest.mark.parametrize("speed", [0.5, 0.75, 1.5, 2.0])
def test_speed_scales_the_duration(voice: Voice, text: str, speed: float) -> None:
    """Twice the speed is half as long, within what pauses and rounding leave."""
    neutral = voice.say(text).seconds
    assert voice.say(text, speed=speed).seconds * speed == pytest.approx(neutral, rel=0.09)


def test_speakers_differ_as_their_names_promise(voice: Voice) -> None:
    """Every speaker speaks; the female ones are well above the male ones."""
    f0 = {speaker.id: voice.say(speaker=speaker.id).f0_hz for speaker in voice.can.speakers}
    female = [hz for id_, hz in f0.items() if "-f" in id_ or id_.endswith(("annie", "belinda"))]
    male = [hz for id_, hz in f0.items() if "-m" in id_ or id_.endswith("adam")]
    assert len(female) == 6
    assert len(male) == 5
    assert min(female) > 1.5 * max(male)


def test_emotions_change_pitch_pace_and_loudness(voice: Voice) -> None:
    """Each preset goes where it should against neutral, for a male speaker too."""
    for speaker in ("espeak-f2", "espeak-m3"):
        said = {emotion: voice.say(speaker=speaker, emotion=emotion) for emotion in EMOTIONS}
        neutral = said["neutral"]
        for high in ("happy", "afraid", "surprised"):
            assert said[high].f0_hz > 1.08 * neutral.f0_hz
        for low in ("angry", "sad", "disgusted", "melancholic", "calm"):
            assert said[low].f0_hz < 0.99 * neutral.f0_hz
        for fast in ("happy", "angry", "afraid", "surprised"):
            assert said[fast].seconds < 0.97 * neutral.seconds
        for slow in ("sad", "disgusted", "melancholic", "calm"):
            assert said[slow].seconds > 1.05 * neutral.seconds
        assert said["sad"].rms < 0.9 * neutral.rms


def test_nothing_of_a_request_is_left_for_the_next(voice: Voice, tmp_path: Path) -> None:
    """Neutral sounds the same before and after a loud, fast, high request with a reference."""
    before = voice.say()
    reference = write_reference(tmp_path / "r.wav", voice.say(speaker="espeak-m8").samples)
    voice.say(EN, "espeak-belinda", "surprised", 2.0, reference)
    after = voice.say()
    assert after.seconds == pytest.approx(before.seconds, rel=0.01)
    assert after.f0_hz == pytest.approx(before.f0_hz, rel=0.02)
    assert after.rms == pytest.approx(before.rms, rel=0.05)


@pytest.mark.parametrize(("engine", "speaker"), sorted(EXACT_SPEAKERS))
def test_an_exact_speaker_says_the_same_whatever_was_said_before(
    voice: Voice, engine: str, speaker: str
) -> None:
    """Sample by sample, which is what the canary rests on."""
    assert engine == "espeak"
    text = f"{ZH} {EN}"
    before = voice.say(text, speaker).samples
    voice.say(EN, "espeak-f2", "angry", 1.7)
    voice.say(ZH, "espeak-m3", "sad", 0.6)
    assert np.array_equal(voice.say(text, speaker).samples, before)


def test_cancelling_stops_at_the_next_piece_of_sound(voice: Voice) -> None:
    """No sound follows the cancellation, and the next request is whole."""
    whole = voice.say(ZH * 10)
    job = voice.job(ZH * 10, cancel_after=3)
    with pytest.raises(Cancelled):
        voice.run(job)
    assert len(job.chunks) == 3
    assert voice.say(ZH * 10).seconds == pytest.approx(whole.seconds, rel=0.02)


def test_cancelling_before_the_start_makes_no_sound(voice: Voice) -> None:
    """What was given up in the queue costs nothing."""
    job = voice.job(cancel_after=0)
    with pytest.raises(Cancelled):
        voice.run(job)
    assert not job.chunks


def test_sound_comes_long_before_the_end(voice: Voice) -> None:
    """The first of many pieces of at most 200 ms is there in the first fifth of the work."""
    job = voice.say(ZH * 20)
    assert job.first_audio < 0.2 * job.wall
    assert len(job.chunks) > 100
    assert max(map(len, job.chunks)) <= 0.201 * 22050


def test_the_first_sound_does_not_wait_for_the_last_number(voice: Voice) -> None:
    """What writes the numbers out works ahead of the voice by a sentence, not by a text."""
    text = "3月5日气温25℃，早餐花了35.5元，打了13800138000。"
    once, often = voice.say(text), voice.say(text * 50)
    assert often.first_audio < 0.1 * often.wall
    assert often.first_audio < 3 * once.first_audio + 0.02
    assert often.said == once.said * 50


def test_a_text_spoken_in_pieces_sounds_as_one(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses between its sentences are those that espeak makes itself."""
    for end in "。！？":
        text = f"今天天气很好{end}" * 30
        in_pieces = voice.say(text)
        with monkeypatch.context() as patched:
            patched.setattr(espeak, "_PIECE_CHARS", 1_000)
            whole = voice.say(text)
        assert in_pieces.seconds == pytest.approx(whole.seconds, rel=0.01)
        assert longest_silence_seconds(in_pieces.samples) == pytest.approx(
            longest_silence_seconds(whole.samples), abs=0.02
        )


def test_stages_add_up_to_the_time_it_took(voice: Voice) -> None:
    """What is not in a stage is small, and a slow taker of the sound is in none."""
    job = voice.say(ZH * 20)
    assert set(job.stages) == set(voice.can.stages)
    assert 0.75 * job.wall < sum(job.stages.values()) <= job.wall
    assert 0 < job.stages["text_prep"] < job.stages["acoustic_vocoder"]
    slow = voice.job(ZH)
    slow.hand_over_seconds = 0.01
    voice.run(slow)
    handed_over = 0.01 * len(slow.chunks)
    assert handed_over + sum(slow.stages.values()) <= slow.wall
    assert job.shown == ["text_prep", "speaker_enc", "acoustic_vocoder"]


def test_the_text_as_read_is_told(voice: Voice) -> None:
    """The user can see how a number was read; the log gets its length and time only."""
    job = voice.say("2025年涨了50%。")
    assert job.said == "二零二五年涨了百分之五十。"
    assert job.notes["text_spoken_len"] == len(job.said)
    assert float(job.notes["text_normalize_ms"]) > 0


def test_what_looks_like_a_command_is_read_and_not_obeyed(voice: Voice) -> None:
    """Phoneme brackets and tags are spelled out, control characters are not even that."""
    for brackets in ("[[th'iE55n]]好", "[[h@l'oU]]"):
        assert voice.say(brackets).seconds > 1.0
    pause = voice.say('你好<break time="5s"/>你好')
    assert longest_silence_seconds(pause.samples) < 1.0
    assert voice.say("<prosody pitch='+90%'>你好你好</prosody>").f0_hz < 210
    assert voice.say("\x0199P今天天气很好").f0_hz < 210
    assert longest_silence_seconds(voice.say("<speak><break time='5s'/>hello</speak>").samples) < 1


def longest_silence_seconds(samples: Samples) -> float:
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 100)
    return float(np.diff(loud).max() / 22050)


@pytest.mark.parametrize("text", ["英雄兄弟很穷", "一会儿去哪儿，花儿。", "他很窘迫，女儿在这儿。"])
def test_no_chinese_word_is_read_as_english(text: str) -> None:
    """Syllables that espeak lacks come out as Chinese all the same."""
    library = Library(
        Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    )
    library.set_voice("cmn")
    heard: list[str] = []
    library.speak(
        respell(text), on_clause=heard.append, on_samples=lambda _: True, phoneme_input=True
    )
    assert "ong" in "".join(heard) or "@r" in "".join(heard)
    assert "(en)" not in "".join(heard)


def test_an_error_while_handing_over_is_not_lost(voice: Voice) -> None:
    """It ends the request at once and comes out as it was; the next request is served."""

    class Broken(Recorder):
        def audio(self, samples: Samples) -> None:
            super().audio(samples)
            raise BrokenPipeError("nobody listens")

    job = Broken(voice.job(ZH * 5).task)
    with pytest.raises(BrokenPipeError, match="nobody listens"):
        voice.run(job)
    assert len(job.chunks) == 1
    assert voice.say().seconds > 3


def test_nothing_to_say_is_no_error(voice: Voice) -> None:
    """What has no sound hands over next to none: the audio check says what that means."""
    assert voice.say("。。。").seconds < 0.5


@pytest.mark.parametrize(
    ("speaker", "emotion"),
    [
        ("espeak-m1", "neutral"),
        ("espeak-m7", "surprised"),
        ("espeak-f1", "sad"),
        ("espeak-f5", "neutral"),
        ("espeak-annie", "surprised"),
    ],
)
def test_a_reference_sets_the_pitch(
    voice: Voice, tmp_path: Path, speaker: str, emotion: str
) -> None:
    """From 80 to 260 Hz the same sentence comes out within half a semitone of the recording."""
    recording = voice.say(speaker=speaker, emotion=emotion)
    job = voice.say(reference=write_reference(tmp_path / "r.wav", recording.samples))
    assert abs(12 * np.log2(job.f0_hz / recording.f0_hz)) < 0.5
    assert job.stages["speaker_enc"] > 0


def test_a_reference_sets_the_pace_within_a_quarter(voice: Voice, tmp_path: Path) -> None:
    """A fast recording makes it faster, but never by more than a quarter."""
    neutral = voice.say().seconds
    for speed, least, most in ((2.0, 1.15, 1.30), (0.5, 0.70, 0.85)):
        recording = write_reference(tmp_path / "r.wav", voice.say(speed=speed).samples)
        assert least < neutral / voice.say(reference=recording).seconds < most


def test_an_emotion_is_added_to_the_reference(voice: Voice, tmp_path: Path) -> None:
    """Happy is higher than neutral with the same recording."""
    recording = write_reference(tmp_path / "r.wav", voice.say(speaker="espeak-m3").samples)
    neutral = voice.say(reference=recording)
    assert voice.say(reference=recording, emotion="happy").f0_hz > 1.08 * neutral.f0_hz


def test_a_reference_without_a_voice_is_refused(voice: Voice, tmp_path: Path) -> None:
    """Silence is not silently taken for somebody's voice."""
    recording = write_reference(tmp_path / "r.wav", np.zeros(22050, np.int16))
    with pytest.raises(ReferenceUnusable, match="no voice"):
        voice.say(reference=recording)


def test_a_second_engine_in_the_process_works(voice: Voice) -> None:
    """Loading again, as a restart would, neither breaks the old one nor the new one."""
    again = Voice()
    assert again.say().seconds == pytest.approx(voice.say().seconds, rel=0.02)


@pytest.mark.parametrize(
    ("library", "data"),
    [
        (Path("/nonexistent/libespeak-ng.so"), None),
        (Path(espeakng_loader.get_library_path()), Path("/nonexistent")),
    ],
    ids=["no library", "no data"],
)
def test_what_is_missing_is_named_with_the_cure(library: Path, data: Path | None) -> None:
    """Without library or data the engine says that it must not serve, and what to install."""
    code = (
        "import sys, pathlib\n"
        "from indextts_app.engines.espeak import EspeakEngine\n"
        f"EspeakEngine(pathlib.Path({str(library)!r}), "
        f"{None if data is None else f'pathlib.Path({str(data)!r})'}).load()\n"
    )
    ended = run_python(code)
    assert ended.returncode == 1
    assert "EngineUnfit" in ended.stderr
    assert "pip install espeakng-loader" in ended.stderr


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without espeakng-loader the engine says so instead of failing at the first request."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EngineUnfit, match="pip install espeakng-loader"):
        EspeakEngine().load()


@pytest.mark.skipif(not DEBIAN.exists(), reason=f"{DEBIAN} is not installed (Debian libespeak-ng1)")
def test_debians_library_is_refused() -> None:
    """1.51 speaks Chinese as nonsense; the engine finds out itself and says what to do."""
    ended = run_python(
        "import pathlib\n"
        "from indextts_app.engines.base import EngineUnfit\n"
        "from indextts_app.engines.espeak import EspeakEngine\n"
        "try:\n"
        f"    EspeakEngine(pathlib.Path({str(DEBIAN)!r})).load()\n"
        "except EngineUnfit as error:\n"
        "    print('refused:', error)\n"
    )
    if "1.52" in ended.stdout or ended.stdout == "":
        pytest.skip(f"{DEBIAN} is not the faulty 1.51: {ended.stdout or ended.stderr}")
    assert "refused: espeak-ng 1.51" in ended.stdout
    assert "as if it were English" in ended.stdout


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
