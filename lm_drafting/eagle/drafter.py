"""EAGLE-1 chains and EAGLE-2 dynamic trees, drafted from the target's own hidden states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm_drafting.doubt import all_in_doubt, until_doubt
from lm_drafting.eagle.head import EagleHead, Rotary
from lm_drafting.eagle.notes import Notes
from lm_drafting.eagle.slots import Slots, barred, causal
from lm_drafting.eagle.tree import grow
from lm_drafting.targets import FeatureTarget
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.state import State
from mmspec.trees import cut


@dataclass(frozen=True)
class _Front:
    """Where a draft starts: behind the pairs of the committed prefix.

    Attributes:
        base: Most real pairs of any row; scratch slots start here in every row.
        real: ``(batch,)`` real pairs of every row; None where all rows have ``base``.
        slots: The cache.
    """

    base: int
    real: Tensor | None
    slots: Slots


@dataclass
class _Memory:
    """What is known of the running request.

    Attributes:
        notes: All real pairs.
        slots: Keys and values of those that were run.
        done: How many that are in every row.
        cached: The same numbers on the device.
    """

    notes: Notes
    slots: Slots
    done: list[int]
    cached: Tensor


class EagleDrafter:
    """Drafts with one small layer that reads the target's hidden states.

    ``observe`` only notes the pairs of a round. ``draft`` first runs all new pairs in one pass
    (rounds without drafting make it longer, never wrong); its last output gives the first level. A
    plan of length ``L`` therefore costs ``L`` passes of one layer. Only pairs with hidden states of
    the target stay in the cache; what the drafter predicted itself lives in scratch slots.

    The proposal is deterministic, so it is exact at every temperature.

    Args:
        head: The trained network.
        target: Lends embedding table and output head.
        temperature: Divides the drafter's logits: above 1 spreads a tree over more branches.

    Raises:
        ValueError: The head was made for another hidden size or vocabulary.
    """

    name = "eagle"
    needs_features = True

    def __init__(self, head: EagleHead, target: FeatureTarget, temperature: float = 1.0) -> None:
        config = head.config
        ours = (config.hidden_size, config.vocab_size)
        theirs = (target.decoder.hidden_size, target.decoder.vocab_size)
        if ours != theirs:
            raise ValueError(
                f"the EAGLE head was trained for hidden size {ours[0]} and vocabulary {ours[1]}, "
                f"the target has {theirs[0]} and {theirs[1]}; use the drafter made for this target"
            )
        self.head = head.eval()
        self._target = target
        self._temperature = temperature
        self._rotary = Rotary(config.head_dim, config.rope_theta)
        self.reset()

    def reset(self) -> None:
        """Forget the request."""
        self._memory: _Memory | None = None

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Note the pairs of the round; the first round brings the prompt's along."""
        if self._memory is None:
            config = self.head.config
            shape = (state.batch, config.num_key_value_heads, config.head_dim)
            self._memory = _Memory(
                notes=Notes(state, self._target),
                slots=Slots(shape, self.head.o_proj.weight),
                done=[0] * state.batch,
                cached=torch.zeros_like(state.lengths),
            )
        self._memory.notes.append(state, draft, evidence, verdict, commit)

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """A chain for plans of width 1 or without room for branches, else a dynamic tree.

        A plan's ``stop_below`` applies to chains; a tree's budget already goes where the drafter is
        confident.
        """
        front, hidden = self._catch_up(state, scratch=plan.length * plan.width)
        if plan.width == 1 or plan.budget == plan.length:
            return self._chain(front, hidden, plan)
        return self._tree(front, hidden, plan)

    def _catch_up(self, state: State, scratch: int) -> tuple[_Front, Tensor]:
        """Run all pairs that are not cached yet, in one pass.

        Returns:
            The front, and ``(batch, 1, hidden)`` the output after the last pair of every row.
        """
        memory = self._memory
        if memory is None:
            raise ValueError("draft was called before the prefill was observed")
        pairs, slots, cached = memory.notes.pairs, memory.slots, memory.cached
        slots.reserve(state.tokens.shape[1] + scratch)
        real = [length - 1 for length in state.host_lengths]
        base, done = max(real), memory.done
        ragged = len(set(real)) > 1
        if len(set(done)) == 1:
            first, count = done[0], base - done[0]
            x = pairs[:, first:base]
            rope = self._rotary.between(first, base, x)
            mask = causal(first, count, base, x) if first and count > 1 else None
            out = self.head(x, rope, slots.attend(first, base, mask, is_causal=first == 0))
        else:
            ragged = True
            count = max(now - then for now, then in zip(real, done, strict=True))
            places = cached.unsqueeze(1) + torch.arange(count, device=pairs.device)
            x = take_rows(pairs, places.clamp(max=pairs.shape[1] - 1))
            rope = self._rotary.at(places, pairs.shape[1], x)
            out = self.head(x, rope, slots.attend(cached, base, causal(cached, count, base, x)))
        last = out[:, -1:]
        if ragged:
            last = take_rows(out, (state.lengths - 2 - cached).clamp(min=0).unsqueeze(1))
        memory.done, memory.cached = real, state.lengths - 1
        return _Front(base, state.lengths - 1 if len(set(real)) > 1 else None, slots), last

    def _chain(self, front: _Front, hidden: Tensor, plan: Plan) -> Draft:
        """The most likely token after each step."""
        units, rows, mask = [], [], self._prefix(front, 1, plan.length)
        for step in range(plan.length):
            logits = self._logits(hidden)  # (batch, 1, vocab)
            best, unit = logits.max(-1)
            units.append(unit)
            rows.append(best - logits.logsumexp(-1))
            if step + 1 == plan.length or all_in_doubt(rows[-1].exp(), plan):
                break
            view = front.base + step + 1
            seen = None if mask is None else mask[..., :view]
            hidden = self._extend(front, step, unit, hidden, front.base + step, seen)
        chance = torch.cat(rows, 1).exp()
        return Draft.chain(
            torch.cat(units, 1),
            source=self.name,
            valid=until_doubt(chance, plan),
            confidence=chance,
            healthy=chance.isfinite().all(1),
        )

    def _tree(self, front: _Front, hidden: Tensor, plan: Plan) -> Draft:
        """The best ``plan.nodes`` nodes of a dynamic tree."""
        width = min(plan.width, self.head.config.vocab_size)
        prefix = self._prefix(front, width, 0)
        if prefix is None:
            prefix = hidden.new_zeros(1, 1, width, front.base)
        reach = prefix.expand(hidden.shape[0], -1, -1, -1)
        itself = causal(0, width, width, hidden)
        itself = itself + itself.mT  # 0 on the diagonal: a node sees itself, not its peers
        itself = itself.expand(hidden.shape[0], -1, -1, -1)

        def expand(
            step: int, units: Tensor, parents: Tensor, came: Tensor
        ) -> tuple[Tensor, Tensor]:
            nonlocal reach
            seen = take_rows(reach.squeeze(1), came).unsqueeze(1) if step else reach
            reach = torch.cat([seen, itself], -1)
            start = front.base + step * width
            after = self._extend(front, step, units, parents, start, reach)
            return self._logits(after).log_softmax(-1), after

        first = self._logits(hidden).log_softmax(-1).squeeze(1)
        pool, logs = grow(first, hidden, plan.length, width, expand)
        keep, tree = cut(pool, plan.nodes)
        return Draft(
            units=pool.units.gather(1, keep),
            tree=tree,
            source=self.name,
            confidence=logs.gather(1, keep).exp(),
            healthy=pool.scores.isfinite().all(1),
        )

    def _extend(
        self,
        front: _Front,
        step: int,
        units: Tensor,
        hidden: Tensor,
        start: int,
        mask: Tensor | None,
    ) -> Tensor:
        """One pass over drafted nodes of one depth, into scratch slots from ``start`` on.

        All nodes of a depth share one position, right behind the real pairs of their row.
        """
        pairs = torch.cat([self._target.embed(units), hidden], -1)
        if front.real is None:
            rope = self._rotary.between(front.base + step, front.base + step + 1, pairs)
        else:
            positions = front.real.unsqueeze(1) + step
            rope = self._rotary.at(positions, front.base + step + 1, pairs)
        attend = front.slots.attend(start, start + units.shape[1], mask)
        return self.head(pairs, rope, attend)

    def _prefix(self, front: _Front, nodes: int, scratch: int) -> Tensor | None:
        """Mask ``(batch, 1, nodes, base + scratch)`` hiding slots between a row's end and base."""
        if front.real is None:
            return None
        slots = torch.arange(front.base + scratch, device=front.real.device)
        seen = (slots < front.real.unsqueeze(1)) | (slots >= front.base)
        return (
            barred(seen, self.head.o_proj.weight)
            .view(-1, 1, 1, len(slots))
            .expand(-1, -1, nodes, -1)
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self._target.head(hidden).float()
        return logits if self._temperature == 1 else logits / self._temperature
