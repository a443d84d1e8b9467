"""What flows through the loop: plan, draft, evidence, verdict and commit.

Every message is batched. A *unit* is whatever one method proposes at a time: a text token, an image
token, a latent vector, a video block. Units of one draft form a tree (a chain is a tree with one
branch); node ``0`` of :class:`Evidence` is the *root*, the last unit already committed.

Notation used everywhere: ``p`` is the target's law, ``q`` the law a drafted unit was drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmspec.distributions import Law, OneHot
from mmspec.trees import Tree

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Plan:
    """How far a drafter may go this round; decided by a pacer before anything is drafted.

    Attributes:
        length: Draft steps, the depth of the tree; 0 means "do not speculate this round".
        width: Children considered at a node (1 gives a chain).
        budget: Most nodes that are submitted to the target, the root not counted.
        stop_below: Stop drafting after a unit whose draft probability is below this; the unit
            itself is kept, which keeps sampling unbiased. ``None`` never stops early.
        slack: Share of its relaxation that a relaxed rule may use this round: 0 makes it exact, 1
            lets it do what its options say. Exact rules do not look at it.
    """

    length: int
    width: int = 1
    budget: int = 0
    stop_below: float | None = None
    slack: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.slack <= 1:
            raise ValueError(f"slack must be between 0 (exact) and 1, got {self.slack}")
        if self.length < 0 or self.width < 1 or self.budget < 0:
            raise ValueError(
                f"a plan needs length >= 0, width >= 1 and budget >= 0, got {self}; "
                "use length=0 to decode plainly"
            )

    @property
    def nodes(self) -> int:
        """Most nodes this plan can submit."""
        return self.budget or self.length * self.width


@dataclass(frozen=True)
class Features:
    """Which hidden states of the target a drafter reads.

    Attributes:
        layers: Decoder layers whose inputs, before any norm, are put side by side; ascending. The
            number of layers stands for what leaves the last one. None asks for the last hidden
            states after the final norm.
    """

    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        layers = self.layers
        if layers is not None and (not layers or list(layers) != sorted(set(layers))):
            raise ValueError(
                f"layers must be ascending and differ, got {layers}; sort them, or give None for "
                "the last hidden states after the final norm"
            )

    def check(self, num_layers: int) -> None:
        """Refuse layers that a decoder of ``num_layers`` does not have.

        Raises:
            ValueError: The first of them, and the valid range.
        """
        for layer in self.layers or ():
            if not 0 <= layer <= num_layers:
                raise ValueError(
                    f"features of layer {layer} are asked for; the target has {num_layers} layers, "
                    f"give 0 to {num_layers} ({num_layers} is what leaves the last layer)"
                )


@dataclass(frozen=True)
class Draft:
    """Proposed units and where they come from.

    Attributes:
        units: Proposed units, ``(batch, nodes, ...)``; parents stand before their children and
            siblings in the order in which they were drawn.
        tree: Topology of the nodes.
        law: What each unit was drawn from. :class:`~mmspec.distributions.OneHot` for any
            deterministic proposal (always exact), :class:`~mmspec.distributions.Categorical` with
            one row a node when the unit really was drawn from it, earlier siblings removed.
        source: Name of the drafter, for the trace.
        valid: ``(batch, nodes)`` bool, False for padding in a ragged batch; None means all valid.
        confidence: ``(batch, nodes)`` the drafter's probability of each unit given its parent, for
            pacing and the trace; None when the drafter has none.
        healthy: ``(batch,)`` bool, False where the drafter produced non-finite numbers; read at the
            round's one host synchronisation.
        slack: The plan's; the loop hands it on to the rule.
    """

    units: Tensor
    tree: Tree
    law: Law = field(default_factory=OneHot)
    source: str = "draft"
    valid: Tensor | None = None
    confidence: Tensor | None = None
    healthy: Tensor | None = None
    slack: float = 1.0

    @property
    def batch(self) -> int:
        """Rows in the batch."""
        return self.units.shape[0]

    @property
    def nodes(self) -> int:
        """Nodes a row, padding included."""
        return self.units.shape[1]

    @classmethod
    def empty(cls, batch: int, device: torch.device | str = "cpu") -> Draft:
        """A draft that proposes nothing: the plain loop is the same loop with this draft."""
        units = torch.empty(batch, 0, dtype=torch.long, device=device)
        return cls(units=units, tree=Tree.chain(batch, 0, device), source="none")

    @classmethod
    def chain(cls, units: Tensor, law: Law | None = None, **rest: Any) -> Draft:
        """A draft of one branch from ``units`` of shape ``(batch, length, ...)``."""
        tree = Tree.chain(units.shape[0], units.shape[1], units.device)
        return cls(units=units, tree=tree, law=law or OneHot(), **rest)


@dataclass(frozen=True)
class Evidence:
    """What the target says after the root and after every drafted node.

    Attributes:
        law: Law of the unit that follows each node, ``nodes + 1`` rows, after all processors.
        positions: ``(batch, nodes + 1)`` index, in the row's output, of the unit that follows each
            node. Rules use it to draw the same number for the same position in every method.
        hidden: ``(batch, nodes + 1, width)`` hidden states of the root and every node, kept when a
            drafter asked for them; :class:`Features` says which, one hidden size wide for each.
        score: ``(batch, nodes)`` reward of each unit for rules that judge by score.
    """

    law: Law
    positions: Tensor
    hidden: Tensor | None = None
    score: Tensor | None = None


@dataclass(frozen=True)
class Regeneration:
    """Units of a chain that the target draws anew in their places, and in what order.

    The verdict accepts the whole chain: what is drawn anew is no longer the drafter's, and what
    stands behind it stays.

    Attributes:
        waves: ``(batch, nodes + 1)`` number of the wave that draws each unit, from 0; -1 keeps it.
            The last column is the target's own unit. Units of one wave are drawn together, each
            given everything that stands before it when the wave begins; wave 0 needs no pass.
        uniforms: ``(batch, nodes + 1)`` a number in ``[0, 1)`` for each draw.
    """

    waves: Tensor
    uniforms: Tensor


@dataclass(frozen=True)
class Verdict:
    """What stays, and what the rule hands back to the target.

    Attributes:
        path: ``(batch, depth)`` draft node indices along the accepted path, -1 beyond it.
        accepted: ``(batch,)`` length of that path.
        own: ``(batch, ...)`` the unit the target adds after the path: a correction where a drafted
            child was refused, the bonus where the path ended at a leaf. None where it adds none, or
            where ``again`` says how it makes it.
        corrected: ``(batch,)`` bool, True where the target's unit replaces a refused one.
        again: What the target must make again itself, in terms that it shares with the rule:
            :class:`Regeneration` for tokens, a denoising chain to finish, a block to roll out. None
            when refusal truncates a suffix and the rule knows the correction.
        bias: ``(batch, depth)`` one-step bias TV(out, p) of every position a relaxed rule judged,
            zeros where it judged none; None for exact rules.
        score: ``(batch, nodes)`` the number each drafted unit was judged by, where a rule has one:
            a log ratio of densities, a distance, a reward. Not finite where it could not be judged.
    """

    path: Tensor
    accepted: Tensor
    own: Tensor | None
    corrected: Tensor
    again: Any = None
    bias: Tensor | None = None
    score: Tensor | None = None


@dataclass(frozen=True)
class Commit:
    """What one round added, on the host: the round's only synchronisation has happened.

    Attributes:
        units: Per row the units emitted this round, stop unit included, nothing beyond it: token
            ids, tuples of numbers where units are vectors, or records of video blocks.
        accepted: Per row how many of them were drafted, those that were then drawn anew among them.
        corrected: Per row whether the last emitted unit replaced a refused one.
        probability: Per row the target's probability of each emitted unit; None where units have
            none.
        drafted: Per row how many nodes were submitted to the target.
        depth: Longest branch of the draft.
        forced: Per row the places of this round, from 0 to ``depth``, where the request forces the
            unit: no drafter's merit, no refusal possible. Empty if it forces none.
        regenerated: Per row the places, among its units, of those that the target drew anew.
        passes: Further passes of the target that this took.
        forwards: Forwards of the target's network in the whole round, where a unit is not made in
            one: a video block takes several, a kept one none. None means one, and ``passes``.
        bias: Per row the sum, over the units emitted, of what :class:`Verdict` says of their bias.
        finished: Per row whether it is complete after this round.
        active: Per row whether it was still running when the round began.
        places: Per row where in the output each unit belongs, for targets that do not write in
            order; empty where units follow one another.
        scores: Per row the numbers that its drafted units were judged by, up to the first refused
            one; empty where the rule has none.
        made: Per row what the round made beside its units, for whoever streams: the latents and
            pictures of a video block. Empty for others; traces do not keep it.
        draft_healthy: False where the drafter produced non-finite numbers in some row.
    """

    units: Sequence[list[Any]]
    accepted: Sequence[int]
    corrected: Sequence[bool]
    probability: Sequence[list[float]] | Sequence[list[None]]
    drafted: Sequence[int]
    depth: int
    finished: Sequence[bool]
    active: Sequence[bool]
    draft_healthy: bool = True
    bias: Sequence[float] = ()
    regenerated: Sequence[list[int]] = ()
    forced: Sequence[list[int]] = ()
    passes: int = 0
    forwards: int | None = None
    places: Sequence[list[int]] = ()
    scores: Sequence[list[float]] = ()
    made: Sequence[Any] = ()

    @property
    def emitted(self) -> int:
        """Units this round added over all rows."""
        return sum(len(row) for row in self.units)
