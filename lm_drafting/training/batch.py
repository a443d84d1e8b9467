"""A batch of the target's texts, and the lesson a network makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm_drafting.features.layout import Texts, arrange
from lm_drafting.features.network import DraftNetwork
from lm_drafting.vision.runs import Run
from mmspec.distributions import take_rows


@dataclass(frozen=True)
class Batch:
    """Teacher-forced texts of the target, right-padded.

    Attributes:
        ids: ``(batch, length)`` prompt and answer.
        hidden: ``(batch, length, hidden)`` last hidden states of the target, after its final norm.
        features: ``(batch, length, features)`` what the drafter reads; often ``hidden`` itself.
        embeds: ``(batch, length, hidden)`` input embeddings of its decoder.
        starts: Index of each first answer token, on the host.
        lengths: Prompt and answer together, on the host.
        runs: Visual runs of every row; they lie in the prompts.
        noise: Added to the features the drafter reads, never to what it must predict.
    """

    ids: Tensor
    hidden: Tensor
    features: Tensor
    embeds: Tensor
    starts: list[int]
    lengths: list[int]
    runs: list[list[Run]]
    noise: Tensor | None = None


@dataclass(frozen=True)
class Lesson:
    """A batch in a drafter's own slots, where pictures may take less room than in the target's.

    Slot ``s`` of an answer holds the pair (embedding of token ``j + 1``, hidden state of position
    ``j``) with ``j = s + removed``. Slots of the prompt are read and never supervised.

    Attributes:
        rows: ``(batch, n, row)`` what the network reads, with gradient.
        positions: ``(batch, n)``; None where slot and position are the same everywhere.
        embeds: ``(batch, n, hidden)`` embedding of token ``j + 1``.
        wanted: ``(batch, n, hidden)`` the target's hidden state of position ``j + 1``.
        text: ``(batch, n)`` token ``j + 2``.
        summary: ``(batch, hidden)`` vector of the last picture; None without one.
        starts: ``(batch,)`` slot whose pair carries the first answer token, plus one.
        lengths: ``(batch,)`` slots a text would have with one more pair.
        first: Smallest of ``starts``, on the host.
        longest: One more than the largest position.
        cost: Mean share of visual tokens kept, with gradient; None where nothing was chosen.
    """

    rows: Tensor
    positions: Tensor | None
    embeds: Tensor
    wanted: Tensor
    text: Tensor
    summary: Tensor | None
    starts: Tensor
    lengths: Tensor
    first: int
    longest: int
    cost: Tensor | None

    def supervised(self, depth: int) -> Tensor:
        """``(batch, n)`` slots whose prediction counts after ``depth`` own predictions.

        While decoding, the last pair with a real hidden state is never before ``starts - 1``, and
        nothing follows the last token.
        """
        slots = torch.arange(self.rows.shape[1], device=self.rows.device)
        begun = slots >= (self.starts - 1 + depth).unsqueeze(1)
        return begun & (slots <= (self.lengths - 3).unsqueeze(1))


def lesson(network: DraftNetwork, batch: Batch) -> Lesson:
    """Lay a batch out as the network would read it while decoding.

    Raises:
        ValueError: The network's compressor refuses a picture.
    """
    features = batch.features if batch.noise is None else batch.features + batch.noise
    layout = arrange(
        network,
        Texts(batch.ids, batch.embeds, features, batch.lengths, batch.starts, batch.runs),
    )
    device, count = batch.ids.device, layout.rows.shape[1]
    removed = torch.tensor(layout.removed, device=device)
    pairs = torch.arange(count, device=device) + removed.unsqueeze(1)
    pairs = pairs.clamp(max=batch.ids.shape[1] - 2)
    following = (pairs + 2).clamp(max=batch.ids.shape[1] - 1)
    starts = torch.tensor(batch.starts, device=device) - removed
    return Lesson(
        rows=layout.rows,
        positions=layout.positions,
        embeds=take_rows(batch.embeds, pairs + 1),
        wanted=take_rows(batch.hidden, pairs + 1),
        text=batch.ids.gather(1, following),
        summary=layout.summary,
        starts=starts,
        lengths=torch.tensor(batch.lengths, device=device) - removed,
        first=min(s - gone for s, gone in zip(batch.starts, layout.removed, strict=True)),
        longest=max(batch.lengths),
        cost=layout.cost,
    )
