"""A Wan transformer that makes a video block by block.

The weights are those of an ordinary diffusers ``WanTransformer3DModel``. Frames of a block see each
other and all frames committed before; the blocks of one pass follow each other causally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapters.wan.attention import Pass, TextKeys, install, running, text_keys
from adapters.wan.cache import BlockCache
from adapters.wan.rope import frame_rotation
from video_ar.schedule import tokens_per_frame


@dataclass(frozen=True)
class WanContext:
    """One request: what was committed, and the prompt.

    Args:
        cache: Its own.
        text: The prompt's keys, of as many rows as there are videos.
    """

    cache: BlockCache
    text: TextKeys


class BlockCausalWan:
    """A :class:`~video_ar.rollout.BlockModel`; holds no state of any request.

    Args:
        model: A text-to-video ``WanTransformer3DModel``. Its attention processors are replaced; a
            call of the model itself still gives what it gave.
        block_frames: Latent frames of a block, 3 for the released models.

    Raises:
        ValueError: Not a text-to-video model, one with patches in time, or an empty block.
    """

    def __init__(self, model: Any, block_frames: int = 3) -> None:
        if model.config.patch_size[0] != 1 or block_frames < 1:
            raise ValueError(
                f"a block is made of whole frames; patch_size {tuple(model.config.patch_size)} and "
                f"block_frames={block_frames} do not fit that"
            )
        install(model)
        self.model = model
        self.block_frames = block_frames

    @torch.no_grad()
    def context(
        self, text: Tensor | TextKeys, height: int, width: int, frames: int, sink: int | None = None
    ) -> WanContext:
        """Start a request.

        Args:
            text: ``(batch, tokens, width)`` states of the text encoder, one row a video; or the
                ``text`` of another context with the same prompts.
            height: Rows of a latent frame.
            width: Columns of a latent frame.
            frames: Latent frames to have room for.
            sink: None for no more than ``frames`` in all; a number lets them roll, see
                :class:`~adapters.wan.cache.BlockCache`.
        """
        tokens = tokens_per_frame(height, width, self.model.config.patch_size[1:])
        cache = BlockCache(len(self.model.blocks), tokens, frames, sink)
        keys = text if isinstance(text, TextKeys) else text_keys(self.model, text)
        return WanContext(cache, keys)

    @torch.no_grad()
    def denoise(self, block: Tensor, timestep: float | Tensor, context: WanContext) -> Tensor:
        """The velocity ``noise - x0`` of a noisy block that follows the committed frames.

        Overwrites the scratch slots of the cache. Where these are slots of frames that leave a
        rolling window, the frames are gone, unless a mark holds them.

        Args:
            block: ``(batch, channels, frames, height, width)``, of any number of frames.
            timestep: Noise level in thousandths: one number, or one a row ``(batch,)``, a frame
                ``(batch, frames)`` or a token ``(batch, tokens)``.
            context: Of the request.

        Raises:
            ValueError: Shapes that do not fit, or no room in the cache.
        """
        return self._forward(block, [block.shape[2]], timestep, context)[0]

    @torch.no_grad()
    def commit(self, blocks: Sequence[Tensor], context: WanContext) -> None:
        """Append clean blocks: one pass at timestep 0 writes their keys and values.

        Several blocks in one call give what one call each gives.

        Args:
            blocks: ``(batch, channels, frames, height, width)`` each, in order.
            context: Of the request.

        Raises:
            ValueError: Shapes that do not fit, or no room in the cache.
        """
        if not blocks:
            return
        clean = torch.cat(list(blocks), dim=2)
        sizes = [block.shape[2] for block in blocks]
        _, segments = self._forward(clean, sizes, 0.0, context)
        context.cache.advance(segments)

    def rebuild(
        self, latents: Tensor, context: WanContext, keep: int = 3, first: Tensor | None = None
    ) -> None:
        """Forget the cache and fill it anew from the first and the last committed frames.

        The discipline of Krea Realtime: nothing is carried over but clean latents, frames are
        numbered from 0, and a block sees ``keep`` frames before it.

        Args:
            latents: ``(batch, channels, frames, height, width)``, all that was committed.
            context: Its cache is cleared, which makes marks void.
            keep: Frames to keep: the first one and the last ``keep - 1``.
            first: ``(batch, channels, 1, height, width)`` to stand in for the first frame: Krea
                takes the oldest kept picture, encoded anew, once the true first one is far away.

        Raises:
            ValueError: ``keep`` is not positive, or has no room in the cache.
        """
        if keep < 1:
            raise ValueError(f"keep is at least 1, the first frame, not {keep}")
        tail = max(1, latents.shape[2] - keep + 1)
        head = latents[:, :, :1] if first is None else first
        kept = torch.cat((head, latents[:, :, tail:]), dim=2)
        context.cache.clear()
        self.commit(kept.split(self.block_frames, dim=2), context)

    def _forward(
        self, latents: Tensor, sizes: list[int], timestep: float | Tensor, context: WanContext
    ) -> tuple[Tensor, Any]:
        """One pass over blocks after the committed frames, and the segments it wrote."""
        batch, _, frames, height, width = latents.shape
        _, rows, columns = self.model.config.patch_size
        cache = context.cache
        if (tokens := tokens_per_frame(height, width, (rows, columns))) != cache.tokens_per_frame:
            raise ValueError(
                f"this context has frames of {cache.tokens_per_frame} tokens, and {height} x "
                f"{width} latents have {tokens}"
            )
        if (given := context.text.layers[0][0].shape[0]) != batch:
            raise ValueError(f"the prompt has {given} rows and the block {batch}; give one each")
        rotation = frame_rotation(
            self.model.rope, cache.end, frames, height // rows, width // columns
        )
        times = _timesteps(timestep, latents, tokens)
        segments = cache.plan(sizes)
        # The prompt's keys are at hand, so its states are not read; one row of zeros stands in.
        # Asking the model for its number format would walk through all of it.
        dtype = self.model.patch_embedding.weight.dtype
        unread = latents.new_zeros(batch, 1, self.model.config.text_dim, dtype=dtype)
        with running(Pass(cache, segments, rotation, context.text)):
            (velocity,) = self.model(
                hidden_states=latents.to(dtype),
                timestep=times,
                encoder_hidden_states=unread,
                return_dict=False,
            )
        return velocity.to(latents.dtype), segments


def _timesteps(timestep: float | Tensor, latents: Tensor, tokens: int) -> Tensor:
    """Timesteps as diffusers takes them: ``(batch,)``, or ``(batch, tokens)``."""
    batch, _, frames = latents.shape[:3]
    times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
    if times.ndim == 0:
        times = times.expand(batch)
    if times.shape == (batch, frames):
        return times.repeat_interleave(tokens, dim=1)
    if times.shape not in ((batch,), (batch, frames * tokens)):
        raise ValueError(
            f"timesteps of shape {tuple(times.shape)} fit neither {batch} rows, nor their {frames} "
            f"frames, nor their {frames * tokens} tokens"
        )
    return times
