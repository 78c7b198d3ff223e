"""The arithmetic adds up, and what is measured of a log folder is what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.capacity.growth import Prices, Sizes, growth, measure
from observability.generated_logs import Month, generate
from observability.log_store.questions import Unanswerable

ASKED = {
    "work_seconds": 4.0, "work_cv": 0.8, "peak_factor": 2.5, "wait_seconds": 2.0, "share": 0.95,
}  # fmt: skip
SIZES = Sizes(lines=2000, archive=250, parquet=200, loki=600)


def test_a_million_requests_by_hand() -> None:
    """Each size times its days, the rate of the busiest hour, and the money of all of it."""
    found = growth(1_000_000, sizes=SIZES, **ASKED)
    assert (found.lines_gb, found.lines_kept_gb) == (2.0, pytest.approx(65 / 15))
    assert found.archive_kept_gb == pytest.approx(0.75)
    assert found.parquet_kept_gb == pytest.approx(0.6)
    assert found.loki_kept_gb == pytest.approx(0.14)
    assert found.mean_rate == pytest.approx(1e6 / 2_592_000)
    assert found.erlangs == pytest.approx(2.5e6 / 2_592_000 * 4)
    assert found.gpus > found.erlangs
    assert found.fits_one_loki
    prices = Prices(gpu_hour=10, gb_month_disk=1, gb_month_bucket=0.1)
    assert found.cost(prices) == pytest.approx(found.gpus * 7200 + 65 / 15 + 0.6 + 0.089)
    assert found.cost(prices, gpu_hours=100) == pytest.approx(1000 + 65 / 15 + 0.6 + 0.089)


def test_more_requests_need_a_smaller_share_more_gpus() -> None:
    """Ten times the requests, less than ten times the GPUs: a large pool is idle less."""
    small, large = (growth(requests, sizes=SIZES, **ASKED) for requests in (10**6, 10**7))
    assert small.gpus < large.gpus < 10 * small.gpus
    assert growth(0, sizes=SIZES, **ASKED).gpus == 1
    assert not growth(10**9, sizes=SIZES, **ASKED).fits_one_loki


def test_what_is_no_month_is_refused() -> None:
    """A negative number, a busiest hour below the mean."""
    with pytest.raises(ValueError, match="0 or more"):
        growth(-1, **ASKED)
    with pytest.raises(ValueError, match="1 or more"):
        growth(1, **{**ASKED, "peak_factor": 0.5})


def test_a_log_folder_is_measured_and_left_as_it_is(tmp_path: Path) -> None:
    """Its lines as they lie there, archives and Parquet as the nightly script makes them."""
    paths = generate(Month(2026, 9, 300), tmp_path)
    before = {path: path.read_bytes() for path in paths}
    found = measure(tmp_path)
    assert found.requests == 300
    assert found.lines_bytes == sum(map(len, before.values()))
    assert found.lines == sum(content.count(b"\n") for content in before.values())
    assert 0 < found.archive_bytes < found.lines_bytes
    assert found.parquet_bytes > 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_without_requests_has_no_size_of_one(tmp_path: Path) -> None:
    """It says so, instead of dividing by it."""
    with pytest.raises(Unanswerable, match="No finished request"):
        measure(tmp_path)
