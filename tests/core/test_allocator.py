"""Freed memory is asked for again without new pages, and only where that was wanted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmspec.allocator import keep_freed_memory

pytestmark = pytest.mark.skipif(not keep_freed_memory(), reason="an allocator other than glibc's")

# Twenty times the same sixteen megabytes, as a model's passes take and free them. glibc raises its
# own thresholds after the first round, but never far enough for all of them.
_ROUNDS = """
import resource, sys
import numpy as np
from mmspec.allocator import keep_freed_memory

def one_round():
    parts = [np.ones(1 << 21, dtype=np.uint8) for _ in range(8)]

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    one_round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    one_round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(how: str) -> int:
    """Pages that later rounds were given, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", _ROUNDS, how], capture_output=True, text=True, check=True, env={}
    )
    return int(run.stdout)


def test_freed_memory_is_used_again() -> None:
    assert new_pages("keep") < 50


def test_without_being_asked_the_system_takes_it_back() -> None:
    assert new_pages("leave") > 200
