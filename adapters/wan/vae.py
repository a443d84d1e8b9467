"""Wan's causal video autoencoder, block by block, with its memory passed in and out.

Its convolutions look back in time only. What they need of earlier frames is a list of features
that diffusers keeps on the module; here it travels with the request, so that one module serves
many, and a block that was decoded in vain is forgotten by going on from the older memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    patchify,
    unpatchify,
)
from torch import Tensor


@dataclass(frozen=True)
class StreamMemory:
    """What one half of the autoencoder remembers of the frames so far.

    Never changed, only replaced: keeping one is a snapshot, and costs nothing.

    Args:
        features: One entry a causal convolution; a tensor, or diffusers' markers.
        frames: Latent frames it has seen.
    """

    features: tuple[Any, ...]
    frames: int


class WanVae:
    """Streams in both directions; holds no state of any request.

    Latents are normalised, as the transformer makes them; pixels lie between -1 and 1.

    Args:
        vae: An ``AutoencoderKLWan``. Only read: it may be used elsewhere at the same time.
        cells_at_once: Frames after the first are decoded together while they have no more latent
            cells than this; one by one by default, as diffusers does, which takes least memory.

    Attributes:
        temporal: Pictures of a latent frame after the first.
        spatial: Pixels of a latent cell, in height and in width.

    Raises:
        ValueError: It is set to work in tiles, whose memories would be one for each tile.
    """

    def __init__(self, vae: Any, cells_at_once: int = 0) -> None:
        if vae.use_tiling:
            raise ValueError("streaming keeps one memory for the whole picture; disable tiling")
        self.vae, self.cells_at_once = vae, cells_at_once
        halvings = vae.config.temperal_downsample
        self.temporal = 2 ** sum(halvings)
        self.spatial = 2 ** len(halvings) * (vae.config.patch_size or 1)
        self._mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)

    def normalise(self, latents: Tensor) -> Tensor:
        """From the autoencoder's scale to the transformer's, channel by channel."""
        return (latents - self._mean.to(latents)) / self._std.to(latents)

    def denormalise(self, latents: Tensor) -> Tensor:
        """From the transformer's scale to the autoencoder's."""
        return latents * self._std.to(latents) + self._mean.to(latents)

    def _numbers(self, tensor: Tensor) -> Tensor:
        """In the autoencoder's number format, read off without a walk through all of it."""
        return tensor.to(self.vae.post_quant_conv.weight.dtype)

    @torch.no_grad()
    def decode(
        self, latents: Tensor, memory: StreamMemory | None = None
    ) -> tuple[Tensor, StreamMemory]:
        """Pictures of the next latent frames.

        Blocks decoded one after another give what diffusers gives for all of them at once.

        Args:
            latents: ``(batch, channels, frames, height, width)``, normalised.
            memory: Of the frames before; None at the start, whose first frame is a single picture.

        Returns:
            ``(batch, 3, pixel frames, 8 height, 8 width)``, and the memory to go on from. The one
            given stays valid.
        """
        out, memory = self.unclamped(latents, memory)
        return out.clamp(-1, 1).to(latents.dtype), memory

    def unclamped(
        self, latents: Tensor, memory: StreamMemory | None = None
    ) -> tuple[Tensor, StreamMemory]:
        """As :meth:`decode`, with gradients and with what lies beyond -1 and 1: for training."""
        frames = self.vae.post_quant_conv(self._numbers(self.denormalise(latents)))
        together = max(1, self.cells_at_once // frames[0, 0, 0].numel())
        chunks, first = _chunks(frames, memory, together), memory is None

        def half(chunk: Tensor, features: list[Any], place: int) -> Tensor:
            return self.vae.decoder(
                chunk, feat_cache=features, feat_idx=[0], first_chunk=first and place == 0
            )

        out, memory = _stream(self.vae.decoder, half, chunks, latents.shape[2], memory)
        if self.vae.config.patch_size is not None:
            out = unpatchify(out, patch_size=self.vae.config.patch_size)
        return out, memory

    @torch.no_grad()
    def encode(
        self, pixels: Tensor, memory: StreamMemory | None = None
    ) -> tuple[Tensor, StreamMemory]:
        """Latents of the next pictures: the mean of their distribution.

        Args:
            pixels: ``(batch, 3, frames, height, width)`` between -1 and 1. At the start one picture
                and then a multiple of four, later a multiple of four.
            memory: Of the pictures before; None at the start.

        Returns:
            ``(batch, channels, latent frames, height / 8, width / 8)``, normalised, and the memory
            to go on from. The one given stays valid.

        Raises:
            ValueError: The number of pictures leaves a rest.
        """
        lead = 0 if memory else 1
        if pixels.shape[2] < 1 or (pixels.shape[2] - lead) % self.temporal:
            raise ValueError(
                f"{pixels.shape[2]} pictures leave a rest: give {lead} + a multiple of "
                f"{self.temporal}"
            )
        frames = self._numbers(pixels)
        if self.vae.config.patch_size is not None:
            frames = patchify(frames, patch_size=self.vae.config.patch_size)
        chunks = _chunks(frames, memory, self.temporal)

        def half(chunk: Tensor, features: list[Any], place: int) -> Tensor:
            return self.vae.encoder(chunk, feat_cache=features, feat_idx=[0])

        out, memory = _stream(self.vae.encoder, half, chunks, len(chunks), memory)
        mean = self.vae.quant_conv(out).chunk(2, dim=1)[0]
        return self.normalise(mean).to(pixels.dtype), memory


def _chunks(frames: Tensor, memory: StreamMemory | None, size: int) -> list[Tensor]:
    """Pieces of ``size`` frames; at the start the first frame is one of its own."""
    lead = 0 if memory else 1
    chunks = [*frames[:, :, :lead].split(1, 2)] if lead else []
    if frames.shape[2] > lead:
        chunks += frames[:, :, lead:].split(size, 2)
    return chunks


def _stream(
    module: Any,
    half: Callable[[Tensor, list[Any], int], Tensor],
    chunks: list[Tensor],
    frames: int,
    memory: StreamMemory | None,
) -> tuple[Tensor, StreamMemory]:
    """Run chunks, so many latent frames altogether, one after another."""
    if memory is None:
        convolutions = sum(isinstance(part, WanCausalConv3d) for part in module.modules())
        memory = StreamMemory((None,) * convolutions, 0)
    # The module replaces entries and never writes into them, so a shallow copy is enough.
    features = list(memory.features)
    out = torch.cat([half(chunk, features, place) for place, chunk in enumerate(chunks)], dim=2)
    return out, StreamMemory(tuple(features), memory.frames + frames)
