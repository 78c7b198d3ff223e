"""
The real modelscope client fetches from a stub of ModelScope: what arrives is whole, in its place,
and what goes wrong is named with a way out.
"""

from __future__ import annotations

import errno
import fcntl
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from hollow_weights import write_hollow_weights
from modelscope_stub import Stub, quiet_client, serve_repositories

from indextts_app import model_weights
from indextts_app.engines.indextts2 import weights
from indextts_app.engines.indextts2.weights import LAYOUTS, MANIFEST
from indextts_app.model_weights import STAGING, Progress, WeightsUnavailable, fetch

MODEL_REPOSITORY = "IndexTeam/IndexTTS-2"


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client as on a fresh machine, without its pauses between attempts and its own log."""
    from modelscope_hub import _download, _legacy_api

    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.setattr(_download, "DOWNLOAD_INTEGRITY_RETRY_BACKOFF", 0)
    monkeypatch.setattr(_download, "DOWNLOAD_RETRY_MAX_DELAY_SECONDS", 0)
    monkeypatch.setattr(_legacy_api, "REPO_TREE_PAGE_MAX_ATTEMPTS", 1)
    with quiet_client():
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What the repositories hold."""
    return write_hollow_weights(tmp_path / "source")


@pytest.fixture
def stub(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """ModelScope with the repositories of version 2."""
    with serve_repositories(source) as stub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", stub.url)
        yield stub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where the weights shall go; not there yet."""
    return tmp_path / "a folder" / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }


def refusal(model: Path, version: str = "2") -> WeightsUnavailable:
    with pytest.raises(WeightsUnavailable) as raised:
        fetch(model, version)
    assert str(raised.value) == raised.value.reason.en
    assert any("\u4e00" <= letter <= "\u9fff" for letter in raised.value.reason.zh)
    return raised.value


@pytest.mark.parametrize("version", LAYOUTS)
def test_what_was_fetched_may_be_loaded(
    version: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file once and in its place, a manifest that vouches for all, and nothing else left."""
    source = write_hollow_weights(tmp_path / "source", version)
    with serve_repositories(source, version) as stub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", stub.url)
        found = fetch(model, version)
    assert found.checked == "sha256"
    assert found == weights.verified(model, version)
    assert contents(model) == contents(source)
    assert len(stub.fetched) == len(set(stub.fetched)) == len(found.files)
    listed = json.loads((model / MANIFEST).read_text())
    assert listed["version"] == version
    assert {(file["repository"], file["revision"]) for file in listed["files"]} == {
        (repository.id, "master") for repository in LAYOUTS[version]
    }
    assert not (model / STAGING).exists()


def test_what_is_there_and_right_is_not_fetched_again(stub: Stub, model: Path) -> None:
    """A second run fetches nothing, and then only what was lost or altered."""
    fetch(model, "2")
    stub.fetched.clear()
    fetch(model, "2")
    assert stub.fetched == []
    (model / "hf_cache/bigvgan/config.json").unlink()
    (model / "gpt.pth").write_bytes(b"altered")
    assert fetch(model, "2").checked == "sha256"
    assert {fetched.path for fetched in stub.fetched} == {"config.json", "gpt.pth"}


def test_a_folder_that_was_copied_by_hand_is_completed(
    stub: Stub, source: Path, model: Path
) -> None:
    """Its files are compared with the repositories' list, and kept."""
    write_hollow_weights(model)
    (model / "s2mel.pth").unlink()
    fetch(model, "2")
    assert [fetched.path for fetched in stub.fetched] == ["s2mel.pth"]


def test_the_emotion_model_is_left_out_where_nobody_wants_it(stub: Stub, model: Path) -> None:
    """And fetched later, when somebody does."""
    fetch(model, "2", emotion_from_text=False)
    assert not [fetched for fetched in stub.fetched if "qwen" in fetched.path]
    stub.fetched.clear()
    fetch(model, "2")
    assert all("qwen" in fetched.path for fetched in stub.fetched)


def test_a_broken_connection_is_gone_on_with(stub: Stub, source: Path, model: Path) -> None:
    """From the byte where it broke, in the same run."""
    stub.cuts["gpt.pth"] = [1_000, 500]
    fetch(model, "2")
    first_bytes = [fetched.first_byte for fetched in stub.fetched if fetched.path == "gpt.pth"]
    assert first_bytes == [0, 1_000, 1_500]
    assert (model / "gpt.pth").read_bytes() == (source / "gpt.pth").read_bytes()


def test_a_run_that_was_given_up_is_gone_on_with(
    stub: Stub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next one, from the byte where it broke; until then nothing looks complete."""
    from modelscope_hub import _download

    monkeypatch.setattr(_download, "DOWNLOAD_RETRY_TIMES", 0)
    stub.cuts["gpt.pth"] = [1_000]
    error = refusal(model)
    assert f"{MODEL_REPOSITORY}: gpt.pth" in str(error)
    assert "What has arrived is kept" in str(error)
    assert not (model / MANIFEST).exists()
    assert not (model / "gpt.pth").exists()
    with pytest.raises(weights.WeightsUnfit, match="is missing"):
        weights.verified(model, "2")
    stub.fetched.clear()
    fetch(model, "2")
    assert [f.first_byte for f in stub.fetched if f.path == "gpt.pth"] == [1_000]
    assert not {f.path for f in stub.fetched} & {"s2mel.pth", "feat1.pt"}


def test_wrong_content_never_gets_its_place(stub: Stub, model: Path) -> None:
    """The file is named, thrown away and not trusted; the next run fetches it anew."""
    stub.listed_sha256["gpt.pth"] = "0" * 64
    error = refusal(model)
    assert f"{MODEL_REPOSITORY}: gpt.pth" in str(error)
    assert "MODELSCOPE_ENDPOINT" in str(error)
    assert not list(model.rglob("gpt.pth*"))
    assert not (model / MANIFEST).exists()
    stub.listed_sha256.clear()
    stub.fetched.clear()
    fetch(model, "2")
    assert ("gpt.pth", 0) in {(fetched.path, fetched.first_byte) for fetched in stub.fetched}


def test_a_list_without_hashes_still_makes_a_manifest(stub: Stub, model: Path) -> None:
    """Of what arrived, by size then, so that later changes are noticed."""
    stub.listed_sha256["config.yaml"] = ""
    found = fetch(model, "2")
    (listed,) = (
        file
        for file in json.loads((model / MANIFEST).read_text())["files"]
        if file["path"] == "config.yaml"
    )
    assert listed["sha256"] == weights.sha256_of(model / "config.yaml")
    assert found.checked == "sha256"


def test_progress_is_told_for_every_file(stub: Stub, model: Path) -> None:
    """Never backwards, through broken connections, up to the whole of it."""
    stub.cuts["gpt.pth"] = [1_000]
    told: dict[str, list[Progress]] = defaultdict(list)
    found = fetch(model, "2", report=lambda progress: told[progress.path].append(progress))
    assert set(told) == set(found.files)
    for path, steps in told.items():
        done = [step.done_bytes for step in steps]
        assert done == sorted(done)
        assert done[-1] == steps[-1].total_bytes == (model / path).stat().st_size


def test_without_a_network_the_ways_out_are_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror, a copy by hand, or later."""
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    error = refusal(model)
    assert "cannot be reached" in str(error)
    assert "MODELSCOPE_ENDPOINT" in str(error)
    assert "--trust" in str(error)


def test_a_repository_that_is_not_there_is_named(stub: Stub, model: Path) -> None:
    """Gone, renamed, or hidden from this token; nothing of the others is fetched for it."""
    stub.repositories = {
        name: files for name, files in stub.repositories.items() if name != "amphion/MaskGCT"
    }
    error = refusal(model)
    assert "ModelScope has no amphion/MaskGCT" in str(error)
    assert "MODELSCOPE_API_TOKEN" in str(error)
    assert stub.fetched == []


def test_a_file_that_is_not_there_is_named(stub: Stub, model: Path) -> None:
    """A mirror that is not complete."""
    stub.unlisted.add("semantic_codec/model.safetensors")
    error = refusal(model)
    assert "amphion/MaskGCT (master)" in str(error)
    assert "has no file semantic_codec/model.safetensors" in str(error)


def test_a_file_that_goes_away_meanwhile_is_named(stub: Stub, model: Path) -> None:
    """The client fetches what is left without a word."""
    write_hollow_weights(model)
    (model / "gpt.pth").unlink()
    with pytest.raises(WeightsUnavailable, match=r"gpt\.pth is gone"):
        fetch(model, "2", report=lambda _: stub.unlisted.add("gpt.pth"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_read_is_told(status: int, stub: Stub, model: Path) -> None:
    """With the two ways to give another."""
    stub.refused = status
    error = refusal(model)
    assert MODEL_REPOSITORY in str(error)
    assert "MODELSCOPE_API_TOKEN, or .venv/bin/modelscope login" in str(error)


def test_a_site_that_is_broken_is_told(stub: Stub, model: Path) -> None:
    """What it answered is in the message, short."""
    stub.refused = 500
    error = refusal(model)
    assert MODEL_REPOSITORY in str(error)
    assert "Run the command again" in str(error)
    assert "\n" not in str(error)


def room(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr(model_weights.shutil, "disk_usage", lambda _path: Usage())


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    stub: Stub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how much is to come and how much there is."""
    room(model_weights.SPARE_BYTES + 1_000, monkeypatch)
    error = refusal(model)
    assert "0.1 GB left" in str(error)
    assert str(model) in str(error)
    assert stub.fetched == []


def test_what_is_there_needs_no_room(
    stub: Stub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the weights that are on it can be checked and used."""
    fetch(model, "2")
    room(0, monkeypatch)
    assert fetch(model, "2").checked == "sha256"


def test_a_disk_that_fills_up_meanwhile_is_told(
    stub: Stub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has arrived is kept, as after any other end."""
    from modelscope_hub import _download

    real = open

    class Full:
        def __init__(self, path: Any, mode: str) -> None:
            self._file = real(path, mode)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path: Any, mode: str) -> Any:
        return Full(path, mode) if "gpt" in str(path) else real(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(_download, "open", opened, raising=False)
        error = refusal(model)
    assert "disk is full" in str(error)
    assert "gpt.pth" in str(error)
    assert fetch(model, "2").checked == "sha256"


def test_a_folder_that_cannot_be_written_to_is_named(stub: Stub, tmp_path: Path) -> None:
    """Before anything is fetched."""
    (tmp_path / "file").touch()
    error = refusal(tmp_path / "file" / "model")
    assert f"{tmp_path / 'file'}" in str(error)
    assert "--model-dir" in str(error)
    assert stub.fetched == []


def test_the_folder_of_another_version_is_left_alone(stub: Stub, model: Path) -> None:
    """Files of the same name would be replaced."""
    fetch(model, "2")
    before = contents(model)
    stub.fetched.clear()
    with pytest.raises(weights.WeightsUnfit, match=r"holds IndexTTS-2, not 2\.5"):
        fetch(model, "2.5")
    assert contents(model).items() >= before.items()
    assert stub.fetched == []


def test_a_broken_manifest_is_written_anew(stub: Stub, model: Path) -> None:
    """It stops the engine, and must not stop what mends it."""
    fetch(model, "2")
    (model / MANIFEST).write_text("{")
    assert fetch(model, "2").checked == "sha256"


def test_two_runs_do_not_mix(stub: Stub, model: Path) -> None:
    """The second is told to wait."""
    (model / STAGING).mkdir(parents=True)
    with (model / STAGING / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another run" in str(refusal(model))
    assert stub.fetched == []


def test_the_client_is_imported_only_to_fetch() -> None:
    """The service, which knows this module, starts without it."""
    script = (
        "import sys, indextts_app.model_weights\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'modelscope', 'requests',"
        " 'modelscope_hub', 'tqdm'})"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
