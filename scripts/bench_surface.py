"""What integrators wait for: the first audio of a stream, and an answer that was made before."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Iterator

SENTENCE = "今天3月5日，气温25℃，早餐花了35.5元。"
LENGTHS = (20, 200, 2_000)
FIRST_AUDIO_MS, CACHED_MS = 30, 5
"""What is aimed at."""

PAUSE_SECONDS = 0.25
HEAD_BYTES = 4_096
"""Of a WAV's beginning, so that it is sound that was waited for and not its header."""


class Client:
    """One keep-alive connection that posts JSON to /tts."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, asked: dict[str, object]) -> http.client.HTTPResponse:
        """The answer, its body still to be read."""
        body = json.dumps(asked).encode()
        self._connection.request("POST", "/tts", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.read()[:200]!r}")
        return answer

    def first_audio(self, text: str) -> tuple[float, float]:
        """Milliseconds to the first sound of a stream, and to its end."""
        began = time.perf_counter()
        answer = self.ask({"text": text, "stream": True, "cache": False})
        answer.read(HEAD_BYTES)
        first = time.perf_counter() - began
        answer.read()
        return first * 1000, (time.perf_counter() - began) * 1000

    def whole(self, text: str, *, cache: bool) -> tuple[float, str | None]:
        """Milliseconds to all of an answer, and whether it was made before."""
        began = time.perf_counter()
        answer = self.ask({"text": text, **({} if cache else {"cache": False})})
        answer.read()
        return (time.perf_counter() - began) * 1000, answer.headers["X-Result-Cache"]


def streaming(port: int, rounds: int) -> Iterator[str]:
    """The first audio of texts of several lengths, turn and turn about."""
    yield "## First audio of a stream\n"
    yield (
        f"`POST /tts` with `stream`, WAV, espeak, one client, {rounds} rounds of all lengths in "
        f"turn, {PAUSE_SECONDS} s between two. From the first byte sent to {HEAD_BYTES} bytes of "
        "WAV received, which is sound; Chinese full of dates and amounts, so that there is "
        "something to write out.\n"
    )
    client = Client(port)
    taken: dict[int, list[tuple[float, float]]] = {length: [] for length in LENGTHS}
    for _ in range(rounds):
        for length in LENGTHS:
            taken[length].append(client.first_audio((SENTENCE * 200)[:length]))
            time.sleep(PAUSE_SECONDS)
    yield "| characters | first audio, median ms | 95 % ms | all of it, median ms | target |"
    yield "|---|---|---|---|---|"
    for length, times in taken.items():
        first = [one for one, _ in times]
        median, high = statistics.median(first), statistics.quantiles(first, n=20)[18]
        whole = statistics.median(two for _, two in times)
        mark = "✓" if median <= FIRST_AUDIO_MS else "✗"
        yield (
            f"| {length:,} | **{median:.1f}** | {high:.1f} | {whole:.1f} "
            f"| ≤ {FIRST_AUDIO_MS} {mark} |"
        )
    yield ""


def cached(port: int, rounds: int) -> Iterator[str]:
    """The same answer made and served again, turn and turn about."""
    yield "## An answer that was made before\n"
    yield (
        f"`POST /tts`, WAV, espeak, one client, {rounds} rounds; in each round the same text is "
        f"made (`cache: false`) and served again from memory, {PAUSE_SECONDS} s between two. HTTP, "
        "tags, both lines of the log and the file are in both.\n"
    )
    client = Client(port)
    yield "| characters | size | made, median ms | served again, median ms | 95 % ms | target |"
    yield "|---|---|---|---|---|---|"
    for length in LENGTHS[:2]:
        text = (SENTENCE * 200)[:length]
        answer = client.ask({"text": text})
        size = len(answer.read())
        made, again = [], []
        for _ in range(rounds):
            made.append(client.whole(text, cache=False)[0])
            time.sleep(PAUSE_SECONDS)
            spent, told = client.whole(text, cache=True)
            if told != "hit":
                raise RuntimeError(f"X-Result-Cache: {told}")
            again.append(spent)
            time.sleep(PAUSE_SECONDS)
        median = statistics.median(again)
        yield (
            f"| {length:,} | {size / 1e6:.2f} MB | {statistics.median(made):.2f} "
            f"| **{median:.2f}** | {statistics.quantiles(again, n=20)[18]:.2f} "
            f"| ≤ {CACHED_MS} {'✓' if median <= CACHED_MS else '✗'} |"
        )
    yield ""
