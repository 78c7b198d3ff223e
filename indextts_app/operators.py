"""
Who may look at the operations page and at the stories of requests, and change what is kept.

While no password is set: whoever comes from `INDEXTTS_OPERATIONS_ALLOW`, this machine by default.
With a password: whoever knows it, from any address, by HTTP Basic or by a session of the page.

They alone may change what is kept. What a browser is made to send by another site's page is refused
in both cases, because it comes from the operator's own address, with the operator's own password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import structlog

from indextts_app import errors
from indextts_app.attempts import Attempts
from indextts_app.door import masked_ip, only_from
from indextts_app.sessions import Sessions
from indextts_app.settings import Settings

log = structlog.get_logger("indextts_app.operators")

COOKIE: Final = "indextts_operator"
"""Holds the token of a session; it is sent to every page of the service."""


class Operators:
    """Lets operators in; its methods are for the server's loop only, and none of them waits."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        password = settings.operations_password
        self._allowed = settings.operations_allow
        self._own_name = settings.host.lower()
        self._expected = (
            None
            if password is None
            else _digest(settings.operations_user, password.get_secret_value())
        )
        self._user = settings.operations_user
        self._attempts = Attempts(clock)
        self._sessions = Sessions(clock)

    @property
    def log_in(self) -> bool:
        """Whether operators log in; without a password their address decides."""
        return self._expected is not None

    def check(
        self,
        host: str | None,
        headers: Mapping[str, str],
        session: str | None = None,
        *,
        refusal: type[errors.Forbidden] = errors.Forbidden,
    ) -> None:
        """
        Let an operator pass.

        Args:
            host: the address that the request comes from.
            headers: of the request; `Authorization: Basic` and `Host` are looked at.
            session: a token that `login` gave, if the client has one.
            refusal: what an address that is not an operator's is told.

        Raises:
            errors.Forbidden: there is no password, and the address is not an operator's.
            errors.NameNotOwn: there is no password, and the request was sent to a name that
                anybody could have pointed at this machine.
            errors.LoginNeeded: there is one, and this client has not shown that it knows it.
            errors.TooManyAttempts: too many wrong passwords came from this address.
        """
        if not self.log_in:
            only_from(host, self._allowed, "INDEXTTS_OPERATIONS_ALLOW", refusal)
            self._check_own_name(headers.get("host"))
            return
        if self._sessions.who(session):
            return
        if (given := _basic(headers.get("authorization"))) is None:
            raise errors.LoginNeeded
        self._compare(host, *given)

    def check_change(
        self, host: str | None, headers: Mapping[str, str], session: str | None = None
    ) -> None:
        """
        Let an operator pass who changes what is kept.

        Raises:
            errors.ForeignSite: another site's page had the operator's browser ask for it.
            errors.KeepingForbidden, errors.NameNotOwn, errors.LoginNeeded,
            errors.TooManyAttempts: see `check`.
        """
        check_same_site(headers)
        self.check(host, headers, session, refusal=errors.KeepingForbidden)

    def logged_in(
        self, host: str | None, headers: Mapping[str, str], session: str | None
    ) -> str | None:
        """
        The name of an operator who has shown the password; None for everybody else.

        Raises:
            errors.TooManyAttempts: too many wrong passwords came from this address.
        """
        if not self.log_in:
            return None
        try:
            self.check(host, headers, session)
        except errors.LoginNeeded:
            return None
        return self._user

    def login(self, host: str | None, user: str, password: str) -> str:
        """
        The token of a new session.

        Raises:
            errors.LoginNeeded: name or password is wrong, or nobody logs in here.
            errors.TooManyAttempts: too many wrong passwords came from this address.
        """
        self._compare(host, user, password)
        log.info("operations.login", client_ip=masked_ip(host))
        return self._sessions.open(user)

    def logout(self, token: str) -> None:
        """End a session."""
        self._sessions.close(token)

    def _check_own_name(self, sent_to: str | None) -> None:
        """
        Where the address alone lets in, take no name that somebody else could have pointed here.

        A page of another site whose name suddenly means this machine would be taken for this one's.
        Browsers always say what name they ask.
        """
        if sent_to is None:
            return
        name = _name(sent_to).rstrip(".")
        if name in ("localhost", self._own_name) or name.endswith(".localhost"):
            return
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise errors.NameNotOwn from None

    def _compare(self, host: str | None, user: str, password: str) -> None:
        self._attempts.check(host)
        # One comparison of digests of one length: its time tells neither name nor password.
        if self._expected is not None and secrets.compare_digest(
            _digest(user, password), self._expected
        ):
            return
        failures = self._attempts.failed(host)
        log.warning("operations.refused", client_ip=masked_ip(host), failures=failures)
        raise errors.LoginNeeded


def check_same_site(headers: Mapping[str, str]) -> None:
    """
    Refuse what another site's page makes a browser send; browsers say where a request comes from.

    The rule of Go's `http.CrossOriginProtection`: `Sec-Fetch-Site` decides where there is one, else
    `Origin` must name the host that was asked; without both it was no browser.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:
        is_own = origin is None or _authority(origin) == headers.get("host", "").lower()
    if not is_own:
        raise errors.ForeignSite


def _authority(origin: str) -> str | None:
    return origin.lower().partition("://")[2] or None


def _name(host_header: str) -> str:
    try:
        return urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return ""


def _basic(authorization: str | None) -> tuple[str, str] | None:
    """Name and password of `Authorization: Basic`; None where there are none."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def _digest(user: str, password: str) -> bytes:
    # The name's own length keeps "a" + "bc" apart from "ab" + "c".
    text = f"{len(user)}:{user}:{password}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
