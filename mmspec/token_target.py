"""The target role for every model over discrete tokens: text or image tokens with a cache."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from mmspec.cache import RaggedCache
from mmspec.messages import Commit, Draft, Evidence, Features, Verdict
from mmspec.regeneration import Redrawn, regenerate
from mmspec.roles import Decoder
from mmspec.sampling import Sampler, Sampling
from mmspec.state import Prompt, State


@dataclass(frozen=True)
class Request:
    """What to generate from.

    Attributes:
        inputs: The processor's tensors; ``input_ids`` and ``attention_mask`` may be padded on
            either side.
        sampling: How units are chosen and when rows end.
        features: Hidden states to keep, beside the prompt's input embeddings, for a drafter that
            reads them; True for the last ones after the final norm.
        lookahead: Most nodes any draft will have; sizes the cache.
    """

    inputs: dict[str, Any]
    sampling: Sampling = field(default_factory=Sampling)
    features: Features | bool = False
    lookahead: int = 0

    @property
    def rows(self) -> int:
        """Prompts."""
        return len(self.inputs["input_ids"])

    @property
    def device(self) -> torch.device:
        """Where the prompts are."""
        ids: Tensor = self.inputs["input_ids"]
        return ids.device

    @property
    def horizon(self) -> int:
        """Most new tokens of a row."""
        return self.sampling.max_new_tokens

    @property
    def greedy(self) -> bool:
        """Whether nothing is left to chance."""
        return self.sampling.greedy

    def brief(self, count: int) -> Request:
        """The same with at most ``count`` new tokens."""
        limit = min(self.sampling.max_new_tokens, count)
        forced = tuple(pair for pair in self.sampling.forced_ids if pair[0] < limit)
        return replace(
            self, sampling=replace(self.sampling, max_new_tokens=limit, forced_ids=forced)
        )

    def under(self, drafter: Any, rule: Any, lookahead: int, noise: Any) -> Request:
        """With the features that a drafter reads, and room for its drafts."""
        features = self.features
        if getattr(drafter, "needs_features", False):
            features = Features(getattr(drafter, "target_layers", None))
        return replace(self, features=features, lookahead=max(self.lookahead, lookahead))


@dataclass(frozen=True)
class Prefilled:
    """What a decoder returns from reading the prompts.

    Attributes:
        ids: ``(batch, longest)`` right-padded prompt ids.
        lengths: Prompt length of every row.
        cache: Cache holding the prompts in slots 0, 1, ...
        logits: ``(batch, vocab)`` after the last prompt token of every row.
        rope_offset: See :class:`~mmspec.state.State`.
        hidden: ``(batch, longest, width)`` the features asked for, else None.
        embeds: ``(batch, longest, hidden)`` decoder inputs; None unless features were asked for.
    """

    ids: Tensor
    lengths: list[int]
    cache: RaggedCache
    logits: Tensor
    rope_offset: Tensor | None = None
    hidden: Tensor | None = None
    embeds: Tensor | None = None


class TokenTarget:
    """A :class:`~mmspec.roles.Target` on top of a :class:`~mmspec.roles.Decoder`.

    Args:
        decoder: The model behind its adapter.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def prefill(self, request: Request) -> tuple[State, Evidence]:
        """Read the prompts; the evidence decides the first new token of every row.

        Raises:
            ValueError: Inputs the adapter refuses, with the fix in the message, or features of
                layers that the decoder does not have.
        """
        sampling = request.sampling
        features = Features() if request.features is True else request.features or None
        if features is not None and features.layers is not None:
            features.check(self.decoder.num_layers)
        reserve = sampling.max_new_tokens + request.lookahead + 1
        filled = self.decoder.prefill(request.inputs, reserve, features)
        batch, longest = filled.ids.shape
        device = filled.ids.device
        tokens = torch.zeros(batch, longest + reserve, dtype=torch.long, device=device)
        tokens[:, :longest] = filled.ids
        prompt = Prompt(request.inputs, filled.lengths, filled.hidden, filled.embeds)
        state = State(
            tokens=tokens,
            lengths=torch.tensor(filled.lengths, device=device),
            host_lengths=list(filled.lengths),
            cache=filled.cache,
            prompt=prompt,
            finished=[False] * batch,
            pending=0,
            rope_offset=filled.rope_offset,
            prompt_lengths=torch.tensor(filled.lengths, device=device),
            sampler=Sampler(sampling),
            features=features,
        )
        nothing = Draft.empty(batch, device)
        last = None
        if filled.hidden is not None:
            index = (state.lengths - 1).view(-1, 1, 1).expand(-1, 1, filled.hidden.shape[-1])
            last = filled.hidden.gather(1, index)
        return state, self._evidence(filled.logits.unsqueeze(1), last, state, nothing)

    def score(self, state: State, draft: Draft) -> Evidence:
        """Run the pending tokens and the drafted nodes through the model in one pass."""
        logits, hidden = self.forward(state, draft)
        drop = state.pending - 1
        return self._evidence(logits[:, drop:], hidden[:, drop:], state, draft)

    def forward(self, state: State, draft: Draft) -> tuple[Tensor, Tensor]:
        """Logits and hidden states of the pending tokens followed by the nodes."""
        pending, nodes = state.pending, draft.nodes
        tokens = state.pending_tokens()
        if nodes:
            # A drafter of another vocabulary must cost speed only; an id out of range would abort.
            units = draft.units.clamp(0, self.decoder.vocab_size - 1)
            tokens = torch.cat([tokens, units], dim=1)
        ragged = len(set(state.host_lengths)) > 1
        longest = max(state.host_lengths) + nodes
        start: int | Tensor = state.cached if ragged else state.host_lengths[0] - pending
        state.cache.place(start, pending + nodes, longest)
        lead = torch.arange(pending - 1, device=tokens.device)
        steps = torch.cat([lead.expand(state.batch, -1), draft.tree.depths + (pending - 1)], dim=1)
        positions = state.cached.unsqueeze(1) + steps
        mask = None
        if ragged or pending + nodes > 1:
            mask = visible(draft, pending, start, longest)
        return self.decoder.step(tokens, positions, mask, state)

    def commit(self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict) -> Commit:
        """Append the accepted path and the target's own unit; end rows at stop ids and limits.

        Mutates the state: tokens, lengths, cache rows, finished flags. Units that the verdict hands
        back are drawn here, see :func:`mmspec.regeneration.regenerate`; the next pass then runs all
        units of this round again that stand behind a changed one.

        Raises:
            FloatingPointError: The logits a unit was chosen from are not finite, or all masked.
        """
        again: Redrawn | None = None
        if verdict.again is None:
            emitted, probability = _emission(draft, evidence, verdict)
        else:
            again = regenerate(self.decoder, state, draft, evidence, verdict)
            emitted, probability = again.units, again.chance
        count = self._truncate(state, emitted, verdict.accepted + 1)
        if not draft.tree.is_chain:
            slots = state.lengths if len(set(state.host_lengths)) > 1 else state.host_lengths[0]
            state.cache.keep(slots, verdict.path)
        slots = state.lengths.unsqueeze(1) + torch.arange(emitted.shape[1], device=emitted.device)
        state.tokens.scatter_(1, slots.clamp(max=state.tokens.shape[1] - 1), emitted)
        state.lengths = state.lengths + count
        commit = self._report(state, draft, verdict, emitted, probability, count)
        state.pending = 1
        if again is not None:
            state.pending = again.pending([len(units) for units in commit.units])
            commit = replace(commit, passes=again.passes)
        return commit

    def rewind(self, state: State, lengths: Tensor, host_lengths: list[int], pending: int) -> None:
        """Set the committed length of a state whose ``tokens`` the caller filled; used by drafters.

        The next ``score`` runs the last ``pending`` tokens again; slots beyond are overwritten.
        """
        state.lengths, state.host_lengths, state.pending = lengths, host_lengths, pending

    def _evidence(
        self, logits: Tensor, hidden: Tensor | None, state: State, draft: Draft
    ) -> Evidence:
        positions = (state.lengths - state.prompt_lengths).unsqueeze(1) + draft.tree.depths
        return Evidence(
            law=state.sampler.law(logits, positions, state, draft),
            positions=positions,
            hidden=None if state.features is None else hidden,
        )

    def _truncate(self, state: State, emitted: Tensor, count: Tensor) -> Tensor:
        """Units each row really keeps: up to the first stop id, the limit, none if finished."""
        sampling = state.sampler.sampling
        room = sampling.max_new_tokens - (state.lengths - state.prompt_lengths)
        count = torch.minimum(count, room)
        if sampling.stop_ids:
            stops = torch.tensor(sampling.stop_ids, device=emitted.device)
            steps = torch.arange(1, emitted.shape[1] + 1, device=emitted.device)
            is_stop = (emitted.unsqueeze(-1) == stops).any(-1)
            first = torch.where(is_stop, steps, emitted.shape[1] + 1).amin(1)
            count = torch.minimum(count, first)
        if any(state.finished):
            running = ~torch.tensor(state.finished, device=emitted.device)
            count = count * running
        return count

    def _report(
        self,
        state: State,
        draft: Draft,
        verdict: Verdict,
        emitted: Tensor,
        probability: Tensor,
        count: Tensor,
    ) -> Commit:
        """Bring the round to the host in one transfer and settle which rows are complete."""
        yes = torch.ones_like(count)
        columns = [
            count,
            verdict.accepted,
            verdict.corrected,
            yes if draft.healthy is None else draft.healthy,
            yes * draft.nodes if draft.valid is None else draft.valid.sum(1),
            yes * 0 if verdict.bias is None else _bias(verdict.bias, count),
        ]
        anew = torch.zeros_like(emitted) if verdict.again is None else verdict.again.waves + 1
        head = torch.stack([column.double() for column in columns], dim=1)
        tail = torch.cat([emitted.double(), probability.double(), anew.double()], dim=1)
        packed = torch.cat([head, tail], dim=1).tolist()
        first, width = len(columns), emitted.shape[1]
        counts = [int(row[0]) for row in packed]
        active = [not finished for finished in state.finished]
        rows = [row[first:] for row in packed]
        chances = [row[width : width + n] for row, n in zip(rows, counts, strict=True)]
        _check_finite(chances)
        units = [[int(u) for u in row[:n]] for row, n in zip(rows, counts, strict=True)]
        sampling = state.sampler.sampling
        stops, limit = set(sampling.stop_ids), sampling.max_new_tokens
        forced = _forced_places(sampling, state.new_lengths, draft.tree.max_depth)
        state.host_lengths = [n + k for n, k in zip(state.host_lengths, counts, strict=True)]
        state.finished = [
            old or new >= limit or (bool(row) and row[-1] in stops)
            for old, new, row in zip(state.finished, state.new_lengths, units, strict=True)
        ]
        return Commit(
            units=units,
            accepted=[min(int(row[1]), n) for row, n in zip(packed, counts, strict=True)],
            corrected=[bool(row[2]) for row in packed],
            probability=chances,
            drafted=[int(row[4]) for row in packed],
            depth=draft.tree.max_depth,
            finished=list(state.finished),
            active=active,
            draft_healthy=all(row[3] for row, on in zip(packed, active, strict=True) if on),
            bias=[row[5] for row in packed],
            regenerated=[
                [place for place in range(n) if row[2 * width + place]]
                for row, n in zip(rows, counts, strict=True)
            ],
            forced=forced,
        )


def _bias(bias: Tensor, count: Tensor) -> Tensor:
    """``(batch,)`` sum of the bias over the units that each row keeps."""
    steps = torch.arange(bias.shape[1], device=bias.device)
    return torch.where(steps < count.unsqueeze(1), bias, 0.0).sum(1)


def _forced_places(sampling: Sampling, made: list[int], depth: int) -> list[list[int]]:
    """Per row the places of a round, from 0 to ``depth``, whose units the request forces."""
    if not sampling.forced_ids:
        return []
    forced = {position for position, _ in sampling.forced_ids}
    return [[place for place in range(depth + 1) if start + place in forced] for start in made]


def _check_finite(chances: list[list[float]]) -> None:
    """A probability shows every fault of the logits behind it: NaN, infinity, all masked."""
    for row, values in enumerate(chances):
        if not all(map(isfinite, values)):
            raise FloatingPointError(
                f"the target returned logits that are not finite in row {row}; try dtype float32, "
                "or check the checkpoint and whether a processor masks every token"
            )


def _emission(draft: Draft, evidence: Evidence, verdict: Verdict) -> tuple[Tensor, Tensor]:
    """Units along the path followed by the target's own, and the target's probability of each.

    Returns:
        Two tensors ``(batch, depth + 1)``; entries beyond ``accepted`` are padding.
    """
    assert verdict.own is not None, "a rule over tokens names the target's unit"
    nodes = verdict.path.clamp(min=0)
    along = draft.units.gather(1, nodes) if draft.nodes else nodes
    own = verdict.own.unsqueeze(1)
    steps = torch.arange(along.shape[1] + 1, device=own.device)
    emitted = torch.where(steps < verdict.accepted.unsqueeze(1), torch.cat([along, own], 1), own)
    root = torch.zeros_like(verdict.accepted).unsqueeze(1)
    rows = torch.cat([root, nodes + 1], dim=1)
    return emitted, evidence.law.probability(rows, emitted)


def visible(draft: Draft, pending: int, start: int | Tensor, longest: int) -> Tensor:
    """Who may look at whom: the committed prefix, earlier pending tokens, ancestors, oneself.

    Args:
        draft: The drafted nodes.
        pending: Committed tokens run again in front of them.
        start: First slot written, one number or ``(batch,)``.
        longest: Width of the view.

    Returns:
        ``(batch or 1, 1, pending + nodes, longest)`` bool.
    """
    among = draft.tree.ancestors
    if draft.tree.is_chain:
        among = among[:1]
    if pending > 1:
        size, lead = pending + draft.nodes, pending - 1
        full = torch.ones(among.shape[0], size, size, dtype=torch.bool, device=among.device).tril()
        full[:, lead:, lead:] = among
        among = full
    if isinstance(start, int):
        prefix = among.new_ones(among.shape[0], among.shape[1], start)
        return torch.cat([prefix, among], dim=2).unsqueeze(1)
    size = among.shape[1]
    offset = torch.arange(longest, device=among.device) - start.unsqueeze(1)
    index = offset.clamp(0, size - 1).unsqueeze(1).expand(-1, size, -1)
    inside = among.expand(start.shape[0], -1, -1).gather(2, index) & (offset < size).unsqueeze(1)
    return (inside | (offset < 0).unsqueeze(1)).unsqueeze(1)
