"""A double of torch: as much of it as the adapter of IndexTTS-2 touches, in numpy."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from torch import cuda, nn
from torch.errors import OutOfMemoryError

__all__ = ["OutOfMemoryError", "Tensor", "cuda", "manual_seed", "nn", "no_grad", "tensor"]

__version__ = "0.0+double"
version = SimpleNamespace(cuda=None)
backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
xpu = SimpleNamespace(is_available=lambda: False)

int16, int32, int64, float32 = np.int16, np.int32, np.int64, np.float32


class Storage:
    """The memory behind a tensor."""

    def __init__(self, base: np.ndarray) -> None:
        self._base = base

    def nbytes(self) -> int:
        """Its size."""
        return int(self._base.nbytes)

    def data_ptr(self) -> int:
        """Its address."""
        return int(self._base.ctypes.data)


class Tensor(np.ndarray):
    """A numpy array with torch's spellings, always on the CPU."""

    device = SimpleNamespace(type="cpu", index=None)
    requires_grad = False
    grad_fn = None
    is_cuda = False

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its numbers."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """How many dimensions."""
        return self.ndim

    def numel(self) -> int:
        """How many numbers."""
        return int(np.prod(self.shape))

    def element_size(self) -> int:
        """Bytes of one."""
        return self.itemsize

    def numpy(self) -> np.ndarray:
        """The same memory as a plain array."""
        return self.view(np.ndarray)

    def cpu(self) -> Tensor:
        """Here already."""
        return self

    def detach(self) -> Tensor:
        """Never attached."""
        return self

    def to(self, *_: object, **__: object) -> Tensor:
        """There is one device and one precision."""
        return self

    def type(self, dtype: Any) -> Tensor:
        """Of another number type."""
        return self.astype(dtype)

    def unsqueeze(self, dim: int) -> Tensor:
        """With one more dimension."""
        return np.expand_dims(self, dim)

    def untyped_storage(self) -> Storage:
        """The memory behind it."""
        return Storage(self if self.base is None else np.asarray(self.base))


def tensor(values: Any, dtype: Any = None, device: object = None) -> Tensor:
    """A tensor of these numbers."""
    del device
    array = np.asarray(values)
    if dtype is None and array.dtype == np.float64:
        dtype = np.float32
    return array.astype(dtype or array.dtype).view(Tensor)


def zeros(*shape: int) -> Tensor:
    """A tensor of zeros."""
    return np.zeros(shape, np.float32).view(Tensor)


def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """One tensor of several."""
    return np.concatenate(tensors, axis=dim).view(Tensor)


_random = np.random.default_rng(0)


def manual_seed(seed: int) -> None:
    """The same seed, the same noise."""
    global _random
    _random = np.random.default_rng(seed)


def randn(*shape: int) -> Tensor:
    """Noise of the seeded generator."""
    return _random.standard_normal(shape).astype(np.float32).view(Tensor)


def no_grad() -> AbstractContextManager[None]:
    """Nothing here keeps gradients."""
    return nullcontext()


def is_grad_enabled() -> bool:
    """Nothing here keeps gradients."""
    return False


def is_tensor(value: object) -> bool:
    """Whether it is one."""
    return isinstance(value, Tensor)
