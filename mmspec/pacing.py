"""How far to draft: fixed, by confidence, or by measured cost with an off switch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mmspec.messages import Commit, Plan


class Fixed:
    """The same plan every round."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def plan(self, state: Any) -> Plan:
        """The plan given at construction."""
        return self._plan

    def observe(self, commit: Commit, seconds: dict[str, float]) -> None:
        """Nothing to learn."""


class Plain(Fixed):
    """Never drafts: plain decoding."""

    def __init__(self) -> None:
        super().__init__(Plan(length=0))


class ConfidenceStop(Fixed):
    """Stop drafting after a unit whose draft probability is below ``threshold``.

    The doubtful unit itself is kept, so that whether it is submitted does not depend on its value
    and sampling stays exact (transformers' ``assistant_confidence_threshold``; SWIFT; SpecDec++).
    """

    def __init__(self, length: int, threshold: float) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"the confidence threshold must be between 0 and 1, got {threshold}")
        super().__init__(Plan(length=length, stop_below=threshold))


@dataclass
class _Mean:
    """Exponentially forgetting mean; exact while few values are in."""

    value: float = 0.0
    count: int = 0

    def add(self, value: float, memory: int) -> None:
        self.count += 1
        self.value += (value - self.value) / min(self.count, memory)


class _Book:
    """What has been measured at one batch size."""

    PRIOR = 4.0  # pseudo-observations that tie a depth's acceptance to the mean over depths

    def __init__(self) -> None:
        self.seconds: dict[int, _Mean] = {}  # round seconds by planned length
        self.offered: list[float] = []  # rows whose branch was right up to this depth
        self.kept: list[float] = []  # those of them that kept this depth too
        self.lost = 0.0  # plain rounds that the running look has cost
        self.look_rows = 0  # rows drafted for in the running look
        self.look_kept = 0  # those that kept the first unit
        self.rounds_off = 0
        self.hold = 0
        self.probe = 0

    def add(self, length: int, commit: Commit, seconds: float) -> None:
        self.seconds.setdefault(length, _Mean()).add(seconds, memory=32)
        kept = [a for a, on in zip(commit.accepted, commit.active, strict=True) if on]
        while len(self.kept) < length:
            self.offered.append(0.0)
            self.kept.append(0.0)
        for depth in range(length):
            # Old rounds fade, so that a change of subject or drafter shows.
            self.offered[depth] = 0.98 * self.offered[depth] + sum(a >= depth for a in kept)
            self.kept[depth] = 0.98 * self.kept[depth] + sum(a > depth for a in kept)
        if length:
            self.look_rows += len(kept)
            self.look_kept += sum(a > 0 for a in kept)
        if length and 0 in self.seconds:
            gained = 1 + sum(kept) / max(len(kept), 1)
            self.lost += max(seconds / self.seconds[0].value - gained, 0.0)

    def round_seconds(self, length: int) -> float:
        """Seconds of a round by a line through what was measured at lengths above 0."""
        if length in self.seconds and (length == 0 or self.seconds[length].count >= 8):
            return self.seconds[length].value
        points = [(n, mean) for n, mean in self.seconds.items() if n > 0]
        total = sum(mean.count for _, mean in points)
        centre = sum(n * mean.count for n, mean in points) / total
        middle = sum(mean.value * mean.count for _, mean in points) / total
        spread = sum(mean.count * (n - centre) ** 2 for n, mean in points)
        if (
            spread == 0
        ):  # one length measured: assume that a round without drafting costs a plain one
            slope = (middle - self.seconds[0].value) / centre
        else:
            slope = sum(m.count * (n - centre) * (m.value - middle) for n, m in points) / spread
        return middle + max(slope, 0.0) * (length - centre)

    def units(self, length: int) -> float:
        """Expected units a row and round, the target's own included: ``1 + sum_d prod a_d``."""
        mean = sum(self.kept) / max(sum(self.offered), 1.0)
        survival, total = 1.0, 1.0
        for depth in range(length):
            known = depth < len(self.kept)
            kept = (self.kept[depth] if known else 0.0) + self.PRIOR * mean
            survival *= kept / ((self.offered[depth] if known else 0.0) + self.PRIOR)
            total += survival
        return total


class CostFitted:
    """Chooses the draft length with the largest predicted units per second, 0 included.

    Nothing is measured apart from the work itself: the first rounds are plain (they cost nothing
    extra), the next ones look at a quarter, a half and all of the length; from then on it maximises
    ``(1 + sum_d P(at least d kept)) / seconds(length)`` (goodput, SmartSpec 2024), with the
    seconds of a round fitted by a line. When no length beats plain decoding by ``margin`` the
    pacer declines: it decodes plainly and looks again after a hold that doubles with every failed
    look and is long enough for the look's cost to stay below 1 %. A look ends early when even a
    kind reading of it does not repay the measured cost.

    It reads counts of verified units only, so it never biases sampling. Books are kept per batch
    size and survive from request to request.

    Args:
        plan: The longest plan, its width and its budget.
        margin: Least predicted gain over plain decoding.
        hold: Rounds of the first hold.
    """

    PLAIN_ROUNDS = 2
    PROBE_ROUNDS = 3
    MAX_HOLD = 4096
    AMORTISE = 100  # plain rounds held for each one that a failed look cost

    def __init__(self, plan: Plan, margin: float = 1.03, hold: int = 24) -> None:
        if plan.length < 1:
            raise ValueError("a cost-fitted pacer needs a plan of length 1 or more")
        self._plan, self._margin, self._hold = plan, margin, hold
        self._books: dict[int, _Book] = {}
        self._batch = 1
        self._length = 0

    @property
    def declined(self) -> bool:
        """True while the pacer prefers plain decoding at the last batch size."""
        return self._book.hold > 0 and self._book.rounds_off < self._book.hold

    def predicted_speedup(self) -> float:
        """Best predicted speedup over plain decoding; 1 before anything is known."""
        book = self._book
        if 0 not in book.seconds or len(book.seconds) < 2:
            return 1.0
        return max(self._gain(length) for length in range(1, self._plan.length + 1))

    def plan(self, state: Any) -> Plan:
        """The plan of the next round; reads only the batch size of the state."""
        self._batch = state.batch
        self._length = self._choose()
        if self._length == 0:
            return Plan(length=0)
        full = self._plan
        budget = 0
        if full.width > 1:
            share = -(-full.nodes * self._length // full.length)
            budget = min(full.nodes, max(self._length, share))
        return Plan(self._length, full.width, budget, full.stop_below)

    def observe(self, commit: Commit, seconds: dict[str, float]) -> None:
        """Book a finished round; rounds that contain a prefill tell nothing about a step."""
        if "prefill" not in seconds:
            self._book.add(self._length, commit, sum(seconds.values()))

    @property
    def _book(self) -> _Book:
        return self._books.setdefault(self._batch, _Book())

    def _gain(self, length: int) -> float:
        book = self._book
        return book.units(length) * book.seconds[0].value / book.round_seconds(length)

    def _choose(self) -> int:
        book, full = self._book, self._plan.length
        if 0 not in book.seconds or book.seconds[0].count < self.PLAIN_ROUNDS:
            return 0
        if book.rounds_off < book.hold:
            book.rounds_off += 1
            return 0
        if book.probe < self.PROBE_ROUNDS and not self._hopeless():
            book.probe += 1
            # A quarter, a half, the whole: cheap first, and points for the line to pass through.
            return max(1, full >> (self.PROBE_ROUNDS - book.probe))
        best = max(range(1, full + 1), key=self._gain)
        if self._gain(best) < self._margin:
            doubled = max(2 * book.hold, self._hold, round(self.AMORTISE * book.lost))
            book.hold = min(doubled, self.MAX_HOLD)
            book.rounds_off = book.probe = book.look_rows = book.look_kept = 0
            book.lost = 0.0
            return 0
        book.hold, book.lost = 0, 0.0
        return best

    def _hopeless(self) -> bool:
        """True when this look cannot end well: even a kind reading of it does not repay any length.

        The kind reading takes every depth to be kept as often as the first one was in this look,
        with one more success than was seen.
        """
        book = self._book
        if len(book.seconds) < 2:
            return False
        share = (book.look_kept + 1) / (book.look_rows + 1)
        plain, units, best = book.seconds[0].value, 1.0, 0.0
        for length in range(1, self._plan.length + 1):
            units += share**length
            best = max(best, units * plain / book.round_seconds(length))
        return best < self._margin


class BiasBudget:
    """Lets a relaxed rule do as much as keeps its mean one-step bias under a budget.

    Around any pacer: the plan is the inner one's, its ``slack`` is set here. Where the mean over
    all units so far reaches the budget, rounds are exact until it has fallen below; elsewhere the
    slack follows the bias that a unit was measured to cost at full slack. It reads laws and counts
    only.

    Args:
        pacer: Decides how far to draft.
        budget: Largest mean one-step total variation a unit, in ``[0, 1]``.

    Raises:
        ValueError: The budget is out of range.
    """

    MEMORY = 64  # units over which the measured bias forgets

    def __init__(self, pacer: Any, budget: float) -> None:
        if not 0 <= budget <= 1:
            raise ValueError(f"the bias budget must be between 0 (exact) and 1, got {budget}")
        self._pacer, self._budget = pacer, budget
        self._bias, self._units = 0.0, 0
        self._slack = 0.0
        self._at_full = _Mean()

    @property
    def declined(self) -> bool:
        """What the inner pacer says."""
        return bool(getattr(self._pacer, "declined", False))

    def plan(self, state: Any) -> Plan:
        """The inner pacer's plan with the slack that the budget allows."""
        self._slack = self._allowed()
        plan: Plan = replace(self._pacer.plan(state), slack=self._slack)
        return plan

    def observe(self, commit: Commit, seconds: dict[str, float]) -> None:
        """Book the bias of a round; the inner pacer learns too."""
        self._pacer.observe(commit, seconds)
        self._bias += sum(commit.bias)
        self._units += commit.emitted
        if self._slack and commit.emitted:
            share = sum(commit.bias) / commit.emitted / self._slack
            self._at_full.add(share, self.MEMORY)

    def _allowed(self) -> float:
        if not self._budget or (self._bias and self._bias >= self._budget * self._units):
            return 0.0
        if not self._at_full.value:  # nothing was relaxed so far: feel the way
            return min(1.0, max(2 * self._slack, self._budget))
        room = self._budget * (self._units + self.MEMORY) - self._bias
        return min(1.0, room / self.MEMORY / self._at_full.value)
