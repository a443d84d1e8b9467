"""Chains and trees from the laws of several next tokens, known after one pass of the network."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from lm_drafting.doubt import all_in_doubt, until_doubt
from lm_drafting.features.drafter import NetworkDrafter
from lm_drafting.features.network import DraftNetwork
from lm_drafting.flash.trees import product_tree, static_tree
from lm_drafting.targets import FeatureTarget
from mmspec.messages import Draft, Plan
from mmspec.noise import Noise
from mmspec.state import State

TreeForm = Literal["product", "static"]


class ParallelDrafter(NetworkDrafter):
    """Drafts with a network that predicts ``k`` tokens in one pass (FLASH, arXiv 2505.12728).

    ``observe`` only notes the rows of a round. ``draft`` runs all new rows in one pass, and its
    last output holds the laws of the next ``k`` tokens: a plan of any length costs one pass, and
    lengths beyond ``k`` are cut to ``k``. The law at a depth is the same on every branch.

    The proposal is deterministic, so it is exact at every temperature.

    Args:
        network: The trained network; its ``steps`` is ``k``.
        target: Lends embedding table and output head.
        temperature: Divides the drafter's logits: above 1 spreads a tree over more branches.
        tree: "product" keeps the paths whose probabilities multiply to most, anew every round;
            "static" takes the official tree of 25 nodes.

    Attributes:
        name: The network's kind.
        target_layers: Layers of the target the network reads; None for the last hidden state.

    Raises:
        ValueError: The network was made for another hidden size or vocabulary, or there is no such
            form of tree.
    """

    def __init__(
        self,
        network: DraftNetwork,
        target: FeatureTarget,
        temperature: float = 1.0,
        tree: TreeForm = "product",
    ) -> None:
        super().__init__(network, target, temperature)
        if tree not in get_args(TreeForm):
            raise ValueError(f"unknown tree '{tree}': choose from {', '.join(get_args(TreeForm))}")
        self._form = tree

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """A chain for plans of width 1 or without room for branches, else a tree.

        A plan's ``stop_below`` applies to chains; a tree's budget already goes where the drafter is
        confident.
        """
        _, hidden = self._remembered().catch_up(state, scratch=0)
        laws = self._laws(hidden, min(plan.length, plan.nodes))
        if plan.width == 1 or plan.budget == plan.length:
            return self._chain(laws, plan)
        return self._tree(laws, plan)

    def _laws(self, hidden: Tensor, depth: int) -> Tensor:
        """Log laws ``(batch, depth, draft vocabulary)`` of an output ``(batch, 1, k * hidden)``."""
        heads = hidden.squeeze(1).unflatten(-1, (self.network.steps, -1))[:, :depth]
        logits = self.network.logits(heads, self._target).float()
        return (logits / self._temperature).log_softmax(-1)

    def _chain(self, laws: Tensor, plan: Plan) -> Draft:
        """The most likely token at each depth."""
        logs, units = laws.max(-1)
        chance, depth = logs.exp(), logs.shape[1]
        doubtful = (n for n in range(1, depth) if all_in_doubt(chance[:, n - 1], plan))
        length = next(doubtful, depth)
        return Draft.chain(
            self.network.to_target(units[:, :length]),
            source=self.name,
            valid=until_doubt(chance[:, :length], plan),
            confidence=chance[:, :length],
            healthy=logs.isfinite().all(1),
        )

    def _tree(self, laws: Tensor, plan: Plan) -> Draft:
        """A tree over the ranks of each depth, then the tokens that hold them."""
        batch, depth, vocab = laws.shape
        width = min(plan.width, vocab)
        nodes = plan.budget or depth * width
        logs, units = laws.topk(width, dim=-1)  # (batch, depth, width)
        if self._form == "static":
            ranks, tree = static_tree(depth, width, nodes, laws.device)
            tree = tree if batch == 1 else tree.expand(batch)
        else:
            ranks, tree = product_tree(logs, nodes)
        places = (tree.depths[:, 1:] - 1) * width + ranks  # (batch, nodes)
        return Draft(
            units=self.network.to_target(units.flatten(1).gather(1, places)),
            tree=tree,
            source=self.name,
            confidence=logs.flatten(1).gather(1, places).exp(),
            healthy=logs.isfinite().flatten(1).all(1),
        )
