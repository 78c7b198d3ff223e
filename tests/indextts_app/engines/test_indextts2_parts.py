"""The parts of the adapter that need no model: languages, devices, what errors mean, loading."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest

from indextts_app.engines.base import EngineUnfit, FieldUnusable, OutOfMemory
from indextts_app.engines.indextts2 import device, features, generation, loading
from indextts_app.engines.indextts2.engine import IndexTTS2Engine
from indextts_app.engines.indextts2.language import language_of
from indextts_app.engines.indextts2.weights import Weights

# --- Languages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天天气很好。", "zh"),
        ("今天用 Python 写。", "zhen"),
        ("<行|XING2>了。", "zh"),
        ("<going|G OW1 . IH0 NG>", "en"),
        ("東京タワー", "ja"),
        ("ﾊﾝｶｸ", "ja"),
        ("مرحبا Gradio", "ar"),
        ("Hello, 123.", "en"),
        ("123", "en"),
    ],
)
def test_letters_tell_the_language(text: str, language: str) -> None:
    """Kana before Chinese characters, and a written reading does not count."""
    assert language_of(text) == language


# --- Devices -------------------------------------------------------------------------------------


def a_torch(cuda: int = 0, *, built: bool = True, mps: bool = False) -> Any:
    """Torch on a machine with so many cards."""
    return SimpleNamespace(
        __version__="2.8.0",
        version=SimpleNamespace(cuda="12.8" if built else None),
        cuda=SimpleNamespace(is_available=lambda: cuda > 0, device_count=lambda: cuda),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


@pytest.mark.parametrize(
    ("torch", "asked", "device_name"),
    [
        (a_torch(2), "auto", "cuda:0"),
        (a_torch(2), "cuda", "cuda:0"),
        (a_torch(2), "cuda:1", "cuda:1"),
        (a_torch(2), "cpu", "cpu"),
        (a_torch(mps=True), "auto", "mps"),
        (a_torch(), "auto", "cpu"),
    ],
)
def test_the_device_is_named_to_the_model(torch: Any, asked: str, device_name: str) -> None:
    """With its number, because without one upstream decides by itself."""
    assert device.resolved(torch, asked, "python") == device_name


@pytest.mark.parametrize(
    ("torch", "asked", "why"),
    [
        (a_torch(1), "cuda:1", "torch sees only 1"),
        (a_torch(0), "cuda", "torch 2.8.0 sees none"),
        (a_torch(0, built=False), "cuda", "torch 2.8.0 was built without CUDA"),
        (a_torch(0), "xpu", "torch 2.8.0 sees none"),
    ],
)
def test_a_device_that_is_not_there_is_never_replaced(torch: Any, asked: str, why: str) -> None:
    """The reason, the interpreter, and a way out."""
    with pytest.raises(EngineUnfit, match=f"{re.escape(why)} in /a/python.*INDEXTTS_DEVICE=cpu"):
        device.resolved(torch, asked, "/a/python")


class Card:
    """torch.cuda on a card of which this process holds some megabytes."""

    def __init__(self) -> None:
        self.allocated = self.reserved = 0
        self.peaks = (0, 0)

    def hold(self, allocated: int, reserved: int) -> None:
        """Hold so many MB now."""
        self.allocated, self.reserved = allocated, reserved
        self.peaks = (max(self.peaks[0], allocated), max(self.peaks[1], reserved))

    def get_device_properties(self, _: str) -> Any:
        return SimpleNamespace(uuid="1234")

    def reset_peak_memory_stats(self, _: str) -> None:
        self.peaks = (self.allocated, self.reserved)

    def memory_allocated(self, _: str) -> float:
        return self.allocated * 1e6

    def memory_reserved(self, _: str) -> float:
        return self.reserved * 1e6

    def max_memory_allocated(self, _: str) -> float:
        return self.peaks[0] * 1e6

    def max_memory_reserved(self, _: str) -> float:
        return self.peaks[1] * 1e6


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An NVML that tells these MB in use, one after the other."""
    told: list[int] = []
    module = ModuleType("pynvml")
    vars(module).update(
        NVMLError=type("NVMLError", (Exception,), {}),
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid == "GPU-1234",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=(told.pop(0) if told else 0) * 1e6),
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return told


def test_memory_is_told_before_at_most_and_after(nvml: list[int]) -> None:
    """In tensors, held by the allocator, and on the whole card between the stages."""
    card = Card()
    memory = device.DeviceMemory(SimpleNamespace(cuda=card), "cuda:0")
    nvml.extend([5_000, 9_000, 6_000])
    card.hold(3_000, 4_000)
    told = dict(memory.begin())
    card.hold(7_000, 8_000)
    memory.sample()
    card.hold(3_100, 8_000)
    told |= memory.end()
    assert told == {
        "gpu_memory_before_mb": 3_000,
        "gpu_memory_peak_mb": 7_000,
        "gpu_memory_after_mb": 3_100,
        "gpu_reserved_before_mb": 4_000,
        "gpu_reserved_peak_mb": 8_000,
        "gpu_reserved_after_mb": 8_000,
        "gpu_used_before_mb": 5_000,
        "gpu_used_peak_mb": 9_000,
        "gpu_used_after_mb": 6_000,
    }


def test_without_nvml_the_card_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is absent."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    memory = device.DeviceMemory(SimpleNamespace(cuda=Card()), "cuda:0")
    told = {**memory.begin(), **memory.end()}
    assert not [name for name in told if name.startswith("gpu_used")]


def test_dropped_speakers_leave_the_allocator_as_well() -> None:
    """A worker is judged by what its allocator holds."""
    told: list[str] = []
    engine = IndexTTS2Engine()
    engine._loaded = SimpleNamespace(  # type: ignore[assignment]
        cache=SimpleNamespace(clear=lambda: told.append("cleared")),
        memory=object(),
        loaded=SimpleNamespace(
            torch=SimpleNamespace(cuda=SimpleNamespace(empty_cache=lambda: told.append("emptied")))
        ),
    )
    engine.drop_speakers()
    assert told == ["cleared", "emptied"]


# --- What errors mean ----------------------------------------------------------------------------


def test_a_loop_without_a_token_left_names_its_parameters() -> None:
    """And what to change, in both languages."""
    error = RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    values = {"num_beams": 10, "temperature": 0.1, "top_p": 0.0, "top_k": 1}
    meaning = generation.meaning_of(error, values)
    assert isinstance(meaning, FieldUnusable)
    assert meaning.field == "num_beams"
    assert "temperature 0.1, top_p 0, top_k 1, num_beams 10" in meaning.reason.en
    assert "束宽" in meaning.reason.zh


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: out of memory",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    ],
)
def test_too_little_memory_is_told_apart(said: str) -> None:
    """Whoever says it; the process can go on."""
    assert isinstance(generation.meaning_of(RuntimeError(said), {}), OutOfMemory)


def test_a_lost_device_is_recognised() -> None:
    """Every later call of that process would fail."""
    lost = RuntimeError("CUDA error: device-side assert triggered")
    assert generation.meaning_of(lost, {}) is None
    assert generation.loses_device(lost)
    assert not generation.loses_device(RuntimeError("shape mismatch"))


# --- Loading -------------------------------------------------------------------------------------


def test_an_import_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`infer_v2_5` points the hub's cache elsewhere for the whole process."""
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with loading._same_environment():
        os.environ["HF_HUB_CACHE"] = "./checkpoints/hf_cache"
        os.environ["HF_HOME"] = "elsewhere"
    assert "HF_HUB_CACHE" not in os.environ
    assert os.environ["HF_HOME"] == "/models"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package `indextts`, with the folder of its rules' parent."""
    (tmp_path / "indextts" / "utils").mkdir(parents=True)
    (tmp_path / "indextts" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "indextts"


@pytest.fixture
def compiled(package: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The rules that the normaliser has compiled."""
    made: list[Path] = []

    def compile_rules() -> None:
        made.append(package / "utils" / "tagger_cache" / "zh_tn_tagger.fst")
        made[-1].touch()

    front = SimpleNamespace(TextNormalizer=lambda: SimpleNamespace(load=compile_rules))
    monkeypatch.setattr(loading, "_imported", lambda _: front)
    return made


def test_rules_that_cannot_be_written_are_named_before_they_are_compiled(
    package: Path, compiled: list[Path]
) -> None:
    """With the folder, and what to do."""
    (package / "utils" / "tagger_cache.lock").mkdir()
    with pytest.raises(EngineUnfit, match=r"tagger_cache.*setup_indextts2\.sh"):
        loading._compile_rules()
    assert not compiled


def test_rules_that_are_there_need_no_writable_folder(package: Path, compiled: list[Path]) -> None:
    """A package that is installed for all is often read-only."""
    loading._compile_rules()
    (package / "utils" / "tagger_cache.lock").unlink()
    (package / "utils" / "tagger_cache.lock").mkdir()
    loading._compile_rules()
    assert len(compiled) == 1


def test_rules_whose_compilation_was_interrupted_are_compiled_again(
    package: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream would read whatever is there."""
    rules = package / "utils" / "tagger_cache"
    front = loading._imported("indextts.utils.front")

    def killed() -> None:
        (rules / "zh_tn_tagger.fst").write_text("half")
        raise KeyboardInterrupt

    broken = SimpleNamespace(TextNormalizer=lambda: SimpleNamespace(load=killed))
    monkeypatch.setattr(loading, "_imported", lambda _: broken)
    with pytest.raises(KeyboardInterrupt):
        loading._compile_rules()
    monkeypatch.setattr(loading, "_imported", lambda _: front)
    loading._compile_rules()
    assert [path.read_text() for path in compiled] == [""]


def test_rules_are_compiled_by_one_worker_at_a_time(
    package: Path, compiled: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that had to wait finds them made."""
    loading._compile_rules()
    assert len(compiled) == 1
    compiled.pop().unlink()
    whole = package / "utils" / "tagger_cache" / ".whole"
    whole.unlink()

    def another_makes_them(_: object, how: int) -> None:
        assert how == loading.fcntl.LOCK_EX
        whole.touch()

    monkeypatch.setattr(loading.fcntl, "flock", another_makes_them)
    loading._compile_rules()
    assert not compiled


@pytest.mark.parametrize(
    ("checked", "says"),
    [
        ("sha256", "The files themselves are whole"),
        ("structure", r"Without weights\.json only the structure of the files was checked"),
    ],
)
def test_files_are_called_whole_only_where_every_byte_was_compared(
    checked: Literal["sha256", "structure"],
    says: str,
    asked: Callable[..., loading.Loading],
    tmp_path: Path,
) -> None:
    """Otherwise one of them may be what cannot be loaded."""

    def failing(**_: object) -> None:
        raise ValueError("unexpected key")

    torch = SimpleNamespace(manual_seed=lambda _: None, OutOfMemoryError=MemoryError)
    module = SimpleNamespace(IndexTTS2=failing)
    found = Weights(tmp_path, checked, None, ())
    with pytest.raises(EngineUnfit, match=f"ValueError: unexpected key.*{says}"):
        loading._constructed(module, torch, asked(), found, "cpu")  # type: ignore[arg-type]


@pytest.fixture
def asked() -> Callable[..., loading.Loading]:
    """How to load, with some of it changed."""

    def asked(**changes: Any) -> loading.Loading:
        switches = ("half_precision", "emotion_from_text", "cuda_kernel", "deepspeed", "accel")
        fields = dict.fromkeys((*switches, "torch_compile"), False)
        return loading.Loading(**{"version": "2", "device": "auto", **fields, **changes})

    return asked


def test_what_has_no_effect_is_said(asked: Callable[..., loading.Loading]) -> None:
    """Upstream falls back without a word."""
    tts = SimpleNamespace(use_cuda_kernel=False)
    lines = loading._without_effect(asked(half_precision=True, cuda_kernel=True), tts, "cpu")
    said = " ".join(lines)
    assert "runs on the CPU" in said
    assert "INDEXTTS_HALF_PRECISION has no effect on cpu" in said
    assert "INDEXTTS_CUDA_KERNEL has no effect" in said
    assert not list(loading._without_effect(asked(), tts, "cuda:0"))


# --- What may be asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "2.5"])
def test_every_control_can_be_left_at_its_default(version: str) -> None:
    """Each has a name of its own, and a default that fits."""
    controls = features.features(model_version=version).controls
    assert len({control.name for control in controls}) == len(controls)
    for control in controls:
        if control.kind == "choice":
            assert control.default in control.choices
        elif control.kind != "switch":
            assert control.lowest <= float(control.default) <= control.highest


def test_what_is_not_loaded_is_not_offered() -> None:
    """No emotion from words without its model, and no parameter that the fast loop ignores."""
    bare = features.features(model_version="2", emotion_from_text=False, accel=True)
    assert "text" not in bare.emotion_modes
    names = {control.name for control in bare.controls}
    assert "temperature" in names
    assert not names & {"top_p", "top_k", "num_beams", "do_sample", "repetition_penalty"}


def test_limits_are_those_of_the_loaded_model() -> None:
    """Where they are narrower than the table; a default is never beyond them."""
    table = features.fitted(
        features.features(model_version="2"), max_mel_tokens=600, max_text_tokens=400
    )
    limits = {
        control.name: (control.default, control.highest)
        for control in table.controls
        if control.kind == "integer"
    }
    assert limits == {
        "interval_silence_ms": (200, 5_000),
        "segment_tokens": (120, 400),
        "quick_streaming_tokens": (0, 400),
        "top_k": (30, 100),
        "num_beams": (3, 10),
        "max_mel_tokens": (600, 600),
    }


def test_parameters_are_told_only_where_there_are_controls() -> None:
    """The accelerated loop has two; no limit of `top_k` is None to transformers."""
    assert generation.parameters({"temperature": 0.5, "max_mel_tokens": 100}) == {
        "temperature": 0.5,
        "max_mel_tokens": 100,
    }
    assert generation.parameters({"top_k": 0, "top_p": 0.5, "do_sample": True}) == {
        "top_k": None,
        "top_p": 0.5,
    }
