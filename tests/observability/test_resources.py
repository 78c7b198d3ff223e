"""
Promises of `observability.resources`, with an NVML that a test plays.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client.core import Metric

from observability.resources import GpuCollector, GpuReading, GpuSampler, WorkerCollector

GIB = 1024**3
PATIENCE_SECONDS = 30.0


class FakeNvml(ModuleType):
    """Two GPUs: one that tells everything, one that tells what it was made to."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """Any error of the driver."""

    class NVMLError_NotSupported(NVMLError):  # noqa: N801  # NVML's own name
        """The GPU has no such figure."""

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.count = 2
        self.no_driver = self.is_lost = False
        self.not_supported: set[tuple[int, str]] = set()
        self.asked = threading.Semaphore(0)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.no_driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self.asked.release()
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if self.is_lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._answer(handle, "memory")
        return SimpleNamespace(used=(handle + 1) * GIB, total=80 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._answer(handle, "utilization")
        return SimpleNamespace(gpu=25)

    def nvmlDeviceGetTemperature(self, handle: int, _sensor: int) -> int:  # noqa: N802
        self._answer(handle, "temperature")
        return 41

    def _answer(self, index: int, figure: str) -> None:
        if (index, figure) in self.not_supported:
            raise self.NVMLError_NotSupported("Not Supported")


@pytest.fixture
def nvml() -> FakeNvml:
    """A driver with two GPUs."""
    return FakeNvml()


def samples(families: Iterable[Metric]) -> dict[tuple[str, str], float]:
    """Value by name and by the one label's value."""
    return {
        (sample.name, next(iter(sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def gpu_samples(sampler: GpuSampler) -> dict[tuple[str, str], float]:
    return samples(GpuCollector(sampler).collect())


def sampled(nvml: FakeNvml) -> GpuSampler:
    sampler = GpuSampler(nvml)
    sampler.sample()
    return sampler


# --- GPUs ----------------------------------------------------------------------------------------


def test_every_gpu_tells_memory_load_and_temperature(nvml: FakeNvml) -> None:
    """In bytes, as a ratio and in degrees Celsius, labelled by the GPU's index."""
    assert gpu_samples(sampled(nvml)) == {
        ("indextts_gpu_memory_used_bytes", "0"): GIB,
        ("indextts_gpu_memory_used_bytes", "1"): 2 * GIB,
        ("indextts_gpu_memory_total_bytes", "0"): 80 * GIB,
        ("indextts_gpu_memory_total_bytes", "1"): 80 * GIB,
        ("indextts_gpu_utilization_ratio", "0"): 0.25,
        ("indextts_gpu_utilization_ratio", "1"): 0.25,
        ("indextts_gpu_temperature_celsius", "0"): 41,
        ("indextts_gpu_temperature_celsius", "1"): 41,
    }


@pytest.mark.parametrize("figure", ["memory", "utilization", "temperature"])
def test_a_figure_that_a_gpu_does_not_tell_is_absent(nvml: FakeNvml, figure: str) -> None:
    """Its other figures and the other GPU's are there; nothing is zero for want of an answer."""
    everything = gpu_samples(sampled(nvml))
    nvml.not_supported.add((1, figure))
    assert gpu_samples(sampled(nvml)) == {
        (name, gpu): value
        for (name, gpu), value in everything.items()
        if gpu == "0" or figure not in name
    }


def test_a_figure_that_no_gpu_tells_has_no_metric(nvml: FakeNvml) -> None:
    """Not even its help text: a family without samples says nothing."""
    nvml.not_supported |= {(0, "temperature"), (1, "temperature")}
    names = [family.name for family in GpuCollector(sampled(nvml)).collect()]
    assert names == [
        "indextts_gpu_memory_used_bytes",
        "indextts_gpu_memory_total_bytes",
        "indextts_gpu_utilization_ratio",
    ]


def test_a_driver_that_fails_leaves_no_stale_figures_and_one_warning(
    nvml: FakeNvml, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU that fell off the bus has no series; one line says so, and another if it does again."""
    sampler = sampled(nvml)
    nvml.is_lost = True
    for _ in range(3):
        sampler.sample()
    assert gpu_samples(sampler) == {}
    assert [record.getMessage() for record in caplog.records] == [
        "GPU readings stopped: GPU is lost"
    ]
    nvml.is_lost = False
    sampler.sample()
    assert len(sampler.readings) == 2


@pytest.fixture
def started(nvml: FakeNvml) -> Iterable[Callable[[], GpuSampler]]:
    """Starts a sampler that looks every millisecond, and stops it after the test."""
    sampler = GpuSampler(nvml, interval_seconds=0.001)

    def start() -> GpuSampler:
        sampler.start()
        return sampler

    yield start
    sampler.stop()


def test_sampling_goes_on_beside_the_scrapes(
    nvml: FakeNvml, started: Callable[[], GpuSampler]
) -> None:
    """A thread of its own reads again and again, so that a scrape only shows the last reading."""
    nvml.count = 1
    sampler = started()
    for _ in range(3):
        assert nvml.asked.acquire(timeout=PATIENCE_SECONDS)
    assert sampler.readings == (GpuReading(0, GIB, 80 * GIB, 0.25, 41),)


def test_without_a_driver_there_is_no_series(
    nvml: FakeNvml, started: Callable[[], GpuSampler], caplog: pytest.LogCaptureFixture
) -> None:
    """A machine without GPU is no fault: no thread, no metric, no line in the log."""
    nvml.no_driver = True
    threads = threading.active_count()
    assert gpu_samples(started()) == {}
    assert threading.active_count() == threads
    assert caplog.records == []


def test_before_it_is_started_there_is_no_series() -> None:
    """Nothing is read, and nothing is imported, until somebody asks for it."""
    sampler = GpuSampler()
    sampler.sample()
    assert gpu_samples(sampler) == {}


# --- Workers -------------------------------------------------------------------------------------


def test_a_worker_tells_its_memory_and_cpu_by_slot() -> None:
    """Figures of the real process, labelled by the slot and not by a pid that changes."""
    found = samples(WorkerCollector(lambda: {"0": os.getpid()}).collect())
    assert found.keys() == {
        ("indextts_worker_memory_bytes", "0"),
        ("indextts_worker_cpu_seconds_total", "0"),
    }
    assert found["indextts_worker_memory_bytes", "0"] > 1_000_000
    assert found["indextts_worker_cpu_seconds_total", "0"] > 0


def test_a_worker_that_has_just_died_has_no_figures() -> None:
    """Whether its end was noticed or not, it is absent and not zero; the others are there."""
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        pids = {"0": dead.pid, "1": os.getpid()}
        dead.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        unnoticed = samples(WorkerCollector(lambda: pids).collect())
    finally:
        dead.communicate()
    noticed = samples(WorkerCollector(lambda: pids).collect())
    assert {slot for _, slot in unnoticed} == {slot for _, slot in noticed} == {"1"}


def test_without_workers_there_are_no_figures() -> None:
    """A pool that is empty for a moment is no error."""
    assert samples(WorkerCollector(dict).collect()) == {}
