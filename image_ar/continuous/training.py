"""The loss that MAR's diffusion heads are trained with."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from image_ar.continuous.chain import Condition, Head
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.process import DiffusionProcess

_HALF_BIN = 1 / 255  # the last step's likelihood is that of 256 values between -1 and 1
_EDGE = 0.999
_LEAST = 1e-12


def diffusion_loss(
    head: Head,
    tokens: Tensor,
    condition: Condition,
    noise: Tensor,
    timesteps: Tensor,
    base_steps: int = 1000,
) -> Tensor:
    """Mean squared error of the predicted noise plus the variational term of the variances.

    The variational term, in bits per dimension, is the divergence between the step back when the
    clean vector is known and the head's step; at step 0 it is the negative log likelihood of the
    clean vector among 256 values between -1 and 1, which official training keeps for latents too.
    It moves the variance logits only: the predicted noise is detached in it.

    Sources: Li et al. 2024 (MAR), equation 2; Nichol and Dhariwal 2021, equations 4 to 6 and 16.

    Args:
        head: Network under training.
        tokens: ``(n, width)`` clean vectors.
        condition: Of ``n`` rows.
        noise: ``(n, width)`` standard normals to predict.
        timesteps: ``(n,)`` steps from 0 to ``base_steps - 1``.
        base_steps: Steps of the whole process.

    Returns:
        ``(n,)``.
    """
    process = _whole(base_steps)
    # In float64 until the root is taken: at step 0 the level is 1 but for 4e-5.
    level = process.alphas_cumprod.to(tokens.device)[timesteps].unsqueeze(-1)
    state = level.sqrt().to(tokens) * tokens + (1 - level).sqrt().to(tokens) * noise
    predicted, logits = head(state, timesteps, condition)
    step = process.kernel(timesteps, state, predicted.detach(), logits)
    bound = _divergence(_posterior(process, state, noise, timesteps), step)
    bits = torch.where(timesteps.unsqueeze(-1) == 0, -_log_likelihood(step, tokens), bound)
    return (noise - predicted).square().mean(-1) + bits.mean(-1) / math.log(2)


@lru_cache
def _whole(base_steps: int) -> DiffusionProcess:
    return DiffusionProcess(base_steps, base_steps)


def _posterior(
    process: DiffusionProcess, state: Tensor, noise: Tensor, timesteps: Tensor
) -> GaussianStep:
    """The step back when the clean vector is known: the kernel at the true noise."""
    return process.kernel(timesteps, state, noise, torch.full_like(noise, -1.0))


def _divergence(true: GaussianStep, model: GaussianStep) -> Tensor:
    """``KL(true || model)`` of each dimension, in nats."""
    spread = model.log_std - true.log_std
    gap = ((true.mean - model.mean) / model.std).square()
    return spread + 0.5 * (torch.exp(-2 * spread) + gap - 1)


def _log_likelihood(step: GaussianStep, x: Tensor) -> Tensor:
    """Log probability of each number's bin; the outermost bins are open."""
    centred = x - step.mean
    upper = _normal_cdf((centred + _HALF_BIN) / step.std)
    lower = _normal_cdf((centred - _HALF_BIN) / step.std)
    mass = torch.where(x < -_EDGE, upper, torch.where(x > _EDGE, 1 - lower, upper - lower))
    return mass.clamp(min=_LEAST).log()


def _normal_cdf(x: Tensor) -> Tensor:
    """The approximation that official training uses (Page 1977), off by up to 2e-4."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
