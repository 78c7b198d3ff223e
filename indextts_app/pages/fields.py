"""The page's fields by name, in the one order in which the browser sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gradio.components import Component

C = TypeVar("C", bound=Component)


class Fields:
    """
    Whatever a visitor fills in; a preset and a request hold the same names.

    The browser sends values without names, so that handlers and page must agree on an order: it
    is the order in which the fields were added.
    """

    def __init__(self) -> None:
        self._components: dict[str, Component] = {}

    def add(self, name: str, component: C) -> C:
        """The component itself, known under its name from now on."""
        self._components[name] = component
        return component

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(self._components)

    @property
    def components(self) -> list[Component]:
        """All components, in the same order."""
        return list(self._components.values())

    def of(self, *names: str) -> list[Component]:
        """The components of these names; of those that are on this page."""
        return [self._components[name] for name in names if name in self._components]

    def named(self, values: Sequence[object]) -> dict[str, object]:
        """The values that the browser sent, by name."""
        return dict(zip(self._components, values, strict=True))
