"""Records whose numbers are chosen by a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmspec.bench.records import Entry, Loop, Records
from mmspec.trace import Metrics

ORIGIN: dict[str, Any] = {
    "hardware": "two slow cores",
    "dtype": "float32",
    "versions": {"torch": "0"},
    "inputs_sha256": "00",
    "config": {},
}


def loop(
    seconds: float,
    draft: float,
    verify: float,
    prefill: float = 0.0,
    rounds: int = 10,
    units: int = 10,
    depth: float = 0.0,
    by_position: Sequence[float] = (),
    **more: Any,
) -> Loop:
    metrics = Metrics(
        tokens=units,
        seconds=seconds,
        rounds=rounds,
        target_forwards=rounds + 1,
        acceptance_length=units / rounds,
        draft_seconds=draft,
        verify_seconds=verify,
        prefill_seconds=prefill,
        **more,
    )
    costs = [(1.0 + depth, rounds, verify / rounds)]
    return Loop(metrics, units, depth, list(by_position), costs)


def entry(name: str, seconds: float, method: str = "", **more: Any) -> Entry:
    """Four inputs and two repeats that all take the same time for ten units."""
    return Entry(name, [[(seconds, 10)] * 4] * 2, method, **more)


def plain(**more: Any) -> Entry:
    return entry("plain loop", 1.0, "none", loop=loop(8.0, 0.0, 8.0, units=80, rounds=80), **more)


def drafted(name: str = "fast", **more: Any) -> Entry:
    """Half the time: a quarter drafting, half checking; passes cost 1.5 plain ones."""
    fast = loop(
        4.0, 1.0, 2.4, 0.2, rounds=16, units=80, depth=6.0, by_position=(0.9, 0.8, 0.7, 0.6, 0.5)
    )
    return entry(name, 0.5, "eagle", loop=fast, identical=1.0, **more)


def records(entries: Sequence[Entry], **more: Any) -> Records:
    given: dict[str, Any] = {
        "name": "caption-greedy",
        "suite": "caption",
        "layout": "text",
        "intro": "Pictures",
        "title": "Greedy",
        "baseline": "plain loop",
        "size": "4 pictures, 2 repeats",
        "provenance": ORIGIN,
    }
    return Records(**{**given, **more}, entries=list(entries))
