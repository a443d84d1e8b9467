"""Chains and static trees of image tokens from the target's hidden states."""

from __future__ import annotations

import torch
from torch import Tensor

from image_ar.discrete.eagle.memory import Memory
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.trees import Level, Shape, shape_of
from image_ar.discrete.targets import GuidedTarget
from mmspec.distributions import Categorical, Law, OneHot, draw_siblings
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.sampling import warp
from mmspec.state import State

STREAM = "image-eagle"


class ImageEagleDrafter:
    """EAGLE-1 on image tokens, with the target's guidance (LANTERN, Jang et al. 2025).

    With guidance two streams run side by side and their logits are joined before a token is drawn,
    as in the target. When sampling, tokens are drawn from the drafter's law after temperature,
    top-k and top-p, siblings without replacement, and the very laws are recorded, so exact
    rejection accepts ``sum min(p, q)``. For a greedy target the most likely tokens are taken.

    ``observe`` notes hidden states; ``draft`` first runs the rows of all new tokens in one pass.

    Args:
        network: The trained network.
        target: Lends embeddings, output head and guidance.
        tree: Name of the static tree for plans of a width above 1, see
            :data:`image_ar.discrete.eagle.trees.NAMED`.

    Raises:
        ValueError: The network was made for another width, vocabulary or grid.
    """

    name = "image-eagle"
    needs_features = True
    target_layers = None

    def __init__(
        self, network: ImageEagle, target: GuidedTarget, tree: str = "mc_sim_7b_63"
    ) -> None:
        made = network.config
        here = (target.hidden_size, target.vocab_size, target.grid.columns)
        if (made.hidden_size, made.vocab_size, made.grid) != here:
            raise ValueError(
                f"the drafter was made for width {made.hidden_size}, {made.vocab_size} codes and a "
                f"grid of {made.grid}; this target has {here[0]}, {here[1]} and {here[2]}: train "
                "one for it with `mmspec train image-eagle`"
            )
        shape_of(Plan(1, width=2), tree)
        self.network, self._target, self._tree = network.eval(), target, tree
        self.reset()

    def reset(self) -> None:
        """Forget the request."""
        self._memory: Memory | None = None
        self._lengths: Tensor | None = None

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Note the hidden states of a round."""
        if self._memory is None or self._lengths is None:
            self._memory = Memory(state, self.network, self._target)
        else:
            self._memory.observe(self._lengths, evidence, verdict)
        self._lengths = state.lengths

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """A chain for plans of width 1, else the named tree cut to the plan."""
        if self._memory is None:
            raise ValueError("draft was called before the prefill was observed")
        # Never cut at the end of the picture: a row's draws must not depend on the rows beside it.
        shape = shape_of(plan, self._tree)
        outputs, nodes = self._memory.catch_up(state), _Nodes(state.batch)
        for depth, level in enumerate(shape.levels, 1):
            self._grow(state, noise, nodes, outputs, depth, level)
            if depth < len(shape.levels):
                hidden = outputs[:, list(level.parents)]
                seen = shape.tree.ancestors[0, 1:, 1:].to(hidden.device)
                first = nodes.count - len(level.parents)
                among = seen[first : nodes.count, : nodes.count]
                new = nodes.units[-1]
                after = self._memory.extend(state, new, hidden, depth, first, among)
                outputs = torch.cat([outputs, after], 1)
        return nodes.draft(self.name, shape)

    def _grow(
        self, state: State, noise: Noise, nodes: _Nodes, outputs: Tensor, depth: int, level: Level
    ) -> None:
        """Draw the nodes of one depth."""
        sampling = state.sampler.sampling
        parents = sorted(set(level.parents))
        logits = self._logits(state, outputs[:, parents], depth)
        at = torch.tensor([parents.index(row) for row in level.parents], device=logits.device)
        rank = torch.tensor(level.ranks, device=logits.device)
        if sampling.greedy:
            best, units = logits.log_softmax(-1).topk(level.width, dim=-1)
            nodes.add(units[:, at, rank], best.exp()[:, at, rank], None)
            return
        q = warp(logits, sampling)
        numbers = noise.fresh(STREAM, len(parents) * level.width)
        units, laws, _ = draw_siblings(q, numbers.unflatten(1, (len(parents), level.width)))
        units, laws = units[:, at, rank], laws[:, at, rank]
        nodes.add(units, laws.gather(-1, units.unsqueeze(-1)).squeeze(-1), laws)

    def _logits(self, state: State, hidden: Tensor, depth: int) -> Tensor:
        """Guided logits ``(batch, n, vocab)`` after nodes of depth ``depth - 1``."""
        logits = self._target.head(hidden).float()
        if hidden.shape[0] == state.batch:
            return logits
        positions = (state.lengths + depth - 2).unsqueeze(1).expand(-1, hidden.shape[1])
        return self._target.guide(logits, positions, state)


class _Nodes:
    """The nodes drafted so far, in the order of the tree."""

    def __init__(self, batch: int) -> None:
        self.units: list[Tensor] = []
        self.count = 0
        self._batch = batch
        self._chances: list[Tensor] = []
        self._laws: list[Tensor] = []

    def add(self, units: Tensor, chance: Tensor, laws: Tensor | None) -> None:
        self.units.append(units)
        self._chances.append(chance)
        self.count += units.shape[1]
        if laws is not None:
            self._laws.append(laws)

    def draft(self, source: str, shape: Shape) -> Draft:
        chance = torch.cat(self._chances, 1)
        law: Law = Categorical(torch.cat(self._laws, 1)) if self._laws else OneHot()
        tree = shape.tree if self._batch == 1 else shape.tree.expand(self._batch)
        return Draft(
            units=torch.cat(self.units, 1),
            tree=tree,
            law=law,
            source=source,
            # A sibling with nothing left to draw has no law: it must not be judged.
            valid=chance > 0 if self._laws else None,
            confidence=chance,
            healthy=chance.isfinite().all(1),
        )
