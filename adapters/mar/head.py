"""MAR's diffusion head: a small network that predicts the noise in one latent vector.

Source: Li et al. 2024, "Autoregressive Image Generation without Vector Quantization"
(arXiv 2406.11838), section 3.2 and appendix; the module names are those of the released
checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from image_ar.continuous.chain import Condition, Settled

FREQUENCIES = 256
_INIT_STD = 0.02


class TimestepEmbedder(nn.Module):
    """Sinusoids of the noise level, then two matrices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, timestep: Tensor) -> Tensor:
        """``(rows, width)`` of ``timestep`` ``(rows,)``."""
        half = FREQUENCIES // 2
        ranks = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angles = timestep.float().unsqueeze(1) * torch.exp(ranks * (-math.log(10000.0) / half))
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return self.mlp(waves.to(next(self.mlp.parameters()).dtype))


class ResBlock(nn.Module):
    """A residual block whose norm is shifted, scaled and gated by the condition."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """``modulation`` ``(rows, 3 * width)``: shift, scale, gate."""
        shift, scale, gate = modulation.chunk(3, dim=-1)
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.in_ln(x), 1 + scale)))


class FinalLayer(nn.Module):
    """A norm without weights, shifted and scaled by the condition, then the output matrix."""

    def __init__(self, width: int, outputs: int, eps: float) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=eps, elementwise_affine=False)
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """``modulation`` ``(rows, 2 * width)``: shift, scale."""
        shift, scale = modulation.chunk(2, dim=-1)
        return self.linear(torch.addcmul(shift, self.norm_final(x), 1 + scale))


class DiffusionHead(nn.Module):
    """Noise and variance logits of one denoising step, for each row by itself.

    A freshly built head returns zeros: its output matrix and all modulations are zero, as the
    released models start.

    Args:
        token_width: Numbers of a latent vector.
        condition_width: Width of a condition vector.
        width: Width of the head.
        blocks: Residual blocks.
        eps: Added to the variance in every norm.
    """

    def __init__(
        self, token_width: int, condition_width: int, width: int, blocks: int, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.token_width = token_width
        self.time_embed = TimestepEmbedder(width)
        self.cond_embed = nn.Linear(condition_width, width)
        self.input_proj = nn.Linear(token_width, width)
        self.res_blocks = nn.ModuleList(ResBlock(width, eps) for _ in range(blocks))
        self.final_layer = FinalLayer(width, 2 * token_width, eps)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(
        self, generator: torch.Generator | None = None, zero_output: bool = True
    ) -> None:
        """Draw all weights anew.

        Args:
            generator: Source of the numbers; None for torch's own.
            zero_output: False draws the output matrix and the modulations like the others.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                module.bias.zero_()
            elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
                module.reset_parameters()
        for layer in self.time_embed.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=_INIT_STD, generator=generator)
        if zero_output:
            for layer in (*self._modulating(), self.final_layer.linear):
                layer.weight.zero_()

    @property
    def is_untrained(self) -> bool:
        """Whether the output layer is all zero, so that the head returns zeros for anything."""
        output = self.final_layer.linear
        return not bool(output.weight.any()) and not bool(output.bias.any())

    def forward(self, state: Tensor, timestep: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the noise in ``state``.

        Args:
            state: ``(rows, token_width)`` noisy vectors.
            timestep: ``(rows,)`` their noise levels, original indices of the base process.
            vectors: ``(rows, condition_width)`` condition vectors.

        Returns:
            The noise and the variance logits, ``(rows, token_width)`` each, in the number format
            of ``state``.
        """
        embedding = self.time_embed(timestep) + self.embed(vectors)
        return self.denoise(state, self.modulations(embedding))

    def embed(self, vectors: Tensor) -> Tensor:
        """``(..., width)`` of condition vectors ``(..., condition_width)``."""
        return self.cond_embed(vectors.to(self.cond_embed.weight.dtype))

    def modulations(self, embedding: Tensor) -> tuple[Tensor, ...]:
        """What ``denoise`` needs of noise level and condition: a modulation for every layer.

        Args:
            embedding: ``(..., width)``, the sum of ``time_embed`` and ``embed``.

        Returns:
            One ``(..., 3 * width)`` a block, then ``(..., 2 * width)`` for the output.
        """
        active = F.silu(embedding)
        return tuple(layer(active) for layer in self._modulating())

    def denoise(self, state: Tensor, modulations: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Noise and variance logits under given modulations.

        Args:
            state: ``(..., token_width)``; its leading dimensions are broadcast with those of the
                modulations.
            modulations: As ``modulations`` returns them.

        Returns:
            ``(..., token_width)`` each, in the number format of ``state``.
        """
        x = self.input_proj(state.to(self.input_proj.weight.dtype))
        for block, modulation in zip(self.res_blocks, modulations[:-1], strict=True):
            x = block(x, modulation)
        noise, logits = self.final_layer(x, modulations[-1]).to(state.dtype).chunk(2, dim=-1)
        return noise, logits

    def _modulating(self) -> list[nn.Linear]:
        """The matrices that make the modulations; their SiLU is the same for all."""
        return [layer.adaLN_modulation[1] for layer in (*self.res_blocks, self.final_layer)]


class GuidedHead:
    """A head with classifier-free guidance inside: ``u + scale * (c - u)`` of the noise.

    Implements :class:`image_ar.continuous.chain.ChainHead`. Both halves see the same state in one
    batch; the variance logits are those of the half with the condition. Rows of scale 1 get their
    conditional noise exactly; where all rows have scale 1, or there is no null vector, one half
    runs.

    Args:
        head: Not changed; its weights are read at every call.
    """

    def __init__(self, head: DiffusionHead) -> None:
        self.head = head
        self.width = head.token_width

    def __call__(
        self, state: Tensor, timestep: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Guided noise and variance logits, ``(rows, width)`` each.

        Args:
            state: ``(rows, width)``.
            timestep: ``(rows,)`` original indices of the base process.
            condition: Of the same rows.
        """
        return self._guided(state, timestep, self.head.embed(both_halves(condition)), condition)

    def under(self, condition: Condition) -> Settled:
        """The head with its condition embedded, for chains; gradients flow through it."""
        halves = self.head.embed(both_halves(condition))

        def settled(state: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
            rows = slice(len(state))
            told = torch.tensor([timestep], device=state.device)
            return self._guided(state, told, halves[rows], condition.select(rows))

        return settled

    def _guided(
        self, state: Tensor, timestep: Tensor, halves: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """What the head says of each half ``(rows, halves, width)``, combined."""
        embedding = self.head.time_embed(timestep).unsqueeze(1) + halves
        return guide(
            self.head.denoise(state.unsqueeze(1), self.head.modulations(embedding)), condition
        )


def both_halves(condition: Condition) -> Tensor:
    """The vectors that the head is run on, ``(rows, halves, W)``.

    The condition's own come first; the null ones follow where guidance changes any row.
    """
    if condition.null is None or condition.scale is None or bool((condition.scale == 1).all()):
        return condition.vectors.unsqueeze(1)
    return torch.stack([condition.vectors, condition.null], dim=1)


def guide(outputs: tuple[Tensor, Tensor], condition: Condition) -> tuple[Tensor, Tensor]:
    """Combine what the head said of each half.

    Args:
        outputs: Noise and variance logits, ``(rows, halves, width)`` each.
        condition: Of the same rows.

    Returns:
        Guided noise, and the variance logits of the half with the condition, ``(rows, width)``.
    """
    noise, logits = outputs
    if noise.shape[1] == 1 or condition.scale is None:
        return noise[:, 0], logits[:, 0]
    # lerp is exact at weight 1, so that a row's result does not depend on its neighbours' scales.
    weight = condition.scale.to(noise.dtype).unsqueeze(1)
    return torch.lerp(noise[:, 1], noise[:, 0], weight), logits[:, 0]
