"""Couplings of two Gaussian steps: keep a vector drawn from one so that it has the other's law.

``p`` is the target's step and ``q`` the one a drafted vector was drawn from. A drafted ``x`` stays
with probability ``min(1, p(x) / q(x))``. A refused one is replaced, either by its reflection, where
both steps have one spread, or by a draw from ``norm((p - q)+)``, by rejection, where they do not.
Both leave exactly ``p`` and keep as many vectors as can be kept: ``1 - TV(p, q)``.

All ratios are logarithms and all arithmetic is in float64: a product over steps and dimensions
leaves the range of any float.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from image_ar.discrete.coupling import exponential_clocks

MOST_CANDIDATES = 2**16  # then a draw from norm((p - q)+) gives up, see failure_bound
_FIRST_CHUNK, _LARGEST_CHUNK = 8, 1024
_KEY_BITS = 53


@dataclass(frozen=True)
class GaussianStep:
    """Normal laws with independent dimensions.

    Attributes:
        mean: ``(..., width)``.
        log_std: ``(..., width)`` natural logarithm of the standard deviation.
    """

    mean: Tensor
    log_std: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation ``(..., width)``."""
        return self.log_std.exp()

    def __getitem__(self, index: Any) -> GaussianStep:
        """The laws at ``index`` of the leading dimensions."""
        return GaussianStep(self.mean[index], self.log_std[index])

    def log_density(self, x: Tensor) -> Tensor:
        """Log density ``(...)`` of vectors ``(..., width)``, summed over the width, in float64."""
        score = 0.5 * self.whiten(x).square() + self.log_std.double()
        return -(score + 0.5 * math.log(2 * math.pi)).sum(-1)

    def whiten(self, x: Tensor) -> Tensor:
        """The standard normals that would draw ``x``, in float64."""
        return (x.double() - self.mean.double()) * (-self.log_std.double()).exp()

    def draw(self, normals: Tensor) -> Tensor:
        """Vectors ``(..., width)`` from standard normals of that shape, in the mean's type."""
        return torch.addcmul(self.mean, self.std, normals.to(self.mean.dtype))


def log_ratio(p: GaussianStep, q: GaussianStep, x: Tensor) -> Tensor:
    """``log p(x) - log q(x)`` ``(...)`` in float64; exactly 0 where both laws are the same."""
    spread = q.log_std.double() - p.log_std.double()
    return (0.5 * (q.whiten(x).square() - p.whiten(x).square()) + spread).sum(-1)


def stays(ratio: Tensor, log_uniforms: Tensor) -> Tensor:
    """Whether vectors of log ratio ``ratio`` are kept; a ratio that is not finite refuses.

    Args:
        ratio: ``(...)`` logarithm of what the density ratio is, or is taken to be.
        log_uniforms: ``(...)`` logarithms of numbers in ``[0, 1)``.
    """
    return ratio.isfinite() & (log_uniforms < ratio)


def overlap(p: GaussianStep, q: GaussianStep) -> Tensor:
    """Probability ``(...)`` that a vector stays: ``1 - TV(p, q)`` of laws with one spread.

    Equals ``2 Phi(-d / 2)`` with ``d`` the distance of the means in standard deviations.

    Raises:
        ValueError: The spreads differ; there is no closed form then.
    """
    _require_one_spread(p, q)
    return 2 * torch.special.ndtr(-0.5 * p.whiten(q.mean).norm(dim=-1))


def reflect(p: GaussianStep, q: GaussianStep, x: Tensor) -> Tensor:
    """What a refused ``x`` turns into, for laws with one spread (reflection-maximal coupling).

    The whitened ``x - mean_q`` is mirrored in the plane that halves the way between the means, and
    the result is added to the target's mean. Together with :func:`stays` the output has exactly the
    law ``p``, without a second draw.

    Source: De Bortoli et al. 2025, arXiv 2501.05370.

    Args:
        p: Target's step, ``(..., width)``.
        q: Draft's step of the same shape.
        x: ``(..., width)`` drawn from ``q``.

    Raises:
        ValueError: The spreads differ.
    """
    _require_one_spread(p, q)
    normals, gap = q.whiten(x), q.whiten(p.mean)
    length = gap.square().sum(-1, keepdim=True)
    along = (normals * gap).sum(-1, keepdim=True) / length.clamp(min=torch.finfo(gap.dtype).tiny)
    return p.draw(normals - 2 * along * gap)


def surplus(
    p: GaussianStep, q: GaussianStep, x: Tensor, log_factor: Tensor | float = 0.0
) -> Tensor:
    """``(1 - q(x) / (f p(x)))+`` ``(...)``, the share of the target's density that is left over.

    How often :func:`draw_residual` takes a candidate ``x``. With ``f = 1`` its mean under ``p`` is
    ``TV(p, q)``.
    """
    return (-torch.expm1(-log_ratio(p, q, x) - log_factor)).clamp(min=0.0)


def draw_residual(
    p: GaussianStep,
    q: GaussianStep,
    keys: Tensor,
    wanted: Tensor,
    log_factor: Tensor | None = None,
    most: int = MOST_CANDIDATES,
) -> tuple[Tensor, Tensor]:
    """Draws from ``norm((f p - q)+)`` by rejection, the law of a correction.

    Candidates come from ``p`` and are taken with probability :func:`surplus`; the unknown mass of
    the residual never enters. With ``f = 1`` a vector is refused with probability ``TV`` and then
    needs ``1 / TV`` candidates on average: one candidate per drafted vector. They are tried in
    growing chunks until every vector has one; each chunk makes the host wait for the device.

    Args:
        p: Target's step, ``(..., width)``.
        q: Draft's step of the same shape.
        keys: ``(...)`` a uniform in ``[0, 1)`` for each vector, from which all of its candidates
            follow: what a vector gets does not depend on the others.
        wanted: ``(...)`` bool, the vectors to draw.
        log_factor: ``(...)`` logarithm of ``f``; None means 1, which is the exact rule.
        most: Candidates after which a vector is given up. With ``f = 1`` this happens with a
            probability of at most ``failure_bound(most)``, whatever ``p`` and ``q``.

    Returns:
        Vectors ``(..., width)``, the target's mean where none was wanted or found, and whether one
        was found ``(...)``.
    """
    factor = torch.zeros_like(keys) if log_factor is None else log_factor
    steps = (p[wanted], q[wanted])
    keys, factor = keys[wanted], factor[wanted].unsqueeze(1)
    values, done = steps[0].mean.clone(), torch.zeros_like(keys, dtype=torch.bool)
    index = torch.arange(len(keys), device=keys.device)
    start, chunk = 0, _FIRST_CHUNK
    while index.numel() and start < most:
        count = min(chunk, most - start)
        normals, uniforms = candidate_numbers(keys[index], start, count, values.shape[-1])
        here_p, here_q = (step[index.unsqueeze(1)] for step in steps)
        candidates = here_p.draw(normals)
        fits = uniforms < surplus(here_p, here_q, candidates, factor[index])
        hit, first = fits.any(1), fits.int().argmax(1)
        values[index[hit]] = candidates[hit, first[hit]]
        done[index[hit]] = True
        index, start, chunk = index[~hit], start + count, min(2 * chunk, _LARGEST_CHUNK)
    return p.mean.index_put((wanted,), values), torch.zeros_like(wanted).index_put((wanted,), done)


def candidate_numbers(keys: Tensor, start: int, count: int, width: int) -> tuple[Tensor, Tensor]:
    """Numbers of the candidates from ``start`` on, a pure function of the key and their index.

    Normals by Box and Muller 1958 from clocks that are computed, never stored.

    Args:
        keys: ``(n,)`` uniforms in ``[0, 1)``.
        start: First candidate.
        count: Candidates.
        width: Normals of each.

    Returns:
        Standard normals ``(n, count, width)`` and uniforms ``(n, count)``, both float64.
    """
    pairs = -(-width // 2)
    per = 2 * pairs + 1
    clocks = keyed_clocks(keys, start * per, count * per).view(-1, count, per)
    radius = (2 * clocks[..., :pairs]).sqrt()
    angle = 2 * math.pi * torch.exp(-clocks[..., pairs:-1])
    normals = torch.cat([radius * angle.cos(), radius * angle.sin()], -1)
    return normals[..., :width], torch.exp(-clocks[..., -1])


def keyed_clocks(keys: Tensor, start: int, count: int) -> Tensor:
    """Exponential numbers ``(..., count)`` of mean 1, a pure function of key and index.

    Their negatives are logarithms of uniforms.

    Args:
        keys: ``(...)`` uniforms in ``[0, 1)``.
        start: Index of the first.
        count: How many.
    """
    state = (keys.double() * 2.0**_KEY_BITS).long().unsqueeze(-1)
    return exponential_clocks(state, torch.arange(start, start + count, device=keys.device))


def failure_bound(most: int) -> float:
    """Largest probability, over all pairs of laws, that ``most`` candidates do not suffice.

    The maximum of ``TV (1 - TV)^R`` over ``TV``, reached at ``TV = 1 / (R + 1)``; below
    ``1 / (e R)``. It also bounds what giving up adds to the total variation distance of a vector.
    """
    return math.exp(most * math.log(most / (most + 1))) / (most + 1)


def _require_one_spread(p: GaussianStep, q: GaussianStep) -> None:
    if not torch.equal(p.log_std, q.log_std):
        raise ValueError(
            "reflection and the closed form of the overlap need steps with one spread; "
            "use draw_residual where the spreads differ"
        )
