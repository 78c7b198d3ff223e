"""Promises of the error tree: every error can be told apart, shown, explained and acted on."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

import pytest

from indextts_app import errors, story
from indextts_app.errors import ServiceError, UnknownChoice
from observability.events import STATUSES

CONTRACT = {400, 401, 403, 404, 405, 409, 413, 422, 429, 499, 500, 503, 504, 507}

TREE = tuple(
    error for error in errors.tree() if error.__module__ == errors.__name__
)  # a test may define its own


def drawn() -> Iterator[str]:
    """The class names in the tree that the module's docstring draws."""
    picture = (errors.__doc__ or "").partition("\n\n")[2]
    for line in picture.splitlines():
        _, branch, rest = line.rpartition("── ")
        names = rest if branch else line
        yield from re.findall(r"\b[A-Z][a-z]+[A-Z]\w+|\bRejected|\bForbidden", names)


def placeholders(message: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(message) if name}


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
class TestEveryError:
    """What holds for each class of the tree."""

    def test_says_the_same_in_both_languages(self, error: type[ServiceError]) -> None:
        """Both messages exist, differ, and need the same details to be filled in."""
        assert error.en != error.zh or error.en.startswith("{")
        assert re.search("[\u4e00-\u9fff]|^{reason_zh}$", error.zh)
        plain = {name.removesuffix("_zh") for name in placeholders(error.zh)}
        assert plain == placeholders(error.en)

    def test_has_a_status_of_the_contract(self, error: type[ServiceError]) -> None:
        """Clients meet no HTTP status, and the log no outcome, that is not documented."""
        assert error.http_status in CONTRACT
        assert error.status in STATUSES

    def test_has_advice_for_support(self, error: type[ServiceError]) -> None:
        """Whoever looks the request up reads what to do."""
        advice = story.ADVICE[error.code]
        assert advice.en
        assert advice.zh

    def test_is_documented(self, error: type[ServiceError]) -> None:
        """A class says in one sentence what happened."""
        assert error.__doc__


def test_a_code_means_one_thing() -> None:
    """No two classes share a code, save those that are only a base for others."""
    owners: dict[str, list[str]] = {}
    for error in TREE:
        if "code" in vars(error):
            owners.setdefault(error.code, []).append(error.__name__)
    assert {code: names for code, names in owners.items() if len(names) > 1} == {}
    leaves = [error for error in TREE if not error.__subclasses__()]
    assert all("code" in vars(leaf) for leaf in leaves)


def test_the_drawn_tree_names_classes_that_exist() -> None:
    """The docstring's picture holds no class that was renamed or removed."""
    names = set(drawn())
    assert len(names) > 15
    assert names <= {error.__name__ for error in TREE}


def test_advice_has_no_code_that_does_not_exist() -> None:
    """Besides the tree's codes only those that observability itself gives are explained."""
    assert set(story.ADVICE) == errors.codes() | {"cancelled", "process_died"}


def test_a_long_list_of_choices_is_cut() -> None:
    """The message names the first choices and says that there are more."""
    error = UnknownChoice("speaker", tuple(f"voice-{number}" for number in range(50)))
    assert "voice-19 …" in error.message()
    assert "voice-20" not in error.message("zh")
