"""The diffusion process of MAR's heads: squared-cosine noise, evenly spaced steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import torch
from torch import Tensor

from image_ar.continuous.gaussian import GaussianStep

_OFFSET = 0.008  # keeps the first betas from being too small
_LARGEST_BETA = 0.999


@dataclass(frozen=True)
class DiffusionProcess:
    """Which of the training steps are sampled, and the Gaussian kernel of each.

    Index 0 is the last step in time, ``steps - 1`` the first. The network was trained on
    ``base_steps`` steps and is always told the original one; betas are computed anew from the
    noise levels of the steps that are kept. All tables are float64.

    diffusers' DDPM scheduler makes the same steps, but in float32, for one time at a time and with
    noise of its own, and has no usable variance for the last one; hence the tables here.

    Sources: Nichol and Dhariwal 2021, equations 10, 15 and 17; the spacing is that of Li et al.
    2024 (MAR).

    Args:
        steps: Steps that are sampled, from 2 to ``base_steps``.
        base_steps: Steps of training.
        clip: Largest magnitude of the clean vector that a predicted noise may imply; None clips
            nothing, as the released models are sampled. At the first steps a small error of the
            network is a large one of the clean vector: a network that was not trained very long
            needs this.

    Attributes:
        timesteps: ``(steps,)`` original step of each index, ascending.
        betas: ``(steps,)`` variance that a step forward adds.
        alphas_cumprod: ``(steps,)`` share of the signal's variance that is left.
        posterior_variance: ``(steps,)`` variance of a step back when the clean vector is known.
        log_variance_bounds: ``(2, steps)`` logarithms between which a learned variance lies: that
            of the posterior, the 0 at index 0 replaced by the next entry, and that of the betas.

    Raises:
        ValueError: ``steps`` out of range, or ``clip`` not above 0.
    """

    steps: int = 100
    base_steps: int = 1000
    clip: float | None = None
    timesteps: Tensor = field(init=False, repr=False, compare=False)
    betas: Tensor = field(init=False, repr=False, compare=False)
    alphas_cumprod: Tensor = field(init=False, repr=False, compare=False)
    posterior_variance: Tensor = field(init=False, repr=False, compare=False)
    log_variance_bounds: Tensor = field(init=False, repr=False, compare=False)
    _factors: Tensor = field(init=False, repr=False, compare=False)
    _levels: list[int] = field(init=False, repr=False, compare=False)
    _steps: dict[torch.device, list[Sequence[Tensor]]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= self.base_steps:
            raise ValueError(
                f"a diffusion process keeps 2 to {self.base_steps} steps, got steps={self.steps}"
            )
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clean vectors are clipped to a number above 0, got {self.clip}")
        spaced = torch.linspace(0, self.base_steps - 1, self.steps, dtype=torch.float64)
        timesteps = spaced.round().long()
        level = (1 - cosine_betas(self.base_steps)).cumprod(0)[timesteps]
        before = torch.cat([torch.ones(1, dtype=torch.float64), level[:-1]])
        betas = 1 - level / before
        posterior = betas * (1 - before) / (1 - level)
        bounds = torch.stack([torch.cat([posterior[1:2], posterior[1:]]), betas]).log()
        low, high = bounds
        rest = 1 - level
        factors = [
            *(level.rsqrt(), -(1 / level - 1).sqrt()),  # the clean vector
            *(betas * before.sqrt() / rest, (1 - before) * (1 - betas).sqrt() / rest),  # its share
            *((1 - betas).rsqrt(), -betas / (rest * (1 - betas)).sqrt()),  # both at once
            *(0.25 * (high + low), 0.25 * (high - low)),  # log deviation
        ]
        for name, value in (
            ("timesteps", timesteps),
            ("betas", betas),
            ("alphas_cumprod", level),
            ("posterior_variance", posterior),
            ("log_variance_bounds", bounds),
            ("_factors", torch.stack(factors)),
            ("_levels", timesteps.tolist()),
            ("_steps", {}),
        ):
            object.__setattr__(self, name, value)

    @overload
    def original(self, index: int) -> int: ...
    @overload
    def original(self, index: Tensor) -> Tensor: ...
    def original(self, index: int | Tensor) -> int | Tensor:
        """What the network is told at ``index``: a number, or of its shape and on its device."""
        if isinstance(index, Tensor):
            return self.timesteps.to(index.device)[index]
        return self._levels[index]

    def noise_gains(self, spread: float) -> Tensor:
        """How far the noise of each step moves the end of a chain.

        Exact for clean numbers that are normal with deviation ``spread`` around a known mean: the
        best denoiser is then linear, and so is every step. The smallest variances are taken.

        Args:
            spread: Above 0.

        Returns:
            ``(steps - 1,)`` float64 in order of time, for all steps but the last.
        """
        level = self.alphas_cumprod
        _, _, towards, stays, _, _, middle, half = self._factors
        known = level.sqrt() * spread**2 / (level * spread**2 + 1 - level)
        kept = (towards * known + stays).flip(0)  # of a deviation, by each step
        later = torch.cat([kept[1:].flip(0).cumprod(0).flip(0), kept.new_ones(1)])
        return ((middle - half).exp().flip(0) * later)[:-1]

    def kernel(
        self,
        index: int | Tensor,
        state: Tensor,
        noise: Tensor,
        variance_logits: Tensor,
        temperature: float = 1.0,
    ) -> GaussianStep:
        """Law of the next state.

        The mean is that of the posterior given the clean vector that the predicted noise implies;
        where nothing is clipped it is written without that vector. Logits are not bounded.

        Args:
            index: Step, an int or ``(...)``.
            state: ``(..., width)`` where the step starts.
            noise: ``(..., width)`` predicted noise.
            variance_logits: ``(..., width)``, -1 for the posterior's variance, 1 for the beta.
            temperature: Factor of the standard deviation; 0 leaves the mean alone.

        Returns:
            The law, in the type of ``state``; ``log_std`` includes the temperature. At index 0 it
            is that of the last step as if noise were added there, which MAR does not do.

        Raises:
            ValueError: A temperature that is negative or not finite.
        """
        if not 0 <= temperature < math.inf:
            raise ValueError(
                f"the temperature must be 0 or more and finite, got {temperature}; 1 is the law "
                "that was learned"
            )
        whole, less, towards, stays, signal, drift, middle, half = self._at(index, state.device)
        # The first steps take a small difference of large numbers, hence float64.
        start, guess = state.double(), noise.double()
        if self.clip is None:
            mean = torch.addcmul(start * signal, guess, drift)
        else:
            clean = torch.addcmul(start * whole, guess, less).clamp(-self.clip, self.clip)
            mean = torch.addcmul(start * stays, clean, towards)
        if temperature != 1:
            middle = middle + (math.log(temperature) if temperature else -math.inf)
        log_std = torch.addcmul(middle, variance_logits.to(state.dtype), half)
        return GaussianStep(mean.to(state.dtype), log_std.to(state.dtype))

    def _at(self, index: int | Tensor, device: torch.device) -> Sequence[Tensor]:
        """Factors of a step, ready to meet ``(..., width)``."""
        if isinstance(index, Tensor):
            return self._factors.to(device)[:, index].unsqueeze(-1).unbind()
        steps = self._steps.get(device)
        if steps is None:  # a chain asks every step: they are cut once
            columns = self._factors.to(device).unbind(1)
            steps = self._steps[device] = [column.unbind() for column in columns]
        return steps[index]


def cosine_betas(count: int) -> Tensor:
    """``(count,)`` betas of the squared-cosine schedule, float64."""
    times = torch.arange(count + 1, dtype=torch.float64) / count
    level = ((times + _OFFSET) / (1 + _OFFSET) * math.pi / 2).cos().square()
    return (1 - level[1:] / level[:-1]).clamp(max=_LARGEST_BETA)
