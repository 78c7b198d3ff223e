"""scripts/growth.py prints the tables of docs/growth.md, and says what a question lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import Asker

from observability.generated_logs import Month, generate
from scripts import growth

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(growth.main, monkeypatch, capsys)


@pytest.mark.parametrize("page", ["docs/growth.md", "docs/growth.zh.md"])
def test_its_tables_are_those_of_the_page(page: str, run: Asker) -> None:
    """Row by row: a figure that changes in code changes there."""
    status, out, _ = run()
    assert status == 0
    rows = [line for line in out.splitlines() if line.startswith("| 1")]
    assert len(rows) == 2 * len(growth.REQUESTS)
    text = (ROOT / page).read_text("utf-8")
    assert not [row for row in rows if row not in text]


def test_money_is_what_the_reader_puts_in(run: Asker) -> None:
    """GPU-hours, disks and buckets at the prices given; none without prices."""
    status, out, _ = run("--requests", "1000000", "--gpu-hour", "10", "--disk", "1",
                         "--bucket", "0.5")  # fmt: skip
    assert status == 0
    assert out.splitlines()[-1] == "| 1,000,000 | 50,405.50 | 5.50 | 50.41 |"
    assert "cost" not in run("--requests", "1000000")[1]


def test_a_log_is_measured(tmp_path: Path, run: Asker) -> None:
    """Bytes of a request, and nothing of what the archive tells by the way."""
    generate(Month(2026, 9, 100), tmp_path)
    status, out, _ = run("--measure", str(tmp_path))
    assert status == 0
    assert out.startswith("100 finished requests in ")
    assert "log.archived" not in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--requests", "-1"), "0 or more"),
        (("--rtf", "0"), "more than 0"),
        (("--peak-factor", "0"), "from 1 to 84"),
        (("--aim-percent", "100"), "between 0 and 100"),
        (("--gpu-hour", "1"), "go together"),
        (("--gpu-hour", "nan", "--disk", "1", "--bucket", "1"), "nan is not 0 or more"),
        (("--gpu-hours", "-5"), "-5 is not 0 or more"),
        (("--lines-bytes", "inf"), "inf is not 0 or more"),
        (("--requests", "1" + "0" * 400), "up to 1,000,000,000,000"),
        (("--measure", "nowhere"), "There is no log folder nowhere"),
    ],
)
def test_a_wrong_question_is_told(arguments: tuple[str, ...], told: str, run: Asker) -> None:
    """With status 2."""
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert told in err
