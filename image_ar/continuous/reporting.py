"""What a round over latent vectors wrote, brought to the host."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from image_ar.continuous.decoding import LatentState
from mmspec.messages import Commit, Draft, Verdict


@dataclass(frozen=True)
class Written:
    """What a round adds, before pictures end it.

    Attributes:
        units: ``(batch, n, group, width)`` steps along the path, then the target's own.
        steps: ``(batch,)`` how many of them count.
        replaced: ``(batch, n, group)`` bool, vectors that replaced drafted ones in their places.
    """

    units: Tensor
    steps: Tensor
    replaced: Tensor | None = None


def report(
    state: LatentState,
    draft: Draft,
    verdict: Verdict,
    written: Written,
    places: Tensor,
    ahead: Tensor,
) -> Commit:
    """Make the round's one transfer and settle which pictures are complete.

    Mutates the state: host lengths and finished flags.

    Args:
        state: With the lengths that hold after the round.
        draft: What was proposed.
        verdict: What the rule said.
        written: What the round adds.
        places: ``(batch, n, group)`` where each vector went, -1 for those not written.
        ahead: The same before pictures ended it.

    Raises:
        FloatingPointError: A vector that was written is not finite.
    """
    kept, nodes = places >= 0, draft.nodes
    steps = torch.arange(places.shape[1], device=places.device).view(1, -1, 1)
    along = steps < verdict.accepted.view(-1, 1, 1)
    yes = torch.ones_like(verdict.accepted)
    columns = [
        state.lengths,
        verdict.accepted,
        (kept & along).sum((1, 2)),
        verdict.corrected,
        yes if draft.healthy is None else draft.healthy,
        (ahead[:, :nodes] >= 0).sum((1, 2)),
        (ahead[:, :nodes] >= 0).any(-1).sum(1),
    ]
    head = torch.stack([column.double() for column in columns], 1)
    scores = verdict.score if verdict.score is not None else head[:, :0]
    anew = torch.zeros_like(places) if written.replaced is None else written.replaced
    tail = (places, anew, written.units)
    rows = [scores.double(), *(part.flatten(1).double() for part in tail)]
    packed = torch.cat([head, *rows], 1).tolist()
    active = [not finished for finished in state.finished]
    state.host_lengths = [int(row[0]) for row in packed]
    state.finished = [length >= state.steps for length in state.host_lengths]
    width, first = len(columns), len(columns) + scores.shape[1]
    cells = places[0].numel()
    wrote = [_vectors(row[first:], cells) for row in packed]
    # Drafts behind a picture's end were not judged.
    judged = [
        min(int(row[1]) + 1, int(row[6])) * on if scores.shape[1] else 0
        for row, on in zip(packed, active, strict=True)
    ]
    return Commit(
        units=[[vector for _, vector, _ in row] for row in wrote],
        accepted=[int(row[2]) for row in packed],
        corrected=[bool(row[3]) for row in packed],
        probability=[[None] * len(row) for row in wrote],
        drafted=[int(row[5]) for row in packed],
        depth=max((int(row[5]) for row, on in zip(packed, active, strict=True) if on), default=0),
        finished=list(state.finished),
        active=active,
        draft_healthy=all(row[4] for row, on in zip(packed, active, strict=True) if on),
        regenerated=[[i for i, (_, _, new) in enumerate(row) if new] for row in wrote],
        places=[[place for place, _, _ in row] for row in wrote],
        scores=[row[width : width + n] for row, n in zip(packed, judged, strict=True)],
    )


def _vectors(row: list[float], cells: int) -> list[tuple[int, tuple[float, ...], bool]]:
    """Place, numbers and whether it is a replacement, of every vector that a row wrote."""
    values = row[2 * cells :]
    width = len(values) // cells
    found = []
    for cell in range(cells):
        if row[cell] < 0:
            continue
        vector = tuple(values[cell * width : (cell + 1) * width])
        if not all(map(isfinite, vector)):
            raise FloatingPointError(
                "the model drew a vector that is not finite; try dtype float32, or check the "
                "checkpoint: a diffusion head that was never trained does this"
            )
        found.append((int(row[cell]), vector, bool(row[cells + cell])))
    return found
