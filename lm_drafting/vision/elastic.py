"""SpecVLM's elastic compressor: the question decides how a picture is shortened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_drafting.vision.compressor import (
    Compressed,
    SizedCompressor,
    VisualCompressor,
    VisualInput,
)
from lm_drafting.vision.straight_through import straight_through


class Elastic(VisualCompressor):
    """A gate on the question and the mean of the picture picks one branch for every run.

    SpecVLM (arXiv 2509.11815). Evaluation takes the branch with the largest logit. Training adds
    Gumbel noise to the logits, so a branch is drawn from their softmax, and passes the branch's
    rows straight through to its soft weight at ``temperature``; only the branch that was picked
    runs. A branch without rows passes nothing back: there the gate learns from ``cost`` alone.

    ``cost`` is the share of tokens kept, in expectation over the gate's draws and in the mean over
    runs.

    Attributes:
        temperature: Sharpness of the soft weights in training; a trainer lowers it from 1 to 0.3.
        gumbel: Source of the noise; None is PyTorch's own.
        force: Index of the branch to take whatever the gate says; None lets it choose.

    Args:
        branches: What the gate chooses from.
        hidden: Width of embeddings.
        row_size: Width of a row; branches that read embeddings or hidden states are projected to it
            where it differs from ``hidden``.

    Raises:
        ValueError: There are no branches, or some cannot be chosen by a gate.
    """

    kind = "elastic"
    reads = "fused"

    def __init__(
        self, branches: Sequence[VisualCompressor | None], hidden: int, row_size: int
    ) -> None:
        super().__init__()
        unfit = [type(part).__name__ for part in branches if not isinstance(part, SizedCompressor)]
        if unfit or not branches:
            raise ValueError(
                f"an elastic compressor cannot choose from {unfit}: give it at least one branch, "
                "each with a number of rows known beforehand and without a summary"
            )
        self.branches = nn.ModuleList(cast("Sequence[SizedCompressor]", branches))
        self.gate = nn.Sequential(
            nn.Linear(2 * hidden, hidden // 4), nn.GELU(), nn.Linear(hidden // 4, len(branches))
        )
        self.widen = (
            nn.Identity() if row_size == hidden else nn.Linear(hidden, row_size, bias=False)
        )
        self.temperature = 1.0
        self.gumbel: torch.Generator | None = None
        self.force: int | None = None

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        sizes = [branch.kept(visual.tokens, visual.grid) for branch in self._parts]
        logits = self.gate(torch.cat([visual.question, visual.embeds.mean(1)], -1)).float()
        choices, weights = self._choose(logits)
        counts = tuple(sizes[choice] for choice in choices)
        rows, offsets, order = [], [], []
        for choice in set(choices):
            branch = self._parts[choice]
            runs = [run for run, own in enumerate(choices) if own == choice]
            made = branch(_pick(visual, runs))
            wide = made.rows if branch.reads == "fused" else self.widen(made.rows)
            room = max(counts) - sizes[choice]
            rows.append(F.pad(straight_through(wide, weights[runs]), (0, 0, 0, room)))
            offsets.append(F.pad(made.offsets, (0, room)))
            order += runs
        place = torch.tensor(order, device=logits.device).argsort()
        shares = logits.new_tensor(sizes) / visual.tokens
        cost = (logits.softmax(-1) @ shares).mean()
        return Compressed(torch.cat(rows)[place], torch.cat(offsets)[place], counts, cost=cost)

    def spec(self) -> dict[str, Any]:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        return super().spec() | {"branches": [branch.spec() for branch in self._parts]}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Start with a gate that has no preference, so training tries every branch."""
        super().reset_parameters(generator)
        for branch in self._parts:
            branch.reset_parameters(generator)
        nn.init.zeros_(cast("nn.Linear", self.gate[-1]).weight)

    def anneal(self, share: float, seed: int) -> None:
        """Sharpen the soft weights from temperature 1 to 0.3, and draw this step's noise anew."""
        self.temperature = 0.3**share
        self.gumbel = torch.Generator().manual_seed(seed)

    @property
    def _parts(self) -> Sequence[SizedCompressor]:
        return cast("Sequence[SizedCompressor]", self.branches)

    def _choose(self, logits: Tensor) -> tuple[list[int], Tensor]:
        """One branch a run, on the host, and its soft weights ``(runs, 1, 1)``."""
        if self.training:
            logits = (logits + self._noise(logits)) / self.temperature
        choice = logits.argmax(-1, keepdim=True)
        if self.force is not None:
            choice = torch.full_like(choice, self.force)
        return choice.flatten().tolist(), logits.softmax(-1).gather(1, choice).unsqueeze(-1)

    def _noise(self, like: Tensor) -> Tensor:
        """Gumbel draws, made where the generator lives."""
        device = like.device if self.gumbel is None else self.gumbel.device
        draws = torch.empty(like.shape, device=device).exponential_(generator=self.gumbel)
        return -draws.log().to(like.device)


def _pick(visual: VisualInput, runs: list[int]) -> VisualInput:
    """Some of the runs."""
    fields = ("embeds", "hidden", "fused", "question")
    return replace(visual, **{name: getattr(visual, name)[runs] for name in fields})
