"""
Put closed days of the log away, or remove a request or a user from them: scripts/archive_logs.py

Days go to `archive/` in the log folder, and to the object storage that INDEXTTS_ARCHIVE_* name.
Run it daily (deploy/systemd/indextts-archive.timer); a run that was cut off is made good by the
next one.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import __version__, settings
from observability import logs, request_id
from observability.archive import Archive, ArchiveFailed, Done, Forgotten
from observability.archive_remote import Bucket, RemoteFailed, S3Remote

KEEP_DAYS = 36_500
"""The service sweeps its log folder itself; this script's own lines must not do it."""


def main() -> int:
    """Exit status 0 when all is done, 1 when something could not be, 2 for a wrong question."""
    asked = _arguments()
    try:
        chosen = settings.load()
        wanted = request_id.parse(asked.forget_request) if asked.forget_request else None
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    except request_id.MalformedRequestId as error:
        return _complain(getattr(error, asked.language), 2)
    folder = asked.log_dir or chosen.log_dir
    if not folder.is_dir():
        missing = {"en": f"There is no log folder {folder}.", "zh": f"没有日志目录 {folder}。"}
        return _complain(missing[asked.language], 2)
    static = {"service": "indextts", "version": __version__}
    logs.set_up(folder, keep_days=KEEP_DAYS, static=static, stdout=False, capture=False)
    archive = Archive(
        folder,
        _remote(chosen),
        local_days=chosen.archive_local_days,
        remote_days=chosen.archive_keep_days,
    )
    try:
        if wanted or asked.forget_user:
            return _tell_forgotten(
                archive.forget(request_id=wanted, user=asked.forget_user), asked.language
            )
        done = archive.rebuild_parquet() if asked.rebuild_parquet else archive.run()
    except (ArchiveFailed, RemoteFailed) as error:
        return _complain(getattr(error, asked.language), 1)
    return _tell(done, asked.language)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rebuild-parquet", action="store_true", help="from the lines, all days")
    what.add_argument("--forget-request", metavar="ID", help="remove a request's lines")
    what.add_argument("--forget-user", metavar="NAME", help="remove a user's lines")
    parser.add_argument("--log-dir", type=Path, help="folder of the log (INDEXTTS_LOG_DIR)")
    parser.add_argument("--language", choices=("en", "zh"), default=_language())
    return parser.parse_args()


def _language() -> str:
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh" if next(filter(None, named), "").startswith("zh") else "en"


def _remote(chosen: settings.Settings) -> S3Remote | None:
    if not chosen.archive_bucket:
        return None
    access, secret = chosen.archive_access_key, chosen.archive_secret_key
    return S3Remote(
        Bucket(
            name=chosen.archive_bucket,
            endpoint=chosen.archive_endpoint,
            prefix=chosen.archive_prefix,
            region=chosen.archive_region,
            access_key=access.get_secret_value() if access else None,
            secret_key=secret.get_secret_value() if secret else None,
            addressing=chosen.archive_addressing,
        )
    )


def _tell(done: Done, language: str) -> int:
    words = {
        "en": ("archived", "copied to Parquet", "uploaded", "dropped here", "expired"),
        "zh": ("已归档", "已转 Parquet", "已上传", "本机已删", "已过期删除"),
    }[language]
    days = (done.archived, done.copied, done.uploaded, done.dropped, done.expired)
    for word, each in zip(words, days, strict=True):
        if each:
            print(f"{word}: {', '.join(map(str, each))}")
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
        print(f"Removed {lines} lines of {requests} requests on {days} days.")
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
