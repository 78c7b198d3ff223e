"""
The embedded default engine: espeak-ng, a formant synthesizer that needs no weights and no GPU.

Its speakers are variants of one voice, its emotions presets of prosody, and from a reference
recording it takes pitch and pace. All numbers were measured with espeak-ng 1.52 as shipped in
espeakng-loader 0.2.4.
"""

from __future__ import annotations

import time
import wave
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from indextts_app.engines.base import (
    EMOTIONS,
    Cancelled,
    Capabilities,
    EngineUnfit,
    Features,
    Job,
    ReferenceUnusable,
    Samples,
    Speaker,
    Translated,
)
from indextts_app.engines.chinese_text import is_chinese, respell, tidy, write_out
from indextts_app.engines.espeak_library import EspeakError, Library, Parameter
from indextts_app.engines.reference_prosody import measure
from indextts_app.engines.text_pieces import pieces

_INSTALL = "pip install espeakng-loader==0.2.4"

Language = Literal["cmn", "en-us"]

FEATURES = Features(reference="pitch_and_pace", streams=True)


def features() -> Features:
    """The same for every option: there are none."""
    return FEATURES


@dataclass(frozen=True, slots=True)
class Prosody:
    """How to say it: pace and loudness against the speaker's neutral, pitch and range absolute."""

    pace: float
    pitch: int
    pitch_range: int
    volume: int


_PRESETS = {
    # Range 75: at espeak's own 50 the tones of Mandarin sound flat, at 0 they are gone.
    "neutral": Prosody(1.00, pitch=50, pitch_range=75, volume=100),
    # Volume stops at 105: from 110 on the peaks reach full scale.
    "happy": Prosody(1.11, pitch=62, pitch_range=90, volume=105),
    "angry": Prosody(1.14, pitch=45, pitch_range=85, volume=105),
    "sad": Prosody(0.80, pitch=40, pitch_range=45, volume=80),
    "afraid": Prosody(1.17, pitch=68, pitch_range=70, volume=85),
    "disgusted": Prosody(0.91, pitch=42, pitch_range=85, volume=100),
    "melancholic": Prosody(0.84, pitch=43, pitch_range=55, volume=85),
    "surprised": Prosody(1.06, pitch=70, pitch_range=99, volume=105),
    "calm": Prosody(0.86, pitch=45, pitch_range=50, volume=90),
}

_SPEAKERS = {
    # id: espeak's variant, English, Chinese. Left out are those that clip (klatt4), have no pitch
    # (whisperf) or change the rate (Andrea).
    "espeak-f2": ("f2", "Female 2", "女声2"),
    "espeak-f1": ("f1", "Female 1", "女声1"),
    "espeak-f3": ("f3", "Female 3", "女声3"),
    "espeak-f5": ("f5", "Female 5", "女声5"),
    "espeak-annie": ("Annie", "Annie", "Annie"),
    "espeak-belinda": ("belinda", "Belinda", "Belinda"),
    "espeak-plain": ("", "Plain", "原声"),
    "espeak-m1": ("m1", "Male 1", "男声1"),
    "espeak-m3": ("m3", "Male 3", "男声3"),
    "espeak-m7": ("m7", "Male 7", "男声7"),
    "espeak-m8": ("m8", "Deep male 8", "低沉男声8"),
    "espeak-adam": ("adam", "Adam", "Adam"),
}

_PACES = (0.448, 0.537, 0.653, 0.902, 1.0, 1.22, 1.44, 1.59, 1.90, 2.18, 2.60, 2.90)
_RATES = (80, 100, 120, 160, 175, 210, 240, 262, 300, 350, 400, 440)
"""
RATE is not proportional to the pace: twice 175 is 2.18 times as fast, half of it 0.47 times.
80 is espeak's slowest; from 450 on it computes at half speed and drops samples.
"""

_PITCHES = (0, 20, 40, 60, 80, 99)
_HIGHS = {
    ("cmn", "m3"): (67.5, 75.0, 85.0, 103.7, 129.7, 162.0),
    ("cmn", "f2"): (112.5, 129.5, 156.5, 193.5, 241.9, 301.5),
    ("en-us", "m3"): (79.0, 87.8, 102.2, 121.2, 147.0, 179.3),
    ("en-us", "f2"): (142.5, 160.8, 188.5, 226.0, 274.3, 335.0),
}
"""
Median F0 in Hz at each of `_PITCHES`, range 75, as `measure` finds it. The same sentence is hit
within 0.3 semitones between 80 and 275 Hz; from one sentence to another it varies by a semitone.
"""
_FEMALE_FROM_HZ = 150.0

_NEUTRAL_SYLLABLES = 4.0
"""What `measure` finds in a second of espeak's own neutral speech."""
_PACE_LIMITS = (0.75, 1.25)
"""The measured pace is too coarse to be followed further than this."""

_NOTES = {
    "speaker": Translated(
        "Voice variants: one synthetic voice with other settings, not other people.",
        "音色变体：同一个合成音的不同设定，不是不同的人。",
    ),
    "emotion": Translated(
        "Prosody presets (pace, pitch, range, volume), not learned emotions.",
        "韵律预设（语速/音高/起伏/音量），不是学习到的情感。",
    ),
    "reference": Translated(
        "espeak matches pitch and pace only and does not clone the voice; the speaker's variant "
        "gives way to the male or female one nearest in pitch.",
        "espeak 只匹配音高与语速，不克隆音色；所选音色变体会换成音高最接近的男声或女声。",
    ),
}

_PIECE_CHARS, _LONG_SENTENCE_CHARS = 60, 120
"""
Chinese is written out a piece at a time, so that the first sound does not wait for the last
number: 2,000 characters full of them take 0.1 s.
"""

_PAUSE = "[[ ]]"
"""
Behind a piece: espeak ends a text without the pause that follows a sentence inside of one, and an
empty clause brings it back (within 15 ms, at 120 to 260 words a minute).
"""


class EspeakEngine:
    """
    Speaks Chinese and English, about a thousand times faster than it sounds, on any CPU.

    Without arguments it uses the library of the package espeakng-loader, the only one known to
    pass the check in `load`; the paths are for trying another.
    """

    def __init__(self, library: Path | None = None, data: Path | None = None) -> None:
        self._paths = library, data

    def load(self) -> Capabilities:
        """Load library, voices and grammar; `EngineUnfit` where it would not speak Chinese."""
        library, data = self._paths
        if library is None:
            library, data = _installed()
        try:
            self._espeak = Library(library, data)
            for language in ("en-us", "cmn"):
                self._espeak.set_voice(language)
        except EspeakError as error:
            raise EngineUnfit(f"espeak-ng does not start: {error}. Try: {_INSTALL}") from error
        self._check_chinese()
        self._check_variants()
        try:
            write_out("第1次")
        except ModuleNotFoundError as error:
            raise EngineUnfit(f"{error}. Try: pip install wetext==0.1.8") from error
        return Capabilities(
            engine="espeak",
            engine_version=self._espeak.version,
            model_version=self._espeak.version,
            device="cpu",
            sample_rate=self._espeak.sample_rate,
            speakers=tuple(
                Speaker(id_, Translated(f"{en} (voice variant)", f"{zh}（音色变体）"))
                for id_, (_, en, zh) in _SPEAKERS.items()
            ),
            emotions=EMOTIONS,
            scripts=("CJK", "LATIN", "GREEK"),
            stages=("text_prep", "speaker_enc", "acoustic_vocoder"),
            features=FEATURES,
            self_test_text="今天天气很好。",
            notes=_NOTES,
        )

    def synthesize(self, job: Job) -> None:
        """Speak `job.task`, 200 ms at a time; raises `Cancelled` and `ReferenceUnusable`."""
        task = job.task
        job.check_cancelled()
        reading = _Reading(job)
        with job.stage("text_prep"):
            chinese = reading.chinese
            first = reading.next()
        language: Language = "cmn" if chinese else "en-us"
        with job.stage("speaker_enc"):
            variant, prosody = _SPEAKERS[task.speaker][0], _PRESETS[task.emotion]
            if task.reference is not None:
                variant, prosody = _like(Path(task.reference), language, prosody)
            self._prepare(language, variant, replace(prosody, pace=prosody.pace * task.speed))
        # In turns with text_prep from here on; nearly all of the time is this one's.
        job.entered("acoustic_vocoder")
        piece: str | None = first
        while piece is not None:
            job.check_cancelled()
            self._speak(job, piece, phoneme_input=chinese)
            began = time.perf_counter()
            piece = reading.next()
            job.spent("text_prep", time.perf_counter() - began)
        reading.tell()

    def _prepare(self, language: Language, variant: str, prosody: Prosody) -> None:
        """Set everything: espeak keeps what the last request set, even through a new voice."""
        self._espeak.set_voice(f"{language}+{variant}" if variant else language)
        for parameter, value in (
            (Parameter.RATE, round(float(np.interp(prosody.pace, _PACES, _RATES)))),
            (Parameter.VOLUME, prosody.volume),
            (Parameter.PITCH, prosody.pitch),
            (Parameter.RANGE, prosody.pitch_range),
        ):
            self._espeak.set_parameter(parameter, value)

    def _speak(self, job: Job, text: str, *, phoneme_input: bool) -> None:
        """Translation and synthesis alternate clause by clause; the hand-over is in neither."""
        mark = time.perf_counter()

        def spent(stage: str) -> None:
            job.spent(stage, time.perf_counter() - mark)

        def on_clause(_: str) -> None:
            nonlocal mark
            spent("text_prep")
            mark = time.perf_counter()

        def on_samples(samples: Samples) -> bool:
            nonlocal mark
            spent("acoustic_vocoder")
            if not job.cancelled:
                job.audio(samples)
            mark = time.perf_counter()
            return not job.cancelled

        self._espeak.speak(
            text, on_clause=on_clause, on_samples=on_samples, phoneme_input=phoneme_input
        )
        spent("acoustic_vocoder")
        if job.cancelled:
            raise Cancelled

    def _check_chinese(self) -> None:
        if "(en)" in self._espeak.phonemes("天"):
            raise EngineUnfit(
                f"espeak-ng {self._espeak.version} speaks Chinese as if it were English (a fault "
                f"of 1.51 and before, Debian's among them). Try: {_INSTALL}"
            )

    def _check_variants(self) -> None:
        variants = self._espeak.data / "voices" / "!v"
        missing = [name for name, *_ in _SPEAKERS.values() if not (variants / name).exists()]
        if missing:
            raise EngineUnfit(f"espeak-ng lacks the voice variants {missing}. Try: {_INSTALL}")


def _installed() -> tuple[Path, Path]:
    try:
        import espeakng_loader
    except ModuleNotFoundError as error:
        raise EngineUnfit(f"{error}. Try: {_INSTALL}") from error
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


class _Reading:
    """A text as espeak is to read it, piece by piece."""

    def __init__(self, job: Job) -> None:
        began = time.perf_counter()
        text = tidy(job.task.text)
        self.chinese = is_chinese(text)
        self._job = job
        self._pieces = [text]
        if self.chinese:
            cut = pieces(text, at_least=_PIECE_CHARS, at_most=_LONG_SENTENCE_CHARS)
            self._pieces = list(cut)
        self._read: list[str] = []
        self._normalize_seconds = time.perf_counter() - began

    def next(self) -> str | None:
        """The next piece; None after the last."""
        if len(self._read) == len(self._pieces):
            return None
        piece = self._pieces[len(self._read)]
        if self.chinese:
            began = time.perf_counter()
            piece = write_out(piece)
            self._normalize_seconds += time.perf_counter() - began
        self._read.append(piece)
        if not self.chinese:
            return piece
        return respell(piece) + (_PAUSE if len(self._read) < len(self._pieces) else "")

    def tell(self) -> None:
        """Say how the whole text was read."""
        text = "".join(self._read)
        self._job.note(
            text_normalize_ms=1000.0 * self._normalize_seconds, text_spoken_len=len(text)
        )
        self._job.spoken(text)


def _like(recording: Path, language: Language, prosody: Prosody) -> tuple[str, Prosody]:
    """The variant and the prosody that come nearest to the recording, the emotion on top."""
    with wave.open(str(recording), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        heard = measure(samples, file.getframerate())
    if heard.f0_hz is None:
        raise ReferenceUnusable(
            Translated("no voice with a pitch was found in it.", "其中没有可测出音高的人声。")
        )
    variant = "f2" if heard.f0_hz >= _FEMALE_FROM_HZ else "m3"
    neutral = float(np.interp(heard.f0_hz, _HIGHS[language, variant], _PITCHES))
    pitch = round(neutral + prosody.pitch - _PRESETS["neutral"].pitch)
    pace = (heard.syllables_per_second or _NEUTRAL_SYLLABLES) / _NEUTRAL_SYLLABLES
    pace = min(max(pace, _PACE_LIMITS[0]), _PACE_LIMITS[1])
    return variant, replace(prosody, pace=prosody.pace * pace, pitch=min(max(pitch, 0), 99))
