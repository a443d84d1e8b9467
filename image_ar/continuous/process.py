"""The diffusion process of MAR's heads: squared-cosine noise, evenly spaced steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

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

    Attributes:
        timesteps: ``(steps,)`` original step of each index, ascending.
        betas: ``(steps,)`` variance that a step forward adds.
        alphas_cumprod: ``(steps,)`` share of the signal's variance that is left.
        posterior_variance: ``(steps,)`` variance of a step back when the clean vector is known.
        log_variance_bounds: ``(2, steps)`` logarithms between which a learned variance lies: that
            of the posterior, the 0 at index 0 replaced by the next entry, and that of the betas.

    Raises:
        ValueError: ``steps`` out of range.
    """

    steps: int = 100
    base_steps: int = 1000
    timesteps: Tensor = field(init=False, repr=False, compare=False)
    betas: Tensor = field(init=False, repr=False, compare=False)
    alphas_cumprod: Tensor = field(init=False, repr=False, compare=False)
    posterior_variance: Tensor = field(init=False, repr=False, compare=False)
    log_variance_bounds: Tensor = field(init=False, repr=False, compare=False)
    _factors: list[list[float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= self.base_steps:
            raise ValueError(
                f"a diffusion process keeps 2 to {self.base_steps} steps, got steps={self.steps}"
            )
        spaced = torch.linspace(0, self.base_steps - 1, self.steps, dtype=torch.float64)
        timesteps = spaced.round().long()
        level = (1 - cosine_betas(self.base_steps)).cumprod(0)[timesteps]
        before = torch.cat([torch.ones(1, dtype=torch.float64), level[:-1]])
        betas = 1 - level / before
        posterior = betas * (1 - before) / (1 - level)
        bounds = torch.stack([torch.cat([posterior[1:2], posterior[1:]]), betas]).log()
        signal = (1 - betas).rsqrt()
        drift = -betas / (1 - level).sqrt() * signal
        low, high = bounds
        factors = torch.stack([signal, drift, 0.25 * (high + low), 0.25 * (high - low)], 1)
        for name, value in (
            ("timesteps", timesteps),
            ("betas", betas),
            ("alphas_cumprod", level),
            ("posterior_variance", posterior),
            ("log_variance_bounds", bounds),
            ("_factors", factors.tolist()),
        ):
            object.__setattr__(self, name, value)

    def original(self, index: int | Tensor) -> Tensor:
        """What the network is told at ``index``, of its shape and on its device."""
        if isinstance(index, Tensor):
            return self.timesteps.to(index.device)[index]
        return self.timesteps[index]

    def kernel(
        self,
        index: int | Tensor,
        state: Tensor,
        noise: Tensor,
        variance_logits: Tensor,
        temperature: float = 1.0,
    ) -> GaussianStep:
        """Law of the next state.

        The mean is that of the posterior given the clean vector that the predicted noise implies,
        written without that vector. The clean vector is not clipped and the logits are not bounded.

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
        if not isinstance(index, Tensor):
            return self._kernel_at(index, state, noise, variance_logits, temperature)
        beta, level, low, high = self._numbers(index)
        mean = (state.double() - beta / (1 - level).sqrt() * noise.double()) / (1 - beta).sqrt()
        share = 0.5 * (variance_logits.double() + 1)
        log_std = 0.5 * (share * high + (1 - share) * low)
        log_std = log_std + (math.log(temperature) if temperature else -math.inf)
        return GaussianStep(mean.to(state.dtype), log_std.to(state.dtype))

    def _kernel_at(
        self, index: int, state: Tensor, noise: Tensor, logits: Tensor, temperature: float
    ) -> GaussianStep:
        """The law of one step for all vectors: what a chain calls every step."""
        signal, drift, middle, half = self._factors[index]
        # The first steps take a small difference of large numbers.
        mean = torch.add(state.double() * signal, noise.double(), alpha=drift)
        shift = math.log(temperature) if temperature else -math.inf
        spread = logits.to(state.dtype) * half + (middle + shift)
        return GaussianStep(mean.to(state.dtype), spread)

    def _numbers(self, index: Tensor) -> tuple[Tensor, ...]:
        """Beta, signal and the two bounds of each step, ready to meet ``(..., width)``."""
        table = torch.stack([self.betas, self.alphas_cumprod, *self.log_variance_bounds])
        return table.to(index.device)[:, index].unsqueeze(-1).unbind()


def cosine_betas(count: int) -> Tensor:
    """``(count,)`` betas of the squared-cosine schedule, float64."""
    times = torch.arange(count + 1, dtype=torch.float64) / count
    level = ((times + _OFFSET) / (1 + _OFFSET) * math.pi / 2).cos().square()
    return (1 - level[1:] / level[:-1]).clamp(max=_LARGEST_BETA)
