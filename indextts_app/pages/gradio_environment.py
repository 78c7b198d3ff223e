"""What Gradio has to find in its environment, put there before it is imported."""

from __future__ import annotations

import os
from pathlib import Path


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
