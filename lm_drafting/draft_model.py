"""A smaller model drafts: a chain, or a tree whose siblings are drawn without replacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.branching import STREAM, Branching, draw_children, scores_of
from lm_drafting.doubt import all_in_doubt, until_doubt
from lm_drafting.targets import placeholder_ids
from mmspec.catalog import BuildContext
from mmspec.distributions import Categorical, Law, OneHot
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.state import State
from mmspec.token_target import Request, TokenTarget


@dataclass
class _Memory:
    """What a drafter's model knows of the running request.

    Attributes:
        own: The model's state, in its own positions.
        copied: Tokens of every row, counted in the target's, that the own state holds.
        cached: Of these, those whose keys and values are in the own cache.
        lengths: ``copied`` on the device.
    """

    own: State
    copied: list[int]
    cached: list[int]
    lengths: Tensor


class DraftModel:
    """Any model behind the target role as a drafter (Leviathan et al. 2023; Chen et al. 2023).

    The model has a state of its own, with its own lengths and positions, so a text-only drafter can
    serve a multimodal target: the placeholders of pictures are left out of its prompt. When the
    target is greedy the drafter proposes its most likely tokens; when it samples, the drafter draws
    from its own law after the same temperature, top-k and processors, and records that law, so
    rejection keeps the target's law exactly.

    A round's first pass runs the last two committed tokens: after a fully accepted draft the last
    drafted token is not in the drafter's cache, and two tokens cover that case for every row alike.

    Args:
        model: The drafter's model.
        target: The target it drafts for.
        omit: Tokens left out of the drafter's prompt. None leaves out the target's placeholders
            where the drafter has none of its own.
        vocab_size: Tokens that mean the same to both, for vocabularies padded to different sizes;
            the drafter proposes none beyond them.

    Raises:
        ValueError: The vocabularies differ.
    """

    name = "draft-model"

    def __init__(
        self,
        model: TokenTarget,
        target: TokenTarget,
        omit: Sequence[int] | None = None,
        vocab_size: int | None = None,
    ) -> None:
        ours, theirs = model.decoder.vocab_size, target.decoder.vocab_size
        if vocab_size is None and ours != theirs:
            raise ValueError(
                f"the drafter has {ours} tokens in its vocabulary and the target {theirs}; use a "
                "drafter of the target's family, or, if only the padding differs, pass "
                "vocab_size=<tokens that both tokenizers share>"
            )
        if vocab_size is not None and not 0 < vocab_size <= min(ours, theirs):
            raise ValueError(
                f"vocab_size is what both share: above 0 and at most {min(ours, theirs)}, "
                f"got {vocab_size}"
            )
        self._model, self._vocab = model, theirs
        self._common = vocab_size or theirs
        blind = not placeholder_ids(model)
        self._omit = tuple(placeholder_ids(target) if omit is None and blind else omit or ())
        self.reset()

    def reset(self) -> None:
        """Forget the request."""
        self._memory: _Memory | None = None

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Note how much of a chain stayed: that part is in the drafter's cache already."""
        if self._memory is None or draft.source != self.name or not draft.tree.is_chain:
            return
        kept = [min(count, draft.nodes - 1) for count in commit.accepted]
        cached = self._memory.cached
        self._memory.cached = [known + more for known, more in zip(cached, kept, strict=True)]

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """A chain for plans of width 1, else a tree."""
        own = self._follow(state)
        if plan.width > 1:
            return self._tree(own, plan, noise)
        return self._chain(own, plan, noise)

    def _chain(self, own: State, plan: Plan, noise: Noise) -> Draft:
        """One unit a pass, each appended to the drafter's own state."""
        nothing = Draft.empty(own.batch, own.tokens.device)
        greedy = own.sampler.sampling.greedy
        uniforms = None if greedy else noise.fresh(STREAM, plan.length)
        units, laws, chances = [], [], []
        for step in range(plan.length):
            law = self._common_law(self._model.score(own, nothing).law)
            unit = law.draw(None if uniforms is None else uniforms[:, step : step + 1])
            units.append(unit)
            laws.append(law)
            chances.append(law.probability(torch.zeros_like(unit), unit))
            if step + 1 == plan.length or all_in_doubt(chances[-1], plan):
                break
            own.tokens.scatter_(1, own.lengths.unsqueeze(1), unit)
            hosts = [length + 1 for length in own.host_lengths]
            self._model.rewind(own, own.lengths + 1, hosts, pending=1)
        chance = torch.cat(chances, 1)
        return Draft.chain(
            torch.cat(units, 1),
            _joined(laws),
            source=self.name,
            valid=until_doubt(chance, plan),
            confidence=chance,
            healthy=chance.isfinite().all(1),
        )

    def _tree(self, own: State, plan: Plan, noise: Noise) -> Draft:
        """Level by level; every pass runs the tree so far, which costs hardly more than one token.

        A plan's ``stop_below`` applies to chains only.
        """
        shape = Branching.fit(plan)
        draft = Draft.empty(own.batch, own.tokens.device)
        for level, width in enumerate(shape.widths):
            law = self._common_law(self._model.score(own, draft).law)
            draft = draw_children(draft, law, shape, level, width, noise)
        return replace(draft, source=self.name)

    def _follow(self, state: State) -> State:
        """Bring the own state to the committed prefix; what is not cached is pending."""
        if self._memory is None:
            self._memory = self._open(state)
        memory, own = self._memory, self._memory.own
        fresh = [n - then for n, then in zip(state.host_lengths, memory.copied, strict=True)]
        steps = torch.arange(max(fresh), device=state.tokens.device)
        places = (memory.lengths.unsqueeze(1) + steps).clamp(max=state.tokens.shape[1] - 1)
        shift = (own.prompt_lengths - state.prompt_lengths).unsqueeze(1)
        # A target may emit padding of a larger vocabulary, which the drafter's table does not hold.
        tokens = state.tokens.gather(1, places).clamp(max=self._model.decoder.vocab_size - 1)
        own.tokens.scatter_(1, places + shift, tokens)
        missing = [n - known for n, known in zip(state.host_lengths, memory.cached, strict=True)]
        active = [n for n, done in zip(missing, state.finished, strict=True) if not done]
        pending = max([2, *active])
        # A row that is complete may be shorter than the others' gap; what it drafts is not read.
        shifts = zip(own.prompt.lengths, state.prompt.lengths, strict=True)
        hosts = [
            max(n + ours - theirs, pending)
            for n, (ours, theirs) in zip(state.host_lengths, shifts, strict=True)
        ]
        lengths = (state.lengths + shift.squeeze(1)).clamp(min=pending)
        self._model.rewind(own, lengths, hosts, pending)
        known = list(state.host_lengths)
        self._memory = _Memory(own, copied=known, cached=known, lengths=state.lengths)
        return own

    def _open(self, state: State) -> _Memory:
        """Read the prompt, with as much room as the target has."""
        inputs = state.prompt.inputs
        known = self._model.decoder.vocab_size
        if self._omit or known < self._vocab:
            inputs = without_tokens(state, self._omit, known)
        room = state.tokens.shape[1] - min(state.prompt.lengths)
        # The target's own options: rejection accepts most when both laws are shaped alike.
        sampling = replace(state.sampler.sampling, max_new_tokens=room)
        own, _ = self._model.prefill(Request(inputs, sampling))
        lengths = list(state.prompt.lengths)
        return _Memory(own, copied=lengths, cached=lengths, lengths=state.prompt_lengths)

    def _common_law(self, law: Law) -> Law:
        """The law over tokens that both know, with one column for each of the target's."""
        if not isinstance(law, Categorical):
            scores = scores_of(law)[..., : self._common]
            return OneHot(scores.argmax(-1), scores)
        probs = law.probs
        if probs.shape[-1] > self._common:
            probs = probs[..., : self._common]
            probs = probs / probs.sum(-1, keepdim=True)
        if self._vocab > probs.shape[-1]:
            probs = F.pad(probs, (0, self._vocab - probs.shape[-1]))
        return Categorical(probs)


def without_tokens(state: State, omit: Sequence[int], vocab_size: int) -> dict[str, Tensor]:
    """The prompts as text alone: ``omit`` and unknown tokens left out, right-padded again.

    Raises:
        ValueError: Nothing is left of a row.
    """
    longest = max(state.prompt.lengths)
    tokens = state.tokens[:, :longest]
    keep = torch.arange(longest, device=tokens.device) < state.prompt_lengths.unsqueeze(1)
    keep = keep & (tokens < vocab_size)
    for token in omit:
        keep = keep & (tokens != token)
    count = keep.sum(1)
    if int(count.min()) == 0:
        raise ValueError("a prompt of pictures alone leaves a text-only drafter nothing to read")
    # A stable sort by "is left out" keeps the order of the rest.
    order = (~keep).to(torch.int8).sort(dim=1, stable=True).indices[:, : int(count.max())]
    mask = keep.gather(1, order)
    return {"input_ids": tokens.gather(1, order) * mask, "attention_mask": mask.long()}


def _joined(laws: Sequence[Law]) -> Law:
    """One law for all units of a chain; greedy units are verified as a deterministic draft."""
    rows = [law.probs for law in laws if isinstance(law, Categorical)]
    return Categorical(torch.cat(rows, 1)) if rows else OneHot()


def build(context: BuildContext) -> DraftModel:
    """The drafter of a context: a loaded target, or a folder or Hub id to load one from.

    Raises:
        ValueError: No drafter was given.
    """
    if context.drafter is None:
        raise ValueError(
            "method 'draft-model' needs a drafter: the folder or Hub id of a small model"
        )
    model = context.drafter
    if not isinstance(model, TokenTarget):
        if context.load_target is None:
            raise ValueError("a drafter given by name needs a way to load it; pass a loaded target")
        model = context.load_target(model)
    return DraftModel(model, context.target, **context.options)


def build_tree(context: BuildContext) -> DraftModel:
    """The same drafter: plans of width above 1 make it draft trees."""
    return build(context)
