"""Records of a run: who wrote each unit, with what probability, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

import torch

from mmspec.messages import Commit

Origin = Literal["accepted", "corrected", "bonus", "regenerated", "target"]
PHASES = ("prefill", "draft", "verify", "judge", "commit")
MAX_ROUNDS = 100_000  # per trace; beyond it only the sums grow, so long runs keep memory flat


@dataclass(frozen=True)
class UnitRecord:
    """One emitted unit.

    Attributes:
        unit: Token id, a tuple of numbers where units are vectors, or the record of a video block.
        origin: ``accepted`` (drafted and kept), ``corrected`` (replaced a refused unit), ``bonus``
            (the target's own after a fully accepted branch), ``regenerated`` (drawn anew by the
            target in its place), ``target`` (no draft that round, or forced by the request).
        probability: The target's probability of it; None where units have none.
        round: Round that emitted it.
        place: Where in the output it belongs.
    """

    unit: Any
    origin: Origin
    probability: float | None
    round: int
    place: int


@dataclass(frozen=True)
class RoundRecord:
    """One round over the whole batch.

    Attributes:
        source: Who drafted.
        active: Rows still running when it began.
        drafted: Nodes submitted over the active rows.
        depth: Longest drafted branch.
        accepted: Drafted units kept, per active row.
        emitted: Units emitted over all rows.
        seconds: Seconds of each phase.
    """

    source: str
    active: int
    drafted: int
    depth: int
    accepted: tuple[int, ...]
    emitted: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Metrics:
    """Sums and ratios of a run.

    ``acceptance_length`` counts units per row and decoding round, the correction or bonus included
    (the EAGLE papers' tau; ViSpec's tables leave the bonus out, subtract 1 to compare). Plain
    decoding has exactly 1: the unit that the prefill yields counts in ``tokens`` only.
    ``target_forwards`` counts prefills, decoding rounds and passes that regenerate units; for
    videos, evaluations on noisy blocks and passes over clean ones. There the length is blocks per
    block that the target made, 0 where it made none.
    ``bias`` is the mean one-step total variation, over all units, between the law a relaxed rule
    drew a unit from and the target's; 0 for exact rules.
    ``acceptance_rate`` is drafted units kept over the longest branch drafted, so that trees and
    chains compare; units that the request forces count as output, never as drafted. Seconds are
    wall-clock on the host; on a GPU each phase ends with the work queued and ``commit``, which
    waits for the device, absorbs what is still running.
    """

    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    rounds: int = 0
    target_forwards: int = 0
    acceptance_length: float = 0.0
    acceptance_rate: float = 0.0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    prefill_seconds: float = 0.0
    judge_seconds: float = 0.0
    commit_seconds: float = 0.0
    first_token_seconds: float = 0.0
    bias: float = 0.0


@dataclass
class Trace:
    """Collects a run; one trace may span several batches of one job.

    Attributes:
        rounds: One record a round.
        units: One list of unit records a finished or running row, in the order of the rows.
        notes: Things a user should know, such as a drafter that was switched off.
        requests: Batches begun; the first round of each is its prefill.
        decoding_rounds: Rounds that were not a prefill.
        forwards: Forwards of the target's network.
        row_rounds: Passes of decoding rounds counted once for every row that was active in them;
            for videos, the blocks that the target made.
        row_units: Units those rounds emitted; the one unit a prefill yields is not among them.
        bias: Sum over all units of the one-step bias of a relaxed rule.
        scores: The numbers that drafted units were judged by, where the rule has such; at most
            :data:`MAX_ROUNDS` of them.
        unjudged: Drafted units whose number was not finite; the target's own took their places.
    """

    rounds: list[RoundRecord] = field(default_factory=list)
    units: list[list[UnitRecord]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    first_token_seconds: float = 0.0
    requests: int = 0
    decoding_rounds: int = 0
    forwards: int = 0
    row_rounds: int = 0
    row_units: int = 0
    bias: float = 0.0
    scores: list[float] = field(default_factory=list)
    unjudged: int = 0
    _current: dict[str, float] = field(default_factory=dict)
    _base: int = 0
    _positions: list[list[int]] = field(default_factory=list)
    _phase_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    _started: float = 0.0
    _first: bool = False

    def begin(self, rows: int) -> None:
        """Start a batch of ``rows`` new rows."""
        self._base = len(self.units)
        self.units.extend([] for _ in range(rows))
        self.requests += 1
        self._started = time.perf_counter()
        self._first = True

    def end(self) -> None:
        """Close the running batch: its wall-clock time counts from :meth:`begin` to here."""
        self.seconds += time.perf_counter() - self._started

    @contextmanager
    def clock(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to ``phase`` of the running round."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._current[phase] = self._current.get(phase, 0.0) + spent

    def record(self, commit: Commit, source: str) -> dict[str, float]:
        """Add a finished round; returns the seconds of its phases."""
        seconds, self._current = self._current, {}
        if self._first and commit.emitted:
            self.first_token_seconds += time.perf_counter() - self._started
            self._first = False
        for phase, spent in seconds.items():
            self._phase_seconds[phase] += spent
        kept = [
            _kept(commit, row, a) for row, a in enumerate(commit.accepted) if commit.active[row]
        ]
        if "prefill" not in seconds:
            self.decoding_rounds += 1
            self.row_rounds += _row_passes(commit)
            self.row_units += commit.emitted
        self.forwards += 1 + commit.passes if commit.forwards is None else commit.forwards
        self.bias += sum(commit.bias)
        self._count_positions(commit)
        number = self.decoding_rounds + self.requests - 1
        if len(self.rounds) < MAX_ROUNDS:
            drafted = sum(d for d, on in zip(commit.drafted, commit.active, strict=True) if on)
            self.rounds.append(
                RoundRecord(
                    source, len(kept), drafted, commit.depth, tuple(kept), commit.emitted, seconds
                )
            )
        for row, units in enumerate(commit.units):
            records = self.units[self._base + row]
            first = len(records)
            places = commit.places[row] if commit.places else range(first, first + len(units))
            chances = commit.probability[row]
            records.extend(
                UnitRecord(unit, _origin(commit, row, index), chance, number, place)
                for index, (unit, chance, place) in enumerate(
                    zip(units, chances, places, strict=True)
                )
            )
        for scores in commit.scores:
            self.unjudged += sum(not isfinite(score) for score in scores)
            self.scores += scores[: MAX_ROUNDS - len(self.scores)]
        return seconds

    def _count_positions(self, commit: Commit) -> None:
        """Per draft position: how often it was offered, how often it was kept."""
        while len(self._positions) < commit.depth:
            self._positions.append([0, 0])
        for row, accepted in enumerate(commit.accepted):
            again, forced = _drawn_anew(commit, row), _forced(commit, row)
            for place in range(commit.depth if commit.active[row] else 0):
                if place not in forced:
                    self._positions[place][0] += 1
                    self._positions[place][1] += place < accepted and place not in again

    @property
    def acceptance_by_position(self) -> list[float]:
        """Share of rounds in which the unit at each draft position was kept."""
        return [kept / offered for offered, kept in self._positions if offered]

    @property
    def metrics(self) -> Metrics:
        """Sums and ratios so far."""
        tokens = sum(len(row) for row in self.units)
        offered = sum(offered for offered, _ in self._positions)
        kept = sum(kept for _, kept in self._positions)
        phases = self._phase_seconds
        return Metrics(
            tokens=tokens,
            seconds=self.seconds,
            tokens_per_second=tokens / self.seconds if self.seconds else 0.0,
            rounds=self.decoding_rounds,
            target_forwards=self.forwards,
            acceptance_length=self.row_units / self.row_rounds if self.row_rounds else 0.0,
            acceptance_rate=kept / offered if offered else 0.0,
            draft_seconds=phases["draft"],
            verify_seconds=phases["verify"],
            prefill_seconds=phases["prefill"],
            judge_seconds=phases["judge"],
            commit_seconds=phases["commit"],
            first_token_seconds=self.first_token_seconds / max(self.requests, 1),
            bias=self.bias / tokens if tokens else 0.0,
        )

    @property
    def acceptance_length(self) -> float:
        """Units per row and target round, correction or bonus included."""
        return self.metrics.acceptance_length

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries and lists."""
        return {
            "metrics": asdict(self.metrics),
            "acceptance_by_position": self.acceptance_by_position,
            "notes": list(self.notes),
            "rounds": [asdict(record) for record in self.rounds],
            "units": [[asdict(unit) for unit in row] for row in self.units],
        }

    def plot(self, path: str) -> None:
        """Draw acceptance by position, units a round and the time split into a PNG or SVG file."""
        from mmspec.plots import plot_trace

        plot_trace(self, path)


def in_order(records: Sequence[UnitRecord]) -> list[UnitRecord]:
    """Records of a row in the order of the output, which need not be that of writing."""
    return sorted(records, key=lambda record: record.place)


def _kept(commit: Commit, row: int, accepted: int) -> int:
    """Drafted units that stayed: those on the path, neither drawn anew nor forced."""
    others = {*_drawn_anew(commit, row), *_forced(commit, row)}
    return accepted - sum(place < accepted for place in others)


def _row_passes(commit: Commit) -> int:
    """Passes of a round over its rows; where a unit takes many, the units that the target made."""
    if commit.forwards is None:
        return sum(commit.active) * (1 + commit.passes)
    return sum(len(units) for units in commit.units) - sum(commit.accepted)


def _drawn_anew(commit: Commit, row: int) -> Sequence[int]:
    return commit.regenerated[row] if commit.regenerated else ()


def _forced(commit: Commit, row: int) -> Sequence[int]:
    return commit.forced[row] if commit.forced else ()


def _origin(commit: Commit, row: int, place: int) -> Origin:
    if place in _forced(commit, row):
        return "target"
    if place in _drawn_anew(commit, row):
        return "regenerated"
    if place < commit.accepted[row]:
        return "accepted"
    if commit.drafted[row] == 0:
        return "target"
    return "corrected" if commit.corrected[row] else "bonus"


def synchronize(device: torch.device) -> None:
    """Wait for an accelerator, so that a wall-clock reading means something; nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
