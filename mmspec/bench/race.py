"""Interleaved, repeated runs of several contenders over the same inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmspec.bench.contenders import Contender, EngineContender, Outcome
from mmspec.bench.statistics import Interval, median_rate, ratio_of_rates
from mmspec.speed import efficiency, ideal_speedup

Cells = list[list[tuple[float, int]]]


@dataclass(frozen=True)
class Standing:
    """One line of the result table.

    Attributes:
        name: Contender.
        tokens_per_second: Median over repeats.
        speedup: Tokens per second over the plain loop's, paired.
        acceptance_length: Tokens per target forward, bonus included; None where not recorded.
        ideal: Speedup the acceptance and the measured forward costs allow; None likewise.
        efficiency: Measured over ideal.
        identical: Share of inputs with exactly the plain loop's tokens.
        draft_share: Share of the time spent drafting.
    """

    name: str
    tokens_per_second: float
    speedup: Interval
    acceptance_length: float | None
    ideal: float | None
    efficiency: float | None
    identical: float
    draft_share: float | None


@dataclass
class Race:
    """The outcome of every contender on every input in every repeat.

    Attributes:
        cells: ``[name][repeat][input] = (seconds, tokens)``.
        ids: Units of the first repeat, ``[name][input][row]``.
    """

    contenders: Sequence[Contender]
    baseline: str
    cells: dict[str, Cells] = field(default_factory=dict)
    ids: dict[str, list[list[list[Any]]]] = field(default_factory=dict)

    def run(
        self,
        requests: Sequence[Any],
        repeats: int,
        warm_up: int = 2,
        tick: Callable[[], Any] = lambda: None,
    ) -> None:
        """Every contender on each request in turn, the order rotated, so that drift hits all alike.

        The warm-up (first ``warm_up`` requests, once each) is left out of every figure.
        """
        for contender in self.contenders:
            for index, item in enumerate(requests[:warm_up]):
                contender.run(item, seed=index)
            contender.forget()
            self.cells[contender.name] = [[] for _ in range(repeats)]
            self.ids[contender.name] = []
        for repeat in range(repeats):
            for index, item in enumerate(requests):
                turn = (repeat + index) % len(self.contenders)
                for contender in (*self.contenders[turn:], *self.contenders[:turn]):
                    self._note(contender, repeat, contender.run(item, seed=index))
                tick()

    def _note(self, contender: Contender, repeat: int, outcome: Outcome) -> None:
        self.cells[contender.name][repeat].append((outcome.seconds, outcome.tokens))
        if repeat == 0:
            self.ids[contender.name].append(outcome.rows)

    def standings(self) -> list[Standing]:
        """One line a contender, in the order they were given."""
        plain = next(c for c in self.contenders if c.name == self.baseline)
        return [self._standing(contender, plain) for contender in self.contenders]

    def _standing(self, contender: Contender, plain: Contender) -> Standing:
        cells, base = self.cells[contender.name], self.cells[self.baseline]
        speedup = ratio_of_rates(cells, base)
        tau = ideal = gained = share = None
        if isinstance(contender, EngineContender) and isinstance(plain, EngineContender):
            metrics = contender.trace.metrics
            tau, share = metrics.acceptance_length, metrics.draft_seconds / metrics.seconds
            ideal = ideal_speedup(contender.trace, plain.trace)
            gained = efficiency(speedup.middle, ideal)
        pairs = zip(self.ids[contender.name], self.ids[self.baseline], strict=True)
        same = [a == b for a, b in pairs]
        return Standing(
            contender.name,
            median_rate(cells),
            speedup,
            tau,
            ideal,
            gained,
            sum(same) / len(same),
            share,
        )

    def write(self, path: Path, provenance: dict[str, Any]) -> None:
        """Raw records as JSON lines: the provenance first, then one line a contender and repeat."""
        lines = [json.dumps({"provenance": provenance})]
        for name, repeats in self.cells.items():
            for repeat, row in enumerate(repeats):
                seconds, tokens = [s for s, _ in row], [n for _, n in row]
                lines.append(
                    json.dumps(
                        {"name": name, "repeat": repeat, "seconds": seconds, "tokens": tokens}
                    )
                )
        lines += [json.dumps({"standing": asdict(standing)}) for standing in self.standings()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


def markdown(standings: Sequence[Standing]) -> str:
    """The table people read."""
    head = (
        "| method | tokens/s | speedup over plain [95 %] | acceptance length | ideal | efficiency "
        "| draft share | identical |\n|---|---|---|---|---|---|---|---|"
    )

    def cell(value: float | None, pattern: str) -> str:
        return "–" if value is None else format(value, pattern)

    rows = [
        f"| {s.name} | {s.tokens_per_second:.0f} | {s.speedup} | "
        f"{cell(s.acceptance_length, '.2f')} | {cell(s.ideal, '.2f')} | "
        f"{cell(s.efficiency, '.2f')} | {cell(s.draft_share, '.0%')} | {s.identical:.0%} |"
        for s in standings
    ]
    return "\n".join([head, *rows])
