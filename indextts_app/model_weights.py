"""
The weights of IndexTTS-2 and 2.5, fetched from ModelScope, or taken as they are from a folder.

The real client does the transfer: it resumes, retries and checks what arrives. Here its files get
their places, a folder never looks complete before it is, and every failure says what to do.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from indextts_app.engines.base import Translated
from indextts_app.engines.indextts2 import weights
from indextts_app.engines.indextts2.weights import Listed, Manifest, Repository, Weights

STAGING = ".fetching"
"""Folder below the model's own for what is not complete; a later run goes on with what it holds."""

SPARE_BYTES = 100 * 1024 * 1024
"""Room that must be left on the disk beyond the files themselves."""


MAX_TOLD_CHARS = 200


class WeightsUnavailable(Exception):
    """The weights could not be fetched; says why, and what to do."""

    def __init__(self, reason: Translated) -> None:
        super().__init__(reason.en)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Progress:
    """So much of a file has arrived, earlier runs included."""

    path: str
    done_bytes: int
    total_bytes: int


Report = Callable[[Progress], None]


def fetch(
    model_dir: Path,
    version: str,
    *,
    emotion_from_text: bool = True,
    report: Report = lambda _progress: None,
) -> Weights:
    """
    After this the folder holds every file as its repository lists it, and a manifest of them.

    What is there and right is kept, what differs is replaced, and what a broken run left behind is
    gone on with. `report` is called from several threads. Address and token are modelscope's own
    settings (`MODELSCOPE_ENDPOINT`, `MODELSCOPE_API_TOKEN`).

    Raises:
        WeightsUnavailable: no network, no such repository or file, wrong content, no room.
        weights.WeightsUnfit: the folder belongs to another version.
    """
    staging = model_dir / STAGING
    try:
        with _only_one(staging):
            manifest = _manifest(model_dir)
            if manifest and manifest.version != version:
                raise weights.other_version(model_dir, manifest.version, version)
            sources = [
                _listing(repository, emotion_from_text=emotion_from_text)
                for repository in weights.LAYOUTS[version]
            ]
            missing = [_missing(source, model_dir, report) for source in sources]
            _require_room(staging, missing)
            files = [file for source in sources for file in source.files.values()]
            placed = {
                file.path: file
                for source in missing
                for file in _download(source, model_dir, staging, report)
            }
            whole = tuple(placed.get(file.path, file) for file in files)
            Manifest(version, whole).write(model_dir)
            shutil.rmtree(staging)
    except OSError as error:
        raise _unwritable(model_dir, error) from error
    return weights.verified(model_dir, version, emotion_from_text=emotion_from_text)


def trust(model_dir: Path, version: str, *, emotion_from_text: bool = True) -> Weights:
    """
    Write a manifest of a folder that was copied by hand, so that later changes are noticed.

    Raises:
        weights.WeightsUnfit: a file is missing, or its structure shows that it is damaged.
        WeightsUnavailable: the folder cannot be written to.
    """
    paths = weights.required(model_dir, version, emotion_from_text=emotion_from_text)
    faults = weights.each(lambda path: weights.structural_fault(model_dir, path), paths)
    if faults:
        raise weights.unfit(model_dir, version, faults)
    try:
        files = tuple(
            Listed(path, (model_dir / path).stat().st_size, weights.sha256_of(model_dir / path))
            for path in paths
        )
        Manifest(version, files).write(model_dir)
    except OSError as error:
        raise _unwritable(model_dir, error) from error
    return weights.verified(model_dir, version, emotion_from_text=emotion_from_text)


@dataclass(frozen=True, slots=True)
class _Source:
    """Files of one repository by their path in it, and the site that has it."""

    repository: Repository
    endpoint: str
    files: Mapping[str, Listed]


def _listing(repository: Repository, *, emotion_from_text: bool) -> _Source:
    from modelscope_hub import HubApi, HubConfig

    with _explaining(repository):
        # A configuration of its own, because the shared one is that of the process's first call.
        endpoint = HubApi(config=HubConfig()).resolve_endpoint_for_read(repository.id)
        found = {
            file.path: file
            for file in HubApi(endpoint=endpoint).list_repo_files(
                repository.id, "model", revision=repository.revision
            )
        }
    files = {}
    for weight in repository.weights:
        if weight.for_emotion_text and not emotion_from_text:
            continue
        if weight.source not in found:
            raise WeightsUnavailable(
                Translated(
                    f"{repository.id} ({repository.revision}) on {endpoint} has no file "
                    f"{weight.source}. Is MODELSCOPE_ENDPOINT a complete mirror?",
                    f"{endpoint} 上的 {repository.id}（{repository.revision}）没有文件 "
                    f"{weight.source}。MODELSCOPE_ENDPOINT 是完整的镜像吗？",
                )
            )
        file = found[weight.source]
        sha256 = (file.sha256 or "").lower()
        files[weight.source] = Listed(
            weight.path, file.size, sha256, repository.id, repository.revision
        )
    return _Source(repository, endpoint, files)


def _missing(source: _Source, model_dir: Path, report: Report) -> _Source:
    """The part of a repository that is not there yet, or differs."""
    by_path = {file.path: file for file in source.files.values()}
    faults = weights.each(
        lambda path: weights.listing_fault(model_dir, by_path[path]), tuple(by_path)
    )
    wrong = {fault.path for fault in faults}
    for path in by_path.keys() - wrong:
        report(Progress(path, by_path[path].size, by_path[path].size))
    return replace(
        source, files={name: file for name, file in source.files.items() if file.path in wrong}
    )


def _require_room(staging: Path, missing: Iterable[_Source]) -> None:
    wanted = sum(file.size for source in missing for file in source.files.values())
    arrived = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    needed = max(wanted - arrived, 0)
    free = shutil.disk_usage(staging).free
    if needed and free < needed + SPARE_BYTES:
        raise WeightsUnavailable(
            Translated(
                f"{needed / 1e9:.1f} GB are still to come, but the disk of {staging.parent} has "
                f"{free / 1e9:.1f} GB left. Free some, or name another --model-dir.",
                f"还需下载 {needed / 1e9:.1f} GB，但 {staging.parent} 所在磁盘仅剩 "
                f"{free / 1e9:.1f} GB。请清理磁盘，或用 --model-dir 指定其他位置。",
            )
        )


def _download(source: _Source, model_dir: Path, staging: Path, report: Report) -> Iterator[Listed]:
    """Fetch the files, and put each in its place once all of its repository is whole."""
    if not source.files:
        return
    from modelscope import snapshot_download

    folder = staging / source.repository.id.replace("/", "--")
    with _explaining(source.repository):
        snapshot_download(
            source.repository.id,
            revision=source.repository.revision,
            endpoint=source.endpoint,
            local_dir=str(folder),
            cache_dir=str(staging),
            allow_patterns=list(source.files),
            progress_callbacks=[_teller(source.files, report)],
        )
    for name, file in source.files.items():
        if not (folder / name).is_file():
            raise WeightsUnavailable(
                Translated(
                    f"{source.repository.id} changed during the download: {name} is gone. "
                    "Run the command again.",
                    f"{source.repository.id} 在下载期间发生了变化：{name} 不见了。请重新运行命令。",
                )
            )
        target = model_dir / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / name, target)
        yield file if file.sha256 else replace(file, sha256=weights.sha256_of(target))


def _teller(files: Mapping[str, Listed], report: Report) -> type:
    """A class, as modelscope wants one: made anew for each file, told of each piece."""

    class Teller:
        def __init__(self, filename: str, file_size: int) -> None:
            del file_size
            self._file = files[filename]
            self._done = 0

        def update(self, size: int) -> None:
            self._done += size
            report(Progress(self._file.path, self._done, self._file.size))

        def end(self) -> None:
            """The last piece was told already."""

    return Teller


# --- What can go wrong ---------------------------------------------------------------------------


@contextmanager
def _explaining(repository: Repository) -> Iterator[None]:
    from modelscope_hub.errors import HubError
    from requests import RequestException

    try:
        yield
    except (HubError, RequestException) as error:
        raise WeightsUnavailable(_explained(error, repository.id)) from error


def _explained(error: BaseException, what: str) -> Translated:
    """`what` is a repository, or one of its files."""
    from modelscope_hub import errors
    from requests import HTTPError, RequestException

    if isinstance(error, errors.FileDownloadError) and error.failed_files:
        name, cause = next(iter(error.failed_files.items()))
        return _explained(cause, f"{what}: {name}")
    if isinstance(error, HTTPError) and error.__cause__:
        return _explained(error.__cause__, what)
    if isinstance(error, errors.FileIntegrityError):
        return Translated(
            f"{what} arrived with other content than its repository lists ({_told(error)}), and "
            "was thrown away. Run the command again; if it stays so, the mirror is out of date "
            "(MODELSCOPE_ENDPOINT).",
            f"{what} 的内容与仓库所列不符（{_told(error)}），已丢弃。请重新运行命令；"
            "若仍如此，说明镜像已过期（MODELSCOPE_ENDPOINT）。",
        )
    if isinstance(error, errors.NotExistError):
        return Translated(
            f"ModelScope has no {what}, or shows it only to a token that may read it "
            f"({_LOGIN.en}). {_told(error)}",
            f"ModelScope 上没有 {what}，或需要有权限的令牌才能看到（{_LOGIN.zh}）。{_told(error)}",
        )
    if isinstance(error, errors.AuthenticationError | errors.PermissionDeniedError):
        return Translated(
            f"ModelScope does not let this token read {what} ({_LOGIN.en}). {_told(error)}",
            f"ModelScope 不允许当前令牌读取 {what}（{_LOGIN.zh}）。{_told(error)}",
        )
    if isinstance(error, errors.NetworkError | RequestException):
        return Translated(
            f"ModelScope cannot be reached, or broke off, at {what}. What has arrived is kept: "
            "run the command again to go on. Without a network, name a mirror "
            "(MODELSCOPE_ENDPOINT), or copy the files here and run it with --trust. "
            f"{_told(error)}",
            f"读取 {what} 时无法连接 ModelScope 或连接中断。已下载的部分会保留，"
            "重新运行命令即可继续。没有网络时，可指定镜像（MODELSCOPE_ENDPOINT），"
            f"或把文件拷贝到此处后加 --trust 运行。{_told(error)}",
        )
    if isinstance(error, OSError):
        return _local(what, error)
    return Translated(
        f"ModelScope could not deliver {what}. Run the command again. {_told(error)}",
        f"无法从 ModelScope 获取 {what}。请重新运行命令。{_told(error)}",
    )


def _told(error: BaseException) -> str:
    """What the client says, without the request's details that follow it."""
    return str(error).partition("\n")[0][:MAX_TOLD_CHARS]


_LOGIN = Translated(
    "MODELSCOPE_API_TOKEN, or .venv/bin/modelscope login",
    "MODELSCOPE_API_TOKEN，或 .venv/bin/modelscope login",
)


def _local(what: object, error: OSError) -> Translated:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Translated(
            f"The disk is full at {what}. What has arrived is kept: make room and run the "
            "command again to go on.",
            f"写入 {what} 时磁盘已满。已下载的部分会保留：清理磁盘后重新运行命令即可继续。",
        )
    return Translated(
        f"{what} cannot be written ({error.strerror or error}). Name another --model-dir, or run "
        "it as its owner.",
        f"无法写入 {what}（{error.strerror or error}）。请用 --model-dir 指定其他位置，"
        "或以其所有者身份运行。",
    )


def _unwritable(model_dir: Path, error: OSError) -> WeightsUnavailable:
    return WeightsUnavailable(_local(error.filename or model_dir, error))


def _manifest(model_dir: Path) -> Manifest | None:
    try:
        return Manifest.read(model_dir)
    except ValueError:
        # It will be written anew.
        return None


@contextmanager
def _only_one(staging: Path) -> Iterator[None]:
    """Two runs would write into the same partial files."""
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WeightsUnavailable(
                Translated(
                    f"Another run is fetching into {staging.parent}. Wait for it to end.",
                    f"另一个进程正在向 {staging.parent} 下载，请等待其结束。",
                )
            ) from error
        yield
