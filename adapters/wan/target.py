"""Wan models as parts of the loop: what opens a request, and what makes its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan, WanContext
from adapters.wan.far import FarBlocks
from adapters.wan.rebuilding import RebuiltWan
from adapters.wan.vae import WanVae
from mmspec.video_target import VideoDefaults
from video_ar.request import VideoRequest
from video_ar.schedule import Schedule, blocks_of, pixel_frames
from video_ar.target import BlockTarget

TEXT_TOKENS = 512  # the released models read so many, zeros after the prompt


@dataclass(frozen=True)
class BlockFormat:
    """What a target and a drafter must share, and how their blocks are cut.

    Attributes:
        channels: Of latents.
        frames: Latent frames of a block.
        text_width: Of the text encoder's states.
        schedule: Steps of a block.
    """

    channels: int
    frames: int
    text_width: int
    schedule: Schedule


class WanBlocks:
    """A :class:`~video_ar.follower.VideoModel`; holds no state of any request.

    Args:
        wan: The transformer.
        window: Latent frames that are remembered; None keeps the whole video.
        sink: Of them, the first frames of the video that stay for good.
    """

    def __init__(self, wan: BlockCausalWan, window: int | None = None, sink: int = 0) -> None:
        self.wan, self.window, self.sink = wan, window, sink

    def start(self, request: VideoRequest) -> WanContext:
        """An empty cache, and the prompt's keys."""
        _, frames, height, width = request.shape
        whole = frames * request.blocks
        rolls = self.window is not None and self.window < whole
        return self.wan.context(
            request.conditions["text"],
            height,
            width,
            self.window if rolls and self.window is not None else whole,
            self.sink if rolls else None,
        )

    def denoise(self, block: Tensor, timestep: float, context: WanContext) -> Tensor:
        """As :meth:`~adapters.wan.blocks.BlockCausalWan.denoise`."""
        return self.wan.denoise(block, timestep, context)

    def commit(self, blocks: Sequence[Tensor], context: WanContext) -> None:
        """As :meth:`~adapters.wan.blocks.BlockCausalWan.commit`."""
        self.wan.commit(blocks, context)


class WanTarget(BlockTarget):
    """A Wan model that makes videos from prompts.

    Args:
        model: The transformer, in one of the disciplines of its cache.
        vae: Shared by target and drafter.
        schedule: The steps that the model was distilled for.
        encoder: ``(prompt) -> (1, tokens, width)``, zeros after the prompt.

    Attributes:
        name: What to call the model.
        defaults: What a pipeline makes where the call does not say.
    """

    name = "wan"
    defaults = VideoDefaults()

    def __init__(
        self,
        model: WanBlocks | RebuiltWan | FarBlocks,
        vae: WanVae,
        schedule: Schedule,
        encoder: Any,
    ) -> None:
        super().__init__(model, vae)
        self.vae, self.schedule, self.encoder = vae, schedule, encoder
        config = model.wan.model.config
        self.format = BlockFormat(
            config.in_channels, model.wan.block_frames, config.text_dim, schedule
        )

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self._transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of its matrices."""
        return self._transformer.blocks[0].attn1.to_q.weight.dtype

    def blocks_of(self, num_frames: int) -> int:
        """As :func:`video_ar.schedule.blocks_of`, for this model."""
        return blocks_of(num_frames, self.format.frames, self.vae.temporal)

    def frames_of(self, blocks: int) -> int:
        """Pictures of a video of so many blocks."""
        return pixel_frames(blocks * self.format.frames, temporal=self.vae.temporal)

    @torch.no_grad()
    def request(
        self, prompt: str, blocks: int, height: int = 480, width: int = 832, **rest: Any
    ) -> VideoRequest:
        """What one video is made from; the text encoder runs here.

        Args:
            prompt: What the video shows.
            blocks: Its length.
            height: Of a picture, in pixels.
            width: Of a picture, in pixels.
            rest: Further fields of the request.

        Raises:
            ValueError: Sides that the model cannot cut into patches, or text states that do not
                fit it.
        """
        sides = [self.vae.spatial * one for one in self._patch()]
        if height < 1 or width < 1 or height % sides[0] or width % sides[1]:
            raise ValueError(
                f"pictures of {width} x {height} cannot be made: width must be a multiple of "
                f"{sides[1]} and height of {sides[0]}"
            )
        text = self.encoder(prompt)
        if text.ndim != 3 or len(text) != 1 or text.shape[-1] != self.format.text_width:
            raise ValueError(
                f"the model reads text states of shape (1, tokens, {self.format.text_width}), the "
                f"encoder gave {tuple(text.shape)}"
            )
        cells = height // self.vae.spatial, width // self.vae.spatial
        shape = (self.format.channels, self.format.frames, *cells)
        return VideoRequest(
            blocks=blocks,
            shape=shape,
            schedule=self.schedule,
            conditions={"text": text.to(self.device)},
            prompt=prompt,
            device=self.device,
            temporal=self.vae.temporal,
            **rest,
        )

    def _patch(self) -> tuple[int, int]:
        _, rows, columns = self._transformer.config.patch_size
        return rows, columns

    @property
    def _transformer(self) -> Any:
        return self.model.wan.model  # type: ignore[attr-defined]
