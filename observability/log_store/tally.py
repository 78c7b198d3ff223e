"""
What was read for an answer, added up, and what its reader has to know of it, in both languages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from observability.log_store.day_sources import days_between, spans
from observability.log_store.parquet import DayFacts
from observability.log_store.questions import Note, Reading


@dataclass(slots=True)
class Tally:
    """Adds up what becomes a `Reading`."""

    files: int = 0
    lines_read: int = 0
    lines_unreadable: int = 0
    lines_foreign: int = 0
    duplicates: int = 0
    clock_back: int = 0
    versions: set[str] = field(default_factory=set)
    split_days: list[date] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, day: date, facts: DayFacts) -> None:
        """A day that was read from its Parquet copy."""
        self.lines_read += facts.lines_read
        self.lines_unreadable += facts.lines_unreadable
        self.lines_foreign += facts.lines_foreign
        self.clock_back += facts.clock_back
        self.versions.update(facts.versions)
        if facts.torn:
            self.torn(f"indextts-{day}.jsonl")

    def torn(self, name: str) -> None:
        """A file that ends in the middle of a line."""
        self._note(
            "torn_line",
            f"{name} ends in a torn line, which was left out.",
            f"{name} 的最后一行不完整，未计入。",
        )

    def part_missing(self, day: date) -> None:
        """A day of whose files the first is gone."""
        self._note(
            "part_missing",
            f"The first file of {day} is gone, and there is no archive of the day.",
            f"{day} 的首个日志文件缺失，且没有该日的归档。",
        )

    def copy_unreadable(self, name: str) -> None:
        """A Parquet copy that is damaged, or of another format."""
        self._note(
            "copy_unreadable",
            f"The Parquet copy {name} cannot be read; the lines were read instead. "
            "Run scripts/archive_logs.py --rebuild-parquet.",
            f"Parquet 副本 {name} 无法读取，已改读日志行。"
            "请运行 scripts/archive_logs.py --rebuild-parquet。",
        )

    def file_unreadable(self, name: str, reason: str) -> None:
        """A file or archive that was read as far as it goes."""
        self._note(
            "file_unreadable",
            f"{name} cannot be read to its end ({reason}); what is missing was not counted. "
            "Fetch its archive again (scripts/archive_logs.py --fetch).",
            f"{name} 无法完整读取（{reason}），缺失部分未计入。"
            "请重新取回该日归档（scripts/archive_logs.py --fetch）。",
        )

    def folders_lacking(
        self,
        days: Mapping[Path, Collection[date]],
        since: datetime,
        until: datetime,
        *,
        now: datetime,
    ) -> None:
        """Of several folders those that lack days since their first one: others hide it."""
        for folder, there in days.items() if len(days) > 1 else ():
            begins = datetime.combine(min(there), time.min, UTC)
            if missing := _missing_days(max(since, begins), until, there, now):
                self._note(
                    "folder_days_missing",
                    f"{folder} has no lines of {spans(missing, ' to ')}; others do.",
                    f"{folder} 缺少以下日期的日志（其他目录有）：{spans(missing, ' 至 ')}。",
                )

    def reading(
        self,
        source: str,
        since: datetime,
        until: datetime,
        there: Collection[date],
        *,
        now: datetime,
    ) -> Reading:
        """What an answer over this time rests on; `there` are the days that have files."""
        missing = _missing_days(since, until, there, now)
        self._note_what_was_found(missing)
        self._note_time(since, until, now)
        return Reading(
            source=source,
            files=self.files,
            lines_read=self.lines_read,
            lines_unreadable=self.lines_unreadable,
            lines_foreign=self.lines_foreign,
            duplicates=self.duplicates,
            days_missing=missing,
            notes=tuple(self.notes),
        )

    def _note(self, code: str, en: str, zh: str) -> None:
        self.notes.append(Note(code, en, zh))

    def _note_what_was_found(self, missing: Sequence[date]) -> None:
        if missing:
            self._note(
                "days_missing",
                f"There are no lines of {spans(missing, ' to ')}.",
                f"缺少以下日期的日志：{spans(missing, ' 至 ')}。",
            )
        if self.split_days:
            self._note(
                "several_files",
                f"There are several files of {spans(self.split_days, ' to ')}; all were read.",
                f"以下日期各有多个日志文件，已全部读取：{spans(self.split_days, ' 至 ')}。",
            )
        self.notes += lines_left_out(self.lines_unreadable, self.lines_foreign)
        if self.duplicates:
            self._note(
                "duplicates",
                f"{self.duplicates} finished lines stand twice; each request was counted once.",
                f"有 {self.duplicates} 条完成记录重复，每个请求只计一次。",
            )
        if self.clock_back:
            self._note(
                "clock_back",
                f"The clock went back {self.clock_back} times; times around it are not to be "
                "trusted, the numbers of requests are.",
                f"时钟回拨 {self.clock_back} 次：其前后的时间不可靠，请求数不受影响。",
            )
        if len(self.versions) > 1:
            named = ", ".join(sorted(self.versions))
            self._note(
                "versions",
                f"The lines are of several versions of the service ({named}); what an older one "
                "did not log is left empty.",
                f"日志来自多个服务版本（{named}）；旧版本未记录的字段留空。",
            )

    def _note_time(self, since: datetime, until: datetime, now: datetime) -> None:
        if since > now:
            self._note(
                "future",
                f"{since:%Y-%m-%d %H:%M} UTC lies in the future: there is nothing to count yet.",
                f"{since:%Y-%m-%d %H:%M} UTC 在未来，尚无可统计的数据。",
            )
        elif until > now + timedelta(seconds=1):
            self._note(
                "unfinished",
                f"The time asked for ends {until:%Y-%m-%d %H:%M} UTC and is not over; "
                f"this is what there was by {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC.",
                f"所查时段到 {until:%Y-%m-%d %H:%M} UTC 才结束，"
                f"以下为截至 {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC 的数据。",
            )


def lines_left_out(unreadable: int, foreign: int) -> list[Note]:
    """Notes of the lines that were read and not counted."""
    notes = []
    if unreadable:
        notes.append(
            Note(
                "lines_unreadable",
                f"{unreadable} lines are no JSON objects and were left out.",
                f"有 {unreadable} 行不是 JSON 对象，未计入。",
            )
        )
    if foreign:
        notes.append(
            Note(
                "lines_foreign",
                f"{foreign} lines are of other programs and were left out.",
                f"有 {foreign} 行来自其他程序，未计入。",
            )
        )
    return notes


def _missing_days(
    since: datetime, until: datetime, there: Collection[date], now: datetime
) -> tuple[date, ...]:
    """The days of the time that are over or under way and have no file."""
    if until <= since:
        return ()
    last = min((until - timedelta(microseconds=1)).date(), now.astimezone(UTC).date())
    return tuple(day for day in days_between(since.date(), last) if day not in there)
