"""Redraws of a token whose law has changed, made so that the token itself seldom changes.

Each function takes the new law ``p`` of a position and returns a token that is distributed exactly
as ``p``. They differ in how often it is the token that stood there before, drawn from ``q``. With
``TV`` the total variation distance of ``p`` and ``q``:

======================  ==========================================================
redraw                  probability of the same token
======================  ==========================================================
independent             ``sum p q``
shared exponentials     ``sum_i 1 / sum_j max(p_j / p_i, q_j / q_i)``, at least
                        ``(1 - TV) / (1 + TV)`` (Gumbel sharing, SCD-GS)
maximal coupling        ``1 - TV``, the most there can be (SCD-MC)
======================  ==========================================================

Source: So et al. 2025, arXiv 2510.24211.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmspec.distributions import invert_cdf, residual

_CHUNK = 4096  # vocabulary entries whose noise exists at a time
_KEY_BITS = 53


def maximal_redraw(
    p: Tensor, q: Tensor, units: Tensor, stood: Tensor, keep: Tensor, draw: Tensor
) -> Tensor:
    """Keep a token with probability ``min(1, p(x) / q(x))``, else draw ``norm((p - q)+)``.

    The result is distributed as ``p`` if ``units`` really were drawn from ``q``, and equals
    ``units`` with probability ``1 - TV(p, q)``.

    Args:
        p: ``(batch, n, vocab)`` new laws.
        q: ``(batch, n, vocab)`` laws the old tokens were drawn from, one-hot rows included.
        units: ``(batch, n)`` old tokens.
        stood: ``(batch, n)`` bool, False where there was no old token: drawn from ``p`` alone.
        keep: ``(batch, n)`` uniforms that decide which tokens stay.
        draw: ``(batch, n)`` uniforms that decide the other tokens; independent of ``keep``.
    """
    at = units.unsqueeze(-1)
    p_x, q_x = p.gather(-1, at).squeeze(-1), q.gather(-1, at).squeeze(-1)
    stays = stood & (keep * q_x < p_x)
    law = torch.where(stood.unsqueeze(-1), residual(p, q), p)
    return torch.where(stays, units, invert_cdf(law, draw))


def shared_redraw(p: Tensor, keys: Tensor, chunk: int = _CHUNK) -> Tensor:
    """The winner of an exponential race whose clocks depend on the key and the token alone.

    With exponential ``E_i``, ``argmin E_i / p_i`` is ``argmax log p_i + G_i``, where the Gumbel
    number ``G_i = -log E_i`` costs one logarithm more. The same key gives the same clocks, so two
    laws that are alike have the same winner more often than not.

    The clocks are computed, never stored: about ten integer operations, a logarithm and a division
    for each of ``batch * n * vocab`` entries, in temporary memory of ``batch * n * chunk`` doubles.

    Args:
        p: ``(batch, n, vocab)`` laws.
        keys: ``(batch, n)`` uniforms in ``[0, 1)``, one for each row and position of a request.
        chunk: Vocabulary entries at a time; changes memory, not the result.
    """
    state = _mix((keys.double() * 2.0**_KEY_BITS).long()).unsqueeze(-1)
    first = torch.full(p.shape[:-1], float("inf"), dtype=torch.float64, device=p.device)
    winner = torch.zeros_like(first, dtype=torch.long)
    for start in range(0, p.shape[-1], chunk):
        part = p[..., start : start + chunk]
        ids = torch.arange(start, start + part.shape[-1], device=p.device)
        time, best = (exponential_clocks(state, ids) / part).min(-1)
        winner = torch.where(time < first, best + start, winner)
        first = torch.minimum(first, time)
    return winner


def exponential_clocks(state: Tensor, ids: Tensor) -> Tensor:
    """Exponential numbers with mean 1, a pure function of ``state`` and ``ids``; never 0.

    The generator SplitMix64 (Steele, Lea and Flood 2014) read at step ``ids``.

    Args:
        state: ``(..., 1)`` int64 start of the generator.
        ids: ``(n,)`` steps.
    """
    bits = _mix(state + (ids + 1) * _signed(0x9E3779B97F4A7C15))
    # 52 bits and a half: the uniform is never 0 nor rounded to 1.
    return -torch.log((_shift(bits, 12).double() + 0.5) * 2.0**-52)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser; products wrap around at 64 bits."""
    z = (z ^ _shift(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's own copies the sign bit."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    return value - (1 << 64) if value >> 63 else value
