"""Files that have the structure of the model's weights and nothing in them: they weigh a few kB."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from indextts_app.engines.indextts2.weights import LAYOUTS

CONFIG = """
dataset: {bpe_model: bpe.model}
gpt_checkpoint: gpt.pth
s2mel_checkpoint: s2mel.pth
w2v_stat: wav2vec2bert_stats.pt
spk_matrix: feat1.pt
emo_matrix: feat2.pt
qwen_emo_path: qwen0.6bemo4-merge/
"""

TENSOR_BYTES = 4_096


def write_hollow_weights(folder: Path, version: str = "2") -> Path:
    """A complete folder for this version, each file with content of its own."""
    for repository in LAYOUTS[version]:
        for weight in repository.weights:
            path = folder / weight.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(path, f"{version} {weight.path}"))
    return folder


def _content(path: Path, name: str) -> bytes:
    match path.suffix:
        case ".yaml":
            return CONFIG.encode()
        case ".json":
            return json.dumps({"name": name}).encode()
        case ".pth" | ".pt" | ".bin":
            return _checkpoint(path, name)
        case ".safetensors":
            return _safetensors(name)
        case ".tiktoken":
            return b"IQ== 0\nIg== 1\n"
        case ".model":
            return _sentencepiece(name)
        case ".jinja":
            return f"{{% if true %}}{name}{{% endif %}}".encode()
    return name.encode()


def _sentencepiece(name: str) -> bytes:
    """One piece with its score, what it was trained with, and its normaliser."""
    piece = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x15" + bytes(4)
    return b"\x0a" + bytes([len(piece)]) + piece + b"\x12\x02\x18\x02" + b"\x1a\x02\x18\x01"


def _checkpoint(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", name)
        archive.writestr(f"{path.stem}/data/0", b"\1" * TENSOR_BYTES)
    return path.read_bytes()


def _safetensors(name: str) -> bytes:
    tensor = {"dtype": "U8", "shape": [TENSOR_BYTES], "data_offsets": [0, TENSOR_BYTES]}
    header = json.dumps({"__metadata__": {"name": name}, "weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + b"\1" * TENSOR_BYTES
