"""From a condition to a latent vector: the denoising chain of a diffusion head.

Steps are counted in order of time here: step 0 starts from pure noise ``x_T``, step ``steps - 1``
ends in the vector. All randomness is handed in, so a chain is a deterministic function of its
condition and its normals: entry 0 of a vector's normals is ``x_T``, entry ``i`` the noise of the
``i``-th step, the last one used only where the final step is noisy.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.process import DiffusionProcess

# A head that knows its condition: predicted noise and variance logits of the first rows' states
# ``(n, width)`` at one timestep.
Settled = Callable[[Tensor, int], tuple[Tensor, Tensor]]
FinalNoise = Literal["none", "learned"] | float


@dataclass(frozen=True)
class Condition:
    """What a head is told of each vector to draw.

    Attributes:
        vectors: ``(rows, size)``.
        null: ``(rows, size)`` the condition of the unguided branch; None without guidance.
        scale: ``(rows,)`` guidance scale, 1 for none; None without guidance.

    Raises:
        ValueError: Only one of ``null`` and ``scale``.
    """

    vectors: Tensor
    null: Tensor | None = None
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.null is None) != (self.scale is None):
            raise ValueError("guidance needs both a null condition and a scale; give both or none")

    def repeat_interleave(self, count: int) -> Condition:
        """Every row ``count`` times in a row."""
        return Condition(
            self.vectors.repeat_interleave(count, 0),
            None if self.null is None else self.null.repeat_interleave(count, 0),
            None if self.scale is None else self.scale.repeat_interleave(count, 0),
        )

    def select(self, index: Tensor | slice) -> Condition:
        """The rows at ``index``."""
        return Condition(
            self.vectors[index],
            None if self.null is None else self.null[index],
            None if self.scale is None else self.scale[index],
        )


class Head(Protocol):
    """Network of one denoising step. Guidance is combined inside.

    Guided noise is ``e_null + scale (e - e_null)``; the variance is that of the conditional branch.
    """

    width: int

    def __call__(
        self, state: Tensor, timestep: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Predicted noise and variance logits, both ``(rows, width)``.

        Args:
            state: ``(rows, width)`` noisy vectors.
            timestep: ``(rows,)`` steps of the process the network was trained on.
            condition: Of ``rows`` rows.
        """
        ...


class ChainHead(Head, Protocol):
    """A head that chains can ask step after step."""

    def under(self, condition: Condition) -> Settled:
        """The same network under one condition; what depends on that alone is computed once."""
        ...


@dataclass(frozen=True)
class Chain:
    """Where a chain ends.

    Attributes:
        last: ``(rows, width)`` law of the final step, see :func:`settle`.
        trail: ``(rows,)`` sum, over all steps that were run but the last and over the width, of the
            log standard deviations; float64.
        states: ``(rows, steps, width)`` where each kernel was evaluated, ``x_T`` first; None unless
            recorded.
        kernels: ``(rows, steps, width)`` law of every step; None unless recorded.
    """

    last: GaussianStep
    trail: Tensor
    states: Tensor | None = None
    kernels: GaussianStep | None = None


def denoise(
    head: ChainHead,
    process: DiffusionProcess,
    condition: Condition,
    normals: Tensor,
    temperature: float = 1.0,
    record: bool = False,
) -> Chain:
    """The whole chain, ``steps`` calls of the head one after another.

    Args:
        head: Network.
        process: Its steps.
        condition: Of ``rows`` rows.
        normals: ``(rows, steps + 1, width)``. ``x_T`` is not scaled by the temperature.
        temperature: Factor of every step's standard deviation.
        record: Whether to keep states and kernels.

    Raises:
        ValueError: Normals of another shape.
    """
    _check_normals(head, process, condition, normals)
    noises, settled = normals.unbind(1), head.under(condition)
    states, kernels = [noises[0]], []
    for step in range(process.steps):
        kernel = _kernel(settled, process, step, states[-1], temperature)
        kernels.append(kernel)
        if step < process.steps - 1:
            states.append(kernel.draw(noises[step + 1]))
    spreads = torch.stack([kernel.log_std for kernel in kernels], 1)
    trail = spreads[:, :-1].double().sum((1, 2))
    if not record:
        return Chain(kernels[-1], trail)
    means = torch.stack([kernel.mean for kernel in kernels], 1)
    return Chain(kernels[-1], trail, torch.stack(states, 1), GaussianStep(means, spreads))


def kernels_along(
    head: Head,
    process: DiffusionProcess,
    condition: Condition,
    states: Tensor,
    temperature: float = 1.0,
) -> GaussianStep:
    """Laws of all steps at given states: one call of the head with ``rows * steps`` rows.

    Args:
        head: Network.
        process: Its steps.
        condition: Of ``rows`` rows.
        states: ``(rows, steps, width)``, ``x_T`` first.
        temperature: Factor of every step's standard deviation.

    Returns:
        ``(rows, steps, width)``.
    """
    rows, steps, width = states.shape
    flat = states.reshape(rows * steps, width)
    index = torch.arange(steps - 1, -1, -1, device=states.device).repeat(rows)
    told = process.original(index)
    noise, logits = head(flat, told, condition.repeat_interleave(steps))
    kernels = process.kernel(index, flat, noise, logits, temperature)
    return GaussianStep(kernels.mean.view_as(states), kernels.log_std.view_as(states))


def finish(
    head: ChainHead,
    process: DiffusionProcess,
    condition: Condition,
    state: Tensor,
    first: Tensor,
    normals: Tensor,
    temperature: float = 1.0,
) -> Chain:
    """Go on from given states; each call of the head holds only the rows that have begun.

    Reads ``first`` on the host once.

    Args:
        head: Network.
        process: Its steps.
        condition: Of ``rows`` rows.
        state: ``(rows, width)`` where each row stands.
        first: ``(rows,)`` the step that each row runs next, from 0 to ``steps``. At ``steps`` the
            vector is finished: its last law has no spread and its mean is the state.
        normals: ``(rows, steps + 1, width)``, as for the whole chain.
        temperature: Factor of every step's standard deviation.

    Raises:
        ValueError: Normals of another shape, or a step out of range.
    """
    _check_normals(head, process, condition, normals)
    order = first.argsort(stable=True)
    starts = first[order].tolist()
    _check_starts(starts, process.steps)
    state, normals, settled = state[order], normals[order], head.under(condition.select(order))
    mean, log_std = state.clone(), torch.full_like(state, -math.inf)
    trail = torch.zeros(len(state), dtype=torch.float64, device=state.device)
    for step in range(min(starts, default=process.steps), process.steps):
        begun = slice(bisect_right(starts, step))
        kernel = _kernel(settled, process, step, state[begun], temperature)
        if step == process.steps - 1:
            mean[begun], log_std[begun] = kernel.mean, kernel.log_std
        else:
            trail[begun] += kernel.log_std.double().sum(-1)
            state = torch.cat([kernel.draw(normals[begun, step + 1]), state[begun.stop :]])
    back = order.argsort()
    return Chain(GaussianStep(mean, log_std)[back], trail[back])


def settle(last: GaussianStep, final_noise: FinalNoise, normals: Tensor) -> Tensor:
    """The vector itself ``(..., width)``.

    Args:
        last: Law of the final step.
        final_noise: ``none``, as MAR samples, for the mean; ``learned`` for a draw from the law; a
            number for a draw with that standard deviation in every dimension.
        normals: ``(..., width)`` the noise of the final step.

    Raises:
        ValueError: Another word, or a number that is negative or not finite.
    """
    if final_noise == "none":
        return last.mean
    if final_noise == "learned":
        return last.draw(normals)
    if not (isinstance(final_noise, float | int) and 0 <= final_noise < math.inf):
        raise ValueError(
            f"final noise must be 'none', 'learned' or a standard deviation, got {final_noise!r}"
        )
    return last.mean + final_noise * normals.to(last.mean.dtype)


def _kernel(
    settled: Settled, process: DiffusionProcess, step: int, state: Tensor, temperature: float
) -> GaussianStep:
    """Law of ``step`` (in order of time) at ``state`` ``(rows, width)``."""
    index = process.steps - 1 - step
    noise, logits = settled(state, process.original(index))
    return process.kernel(index, state, noise, logits, temperature)


def _check_normals(
    head: Head, process: DiffusionProcess, condition: Condition, normals: Tensor
) -> None:
    wanted = (len(condition.vectors), process.steps + 1, head.width)
    if tuple(normals.shape) != wanted:
        raise ValueError(
            f"the chain needs normals of shape {wanted} (rows, steps + 1, width), "
            f"got {tuple(normals.shape)}"
        )


def _check_starts(starts: Sequence[int], steps: int) -> None:
    if starts and not 0 <= starts[0] <= starts[-1] <= steps:
        raise ValueError(f"a chain goes on from step 0 to {steps}, got {starts[0]} to {starts[-1]}")
