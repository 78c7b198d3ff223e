"""The service's own files, put where Gradio may serve them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from gradio.data_classes import FileData


def linked(path: Path, folder: Path) -> dict[str, Any]:
    """A new file as Gradio hands it to the browser: a link, so that it is stored once."""
    target = folder / path.name
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    return _described(target)


def copied(path: Path, folder: Path) -> dict[str, Any]:
    """The same of an old file; a link would be as old, and the next sweep would take it away."""
    target = folder / path.name
    shutil.copyfile(path, target)
    return _described(target)


def _described(path: Path) -> dict[str, Any]:
    return FileData(path=str(path), orig_name=path.name).model_dump()
