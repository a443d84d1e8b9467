"""A block of video in a few steps: predict the clean block, noise it again, repeat.

The sampler of CausVid (Yin et al. 2025) and Self-Forcing (Huang et al. 2025). It is stochastic:
what enters a step is ``(1 - sigma) * x0 + sigma * fresh noise``. Flow maps go straight on instead.
In both, the state that enters a step says all, whoever made it, which makes handing over simple.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from video_ar.schedule import Schedule, renoise, straight_on, x0_from_velocity


class BlockModel(Protocol):
    """A video model that makes blocks one after another.

    ``context`` is the state of one request: what was committed, and the prompt. The model itself
    is shared by all requests and never changed.
    """

    def denoise(self, block: Tensor, timestep: float, context: Any) -> Tensor:
        """The velocity ``noise - x0`` of a noisy block that follows what was committed.

        Commits nothing: asked again with another block, it answers as if asked for the first time.

        Args:
            block: ``(batch, channels, frames, height, width)``.
            timestep: Noise level in thousandths, the same for all frames.
            context: Read; memory that nothing committed lies in may be written.
        """
        ...

    def commit(self, blocks: Sequence[Tensor], context: Any) -> None:
        """Append clean blocks to the context, in order; one call may do them all in one pass."""
        ...


@dataclass(frozen=True)
class Rollout:
    """A finished block and how it came about.

    Args:
        x0: The block.
        states: What entered each step that was run; the first is the state it started from.
        clean: The block that each of these steps predicted; the last one is ``x0``.
        start_step: The step of the first of ``states``.
        evaluations: Evaluations of the network.
        left_out: What would have entered a step after those that were run, where the rollout
            stopped early; None where it did not.
    """

    x0: Tensor
    states: tuple[Tensor, ...]
    clean: tuple[Tensor, ...]
    start_step: int = 0
    evaluations: int = 0
    left_out: Callable[[int], Tensor] | None = None

    def state(self, step: int) -> Tensor:
        """What entered ``step``, to be handed to another model; after the last step, the block.

        Steps that were left out kept the block of the step before.

        Raises:
            ValueError: The step was not run here.
        """
        end = self.start_step + len(self.states)
        if self.left_out is not None and step >= end:
            return self.left_out(step)
        if step == end:
            return self.x0
        if not self.start_step <= step < end:
            raise ValueError(f"steps {self.start_step} to {end} can be handed over, not {step}")
        return self.states[step - self.start_step]

    def prediction(self, step: int) -> Tensor:
        """The block that ``step`` predicted, or kept.

        Raises:
            ValueError: The step was not run here.
        """
        end = self.start_step + len(self.states)
        if self.left_out is not None and step >= end:
            return self.x0
        if not self.start_step <= step < end:
            raise ValueError(f"steps {self.start_step} to {end - 1} were run here, not {step}")
        return self.clean[step - self.start_step]


def rollout(
    model: BlockModel,
    context: Any,
    start: Tensor,
    step_noise: Callable[[int], Tensor],
    schedule: Schedule,
    start_step: int = 0,
    known: Tensor | None = None,
    steps: int | None = None,
) -> Rollout:
    """Make one block.

    Args:
        model: Evaluated ``len(schedule) - start_step`` times; nothing is committed.
        context: The model's state of this request.
        start: What enters ``start_step``: noise for step 0, else a :meth:`Rollout.state` of any
            model that ran the same schedule.
        step_noise: Fresh noise for entering a step from 1 on, a pure function of the step; give two
            models the same one and they differ by their predictions only.
        schedule: The steps.
        start_step: The first step to run. ``len(schedule)`` runs none: ``start`` is the block.
        known: What :func:`predict` said of ``start`` at ``start_step``, which saves the evaluation;
            the block is the same, bit for bit.
        steps: Stop after so many and take the block as it is then; None runs all that are left.

    Raises:
        ValueError: The schedule has no such step, or no step is to be run.
    """
    count = len(schedule)
    if steps is not None and steps < 1:
        raise ValueError(f"a block takes at least one step, not {steps}")
    if not 0 <= start_step <= count:
        raise ValueError(f"start_step is a number from 0 to {count}, not {start_step}")

    def entering(step: int) -> Tensor:
        """What enters a step after those that were run; after the last one, the block."""
        if step == count:
            return x0
        if step > count:
            raise ValueError(f"a block has {count} steps, so that none is step {step}")
        before = schedule.sigmas[start_step + len(states) - 1]
        return _entering(schedule, step, x0, states[-1], before, step_noise)

    x0 = start
    end = count if steps is None else min(count, start_step + steps)
    states: list[Tensor] = []
    clean: list[Tensor] = []
    for step in range(start_step, end):
        first = step == start_step
        state = start if first else entering(step)
        saved = known if first else None
        x0 = predict(model, context, state, schedule, step) if saved is None else saved
        states.append(state)
        clean.append(x0)
    saves = known is not None and start_step < count
    stopped = entering if end < count else None
    return Rollout(x0, tuple(states), tuple(clean), start_step, len(states) - saves, stopped)


def _entering(
    schedule: Schedule,
    step: int,
    x0: Tensor,
    before: Tensor,
    level: float,
    step_noise: Callable[[int], Tensor],
) -> Tensor:
    """What enters a step after one from ``before``, of noise ``level``, that predicted ``x0``."""
    sigma = schedule.sigmas[step]
    if schedule.fresh:
        return renoise(x0, step_noise(step), sigma)
    return straight_on(x0, before, level, sigma)


def predict(
    model: BlockModel, context: Any, state: Tensor, schedule: Schedule, step: int
) -> Tensor:
    """The clean block that a model sees in what enters a step; one evaluation, commits nothing."""
    velocity = model.denoise(state, schedule.timesteps[step], context)
    return x0_from_velocity(state, velocity, schedule.sigmas[step])
