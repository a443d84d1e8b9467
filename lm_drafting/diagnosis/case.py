"""A drafter with everything it reads, so that one ingredient can be exchanged at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lm_drafting.features.network import DraftNetwork, Rope
from lm_drafting.features.rotary import Rotary
from lm_drafting.targets import CaptioningTarget
from lm_drafting.training.batch import Batch


@dataclass(frozen=True)
class Case:
    """What a measurement runs. Changes return another case and leave this one as it is.

    Attributes:
        target: Lends embedding table and output head.
        network: The drafter's network, in evaluation mode and float32.
        rotary: Its position tables.
        batch: Texts of the target; ``features`` are the hidden states that the network reads.
        layers: Inputs ``(batch, length, hidden)`` of the target's layers, before any norm; the
            number of layers stands for what leaves the last one.
    """

    target: CaptioningTarget
    network: DraftNetwork
    rotary: Rotary
    batch: Batch
    layers: Mapping[int, Tensor]

    @property
    def top(self) -> int:
        """Number of the target's layers: the entry of ``layers`` right before the final norm."""
        return self.target.decoder.num_layers

    @property
    def shows_pictures(self) -> bool:
        """Whether any text has a picture."""
        return any(self.batch.runs)

    def reading(self, features: Sequence[Tensor]) -> Case:
        """With other hidden states, put side by side along the last axis."""
        return replace(self, batch=replace(self.batch, features=torch.cat(list(features), -1)))


def twin(network: DraftNetwork) -> DraftNetwork:
    """A network of the same tensors, in which parts may be exchanged but not written to."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


class ClosedUp(Rotary):
    """Positions without gaps: every row stands right behind the one before it."""

    def at(self, positions: Tensor, longest: int, like: Tensor) -> Rope:
        """Tables ``(n, head_dim)`` of slots; where rows say that they stand does not count."""
        return self.between(0, positions.shape[1], like)
