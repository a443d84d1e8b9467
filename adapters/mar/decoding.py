"""What MAR's decoders of latent vectors share: the head, guidance, and runs of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.config import MARConfig
from adapters.mar.head import DiffusionHead
from adapters.mar.mar import MAR
from adapters.mar.sampling_head import SamplingHead
from adapters.mar.schedule import guidance_scale
from image_ar.continuous.chain import Condition
from image_ar.continuous.process import DiffusionProcess
from mmspec.cache import RaggedCache


@dataclass
class Context:
    """What a decoder keeps of a request.

    Attributes:
        scales: ``(batch, steps)`` guidance scale of each step; None where one half runs.
        cache: Keys and values, of the causal model.
        classes: ``(rows, width)`` class vectors, conditional ones first, of the masked model.
    """

    scales: Tensor | None = None
    cache: RaggedCache | None = None
    classes: Tensor | None = None

    @property
    def guided(self) -> bool:
        """Whether both halves of guidance run."""
        return self.scales is not None

    def ahead(self, first: int | Tensor, count: int) -> Tensor | None:
        """Scales ``(batch, count)`` from step ``first`` on; beyond the picture counts the last."""
        return None if self.scales is None else run_of(self.scales, first, count)


class Decoder:
    """What both variants share.

    Args:
        model: Set to eval mode, otherwise never changed.
    """

    def __init__(self, model: CausalMAR | MAR) -> None:
        model.eval()
        config: MARConfig = model.config
        self.config = config
        self.width, self.cells = config.token_width, config.cells
        self.base_steps, self.latent_range = config.base_steps, config.latent_range
        self._network: DiffusionHead = model.head
        self._heads: dict[int, SamplingHead] = {}

    def head_for(self, process: DiffusionProcess) -> SamplingHead:
        """The diffusion head with its work for the steps of a process done once."""
        head = self._heads.get(process.steps)
        if head is None:
            head = self._heads[process.steps] = SamplingHead(self._network, process.timesteps)
        return head

    def _open(self, inputs: Mapping[str, Any], layout: Tensor) -> Context:
        """A context that has read nothing."""
        scale = inputs.get("guidance_scale")
        if scale is None or bool((scale == 1).all()):
            return Context()
        left = _left_after(layout).unsqueeze(0)
        scales = guidance_scale(inputs["schedule"], scale.unsqueeze(1), left, self.cells)
        return Context(scales.expand(len(layout), -1))

    def _condition(self, vectors: Tensor, scales: Tensor | None) -> Condition:
        """One row a vector.

        Args:
            vectors: ``(rows, n, group, W')``; with guidance both halves, conditional rows first.
            scales: ``(batch, n)`` guidance of each step; None for one half.
        """
        width = vectors.shape[-1]
        if scales is None:
            return Condition(vectors.reshape(-1, width))
        with_it, without_it = vectors.chunk(2)
        each = scales.unsqueeze(-1).expand(with_it.shape[:-1])
        return Condition(
            with_it.reshape(-1, width), without_it.reshape(-1, width), each.reshape(-1)
        )


def numbers(start: int | Tensor, count: int, device: torch.device) -> Tensor:
    """``(rows or 1, count)`` numbers from ``start`` on: one for all rows, or ``(rows,)``."""
    if isinstance(start, int):
        return torch.arange(start, start + count, device=device).unsqueeze(0)
    return start.unsqueeze(1) + torch.arange(count, device=device)


def run_of(values: Tensor, start: int | Tensor, count: int) -> Tensor:
    """``count`` entries of dimension 1 from ``start`` on; beyond the end those of the last.

    Args:
        values: ``(rows, n, ...)``.
        start: One number for all rows, or ``(rows,)``.
        count: How many.
    """
    if isinstance(start, int) and start + count <= values.shape[1]:
        return values[:, start : start + count]  # pictures that stand alike cost no gather
    index = numbers(start, count, values.device).clamp(max=values.shape[1] - 1)
    rows = torch.arange(len(values), device=values.device).unsqueeze(1)
    return values[rows, index]


def _left_after(layout: Tensor) -> Tensor:
    """``(steps,)`` vectors unknown after each step, never below 1."""
    sizes = (layout[0] >= 0).sum(-1)
    return (sizes.sum() - sizes.cumsum(0)).clamp(min=1)
