"""The diffusion head's arithmetic in as few calls as it takes: for few rows calls cost the most.

The affine part of every norm and the 1 of ``1 + scale`` are folded into the matrix that makes the
modulations, and the modulations of all layers are one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.mar.head import DiffusionHead


class SamplingNetwork:
    """:meth:`DiffusionHead.denoise` with guidance, without modules and gradients.

    A snapshot: copies of what is folded, views of the other weights.

    Args:
        head: Not changed.
    """

    def __init__(self, head: DiffusionHead) -> None:
        final = head.final_layer
        blocks: list[Any] = list(head.res_blocks)
        weight, bias = _pair(head.input_proj)
        # One output for each half of guidance: both see the same state.
        self._inputs = {n: (weight.repeat(n, 1), bias.repeat(n)) for n in (1, 2)}
        self._blocks = [(*_pair(block.mlp[0]), *_pair(block.mlp[2])) for block in blocks]
        self._output = _pair(final.linear)
        self._eps, self._width = final.norm_final.eps, len(weight)
        folded = [_folded(b.adaLN_modulation[1], *_pair(b.in_ln)) for b in blocks]
        folded.append(_folded(cast(nn.Linear, final.adaLN_modulation[1])))
        weights, biases = zip(*folded, strict=True)
        self._modulation = torch.cat(weights), torch.cat(biases)

    @property
    def modulation_size(self) -> int:
        """Numbers that modulate all layers, of one row."""
        return len(self._modulation[0])

    def modulations(self, embedding: Tensor) -> Sequence[Tensor]:
        """Shift, whole scale and gate of each block, then shift and whole scale of the output.

        Args:
            embedding: ``(..., width)`` sums of an embedded noise level and condition.

        Returns:
            ``(..., width)`` each.
        """
        return F.linear(F.silu(embedding), *self._modulation).split(self._width, dim=-1)

    def __call__(
        self, state: Tensor, modulations: Sequence[Tensor], weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Noise and variance logits ``(rows, token_width)``, in the number format of ``state``.

        Args:
            state: ``(rows, token_width)``.
            modulations: As :meth:`modulations` makes them, ``(rows * halves, width)`` each; the
                halves of a row one after another, the condition's own first.
            weight: ``(rows, 1)`` guidance scale; None for one half.
        """
        width, eps = (self._width,), self._eps
        scale_in, bias_in = self._inputs[1 if weight is None else 2]
        x = F.linear(state.to(scale_in.dtype), scale_in, bias_in).view(-1, self._width)
        parts = iter(modulations)
        for one, one_bias, two, two_bias in self._blocks:
            shift, scale, gate = next(parts), next(parts), next(parts)
            inner = torch.addcmul(shift, torch.layer_norm(x, width, eps=eps), scale)
            inner = F.linear(F.silu(F.linear(inner, one, one_bias), inplace=True), two, two_bias)
            x = torch.addcmul(x, gate, inner)
        x = torch.addcmul(next(parts), torch.layer_norm(x, width, eps=eps), next(parts))
        out = F.linear(x, *self._output).to(state.dtype)
        if weight is None:
            noise, logits = out.chunk(2, dim=1)
            return noise, logits
        noise, logits, other, _ = out.view(len(state), -1).chunk(4, dim=1)
        # lerp is exact at weight 1, so that a row's result does not depend on its neighbours'
        # scales.
        return torch.lerp(other, noise, weight.to(noise.dtype)), logits


def _pair(layer: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias, apart from autograd."""
    return layer.weight.detach(), layer.bias.detach()


def _folded(
    layer: nn.Linear, gain: Tensor | None = None, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A layer of modulations that makes those of a norm without weights.

    ``(norm * gain + offset) * (1 + scale) + shift`` is ``norm * scale' + shift'`` with
    ``scale' = gain * (1 + scale)`` and ``shift' = offset * (1 + scale) + shift``: as linear in the
    embedding as shift and scale are.
    """
    weight, bias = (part.double() for part in _pair(layer))
    width = layer.in_features
    shift, scale, *gate = weight.split(width)
    shift_bias, scale_bias, *gate_bias = bias.split(width)
    scale_bias = scale_bias + 1
    if gain is not None and offset is not None:
        shift, shift_bias = shift + offset.unsqueeze(1) * scale, shift_bias + offset * scale_bias
        scale, scale_bias = gain.unsqueeze(1) * scale, gain * scale_bias
    whole = torch.cat([shift, scale, *gate]), torch.cat([shift_bias, scale_bias, *gate_bias])
    return whole[0].to(layer.weight.dtype), whole[1].to(layer.weight.dtype)
