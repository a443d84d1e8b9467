"""Small linear denoising chains, and the messages that rules get about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.laws import Endpoints, Paths
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise

DECAY = 0.8


@dataclass(frozen=True)
class Linear:
    """``x <- 0.8 x + shift + std z`` for each step in order of time, the start standard normal."""

    shifts: tuple[float, ...]
    stds: tuple[float, ...]

    def step(self, i: int, state: Tensor) -> GaussianStep:
        spread = torch.full_like(state, self.stds[i]).log()
        return GaussianStep(DECAY * state + self.shifts[i], spread)

    def run(self, normals: Tensor) -> tuple[Tensor, Tensor]:
        """States ``(..., steps, group, width)`` and vectors ``(..., group, width)``.

        ``normals`` is ``(..., group, steps + 1, width)``.
        """
        numbers = normals.movedim(-2, -3).unbind(-3)
        states = [numbers[0]]
        for i, z in enumerate(numbers[1:]):
            states.append(self.step(i, states[-1]).draw(z))
        return torch.stack(states[:-1], -3), states[-1]

    def kernels(self, states: Tensor) -> GaussianStep:
        """Laws along ``(..., steps, group, width)``."""
        steps = [self.step(i, state) for i, state in enumerate(states.unbind(-3))]
        mean = torch.stack([step.mean for step in steps], -3)
        return GaussianStep(mean, torch.stack([step.log_std for step in steps], -3))

    def endpoints(self, normals: Tensor, places: Tensor) -> Endpoints:
        """Record of chains ``(batch, rows, group, steps + 1, width)`` with noisy last steps."""
        states, units = self.run(normals)
        last = self.step(len(self.shifts) - 1, states[..., -1, :, :])
        width = normals.shape[-1]
        trail = sum(torch.tensor(std, dtype=torch.float64).log() for std in self.stds[:-1])
        return Endpoints(last, torch.full(places.shape, float(trail)) * width, units, places)


# The example of the tests: 3 steps, the target shifted; and a draft whose spreads are its own.
TARGET = Linear((0.5, 0.3, 0.2), (1.0, 0.5, 0.25))
DRAFT = Linear((0.0, 0.0, 0.0), (1.0, 0.5, 0.25))
WIDER = Linear((0.0, 0.0, 0.0), (1.2, 0.6, 0.25))
MEAN, STD = 0.76, 0.9456447536


def raster(batch: int, rows: int, group: int) -> Tensor:
    """Places ``(batch, rows, group)`` counted on; the last row is one past the draft."""
    return torch.arange(rows * group).view(1, rows, group).expand(batch, -1, -1)


def noise_of(batch: int, places: int, seed: int = 0) -> Noise:
    return Noise([seed * 1000 + row for row in range(batch)], horizon=places)


class FieldNoise:
    """Numbers for very many rows from one generator a stream: quick, for large samples."""

    def __init__(self, rows: int, horizon: int, seed: int = 0) -> None:
        self.rows, self.horizon, self.seed = rows, horizon, seed
        self.fields: dict[tuple[str, tuple[int, ...] | None], Tensor] = {}

    def uniforms(self, stream: str, places: Tensor) -> Tensor:
        return self._at(stream, places, None)

    def normals(self, stream: str, places: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self._at(stream, places, shape)

    def _at(self, stream: str, places: Tensor, shape: tuple[int, ...] | None) -> Tensor:
        field = self.fields.get((stream, shape))
        if field is None:
            number = self.seed * 1000 + sum(map(ord, stream))
            draw = torch.rand if shape is None else torch.randn
            field = self.fields[stream, shape] = draw(
                (self.rows, self.horizon, *(shape or ())),
                generator=torch.Generator().manual_seed(number),
                dtype=torch.float64,
            )
        rows = torch.arange(self.rows).view(-1, *[1] * (places.dim() - 1)).expand_as(places)
        return field[rows, places.clamp(min=0)]


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def endpoint_round(
    q: Linear, p: Linear, shape: tuple[int, int, int, int], seed: int, shared: bool = True
) -> tuple[Draft, Evidence]:
    """A draft of ``(batch, nodes, group, width)`` and the target's chains on the same noise."""
    batch, nodes, group, width = shape
    places = raster(batch, nodes + 1, group)
    normals = draws(seed, batch, nodes + 1, group, len(q.shifts) + 1, width)
    other = normals if shared else draws(seed + 1, *normals.shape)
    law = q.endpoints(normals[:, :-1], places[:, :-1])
    evidence = Evidence(p.endpoints(other, places), places[..., 0])
    return Draft.chain(law.units, law), evidence


def path_round(
    q: Linear, p: Linear, shape: tuple[int, int, int, int], normals: Tensor
) -> tuple[Draft, Evidence]:
    """With all kernels recorded; ``normals`` is ``(batch, nodes, group, steps + 1, width)``."""
    batch, nodes, group, _ = shape
    places = raster(batch, nodes + 1, group)
    states, units = q.run(normals)
    draft = Draft.chain(units, Paths(states, q.kernels(states), places[:, :-1]))
    return draft, Evidence(Paths(states, p.kernels(states), places), places[..., 0])


def one_group(
    rule: Any, q: Linear, p: Linear, count: int, seed: int, width: int = 1, swap: bool = False
) -> tuple[Tensor, Tensor]:
    """Outputs ``(count, width)`` for many vectors judged as one group, and which are the draft's.

    ``swap`` exchanges the trails, which inverts every factor made of them.
    """
    draft, evidence = endpoint_round(q, p, (1, 1, count, width), seed)
    law, target = draft.law, evidence.law
    assert isinstance(law, Endpoints)
    assert isinstance(target, Endpoints)
    if swap:
        theirs = target.trail[:, :1]
        evidence = replace(evidence, law=replace(target, trail=law.trail.expand(-1, 2, -1)))
        draft = replace(draft, law=replace(law, trail=theirs))
    verdict: Verdict = rule.judge(draft, evidence, noise_of(1, 2 * count, seed))
    assert verdict.accepted.tolist() == [0]
    assert verdict.own is not None
    return verdict.own[0], (verdict.own == draft.units[:, 0])[0].all(-1)


def set_records(
    draft: Draft, evidence: Evidence, **changes: Sequence[Any]
) -> tuple[Draft, Evidence]:
    """Both records with fields replaced: ``name=(draft's, target's)``, None leaves one alone."""
    ours = {name: pair[0] for name, pair in changes.items() if pair[0] is not None}
    theirs = {name: pair[1] for name, pair in changes.items() if pair[1] is not None}
    law, target = draft.law, evidence.law
    assert isinstance(law, Endpoints | Paths)
    assert isinstance(target, Endpoints | Paths)
    return (
        replace(draft, law=replace(law, **ours)),
        replace(evidence, law=replace(target, **theirs)),
    )


def target_of(evidence: Evidence) -> Endpoints:
    assert isinstance(evidence.law, Endpoints)
    return evidence.law


def own_of(verdict: Verdict) -> Tensor:
    assert verdict.own is not None
    return verdict.own
