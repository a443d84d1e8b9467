"""The image autoencoder of MAR: pixels to latent vectors and back.

Source: the KL autoencoder of Rombach et al. 2022 (arXiv 2112.10752) as trained for MAR
(arXiv 2406.11838), hosted in diffusers' ``AutoencoderKL``.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

# Stride 16, 16 channels; attention at the lowest resolution of the encoder, not of the decoder.
KL_16: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4 + ("AttnDownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",) * 5,
    "block_out_channels": (128, 128, 256, 256, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "sample_size": 256,
    "scaling_factor": 0.2325,
}


class LatentVAE(nn.Module):
    """An autoencoder that speaks of pictures as rows of latent vectors.

    Args:
        model: A diffusers ``AutoencoderKL``; its ``scaling_factor`` multiplies the latents.
        patch: Side of the square of latents that makes one vector.
    """

    def __init__(self, model: Any, patch: int = 1) -> None:
        super().__init__()
        self.model, self.patch = model, patch

    @classmethod
    def kl_16(cls, **change: Any) -> LatentVAE:
        """The official shape, with new weights; ``change`` sets fields of its diffusers config."""
        return cls(AutoencoderKL(**{**KL_16, **change}))

    @property
    def scale(self) -> float:
        """What latents are multiplied by."""
        return float(self.model.config.scaling_factor)

    @property
    def stride(self) -> int:
        """Pixels that a latent vector stands for in each direction."""
        return int(self.patch * 2 ** (len(self.model.config.block_out_channels) - 1))

    @property
    def token_width(self) -> int:
        """Numbers of one latent vector."""
        return int(self.model.config.latent_channels * self.patch**2)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latent vectors of pictures, both scaled.

        Args:
            pixels: ``(batch, 3, height, width)`` in [-1, 1].

        Returns:
            ``(batch, cells, D)`` each, cells in raster order.

        Raises:
            ValueError: Sides that are no multiples of the stride.
        """
        if pixels.ndim != 4 or any(side % self.stride for side in pixels.shape[-2:]):
            raise ValueError(
                f"pixels must be (batch, 3, height, width) with sides that are multiples of "
                f"{self.stride}, got {tuple(pixels.shape)}; resize the pictures"
            )
        found = self.model.encode(pixels.to(self.device, self.dtype)).latent_dist
        mean, std = (patchify(part * self.scale, self.patch) for part in (found.mean, found.std))
        return mean, std

    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latent vectors of pictures, drawn from the posterior.

        Args:
            pixels: ``(batch, 3, height, width)`` in [-1, 1].
            generator: Source of the noise, on any device; None for torch's own.

        Returns:
            ``(batch, cells, D)``, scaled, cells in raster order.

        Raises:
            ValueError: Sides that are no multiples of the stride.
        """
        mean, std = self.posterior(pixels)
        source = mean.device if generator is None else generator.device
        noise = torch.randn(mean.shape, generator=generator, device=source)
        return mean + std * noise.to(mean)

    def decode(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Pictures of latent vectors.

        Args:
            tokens: ``(batch, cells, D)`` as ``encode`` returns them.
            grid: Rows and columns; None for a square.

        Returns:
            ``(batch, 3, height, width)`` in [0, 1], float32.

        Raises:
            ValueError: The tokens do not fill the grid, or have another width.
        """
        cells = tokens.shape[1]
        rows, columns = grid or (isqrt(cells), isqrt(cells))
        if rows * columns != cells:
            raise ValueError(f"{cells} tokens do not fill a grid of {rows} x {columns}; give grid")
        if tokens.shape[2] != self.token_width:
            raise ValueError(
                f"this autoencoder decodes tokens of width {self.token_width}, got "
                f"{tokens.shape[2]}; the model was trained on another one"
            )
        latents = unpatchify(tokens, (rows, columns), self.patch) / self.scale
        pixels: Tensor = self.model.decode(latents.to(self.device, self.dtype)).sample
        return (pixels.float() * 0.5 + 0.5).clamp(0, 1)


def patchify(latents: Tensor, patch: int) -> Tensor:
    """``(batch, C, H, W)`` to ``(batch, cells, C * patch^2)``; channels vary slowest."""
    batch, channels, height, width = latents.shape
    split = latents.view(batch, channels, height // patch, patch, width // patch, patch)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch**2)


def unpatchify(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of :func:`patchify` for a grid of ``rows`` and ``columns``."""
    batch, _, width = tokens.shape
    rows, columns = grid
    split = tokens.view(batch, rows, columns, width // patch**2, patch, patch)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, rows * patch, columns * patch)
