"""Tell the story of one request: scripts/request.py REQUEST_ID or AUDIO_FILE."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import settings, story
from observability import request_id
from observability.audio_probe import request_id_of
from observability.log_store.files import FileLogStore, Missing

WIDTH = 40

HEADS = {
    "en": ("Asked", "Time", "Came out", "Outcome", "What to do", "To ask again", "Lines"),
    "zh": ("请求内容", "耗时", "产出", "结果", "建议", "重新合成", "日志行"),
}


def main() -> int:
    """Exit status 0 with a story, 1 without one, 2 for an id or a setting that is none."""
    asked = _arguments()
    try:
        folder = asked.log_dir or settings.load().log_dir
        wanted = _wanted(asked.id_or_file)
        lines = FileLogStore(folder).lines_of(wanted)
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    except request_id.MalformedRequestId as error:
        return _complain(getattr(error, asked.language), 2)
    except Missing as missing:
        return _complain(getattr(missing, asked.language), 1)
    told = story.told(wanted, lines)
    if told.status == "running" and not _is_served(folder):
        told = replace(told, meaning=story.STATUS["lost"])
    if asked.json:
        print(json.dumps(asdict(told), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_page(told, asked.language)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id_or_file", help="a request_id, or an audio file made by the service")
    parser.add_argument("--log-dir", type=Path, help="folder of the log (INDEXTTS_LOG_DIR)")
    parser.add_argument("--language", choices=("en", "zh"), default=_language())
    parser.add_argument("--json", action="store_true", help="the story for programs")
    return parser.parse_args()


def _language() -> str:
    """The terminal's language, whether or not that locale is installed."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh" if next(filter(None, named), "").startswith("zh") else "en"


def _wanted(id_or_file: str) -> str:
    path = Path(id_or_file)
    if not _is_file(path):
        if path.suffix or len(path.parts) > 1:
            raise Missing(en=f"There is no file {path}.", zh=f"没有文件 {path}。")
        return request_id.parse(id_or_file)
    found = request_id_of(path)
    if found is None and not shutil.which("ffprobe"):
        raise Missing(
            en="Its tags cannot be read: ffprobe is not installed (apt-get install ffmpeg).",
            zh="无法读取其标签：未安装 ffprobe（apt-get install ffmpeg）。",
        )
    if found is None:
        raise Missing(
            en=f"{path.name} has no request_id in its tags; it was not made here, or re-encoded.",
            zh=f"{path.name} 的标签中没有请求编号：不是本服务生成，或已被转码。",
        )
    return found


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
    asked, time, came_out, outcome, to_do, again, lines = HEADS[language]
    yield f"{told.request_id}  {told.status}"
    yield getattr(told.meaning, language)
    yield from _table(asked, told.asked)
    if told.stages_ms:
        yield f"\n{time}"
        longest = max(told.stages_ms.values()) or 1.0
        for stage, spent in told.stages_ms.items():
            bar = "█" * round(max(spent, 0) / longest * WIDTH)
            yield f"  {stage:<18}{spent:>12,.3f} ms  {bar}"
    yield from _table(came_out, told.came_out)
    yield from _table(outcome, told.outcome)
    if told.advice:
        yield f"\n{to_do}"
        for advice in told.advice:
            yield f"  {getattr(advice, language)}"
    if told.replay:
        yield f"\n{again}\n  {told.replay}"
    yield f"\n{lines}"
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
    sys.exit(main())
