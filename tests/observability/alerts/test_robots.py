"""Each robot gets its own shape within its own limit, and only its own yes counts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from urllib.parse import parse_qs, urlsplit

import apprise
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from apprise.plugins.dingtalk import NotifyDingTalk
from apprise.plugins.wecombot import NotifyWeComBot
from robot_double import RobotDouble

from observability.alerts.apprise_receiver import AppriseReceiver
from observability.alerts.message import Line, Message
from observability.alerts.receivers import Undelivered
from observability.alerts.robots import DingTalk, Feishu, Robot, WeCom

pytestmark = [
    pytest.mark.anyio,
    # Apprise's e-mail plugin, on the Python that still has it.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SECRET = "SEC0123456789abcdef"  # noqa: S105  # of no robot
NOW = 1_764_298_800.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def message(*lines: str, tone: str = "critical") -> Message:
    return Message(
        title="🔴 [告警 严重] IndexTTSDown",
        tone="resolved" if tone == "resolved" else "critical",
        lines=tuple(Line(line, 1) for line in lines or ("第一行", "**second**")),
        language="zh",
    )


def long_message() -> Message:
    return message(*(f"{number} " + "说话人" * 60 for number in range(400)))


async def test_wecom(robot: RobotDouble) -> None:
    """msgtype markdown, the tone as a colour."""
    await WeCom(f"{robot.url}/cgi-bin/webhook/send?key=k").deliver(message())
    assert robot.paths == ["/cgi-bin/webhook/send?key=k"]
    content = '<font color="warning">🔴 [告警 严重] IndexTTSDown</font>\n第一行\n**second**'
    assert robot.bodies == [{"msgtype": "markdown", "markdown": {"content": content}}]


async def test_wecoms_limit_is_in_bytes(robot: RobotDouble) -> None:
    """4,096 of UTF-8, and nearly all of them used."""
    await WeCom(robot.url).deliver(long_message())
    content = robot.bodies[0]["markdown"]["content"]
    assert 3_300 < len(content.encode()) <= 4_096
    assert "已截去" in content


async def test_dingtalk_signs(robot: RobotDouble) -> None:
    """The signature as DingTalk computes it, encoded once; title and text in Markdown."""
    url = f"{robot.url}/robot/send?access_token=t"
    await DingTalk(url, secret=SECRET, now=lambda: NOW).deliver(message())
    query = parse_qs(urlsplit(robot.paths[0]).query)
    signed = hmac.digest(SECRET.encode(), f"{int(NOW * 1000)}\n{SECRET}".encode(), hashlib.sha256)
    assert query == {
        "access_token": ["t"],
        "timestamp": [str(int(NOW * 1000))],
        "sign": [base64.b64encode(signed).decode()],
    }
    title = "🔴 [告警 严重] IndexTTSDown"
    text = f"#### {title}\n\n第一行\n\n**second**"
    assert robot.bodies == [{"msgtype": "markdown", "markdown": {"title": title, "text": text}}]


async def test_feishu_signs(robot: RobotDouble) -> None:
    """Time and secret are the key, nothing is signed; a card in the tone's colour."""
    robot.answers = [(200, {"code": 0, "msg": "success", "data": {}})]
    url = f"{robot.url}/open-apis/bot/v2/hook/t"
    await Feishu(url, secret=SECRET, now=lambda: NOW).deliver(message(tone="resolved"))
    (body,) = robot.bodies
    signed = hmac.digest(f"{int(NOW)}\n{SECRET}".encode(), b"", hashlib.sha256)
    assert body == {
        "timestamp": str(int(NOW)),
        "sign": base64.b64encode(signed).decode(),
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": True},
            "header": {
                "title": {"tag": "plain_text", "content": "🔴 [告警 严重] IndexTTSDown"},
                "template": "green",
            },
            "elements": [{"tag": "markdown", "content": "第一行\n**second**"}],
        },
    }


@pytest.mark.parametrize("kind", [DingTalk, Feishu])
async def test_the_whole_body_is_within_twenty_thousand_bytes(
    robot: RobotDouble, kind: type[Robot]
) -> None:
    """As sent, with everything around the text."""
    robot.answers = [(200, {"errcode": 0, "code": 0})]
    await kind(robot.url, secret=SECRET).deliver(long_message())
    assert 15_000 < robot.sizes[0] < 20_000


@pytest.mark.parametrize(
    ("kind", "answer", "reason", "waits"),
    [
        (WeCom, (200, {"errcode": 93000, "errmsg": "invalid webhook url"}), "refused_93000", False),
        (WeCom, (200, {"errcode": 45009, "errmsg": "freq out of limit"}), "refused_45009", True),
        (DingTalk, (200, {"errcode": 310000, "errmsg": "sign not match"}), "refused_310000", False),
        (DingTalk, (200, {"errcode": 130101, "errmsg": "too fast"}), "refused_130101", True),
        (Feishu, (200, {"code": 19021, "msg": "sign match fail"}), "refused_19021", False),
        (Feishu, (200, {"code": 11232, "msg": "frequency limited"}), "refused_11232", True),
        (WeCom, (429, {}), "http_429", True),
        (WeCom, (502, b"<html>"), "http_502", False),
        (WeCom, (200, b"<html>login"), "strange_answer", False),
        (WeCom, (302, b""), "http_302", False),
    ],
)
async def test_only_the_robots_own_yes_counts(
    robot: RobotDouble, kind: type[Robot], answer: tuple[int, object], reason: str, waits: bool
) -> None:
    """They answer 200 to what they refuse; and say when they want to be left alone."""
    robot.answers = [answer]
    with pytest.raises(Undelivered) as caught:
        await kind(robot.url).deliver(message())
    assert caught.value.reason == reason
    assert bool(caught.value.wait_seconds) is waits


async def test_a_robot_that_is_away() -> None:
    """Nobody listens on port 9."""
    with pytest.raises(Undelivered, match="ConnectError"):
        await WeCom("http://127.0.0.1:9/send?key=secret").deliver(message())


def test_no_secret_shows() -> None:
    """Neither in `repr` nor in what is raised."""
    robots = [
        WeCom("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=hunter2"),
        DingTalk("https://oapi.dingtalk.com/robot/send?access_token=hunter2", secret="hunter2"),  # noqa: S106
        AppriseReceiver("email", "mailtos://user:hunter2@example.org?to=a@example.org"),
    ]
    assert "hunter2" not in repr(robots)
    with pytest.raises(ValueError) as caught:
        AppriseReceiver("other_1", "nonsense://hunter2")
    assert "hunter2" not in str(caught.value)


async def test_slack_through_apprise(robot: RobotDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack's incoming webhook: its yes is the text ok, anything else is a no."""
    monkeypatch.setattr("apprise.plugins.slack.NotifySlack.webhook_url", robot.url)
    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    receiver = AppriseReceiver("slack", url)
    robot.answers = [(200, b"ok"), (200, b"invalid_payload")]
    await receiver.deliver(message())
    assert robot.paths == ["/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"]
    (attachment,) = robot.bodies[0]["attachments"]
    assert attachment["title"] == "🔴 [告警 严重] IndexTTSDown"
    assert attachment["text"] == "第一行\n\n*second*"
    with pytest.raises(Undelivered):
        await receiver.deliver(message())


async def test_mail_through_apprise() -> None:
    """A mail server of Debian's kind gets a subject, and the lines as HTML."""
    kept: list[EmailMessage] = []

    class Mailbox:
        async def handle_DATA(  # noqa: N802  # as aiosmtpd calls it
            self, _server: object, _session: object, envelope: Envelope
        ) -> str:
            content = envelope.content
            assert isinstance(content, bytes)
            kept.append(message_from_bytes(content, policy=default))
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        url = (
            f"mailto://127.0.0.1:{port}?from=alerts@example.org&to=oncall@example.org&mode=insecure"
        )
        await AppriseReceiver("email", url).deliver(message("**第一行**", "`code` [x](http://y/z)"))
    finally:
        server.stop()
    (mail,) = kept
    assert mail["Subject"] == "🔴 [告警 严重] IndexTTSDown"
    assert mail["To"] == "oncall@example.org"
    body = mail.get_body(("html",))
    assert body
    for shown in ("<strong>第一行</strong>", "<code>code</code>", '<a href="http://y/z">x</a>'):
        assert shown in body.get_content()


# --- Why these robots are not Apprise's ---------------------------------------------------------


@pytest.fixture
def theirs(robot: RobotDouble, monkeypatch: pytest.MonkeyPatch) -> RobotDouble:
    """Apprise's own plugins, sent here."""
    monkeypatch.setattr(NotifyWeComBot, "notify_url", f"{robot.url}/?key={{key}}")
    monkeypatch.setattr(NotifyDingTalk, "notify_url", f"{robot.url}/?access_token={{token}}")
    return robot


def test_apprise_takes_a_refusal_for_a_yes(theirs: RobotDouble) -> None:
    """When this fails, Apprise has learned to read the answers: use its plugins."""
    theirs.answers = [(200, {"errcode": 45009, "errmsg": "freq out of limit"})]
    for url in ("wecombot://key", "dingtalk://token"):
        assert apprise.Apprise.instantiate(url).notify(body="lost") is True  # type: ignore[union-attr]


def test_apprise_encodes_dingtalks_signature_twice(theirs: RobotDouble) -> None:
    """When this fails, DingTalk may be left to Apprise as far as the signature goes."""
    apprise.Apprise.instantiate(f"dingtalk://{SECRET}@token").notify(body="x")  # type: ignore[union-attr]
    (sign,) = parse_qs(urlsplit(theirs.paths[0]).query)["sign"]
    assert "%3D" in sign


def test_apprise_sends_wecom_plain_text_by_characters(theirs: RobotDouble) -> None:
    """When this fails, WeCom may be left to Apprise as far as the shape goes."""
    apprise.Apprise.instantiate("wecombot://key").notify(body="说" * 2_000)  # type: ignore[union-attr]
    (body,) = theirs.bodies
    assert body["msgtype"] == "text"
    assert len(body["text"]["content"].encode()) == 6_000
    assert json.dumps(body)
