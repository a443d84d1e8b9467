"""Runs are served one at a time and in order; stopped and forgotten ones free the machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demos.serving import Machine, Stopped, Waiting

Report = Callable[[Any], None]
LONG = 20.0


def follow(machine: Machine, owner: str, work: Callable[[Report], Any]) -> threading.Thread:
    """Watches on a thread of its own; what was yielded and raised ends up in its attributes."""

    def watch() -> None:
        try:
            for item in machine.watch(owner, work):
                thread.items.append(item)  # type: ignore[attr-defined]
        except BaseException as error:
            thread.error = error  # type: ignore[attr-defined]

    thread = threading.Thread(target=watch)
    thread.items, thread.error = [], None  # type: ignore[attr-defined]
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def endless(report: Report) -> None:
    while True:
        report("tick")
        time.sleep(0.002)


@pytest.fixture
def machine() -> Machine:
    return Machine(most_waiting=3, patience=LONG)


def test_what_is_reported_arrives_in_order(machine: Machine) -> None:
    assert list(machine.watch("a", lambda report: [report(n) for n in range(50)])) == [*range(50)]


def test_runs_are_served_in_turn_and_never_two_at_once(machine: Machine) -> None:
    begun, running, most = [], 0, 0
    gate = threading.Event()

    def work(name: str) -> Callable[[Report], None]:
        def do(report: Report) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            begun.append(name)
            gate.wait(LONG)
            time.sleep(0.01)
            running -= 1

        return do

    threads = []
    for count, name in enumerate("abcd"):
        threads.append(follow(machine, name, work(name)))
        until(lambda count=count: len(begun) == 1 and machine.waiting == count)
    until(lambda: all(any(isinstance(i, Waiting) for i in t.items) for t in threads[1:]))
    gate.set()
    for thread in threads:
        thread.join(LONG)
    assert begun == [*"abcd"]
    assert most == 1
    first = [thread.items[0] for thread in threads[1:]]
    assert first == [Waiting(1), Waiting(2), Waiting(3)]


def test_who_waits_is_told_again_and_may_leave_the_line(machine: Machine) -> None:
    busy = follow(machine, "a", endless)
    until(lambda: "tick" in busy.items)
    viewer = machine.watch("b", endless)
    assert [next(viewer), next(viewer)] == [Waiting(1), Waiting(1)]
    assert machine.waiting == 1
    viewer.close()  # type: ignore[attr-defined]
    assert machine.waiting == 0
    machine.stop("a")
    busy.join(LONG)


def test_a_full_line_is_refused_with_a_sentence(machine: Machine) -> None:
    busy = [follow(machine, "0", endless)]
    until(lambda: "tick" in busy[0].items)
    for count in (1, 2, 3):
        busy.append(follow(machine, str(count), endless))
        until(lambda count=count: machine.waiting == count)
    with pytest.raises(ValueError, match="3 runs are waiting already"):
        next(machine.watch("late", endless))
    for owner in "3210":
        assert machine.stop(owner)
    for thread in busy:
        thread.join(LONG)
        assert isinstance(thread.error, Stopped)


def test_an_owner_has_one_run_at_a_time(machine: Machine) -> None:
    first = follow(machine, "a", endless)
    until(lambda: "tick" in first.items)
    with pytest.raises(ValueError, match="already has a run"):
        next(machine.watch("a", endless))
    machine.stop("a")
    first.join(LONG)
    assert list(machine.watch("a", lambda report: report("again"))) == ["again"]


def test_stop_ends_a_running_and_a_waiting_run_and_no_other(machine: Machine) -> None:
    running = follow(machine, "a", endless)
    until(lambda: "tick" in running.items)
    waiting = follow(machine, "b", endless)
    until(lambda: machine.waiting == 1)
    assert machine.stop("b")
    waiting.join(LONG)
    assert isinstance(waiting.error, Stopped)
    assert running.is_alive()
    assert machine.stop("a")
    running.join(LONG)
    assert isinstance(running.error, Stopped)
    assert not machine.stop("a")
    assert list(machine.watch("c", lambda report: report(1))) == [1]


def test_a_stopped_viewer_is_told_when_the_machine_is_free(machine: Machine) -> None:
    freed = threading.Event()

    def work(report: Report) -> None:
        try:
            endless(report)
        finally:
            time.sleep(0.2)
            freed.set()

    thread = follow(machine, "a", work)
    until(lambda: "tick" in thread.items)
    machine.stop("a")
    thread.join(LONG)
    assert freed.is_set()


def test_an_error_reaches_its_viewer_and_the_next_run_is_served(machine: Machine) -> None:
    def fails(report: Report) -> None:
        report("before")
        raise ValueError("no such picture")

    viewer = machine.watch("a", fails)
    assert next(viewer) == "before"
    with pytest.raises(ValueError, match="no such picture"):
        next(viewer)
    assert list(machine.watch("b", lambda report: report("fine"))) == ["fine"]


def test_a_closed_viewer_frees_the_machine(machine: Machine) -> None:
    viewer = machine.watch("a", endless)
    assert isinstance(viewer, Iterator)
    assert next(viewer) == "tick"
    viewer.close()  # type: ignore[attr-defined]
    assert list(machine.watch("b", lambda report: report(1)))[-1] == 1


def test_a_forgotten_viewer_loses_the_machine_after_a_while() -> None:
    machine = Machine(patience=0.3)
    forgotten = machine.watch("a", endless)
    assert next(forgotten) == "tick"
    # Held and never asked again; without patience this would wait for ever.
    assert list(machine.watch("b", lambda report: report(1)))[-1] == 1


def test_the_machine_has_one_thread_with_the_threads_it_was_told() -> None:
    import torch

    machine = Machine(threads=3)
    found = list(
        machine.watch("a", lambda report: report((torch.get_num_threads(), threading.get_ident())))
    )
    again = list(machine.watch("b", lambda report: report(threading.get_ident())))
    assert found[0][0] == 3
    assert again == [found[0][1]]
    assert found[0][1] != threading.get_ident()
