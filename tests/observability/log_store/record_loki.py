"""
Record answers of a real Loki for the tests of machines without one.

    PATH=/path/of/loki:$PATH PYTHONPATH=. python tests/observability/log_store/record_loki.py

Writes recorded/loki.json: the lines that were pushed, and every answer to the questions, in which
a line stands as its number.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
from loki_process import push, running_loki
from same_questions import answers

from observability.generated_logs import Month, generate
from observability.log_store.files import FileLogStore
from observability.log_store.loki import LokiLogStore

HERE = Path(__file__).resolve().parent
SINCE = datetime(2026, 9, 2, 3, tzinfo=UTC)
UNTIL = datetime(2026, 9, 3, 9, tzinfo=UTC)
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
STRANGE = ["a line of another program", '{"log": "of another"}', '{"timestamp": "2026-09-02T']


def main() -> None:
    """Record, and compare while at it."""
    recorded: list[dict[str, object]] = []

    def keep(answer: httpx.Response) -> None:
        answer.read()
        result = answer.json()["data"]["result"]
        for sample in result:
            sample.pop("stream", None)
        recorded.append(
            {"asked": str(answer.request.url.copy_with(host="loki", port=None)), "result": result}
        )

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = generate(Month(2026, 9, 300, seed=4), folder / "logs")[:4]
        lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
        first = next(at for at, line in enumerate(lines) if line[15:41] > SINCE.isoformat())
        lines[first + 3 : first + 3] = STRANGE
        (folder / "loki").mkdir()
        kept = folder / "kept"
        kept.mkdir()
        write_days(kept, lines)
        files = FileLogStore(kept, clock=lambda: NOW)
        finished = [json.loads(line) for line in lines if '"synthesis.finished"' in line]
        inside = [
            line for line in finished if SINCE.isoformat() < line["timestamp"] < UNTIL.isoformat()
        ]
        client_id = next(
            line["client_request_id"] for line in inside if "client_request_id" in line
        )
        ids = [line["request_id"] for line in inside[::4]]
        with running_loki(folder / "loki") as url:
            push(url, (line.encode() for line in lines), fallback=SINCE)
            client = httpx.Client(event_hooks={"response": [keep]}, timeout=60)
            loki = LokiLogStore(url, client=client, clock=lambda: NOW, page=8)
            asked = {"request_ids": ids, "client_id": client_id}
            for (question, ours), (_, theirs) in zip(
                answers(files, SINCE, UNTIL, **asked),
                answers(loki, SINCE, UNTIL, **asked),
                strict=True,
            ):
                same = "same" if ours == theirs else "DIFFERENT"
                sys.stdout.write(f"{same} {question[:60]}\n")
    place = {line: number for number, line in enumerate(lines)}
    for answer in recorded:
        for sample in answer["result"]:  # type: ignore[attr-defined]
            if "values" in sample:
                sample["values"] = [[moment, place[line]] for moment, line in sample["values"]]
    target = HERE / "recorded" / "loki.json"
    target.write_text(
        json.dumps(
            {
                "since": SINCE.isoformat(),
                "until": UNTIL.isoformat(),
                "now": NOW.isoformat(),
                **asked,
                "lines": lines,
                "answers": recorded,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        + "\n",
        "utf-8",
    )
    sys.stdout.write(f"{target.stat().st_size} bytes, {len(recorded)} answers\n")


def write_days(folder: Path, lines: list[str]) -> None:
    """The lines as the service's files would hold them; strange ones after what was before them."""
    day = str(SINCE.date())
    for line in lines:
        if line.startswith('{"timestamp": "') and len(line) > 60:
            day = json.loads(line)["timestamp"][:10]
        with (folder / f"indextts-{day}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


if __name__ == "__main__":
    main()
