"""Promises of the settings: every knob by name, and a wrong one stops the start with one line."""

from __future__ import annotations

import ipaddress
import socket
import traceback
from pathlib import Path

import pytest

from indextts_app import settings
from indextts_app.settings import PREFIX, Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose `.env` is the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("ray://head:10001", "HOST:PORT of the head"),
        ("nonsense", "HOST:PORT of the head"),
        ("", "HOST:PORT of the head"),
        ("head:99999", "from 1 to 65535"),
    ],
)
def test_an_address_that_is_no_cluster_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, address: str, remedy: str
) -> None:
    """In a sentence that shows the form, and says why Ray's remote client is not taken."""
    monkeypatch.setenv("INDEXTTS_CLUSTER", address)
    with pytest.raises(SettingsError, match=f"INDEXTTS_CLUSTER does not fit: .*{remedy}"):
        settings.load()


@pytest.mark.parametrize("name", ["MEMORY_MB", "CPUS", "GPUS", "WAITING_PER_REPLICA"])
@pytest.mark.parametrize("amount", ["1e300", "inf", "nan"])
def test_more_than_ray_can_count_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, amount: str
) -> None:
    """By the setting's name, not by an overflow on the cluster."""
    monkeypatch.setenv(f"INDEXTTS_CLUSTER_{name}", amount)
    with pytest.raises(SettingsError, match=f"INDEXTTS_CLUSTER_{name} does not fit"):
        settings.load()


def test_without_any_the_defaults_hold() -> None:
    """The service starts with nothing set: espeak, this machine only."""
    chosen = settings.load()
    assert (chosen.engine, chosen.host, chosen.port) == ("espeak", "127.0.0.1", 7860)


@pytest.mark.parametrize(("engine", "seconds"), [("espeak", 60), ("drill", 60), ("indextts2", 300)])
def test_a_request_may_take_as_long_as_its_engine_needs(
    engine: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless somebody says how long."""
    monkeypatch.setenv("INDEXTTS_ENGINE", engine)
    assert settings.load().timeout_seconds == seconds
    monkeypatch.setenv("INDEXTTS_TIMEOUT_SECONDS", "7")
    assert settings.load().timeout_seconds == 7


def test_the_environment_sets_a_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    """INDEXTTS_* variables become typed settings."""
    monkeypatch.setenv("INDEXTTS_MAX_QUEUE", "7")
    monkeypatch.setenv("INDEXTTS_LOG_DIR", "/var/log/speech")
    chosen = settings.load()
    assert (chosen.max_queue, chosen.log_dir) == (7, Path("/var/log/speech"))


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("127.0.0.1", 7860, "127.0.0.1:7860"),
        ("tts-1.example", 80, "tts-1.example:80"),
        ("0.0.0.0", 7860, f"{socket.gethostname()}:7860"),
        ("::", 7860, f"{socket.gethostname()}:7860"),
        ("fd00::1", 7860, "[fd00::1]:7860"),
        ("127.0.0.1", 0, "127.0.0.1:4711"),
    ],
)
def test_an_instance_is_called_as_prometheus_calls_it(host: str, port: int, name: str) -> None:
    """By where it listens, on a port that is free where none is given, until it has a name."""
    chosen = settings.Settings(_env_file=None, host=host, port=port)
    assert chosen.instance_name(port or 4711) == name
    named = settings.Settings(_env_file=None, host=host, port=port, instance="tts-a")
    assert named.instance_name(4711) == "tts-a"


@pytest.mark.parametrize("name", ["", "two words", "../up", "a/b", "x" * 101, "实例", '"'])
def test_a_name_that_is_no_label_and_no_folder_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes a label of Loki, and a place in a bucket."""
    monkeypatch.setenv("INDEXTTS_INSTANCE", name)
    with pytest.raises(settings.SettingsError, match="INDEXTTS_INSTANCE does not fit"):
        settings.load()


def test_the_log_folders_of_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind this service's own."""
    monkeypatch.setenv("INDEXTTS_OTHER_LOG_DIRS", "/srv/b/logs, /mnt/shared,")
    assert settings.load().all_log_dirs == (
        Path("logs"),
        Path("/srv/b/logs"),
        Path("/mnt/shared"),
    )


def test_env_file_sets_a_knob_and_the_environment_wins(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.env` is read, and a variable of the process overrides it."""
    (elsewhere / ".env").write_text("INDEXTTS_WORKERS=3\nINDEXTTS_PORT=1234\nOTHER=1\n")
    monkeypatch.setenv("INDEXTTS_PORT", "4321")
    chosen = settings.load()
    assert (chosen.workers, chosen.port) == (3, 4321)


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_name_that_does_not_exist_is_an_error(
    place: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped knob stops the start instead of being ignored, wherever it stands."""
    if place == ".env":
        (elsewhere / ".env").write_text("INDEXTTS_WORKRES=2\n")
    else:
        monkeypatch.setenv("INDEXTTS_WORKRES", "2")
    with pytest.raises(SettingsError, match="INDEXTTS_WORKRES"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INDEXTTS_PORT", "seventy"),
        ("INDEXTTS_PORT", "65536"),
        ("INDEXTTS_WORKERS", "0"),
        ("INDEXTTS_ENGINE", "loudspeaker"),
        ("INDEXTTS_LOG_KEEP_DAYS", "6"),
        ("INDEXTTS_INSTANCE", "archive"),
        ("INDEXTTS_TIMEOUT_SECONDS", "0"),
        ("INDEXTTS_METRICS_ALLOW", "10.0.0.0/99"),
    ],
)
def test_a_value_that_does_not_fit_names_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one line names the variable and says what would fit."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name} does not fit: ") as raised:
        settings.load()
    assert "\n" not in str(raised.value)


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings' own text nor a failed start tells the hash key."""
    monkeypatch.setenv("INDEXTTS_HASH_KEY", "canary-of-a-key")
    chosen = settings.load()
    assert chosen.hash_key is not None
    assert chosen.hash_key.get_secret_value() == "canary-of-a-key"
    assert "canary" not in repr(chosen)
    monkeypatch.setenv("INDEXTTS_PORT", "none")
    with pytest.raises(SettingsError) as raised:
        settings.load()
    assert "canary" not in "".join(traceback.format_exception(raised.value))


def test_networks_are_addresses_and_networks_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single addresses, networks, IPv6 and an address inside its network are all read."""
    monkeypatch.setenv("INDEXTTS_METRICS_ALLOW", "10.1.2.3/8, 192.168.0.7 ,::1,")
    monkeypatch.setenv("INDEXTTS_OPERATIONS_ALLOW", "")
    chosen = settings.load()
    assert chosen.metrics_allow == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("192.168.0.7/32"),
        ipaddress.ip_network("::1/128"),
    )
    assert chosen.operations_allow == ()


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_every_setting_stands_in_the_readme(readme: str) -> None:
    """The table of each README has a row for every knob, and none that is gone."""
    path = ROOT / readme
    assert path.is_file(), f"{readme} does not exist"
    rows = {
        line.split("`")[1]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{PREFIX}")
    }
    assert rows == {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
