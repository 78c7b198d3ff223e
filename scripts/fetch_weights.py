"""
Fetch the weights of IndexTTS-2 or 2.5 from ModelScope, or check those that are there.

Files that are there and right are kept, files that differ from the repository's are replaced, and
a broken download goes on where it stopped. Address and token are modelscope's own settings
(MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN). With INDEXTTS_EMOTION_FROM_TEXT=false the emotion model
(1.2 GB) is left out.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import model_weights, settings
from indextts_app.engines.base import Translated
from indextts_app.engines.indextts2 import weights
from scripts import terminal

SECONDS_A_FILE = 24 * 3600
"""modelscope gives a file an hour, which 3 GB do not make on a line below 8 Mbit/s."""


def main() -> int:
    """Exit status 0 with whole weights, 1 without, 2 for a setting that does not fit."""
    try:
        chosen = settings.load()
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    asked = _arguments(chosen)
    folder, version, text = asked.model_dir, asked.version, chosen.emotion_from_text
    try:
        if asked.check:
            found = weights.verified(folder, version, emotion_from_text=text)
        elif asked.trust:
            found = model_weights.trust(folder, version, emotion_from_text=text)
        else:
            _prepare_client()
            found = model_weights.fetch(
                folder, version, emotion_from_text=text, report=_Lines().report
            )
    except (model_weights.WeightsUnavailable, weights.WeightsUnfit) as error:
        return _complain(getattr(error.reason, asked.language), 1)
    except KeyboardInterrupt:
        return _complain(getattr(STOPPED, asked.language), 130)
    size = sum((folder / path).stat().st_size for path in found.files) / 1e9
    how = getattr(CHECKED[found.checked], asked.language)
    print(f"IndexTTS-{version}  {folder}  {len(found.files)} × ✓  {size:.2f} GB  {how}")
    return 0


STOPPED = Translated(
    "Stopped. What has arrived is kept: run the command again to go on.",
    "已停止。已下载的部分会保留，重新运行命令即可继续。",
)

CHECKED = {
    "sha256": Translated(
        f"size and SHA-256 as in {weights.MANIFEST}", f"大小与 SHA-256 均与 {weights.MANIFEST} 一致"
    ),
    "structure": Translated(
        f"structure only: there is no {weights.MANIFEST}; --trust writes one",
        f"仅检查了结构：没有 {weights.MANIFEST}；可用 --trust 生成",
    ),
}


def _arguments(chosen: settings.Settings) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--version",
        choices=tuple(weights.LAYOUTS),
        default=chosen.model_version,
        help="of the model (INDEXTTS_MODEL_VERSION)",
    )
    parser.add_argument(
        "--model-dir",
        type=Path,
        default=chosen.model_dir,
        help="where the weights go (INDEXTTS_MODEL_DIR)",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="check what is there; fetch nothing")
    only.add_argument(
        "--trust",
        action="store_true",
        help=f"take a folder that was copied by hand as it is: write its {weights.MANIFEST}",
    )
    parser.add_argument("--language", choices=terminal.LANGUAGES, default=terminal.language())
    return parser.parse_args()


def _prepare_client() -> None:
    """Read by modelscope when it is imported."""
    os.environ.setdefault("MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT", str(SECONDS_A_FILE))
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        logging.getLogger("modelscope_hub.download").setLevel(logging.WARNING)


class _Lines:
    """Where no bars can be drawn: a line for each file, for a large one at each tenth."""

    TENTHS_FROM_BYTES = 50_000_000

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._lock = threading.Lock()

    def report(self, progress: model_weights.Progress) -> None:
        """Print a line if there is something new to say."""
        if sys.stderr.isatty():
            return
        done = progress.done_bytes * 10 // max(progress.total_bytes, 1)
        if progress.total_bytes < self.TENTHS_FROM_BYTES and done < 10:
            return
        with self._lock:
            if done > self._told.get(progress.path, 0):
                self._told[progress.path] = done
                size = f"{progress.total_bytes / 1e6:,.3f} MB"
                print(f"{done * 10:>4} %  {size:>14}  {progress.path}", flush=True)


def _complain(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
