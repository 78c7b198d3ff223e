"""What the documentation tells to type is typed here, word for word but for the address."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from playing import played

if TYPE_CHECKING:
    from conftest import Site  # type: ignore[attr-defined]

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
HERE = "http://127.0.0.1:7860"
PAGES = ("docs/openai.md", "docs/openai.zh.md")
READMES = ("README.md", "README.zh.md")


def curl_lines(page: str) -> list[str]:
    """Every curl command of a page, those over several lines as well."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^curl (?:.*\\\n)*.*$", text, re.MULTILINE)


@pytest.fixture(scope="module")
async def espeak(
    served: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """The service as it comes, with its own engine."""
    async with served(drill_settings(tmp_path_factory.mktemp("espeak"), engine="espeak")) as site:
        yield site


async def typed(command: list[str], folder: Path) -> str:
    """What a command prints that must end well."""
    run = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": ""},
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("page", [*PAGES, *READMES])
async def test_every_curl_line_works(page: str, espeak: Site, tmp_path: Path) -> None:
    """Each file that it promises is there and plays; what it prints is no error."""
    found = curl_lines(page)
    assert len(found) > 1
    moments = np.arange(3 * 24_000) / 24_000
    voice = sum(np.sin(2 * np.pi * 140 * part * moments) / part for part in range(1, 12))
    soundfile.write(tmp_path / "me.wav", (3_000 * voice).astype(np.int16), 24_000)
    lines = "\n".join(found).replace(HERE, espeak.url).replace("curl -", "curl --fail -")
    printed = await typed(["bash", "-e", "-c", lines], tmp_path)
    assert '"error"' not in printed
    files = set(re.findall(r"-o (\S+)", lines))
    assert len(files) > 1
    for name in files:
        data = (tmp_path / name).read_bytes()
        if name == "events.txt":
            assert data.count(b"data: ") > 1
            assert b'"speech.audio.done"' in data
        elif name.endswith(".pcm"):
            assert np.frombuffer(data, "<i2").std() > 100
        else:
            assert len(played(data, 24_000)) > 12_000


@pytest.mark.parametrize("page", PAGES)
async def test_every_line_of_python_works(page: str, espeak: Site, tmp_path: Path) -> None:
    """With OpenAI's client as it is installed."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = await typed([sys.executable, "-c", code.replace(HERE, espeak.url)], tmp_path)
    line = await espeak.running.log.finished(printed.strip())
    assert (line["status"], line["emotion"]) == ("success", "happy")
    for name in ("today.mp3", "live.mp3"):
        assert len(played((tmp_path / name).read_bytes(), 24_000)) > 12_000
