"""One block in a few steps: the sampler, its noise, and handing over between models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from video_ar.noise import BlockNoise
from video_ar.rollout import Rollout, rollout
from video_ar.schedule import Schedule, few_steps

SHAPE = (2, 3, 2, 2)


class Toy:
    """A velocity that depends on everything a model is given; counts its evaluations."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.asked: list[float] = []

    def denoise(self, block: Tensor, timestep: float, context: Any) -> Tensor:
        self.asked.append(timestep)
        return torch.tanh(self.strength * block + timestep / 500 + sum(context, torch.zeros(())))

    def commit(self, blocks: Sequence[Tensor], context: Any) -> None:
        context.extend(block.mean() for block in blocks)


def by_hand(
    model: Toy, context: Any, noise: Callable[[int], Tensor], schedule: Schedule
) -> tuple[Tensor, list[Tensor]]:
    """The sampler written out for whole blocks."""
    x = noise(0).double()
    states, x0 = [], x
    for step, (time, sigma) in enumerate(zip(schedule.timesteps, schedule.sigmas, strict=True)):
        x = x if step == 0 else (1 - sigma) * x0 + sigma * noise(step).double()
        states.append(x)
        x0 = x - sigma * model.denoise(x, time, context)
    return x0, states


@pytest.fixture
def noise() -> Callable[[int], Tensor]:
    return BlockNoise([3, 4]).steps(1, SHAPE)


@pytest.mark.parametrize("final", [False, True])
def test_the_sampler(noise: Callable[[int], Tensor], final: bool) -> None:
    model, schedule = Toy(0.7), few_steps(final_zero_step=final)
    made = rollout(model, [torch.tensor(0.3)], noise(0), noise, schedule)
    assert model.asked == list(schedule.timesteps)
    assert made.evaluations == len(made.states) == 4 + final
    x0, states = by_hand(Toy(0.7), [torch.tensor(0.3)], noise, schedule)
    torch.testing.assert_close(made.x0.double(), x0, rtol=0, atol=1e-5)
    for mine, theirs in zip(made.states, states, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=1e-5)


def test_a_perfect_model_finds_its_block_from_any_noise(noise: Callable[[int], Tensor]) -> None:
    wanted = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(9))
    schedule = few_steps()
    sigmas = dict(zip(schedule.timesteps, schedule.sigmas, strict=True))

    class Perfect(Toy):
        def denoise(self, block: Tensor, timestep: float, context: Any) -> Tensor:
            return (block - wanted) / sigmas[timestep]

    made = rollout(Perfect(0.0), [], noise(0), noise, schedule)
    torch.testing.assert_close(made.x0, wanted)


@pytest.mark.parametrize("step", range(5))
def test_handing_over_to_oneself_changes_nothing(noise: Callable[[int], Tensor], step: int) -> None:
    """Bit for bit, at every step, and with nothing left to do after the last."""
    schedule = few_steps()
    whole = rollout(Toy(0.7), [], noise(0), noise, schedule)
    rest = rollout(Toy(0.7), [], whole.state(step), noise, schedule, start_step=step)
    assert torch.equal(rest.x0, whole.x0)
    assert rest.evaluations == 4 - step
    assert rest.start_step == step
    assert torch.equal(rest.state(step), whole.state(step))


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_rollout_that_stops_early(
    noise: Callable[[int], Tensor], steps: int, fresh: bool
) -> None:
    """Its steps are those of the whole one; what was left out keeps the last guess."""
    schedule = few_steps(fresh=fresh)
    whole = rollout(Toy(0.7), [], noise(0), noise, schedule)
    model = Toy(0.7)
    made = rollout(model, [], noise(0), noise, schedule, steps=steps)
    assert made.evaluations == len(model.asked) == steps
    assert torch.equal(made.x0, whole.clean[steps - 1])
    for step in range(steps + 1):  # what enters the first step left out is still the same
        assert torch.equal(made.state(step), whole.state(step))
    for step in range(steps, 4):
        assert torch.equal(made.prediction(step), made.x0)
        sigma, before = schedule.sigmas[step], schedule.sigmas[steps - 1]
        straight = made.x0 + (whole.state(steps - 1) - made.x0) * sigma / before
        wanted = (1 - sigma) * made.x0 + sigma * noise(step) if fresh else straight
        torch.testing.assert_close(made.state(step), wanted)
    assert torch.equal(made.state(4), made.x0)
    with pytest.raises(ValueError, match="none is step 5"):
        made.state(5)
    assert torch.equal(rollout(Toy(0.7), [], noise(0), noise, schedule, steps=9).x0, whole.x0)
    with pytest.raises(ValueError, match="at least one step, not 0"):
        rollout(Toy(0.7), [], noise(0), noise, schedule, steps=0)


def test_stitching_lies_between_restarting_and_accepting(noise: Callable[[int], Tensor]) -> None:
    schedule, drafter, target = few_steps(), Toy(0.2), Toy(0.9)
    draft = rollout(drafter, [], noise(0), noise, schedule)
    own = rollout(target, [], noise(0), noise, schedule)
    stitched = [
        rollout(target, [], draft.state(k), noise, schedule, start_step=k) for k in range(5)
    ]
    assert torch.equal(stitched[0].x0, own.x0)
    assert torch.equal(stitched[4].x0, draft.x0)
    for k in (1, 2, 3):
        assert not torch.isclose(stitched[k].x0, own.x0).all()
        assert not torch.isclose(stitched[k].x0, draft.x0).all()
    asked = [time for start in range(5) for time in schedule.timesteps[start:]]
    assert target.asked == [*schedule.timesteps, *asked]


def test_the_noise_of_another_step_would_be_another_block() -> None:
    """The twin that must fail: drafter and target with noise of their own."""
    schedule = few_steps()
    first, second = (BlockNoise([seed]).steps(0, SHAPE) for seed in (1, 2))
    start = first(0)
    one = rollout(Toy(0.7), [], start, first, schedule)
    other = rollout(Toy(0.7), [], start, second, schedule)
    assert not torch.isclose(one.x0, other.x0).all()


def test_nothing_is_committed(noise: Callable[[int], Tensor]) -> None:
    context: list[Tensor] = []
    made = rollout(Toy(0.7), context, noise(0), noise, few_steps())
    assert context == []
    Toy(0.7).commit([made.x0], context)
    assert len(context) == 1


def test_only_steps_that_were_run_can_be_handed_over(noise: Callable[[int], Tensor]) -> None:
    made = Rollout(torch.zeros(1), (torch.ones(1),) * 2, (torch.zeros(1),) * 2, start_step=2)
    with pytest.raises(ValueError, match="steps 2 to 4"):
        made.state(1)
    with pytest.raises(ValueError, match="not 5"):
        made.state(5)
    for step in (-1, 5):
        with pytest.raises(ValueError, match="from 0 to 4"):
            rollout(Toy(0.1), [], noise(0), noise, few_steps(), start_step=step)


def test_noise_is_a_function_of_seed_block_and_step() -> None:
    noise = BlockNoise([3, 4])
    first = noise.at(2, 1, SHAPE)
    noise.at(0, 0, SHAPE)
    assert torch.equal(noise.at(2, 1, SHAPE), first)
    assert torch.equal(BlockNoise([4]).at(2, 1, SHAPE)[0], first[1])
    assert torch.equal(noise.steps(2, SHAPE)(1), first)
    others = [noise.at(2, 2, SHAPE), noise.at(1, 1, SHAPE), noise.at(1, 2, SHAPE), first.flip(0)]
    assert not any(torch.isclose(other, first).any() for other in others)
    assert noise.at(10**6, 0, SHAPE).shape == (2, *SHAPE)
    assert BlockNoise([1], dtype=torch.bfloat16).at(0, 0, SHAPE).dtype == torch.bfloat16


def test_noise_is_standard_normal_and_unrelated_between_steps() -> None:
    noise = BlockNoise(list(range(8)))
    draws = torch.stack(
        [noise.at(block, step, (4, 3, 8, 8)) for block in (0, 1) for step in (0, 1)]
    )
    values = draws.flatten().double().sort().values
    ranks = torch.arange(1, len(values) + 1) / len(values)
    distance = float((torch.special.ndtr(values) - ranks).abs().max())
    critical = 1.95 / len(values) ** 0.5  # Kolmogorov-Smirnov at one in a thousand
    assert distance < critical
    biased = float((torch.special.ndtr(values + 0.05) - ranks).abs().max())
    assert biased > critical
    related = draws.flatten(1).corrcoef().fill_diagonal_(0).abs().max()
    assert float(related) < 4 / draws[0].numel() ** 0.5
