"""
From a folder of weights to a loaded model: what has to be so before, and what can go wrong.

Everything that upstream would otherwise do by itself is settled here: it is told its device, finds
all files on the disk, asks no network, and prints nothing about a text.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from indextts_app.engines.base import EngineUnfit
from indextts_app.engines.indextts2 import device as devices
from indextts_app.engines.indextts2.variant import VARIANTS
from indextts_app.engines.indextts2.weights import MANIFEST, Weights

SETUP = "scripts/setup_indextts2.sh"

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # Pages of advice to the model's authors, and the names of all its layers.
    "TRANSFORMERS_VERBOSITY": "error",
    # 25 steps of a progress bar for every segment are no lines of a log.
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # OpenMP's threads spin while they wait, and on a busy machine against each other: the same
    # text took 6 to 37 s instead of 1 s.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""For this process, before the first heavy import; what the operator has set himself stays."""


@dataclass(frozen=True, slots=True)
class Loading:
    """How the model is to be loaded."""

    version: str
    device: str
    half_precision: bool
    emotion_from_text: bool
    cuda_kernel: bool
    deepspeed: bool
    accel: bool
    torch_compile: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can speak, and the libraries that it runs on."""

    tts: Any
    torch: Any
    module: types.ModuleType
    """Upstream's own, of the class."""
    device: str


def load(asked: Loading, weights: Weights) -> Loaded:
    """
    The unmodified model of these weights, on the device that was asked for.

    Raises:
        EngineUnfit: it cannot be loaded; says what to do.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    torch = _torch()
    device = devices.resolved(torch, asked.device, sys.executable)
    _check_extras(asked, device)
    with _same_environment():
        module = _imported(VARIANTS[asked.version].module)
    _compile_rules()
    tts = _constructed(module, torch, asked, weights, device)
    for line in _without_effect(asked, tts, device):
        # Whatever a worker prints is a line of the log.
        print(line)  # noqa: T201
    _silence()
    return Loaded(tts, torch, module, device)


def _without_effect(asked: Loading, tts: Any, device: str) -> Iterator[str]:  # noqa: ANN401
    """What was asked for and upstream does without, which it would not say."""
    if asked.device == "auto" and device == "cpu":
        yield ">> no GPU found: the model runs on the CPU, many times slower than speech"
    if asked.half_precision and device in ("cpu", "mps"):
        yield f">> INDEXTTS_HALF_PRECISION has no effect on {device}"
    if asked.cuda_kernel and not tts.use_cuda_kernel:
        yield ">> INDEXTTS_CUDA_KERNEL has no effect: the vocoder's kernel could not be built"


def prepare() -> None:
    """
    Have the text normaliser compile its rules now, so that no worker's first start has to.

    For `scripts/setup_indextts2.sh`; shows as well that this interpreter can run the model.

    Raises:
        EngineUnfit: it cannot; says what to do.
    """
    _torch()
    _imported("indextts.utils.front")
    _compile_rules()


def _torch() -> Any:  # noqa: ANN401
    """Torch, where it and the model's package are installed."""
    for package in ("indextts", "torch"):
        _check_installed(package)
    return _imported("torch")


def _check_installed(package: str) -> None:
    if find_spec(package) is None:
        raise EngineUnfit(
            f"The package {package} is not installed for {sys.executable}: run {SETUP} and set "
            "INDEXTTS_WORKER_PYTHON to the interpreter that it names."
        )


def _imported(name: str) -> types.ModuleType:
    """A module of the model's environment."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        # A library that is linked against another one that is not there is an OSError.
        missing = getattr(error, "name", None) or type(error).__name__
        raise EngineUnfit(
            f"{name} cannot be imported by {sys.executable} ({missing}: {_said(error)}). Its "
            f"environment lacks something, or has it in another version: run {SETUP} again."
        ) from error


def _check_extras(asked: Loading, device: str) -> None:
    """Upstream falls back without a word, or fails halfway, where one of these is missing."""
    needs = {
        "INDEXTTS_DEEPSPEED": (asked.deepspeed, "deepspeed"),
        "INDEXTTS_ACCEL": (asked.accel, "flash_attn"),
        "INDEXTTS_TORCH_COMPILE": (asked.torch_compile, "triton"),
    }
    for setting, (wanted, package) in needs.items():
        if wanted and find_spec(package) is None:
            raise EngineUnfit(
                f"{setting} needs the package {package}, which is not installed for "
                f"{sys.executable}. Install it there, or unset {setting}."
            )
    for setting, wanted in (
        ("INDEXTTS_CUDA_KERNEL", asked.cuda_kernel),
        ("INDEXTTS_ACCEL", asked.accel),
    ):
        if wanted and not device.startswith("cuda"):
            raise EngineUnfit(
                f"{setting} needs an NVIDIA GPU, and the model is to run on {device}. "
                f"Unset {setting}, or see INDEXTTS_DEVICE."
            )


def _constructed(
    module: types.ModuleType,
    torch: Any,  # noqa: ANN401
    asked: Loading,
    weights: Weights,
    device: str,
) -> Any:  # noqa: ANN401
    variant = VARIANTS[asked.version]
    own: Mapping[str, object] = {"aux_paths": weights.aux_paths} if variant.takes_aux_paths else {}
    # What a checkpoint does not hold starts at random; so it is the same in every worker.
    torch.manual_seed(0)
    try:
        return module.IndexTTS2(
            cfg_path=str(weights.config),
            model_dir=str(weights.model_dir),
            device=device,
            use_cuda_kernel=asked.cuda_kernel,
            use_deepspeed=asked.deepspeed,
            use_accel=asked.accel,
            use_torch_compile=asked.torch_compile,
            use_qwen_emo=asked.emotion_from_text,
            **{variant.half_precision: asked.half_precision},
            **own,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise EngineUnfit(
            f"There is not enough memory on {device} to load IndexTTS-{asked.version}. Free some, "
            "or set INDEXTTS_HALF_PRECISION=true, INDEXTTS_EMOTION_FROM_TEXT=false or "
            "INDEXTTS_WORKERS=1."
        ) from error
    except Exception as error:  # an edge: every library of the model may say no in its own way
        raise EngineUnfit(
            f"IndexTTS-{asked.version} cannot be loaded from {weights.model_dir} "
            f"({type(error).__name__}: {_said(error)}). {_suspect(weights)}"
        ) from error


def _suspect(weights: Weights) -> str:
    """What to look at where the weights passed and cannot be loaded all the same."""
    if weights.checked == "sha256":
        return f"The files themselves are whole; see whether the environment is: run {SETUP} again."
    return (
        f"Without {MANIFEST} only the structure of the files was checked, so one of them may be "
        f"damaged: run {SETUP} again, which fetches what is not right."
    )


@contextmanager
def _same_environment() -> Iterator[None]:
    """`indextts.infer_v2_5` points the hub's cache at a folder below wherever it is imported."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _compile_rules() -> None:
    """
    Have the text normaliser compile its rules, which it keeps in the installed package.

    One worker at a time, because each would write the same files.
    """
    package = find_spec("indextts")
    folders = (package and package.submodule_search_locations) or [""]
    rules = Path(folders[0]) / "utils" / "tagger_cache"
    whole = rules / ".whole"
    if whole.exists() or not rules.parent.is_dir():
        return
    try:
        lock = rules.with_suffix(".lock").open("w")
        rules.mkdir(exist_ok=True)
        (rules / ".gitignore").write_text("*\n")
    except OSError as error:
        raise EngineUnfit(
            f"The text normaliser keeps its rules in {rules}, and nothing can be written there "
            f"({error.strerror}). Run {SETUP} as the owner of that folder, or make it writable."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if whole.exists():
            return
        # Upstream reads whatever lies there, and a worker may have ended while it wrote.
        for torn in rules.glob("*.fst"):
            torn.unlink()
        _imported("indextts.utils.front").TextNormalizer().load()
        whole.touch()


def _silence() -> None:
    """
    From now on upstream's modules print nothing: they would print the text, and what it became.

    All that they say of a request is in its event.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "indextts" and isinstance(module, types.ModuleType):
            vars(module).setdefault("print", _nothing)
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="indextts")


def _nothing(*_: object, **__: object) -> None:
    """In the place of `print`."""


def _said(error: BaseException) -> str:
    """The first line of what an error says, within bounds."""
    return (str(error).strip().splitlines() or ["no message"])[0][:200]
