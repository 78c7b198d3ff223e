"""Which device the model runs on, and the memory that is held there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indextts_app.engines.base import EngineUnfit

MB = 1e6

PREFERRED = ("cuda:0", "xpu", "mps", "cpu")
"""What `auto` takes, the first that there is; the order of the model's own constructor."""


def resolved(torch: Any, asked: str, python: str) -> str:  # noqa: ANN401
    """
    The device to name to the model's constructor; `auto` becomes one of `PREFERRED`.

    Raises:
        EngineUnfit: the device that was asked for is not there.
    """
    if asked == "auto":
        return next(name for name in PREFERRED if _count(torch, name))
    device = "cuda:0" if asked == "cuda" else asked
    there = _count(torch, device)
    if int(device.partition(":")[2] or 0) < there:
        return device
    raise EngineUnfit(
        f"There is no device '{asked}' for the model: {_why_not(torch, device, there)} in "
        f"{python}. See whether nvidia-smi shows the card, or set INDEXTTS_DEVICE=cpu, which is "
        "many times slower."
    )


def _count(torch: Any, device: str) -> int:  # noqa: ANN401
    """How many of this kind there are."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return 1
    if kind == "cuda":
        return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0
    owner = torch.backends if kind == "mps" else torch
    return int(hasattr(owner, kind) and getattr(owner, kind).is_available())


def _why_not(torch: Any, device: str, there: int) -> str:  # noqa: ANN401
    if there:
        return f"torch sees only {there}"
    if device.startswith("cuda") and torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    return f"torch {torch.__version__} sees none"


class DeviceMemory:
    """
    The memory of a CUDA device around one request, in MB (10^6 bytes), named as in the event.

    What the whole card has in use comes from NVML, if the package pynvml is there; as NVML keeps
    no peak, `sample` should be called whenever the stage changes.
    """

    def __init__(self, torch: Any, device: str) -> None:  # noqa: ANN401
        self._cuda = torch.cuda
        self._device = device
        self._nvml = _nvml(torch, device)
        self._used_peak = 0.0

    @property
    def allocated_mb(self) -> float:
        """In tensors."""
        return float(self._cuda.memory_allocated(self._device)) / MB

    @property
    def reserved_mb(self) -> float:
        """Held by the allocator."""
        return float(self._cuda.memory_reserved(self._device)) / MB

    def begin(self) -> Mapping[str, float]:
        """What is held before; the peaks count from here."""
        self._cuda.reset_peak_memory_stats(self._device)
        self._used_peak = 0.0
        return self._now("before")

    def sample(self) -> float | None:
        """What is in use on the whole card now."""
        if self._nvml is None:
            return None
        nvml, card = self._nvml
        used = float(nvml.nvmlDeviceGetMemoryInfo(card).used) / MB
        self._used_peak = max(self._used_peak, used)
        return used

    def end(self) -> Mapping[str, float]:
        """The peaks since `begin`, and what is held after."""
        after = self._now("after")
        peaks = {
            "gpu_memory_peak_mb": float(self._cuda.max_memory_allocated(self._device)) / MB,
            "gpu_reserved_peak_mb": float(self._cuda.max_memory_reserved(self._device)) / MB,
        }
        if self._nvml:
            peaks["gpu_used_peak_mb"] = self._used_peak
        return {**peaks, **after}

    def _now(self, when: str) -> dict[str, float]:
        now = {
            f"gpu_memory_{when}_mb": self.allocated_mb,
            f"gpu_reserved_{when}_mb": self.reserved_mb,
        }
        used = self.sample()
        return now if used is None else {**now, f"gpu_used_{when}_mb": used}


def _nvml(torch: Any, device: str) -> tuple[Any, Any] | None:  # noqa: ANN401
    """NVML and the card, found by UUID: CUDA_VISIBLE_DEVICES renumbers the cards for CUDA only."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        card = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetMemoryInfo(card)
    except (pynvml.NVMLError, AttributeError):
        # A container without the driver's library, a slice of a card, an older torch.
        return None
    return pynvml, card
