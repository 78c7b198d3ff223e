"""Promises of sessions: a token tells who, for half a day, and only its hash is kept."""

from __future__ import annotations

from indextts_app.sessions import SESSION_SECONDS, Sessions


def test_a_token_tells_who_until_it_ends() -> None:
    """By itself after its time, or closed; and what was never a token tells nobody."""
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first, second = sessions.open("shop"), sessions.open("call-centre")
    assert first != second
    assert (sessions.who(first), sessions.who(second)) == ("shop", "call-centre")
    sessions.close(second)
    assert sessions.who(second) is None
    now[0] = SESSION_SECONDS
    assert sessions.who(first) is None
    assert [sessions.who(token) for token in (None, "", "\udfff")] == [None] * 3


def test_the_token_itself_is_not_kept() -> None:
    """Whoever reads the memory of the process cannot log in with it."""
    sessions = Sessions()
    token = sessions.open("shop")
    assert token not in repr(vars(sessions))
