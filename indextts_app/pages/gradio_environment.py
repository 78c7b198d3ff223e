"""What Gradio has to find in its environment, put there before it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType


def upload_folder(output_dir: Path) -> Path:
    """Where Gradio keeps uploads and the files it serves; everything in it is temporary."""
    return output_dir.resolve() / "gradio"


def prepare(output_dir: Path) -> None:
    """
    Set Gradio's environment; call it before the first import of gradio or of a page module.

    Gradio has no other way to be told these things: some are read when it is imported, some when
    a Blocks is built, and none can be corrected afterwards.
    """
    folder = upload_folder(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        # It would report starts and errors to another host.
        "GRADIO_ANALYTICS_ENABLED": "False",
        # One data frame per event makes every call slower than the last: 6 ms become 33 ms.
        "GRADIO_ANALYTICS_MAX_EVENTS": "1",
        "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
        # Under our own folder, so that our retention reaches what a crash leaves behind.
        "GRADIO_TEMP_DIR": str(folder),
    }
    if _COMPONENT_META not in sys.meta_path:
        sys.meta_path.insert(0, _COMPONENT_META)


class _WithoutStubs(SourceFileLoader):
    """Takes from `gradio.component_meta` what parses and writes a type stub for each component."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        vars(module)["create_or_modify_pyi"] = lambda *_: None


class _ComponentMeta(MetaPathFinder):
    """
    Has Gradio imported without writing type stubs into its own folder.

    It would do so at every import: half of the time that it takes (2.1 s become 1.1 s where this
    was measured), and with two services at once they would write into the same files.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002  # of the interface
    ) -> ModuleSpec | None:
        """Of that one module."""
        spec = PathFinder.find_spec(fullname, path) if fullname == _STUBBING else None
        if spec and spec.origin:
            spec.loader = _WithoutStubs(fullname, spec.origin)
        return spec


_STUBBING = "gradio.component_meta"
_COMPONENT_META = _ComponentMeta()
