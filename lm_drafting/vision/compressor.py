"""The one interface of everything that shortens a picture for a drafter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class VisualInput:
    """Runs of visual tokens of equal length and grid, from any rows of a batch.

    Attributes:
        embeds: ``(runs, tokens, hidden)`` what the target's decoder reads at these positions: the
            projected vision features, never the placeholder's row of the embedding table.
        hidden: ``(runs, tokens, features)`` the target's hidden states at these positions.
        fused: ``(runs, tokens, row)`` the rows that an uncompressed drafter would read here.
        question: ``(runs, hidden)`` mean embedding of the prompt's text.
        grid: Frames, rows and columns, whose product is ``tokens``; None where the tokens lie on
            no grid that is known.
    """

    embeds: Tensor
    hidden: Tensor
    fused: Tensor
    question: Tensor
    grid: Grid | None = None

    @property
    def tokens(self) -> int:
        """Tokens a run."""
        return self.embeds.shape[1]


@dataclass(frozen=True)
class Compressed:
    """What stands in a drafter's sequence in the place of each run.

    Attributes:
        rows: ``(runs, kept, width)`` rows for the drafter's layer, right-padded; they bypass the
            fusion of embedding and hidden state. ``width`` is that of ``fused`` where
            ``reads == "fused"``, that of ``embeds`` otherwise.
        offsets: ``(runs, kept)`` long, each row's place within the run, ascending, below
            ``tokens``; zero at padding. A drafter adds the run's first position, so text keeps the
            positions it has without compression.
        counts: Rows of each run that are no padding; on the host.
        summary: ``(runs, hidden)`` one vector for the text behind the run; None where the
            compressor makes none.
        cost: Scalar with gradient: the expected share of tokens kept, for a penalty in training;
            None where the compressor does not choose.
    """

    rows: Tensor
    offsets: Tensor
    counts: tuple[int, ...]
    summary: Tensor | None = None
    cost: Tensor | None = None

    @classmethod
    def even(cls, rows: Tensor, offsets: Tensor, summary: Tensor | None = None) -> Compressed:
        """The same number of rows for every run.

        Args:
            rows: ``(runs, kept, width)``.
            offsets: ``(runs, kept)``, or ``(kept,)`` where they are the same for every run.
            summary: ``(runs, hidden)``.
        """
        runs, kept = rows.shape[:2]
        return cls(rows, offsets.expand(runs, kept), (kept,) * runs, summary)


class VisualCompressor(nn.Module, ABC):
    """Turns the visual tokens of a run into fewer rows for a drafter.

    Attributes:
        kind: Name in configurations.
        reads: Which field of the input the rows are made of: "fused", "embeds" or "hidden".
    """

    kind: ClassVar[str]
    reads: ClassVar[str]

    @abstractmethod
    def forward(self, visual: VisualInput) -> Compressed:
        """Shorten runs.

        Raises:
            ValueError: Runs this compressor cannot shorten, and what to do about it.
        """

    def spec(self) -> dict[str, Any]:
        """Kind and arguments, ready for JSON; see :func:`~lm_drafting.vision.build_compressor`."""
        return {"kind": self.kind}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Start values for training: matrices keep the scale of their input, norms are neutral.

        Args:
            generator: Source of the draws; None is PyTorch's own.
        """
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, weight.shape[-1] ** -0.5, generator=generator)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)

    def anneal(self, share: float, seed: int) -> None:
        """Told before every training step: share of the training done, and a seed of this step."""


class SizedCompressor(VisualCompressor):
    """A compressor that a gate may choose among others.

    How many rows it makes is known before it runs, and it makes no summary, which the text behind
    a picture would miss whenever the gate chose another.
    """

    @abstractmethod
    def kept(self, tokens: int, grid: Grid | None) -> int:
        """Rows that stand for a run.

        Args:
            tokens: Tokens of the run.
            grid: See :class:`VisualInput`.

        Raises:
            ValueError: Runs this compressor cannot shorten, and what to do about it.
        """
