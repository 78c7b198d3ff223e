"""
What is loaded was whole: every missing, cut off or altered file is named before it is opened.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hollow_weights import write_hollow_weights

from indextts_app import model_weights
from indextts_app.engines.base import EngineUnfit
from indextts_app.engines.indextts2 import weights
from indextts_app.engines.indextts2.weights import LAYOUTS, MANIFEST, verified

EXPECTED = {
    "2": {
        "config.yaml",
        "bpe.model",
        "gpt.pth",
        "s2mel.pth",
        "wav2vec2bert_stats.pt",
        "feat1.pt",
        "feat2.pt",
        "hf_cache/semantic_codec_model.safetensors",
    },
    "2.5": {
        "config.yaml",
        "multilingual_zh_ja_yue_char_del.tiktoken",
        "codec.pth",
        "gpt.pth",
        "s2mel.pth",
        "wav2vec2bert_stats.pt",
        "feat1.pt",
        "feat2.pt",
    },
}
AUXILIARY = {
    "hf_cache/w2v-bert-2.0/config.json",
    "hf_cache/w2v-bert-2.0/preprocessor_config.json",
    "hf_cache/w2v-bert-2.0/model.safetensors",
    "hf_cache/campplus_cn_common.bin",
    "hf_cache/bigvgan/config.json",
    "hf_cache/bigvgan/bigvgan_generator.pt",
}
QWEN = "qwen0.6bemo4-merge"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Whole weights of version 2 without a manifest, as somebody copied them."""
    return write_hollow_weights(tmp_path / "model")


@pytest.fixture
def fetched(folder: Path) -> Path:
    """The same with a manifest."""
    model_weights.trust(folder, "2")
    return folder


def refusal(folder: Path, version: str = "2") -> str:
    with pytest.raises(EngineUnfit) as raised:
        verified(folder, version)
    return str(raised.value)


@pytest.mark.parametrize("version", EXPECTED)
def test_every_file_that_the_constructor_opens_is_checked(version: str, tmp_path: Path) -> None:
    """With and without a manifest, and none beyond: an emotion model only where it is wanted."""
    model = write_hollow_weights(tmp_path, version)
    found = verified(model, version)
    plain = verified(model, version, emotion_from_text=False)
    assert set(plain.files) == EXPECTED[version] | AUXILIARY
    assert {path for path in found.files if path.startswith(QWEN)} == set(found.files) - set(
        plain.files
    )
    assert f"{QWEN}/model.safetensors" in found.files
    assert (found.checked, found.fingerprint) == ("structure", None)
    trusted = model_weights.trust(model, version)
    assert (trusted.checked, trusted.files) == ("sha256", found.files)
    assert trusted == verified(model, version)


def test_the_constructor_gets_paths_that_are_there(folder: Path) -> None:
    """With these upstream's own downloader, which wants the network, is never called."""
    found = verified(folder, "2")
    assert found.config.is_file()
    assert all(map(Path.exists, map(Path, found.aux_paths.values())))


def test_every_source_has_one_place() -> None:
    """No two files of a version share a path, and no two of a repository a source."""
    for layout in LAYOUTS.values():
        paths = [weight.path for repository in layout for weight in repository.weights]
        assert len(set(paths)) == len(paths)
        for repository in layout:
            sources = [weight.source for weight in repository.weights]
            assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("path", sorted(EXPECTED["2"] | AUXILIARY))
def test_a_missing_file_is_named(path: str, folder: Path) -> None:
    """Whichever it is, and with the command that fetches it."""
    (folder / path).unlink()
    message = refusal(folder)
    assert f"{path} is missing" in message
    assert f"scripts/fetch_weights.py --version 2 --model-dir {folder}" in message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """With the command that makes it."""
    message = refusal(tmp_path / "nowhere")
    assert f"no folder {tmp_path / 'nowhere'}" in message
    assert "scripts/fetch_weights.py" in message


def cut(path: Path) -> None:
    """As a download that broke off."""
    content = path.read_bytes()
    path.write_bytes(content[: -min(100, len(content) // 3)])


def fill_with_zeros(path: Path) -> None:
    """As a download that had reserved its room, and broke off before the end of it."""
    content = path.read_bytes()
    path.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])


def empty(path: Path) -> None:
    """As a disk that was full."""
    path.write_bytes(b"")


def put_a_page(path: Path) -> None:
    """As a mirror that answers with its login page."""
    path.write_text("<!DOCTYPE html><title>Sign in</title>" * 100)


@pytest.mark.parametrize("damage", [cut, fill_with_zeros, empty, put_a_page])
@pytest.mark.parametrize(
    "path",
    [
        "gpt.pth",
        "feat1.pt",
        "hf_cache/campplus_cn_common.bin",
        "hf_cache/semantic_codec_model.safetensors",
        "hf_cache/w2v-bert-2.0/model.safetensors",
        "hf_cache/bigvgan/config.json",
        "bpe.model",
        f"{QWEN}/tokenizer.json",
        f"{QWEN}/chat_template.jinja",
    ],
)
def test_a_damaged_file_is_named_without_a_manifest(
    path: str, damage: Callable[[Path], None], folder: Path
) -> None:
    """Its own format shows it, before anything tries to load it."""
    damage(folder / path)
    assert f"{path} is " in refusal(folder)


@pytest.mark.parametrize("damage", [fill_with_zeros, empty, put_a_page])
def test_damaged_settings_are_named(damage: Callable[[Path], None], folder: Path) -> None:
    """They are read first, because they may name the other files."""
    damage(folder / "config.yaml")
    assert "config.yaml is " in refusal(folder)


def test_the_tokens_of_2_5_are_read_to_the_end(tmp_path: Path) -> None:
    """Its tokenizer's file has lines of two parts; half a line is damage."""
    model = write_hollow_weights(tmp_path, "2.5")
    path = model / "multilingual_zh_ja_yue_char_del.tiktoken"
    path.write_bytes(path.read_bytes()[:-2])
    assert "tiktoken is cut off" in refusal(model, "2.5")


def test_a_zip_that_is_no_checkpoint_is_named(folder: Path) -> None:
    """Somebody's archive of the weights instead of the weights."""
    with zipfile.ZipFile(folder / "gpt.pth", "w") as archive:
        archive.writestr("gpt.pth", "weights")
    assert "gpt.pth is no PyTorch checkpoint" in refusal(folder)


def test_a_checkpoint_of_an_old_torch_is_taken_by_its_hash_only(folder: Path) -> None:
    """Before 1.6 it was no zip file: `torch.save(…, _use_new_zipfile_serialization=False)`."""
    legacy = bytes.fromhex("80028a0a6cfc9c46f9206aa85019") + b".\x80\x02M\xe9\x03."
    path = folder / "hf_cache/campplus_cn_common.bin"
    model_weights.trust(folder, "2")
    path.write_bytes(legacy)
    manifest = weights.Manifest.read(folder)
    assert manifest
    files = tuple(
        weights.Listed(file.path, len(legacy), weights.sha256_of(path))
        if folder / file.path == path
        else file
        for file in manifest.files
    )
    weights.Manifest("2", files).write(folder)
    assert verified(folder, "2").checked == "sha256"
    (folder / MANIFEST).unlink()
    assert f"{path.name} is in the format of PyTorch before 1.6" in refusal(folder)


def test_one_changed_byte_of_a_checkpoint_is_found_without_a_manifest(folder: Path) -> None:
    """By the checksum that the file itself carries of each tensor."""
    content = (folder / "gpt.pth").read_bytes()
    middle = content.index(b"\1" * 100) + 50
    (folder / "gpt.pth").write_bytes(content[:middle] + b"\2" + content[middle + 1 :])
    assert "gpt.pth is cut off or damaged" in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        b"\x0a\x03abc",
        # A piece that is no text; then a whole vocabulary without what should follow it.
        b"\x0a\x03\x0a\x01\xff\x12\x00\x1a\x00",
        b"\x0a\x03\x0a\x01a\x12\x00",
        b"\x0b\x0a\x03\x0a\x01a\x12\x00\x1a\x00",
        b"\xff" * 20,
    ],
)
def test_a_vocabulary_that_cannot_be_read_is_named(content: bytes, folder: Path) -> None:
    """Before sentencepiece says something about protobuf."""
    (folder / "bpe.model").write_bytes(content)
    assert "bpe.model is cut off or damaged" in refusal(folder)


def test_a_folder_in_place_of_a_file_is_named(folder: Path) -> None:
    """As `git clone` without large files, or an unpacked archive, may leave it."""
    (folder / "bpe.model").unlink()
    (folder / "bpe.model").mkdir()
    assert "bpe.model is no file" in refusal(folder)


@pytest.mark.parametrize("path", ["gpt.pth", "bpe.model", f"{QWEN}/chat_template.jinja"])
def test_one_changed_byte_is_found_with_a_manifest(path: str, fetched: Path) -> None:
    """Where the structure is right and the size as well."""
    content = bytearray((fetched / path).read_bytes())
    content[len(content) // 2] ^= 1
    (fetched / path).write_bytes(content)
    assert f"{path} has other content" in refusal(fetched)


def test_another_size_is_told_before_anything_is_hashed(
    fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start with a file that was cut off fails at once."""

    def hashing(path: Path) -> str:
        raise AssertionError(path)

    size = (fetched / "s2mel.pth").stat().st_size
    cut(fetched / "s2mel.pth")
    monkeypatch.setattr(weights, "sha256_of", hashing)
    assert f"s2mel.pth has {size - 100:,} bytes instead of {size:,}" in refusal(fetched)


def test_a_missing_file_is_named_with_a_manifest(fetched: Path) -> None:
    """As without one."""
    (fetched / "hf_cache/w2v-bert-2.0/model.safetensors").unlink()
    assert "hf_cache/w2v-bert-2.0/model.safetensors is missing" in refusal(fetched)


def test_without_emotions_from_text_its_model_may_be_missing(fetched: Path) -> None:
    """1.2 GB less to fetch, to check and to load."""
    for path in (fetched / QWEN).iterdir():
        path.unlink()
    assert QWEN in refusal(fetched)
    assert verified(fetched, "2", emotion_from_text=False).checked == "sha256"


def test_an_emotion_model_that_was_never_fetched_is_missing(folder: Path) -> None:
    """Turning emotions from text on later says what to fetch, not that a list has a gap."""
    for path in (folder / QWEN).iterdir():
        path.unlink()
    model_weights.trust(folder, "2", emotion_from_text=False)
    assert f"{QWEN}/config.json is missing" in refusal(folder)


def test_files_of_the_operator_are_nobodys_business(fetched: Path) -> None:
    """A glossary, notes, what an older download left behind."""
    (fetched / "glossary.yaml").write_text("API: {zh: 接口}")
    (fetched / "hf_cache/w2v-bert-2.0/conformer_shaw.pt").write_text("not needed")
    assert verified(fetched, "2")


def test_many_faults_make_one_sentence(folder: Path) -> None:
    """The first ones and how many more, in both languages."""
    for path in ("feat1.pt", "feat2.pt", "gpt.pth", "s2mel.pth", "bpe.model"):
        (folder / path).unlink()
    with pytest.raises(weights.WeightsUnfit) as raised:
        verified(folder, "2")
    reason = raised.value.reason
    assert reason.en.count("is missing") == weights.SHOWN_FAULTS
    assert "and 2 more" in reason.en
    assert "另有 2 个文件" in reason.zh
    assert "运行此命令可补全" in reason.zh


def test_a_folder_of_the_other_version_is_refused(fetched: Path) -> None:
    """Many files have the same names; what to change is said instead of a download offered."""
    message = refusal(fetched, "2.5")
    assert "holds IndexTTS-2, not 2.5" in message
    assert "INDEXTTS_MODEL_DIR" in message
    assert "fetch_weights" not in message


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": "2"}', '{"version": "2", "files": [{"size": 1}]}']
)
def test_a_broken_manifest_is_no_reason_to_load_unchecked(content: str, fetched: Path) -> None:
    """It is named like any other file; fetching writes a new one."""
    (fetched / MANIFEST).write_text(content)
    assert f"{MANIFEST} cannot be read" in refusal(fetched)


def test_a_file_that_the_manifest_does_not_list_is_not_loaded(fetched: Path) -> None:
    """A manifest with a gap vouches for nothing in the gap."""
    content = json.loads((fetched / MANIFEST).read_text())
    content["files"] = [file for file in content["files"] if file["path"] != "gpt.pth"]
    (fetched / MANIFEST).write_text(json.dumps(content))
    assert "gpt.pth is not in weights.json" in refusal(fetched)


def test_the_files_that_the_settings_name_are_the_ones_checked(folder: Path) -> None:
    """A fine-tuned model keeps its own names; what it does not use may be missing."""
    (folder / "gpt.pth").rename(folder / "gpt_tuned.pth")
    (folder / "bpe.model").rename(folder / "own.model")
    (folder / QWEN).rename(folder / "emotions")
    config = folder / "config.yaml"
    config.write_text(
        config.read_text()
        .replace("gpt.pth", "gpt_tuned.pth")
        .replace("bpe.model", "own.model")
        .replace(QWEN, "emotions")
    )
    assert {"gpt_tuned.pth", "own.model", "emotions/model.safetensors"} <= set(
        verified(folder, "2").files
    )
    cut(folder / "gpt_tuned.pth")
    assert "gpt_tuned.pth is cut off" in refusal(folder)


def test_the_fingerprint_is_that_of_the_content(fetched: Path, tmp_path: Path) -> None:
    """Two copies have the same one, another version has another."""
    copy = write_hollow_weights(tmp_path / "copy")
    other = write_hollow_weights(tmp_path / "other", "2.5")
    fingerprints = [
        verified(fetched, "2").fingerprint,
        model_weights.trust(copy, "2").fingerprint,
        model_weights.trust(other, "2.5").fingerprint,
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert len(fingerprints[0] or "") == 12


def test_a_manifest_is_written_whole_or_not_at_all(
    fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full while it is written leaves the one that was there."""
    before = (fetched / MANIFEST).read_bytes()
    manifest = weights.Manifest.read(fetched)
    assert manifest

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        manifest.write(fetched)
    assert (fetched / MANIFEST).read_bytes() == before


def test_only_a_whole_folder_is_trusted(folder: Path) -> None:
    """A manifest of damaged files would call them right."""
    cut(folder / "gpt.pth")
    with pytest.raises(weights.WeightsUnfit, match=r"gpt\.pth is cut off"):
        model_weights.trust(folder, "2")
    assert not (folder / MANIFEST).exists()


def test_the_weights_of_a_real_loader_pass(tiny_checkpoint: Path) -> None:
    """What torch, safetensors, transformers and sentencepiece themselves wrote."""
    assert verified(tiny_checkpoint, "2").checked == "structure"


def test_the_weights_of_a_real_loader_pass_for_2_5(tiny_checkpoint_25: Path) -> None:
    """The same for the other version's files."""
    assert verified(tiny_checkpoint_25, "2.5").checked == "structure"
