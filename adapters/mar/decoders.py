"""MAR's networks as decoders of latent vectors, with classifier-free guidance inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.config import MARConfig
from adapters.mar.head import DiffusionHead
from adapters.mar.mar import MAR
from adapters.mar.sampling_head import SamplingHead
from adapters.mar.schedule import cosine_sizes, guidance_scale, random_orders
from image_ar.continuous.chain import Condition
from image_ar.continuous.decoding import LatentState
from image_ar.continuous.process import DiffusionProcess
from mmspec.cache import RaggedCache
from mmspec.noise import Noise
from mmspec.paired_cache import PairedCache


@dataclass
class _Context:
    """What a decoder keeps of a request.

    Attributes:
        guided: Whether both halves of guidance run.
        left: ``(steps,)`` vectors still unknown after each step; never below 1, as the official
            sampler counts them.
        cache: Keys and values, of the causal model.
        classes: ``(rows, width)`` class vectors, conditional ones first, of the masked model.
    """

    guided: bool
    left: Tensor
    cache: RaggedCache | None = None
    classes: Tensor | None = None


class _Decoder:
    """What both variants share.

    Args:
        model: Set to eval mode, otherwise never changed.
    """

    def __init__(self, model: CausalMAR | MAR) -> None:
        model.eval()
        config: MARConfig = model.config
        self.config = config
        self.width, self.cells = config.token_width, config.cells
        self.base_steps, self.latent_range = config.base_steps, config.latent_range
        self._network: DiffusionHead = model.head
        self._heads: dict[int, SamplingHead] = {}

    def head_for(self, process: DiffusionProcess) -> SamplingHead:
        """The diffusion head with its work for the steps of a process done once."""
        head = self._heads.get(process.steps)
        if head is None:
            head = self._heads[process.steps] = SamplingHead(self._network, process.timesteps)
        return head

    def _guided(self, inputs: Mapping[str, Any]) -> bool:
        scale = inputs.get("guidance_scale")
        return scale is not None and bool((scale != 1).any())

    def _condition(
        self, vectors: Tensor, context: _Context, inputs: Mapping[str, Any], steps: Tensor
    ) -> Condition:
        """One row a vector, guided by the scale of its step.

        Args:
            vectors: ``(rows, n, group, W')``; with guidance both halves, conditional rows first.
            context: Of the request.
            inputs: Of the request.
            steps: ``(batch, n)`` which step each belongs to; beyond the picture counts the last.
        """
        width = vectors.shape[-1]
        if not context.guided:
            return Condition(vectors.reshape(-1, width))
        with_it, without_it = vectors.chunk(2)
        left = context.left[steps.clamp(max=len(context.left) - 1)]
        scale = guidance_scale(
            inputs["schedule"], inputs["guidance_scale"].unsqueeze(1), left, self.cells
        )
        each = scale.unsqueeze(-1).expand(with_it.shape[:-1])
        return Condition(
            with_it.reshape(-1, width), without_it.reshape(-1, width), each.reshape(-1)
        )


class CausalDecoder(_Decoder):
    """Implements :class:`image_ar.continuous.decoding.LatentDecoder` for the causal variant.

    Vectors come in raster order, one a step; one pass gives the right condition of every drafted
    vector, which makes this the home of exact continuous speculation.
    """

    def __init__(self, model: CausalMAR) -> None:
        super().__init__(model)
        self.model = model

    def layout(self, noise: Noise, ar_steps: int | None) -> Tensor:
        """Raster order, ``(batch, cells, 1)``."""
        if ar_steps not in (None, self.cells):
            raise ValueError(
                f"a causal model takes {self.cells} steps, one a vector, got {ar_steps}; leave out "
                "num_ar_steps, or use a masked model"
            )
        order = torch.arange(self.cells, device=noise.device).view(1, -1, 1)
        return order.expand(len(noise.seeds), -1, -1)

    def prefill(
        self, inputs: Mapping[str, Any], layout: Tensor, capacity: int
    ) -> tuple[_Context, Condition]:
        """Run the class prefix."""
        labels, buffer = inputs["labels"], self.config.buffer
        guided = self._guided(inputs)
        embeds = self.model.embed_prefix(labels)
        if guided:
            nobody = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
            embeds = torch.cat([embeds, self.model.embed_prefix(labels, nobody)])
        cache = (PairedCache if guided else RaggedCache)(
            self.config.decoder_depth, buffer + capacity
        )
        cache.place(0, buffer, buffer)
        last = self.model(embeds, None, cache)[:, -1:]
        context = _Context(guided, _left_after(layout), cache=cache)
        first = labels.new_zeros(len(labels), 1)
        vectors = self.model.conditions(last, first[:1])
        return context, self._condition(vectors.unsqueeze(2), context, inputs, first)

    def conditions(self, state: LatentState, units: Tensor) -> Condition:
        """One pass over the pending and the drafted vectors."""
        context: _Context = state.context
        cache = context.cache
        assert cache is not None
        nodes, pending, buffer = units.shape[1], state.pending, self.config.buffer
        count = pending + nodes
        # Rows that hold less than what others have pending run from their start.
        start = (state.lengths - pending).clamp(min=0)
        places = start.unsqueeze(1) + torch.arange(count, device=state.device)
        tokens = state.at(places.clamp(max=self.cells - 1))
        if nodes:
            tokens = torch.cat([tokens[:, :pending], units.squeeze(2)], 1)
        begins = [max(length - pending, 0) for length in state.host_lengths]
        longest = buffer + max(begins) + count
        even = len(set(begins)) == 1
        cache.place(buffer + begins[0] if even else buffer + start, count, longest)
        mask = None
        if count > 1 or not even:
            view = torch.arange(longest, device=state.device)
            mask = (view <= buffer + places.unsqueeze(-1)).unsqueeze(1)
        embeds = self.model.embed(tokens, places)
        if context.guided:
            embeds = embeds.repeat(2, 1, 1)
            mask = mask if mask is None else mask.repeat(2, 1, 1, 1)
        hidden = self.model(embeds, mask, cache)
        last = (state.lengths - 1 - start).unsqueeze(1)
        wanted = last + torch.arange(nodes + 1, device=state.device)
        both = wanted.repeat(2, 1) if context.guided else wanted
        hidden = hidden.gather(1, both.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        follows = state.lengths.unsqueeze(1) + torch.arange(nodes + 1, device=state.device)
        drawn = follows.repeat(2, 1) if context.guided else follows
        vectors = self.model.conditions(hidden, drawn)
        return self._condition(vectors.unsqueeze(2), context, state.inputs, follows)

    def window_conditions(self, state: LatentState, nodes: int) -> Condition:
        """Not possible: a vector's condition needs the vector before it.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "this mode judges drafted vectors without the drafted ones before them, which a causal "
            "model cannot; use a masked model, or another mode"
        )


class MaskedDecoder(_Decoder):
    """Implements :class:`image_ar.continuous.decoding.LatentDecoder` for masked MAR.

    The network sees all known vectors and nothing is kept between passes: the conditions that
    follow ``n`` drafted steps are ``n + 1`` masked passes, run as one batch.
    """

    def __init__(self, model: MAR) -> None:
        super().__init__(model)
        self.model = model

    def layout(self, noise: Noise, ar_steps: int | None) -> Tensor:
        """A random order a picture, cut by the cosine schedule into ``ar_steps`` groups."""
        sizes = cosine_sizes(self.cells, ar_steps or self.cells)
        batch = len(noise.seeds)
        every = torch.arange(self.cells, device=noise.device).expand(batch, -1)
        orders = random_orders(noise.uniforms("order", every)).flip(1)
        layout = orders.new_full((batch, len(sizes), max(sizes)), -1)
        start = 0
        for step, size in enumerate(sizes):
            layout[:, step, :size] = orders[:, start : start + size]
            start += size
        return layout

    def prefill(
        self, inputs: Mapping[str, Any], layout: Tensor, capacity: int
    ) -> tuple[_Context, Condition]:
        """One pass over an empty picture."""
        labels = inputs["labels"]
        guided = self._guided(inputs)
        classes = self.model.class_vectors(labels)
        if guided:
            nobody = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
            classes = torch.cat([classes, self.model.class_vectors(labels, nobody)])
        context = _Context(guided, _left_after(layout), classes=classes)
        tokens = classes.new_zeros(len(labels), 1, self.cells, self.width)
        unknown = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        vectors = self._pass(context, tokens, unknown, layout[:, :1])
        return context, self._condition(vectors, context, inputs, labels.new_zeros(len(labels), 1))

    def conditions(self, state: LatentState, units: Tensor) -> Condition:
        """Passes over the known vectors and more and more of the drafted ones, as one batch."""
        nodes = units.shape[1]
        places = state.places(nodes + 1)
        tokens, unknown = self._committed(state, nodes + 1)
        for node in range(nodes):
            drafted = places[:, node : node + 1].expand(-1, nodes - node, -1)
            fill = units[:, node : node + 1].expand(-1, nodes - node, -1, -1)
            tokens[:, node + 1 :] = _put(tokens[:, node + 1 :], drafted, fill)
            done = drafted.new_zeros(drafted.shape, dtype=torch.bool).unsqueeze(-1)
            seen = _put(unknown[:, node + 1 :].unsqueeze(-1), drafted, done)
            unknown[:, node + 1 :] = seen.squeeze(-1)
        vectors = self._pass(state.context, tokens, unknown, places)
        return self._condition(vectors, state.context, state.inputs, _steps(state, nodes + 1))

    def window_conditions(self, state: LatentState, nodes: int) -> Condition:
        """One pass over the known vectors, read at the places of all drafted steps.

        All of them are guided as the last one is, which is how the released program does it.
        """
        places = state.places(nodes)
        tokens, unknown = self._committed(state, 1)
        whole = self._pass(state.context, tokens, unknown, places.flatten(1).unsqueeze(1))
        vectors = whole.view(len(whole), *places.shape[1:], -1)
        last = _steps(state, nodes)[:, -1:].expand(-1, nodes)
        return self._condition(vectors, state.context, state.inputs, last)

    def _committed(self, state: LatentState, copies: int) -> tuple[Tensor, Tensor]:
        """Vectors ``(batch, copies, cells, width)`` and which of them are not known yet."""
        index = torch.arange(state.steps, device=state.device)
        ahead = index >= state.lengths.unsqueeze(1)
        later = torch.where(ahead.unsqueeze(-1), state.layout, -1).flatten(1)
        unknown = torch.zeros(state.batch, self.cells + 1, dtype=torch.bool, device=state.device)
        unknown.scatter_(1, torch.where(later >= 0, later, self.cells), True)
        unknown = unknown[:, None, : self.cells].repeat(1, copies, 1)
        return state.vectors.unsqueeze(1).repeat(1, copies, 1, 1), unknown

    def _pass(self, context: _Context, tokens: Tensor, unknown: Tensor, places: Tensor) -> Tensor:
        """Condition vectors at places, both halves of guidance.

        Args:
            context: Of the request.
            tokens: ``(batch, n, cells, width)``.
            unknown: ``(batch, n, cells)``.
            places: ``(batch, n, group)`` wanted of each of the ``n`` passes.

        Returns:
            ``(batch or 2 * batch, n, group, W')``.
        """
        assert context.classes is not None
        classes = context.classes.repeat_interleave(tokens.shape[1], 0)
        flat, hidden = tokens.flatten(0, 1), unknown.flatten(0, 1)
        wanted = places.flatten(0, 1).clamp(min=0)
        if context.guided:
            flat, hidden, wanted = (
                part.repeat(2, *[1] * (part.ndim - 1)) for part in (flat, hidden, wanted)
            )
        found = self.model.conditions(flat, hidden, classes)
        found = found.gather(1, wanted.unsqueeze(-1).expand(-1, -1, found.shape[-1]))
        return found.view(-1, *places.shape[1:], found.shape[-1])


def _left_after(layout: Tensor) -> Tensor:
    """``(steps,)`` vectors unknown after each step, never below 1."""
    sizes = (layout[0] >= 0).sum(-1)
    return (sizes.sum() - sizes.cumsum(0)).clamp(min=1)


def _steps(state: LatentState, count: int) -> Tensor:
    """``(batch, count)`` numbers of the steps that come next."""
    return state.lengths.unsqueeze(1) + torch.arange(count, device=state.device)


def _put(values: Tensor, places: Tensor, vectors: Tensor) -> Tensor:
    """``values`` ``(batch, n, cells, w)`` with ``vectors`` ``(batch, n, group, w)`` at places."""
    spare = values.new_zeros(*values.shape[:2], 1, values.shape[-1])
    target = torch.where(places >= 0, places, values.shape[2]).unsqueeze(-1)
    wide = torch.cat([values, spare], 2)
    wide.scatter_(2, target.expand(*places.shape, values.shape[-1]), vectors.to(values.dtype))
    return wide[:, :, :-1]
