"""Seconds of the stages of a block."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mmspec.trace import synchronize


@contextmanager
def timed(seconds: dict[str, float], stage: str, device: torch.device) -> Iterator[None]:
    """Add the time spent inside to a stage, queued work of an accelerator included."""
    synchronize(device)
    start = time.perf_counter()
    try:
        yield
    finally:
        synchronize(device)
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
