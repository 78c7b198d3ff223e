"""The tables that say what is held by which test: nothing is missing, and nothing is made up."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("docs/faults.md", "docs/faults.zh.md")
READMES = ("README.md", "README.zh.md")
TEST = re.compile(r"`([\w/]+/test_\w+\.py)::(test_\w+)`")
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


@functools.cache
def functions_of(path: Path) -> set[str]:
    """The names of the tests of a file, those in classes as well."""
    if not path.is_file():
        return set()
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def named(text: str) -> list[tuple[str, str]]:
    """Every test that a text names, as file and function."""
    return TEST.findall(text)


def missing(text: str) -> list[str]:
    """Those that do not exist."""
    return [
        f"{path}::{test}"
        for path, test in named(text)
        if test not in functions_of(ROOT / "tests" / path)
    ]


@pytest.mark.parametrize("name", TABLES)
def test_each_of_the_fifty_faults_has_a_test_that_exists(name: str) -> None:
    """In both languages, in their order."""
    text = (ROOT / name).read_text("utf-8")
    rows = ROW.findall(text)
    assert [int(number) for number, *_ in rows] == list(range(1, 51))
    assert [number for number, *_, tests in rows if not named(tests)] == []
    assert missing(text) == []


def test_both_languages_name_the_same_tests() -> None:
    """Whoever reads one has read the other."""
    english, chinese = (named((ROOT / name).read_text("utf-8")) for name in TABLES)
    assert english == chinese


@pytest.mark.parametrize("name", READMES)
def test_each_promise_of_the_readme_has_a_test_that_exists(name: str) -> None:
    """Six of them, each with the tests that would fail if it were broken."""
    text = (ROOT / name).read_text("utf-8")
    promises = [line for line in text.splitlines() if re.match(r"\d\. .*`\]\(tests/", line)]
    assert [promise[0] for promise in promises] == list("123456")
    for promise in promises:
        held_by = re.findall(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)", promise)
        assert len(held_by) > 2
        assert [test for test, path in held_by if test not in functions_of(ROOT / path)] == []


def test_every_test_of_a_fault_stands_in_the_table() -> None:
    """What is shown is told; these tests of the table itself apart."""
    told = set(named((ROOT / TABLES[0]).read_text("utf-8")))
    here = {
        (f"faults/{path.name}", test)
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for test in functions_of(path)
        if test.startswith("test_")
    }
    assert here <= told
