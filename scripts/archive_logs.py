"""
Put closed days of the log away, or remove a request or a user from them: scripts/archive_logs.py

Days go to `archive/` in the log folder, and to the object storage that INDEXTTS_ARCHIVE_* name,
there to a place of this service's own (INDEXTTS_INSTANCE).
Run it daily (deploy/systemd/indextts-archive.timer); a run that was cut off is made good by the
next one.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from indextts_app import __version__, settings
from indextts_app.archive_bucket import archive_bucket
from observability import logs, request_id
from observability.archive import Archive, ArchiveFailed, Done, Forgotten
from observability.archive_place import fetch, own_place
from observability.archive_remote import Remote, RemoteFailed
from observability.log_store.day_sources import spans
from scripts import terminal

log = structlog.get_logger("scripts.archive_logs")

KEEP_DAYS = 36_500
"""The service sweeps its log folder itself; this script's own lines must not do it."""


def main() -> int:
    """Exit status 0 when all is done, 1 when something could not be, 2 for a wrong question."""
    asked = _arguments()
    try:
        chosen = settings.load()
        wanted = None if asked.forget_request is None else request_id.parse(asked.forget_request)
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    except request_id.MalformedRequestId as error:
        return _complain(getattr(error, asked.language), 2)
    if asked.forget_user is not None and not asked.forget_user.strip():
        # An empty variable of a shell must not read as "remove nothing, all done".
        empty = {"en": "--forget-user needs a name.", "zh": "--forget-user 需要用户名。"}
        return _complain(empty[asked.language], 2)
    if asked.fetch:
        return _fetch(asked, chosen)
    folder = asked.log_dir or chosen.log_dir
    if not folder.is_dir():
        missing = {"en": f"There is no log folder {folder}.", "zh": f"没有日志目录 {folder}。"}
        return _complain(missing[asked.language], 2)
    static = {
        "service": "indextts",
        "version": __version__,
        "instance": chosen.instance_name(),
    }
    logs.set_up(folder, keep_days=KEEP_DAYS, static=static, stdout=False, capture=False)
    try:
        remote, unreachable = _own_place(folder, chosen)
        archive = Archive(
            folder,
            remote,
            local_days=chosen.archive_local_days,
            remote_days=chosen.archive_keep_days,
        )
        if wanted or asked.forget_user:
            if unreachable:
                raise unreachable
            return _tell_forgotten(
                archive.forget(request_id=wanted, user=asked.forget_user), asked.language
            )
        done = archive.rebuild_parquet() if asked.rebuild_parquet else archive.run()
    except (ArchiveFailed, RemoteFailed) as error:
        return _complain(getattr(error, asked.language), 1)
    except OSError as error:
        cannot = {
            "en": f"{error.filename or folder} cannot be used ({error.strerror}): mend that, and "
            "run this again.",
            "zh": f"无法使用 {error.filename or folder}（{error.strerror}），请处理后重新运行。",
        }
        return _complain(cannot[asked.language], 1)
    if unreachable:
        done.failures.append(unreachable)
    return _tell(done, asked.language)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rebuild-parquet", action="store_true", help="from the lines, all days")
    what.add_argument(
        "--fetch",
        metavar="YYYY-MM[-DD]",
        type=_days,
        help="bring the archives of a month or day, of all services in the bucket, into --to",
    )
    what.add_argument("--forget-request", metavar="ID", help="remove a request's lines")
    what.add_argument("--forget-user", metavar="NAME", help="remove a user's lines")
    parser.add_argument("--log-dir", type=Path, help="folder of the log (INDEXTTS_LOG_DIR)")
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("fetched"),
        help="folder for --fetch, which other scripts then read with --log-dir",
    )
    parser.add_argument("--language", choices=terminal.LANGUAGES, default=terminal.language())
    return parser.parse_args()


def _days(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d(-\d\d)?", text):
        raise argparse.ArgumentTypeError("a month or a day, as 2026-10 or 2026-10-04")
    return text


def _own_place(
    folder: Path, chosen: settings.Settings
) -> tuple[Remote | None, RemoteFailed | None]:
    """This service's place in the bucket, or why it has none; days are put away here anyway."""
    if not chosen.archive_bucket:
        return None, None
    try:
        return own_place(folder, archive_bucket(chosen), chosen.instance_name()), None
    except RemoteFailed as error:
        log.error("log.archive_failed", reason=error.en)
        return None, error


def _fetch(asked: argparse.Namespace, chosen: settings.Settings) -> int:
    if not chosen.archive_bucket:
        missing = {
            "en": "There is no bucket to fetch from: set INDEXTTS_ARCHIVE_BUCKET.",
            "zh": "没有可取回的存储桶，请设置 INDEXTTS_ARCHIVE_BUCKET。",
        }
        return _complain(missing[asked.language], 2)
    try:
        found = fetch(
            archive_bucket(chosen), lambda day: str(day).startswith(asked.fetch), asked.to
        )
    except RemoteFailed as error:
        return _complain(getattr(error, asked.language), 1)
    except OSError as error:
        cannot = {
            "en": f"{asked.to} cannot be written ({error.strerror}): name another with --to.",
            "zh": f"无法写入 {asked.to}（{error.strerror}），请用 --to 指定其他目录。",
        }
        return _complain(cannot[asked.language], 2)
    if not found:
        none = {
            "en": f"The bucket has no archive of {asked.fetch}.",
            "zh": f"存储桶中没有 {asked.fetch} 的归档。",
        }
        return _complain(none[asked.language], 1)
    for path in found:
        print(path)
    return 0


def _tell(done: Done, language: str) -> int:
    words = {
        "en": ("archived", "copied to Parquet", "uploaded", "dropped here", "expired"),
        "zh": ("已归档", "已转 Parquet", "已上传", "本机已删", "已过期删除"),
    }[language]
    days = (done.archived, done.copied, done.uploaded, done.dropped, done.expired)
    to = {"en": " to ", "zh": " 至 "}[language]
    for word, each in zip(words, days, strict=True):
        if each:
            print(f"{word}: {spans(sorted(each), to)}")
    for failure in done.failures:
        print(getattr(failure, language), file=sys.stderr)
    return 1 if done.failures else 0


def _tell_forgotten(forgotten: Forgotten, language: str) -> int:
    requests, lines, days = forgotten.requests, forgotten.lines, forgotten.days
    left = forgotten.lines_left
    if language == "zh":
        print(f"已删除 {requests} 个请求的 {lines} 行日志，涉及 {days} 天。")
        if left:
            print(f"当日文件仍在写入，其中 {left} 行未删除：请在该日结束后再运行一次。")
    else:
        print(f"Removed lines: {lines} (requests: {requests}, days: {days}).")
        if left:
            print(
                f"{left} lines stand in a day that is still written to and were left: "
                "run this again when that day is over."
            )
    return 1 if left else 0


def _complain(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
