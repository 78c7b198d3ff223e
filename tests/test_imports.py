"""
Who may know whom: scripts → indextts_app → observability, engines and pages apart.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("indextts_app", "observability")
SERVICE_ONLY = {"gradio", "fastapi", "starlette", "uvicorn", "pydantic", "structlog", "modelscope"}

MAY_CATCH_EVERYTHING = {
    "indextts_app/batches/runner.py": 1,
    "indextts_app/door.py": 1,
    "indextts_app/engines/indextts2/loading.py": 1,
    "indextts_app/server.py": 1,
    "indextts_app/workers/child.py": 1,
    "indextts_app/workers/listener.py": 1,
    "observability/alerts/courier.py": 2,
    "observability/attach.py": 3,
    "observability/deferred.py": 1,
    "observability/indextts_probe.py": 2,
    "observability/logs.py": 1,
    "observability/observe.py": 5,
    "observability/redaction.py": 1,
    "observability/spans.py": 1,
}
"""Edges where code that is not ours runs, or where a failure must not reach who is observed."""


def modules(*patterns: str) -> list[Path]:
    """The source files, which must exist, so that a rule for a renamed file is noticed."""
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    assert found
    return found


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), named(path))


def imported(path: Path, *, at_import: bool = False) -> set[str]:
    """
    The dotted names that a file imports, a module's members as `module.member`.

    With `at_import` only those that importing the file itself imports.
    """
    tree = tree_of(path)
    nodes: Iterable[ast.AST] = _run_at_import(tree.body) if at_import else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}: relative imports hide who is meant"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _run_at_import(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield statement
        nested = (
            getattr(statement, part, []) for part in ("body", "handlers", "orelse", "finalbody")
        )
        for block in nested:
            yield from _run_at_import(block)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def foreign(path: Path, *allowed: str, at_import: bool = False) -> set[str]:
    """What a file imports beyond the standard library and what it is allowed to."""
    names = imported(path, at_import=at_import)
    return {
        name
        for name in names
        if name.partition(".")[0] not in sys.stdlib_module_names and not within(name, *allowed)
    }


@pytest.mark.parametrize("path", modules("observability/**/*.py"), ids=named)
def test_observability_knows_nothing_of_the_service(path: Path) -> None:
    """It is a library of its own, for any program."""
    assert not [name for name in imported(path) if within(name, "indextts_app", "scripts")]


@pytest.mark.parametrize("path", modules("indextts_app/**/*.py"), ids=named)
def test_the_service_knows_nothing_of_its_scripts(path: Path) -> None:
    """Scripts are thin and on top; nothing rests on them, nor on tests."""
    assert not [name for name in imported(path) if within(name, "scripts", "tests")]


@pytest.mark.parametrize(
    "path",
    modules(
        "indextts_app/engines/**/*.py",
        "indextts_app/workers/child.py",
        "indextts_app/workers/channel.py",
        "indextts_app/workers/__init__.py",
        "indextts_app/__init__.py",
    ),
    ids=named,
)
def test_what_a_model_worker_imports_any_interpreter_has(path: Path) -> None:
    """At import the standard library and numpy only: a model's interpreter has no pydantic."""
    own = ("indextts_app.engines", "indextts_app.workers.channel")
    allowed = {"indextts_app", *own}
    names = foreign(path, "numpy", *own, at_import=True)
    assert names <= allowed


def test_a_model_worker_loads_nothing_of_the_service() -> None:
    """Importing its loop and every engine leaves the service's libraries unloaded, and torch."""
    engines = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in modules("indextts_app/engines/**/*.py")
    ]
    script = (
        "import importlib, sys\n"
        f"for name in {['indextts_app.workers.child', *engines]}:\n"
        "    importlib.import_module(name.removesuffix('.__init__'))\n"
        f"print(*sorted(set(sys.modules) & {SERVICE_ONLY | {'torch', 'observability'}}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("path", modules("indextts_app/engines/**/*.py"), ids=named)
def test_engines_know_nothing_of_page_and_api(path: Path) -> None:
    """
    Not even inside a function: of this project they know each other only, and the probe.

    The probe is what anybody may measure an IndexTTS2 with; an engine that measured it in another
    way would tell other times. It is imported inside functions, so that an engine can be imported
    where the libraries of `observability` are not installed, and says what is missing. So are the
    pipelines of modelscope, by the engine that runs one: the service itself only fetches weights.
    """
    assert not [
        name
        for name in imported(path)
        if (within(name, *SERVICE_ONLY) and not within(name, "modelscope.pipelines"))
        or (within(name, "observability") and not within(name, "observability.indextts_probe"))
        or (within(name, "indextts_app") and not within(name, "indextts_app.engines"))
    ]
    assert not [name for name in imported(path, at_import=True) if within(name, "observability")]


@pytest.mark.parametrize("path", modules("indextts_app/pages/**/*.py"), ids=named)
def test_pages_know_of_engines_only_how_they_are_described(path: Path) -> None:
    """The types of `engines.base`, and no engine; nothing of the workers either."""
    assert not [
        name
        for name in imported(path)
        if within(name, "indextts_app.engines", "indextts_app.workers")
        and not within(name, "indextts_app.engines.base")
    ]


def test_the_api_knows_nothing_of_the_page() -> None:
    """It can be served without one."""
    (path,) = modules("indextts_app/api.py")
    assert not [name for name in imported(path) if within(name, "gradio", "indextts_app.pages")]


@pytest.mark.parametrize("path", modules("indextts_app/pages/**/*.py"), ids=named)
def test_the_page_knows_nothing_of_the_api(path: Path) -> None:
    """Both call the same synthesizer, and neither the other."""
    assert not [name for name in imported(path) if within(name, "indextts_app.api")]


def test_gradio_is_known_to_the_page_only() -> None:
    """Another page, or none, changes nothing else."""
    users = {
        path.relative_to(ROOT / "indextts_app").parts[0]
        for path in modules("indextts_app/**/*.py")
        if any(within(name, "gradio") for name in imported(path))
    }
    assert users == {"pages"}


def test_engines_are_made_in_the_worker_process_only() -> None:
    """Whoever else wants something of an engine asks a worker; tables of what it has apart."""
    outside = {
        named(path): path.read_text("utf-8").count("engines.make(")
        for path in modules("indextts_app/**/*.py")
        if "engines" not in path.parts
        and any(
            within(name, "indextts_app.engines") and not within(name, "indextts_app.engines.base")
            for name in imported(path)
        )
    }
    assert outside == {
        "indextts_app/model_weights.py": 0,
        "indextts_app/server.py": 0,
        "indextts_app/workers/child.py": 1,
    }


# --- Catching everything -------------------------------------------------------------------------


def catching_everything(path: Path) -> list[int]:
    """The lines of a file that catch or suppress any exception."""

    def is_everything(node: ast.expr | None) -> bool:
        if isinstance(node, ast.Tuple):
            return any(map(is_everything, node.elts))
        return node is None or (
            isinstance(node, ast.Name) and node.id in ("Exception", "BaseException")
        )

    return [
        node.lineno
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.ExceptHandler) and is_everything(node.type))
        or (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("suppress")
            and any(map(is_everything, node.args))
        )
    ]


def test_everything_is_caught_at_the_listed_edges_only() -> None:
    """A new `except Exception` is a decision to be made here; elsewhere errors go on."""
    found = Counter(
        {
            named(path): len(catching_everything(path))
            for package in PACKAGES
            for path in modules(f"{package}/**/*.py")
        }
    )
    assert +found == MAY_CATCH_EVERYTHING


@pytest.mark.parametrize("name", MAY_CATCH_EVERYTHING)
def test_who_catches_everything_says_why(name: str) -> None:
    """The reason stands on the line."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    for number in catching_everything(ROOT / name):
        comment = lines[number - 1].partition("#")[2]
        assert re.fullmatch(r"( noqa: BLE001 (-|  ?#))? \S+( \S+){2,}", comment), f"{name}:{number}"


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by their bare names, and would stop at the second."""
    names = Counter(path.name for path in modules("tests/**/test_*.py"))
    assert not [name for name, count in names.items() if count > 1]
