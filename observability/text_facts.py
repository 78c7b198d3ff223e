"""
What may be known of a user's text: its length, its script and a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Script = Literal["zh", "en", "mixed", "other"]

KEY_BYTES: Final = 32
_HASH_CHARACTERS: Final = 32

_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN: Final = re.compile("[A-Za-z\u00c0-\u024fＡ-Ｚａ-ｚ]")


@dataclass(frozen=True, slots=True)
class TextFacts:
    """
    All that is kept of a text; the text itself cannot be had back from it without the key.

    `text_len` counts characters (code points); `text_hash` is 32 hexadecimal characters.
    """

    text_len: int
    text_script: Script
    text_hash: str


def facts_of(text: str, key: bytes) -> TextFacts:
    """
    Return the facts of a text: equal texts have equal hashes under one key, and only then.

    See `keyed_hash`.
    """
    return TextFacts(len(text), _script_of(text), keyed_hash(text, key))


def keyed_hash(text: str, key: bytes) -> str:
    """
    Return 32 hexadecimal characters that tell texts apart and nothing else about them.

    Texts that Unicode holds to be the same (NFC) hash the same. The hash is HMAC-SHA256 cut to
    128 bits; keyed, because the hash of a short sentence would otherwise be found by trying.
    """
    canonical = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
    return hmac.new(key, canonical, hashlib.sha256).hexdigest()[:_HASH_CHARACTERS]


def hash_key(path: Path) -> bytes:
    """
    Return the 32-byte key kept at `path`, made at the first call and the same ever after.

    The file is readable by its owner only. Processes that race for the first call get one key.

    Raises:
        ValueError: the file holds something that is not 32 bytes long.
        OSError: it can be neither read nor made.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        _offer_key(path)
        key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes where a key has {KEY_BYTES}.")
    return key


def _offer_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    offer = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(offer, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link appears whole or not at all and never replaces: whoever comes first has made the
        # key for all, and nobody ever reads half of one.
        os.link(offer, path)
    except FileExistsError:
        pass
    finally:
        offer.unlink()


def _script_of(text: str) -> Script:
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    letters = sum(map(str.isalpha, text))
    if not letters or 2 * (han + latin) < letters:
        return "other"
    if han and latin:
        return "mixed"
    return "zh" if han else "en"
