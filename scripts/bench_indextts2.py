"""
The engine `indextts2` beside the bare IndexTTS2 class, for `scripts/bench.py indextts2`.

    MODEL_PYTHON scripts/bench_indextts2.py CHECKPOINT [--version 2.5] [--device cuda] ...

Run by the model's own interpreter. Two instances are loaded: ours, with all that the engine puts
around it, and a bare one that is called as upstream documents it. Both do every measurement in
turns, in the same process, on the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import platform
import random
import statistics
import struct
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app.engines.base import Task
from indextts_app.engines.indextts2 import loading, weights
from indextts_app.engines.indextts2.engine import IndexTTS2Engine
from observability.indextts_probe import Probe
from scripts.bench_engine import BareJob

OVERHEAD_TARGET, SPEAKER_TARGET = 0.02, 0.1
SPEAKERS = 4
REFERENCE_SECONDS = 5.0
GRAPH_SECONDS = (1.0, 5.0, 15.0)
WARM_REQUESTS = 10
"""Before memory is compared: the first requests fill caches that stay."""

WORDS = ("今天", "天气", "真好", "你好", "世界", "欢迎", "大家", "来", "体验", "是不是")
"""Of characters that the tiny checkpoint's vocabulary has as well."""


class Job(BareJob):
    """Keeps what the engine measures; the samples, as the service would."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.stages: dict[str, float] = {}

    def entered(self, name: str) -> None:
        """Not shown."""

    def segment(self, number: int, count: int) -> None:
        """Not shown."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Timed."""
        began = time.perf_counter()
        yield
        self.spent(name, time.perf_counter() - began)

    def spent(self, name: str, seconds: float) -> None:
        """Kept."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds


class Side:
    """One of the two that are compared: speaks a text with a voice."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._by_language = asked.version == "2.5"
        self._controls = {"num_beams": asked.num_beams}

    def _language(self) -> dict[str, str]:
        return {"lang": "zh"} if self._by_language else {}


class Ours(Side):
    """The engine of the service."""

    def __init__(self, asked: argparse.Namespace) -> None:
        super().__init__(asked)
        self.engine = IndexTTS2Engine(
            model_dir=str(asked.checkpoint), model_version=asked.version, device=asked.device
        )
        self.device = self.engine.load().device

    def speak(self, text: str, voice: str) -> Job:
        """One request."""
        controls = {**self._controls, **({"language": "zh"} if self._by_language else {})}
        job = Job(
            Task("bench", text, "reference", "neutral", 1.0, voice, seed=1, controls=controls)
        )
        self.engine.synthesize(job)
        return job


class Bare(Side):
    """The class as upstream documents it, one call a request."""

    def __init__(self, asked: argparse.Namespace, device: str) -> None:
        super().__init__(asked)
        loaded = loading.load(
            loading.Loading(
                version=asked.version,
                device=device,
                half_precision=False,
                emotion_from_text=False,
                cuda_kernel=False,
                deepspeed=False,
                accel=False,
                torch_compile=False,
            ),
            weights.verified(asked.checkpoint, asked.version),
        )
        self.tts, self.torch = loaded.tts, loaded.torch

    def speak(self, text: str, voice: str) -> None:
        """One call."""
        made = self.tts.infer(voice, text, None, **self._language(), **self._controls)
        if made is None:
            raise RuntimeError("upstream returned nothing")


def overhead(ours: Ours, bare: Bare, voices: list[str], rounds: int) -> Iterator[str]:
    """One warm request of each, turn and turn about, each with a text of its own."""
    yield "### Overhead over a direct `infer()`\n"
    yield (
        f"Median of {rounds} rounds, one process, two instances, the same voice encoded before; "
        "in each round both speak the same new text, ours first in every other one.\n"
    )
    texts = _texts(7)
    sides: list[Callable[[str, str], object]] = [ours.speak, bare.speak]
    taken: list[list[float]] = [[], []]
    for side in sides:
        side(next(texts), voices[0])
    for number in range(rounds):
        text = next(texts)
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            began = time.perf_counter()
            sides[index](text, voices[0])
            taken[index].append(time.perf_counter() - began)
    mine, direct = (statistics.median(times) * 1000 for times in taken)
    # In pairs: what else the machine does meets both of a round alike.
    more = statistics.median(a - b for a, b in zip(*taken, strict=True)) * 1000
    share = more / direct
    yield "| direct infer() ms | ours ms | median difference ms | overhead | target |"
    yield "|---|---|---|---|---|"
    yield (
        f"| {direct:.1f} | {mine:.1f} | {more:+.1f} | **{share:+.1%}** "
        f"| ≤ {OVERHEAD_TARGET:.0%} {_verdict(share <= OVERHEAD_TARGET)} |"
    )
    yield ""


def speakers(ours: Ours, bare: Bare, voices: list[str], turns: int) -> Iterator[str]:
    """Several voices in turn: what each side spends on encoding them."""
    yield "### Alternating speakers\n"
    yield (
        f"{SPEAKERS} voices of {REFERENCE_SECONDS:g} s in turn over {turns} requests to each side, "
        "in turns; seconds of the stage speaker_enc, measured by the same probe on both.\n"
    )
    texts = _texts(11)
    probe = Probe(bare.tts)

    def take_turn(voice: str) -> tuple[float, float]:
        text = next(texts)
        mine = ours.speak(text, voice).stages["speaker_enc"]
        with probe.measure() as measured:
            bare.speak(text, voice)
        return mine, measured.stages["speaker_enc"]

    take_turn(voices[-1])
    ours.engine.drop_speakers()
    in_turn = itertools.islice(itertools.cycle(voices[:SPEAKERS]), turns)
    taken = [take_turn(voice) for voice in in_turn]
    mine, theirs = (sum(times) for times in zip(*taken, strict=True))
    later, their_later = (sum(times) for times in zip(*taken[SPEAKERS:], strict=True))
    share = mine / theirs
    yield "| | upstream s | ours s | share | target |"
    yield "|---|---|---|---|---|"
    yield (
        f"| all {turns} requests | {theirs:.2f} | {mine:.2f} | **{share:.1%}** "
        f"| ≤ {SPEAKER_TARGET:.0%} {_verdict(share <= SPEAKER_TARGET)} |"
    )
    yield (
        f"| without the first of each voice | {their_later:.2f} | {later:.4f} "
        f"| {later / their_later:.2%} | |"
    )
    yield ""


def memory(ours: Ours, voices: list[str], requests: int) -> Iterator[str]:
    """The process's resident memory, and the device's, over many requests to ours."""
    yield "### Memory over many requests\n"
    yield (
        f"{requests} requests to ours after {WARM_REQUESTS} to warm up, {len(voices)} voices in "
        "turn, texts of one or two segments. The bare instance lies idle in the same process.\n"
    )
    texts = _texts(13, longest=60)
    turns = itertools.cycle(voices)
    for _ in range(WARM_REQUESTS):
        ours.speak(next(texts), next(turns))
    held = [ours.engine.memory()]
    for _ in range(requests):
        ours.speak(next(texts), next(turns))
        held.append(ours.engine.memory())
    yield "| | before | after | growth a request (least squares) |"
    yield "|---|---|---|---|"
    yield _growth("process MB", [one.worker_mb for one in held])
    if held[0].reserved_mb is not None:
        yield _growth("device MB (reserved)", [one.reserved_mb or 0.0 for one in held])
    yield f"| encoded speakers MB | {held[0].speakers_mb:.1f} | {held[-1].speakers_mb:.1f} | |"
    yield ""


def _growth(name: str, held: list[float]) -> str:
    slope = statistics.linear_regression(range(len(held)), held).slope
    return f"| {name} | {held[0]:.0f} | {held[-1]:.0f} | {slope * 1000:+.1f} kB |"


def graphs(ours: Ours, bare: Bare, folder: Path) -> Iterator[str]:
    """What the cached speaker holds beside itself: the graph that nobody will ever go back on."""
    yield "### Autograd graph kept with a cached speaker\n"
    yield (
        "MB of the tensors that the graph behind the cached values still saves (distinct memory, "
        "weights of the model not counted), and of the values themselves. Upstream encodes outside "
        "of `no_grad`; ours calls it inside.\n"
    )
    yield "| reference | cached values | upstream's graph | ours |"
    yield "|---|---|---|---|"
    for seconds in GRAPH_SECONDS:
        voice = recording(folder, 150.0, seconds)
        bare.speak("你好。", voice)
        theirs = _cached(bare.tts)
        ours.speak("你好。", voice)
        mine = _cached(ours.engine._model.tts)
        values = sum(value.untyped_storage().nbytes() for value in theirs) / 1e6
        yield (
            f"| {seconds:g} s | {values:.1f} | {_graph_bytes(theirs, bare.tts) / 1e6:.1f} "
            f"| {_graph_bytes(mine, ours.engine._model.tts) / 1e6:.1f} |"
        )
    yield ""


def _cached(tts: Any) -> list[Any]:  # noqa: ANN401
    names = ("cache_spk_cond", "cache_s2mel_style", "cache_s2mel_prompt", "cache_mel")
    return [getattr(tts, name) for name in (*names, "cache_emo_cond")]


def _graph_bytes(values: list[Any], tts: Any) -> int:  # noqa: ANN401
    """The distinct memory of all tensors that the graph behind these values has saved."""
    modules = (tts.gpt, tts.semantic_model, tts.semantic_codec, tts.campplus_model, tts.bigvgan)
    own = {
        tensor.untyped_storage().data_ptr()
        for module in (*modules, *tts.s2mel.models.values())
        for tensor in itertools.chain(module.parameters(), module.buffers())
    } | {value.untyped_storage().data_ptr() for value in values}
    saved: dict[int, int] = {}
    seen: set[object] = set()
    waiting = [value.grad_fn for value in values if value.grad_fn is not None]
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        waiting += [before for before, _ in step.next_functions if before is not None]
        for name in dir(step):
            if name.startswith("_saved_"):
                kept = getattr(step, name)
                for tensor in kept if isinstance(kept, list | tuple) else [kept]:
                    if hasattr(tensor, "untyped_storage"):
                        storage = tensor.untyped_storage()
                        saved[storage.data_ptr()] = storage.nbytes()
    return sum(size for address, size in saved.items() if address not in own)


def recording(folder: Path, hertz: float, seconds: float) -> str:
    """A tone as the service stores recordings: 24 kHz, mono, 16 bits."""
    path = folder / f"{hertz:g}-{seconds:g}.wav"
    rate = 24_000
    values = [
        round(8_000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(int(rate * seconds))
    ]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(values)}h", *values))
    return str(path)


def _texts(seed: int, longest: int = 12) -> Iterator[str]:
    """Texts that have not been read before, so that nobody remembers how."""
    draw = random.Random(seed)  # noqa: S311
    for number in itertools.count(1):
        words = "".join(draw.choices(WORDS, k=draw.randint(longest // 2, longest)))
        yield f"{words}，第{number}次。"


def _verdict(is_met: bool) -> str:
    return "✓" if is_met else "✗"


def main() -> None:
    """Run the parts that were asked for, each line printed as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--version", choices=("2", "2.5"), default="2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num-beams", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--requests", type=int, default=200)
    asked = parser.parse_args()
    # What the model prints while it is loaded is no part of the report.
    with contextlib.redirect_stdout(sys.stderr):
        ours = Ours(asked)
        bare = Bare(asked, ours.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voices = [recording(folder, 110.0 + 20 * n, REFERENCE_SECONDS) for n in range(2 * SPEAKERS)]
        machine = f"{ours.device}, {os.cpu_count()} cores {platform.machine()}"
        torch = f"torch {bare.torch.__version__}"
        lines = itertools.chain(
            [f"IndexTTS-{asked.version}, {torch}, {machine}, {asked.num_beams} beams.\n"],
            overhead(ours, bare, voices, asked.rounds),
            speakers(ours, bare, voices, asked.turns),
            graphs(ours, bare, folder),
            memory(ours, voices, asked.requests),
        )
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
