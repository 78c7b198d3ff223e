"""
Object storage that speaks S3 (AWS, MinIO, Alibaba OSS …), as the archive uses it.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from observability.archive_files import BLOCK


class RemoteFailed(Exception):
    """The object storage did not do what it was asked; one sentence in each language."""

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


class Remote(Protocol):
    """Where archives are kept beyond this machine."""

    def put(self, path: Path, name: str) -> None:
        """Store a file under a name; it is whole there when this returns."""

    def holds(self, path: Path, name: str) -> bool:
        """Whether what is stored under a name is this file, byte for byte."""

    def get(self, name: str, path: Path) -> bool:
        """Fetch what is stored under a name into a file; False if there is nothing."""

    def delete(self, name: str) -> None:
        """Remove what is stored under a name, if anything."""

    def names(self) -> list[str]:
        """Everything that is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """
    A bucket and who may use it.

    Args:
        name: of the bucket.
        endpoint: address of the storage; AWS's own if not given.
        prefix: what every name begins with, `logs/indextts/` say.
        region: as the storage calls it.
        access_key, secret_key: if not given, those of the environment or machine are used.
        addressing: `virtual` puts the bucket into the host's name, as OSS wants it; `path` behind
            it, as MinIO does; `auto` chooses by the endpoint.
    """

    name: str
    endpoint: str | None = None
    prefix: str = ""
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    addressing: Literal["auto", "virtual", "path"] = "auto"

    def __repr__(self) -> str:
        return f"Bucket({self.name!r}, endpoint={self.endpoint!r}, prefix={self.prefix!r})"


class S3Remote:
    """
    Archives in a bucket.

    Every upload carries its MD5, so that the storage refuses it if a byte changed on the way; what
    is there is compared by the storage's own MD5 (the ETag), or read back where it has none.
    Requests are tried four times and end after a minute without an answer.
    """

    def __init__(self, bucket: Bucket) -> None:
        # Here, because nothing but the archive needs it.
        import boto3
        from botocore.config import Config

        self._bucket = bucket
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=bucket.endpoint,
            region_name=bucket.region,
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=bucket.secret_key,
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 4},
                s3={"addressing_style": bucket.addressing},
                # Newer checksums come in a form of upload that other storages than AWS refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, path: Path, name: str) -> None:
        """Store a file under a name; it is whole there when this returns."""
        digest = b64encode(_digest(path)).decode()
        with path.open("rb") as file, self._failing(name):
            self._client.put_object(
                Bucket=self._bucket.name, Key=self._key(name), Body=file, ContentMD5=digest
            )

    def holds(self, path: Path, name: str) -> bool:
        """Whether what is stored under a name is this file, byte for byte."""
        with self._failing(name):
            head = self._head(name)
            if head is None or head["ContentLength"] != path.stat().st_size:
                return False
            mark: str = head["ETag"].strip('"')
            if len(mark) == 32 and head.get("ServerSideEncryption") in (None, "AES256"):
                return mark == _digest(path).hex()
            return self._content_digest(name) == _digest(path)

    def get(self, name: str, path: Path) -> bool:
        """Fetch what is stored under a name into a file; False if there is nothing."""
        with self._failing(name):
            if self._head(name) is None:
                return False
            body = self._client.get_object(Bucket=self._bucket.name, Key=self._key(name))["Body"]
            with path.open("wb") as file:
                for block in body.iter_chunks(BLOCK):
                    file.write(block)
        return True

    def delete(self, name: str) -> None:
        """Remove what is stored under a name, if anything."""
        with self._failing(name):
            self._client.delete_object(Bucket=self._bucket.name, Key=self._key(name))

    def names(self) -> list[str]:
        """Everything that is stored."""
        with self._failing(self._bucket.prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket.name, Prefix=self._bucket.prefix
            )
            return [
                item["Key"].removeprefix(self._bucket.prefix)
                for page in pages
                for item in page.get("Contents", ())
            ]

    def _key(self, name: str) -> str:
        return self._bucket.prefix + name

    def _head(self, name: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            head: dict[str, Any] = self._client.head_object(
                Bucket=self._bucket.name, Key=self._key(name)
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
        return head

    def _content_digest(self, name: str) -> bytes:
        body = self._client.get_object(Bucket=self._bucket.name, Key=self._key(name))["Body"]
        digest = hashlib.md5(usedforsecurity=False)
        for block in body.iter_chunks(BLOCK):
            digest.update(block)
        return digest.digest()

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            reason = type(error).__name__
            if isinstance(error, ClientError):
                reason = str(error.response.get("Error", {}).get("Code", reason))
            where = self._bucket.endpoint or "AWS"
            raise RemoteFailed(
                en=f"The object storage at {where}, bucket {self._bucket.name}, failed on "
                f"{name or 'its list'} ({reason}). Nothing was dropped; run this again.",
                zh=f"对象存储 {where} 的存储桶 {self._bucket.name} 操作 {name or '列表'} 失败"
                f"（{reason}）。未删除任何数据，请稍后重试。",
            ) from error


def _digest(path: Path) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()
