"""The guided head made for sampling: what does not depend on the state is computed once.

A chain of a hundred steps asks the head a hundred times about the same conditions. The modulations
of its layers, most of its work for few rows, depend on the noise level and the condition only, so
that all steps' are made in one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adapters.mar.head import DiffusionHead
from adapters.mar.sampling_network import SamplingNetwork
from image_ar.continuous.chain import Condition, Settled

_TABLE_BYTES = 2**28


class SamplingHead:
    """Equals :class:`~adapters.mar.head.GuidedHead` up to rounding, without gradients.

    Weights that were trained, loaded or moved since the last condition are noticed. Guidance runs
    both halves wherever a condition has a null vector: looking at the scales would make the host
    wait.

    Args:
        head: Not changed.
        timesteps: ``(steps,)`` original indices of the noise levels that will be asked about.
        table_bytes: Most memory for the modulations of a chain; those of more rows than fit are
            computed step by step.
    """

    def __init__(
        self, head: DiffusionHead, timesteps: Tensor, table_bytes: int = _TABLE_BYTES
    ) -> None:
        self.head, self.table_bytes = head, table_bytes
        self.width = head.token_width
        self.timesteps = timesteps
        self._refresh()

    @torch.no_grad()
    def __call__(
        self, state: Tensor, timestep: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Guided noise and variance logits, ``(rows, width)`` each.

        Args:
            state: ``(rows, width)``.
            timestep: ``(rows,)`` original indices, of those given at construction.
            condition: Of the same rows.

        Raises:
            IndexError: A noise level that was not given (on the CPU).
        """
        halves = self._embed(condition)
        times = self._times.index_select(0, self._index.index_select(0, timestep))
        modulations = self._network.modulations(times.unsqueeze(1) + halves)
        flat = [part.flatten(0, 1) for part in modulations]
        return self._network(state, flat, _weight(condition))

    @torch.no_grad()
    def under(self, condition: Condition) -> Settled:
        """The head with all modulations of a chain made; it refuses other noise levels.

        Conditions must not be changed in place while it is used.
        """
        halves = self._embed(condition)
        count = halves.shape[1]
        flat, table = halves.flatten(0, 1), None
        entries = len(self._times) * len(flat) * self._network.modulation_size
        if entries * flat.element_size() <= self.table_bytes:
            every = self._network.modulations(self._times.unsqueeze(1) + flat)
            table = list(zip(*(part.unbind(0) for part in every), strict=True))
        weight = _weight(condition)
        return _SettledHead(self._network, self._steps, self._times, flat, count, weight, table)

    def _embed(self, condition: Condition) -> Tensor:
        """Embedded conditions ``(rows, halves, W)``, the condition's own first."""
        if self._weights != _stamp(self.head):
            self._refresh()
        if condition.null is None:
            return self.head.embed(condition.vectors).unsqueeze(1)
        return self.head.embed(torch.stack([condition.vectors, condition.null], dim=1))

    @torch.no_grad()
    def _refresh(self) -> None:
        """Compute what depends on the weights alone."""
        head = self.head
        timesteps = self.timesteps.to(head.cond_embed.weight.device)
        self._weights = _stamp(head)
        self._times = head.time_embed(timesteps)
        # Other noise levels point past the end, which look-ups refuse.
        self._index = timesteps.new_full((int(timesteps.max()) + 1,), len(timesteps))
        self._index[timesteps] = torch.arange(len(timesteps), device=timesteps.device)
        self._steps = {level: step for step, level in enumerate(timesteps.tolist())}
        self._network = SamplingNetwork(head)


@dataclass(frozen=True, eq=False)
class _SettledHead:
    """A head under one condition.

    Attributes:
        network: Everything that sees the state.
        steps: Index of each noise level.
        times: ``(steps, width)`` embedded noise levels.
        halves: ``(rows * halves, width)`` embedded conditions.
        count: Halves.
        weight: ``(rows, 1)`` guidance scale, None for one half.
        table: Modulations of each step, None where they do not fit.
    """

    network: SamplingNetwork
    steps: dict[int, int]
    times: Tensor
    halves: Tensor
    count: int
    weight: Tensor | None
    table: Sequence[Sequence[Tensor]] | None

    def __call__(self, state: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
        """Guided noise and variance logits of the first rows' states, ``(n, width)`` each.

        Raises:
            IndexError: A noise level that was not given.
        """
        step = self.steps.get(timestep)
        if step is None:
            raise IndexError(f"noise level {timestep} is not among those of this head")
        if self.table is not None:
            modulations = self.table[step]
        else:
            modulations = self.network.modulations(self.times[step] + self.halves)
        weight, rows = self.weight, len(state) * self.count
        if rows < len(self.halves):
            modulations = [part[:rows] for part in modulations]
            weight = None if weight is None else weight[: len(state)]
        return self.network(state, modulations, weight)


def _weight(condition: Condition) -> Tensor | None:
    return None if condition.scale is None else condition.scale.unsqueeze(1)


def _stamp(head: DiffusionHead) -> tuple[int, int]:
    """Changes when the weights do: they are trained, loaded and moved together."""
    weight = head.cond_embed.weight
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version
