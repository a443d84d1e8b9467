"""AnyFlow-FAR run block by block: a causal Wan whose distant past is compressed.

The model (arXiv 2605.13724, on FAR, arXiv 2503.19325) is diffusers' own. It sees the last blocks in
full and older ones in patches of four by four. A block leaves the near past with every block that
is committed, so its keys change, and the past is read anew in one pass, as the released pipeline
does too. The model is a flow map: told where a step starts and where it leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adapters.wan.far_attention import FarAttention, LayerStates
from video_ar.request import VideoRequest
from video_ar.schedule import Schedule, tokens_per_frame


@dataclass
class FarContext:
    """One request: what was committed, and what the layers made of it.

    Args:
        text: States of the prompt ``(batch, tokens, width)``.
        schedule: Says where the steps lead.
        layers: Of the model, one entry each.
        blocks: Committed latents.
    """

    text: Tensor
    schedule: Schedule
    layers: dict[int, LayerStates]
    blocks: list[Tensor] = field(default_factory=list)


class FarWan:
    """The transformer; holds no state of any request.

    Args:
        model: An ``AnyFlowFARTransformer3DModel``. Its processors of self-attention are replaced; a
            call of the model itself still gives what it gave.
        block_frames: Latent frames of a block, all of one size. The released models were trained on
            blocks of 3 after a first one of 1.

    Raises:
        ValueError: A model that looks at pictures beside the text, patches in time, or no room for
            a block in full.
    """

    def __init__(self, model: Any, block_frames: int = 3) -> None:
        config = model.config
        if config.image_dim is not None:
            raise ValueError("this model looks at a picture beside the text; use text-to-video")
        patches = (config.patch_size[0], config.compressed_patch_size[0])
        if block_frames < 1 or patches != (1, 1) or config.full_chunk_limit < 2:
            raise ValueError(
                f"blocks of whole frames after one in full are needed; block_frames={block_frames},"
                f" patches of {patches} frames and full_chunk_limit={config.full_chunk_limit} do "
                "not fit that"
            )
        for block in model.blocks:
            if not isinstance(block.attn1.processor, FarAttention):
                block.attn1.set_processor(FarAttention(block.attn1.processor))
        self.model, self.block_frames = model, block_frames

    @torch.no_grad()
    def read(self, blocks: Sequence[Tensor], text: Tensor) -> dict[int, LayerStates]:
        """What the layers make of clean blocks, all in one pass at timestep 0.

        Args:
            blocks: ``(batch, channels, frames, height, width)`` each.
            text: States of the prompt.
        """
        layers = {layer: LayerStates() for layer in range(len(self.model.blocks))}
        if blocks:
            latents = torch.cat(list(blocks), dim=2)
            times = latents.new_zeros(latents.shape[0], latents.shape[2], dtype=torch.float32)
            mask = self._causal(len(blocks), latents)
            self._forward(latents, times, times, text, layers, len(blocks), True, mask)
        return layers

    @torch.no_grad()
    def velocity(
        self,
        block: Tensor,
        timestep: float,
        until: float,
        text: Tensor,
        layers: dict[int, LayerStates],
        count: int,
    ) -> Tensor:
        """The mean velocity on the way from one noise level to another; writes nothing.

        Args:
            block: Noisy, ``(batch, channels, frames, height, width)``.
            timestep: Where the way starts, in thousandths.
            until: Where it leads.
            text: States of the prompt.
            layers: From :meth:`read`.
            count: Blocks that were read there.
        """
        start, end = (
            torch.full((block.shape[0], block.shape[2]), time, device=block.device)
            for time in (timestep, until)
        )
        out = self._forward(block, start, end, text, layers, count, False, None)
        return out.transpose(1, 2).to(block.dtype)

    def _forward(
        self,
        latents: Tensor,
        start: Tensor,
        end: Tensor,
        text: Tensor,
        layers: dict[int, LayerStates],
        count: int,
        reading: bool,
        mask: Tensor | None,
    ) -> Any:
        """The model's own cached paths: the one that reads, or the one that denoises."""
        dtype = self.model.patch_embedding.weight.dtype
        return self.model(
            hidden_states=latents.transpose(1, 2).to(dtype),
            timestep=start,
            r_timestep=end,
            encoder_hidden_states=text.to(dtype),
            chunk_partition=[self.block_frames] * (count if reading else count + 1),
            kv_cache=layers,
            kv_cache_flag={"is_cache_step": reading, "num_cached_chunks": count},
            attention_mask=mask,
            return_dict=False,
        )[0]

    def _causal(self, count: int, latents: Tensor) -> Tensor:
        """``(1, 1, tokens, tokens)``: blocks look at themselves and at those before."""
        config, (height, width) = self.model.config, latents.shape[-2:]
        near = min(count, config.full_chunk_limit - 1)
        sizes = [
            self.block_frames * tokens_per_frame(height, width, patch[1:])
            for patch in (config.compressed_patch_size, config.patch_size)
        ]
        lengths = [sizes[place >= count - near] for place in range(count)]
        places = torch.arange(count, device=latents.device)
        owner = places.repeat_interleave(torch.tensor(lengths, device=latents.device))
        return (owner.unsqueeze(1) >= owner)[None, None]


class FarBlocks:
    """A :class:`~video_ar.follower.VideoModel`.

    A step leads to the next noise level of a schedule without fresh noise, as the released pipeline
    runs the model; with fresh noise it leads to the clean block, which a flow map also tells.

    Args:
        wan: The transformer.
    """

    def __init__(self, wan: FarWan) -> None:
        self.wan = wan

    def start(self, request: VideoRequest) -> FarContext:
        """An empty past.

        Raises:
            ValueError: Latent frames that the patches of the distant past do not fill.
        """
        tokens_per_frame(*request.shape[2:], self.wan.model.config.compressed_patch_size[1:])
        text = request.conditions["text"]
        return FarContext(text, request.schedule, self.wan.read((), text))

    def denoise(self, block: Tensor, timestep: float, context: FarContext) -> Tensor:
        """See :meth:`FarWan.velocity`."""
        until = context.schedule.until(timestep)
        count = len(context.blocks)
        return self.wan.velocity(block, timestep, until, context.text, context.layers, count)

    def commit(self, blocks: Sequence[Tensor], context: FarContext) -> None:
        """Read the whole past anew, compressed as it now is."""
        context.blocks.extend(blocks)
        context.layers = self.wan.read(context.blocks, context.text)
