"""MAR's networks as decoders of latent vectors, with classifier-free guidance inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.decoding import Context, Decoder, numbers, run_of
from adapters.mar.mar import MAR
from adapters.mar.schedule import cosine_sizes, random_orders
from image_ar.continuous.chain import Condition
from image_ar.continuous.decoding import LatentState
from mmspec.cache import RaggedCache
from mmspec.noise import Noise
from mmspec.paired_cache import PairedCache


class CausalDecoder(Decoder):
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
    ) -> tuple[Context, Condition]:
        """Run the class prefix."""
        labels, buffer = inputs["labels"], self.config.buffer
        context = self._open(inputs, layout)
        embeds = self.model.embed_prefix(labels)
        if context.guided:
            nobody = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
            embeds = torch.cat([embeds, self.model.embed_prefix(labels, nobody)])
        cache = (PairedCache if context.guided else RaggedCache)(
            self.config.decoder_depth, buffer + capacity
        )
        context.cache = cache
        cache.place(0, buffer, buffer)
        last = self.model(embeds, None, cache)[:, -1:]
        vectors = self.model.conditions(last, labels.new_zeros(1, 1))
        return context, self._condition(vectors.unsqueeze(2), context.ahead(0, 1))

    def conditions(self, state: LatentState, units: Tensor) -> Condition:
        """One pass over the pending and the drafted vectors."""
        context: Context = state.context
        cache = context.cache
        assert cache is not None
        nodes, pending, buffer = units.shape[1], state.pending, self.config.buffer
        count = pending + nodes
        # Rows that hold less than what others have pending run from their start.
        begins = [max(length - pending, 0) for length in state.host_lengths]
        length = state.reached
        even = isinstance(length, int)
        start = begins[0] if isinstance(length, int) else (length - pending).clamp(min=0)
        places = numbers(start, count, state.device)
        tokens = run_of(state.vectors, start, pending)
        if nodes:
            tokens = torch.cat([tokens, units.squeeze(2)], 1)
        longest = buffer + max(begins) + count
        cache.place(buffer + start, count, longest)
        mask = None
        if count > 1 or not even:
            view = torch.arange(longest, device=state.device)
            mask = (view <= buffer + places.unsqueeze(-1)).unsqueeze(1)
        embeds = self.model.embed(tokens, places)
        if context.guided:
            embeds = embeds.repeat(2, 1, 1)
            mask = mask if mask is None or even else mask.repeat(2, 1, 1, 1)
        hidden = self.model(embeds, mask, cache)
        hidden = run_of(hidden, _both(length - 1 - start, context), nodes + 1)
        follows = numbers(_both(length, context), nodes + 1, state.device)
        vectors = self.model.conditions(hidden, follows)
        return self._condition(vectors.unsqueeze(2), context.ahead(length, nodes + 1))

    def window_conditions(self, state: LatentState, nodes: int) -> Condition:
        """Not possible: a vector's condition needs the vector before it.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "this mode judges drafted vectors without the drafted ones before them, which a causal "
            "model cannot; use a masked model, or another mode"
        )


class MaskedDecoder(Decoder):
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
    ) -> tuple[Context, Condition]:
        """One pass over an empty picture."""
        labels = inputs["labels"]
        context = self._open(inputs, layout)
        classes = self.model.class_vectors(labels)
        if context.guided:
            nobody = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
            classes = torch.cat([classes, self.model.class_vectors(labels, nobody)])
        context.classes = classes
        tokens = classes.new_zeros(len(labels), 1, self.cells, self.width)
        unknown = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        vectors = self._pass(context, tokens, unknown, layout[:, :1])
        return context, self._condition(vectors, context.ahead(0, 1))

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
        return self._condition(vectors, state.context.ahead(state.reached, nodes + 1))

    def window_conditions(self, state: LatentState, nodes: int) -> Condition:
        """One pass over the known vectors, read at the places of all drafted steps.

        All of them are guided as the last one is, which is how the released program does it.
        """
        places = state.places(nodes)
        tokens, unknown = self._committed(state, 1)
        whole = self._pass(state.context, tokens, unknown, places.flatten(1).unsqueeze(1))
        vectors = whole.view(len(whole), *places.shape[1:], -1)
        scales = state.context.ahead(state.reached, nodes)
        last = None if scales is None else scales[:, -1:].expand(-1, nodes)
        return self._condition(vectors, last)

    def _committed(self, state: LatentState, copies: int) -> tuple[Tensor, Tensor]:
        """Vectors ``(batch, copies, cells, width)`` and which of them are not known yet."""
        index = torch.arange(state.steps, device=state.device)
        ahead = index >= state.lengths.unsqueeze(1)
        later = torch.where(ahead.unsqueeze(-1), state.layout, -1).flatten(1)
        unknown = torch.zeros(state.batch, self.cells + 1, dtype=torch.bool, device=state.device)
        unknown.scatter_(1, torch.where(later >= 0, later, self.cells), True)
        unknown = unknown[:, None, : self.cells].repeat(1, copies, 1)
        return state.vectors.unsqueeze(1).repeat(1, copies, 1, 1), unknown

    def _pass(self, context: Context, tokens: Tensor, unknown: Tensor, places: Tensor) -> Tensor:
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


def _put(values: Tensor, places: Tensor, vectors: Tensor) -> Tensor:
    """``values`` ``(batch, n, cells, w)`` with ``vectors`` ``(batch, n, group, w)`` at places."""
    spare = values.new_zeros(*values.shape[:2], 1, values.shape[-1])
    target = torch.where(places >= 0, places, values.shape[2]).unsqueeze(-1)
    wide = torch.cat([values, spare], 2)
    wide.scatter_(2, target.expand(*places.shape, values.shape[-1]), vectors.to(values.dtype))
    return wide[:, :, :-1]


def _both(start: int | Tensor, context: Context) -> int | Tensor:
    """For every row that the model sees."""
    return start.repeat(2) if isinstance(start, Tensor) and context.guided else start
