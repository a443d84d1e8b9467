"""Wan models whose cache is filled anew before every block, as Krea Realtime runs its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan, WanContext
from adapters.wan.vae import StreamMemory, WanVae
from video_ar.request import VideoRequest


@dataclass
class Recent:
    """What was committed, beside a context that is filled anew for every pass.

    Args:
        inner: The context.
        latents: All committed blocks.
        pictures: The last ones, as many as stand for the kept latent frames; None without any.
        memory: The decoder's, after them.
    """

    inner: WanContext
    latents: list[Tensor] = field(default_factory=list)
    pictures: Tensor | None = None
    memory: StreamMemory | None = None


class RebuiltWan:
    """The discipline of Krea Realtime: before a block, the cache is filled with the last frames.

    Nothing but clean latents is carried on. A block sees a first latent frame and the last
    ``keep - 1`` ones, numbered from 0. A first latent frame stands for one picture and later ones
    for several. So once the video's own first frame is older than the window, Krea's program takes
    the window's oldest picture instead and encodes it anew, as if the video began there.

    Args:
        wan: The transformer.
        keep: Latent frames that a block sees before it.
        vae: Encodes that picture. Pictures follow from the committed latents alone, so the model
            decodes these once more for itself, beside the decoding of what is shown. None keeps the
            video's own first frame for good, and decodes nothing.
    """

    def __init__(self, wan: BlockCausalWan, keep: int = 3, vae: WanVae | None = None) -> None:
        if keep < 1:
            raise ValueError(f"keep is at least 1, the first frame, not {keep}")
        self.wan, self.keep, self.vae = wan, keep, vae

    def start(self, request: VideoRequest) -> Recent:
        """An empty cache with room for the kept frames and a block."""
        _, frames, height, width = request.shape
        room = self.keep + frames
        return Recent(self.wan.context(request.conditions["text"], height, width, room))

    def denoise(self, block: Tensor, timestep: float, context: Recent) -> Tensor:
        """As :meth:`~adapters.wan.blocks.BlockCausalWan.denoise`."""
        return self.wan.denoise(block, timestep, context.inner)

    def commit(self, blocks: Sequence[Tensor], context: Recent) -> None:
        """Fill the cache anew, in one pass over the kept frames."""
        context.latents.extend(blocks)
        latents = torch.cat(context.latents, dim=2)
        first = self._first(torch.cat(list(blocks), dim=2), latents.shape[2], context)
        self.wan.rebuild(latents, context.inner, self.keep, first)

    def _first(self, fresh: Tensor, frames: int, context: Recent) -> Tensor | None:
        """The oldest kept picture, encoded by itself; None while it is the first of the video.

        Args:
            fresh: Latents that were committed just now.
            frames: Latent frames committed in all.
            context: Its pictures and memory are brought up to date.
        """
        if self.vae is None:
            return None
        pictures, context.memory = self.vae.decode(fresh, context.memory)
        if context.pictures is not None:
            pictures = torch.cat((context.pictures, pictures), dim=2)
        # One picture of the oldest kept latent frame, and all of those after it.
        kept = self.vae.temporal * (self.keep - 1) + 1
        context.pictures = pictures[:, :, -kept:]
        if frames <= self.keep:
            return None
        return self.vae.encode(context.pictures[:, :, :1])[0]
