"""Promises of the allocator's settings: quick again and again, and nothing kept for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PEAK = """
import sys, threading
import psutil
from indextts_app import allocator
print(allocator.bound())
kept = []

def work():
    for _ in range(60):
        buffers = [bytearray(size) for size in (200_000, 400_000, 900_000) * 10]
        kept.append([bytearray(600) for _ in range(200)])
        del buffers

threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(allocator.give_memory_back())
print(psutil.Process().memory_info().rss // 1_000_000)
"""

AGAIN = """
import resource
from indextts_app import allocator
print(allocator.bound())

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [bytes(2_300_000), bytearray(4_600_000), bytes(130_000)]
    del buffers
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults() > 1_000)
faults()
print(sum(faults() for _ in range(10)))
"""


def run(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_what_threads_have_freed_goes_back() -> None:
    """Large buffers between small objects that stay leave nothing behind."""
    *was_done, megabytes = run(PEAK)
    assert was_done == ["True", "True"]
    assert int(megabytes) < 100


def test_the_next_audio_costs_no_new_pages() -> None:
    """Ten times 7 MB in what was freed before take far less than a page fault for each 4 kB."""
    *was_done, faults = run(AGAIN)
    assert was_done == ["True", "True"]
    assert int(faults) < 500
