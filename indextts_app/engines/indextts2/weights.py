"""
The weights of IndexTTS-2 and 2.5: which files there are, where each lies, and whether it is whole.

Upstream's constructor touches no network once every file of the layout is in place, so whatever is
missing or damaged has to be found before it runs: it takes a folder that is merely not empty for a
complete one, and fails minutes later with a message about something else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from indextts_app.engines.base import EngineUnfit, Translated

MANIFEST = "weights.json"
"""Written into the model's folder when everything is there: what each file has to be."""

CONFIG = "config.yaml"

HASHING_THREADS = 4
"""One thread hashes about 1 GB/s (SHA extensions); an SSD gives two to four times as much."""

SHOWN_FAULTS = 3


@dataclass(frozen=True, slots=True)
class Weight:
    """One file: its `path` below the model's folder and its `source` within its repository."""

    path: str
    source: str
    setting: str | None = None
    """The entry of config.yaml that names it, for checkpoints that name another."""
    for_emotion_text: bool = False
    """Whether only the mode `text` needs it."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A model repository on ModelScope, and what is taken from it."""

    id: str
    weights: tuple[Weight, ...]
    revision: str = "master"


def _same(*paths: str) -> tuple[Weight, ...]:
    return tuple(Weight(path, path) for path in paths)


_MATRICES = (
    Weight("s2mel.pth", "s2mel.pth", "s2mel_checkpoint"),
    Weight("wav2vec2bert_stats.pt", "wav2vec2bert_stats.pt", "w2v_stat"),
    Weight("feat1.pt", "feat1.pt", "spk_matrix"),
    Weight("feat2.pt", "feat2.pt", "emo_matrix"),
)

_GPT = Weight("gpt.pth", "gpt.pth", "gpt_checkpoint")

_QWEN_FOLDER = "qwen0.6bemo4-merge"
_QWEN = tuple(
    Weight(f"{_QWEN_FOLDER}/{name}", f"{_QWEN_FOLDER}/{name}", "qwen_emo_path", True)
    for name in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "model.safetensors",
    )
)

_AUXILIARY = (
    Repository(
        "AI-ModelScope/w2v-bert-2.0",
        tuple(
            Weight(f"hf_cache/w2v-bert-2.0/{name}", name)
            for name in ("config.json", "preprocessor_config.json", "model.safetensors")
        ),
    ),
    Repository(
        "iic/speech_campplus_sv_zh-cn_16k-common",
        (Weight("hf_cache/campplus_cn_common.bin", "campplus_cn_common.bin"),),
    ),
    Repository(
        "nv-community/bigvgan_v2_22khz_80band_256x",
        tuple(
            Weight(f"hf_cache/bigvgan/{name}", name)
            for name in ("config.json", "bigvgan_generator.pt")
        ),
    ),
)

LAYOUTS: Mapping[str, tuple[Repository, ...]] = MappingProxyType(
    {
        "2": (
            Repository(
                "IndexTeam/IndexTTS-2",
                (
                    *_same(CONFIG),
                    Weight("bpe.model", "bpe.model", "dataset.bpe_model"),
                    _GPT,
                    *_MATRICES,
                    *_QWEN,
                ),
            ),
            Repository(
                "amphion/MaskGCT",
                (
                    Weight(
                        "hf_cache/semantic_codec_model.safetensors",
                        "semantic_codec/model.safetensors",
                    ),
                ),
            ),
            *_AUXILIARY,
        ),
        "2.5": (
            Repository(
                "IndexTeam/IndexTTS-2.5",
                (
                    *_same(CONFIG, "multilingual_zh_ja_yue_char_del.tiktoken", "codec.pth"),
                    _GPT,
                    *_MATRICES,
                    *_QWEN,
                ),
            ),
            *_AUXILIARY,
        ),
    }
)
"""By version: what the constructors of index-tts ee40fa7 load (`infer_v2.py`, `infer_v2_5.py`)."""


class WeightsUnfit(EngineUnfit):
    """The weights must not be loaded; names the file, what is wrong, and what mends it."""

    def __init__(self, reason: Translated) -> None:
        super().__init__(reason.en)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as it has to be: `path` below the model's folder, bytes, SHA-256 in hex, origin."""

    path: str
    size: int
    sha256: str
    repository: str = ""
    revision: str = ""


@dataclass(frozen=True)
class Manifest:
    """What lies in a model's folder; `weights.json` is one."""

    version: str
    files: tuple[Listed, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any byte of any file; their order does not matter."""
        lines = sorted(f"{file.sha256} {file.path}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]

    def write(self, model_dir: Path) -> None:
        """Put it into the folder, as a whole or not at all."""
        content = {"version": self.version, "files": [asdict(file) for file in self.files]}
        target = model_dir / MANIFEST
        draft = target.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)

    @classmethod
    def read(cls, model_dir: Path) -> Manifest | None:
        """That of the folder, or None where there is none; raises `ValueError` for a broken one."""
        try:
            content = json.loads((model_dir / MANIFEST).read_text("utf-8"))
            return cls(content["version"], tuple(Listed(**file) for file in content["files"]))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError) as error:
            raise ValueError("it has another form") from error


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder whose files were checked."""

    model_dir: Path
    checked: Literal["sha256", "structure"]
    """Every byte against the manifest, or without one only what each file's format shows."""
    fingerprint: str | None
    """See `Manifest.fingerprint`; None without a manifest."""
    files: tuple[str, ...]
    """What was checked, below the folder."""

    @property
    def config(self) -> Path:
        """What the constructor takes as `cfg_path`."""
        return self.model_dir / CONFIG

    @property
    def aux_paths(self) -> dict[str, str]:
        """What the constructor of version 2 takes as `aux_paths`."""
        cache = self.model_dir / "hf_cache"
        return {
            "w2v_bert": str(cache / "w2v-bert-2.0"),
            "semantic_codec": str(cache / "semantic_codec_model.safetensors"),
            "campplus": str(cache / "campplus_cn_common.bin"),
            "bigvgan": str(cache / "bigvgan"),
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one file."""

    path: str
    reason: Translated


def verified(model_dir: Path, version: str, *, emotion_from_text: bool = True) -> Weights:
    """
    Nothing is loaded from the folder before this has returned.

    With a manifest each file's size and SHA-256 are compared with it, at every start, because a
    disk or a copy can go wrong later as well; 8 GB take seconds where loading them takes longer.
    Without one (a folder copied by hand) each required file must be there and have a complete
    structure, and PyTorch's files the checksums that they carry, which is all read as well. The
    emotion model is left out where `emotion_from_text` is off.

    Raises:
        WeightsUnfit: a file is missing, cut off or altered, or the folder is not this version's.
    """
    if not model_dir.is_dir():
        raise WeightsUnfit(
            Translated(
                f"There is no folder {model_dir} with the weights of IndexTTS-{version}. "
                f"Fetch them: {command(model_dir, version)}",
                f"没有 IndexTTS-{version} 的权重文件夹 {model_dir}。"
                f"请下载：{command(model_dir, version)}",
            )
        )
    try:
        manifest = Manifest.read(model_dir)
    except (OSError, ValueError) as error:
        reason = Translated(f"cannot be read ({error})", f"无法读取（{error}）")
        raise unfit(model_dir, version, [Fault(MANIFEST, reason)]) from error
    if manifest and manifest.version != version:
        raise other_version(model_dir, manifest.version, version)
    wanted = required(model_dir, version, emotion_from_text=emotion_from_text)
    if manifest:
        faults = _against(manifest, model_dir, wanted)
    else:
        faults = each(lambda path: structural_fault(model_dir, path), wanted)
    if faults:
        raise unfit(model_dir, version, faults)
    return Weights(
        model_dir,
        "sha256" if manifest else "structure",
        manifest.fingerprint if manifest else None,
        wanted,
    )


def required(model_dir: Path, version: str, *, emotion_from_text: bool = True) -> tuple[str, ...]:
    """
    The paths, below the folder, of every file that the constructor will open.

    Raises:
        WeightsUnfit: `config.yaml`, which may name other files than the published ones, is
            missing or no YAML.
    """
    config = _config(model_dir, version)
    paths: list[str] = []
    for repository in LAYOUTS[version]:
        for weight in repository.weights:
            if weight.for_emotion_text and not emotion_from_text:
                continue
            named = _setting(config, weight.setting) if weight.setting else None
            if named and weight.for_emotion_text:
                paths.append(str(Path(named) / Path(weight.path).name))
            else:
                paths.append(named or weight.path)
    return tuple(paths)


def unfit(model_dir: Path, version: str, faults: Iterable[Fault]) -> WeightsUnfit:
    """One sentence for the operator: the first faults, and the command that mends them."""
    faults = tuple(faults)
    rest = len(faults) - SHOWN_FAULTS
    en = "; ".join(f"{fault.path} {fault.reason.en}" for fault in faults[:SHOWN_FAULTS])
    zh = "；".join(f"{fault.path} {fault.reason.zh}" for fault in faults[:SHOWN_FAULTS])
    mend = command(model_dir, version)
    return WeightsUnfit(
        Translated(
            f"The weights in {model_dir} cannot be used: {en}"
            f"{f'; and {rest} more' if rest > 0 else ''}. This fetches what is not right: {mend}",
            f"{model_dir} 中的权重不可用：{zh}"
            f"{f'；另有 {rest} 个文件' if rest > 0 else ''}。运行此命令可补全：{mend}",
        )
    )


def other_version(model_dir: Path, found: str, wanted: str) -> WeightsUnfit:
    """Said of a folder that belongs to another version: many files share their names."""
    return WeightsUnfit(
        Translated(
            f"{model_dir} holds IndexTTS-{found}, not {wanted}. Name another folder "
            f"(INDEXTTS_MODEL_DIR) or the other version (INDEXTTS_MODEL_VERSION).",
            f"{model_dir} 中是 IndexTTS-{found} 而不是 {wanted}。"
            f"请指定其他文件夹（INDEXTTS_MODEL_DIR）或相应版本（INDEXTTS_MODEL_VERSION）。",
        )
    )


def command(model_dir: Path, version: str) -> str:
    """What an operator types to fetch or mend the weights."""
    folder = shlex.quote(str(model_dir))
    return f".venv/bin/python scripts/fetch_weights.py --version {version} --model-dir {folder}"


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex; other threads run meanwhile."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing_fault(model_dir: Path, listed: Listed) -> Fault | None:
    """How a file differs from what it has to be, if it does."""
    return _size_fault(model_dir, listed) or _hash_fault(model_dir, listed)


def each(check: Callable[[str], Fault | None], paths: Iterable[str]) -> list[Fault]:
    """The faults that a check finds, several files at a time."""
    with ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="weights") as pool:
        return [fault for fault in pool.map(check, paths) if fault]


def structural_fault(model_dir: Path, path: str) -> Fault | None:
    """What a file's own format shows to be wrong with it; safetensors carry no checksum."""
    file = model_dir / path
    try:
        size = file.stat().st_size
        if not file.is_file():
            return Fault(path, Translated("is no file", "不是文件"))
        if size == 0:
            return Fault(path, Translated("is empty", "为空文件"))
        check = _STRUCTURES.get(file.suffix)
        reason = check(file, size) if check else None
    except FileNotFoundError:
        return Fault(path, _MISSING)
    except OSError as error:
        return Fault(path, _unreadable(error))
    return Fault(path, reason) if reason else None


_MISSING = Translated("is missing", "缺失")
_CUT_OFF = Translated(
    "is cut off or damaged (a download or copy that did not finish?)",
    "不完整或已损坏（下载或复制未完成？）",
)


def _unreadable(error: OSError) -> Translated:
    return Translated(f"cannot be read ({error.strerror})", f"无法读取（{error.strerror}）")


def _against(manifest: Manifest, model_dir: Path, wanted: Iterable[str]) -> list[Fault]:
    listed = {file.path: file for file in manifest.files}
    wanted = tuple(wanted)
    unlisted = Translated(
        f"is not in {MANIFEST} (a file of your own? --trust takes the folder as it is)",
        f"不在 {MANIFEST} 中（自行添加的文件？可用 --trust 采信当前文件夹）",
    )
    return (
        [
            Fault(path, unlisted if (model_dir / path).exists() else _MISSING)
            for path in wanted
            if path not in listed
        ]
        # Sizes cost nothing, so that a download that was cut off is told at once.
        or each(lambda path: _size_fault(model_dir, listed[path]), wanted)
        or each(lambda path: _hash_fault(model_dir, listed[path]), wanted)
    )


def _size_fault(model_dir: Path, listed: Listed) -> Fault | None:
    try:
        size = (model_dir / listed.path).stat().st_size
    except FileNotFoundError:
        return Fault(listed.path, _MISSING)
    except OSError as error:
        return Fault(listed.path, _unreadable(error))
    if size == listed.size:
        return None
    reason = Translated(
        f"has {size:,} bytes instead of {listed.size:,}", f"为 {size:,} 字节，应为 {listed.size:,}"
    )
    return Fault(listed.path, reason)


def _hash_fault(model_dir: Path, listed: Listed) -> Fault | None:
    try:
        found = sha256_of(model_dir / listed.path)
    except OSError as error:
        return Fault(listed.path, _unreadable(error))
    if found == listed.sha256:
        return None
    reason = Translated(
        f"has other content than it should (SHA-256 {found[:12]}… instead of "
        f"{listed.sha256[:12]}…)",
        f"内容不符（SHA-256 为 {found[:12]}…，应为 {listed.sha256[:12]}…）",
    )
    return Fault(listed.path, reason)


# --- What config.yaml names ----------------------------------------------------------------------


def _config(model_dir: Path, version: str) -> Mapping[str, Any]:
    fault = structural_fault(model_dir, CONFIG)
    if fault:
        raise unfit(model_dir, version, [fault])
    config: Mapping[str, Any] = _parsed_yaml(model_dir / CONFIG)
    return config


def _setting(config: Mapping[str, Any], name: str) -> str | None:
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _parsed_yaml(path: Path) -> Any:  # noqa: ANN401
    # Both environments have it: the model's through omegaconf.
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError("no YAML") from error


# --- What a file's format shows ------------------------------------------------------------------


def _yaml(path: Path, _size: int) -> Translated | None:
    try:
        if isinstance(_parsed_yaml(path), Mapping):
            return None
    except ValueError:
        pass
    return Translated("is no YAML file with settings", "不是有效的 YAML 配置")


def _json(path: Path, _size: int) -> Translated | None:
    try:
        json.loads(path.read_text("utf-8"))
    except ValueError:
        return Translated("is no complete JSON file", "不是完整的 JSON 文件")
    return None


_LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How `torch.save` began before version 1.6: a pickle, whose length nothing tells."""


def _torch(path: Path, _size: int) -> Translated | None:
    with path.open("rb") as file:
        if file.read(len(_LEGACY_TORCH)) == _LEGACY_TORCH:
            return Translated(
                "is in the format of PyTorch before 1.6, which carries no checksum (load it and "
                "torch.save it again)",
                "为 PyTorch 1.6 之前的格式，没有校验和（请加载后用 torch.save 重新保存）",
            )
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if archive.testzip():
                    return _CUT_OFF
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError):
            return _CUT_OFF
    if not any(name.endswith("/data.pkl") for name in names):
        return Translated("is no PyTorch checkpoint", "不是 PyTorch 权重文件")
    return None


MAX_SAFETENSORS_HEADER = 100_000_000
"""The format's own limit (safetensors, `MAX_HEADER_SIZE`)."""


def _safetensors(path: Path, size: int) -> Translated | None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_SAFETENSORS_HEADER):
            return _CUT_OFF
        try:
            header = json.loads(file.read(length))
            ends = [
                tensor["data_offsets"][1] for name, tensor in header.items() if name[:2] != "__"
            ]
        except (ValueError, AttributeError, LookupError, TypeError):
            return _CUT_OFF
    return None if 8 + length + max(ends, default=0) == size else _CUT_OFF


def _tiktoken(path: Path, _size: int) -> Translated | None:
    try:
        for line in path.read_bytes().splitlines():
            token, rank = line.split()
            base64.b64decode(token, validate=True)
            int(rank)
    except ValueError:
        return _CUT_OFF
    return None


_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
"""Fields of SentencePiece's `ModelProto`; what it was trained with follows the vocabulary."""
_TEXT = 1
"""Of its `SentencePiece`."""


def _sentencepiece(path: Path, _size: int) -> Translated | None:
    try:
        fields = list(_protobuf(path.read_bytes()))
        pieces = [
            dict(_protobuf(value))[_TEXT].decode() for number, value in fields if number == _PIECE
        ]
    except (LookupError, ValueError):
        return _CUT_OFF
    if all(pieces) and {_PIECE, _TRAINER, _NORMALIZER} <= {number for number, _ in fields}:
        return None
    return _CUT_OFF


_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types of protobuf; the others are not in use any more."""


def _protobuf(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message by number, a varint as nothing; `ValueError`: it is none."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        length = {_VARINT: 0, _EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind)
        if kind == _VARINT:
            _, position = _varint(message, position)
        elif kind == _BYTES:
            length, position = _varint(message, position)
        if not number or length is None or position + length > len(message):
            raise ValueError("no protobuf")
        yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number there, at most 64 bits, and where it ends."""
    number = 0
    for count, byte in enumerate(message[position : position + 10]):
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, position + count + 1
    raise ValueError("no protobuf")


_JINJA_BLOCK = re.compile(r"\{%[-+]?\s*(end)?(?:if|for|macro)\b")


def _jinja(path: Path, _size: int) -> Translated | None:
    try:
        ends = [bool(end) for end in _JINJA_BLOCK.findall(path.read_text("utf-8"))]
    except ValueError:
        return _CUT_OFF
    return None if ends and sum(ends) * 2 == len(ends) else _CUT_OFF


_STRUCTURES: Mapping[str, Callable[[Path, int], Translated | None]] = MappingProxyType(
    {
        ".yaml": _yaml,
        ".json": _json,
        ".pth": _torch,
        ".pt": _torch,
        ".bin": _torch,
        ".safetensors": _safetensors,
        ".tiktoken": _tiktoken,
        ".model": _sentencepiece,
        ".jinja": _jinja,
    }
)
