"""Promises of scripts/api_key.py: the key is printed once, and everything else is no key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indextts_app import api_keys

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "api_key.py"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the script answers in this folder."""
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file that the service is told of."""
    return tmp_path / "keys"


def test_it_makes_lists_and_revokes(tmp_path: Path, file: Path) -> None:
    """The key alone is on stdout, ready to be piped on; the file is the service's own."""
    made = run(tmp_path, "new", "shop", INDEXTTS_API_KEYS_FILE=str(file))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    (entry,) = api_keys.read(file)
    assert (entry.name, entry.digest) == ("shop", api_keys.digest_of(key))
    assert key not in made.stderr
    listed = run(tmp_path, "list", INDEXTTS_API_KEYS_FILE=str(file))
    assert listed.stdout == "shop\n"
    revoked = run(tmp_path, "--file", str(file), "revoke", "shop")
    assert (revoked.returncode, revoked.stdout) == (0, "")
    assert not api_keys.read(file)


def test_it_says_how_the_service_learns_of_a_new_file(tmp_path: Path) -> None:
    """A key that nobody reads lets nobody in."""
    made = run(tmp_path, "new", "shop")
    assert "INDEXTTS_API_KEYS_FILE=api_keys.txt" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "Two Words"), "api_key: a name has"),
        (("revoke", "nobody"), "api_key: api_keys.txt: No such file"),
        (("--file", "/proc/none/keys", "new", "shop"), "api_key: /proc/none"),
    ],
)
def test_it_says_in_one_line_why_not(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """And exits with 1, with nothing on stdout that could be taken for a key."""
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
