"""Tell the story of one request: scripts/request.py REQUEST_ID, AUDIO_FILE or a client's own id."""

from __future__ import annotations

import argparse
import fcntl
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import settings, story
from indextts_app.archive_bucket import archived_requests
from indextts_app.lookup import Lookup
from observability import request_id
from observability.log_store.day_sources import log_folders
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Missing, Unanswerable
from scripts import terminal, which_store

WIDTH = 40

AUDIO_SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".webm", ".aac", ".dat")
"""What ends so is meant as a file; a client's own id may hold a dot as well."""

HEADS = {
    "en": {
        "asked": "Asked",
        "time": "Time",
        "came_out": "Came out",
        "outcome": "Outcome",
        "machine": "Worker and memory",
        "around": "Around it",
        "causes": "Likely cause",
        "to_do": "What to do",
        "again": "To ask again",
        "also": "Same client id",
        "lines": "Lines",
    },
    "zh": {
        "asked": "请求内容",
        "time": "耗时",
        "came_out": "产出",
        "outcome": "结果",
        "machine": "进程与内存",
        "around": "前后情况",
        "causes": "可能原因",
        "to_do": "建议",
        "again": "重新合成",
        "also": "同一客户端编号",
        "lines": "日志行",
    },
}


def main() -> int:
    """Exit status 0 with a story, 1 without one, 2 for an id or a setting that is none."""
    asked = _arguments()
    try:
        known = settings.load()
        store, archives = which_store.opened(asked, known), archived_requests(known)
        told = _looked_up(Lookup(store, archives=archives), asked.id_or_file)
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    except request_id.MalformedRequestId as error:
        return _complain(getattr(error, asked.language), 2)
    except (Missing, Unanswerable) as reason:
        return _complain(getattr(reason, asked.language), 1)
    if told.status == "running" and asked.source == "files":
        folders = log_folders(which_store.folders(asked, known))
        if not _is_served(_folder_of(told.request_id, folders)):
            told = replace(told, meaning=story.STATUS["lost"])
    if asked.json:
        print(json.dumps(asdict(told), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_page(told, asked.language)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id_or_file", help="a request_id, or an audio file made by the service")
    which_store.add_arguments(parser)
    parser.add_argument("--language", choices=terminal.LANGUAGES, default=terminal.language())
    parser.add_argument("--json", action="store_true", help="the story for programs")
    return parser.parse_args()


def _looked_up(lookup: Lookup, id_or_file: str) -> story.Story:
    path = Path(id_or_file)
    if _is_file(path):
        return lookup.by_file(path)
    if path.suffix in AUDIO_SUFFIXES or len(path.parts) > 1:
        raise Missing(en=f"There is no file {path}.", zh=f"没有文件 {path}。")
    return lookup.by_text(id_or_file)


def _folder_of(wanted: str, folders: Sequence[Path]) -> Path:
    """The log folder that a request stands in, which its own service writes to."""
    # The inner ones first: what stands in them is found from the outer one as well.
    for folder in sorted(folders, key=lambda each: len(each.resolve().parts), reverse=True):
        with suppress(Missing):
            FileLogStore(folder).lines_of(wanted)
            return folder
    return folders[0]


def _is_served(folder: Path) -> bool:
    """Whether a service holds the lock of this log folder now."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # longer than any file's name
        return False


def _page(told: story.Story, language: str) -> Iterator[str]:
    heads = HEADS[language]
    yield f"{told.request_id}  {told.status}"
    yield getattr(told.meaning, language)
    if told.heard:
        yield getattr(told.heard, language)
    yield from _table(heads["asked"], told.asked)
    if told.stages_ms:
        yield f"\n{heads['time']}"
        longest = max(told.stages_ms.values()) or 1.0
        for stage, spent in told.stages_ms.items():
            bar = "█" * round(max(spent, 0) / longest * WIDTH)
            yield f"  {stage:<18}{spent:>12,.3f} ms  {bar}"
    yield from _table(heads["came_out"], told.came_out)
    yield from _table(heads["outcome"], told.outcome)
    yield from _table(heads["machine"], told.machine)
    if told.around:
        yield f"\n{heads['around']}\n  {getattr(told.around.summary, language)}"
    if told.causes:
        yield f"\n{heads['causes']}"
        for cause in told.causes:
            yield f"  {getattr(cause.text, language)}"
            yield f"    → {getattr(cause.next_step, language)}"
    if told.advice:
        yield f"\n{heads['to_do']}"
        for advice in told.advice:
            yield f"  {getattr(advice, language)}"
    if told.replay:
        yield f"\n{heads['again']}\n  {told.replay}"
    if told.also:
        yield f"\n{heads['also']}\n  {' '.join(told.also)}"
    yield f"\n{heads['lines']}"
    for line in told.lines:
        detail = line.get("message") or line.get("status") or ""
        yield f"  {line.get('timestamp')}  {line.get('level'):<8} {line.get('event')}  {detail}"
        for row in str(line.get("traceback", "")).rstrip().splitlines():
            yield f"      {row}"


def _table(head: str, fields: object) -> Iterator[str]:
    if isinstance(fields, dict) and fields:
        yield f"\n{head}"
        for name, value in fields.items():
            yield f"  {name:<26}{value}"


def _complain(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it, without a traceback
    sys.exit(main())
