"""Chains and dynamic trees (EAGLE-1 and -2), drafted from the target's own hidden states."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_drafting.doubt import all_in_doubt, until_doubt
from lm_drafting.features.growth import grow
from lm_drafting.features.memory import Front, Memory
from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.features.slots import causal
from lm_drafting.targets import FeatureTarget
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.state import State
from mmspec.trees import cut


class NetworkDrafter:
    """What every drafter around a :class:`DraftNetwork` is and remembers.

    ``observe`` only notes the rows of a round; ``draft`` runs all new rows in one pass first.

    Args:
        network: The trained network.
        target: Lends embedding table and output head.
        temperature: Divides the drafter's logits: above 1 spreads a tree over more branches.

    Attributes:
        name: The network's kind.
        target_layers: Layers of the target the network reads; None for the last hidden state.

    Raises:
        ValueError: The network was made for another hidden size or vocabulary.
    """

    needs_features = True

    def __init__(
        self, network: DraftNetwork, target: FeatureTarget, temperature: float = 1.0
    ) -> None:
        check_fit(network, target)
        self.name = network.kind
        self.network = network.eval()
        self.target_layers = network.target_layers
        self._target = target
        self._temperature = temperature
        self._rotary = Rotary(network.cache_shape[1], network.config.rope_theta)
        self.reset()

    def reset(self) -> None:
        """Forget the request."""
        self._memory: Memory | None = None

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values the running request takes."""
        return 0 if self._memory is None else self._memory.used_bytes

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Note the rows of the round; the first round brings the prompt's along."""
        if self._memory is None:
            self._memory = Memory(state, self.network, self._target, self._rotary)
        self._memory.observe(state, draft, evidence, verdict, commit)

    def _remembered(self) -> Memory:
        if self._memory is None:
            raise ValueError("draft was called before the prefill was observed")
        return self._memory


class FeatureDrafter(NetworkDrafter):
    """Drafts with one small network that reads the target's hidden states.

    ``observe`` only notes the rows of a round. ``draft`` first runs all new rows in one pass
    (rounds without drafting make it longer, never wrong); its last output gives the first level. A
    plan of length ``L`` therefore costs ``L`` passes of one layer.

    The proposal is deterministic, so it is exact at every temperature.

    Args:
        network: The trained network.
        target: Lends embedding table and output head.
        temperature: Divides the drafter's logits: above 1 spreads a tree over more branches.

    Attributes:
        name: The network's kind.
        target_layers: Layers of the target the network reads; None for the last hidden state.

    Raises:
        ValueError: The network was made for another hidden size or vocabulary.
    """

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """A chain for plans of width 1 or without room for branches, else a dynamic tree.

        A plan's ``stop_below`` applies to chains; a tree's budget already goes where the drafter is
        confident.
        """
        memory = self._remembered()
        front, hidden = memory.catch_up(state, scratch=plan.length * plan.width)
        if plan.width == 1 or plan.budget == plan.length:
            return self._chain(memory, front, hidden, plan)
        return self._tree(memory, front, hidden, plan)

    def _chain(self, memory: Memory, front: Front, hidden: Tensor, plan: Plan) -> Draft:
        """The most likely token after each step."""
        units, rows, mask = [], [], memory.prefix(front, 1, plan.length)
        for step in range(plan.length):
            logits = self._logits(hidden)  # (batch, 1, draft vocabulary)
            best, unit = logits.max(-1)
            units.append(self.network.to_target(unit))
            rows.append(best - logits.logsumexp(-1))
            if step + 1 == plan.length or all_in_doubt(rows[-1].exp(), plan):
                break
            view = front.base + step + 1
            seen = None if mask is None else mask[..., :view]
            hidden = memory.extend(front, step, units[-1], hidden, front.base + step, seen)
        chance = torch.cat(rows, 1).exp()
        return Draft.chain(
            torch.cat(units, 1),
            source=self.name,
            valid=until_doubt(chance, plan),
            confidence=chance,
            healthy=chance.isfinite().all(1),
        )

    def _tree(self, memory: Memory, front: Front, hidden: Tensor, plan: Plan) -> Draft:
        """The best ``plan.nodes`` nodes of a dynamic tree."""
        first = self._logits(hidden).log_softmax(-1).squeeze(1)
        width = min(plan.width, first.shape[-1])
        prefix = memory.prefix(front, width, 0)
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
            after = memory.extend(front, step, units, parents, start, reach)
            return self._logits(after).log_softmax(-1), after

        pool, logs = grow(first, hidden, plan.length, width, expand, self.network.to_target)
        keep, tree = cut(pool, plan.nodes)
        return Draft(
            units=pool.units.gather(1, keep),
            tree=tree,
            source=self.name,
            confidence=logs.gather(1, keep).exp(),
            healthy=pool.scores.isfinite().all(1),
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.network.logits(hidden, self._target).float()
        return logits if self._temperature == 1 else logits / self._temperature


def check_fit(network: DraftNetwork, target: FeatureTarget) -> None:
    """Refuse a network that cannot draft for a target.

    Raises:
        ValueError: It was made for another hidden size or vocabulary.
    """
    ours = (network.config.hidden_size, network.config.vocab_size)
    theirs = (target.decoder.hidden_size, target.decoder.vocab_size)
    if ours != theirs:
        raise ValueError(
            f"the {network.kind} drafter was trained for hidden size {ours[0]} and vocabulary "
            f"{ours[1]}, the target has {theirs[0]} and {theirs[1]}; use the drafter made for this "
            "target"
        )
