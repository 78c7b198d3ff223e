"""
A fault drill: a deterministic tone with all five stages, and a speaker for each fault.

For tests, and for operators who want to see their alerts fire before they need them. The tone's
pitch tells speaker and emotion apart; nobody should take it for speech. It is handed over in
pieces, sentence by sentence, so that segments, previews and streaming can be rehearsed as well.
"""

from __future__ import annotations

import os
import re
import signal
import time

import numpy as np

from indextts_app.engines.base import (
    EMOTIONS,
    Capabilities,
    Features,
    Job,
    Memory,
    OutOfMemory,
    Samples,
    Segment,
    Speaker,
    Task,
    Translated,
)
from indextts_app.engines.resident import resident_mb

SAMPLE_RATE = 22_050
CHARS_PER_SECOND = 5.0
PEAK = 8_000
SHARES = {
    "text_prep": 0.05,
    "speaker_enc": 0.05,
    "acoustic": 0.6,
    "vocoder": 0.25,
    "post": 0.05,
}
"""How the time of a request is spread over the stages, much like IndexTTS-2 spreads it."""

PIECES = 4
"""Each sentence is handed over in so many pieces, with the vocoder's time between them."""

_SENTENCE = re.compile(r"[^。！？.!?\n]*[。！？.!?\n]*\s*")

FAULTS = {
    "steady": Translated("Steady tone, no fault", "平稳音，无故障"),
    "slow": Translated("Fault: slow acoustic stage", "故障：声学阶段缓慢"),
    "hang": Translated("Fault: never answers", "故障：永不应答"),
    "crash": Translated("Fault: worker process dies", "故障：合成进程崩溃"),
    "error": Translated("Fault: engine error", "故障：引擎报错"),
    "out_of_memory": Translated("Fault: out of memory", "故障：内存不足"),
    "silent": Translated("Fault: silent audio", "故障：静音"),
    "clipped": Translated("Fault: clipped audio", "故障：削波"),
    "truncated": Translated("Fault: audio cut short", "故障：音频被截断"),
    "empty": Translated("Fault: no audio at all", "故障：没有音频"),
    "wrong_rate": Translated("Fault: wrong sample rate", "故障：采样率错误"),
    "breaks_off": Translated("Fault: engine error after the first sound", "故障：出声后引擎报错"),
    "leak": Translated("Fault: keeps memory with each request", "故障：每次请求都占住内存"),
}


FEATURES = Features(segments=True, streams=True)


def features(**_: float) -> Features:
    """The same for every option."""
    return FEATURES


class DrillEngine:
    """
    Makes a tone of 0.2 s a character, or the fault that the speaker is named after.

    Each request of the speaker `leak` keeps `leak_mb` three times: for good, as an encoded speaker,
    and as a cache. So every step about memory has something to give back, and only a new process
    gives back all.
    """

    def __init__(
        self, *, seconds: float = 0.05, slow_seconds: float = 10.0, leak_mb: float = 8.0
    ) -> None:
        self._seconds = seconds
        self._slow_seconds = slow_seconds
        self._leak_bytes = int(leak_mb * 1e6)
        self._lost: list[bytes] = []
        self._speakers: list[bytes] = []
        self._cache: list[bytes] = []

    def load(self) -> Capabilities:
        """Ready at once."""
        return Capabilities(
            engine="drill",
            engine_version="1",
            model_version="tone-1",
            device="cpu",
            sample_rate=SAMPLE_RATE,
            speakers=tuple(Speaker(id=name, name=text) for name, text in FAULTS.items()),
            emotions=EMOTIONS,
            scripts=(),
            stages=tuple(SHARES),
            features=FEATURES,
            self_test_text="drill",
            notes={
                "speaker": Translated(
                    "A test tone, not speech: each speaker is a fault to rehearse.",
                    "测试音，不是语音：每个发音人对应一种演练故障。",
                ),
                "emotion": Translated("Changes the tone's pitch.", "只改变测试音的音高。"),
            },
        )

    def synthesize(self, job: Job) -> None:
        """Sleep through the stages, handing over the tone in the vocoder's."""
        fault = job.task.speaker
        if fault == "leak":
            for kept in (self._lost, self._speakers, self._cache):
                # Written to, because memory that is only asked for is not there yet.
                kept.append(b"\1" * self._leak_bytes)
        for name, share in SHARES.items():
            with job.stage(name):
                if name == "vocoder":
                    self._hand_over(job, self._seconds * share)
                else:
                    self._work(job, self._seconds * share)
                if name == "acoustic":
                    self._fail(job, fault)

    def preview(self, task: Task) -> tuple[Segment, ...]:
        """The sentences; each character is a token."""
        return tuple(Segment(text, len(text)) for text in _sentences(task.text))

    def memory(self) -> Memory:
        """What the speaker `leak` keeps, as if it lay on a device."""
        lost, speakers, cache = (
            sum(map(len, kept)) / 1e6 for kept in (self._lost, self._speakers, self._cache)
        )
        return Memory(
            worker_mb=resident_mb(),
            allocated_mb=lost + speakers,
            reserved_mb=lost + speakers + cache,
            speakers_mb=speakers,
        )

    def empty_cache(self) -> None:
        """Give back a third of what `leak` kept."""
        self._cache.clear()

    def drop_speakers(self) -> None:
        """Give back another third."""
        self._speakers.clear()

    def _hand_over(self, job: Job, seconds: float) -> None:
        tone, fault = _tone(job), job.task.speaker
        if fault == "silent":
            tone[:] = 0
        elif fault == "clipped":
            tone = np.where(tone >= 0, 32_767, -32_768).astype(np.int16)
        elif fault == "truncated":
            tone = tone[: len(tone) // 20]
        elif fault == "empty":
            tone = tone[:0]
        elif fault == "wrong_rate":
            job.sample_rate(SAMPLE_RATE // 2)
        sentences = _sentences(job.task.text)
        pieces = np.array_split(tone, len(sentences) * PIECES)
        for number, piece in enumerate(pieces):
            if number % PIECES == 0:
                job.segment(number // PIECES + 1, len(sentences))
            self._work(job, seconds / len(pieces))
            job.audio(piece)
            if fault == "breaks_off":
                raise RuntimeError("drill: the engine broke off as it was asked to")

    def _fail(self, job: Job, fault: str) -> None:
        if fault == "slow":
            self._work(job, self._slow_seconds)
        elif fault == "hang":
            while True:
                time.sleep(3600)
        elif fault == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "error":
            raise RuntimeError("drill: the engine failed as it was asked to")
        elif fault == "out_of_memory":
            raise OutOfMemory("drill: no memory left on the device")

    @staticmethod
    def _work(job: Job, seconds: float) -> None:
        """Sleep in small steps, so that a cancelled request stops soon."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            job.check_cancelled()
            time.sleep(min(left, 0.02))


def _sentences(text: str) -> tuple[str, ...]:
    return tuple(found for found in _SENTENCE.findall(text) if found.strip()) or (text,)


def _tone(job: Job) -> Samples:
    """A sine whose pitch follows speaker and emotion, faded at both ends."""
    seconds = max(len(job.task.text) / CHARS_PER_SECOND / job.task.speed, 0.1)
    semitones = list(FAULTS).index(job.task.speaker) + EMOTIONS.index(job.task.emotion) / 10
    moments = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = PEAK * np.sin(2 * np.pi * 220 * 2 ** (semitones / 12) * moments)
    fade = np.minimum(1, np.minimum(moments, moments[::-1]) / 0.01)
    return (wave * fade).astype(np.int16)
