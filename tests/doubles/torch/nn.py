"""A double of torch.nn: modules that can be called and hooked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Handle:
    """Takes a hook away again."""

    def __init__(self, hooks: list[Any], hook: object) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take it away."""
        self._hooks.remove(self._hook)


class Module:
    """Calls `forward` between its hooks."""

    def __init__(self) -> None:
        self._before: list[Callable[..., Any]] = []
        self._after: list[Callable[..., Any]] = []

    def register_forward_pre_hook(self, hook: Callable[..., Any], **_: object) -> Handle:
        """Called before each call."""
        self._before.append(hook)
        return Handle(self._before, hook)

    def register_forward_hook(self, hook: Callable[..., Any], **_: object) -> Handle:
        """Called after each call."""
        self._after.append(hook)
        return Handle(self._after, hook)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module does."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Hooks, forward, hooks."""
        for hook in list(self._before):
            hook(self, args)
        result = self.forward(*args, **kwargs)
        for hook in list(self._after):
            hook(self, args, result)
        return result
