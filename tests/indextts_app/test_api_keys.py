"""Promises of API keys: only hashes are stored, each has a name, and a change is known at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from indextts_app import api_keys
from indextts_app.api_keys import LOOK_SECONDS, ApiKeys, KeysError
from indextts_app.settings import Settings, SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of keys that does not exist yet."""
    return tmp_path / "keys"


def keys_of(**given: object) -> ApiKeys:
    """The keys by these settings, looked at anew at each question."""
    now = iter(range(1_000_000))
    return ApiKeys(Settings(_env_file=None, **given), lambda: next(now) * LOOK_SECONDS)


def test_a_key_has_a_name_and_only_its_hash_is_stored(file: Path) -> None:
    """The file tells whose it is, and nobody can ask for speech with what stands in it."""
    key = api_keys.add(file, "shop")
    assert key.startswith("indextts_")
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    keys = keys_of(api_keys_file=file)
    assert keys.are_needed
    assert keys.name_of(key) == "shop"
    (entry,) = api_keys.read(file)
    for wrong in ("", "shop", entry.digest, str(entry), key[:-1], key + "x" * 1_000, "\udfff"):
        assert keys.name_of(wrong) is None


def test_every_key_is_another(file: Path) -> None:
    """Several are in force at a time, each under its own name."""
    made = {name: api_keys.add(file, name) for name in ("shop", "call-centre", "a.b_c-1")}
    assert len(set(made.values())) == 3
    keys = keys_of(api_keys_file=file)
    assert {keys.name_of(key) for key in made.values()} == set(made)


def test_without_any_nobody_needs_one() -> None:
    """The service starts open, on this machine only."""
    assert not keys_of().are_needed


def test_they_may_stand_in_a_variable(file: Path) -> None:
    """Where files are awkward; it is never shown."""
    key = api_keys.add(file, "shop")
    (entry,) = api_keys.read(file)
    chosen = Settings(_env_file=None, api_keys=f" {entry} ,\n# nobody\n")
    assert ApiKeys(chosen).name_of(key) == "shop"
    assert entry.digest not in repr(chosen)


def test_a_change_is_known_without_a_restart(file: Path) -> None:
    """A new key is let in, a revoked one no longer, not even if it was the last."""
    first = api_keys.add(file, "shop")
    keys = keys_of(api_keys_file=file)
    second = api_keys.add(file, "call-centre")
    assert keys.name_of(second) == "call-centre"
    api_keys.revoke(file, "shop")
    assert keys.name_of(first) is None
    api_keys.revoke(file, "call-centre")
    assert keys.name_of(second) is None
    assert keys.are_needed


def test_a_file_that_breaks_changes_nothing_and_is_told_once(file: Path) -> None:
    """Whoever edits it by hand locks nobody out by a slip."""
    key = api_keys.add(file, "shop")
    keys = keys_of(api_keys_file=file)
    file.write_text("shop = secret\n")
    with capture_logs() as lines:
        assert [keys.name_of(key) for _ in range(3)] == ["shop"] * 3
        file.unlink()
        assert [keys.name_of(key) for _ in range(3)] == ["shop"] * 3
    assert [line["event"] for line in lines] == ["api_keys.unreadable"] * 2
    assert "secret" not in str(lines)


@pytest.mark.parametrize(
    "content", ["shop = secret\n", "shop:sha256:abc\n", "\n# none\n", b"\xff\xfe"]
)
def test_a_service_without_keys_that_it_can_read_does_not_start(
    file: Path, content: str | bytes
) -> None:
    """The one line says what is wrong, and not what stands there."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError, match="INDEXTTS_API_KEYS_FILE") as raised:
        keys_of(api_keys_file=file)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("content", ["", " ", "# none"])
def test_a_variable_without_a_key_does_not_open_the_service(content: str) -> None:
    """It was meant to close it: its secret was not there when it was set."""
    with pytest.raises(SettingsError, match="INDEXTTS_API_KEYS has no key"):
        keys_of(api_keys=content)


def test_a_file_that_is_not_there_is_named() -> None:
    """A mistyped path must not open the service to everybody."""
    with pytest.raises(SettingsError, match="No such file"):
        keys_of(api_keys_file=Path("/nowhere/keys"))


@pytest.mark.parametrize("name", ["", "Shop", "a b", "-x", "x:y", "x" * 65, "店"])
def test_a_name_is_plain(file: Path, name: str) -> None:
    """It stands in every line of the log."""
    with pytest.raises(KeysError, match="a name has"):
        api_keys.add(file, name)
    assert not file.exists()


def test_a_name_is_given_once_and_taken_back_once(file: Path) -> None:
    """Which key a line is about must be clear."""
    api_keys.add(file, "shop")
    with pytest.raises(KeysError, match="already"):
        api_keys.add(file, "shop")
    api_keys.revoke(file, "shop")
    with pytest.raises(KeysError, match="no key 'shop'"):
        api_keys.revoke(file, "shop")


def test_a_change_keeps_who_may_read_the_file(file: Path) -> None:
    """The service may run as another user, in a group that may read it."""
    api_keys.add(file, "shop")
    file.chmod(0o640)
    api_keys.add(file, "call-centre")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["keys"]
