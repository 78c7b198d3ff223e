"""What a client sent: JSON or a form in, fields and recordings out."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from indextts_app import errors
from indextts_app.references import Upload
from indextts_app.settings import Settings
from indextts_app.synthesis import EMOTION_REFERENCE, RECORDINGS, TEXT_FIELDS

MAX_FORM_FIELDS = 60
MAX_EPILOGUE_BYTES = 1_024
MAX_JSON_BYTES = 1_000_000

TABLE = "file"
"""The file that a batch comes in."""

_REFUSED: Mapping[str, type[errors.Rejected]] = {
    EMOTION_REFERENCE: errors.EmotionReferenceRefused,
    TABLE: errors.BatchUnreadable,
}

Sent = tuple[Mapping[str, object], dict[str, Upload]]


@asynccontextmanager
async def uploads(settings: Settings, name: str) -> AsyncIterator[Path]:
    """A folder for the recordings of one request, which are deleted when it is over."""
    folder = settings.output_dir / "uploads" / name
    try:
        yield folder
    finally:
        if folder.exists():
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def asked(
    request: Request,
    folder: Path,
    timeout_seconds: float,
    *,
    reading: AbstractContextManager[None],
    text_fields: frozenset[str] = TEXT_FIELDS,
) -> tuple[Mapping[str, object] | errors.ServiceError, dict[str, Upload]]:
    """
    The fields of a synthesis and its recordings, or the error that says why they are none.

    It is read within `reading`, which may refuse to.
    """
    try:
        with reading:
            return await sent(
                request, folder, timeout_seconds, recordings=RECORDINGS, text_fields=text_fields
            )
    except errors.ServiceError as error:
        return error, {}


async def sent(
    request: Request,
    folder: Path,
    timeout_seconds: float,
    *,
    recordings: tuple[str, ...],
    text_fields: frozenset[str] = TEXT_FIELDS,
) -> Sent:
    """
    The fields of a JSON body or a form, and the recordings that came with a form.

    Args:
        request: whose body is read.
        folder: where the recordings go.
        timeout_seconds: longest time to read it.
        recordings: fields that must be files.
        text_fields: fields of a form that stay text; the others are read as JSON where they can.

    Raises:
        errors.ServiceError: it cannot be read, or its recordings cannot be written.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                return await _form(request, folder, recordings, text_fields)
            return _json(await body(request)), {}
    except TimeoutError:
        raise errors.DeadlineExceeded(seconds=timeout_seconds) from None
    except ClientDisconnect:
        raise errors.ClientGone from None
    except OSError as error:
        # Both the form's parser and this module put recordings on the disk.
        raise errors.StorageFailed(origin=type(error).__name__) from error


async def body(request: Request) -> bytes:
    """A JSON body has no recording in it, so that little is enough."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise errors.TooLarge(limit_mb=f"{MAX_JSON_BYTES / 1e6:g}")
    return bytes(body)


def _json(body: bytes) -> dict[str, object]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise errors.MalformedRequest(reason="it is not JSON.", reason_zh="不是 JSON。") from None
    if not isinstance(asked, dict):
        raise errors.MalformedRequest(
            reason="it is JSON, but not an object.", reason_zh="是 JSON，但不是对象。"
        )
    return asked


async def _form(
    request: Request, folder: Path, recordings: tuple[str, ...], text_fields: frozenset[str]
) -> Sent:
    try:
        form = await _parsed(request, len(recordings))
        try:
            fields: dict[str, object] = {}
            files: dict[str, BinaryIO] = {}
            for name, value in form.multi_items():
                if name in recordings:
                    files[name] = _recording(name, value)
                elif isinstance(value, UploadFile):
                    # Without a value that could be right: it is refused by its name or as unknown.
                    fields[name] = value
                else:
                    fields[name] = value if name in text_fields else _value(value)
            return fields, await asyncio.to_thread(_kept, files, folder)
        finally:
            await form.close()
    except (MultiPartException, HTTPException):
        raise errors.MalformedRequest(
            reason="its form data is broken, or has too many files.",
            reason_zh="表单数据不完整，或文件过多。",
        ) from None


async def _parsed(request: Request, max_files: int) -> FormData:
    """
    Raises:
        MultiPartException: it is no form, or its end is missing: its last field would be lost.
    """
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    end = b"--" + boundary + b"--"
    tail = b""

    async def watched() -> AsyncGenerator[bytes, None]:
        nonlocal tail
        async for chunk in request.stream():
            # Whatever follows the end is of no meaning, but there is seldom more than a line break.
            tail = (tail + chunk)[-len(end) - MAX_EPILOGUE_BYTES :]
            yield chunk

    parser = MultiPartParser(
        request.headers,
        watched(),
        max_files=max_files,
        max_fields=MAX_FORM_FIELDS,
        # The door bounds the whole body; a part that is too long is refused by its name.
        max_part_size=sys.maxsize,
    )
    form = await parser.parse()
    if not boundary or end not in tail:
        await form.close()
        raise MultiPartException("The form has no end.")
    return form


def _recording(name: str, value: UploadFile | str) -> BinaryIO:
    if isinstance(value, UploadFile):
        return value.file
    refused = _REFUSED.get(name, errors.ReferenceRefused)
    raise refused(
        reason=f"it came as text. Send the file itself (curl: -F {name}=@FILE).",
        reason_zh=f"收到的是文本，请上传文件本身（curl：-F {name}=@文件）。",
    )


def _kept(files: Mapping[str, BinaryIO], folder: Path) -> dict[str, Upload]:
    """
    The client's file name is never used: it could be a path, or an option of ffmpeg.

    Piece by piece: many large recordings at once must not be in memory as a whole.
    """
    found = {}
    for name, file in files.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        with path.open("wb") as kept:
            shutil.copyfileobj(file, kept)
        found[name] = Upload(path, folder)
    return found


def _value(text: str) -> object:
    """A form has only strings; what is no JSON stays one, and is refused with its name."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
