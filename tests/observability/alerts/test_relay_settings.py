"""The relay's settings come from variables or files, are checked, and never show a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from observability.alerts.relay import receivers_of
from observability.alerts.settings import PREFIX, RelaySettings, SettingsError, load

ROOT = Path(__file__).parents[3]

GIVEN = {
    "ALERT_RELAY_TOKEN": "0123456789abcdef",
    "ALERT_RELAY_WECOM_URL": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=hunter2",
}


def test_secrets_from_files(tmp_path: Path) -> None:
    """White space around is the editor's; an empty file is no secret."""
    (tmp_path / "token").write_text("fedcba9876543210\n")
    (tmp_path / "empty").write_text("\n")
    given = {
        "ALERT_RELAY_TOKEN_FILE": str(tmp_path / "token"),
        "ALERT_RELAY_SLACK_URL_FILE": str(tmp_path / "empty"),
        "ALERT_RELAY_WECOM_URL": GIVEN["ALERT_RELAY_WECOM_URL"],
    }
    settings = load(given)
    assert settings.token.get_secret_value() == "fedcba9876543210"
    assert settings.slack_url is None
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "ALERT_RELAY_TOKEN: 16 characters or more are needed"),
        ({**GIVEN, "ALERT_RELAY_TOKEN": "short"}, "openssl rand -hex 32"),
        ({"ALERT_RELAY_TOKEN": GIVEN["ALERT_RELAY_TOKEN"]}, "Nobody would be told"),
        ({**GIVEN, "ALERT_RELAY_WECOM": "x"}, "Unknown setting ALERT_RELAY_WECOM"),
        ({**GIVEN, "ALERT_RELAY_PORT": "many"}, "ALERT_RELAY_PORT: "),
        ({**GIVEN, "ALERT_RELAY_FEISHU_URL": "hunter2"}, "an address begins with https://"),
        ({**GIVEN, "ALERT_RELAY_TIME_ZONE": "Mars/Olympus"}, "no such time zone"),
        ({**GIVEN, "ALERT_RELAY_SLACK_URL_FILE": "/none"}, "cannot be read"),
        ({**GIVEN, "ALERT_RELAY_TOKEN_FILE": __file__}, "given twice"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, str], said: str) -> None:
    """By its variable, and never by its value."""
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        load(given)
    assert "hunter2" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_every_receiver_that_is_named_is_told() -> None:
    """And only those."""
    addresses = {
        "DINGTALK_URL": "https://oapi.dingtalk.com/robot/send?access_token=t",
        "FEISHU_URL": "https://open.feishu.cn/open-apis/bot/v2/hook/t",
        "SLACK_URL": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "EMAIL_URL": "mailtos://user:password@example.org?to=oncall@example.org",
        "OTHER_URLS": "ntfys://topic\njsons://example.org/hook",
    }
    given = GIVEN | {f"ALERT_RELAY_{name}": value for name, value in addresses.items()}
    names = [receiver.name for receiver in receivers_of(load(given))]
    assert names == ["wecom", "dingtalk", "feishu", "slack", "email", "other_1", "other_2"]
    assert [receiver.name for receiver in receivers_of(load(GIVEN))] == ["wecom"]


@pytest.mark.parametrize("name", ["docs/alerts.md", "docs/alerts.zh.md"])
def test_every_setting_is_documented(name: str) -> None:
    """A row for each, and no row for what does not exist."""
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \|", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(field.upper() for field in RelaySettings.model_fields)
