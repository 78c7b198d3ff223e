"""
Look-up in the day files: the time inside a request_id leads to the one place where it stands.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from observability import request_id as request_ids
from observability.day_file import day_files

Line = Mapping[str, Any]


class Missing(Exception):
    """There is no line for an id, and this is why; one sentence in each language."""

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


class FileLogStore:
    """Answers from the log files of one folder; reads only, beside a running service as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lines_of(self, request_id: str, *, now: datetime | None = None) -> list[Line]:
        """
        Every line of a request, in the order of writing.

        Raises:
            Missing: there is none, with the reason: too old, of the future, or not of this
                service.
        """
        request_id = request_ids.parse(request_id)
        moment = request_ids.time_of(request_id)
        files = day_files(self._folder)
        lines: list[Line] = []
        for day, path in files:
            if day < moment.date():
                continue
            lines += _lines_with(path, request_id)
            # The line that settles a crash is written at the next start, on any later day.
            if day > moment.date() and any(_is_finished(line) for line in lines):
                break
        if not lines:
            raise _missing(moment, now or datetime.now(UTC), files, self._folder)
        return lines


def _is_finished(line: Line) -> bool:
    return str(line.get("event", "")).endswith(".finished")


def _lines_with(path: Path, needle: str) -> Iterator[Line]:
    if path.stat().st_size == 0:
        return
    wanted = needle.encode()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = content.find(wanted)
        while position != -1:
            begin = content.rfind(b"\n", 0, position) + 1
            end = content.find(b"\n", position)
            end = len(content) if end == -1 else end
            try:
                line = json.loads(content[begin:end])
            except ValueError:
                line = None
            # Another request may name this one: a client sends any id as its own.
            if isinstance(line, dict) and line.get("request_id") == needle:
                yield line
            position = content.find(wanted, end)


def _missing(
    moment: datetime, now: datetime, files: list[tuple[date, Path]], folder: Path
) -> Missing:
    when = f"{moment:%Y-%m-%d %H:%M} UTC"
    if not files:
        return Missing(
            en=f"There are no log files in {folder}, so nothing can be looked up.",
            zh=f"{folder} 中没有日志文件，无法查询。",
        )
    first, last = files[0][0], files[-1][0]
    if moment > now + timedelta(minutes=5):
        return Missing(
            en=f"The id says {when}, which is in the future. It was mistyped, or a clock is wrong.",
            zh=f"编号中的时间是 {when}，在未来：可能抄错，或时钟有误。",
        )
    if moment.date() < first:
        return Missing(
            en=f"The id is of {when}; the logs here begin on {first}. Look in the archive.",
            zh=f"编号的时间是 {when}，本机日志从 {first} 开始，请查归档。",
        )
    if moment.date() > last:
        return Missing(
            en=f"The id is of {when}; the logs here end on {last}. Look in the log folder that the "
            "service writes to now.",
            zh=f"编号的时间是 {when}，而此处日志到 {last} 为止：请查该服务现在使用的日志目录。",
        )
    return Missing(
        en=f"No line has this id. It says {when}, and the logs here are of {first} to {last}. "
        "Check for a mistyped character, or ask whether another service made it.",
        zh=f"没有该编号的记录。编号时间是 {when}，此处日志为 {first} 至 {last}：请核对是否"
        "抄错，或是否来自其他服务。",
    )
