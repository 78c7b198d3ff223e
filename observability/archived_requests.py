"""
One request, looked up in the archives that services keep in a bucket, whichever served it.

The time in its id names the day; that day's archives, of every service, are fetched for as long as
the question takes. For questions about many requests, `scripts/archive_logs.py --fetch` brings them
into a folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from observability import request_id as request_ids
from observability.archive_place import fetch
from observability.archive_remote import Remote, RemoteFailed
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Line, Missing, Unanswerable


class ArchivedRequests:
    """
    Looks requests up in a bucket; blocks, and may be used from any thread.

    Args:
        open_remote: gives the bucket, at the first question.
    """

    def __init__(self, open_remote: Callable[[], Remote]) -> None:
        self._open_remote = open_remote

    def lines_of(self, request_id: str) -> list[Line]:
        """
        Every line of a request, in the order of writing.

        Raises:
            Missing: no archive of its day has any.
            Unanswerable: the object storage is away, or there is no room for what it has.
        """
        request_id = request_ids.parse(request_id)
        day = request_ids.time_of(request_id).date()
        # Its end may stand in the next day's file, and so does what settles a crash at night.
        days = (day, day + timedelta(days=1))
        with tempfile.TemporaryDirectory(prefix="indextts-archive-") as name:
            try:
                archives = fetch(self._open_remote(), days.__contains__, Path(name))
            except RemoteFailed as error:
                raise Unanswerable(en=error.en, zh=error.zh) from error
            except OSError as error:
                raise Unanswerable(
                    en=f"The archives of {day} cannot be brought here ({error.strerror}).",
                    zh=f"无法取回 {day} 的归档（{error.strerror}）。",
                ) from error
            if archives:
                try:
                    return FileLogStore(Path(name)).lines_of(request_id)
                except Missing:
                    pass
        raise Missing(
            en=f"Nor is it in the bucket, which has {len(archives)} archives of {day} and the day "
            "after.",
            zh=f"存储桶中 {day} 及次日的 {len(archives)} 个归档里也没有。",
        )
