"""A double of torch.cuda on a machine without a GPU."""

from torch.errors import OutOfMemoryError

__all__ = ["OutOfMemoryError"]


def is_available() -> bool:
    """There is none."""
    return False


def device_count() -> int:
    """There is none."""
    return 0


def manual_seed_all(seed: int) -> None:
    """Nothing to seed."""


def empty_cache() -> None:
    """Nothing to empty."""


def synchronize(device: object = None) -> None:
    """Nothing to wait for."""
