"""The audio of a batch as one zip, made while it is sent, with a manifest of every row."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields

from indextts_app.batches.job import AUDIO, Item, Job

MANIFEST = "manifest.csv"
CHUNK_BYTES = 256 * 1024


class _Outlet(io.RawIOBase):
    """Takes what a zip file writes, to be handed on piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def archived(job: Job) -> Iterator[bytes]:
    """
    The bytes of the archive: the audio of every row that has some, then `manifest.csv`.

    Audio is stored as it is, because it hardly shrinks. The manifest has a line for each row, in
    UTF-8 with a mark, so that Excel reads it. A batch that is deleted meanwhile is sent whole.
    """
    outlet = _Outlet()
    with job.read(), zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for _, item in sorted(job.items.items()):
            path = job.folder / AUDIO / (item.file or "")
            if item.file is None or not path.is_file():
                continue
            info = zipfile.ZipInfo.from_file(path, item.file, strict_timestamps=False)
            with path.open("rb") as source, archive.open(info, "w") as entry:
                while chunk := source.read(CHUNK_BYTES):
                    entry.write(chunk)
                    yield outlet.taken()
            yield outlet.taken()
        archive.writestr(MANIFEST, manifest(job))
        yield outlet.taken()
    yield outlet.taken()


def manifest(job: Job) -> str:
    """A table of all rows; those that were never asked for, as of a cancelled job, are told so."""
    names = [field.name for field in fields(Item)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\r\n")
    writer.writeheader()
    for row in range(1, job.about.total + 1):
        item = job.items.get(row)
        writer.writerow(asdict(item) if item else _not_asked(row))
    return f"\ufeff{buffer.getvalue()}"


def _not_asked(row: int) -> Mapping[str, object]:
    return {"row": row, "status": "not_asked"}
