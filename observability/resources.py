"""
What the machine gives: GPU, processes, and what observability itself has lost, as collectors.

A figure that cannot be read is an absent series, never a zero.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from observability import losses

log = logging.getLogger(__name__)

GPU_SAMPLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One look at one GPU; what its driver does not tell is None."""

    index: int
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    utilization_ratio: float | None
    temperature_celsius: float | None


class GpuSampler:
    """
    Reads every GPU through NVML on a thread of its own, so that a stuck driver stops no scrape.

    Without NVML or a GPU there are no readings; a later failure empties them and is logged once.
    """

    def __init__(
        self, nvml: ModuleType | None = None, *, interval_seconds: float = GPU_SAMPLE_SECONDS
    ) -> None:
        self.readings: tuple[GpuReading, ...] = ()
        self._nvml = nvml
        self._interval = interval_seconds
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin sampling, if this machine has NVML."""
        if self._nvml is None:
            import pynvml  # costs memory where no GPU service starts it

            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError:
            return
        threading.Thread(target=self._serve, name="gpu-sampler", daemon=True).start()

    def stop(self) -> None:
        """Stop sampling."""
        self._stop.set()

    def sample(self) -> None:
        """Read every GPU once."""
        nvml = self._nvml
        if nvml is None:
            return
        try:
            self.readings = tuple(
                self._read(nvml, index) for index in range(nvml.nvmlDeviceGetCount())
            )
        except nvml.NVMLError as error:
            if self.readings:
                log.warning("GPU readings stopped: %s", error)
            self.readings = ()

    def _serve(self) -> None:
        while True:
            self.sample()
            if self._stop.wait(self._interval):
                return

    @staticmethod
    def _read(nvml: ModuleType, index: int) -> GpuReading:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)

        def told(question: Callable[[], float]) -> float | None:
            try:
                return question()
            except nvml.NVMLError:
                return None

        # A GPU that shares the memory of its CPU has no memory of its own to tell of.
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError_NotSupported:
            memory = None
        percent = told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return GpuReading(
            index=index,
            memory_used_bytes=memory and memory.used,
            memory_total_bytes=memory and memory.total,
            utilization_ratio=None if percent is None else percent / 100,
            temperature_celsius=told(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
        )


class GpuCollector(Collector):
    """The sampler's last readings as gauges."""

    def __init__(self, sampler: GpuSampler) -> None:
        self._sampler = sampler

    def collect(self) -> Iterator[Metric]:
        """One gauge for each figure that some GPU told."""
        for name, text in (
            ("memory_used_bytes", "GPU memory in use."),
            ("memory_total_bytes", "GPU memory."),
            ("utilization_ratio", "Share of time that the GPU was busy."),
            ("temperature_celsius", "GPU temperature."),
        ):
            gauge = GaugeMetricFamily(f"indextts_gpu_{name}", text, labels=("gpu",))
            for reading in self._sampler.readings:
                if (value := getattr(reading, name)) is not None:
                    gauge.add_metric((str(reading.index),), value)
            if gauge.samples:
                yield gauge


def memory_of(pids: Mapping[str, int]) -> dict[str, int]:
    """Resident bytes of each process, by its slot; one that is gone has none."""
    found = {}
    for slot, pid in pids.items():
        with suppress(psutil.Error):
            found[slot] = psutil.Process(pid).memory_info().rss
    return found


class WorkerCollector(Collector):
    """Memory and CPU of the workers, by slot; `pids` tells which process is in which slot."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        """A worker that is just being replaced has no figures."""
        memory = GaugeMetricFamily(
            "indextts_worker_memory_bytes", "Resident memory of a worker.", labels=("worker",)
        )
        cpu = CounterMetricFamily(
            "indextts_worker_cpu_seconds", "CPU time of a worker.", labels=("worker",)
        )
        for slot, pid in self._pids().items():
            try:
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                times = process.cpu_times()
                memory.add_metric((slot,), process.memory_info().rss)
                cpu.add_metric((slot,), times.user + times.system)
            except psutil.Error:
                continue
        yield memory
        yield cpu


class LossCollector(Collector):
    """What observability could not deliver, by sink; zero until something is lost."""

    SINKS = (
        "file",
        "stdout",
        "format",
        "eventlog",
        "metrics",
        "deferred",
        "fields",
        "probe",
        "attach",
        "listener",
        "spans",
    )

    def collect(self) -> Iterator[Metric]:
        """Every known sink from the start, so that an alert on an increase can fire."""
        counter = CounterMetricFamily(
            "indextts_lines_lost", "Log lines or updates lost, by sink.", labels=("sink",)
        )
        lost = losses.lost()
        for sink in dict.fromkeys((*self.SINKS, *lost)):
            counter.add_metric((sink,), lost.get(sink, 0))
        yield counter
