"""Promises of the door for operators: an address or a password, and no guessing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from indextts_app import errors, sessions
from indextts_app.attempts import FAILURE_SECONDS, MAX_FAILURES
from indextts_app.operators import Operators
from indextts_app.sessions import SESSION_SECONDS
from indextts_app.settings import Settings

HERE, STRANGER = "127.0.0.1", "203.0.113.7"
PASSWORD = "correct horse 马"  # noqa: S105  # of the test alone


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of `guarded`."""
    return Clock()


@pytest.fixture
def guarded(clock: Clock) -> Operators:
    """Operators who need a password."""
    return Operators(Settings(_env_file=None, operations_password=PASSWORD), clock)


def basic(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    return {"authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


class TestWithoutPassword:
    """Only the address decides."""

    def test_this_machine_is_let_in(self) -> None:
        """And nobody else, whatever password they send."""
        unguarded = Operators(Settings(_env_file=None))
        assert not unguarded.log_in
        unguarded.check(HERE, {})
        unguarded.check("::ffff:127.0.0.1", {})
        with pytest.raises(errors.Forbidden):
            unguarded.check(STRANGER, basic("operator", ""))
        with pytest.raises(errors.Forbidden):
            unguarded.check(None, {})

    def test_nobody_logs_in(self) -> None:
        """There is no session to be had, not even with an empty password."""
        with pytest.raises(errors.LoginNeeded):
            Operators(Settings(_env_file=None)).login(HERE, "operator", "")


class TestWithPassword:
    """Only the password decides."""

    def test_an_address_is_not_enough(self, guarded: Operators) -> None:
        """A proxy on this machine must not let everybody in."""
        with pytest.raises(errors.LoginNeeded):
            guarded.check(HERE, {})

    def test_whoever_knows_it_is_let_in(self, guarded: Operators) -> None:
        """From any address, by HTTP Basic in UTF-8."""
        guarded.check(STRANGER, basic("operator", PASSWORD))

    @pytest.mark.parametrize(
        ("user", "password"),
        [("operator", "wrong"), ("other", PASSWORD), ("", ""), ("operato", f"r{PASSWORD}")],
    )
    def test_nobody_else_is(self, guarded: Operators, user: str, password: str) -> None:
        """Name and password both count, and are not one long word."""
        with pytest.raises(errors.LoginNeeded):
            guarded.check(HERE, basic(user, password))

    @pytest.mark.parametrize(
        "header", ["Basic", "Basic ???", "Basic 4pyT", "Bearer x", "basic YQ=="]
    )
    def test_a_broken_header_is_no_attempt(self, guarded: Operators, header: str) -> None:
        """It is answered as if there were none."""
        for _ in range(2 * MAX_FAILURES):
            with pytest.raises(errors.LoginNeeded):
                guarded.check(HERE, {"authorization": header})
        guarded.check(HERE, basic("operator", PASSWORD))

    def test_a_session_lasts_until_its_end(self, guarded: Operators, clock: Clock) -> None:
        """A working day, or until the operator logs out; another token is worth nothing."""
        first, second = (guarded.login(HERE, "operator", PASSWORD) for _ in range(2))
        assert first != second
        guarded.check(STRANGER, {}, first)
        guarded.logout(first)
        clock.now += SESSION_SECONDS - 1
        guarded.check(STRANGER, {}, second)
        clock.now += 1
        for token in (first, second, "", "x" * 43, "\ud800"):
            with pytest.raises(errors.LoginNeeded):
                guarded.check(HERE, {}, token)

    def test_sessions_are_bounded(
        self, guarded: Operators, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The oldest goes first."""
        monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
        tokens = [guarded.login(HERE, "operator", PASSWORD) for _ in range(3)]
        with pytest.raises(errors.LoginNeeded):
            guarded.check(HERE, {}, tokens[0])
        for token in tokens[1:]:
            guarded.check(HERE, {}, token)


class TestGuessing:
    """Wrong passwords."""

    @staticmethod
    def guess(guarded: Operators, host: str, times: int) -> None:
        for _ in range(times):
            with pytest.raises(errors.LoginNeeded):
                guarded.login(host, "operator", "guess")

    def test_it_ends_after_some_attempts(self, guarded: Operators, clock: Clock) -> None:
        """Then not even the right one is looked at, from this address, for a while."""
        session = guarded.login(STRANGER, "operator", PASSWORD)
        self.guess(guarded, STRANGER, MAX_FAILURES)
        with pytest.raises(errors.TooManyAttempts, match="10 minutes"):
            guarded.login(STRANGER, "operator", PASSWORD)
        with pytest.raises(errors.TooManyAttempts):
            guarded.check(STRANGER, basic("operator", PASSWORD))
        guarded.check(STRANGER, {}, session)
        guarded.check(HERE, basic("operator", PASSWORD))
        clock.now += FAILURE_SECONDS
        guarded.check(STRANGER, basic("operator", PASSWORD))

    @pytest.mark.parametrize(
        ("first", "second"),
        [("2001:db8::1", "2001:db8::ffff:2"), ("203.0.113.7", "::ffff:203.0.113.7"), ("?", "")],
    )
    def test_one_customer_is_one_address(self, guarded: Operators, first: str, second: str) -> None:
        """An IPv6 customer has more addresses than there are guesses."""
        self.guess(guarded, first, MAX_FAILURES)
        with pytest.raises(errors.TooManyAttempts):
            guarded.login(second, "operator", PASSWORD)

    def test_it_is_logged_without_what_was_tried(self, guarded: Operators) -> None:
        """Neither name nor password: people type one into the other's field."""
        with capture_logs() as lines:
            self.guess(guarded, STRANGER, 1)
            guarded.login(HERE, "operator", PASSWORD)
        assert lines == [
            {
                "event": "operations.refused",
                "log_level": "warning",
                "client_ip": "203.0.113.0",
                "failures": 1,
            },
            {"event": "operations.login", "log_level": "info", "client_ip": "127.0.0.1"},
        ]


@pytest.mark.anyio
class TestRequests:
    """GET /requests takes the same credentials."""

    async def test_with_a_password_it_is_for_whoever_knows_it(
        self, tmp_path: Path, drill_settings: Callable[..., Settings], running: Any
    ) -> None:
        """From any address by HTTP Basic, and not even from this machine without."""
        async with running(drill_settings(tmp_path, operations_password=PASSWORD)) as service:
            asked = (await service.speak()).headers["x-request-id"]
            await service.log.finished(asked)
            refused = await service.client.get(f"/requests/{asked}")
            assert (refused.status_code, refused.json()["error"]) == (401, "login_needed")
            assert refused.headers["www-authenticate"].startswith("Basic ")
            async with service.client_from(STRANGER) as client:
                told = await client.get(f"/requests/{asked}", headers=basic("operator", PASSWORD))
                assert told.json()["request_id"] == asked
                for _ in range(MAX_FAILURES):
                    await client.get(f"/requests/{asked}", headers=basic("operator", "guess"))
                answer = await client.get(f"/requests/{asked}", headers=basic("operator", PASSWORD))
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
            assert PASSWORD not in service.log.text()


class TestChanges:
    """What another site's page makes an operator's browser send."""

    @pytest.mark.parametrize(
        ("headers", "is_own"),
        [
            ({}, True),
            ({"sec-fetch-site": "same-origin"}, True),
            ({"sec-fetch-site": "none"}, True),
            ({"sec-fetch-site": "same-site"}, False),
            ({"sec-fetch-site": "cross-site"}, False),
            ({"origin": "http://localhost:7860"}, True),
            ({"origin": "http://LOCALHOST:7860"}, True),
            ({"origin": "http://localhost:80"}, False),
            ({"origin": "https://evil.example"}, False),
            ({"origin": "null"}, False),
            # A proxy that says another Host, and a browser that knows better.
            ({"origin": "https://tts.example", "sec-fetch-site": "same-origin"}, True),
        ],
        ids=str,
    )
    def test_the_browser_says_whose_page_it_was(
        self, headers: dict[str, str], is_own: bool, guarded: Operators
    ) -> None:
        """A password that the browser remembers is no consent, and neither is the address."""
        sent = {"host": "localhost:7860", **headers}
        for operators_, given in (
            (Operators(Settings(_env_file=None)), {}),
            (guarded, basic("operator", PASSWORD)),
        ):
            if is_own:
                operators_.check_change(HERE, {**sent, **given})
            else:
                with pytest.raises(errors.ForeignSite):
                    operators_.check_change(HERE, {**sent, **given})

    @pytest.mark.parametrize(
        ("name", "is_own"),
        [
            ("localhost:7860", True),
            ("studio.localhost", True),
            ("127.0.0.1:7860", True),
            ("[::1]:7860", True),
            ("tts.lan", True),
            ("TTS.LAN:7860", True),
            ("evil.example", False),
            ("[", False),
            ("", False),
        ],
    )
    def test_a_name_that_was_pointed_here_lets_nobody_in(self, name: str, is_own: bool) -> None:
        """Where the address alone decides: for what is read and for what is changed."""
        unguarded = Operators(Settings(_env_file=None, host="tts.lan"))
        for check in (unguarded.check, unguarded.check_change):
            if is_own:
                check(HERE, {"host": name})
            else:
                with pytest.raises(errors.NameNotOwn):
                    check(HERE, {"host": name})

    def test_the_address_must_still_be_an_operators(self) -> None:
        """The refusal says why what is kept is not for everybody."""
        with pytest.raises(errors.KeepingForbidden):
            Operators(Settings(_env_file=None)).check_change(STRANGER, {})

    def test_a_password_protects_what_is_kept(self, guarded: Operators) -> None:
        """From this machine as well; by Basic, or by the session of a browser."""
        with pytest.raises(errors.LoginNeeded):
            guarded.check_change(HERE, {})
        guarded.check_change(STRANGER, {"host": "tts.example", **basic("operator", PASSWORD)})
        guarded.check_change(STRANGER, {}, guarded.login(HERE, "operator", PASSWORD))
