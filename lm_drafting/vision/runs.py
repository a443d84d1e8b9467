"""Where the visual tokens of a prompt lie, in the coordinates of a drafter's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.vision.compressor import Grid

Frame = tuple[int, int]


@dataclass(frozen=True)
class Run:
    """Consecutive rows of a drafter that carry visual tokens.

    Row ``j`` joins the embedding of token ``j + 1`` with the hidden state of position ``j``, so a
    run lies one to the left of the placeholders in the prompt.

    Attributes:
        start: First row.
        end: Row behind the last.
        grid: Frames, rows and columns of the tokens; None where it is not known.
    """

    start: int
    end: int
    grid: Grid | None = None


def find_runs(
    ids: Tensor,
    lengths: Sequence[int],
    placeholders: Sequence[int],
    grids: Sequence[Sequence[Grid | None]] | None = None,
) -> list[list[Run]]:
    """Runs of visual tokens of every prompt of a batch, on the host.

    Pictures with nothing between them are one run, as in ViSpec (arXiv 2509.15235). A run that
    starts with the prompt loses its first token, which no row carries, and with it its grid.

    Args:
        ids: ``(batch, length)`` tokens, right-padded.
        lengths: Tokens of every prompt.
        placeholders: Tokens that stand for pictures or clips.
        grids: Frames, rows and columns, in tokens, of each prompt's pictures and clips in order.
            They are laid over the visual tokens one after the other. A run has a grid where it
            begins and ends with a frame and all its frames have one shape, so pictures that touch
            add up and a clip cut by timestamps is divided. Entries of None have an unknown number
            of tokens, which leaves everything from there on without a grid.
    """
    kinds = torch.tensor(placeholders, dtype=ids.dtype)
    seen = torch.isin(ids.cpu(), kinds)
    seen &= torch.arange(ids.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    edges = F.pad(seen.int(), (1, 1)).diff()  # +1 at a first token, -1 behind a last one
    spans: list[list[tuple[int, int]]] = [[] for _ in lengths]
    starts, ends = (edges == 1).nonzero().tolist(), (edges == -1).nonzero().tolist()
    for (row, start), (_, end) in zip(starts, ends, strict=True):
        spans[row].append((start, end))
    return [
        _shifted(of_row, grids[row] if grids is not None else ())
        for row, of_row in enumerate(spans)
    ]


def _shifted(spans: list[tuple[int, int]], grids: Sequence[Grid | None]) -> list[Run]:
    """Runs of one prompt, from spans in its own coordinates."""
    stream = _Stream(grids)
    runs = []
    for start, end in spans:
        grid = stream.take(end - start)
        if start > 0:
            runs.append(Run(start - 1, end - 1, grid))
        elif end > 1:
            runs.append(Run(0, end - 1))
    return runs


class _Stream:
    """The frames of a prompt's grids, laid end to end and handed out by their tokens."""

    def __init__(self, grids: Sequence[Grid | None]) -> None:
        self._frames: list[Frame] = []
        for grid in grids:
            if grid is None:
                break
            frames, rows, columns = grid
            self._frames += [(rows, columns)] * frames
        borders = accumulate((rows * columns for rows, columns in self._frames), initial=0)
        self._index = {token: frame for frame, token in enumerate(borders)}
        self._token = 0

    def take(self, tokens: int) -> Grid | None:
        """Grid of the next so many tokens, if they are whole frames of one shape."""
        first = self._index.get(self._token)
        self._token += tokens
        last = self._index.get(self._token)
        if first is None or last is None:
            return None
        shapes = set(self._frames[first:last])
        return (last - first, *shapes.pop()) if len(shapes) == 1 else None
