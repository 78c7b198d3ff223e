"""Errors of the double of torch."""


class OutOfMemoryError(RuntimeError):
    """The device has no memory left."""
