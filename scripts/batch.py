"""
Have a table of texts spoken by a running service: scripts/batch.py TABLE --output FOLDER

TABLE is CSV with a header or JSON Lines (docs/batches.md). Ctrl-C stops watching and not the batch:
--job JOB_ID goes on watching, --cancel JOB_ID ends it.
Exit status: 0 all rows have audio, 1 some have none, 2 it could not be begun or watched.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from indextts_app import settings

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""So long a service may be away, restarting say, while its batch is watched."""

AWAY = (502, 503, 504)
"""What proxies answer meanwhile."""

MOST_SHOWN = 20
GOOD = ("success", "degraded")

console = Console(stderr=True)


def say(text: str) -> None:
    """A line that stays one, also where it goes to a file."""
    console.print(text, soft_wrap=True)


class Refused(Exception):
    """The service did not do what it was asked; the message says why."""


class Away(Refused):
    """A proxy in front of the service says that it is not there."""


class Service:
    """A running service, and what of it a batch needs."""

    def __init__(self, url: str, key: str | None) -> None:
        self._client = httpx.Client(
            base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def begin(self, path: Path, fields: Mapping[str, str]) -> dict[str, Any]:
        """The new job."""
        with path.open("rb") as file:
            return self._told("POST", "/batches", files={"file": file}, data=dict(fields))

    def status(self, job_id: str, **query: str | int) -> dict[str, Any]:
        """How far it is; a service that is away for a while is waited for."""
        away_since: float | None = None
        while True:
            try:
                return self._told("GET", f"/batches/{job_id}", params=query)
            except (httpx.TransportError, Away):
                if away_since is None:
                    away_since = time.monotonic()
                    say(f"[yellow]No answer; waiting for up to {PATIENCE_SECONDS:g} s.[/yellow]")
                if time.monotonic() - away_since > PATIENCE_SECONDS:
                    raise
                time.sleep(LOOK_SECONDS)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End it, if it has not ended."""
        found = self.status(job_id, limit=0)
        if found["ended"]:
            return found
        return self._told("DELETE", f"/batches/{job_id}")

    def unpack(self, job_id: str, folder: Path) -> int:
        """Put the archive's files into a folder; says how many."""
        with TemporaryFile() as file:
            with self._client.stream("GET", f"/batches/{job_id}/archive") as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise Refused(_reason(answer))
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            folder.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
                return len(archive.namelist())

    def _told(self, method: str, path: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = self._client.request(method, path, **more)
        if answer.is_error:
            raise (Away if answer.status_code in AWAY else Refused)(_reason(answer))
        told: dict[str, Any] = answer.json()
        return told


def main() -> int:
    """Begin, watch or cancel a batch."""
    asked = _arguments()
    try:
        service = Service(asked.url, _key(asked.api_key_file))
        if asked.cancel:
            return _ended(service, service.cancel(asked.cancel), asked.output)
        job_id = asked.job or _begun(service, asked.table, dict(asked.set))
        return _ended(service, _watched(service, job_id), asked.output)
    except Refused as refused:
        say(f"[red]{escape(str(refused))}[/red]")
    except httpx.TransportError as error:
        say(f"[red]No answer from {escape(asked.url)}: {escape(str(error))}[/red]")
    except (OSError, zipfile.BadZipFile, settings.SettingsError) as error:
        say(f"[red]{escape(str(error))}[/red]")
    return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, help="CSV with a header, or JSON Lines")
    parser.add_argument("--output", type=Path, help="folder for the audio and its manifest.csv")
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="the running service")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_field,
        metavar="FIELD=VALUE",
        help="for every row that does not name its own; may be repeated",
    )
    parser.add_argument("--api-key-file", type=Path, help="file with the key (INDEXTTS_API_KEY)")
    parser.add_argument("--job", help="go on watching this one")
    parser.add_argument("--cancel", metavar="JOB", help="end this one")
    asked = parser.parse_args()
    if sum(map(bool, (asked.table, asked.job, asked.cancel))) != 1:
        parser.error("name a table, --job or --cancel")
    return asked


def _key(path: Path | None) -> str | None:
    if path:
        return path.read_text(encoding="utf-8").strip()
    key = settings.load().api_key
    return key.get_secret_value() if key else None


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not FIELD=VALUE")
    return name, value


def _begun(service: Service, table: Path, fields: Mapping[str, str]) -> str:
    job = service.begin(table, fields)
    for row in job["broken_rows"][:MOST_SHOWN]:
        say(f"[yellow]line {row['line']}: {escape(row['message'])}[/yellow]")
    if (more := len(job["broken_rows"]) - MOST_SHOWN) > 0:
        say(f"[yellow]and {more} more[/yellow]")
    say(f"batch {job['job_id']}, {job['total']} rows")
    return str(job["job_id"])


def _watched(service: Service, job_id: str) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("speaking", total=None, left="")
            while True:
                found = service.status(job_id, limit=0)
                _show(progress, bar, found)
                if found["ended"]:
                    return found
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        say(
            f"The batch goes on. Watch it again with --job {job_id}, end it with --cancel {job_id}."
        )
        raise SystemExit(130) from None


def _show(progress: Progress, bar: TaskID, found: Mapping[str, Any]) -> None:
    left = found["remaining_seconds"]
    bad = sum(count for status, count in found["counts"].items() if status not in GOOD)
    progress.update(
        bar,
        total=found["total"],
        completed=found["done"],
        description=f"speaking, {bad} failed" if bad else "speaking",
        left=found["waits_because"] or ("" if left is None else f"{_clock(left)} left"),
    )


def _ended(service: Service, found: Mapping[str, Any], output: Path | None) -> int:
    job_id = found["job_id"]
    counts = ", ".join(f"{count} {status}" for status, count in sorted(found["counts"].items()))
    say(f"{found['state']}: {counts or 'nothing was asked for'}")
    for status in ("failed", "rejected", "timeout"):
        for item in service.status(job_id, state=status, limit=MOST_SHOWN)["items"]:
            say(f"[red]line {item['line']}: {escape(item['message'])}[/red] {item['request_id']}")
    if output:
        files = service.unpack(job_id, output)
        say(f"{files} files in {output}")
    good = sum(found["counts"].get(status, 0) for status in GOOD)
    return 0 if good == found["total"] else 1


def _reason(answer: httpx.Response) -> str:
    try:
        told = answer.json()
        return f"{told['message']} (request_id {told['request_id']})"
    except (ValueError, KeyError, TypeError):
        return f"The service answered {answer.status_code}."


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


if __name__ == "__main__":
    sys.exit(main())
