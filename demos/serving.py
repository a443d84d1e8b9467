"""One machine for many viewers: runs are served in turn, each can be stopped, none can be lost."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_WAITING = 16  # runs in line behind the one that works; more are refused
PATIENCE = 60.0  # seconds after which a run that nobody watches gives the machine back
_TICK = 0.1  # seconds between two looks at whether a viewer's turn has come

_REMINDER = 1.0  # seconds between two tellings of a place in line
_NAP = 0.5  # seconds between two looks at whether the program has ended

Report = Callable[[Any], None]


class Stopped(KeyboardInterrupt):
    """The viewer stopped the run; like Ctrl-C, so that pipelines give up what they are doing."""


@dataclass(frozen=True)
class Waiting:
    """The run has not begun.

    Attributes:
        ahead: Runs that are served first.
    """

    ahead: int


@dataclass(frozen=True)
class _End:
    error: BaseException | None


@dataclass(eq=False)
class _Ticket:
    """One run: what to do, for whom, and what it has said so far."""

    owner: str
    work: Callable[[Report], Any]
    patience: float
    items: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    stopped: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    seen: float = field(default_factory=time.monotonic)

    def report(self, item: Any) -> None:
        """Hand an item to the viewer; raises :class:`Stopped` where there is none any more."""
        alone = time.monotonic() - self.seen > self.patience or not _main_is_alive()
        if alone or self.stopped.is_set():
            raise Stopped
        self.items.put(item)


def _main_is_alive() -> bool:
    return threading.main_thread().is_alive()


class Machine:
    """Does all work on models, one run at a time, on one thread of its own.

    One thread keeps clocks honest (no two runs share the processor) and torch's thread pool warm.
    It starts with the first run and ends with the program.

    Args:
        threads: CPU threads of torch; None leaves its own choice.
        most_waiting: Runs that may stand in line.
        patience: Seconds after which a run that nobody watches is stopped.
    """

    def __init__(
        self,
        threads: int | None = None,
        most_waiting: int = MOST_WAITING,
        patience: float = PATIENCE,
    ) -> None:
        self._threads, self._most, self._patience = threads, most_waiting, patience
        self._line: deque[_Ticket] = deque()
        self._open: list[_Ticket] = []  # everything that is watched, in line, running or done
        self._busy: _Ticket | None = None
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, owner: str, work: Callable[[Report], Any]) -> Iterator[Any]:
        """Have work done, and follow it.

        Args:
            owner: Who wants it, such as the session of a page; :meth:`stop` goes by it.
            work: Called on the machine's thread with ``report``; what it reports is yielded here.
                ``report`` raises :class:`Stopped` once the viewer has stopped or gone.

        Yields:
            :class:`Waiting` when the place in line changes and once a second (so that a server
            notices viewers who have left), then what the work reports.

        Raises:
            ValueError: The line is full, or this owner already has a run.
            Stopped: The owner stopped it, and the machine is free of it.
            Exception: What the work raised.
        """
        ticket = self._join(owner, work)
        told, when = 0, 0.0
        try:
            while True:
                ticket.seen = time.monotonic()
                if ticket.stopped.is_set():
                    ticket.done.wait(self._patience)
                    raise Stopped
                ahead = self._ahead(ticket)
                if ahead and (ahead != told or ticket.seen - when > _REMINDER):
                    when = ticket.seen
                    yield Waiting(ahead)
                told = ahead
                try:
                    item = ticket.items.get(timeout=_TICK)
                except queue.Empty:
                    continue
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
        finally:
            self._leave(ticket)

    def stop(self, owner: str) -> bool:
        """Stop the runs of an owner, waiting or working; returns whether there was any."""
        with self._change:
            mine = [ticket for ticket in self._open if ticket.owner == owner]
            for ticket in mine:
                self._withdraw(ticket)
        return bool(mine)

    @property
    def waiting(self) -> int:
        """Runs in line behind the one that works."""
        with self._change:
            return len(self._line)

    def _join(self, owner: str, work: Callable[[Report], Any]) -> _Ticket:
        with self._change:
            if any(ticket.owner == owner for ticket in self._open):
                raise ValueError("this page already has a run; stop it or wait for its end")
            if len(self._line) >= self._most:
                raise ValueError(
                    f"{self._most} runs are waiting already, which is the most; "
                    "try again in a minute"
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="machine")
                self._thread.start()
            ticket = _Ticket(owner, work, self._patience)
            self._open.append(ticket)
            self._line.append(ticket)
            self._change.notify()
        return ticket

    def _leave(self, ticket: _Ticket) -> None:
        with self._change:
            self._withdraw(ticket)
            self._open.remove(ticket)

    def _withdraw(self, ticket: _Ticket) -> None:
        """Take a ticket out of the line; one that is being served notices at its next report."""
        ticket.stopped.set()
        if ticket in self._line:
            self._line.remove(ticket)
            ticket.done.set()

    def _ahead(self, ticket: _Ticket) -> int:
        with self._change:
            if ticket not in self._line:
                return 0
            return self._line.index(ticket) + (self._busy is not None)

    def _serve(self) -> None:
        if self._threads:
            import torch

            torch.set_num_threads(self._threads)  # counts for the thread that sets it
        # Not a daemon: a thread torn down amid torch's own aborts the program at its end.
        while _main_is_alive():
            with self._change:
                if not self._change.wait_for(lambda: self._line, timeout=_NAP):
                    continue
                ticket = self._busy = self._line.popleft()
            error: BaseException | None = None
            try:
                ticket.work(ticket.report)
            except KeyboardInterrupt:
                error = Stopped()
            except BaseException as caught:  # the thread must outlive whatever a run does
                error = caught
            with self._change:
                self._busy = None
            ticket.items.put(_End(error))
            ticket.done.set()
