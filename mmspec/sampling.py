"""From logits to the law a unit is drawn from, each tree node with its own prefix.

The options carry the names, meanings and order of transformers' ``GenerationConfig``: processors
first (repetition penalty, bad words, forced ids, any ``LogitsProcessor``), then temperature, top-k,
top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmspec.distributions import Categorical, Law, OneHot
from mmspec.messages import Draft
from mmspec.state import State

Processor = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sampling:
    """How a unit is chosen from the target's logits, and when a row ends.

    Attributes:
        max_new_tokens: Most tokens a row may add.
        temperature: 0 is greedy decoding.
        top_k: Keep the ``k`` most likely tokens; 0 keeps all.
        top_p: Keep the smallest set with at least this mass; 1 keeps all.
        min_p: Drop tokens below this share of the most likely one's probability; 0 keeps all.
        repetition_penalty: Above 1 makes tokens already in the prefix less likely.
        bad_words_ids: Token sequences that must not appear.
        forced_ids: Pairs ``(output position, token id)``: the token is the only one allowed there.
            ``(0, id)`` is transformers' forced BOS, ``(max_new_tokens - 1, id)`` its forced EOS.
        stop_ids: Tokens that end a row (kept in the output).
        processors: Further callables ``(prefix ids (n, length), scores (n, vocab)) -> scores``.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    forced_ids: tuple[tuple[int, int], ...] = ()
    stop_ids: tuple[int, ...] = ()
    processors: tuple[Processor, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        checks = (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or above"),
            ("top_k", self.top_k >= 0, "0 (off) or above"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0 (1 is off)"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)}")

    @property
    def greedy(self) -> bool:
        """True when the most likely token is always taken."""
        return self.temperature == 0


class Sampler:
    """Turns logits after the root and after every drafted node into laws.

    Args:
        sampling: The options.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._prefixed = _prefix_processors(sampling)
        self._forced: Tensor | None = None

    @property
    def reads_prefixes(self) -> bool:
        """Whether laws depend on the tokens before them beyond what the logits say."""
        return bool(self._prefixed)

    def law(self, logits: Tensor, positions: Tensor, state: State, draft: Draft) -> Law:
        """The law after each node.

        Args:
            logits: ``(batch, nodes + 1, vocab)``; not changed.
            positions: ``(batch, nodes + 1)`` output position that each row of logits decides.
            state: Committed prefixes; read only.
            draft: The drafted nodes; read only.
        """
        scores = logits
        if self._prefixed:
            scores = apply_per_prefix(self._prefixed, logits.float(), state, draft)
        if self.sampling.forced_ids:
            scores = self._force(scores, positions)
        if self.sampling.greedy:
            return OneHot(units=scores.argmax(-1), scores=scores)
        return Categorical(warp(scores.float(), self.sampling))

    def _force(self, scores: Tensor, positions: Tensor) -> Tensor:
        """Leave one token at the forced positions; one gather, however many pairs there are.

        As in transformers, the token is allowed even where a processor forbade it.
        """
        if self._forced is None or self._forced.device != scores.device:
            self._forced = _forced_table(self.sampling.forced_ids).to(scores.device)
        # The last entry is free and stands for everything beyond the table.
        token = self._forced[positions.long().clamp(max=len(self._forced) - 1)].unsqueeze(-1)
        only = torch.full_like(scores, float("-inf")).scatter_(-1, token.clamp(min=0), 0.0)
        return torch.where(token >= 0, only, scores)


def _forced_table(pairs: Sequence[tuple[int, int]]) -> Tensor:
    """``(last position + 2,)`` the token forced at each position, -1 where it is free."""
    table = torch.full((max(0, *(position for position, _ in pairs)) + 2,), -1)
    for position, token in pairs:
        if position >= 0:  # a position before the output never comes up
            table[position] = token
    return table


def warp(scores: Tensor, sampling: Sampling) -> Tensor:
    """Temperature, top-k, top-p, min-p, in this order; returns probabilities ``(..., vocab)``."""
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        floor = scores.topk(sampling.top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < floor, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = scores.sort(dim=-1)
        tail = ordered.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        tail[..., -1] = False
        scores = scores.masked_fill(tail.scatter(-1, order, tail), float("-inf"))
    probs = scores.softmax(-1)
    if sampling.min_p > 0:
        keep = probs >= sampling.min_p * probs.amax(-1, keepdim=True)
        probs = torch.where(keep, probs, 0.0)
        probs = probs / probs.sum(-1, keepdim=True)
    return probs


def apply_per_prefix(
    processors: Sequence[Processor], logits: Tensor, state: State, draft: Draft
) -> Tensor:
    """Run processors with the true prefix of every node.

    Rows with prefixes of one length are processed together, so a chain of ``n`` nodes at batch 1
    costs ``n + 1`` calls and a level of a tree one call.
    """
    out = logits.clone()
    depths = draft.tree.depths[0] if draft.tree.parents.stride(0) == 0 else None
    for row, length in enumerate(state.host_lengths):
        committed = state.tokens[row, :length]
        levels = (depths if depths is not None else draft.tree.depths[row]).tolist()
        for depth in sorted(set(levels)):
            nodes = [node for node, level in enumerate(levels) if level == depth]
            prefixes = torch.stack([_prefix(committed, draft, row, node) for node in nodes])
            index = torch.tensor(nodes, device=logits.device)
            scores = logits[row, index]
            for processor in processors:
                scores = processor(prefixes, scores)
            out[row, index] = scores
    return out


def _prefix(committed: Tensor, draft: Draft, row: int, node: int) -> Tensor:
    """Committed tokens followed by the drafted ones on the branch that ends at ``node``."""
    if node == 0:
        return committed
    branch = draft.tree.ancestors[row, node, 1:]
    return torch.cat([committed, draft.units[row][branch]])


def _prefix_processors(sampling: Sampling) -> list[Processor]:
    """Processors that look at the prefix, transformers' own where it has them."""
    chosen: list[Processor] = []
    if sampling.repetition_penalty != 1:
        from transformers import RepetitionPenaltyLogitsProcessor

        chosen.append(RepetitionPenaltyLogitsProcessor(penalty=sampling.repetition_penalty))
    if sampling.bad_words_ids:
        from transformers import NoBadWordsLogitsProcessor

        words = [list(word) for word in sampling.bad_words_ids]
        stops = list(sampling.stop_ids) or None
        chosen.append(NoBadWordsLogitsProcessor(words, eos_token_id=stops))
    chosen.extend(sampling.processors)
    return chosen


def warpers_of(processors: Sequence[Any]) -> tuple[dict[str, float], tuple[Any, ...]]:
    """Split a transformers ``LogitsProcessorList`` into our warping options and the rest.

    Returns:
        Keyword arguments for :class:`Sampling`, and the processors that must see each prefix.
    """
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    options: dict[str, float] = {}
    rest: list[Any] = []
    for processor in processors:
        if isinstance(processor, TemperatureLogitsWarper):
            options["temperature"] = processor.temperature
        elif isinstance(processor, TopKLogitsWarper):
            options["top_k"] = processor.top_k
        elif isinstance(processor, TopPLogitsWarper):
            options["top_p"] = processor.top_p
        elif isinstance(processor, MinPLogitsWarper):
            options["min_p"] = processor.min_p
        else:
            rest.append(processor)
    return options, tuple(rest)
