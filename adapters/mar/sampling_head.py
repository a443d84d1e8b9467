"""The guided head made for sampling: what does not depend on the state is computed once.

A chain of a hundred steps asks the head a hundred times about the same conditions. The modulations
of its layers, most of its work for few rows, depend on the noise level and the condition only, so
that all steps' are made in one product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from adapters.mar.head import DiffusionHead, both_halves, guide
from image_ar.continuous.chain import Condition

_TABLE_BYTES = 2**28


class _Prepared(NamedTuple):
    """One condition and what was computed for it.

    Attributes:
        condition: Itself, to know it again.
        halves: ``(rows, halves, width)`` its embeddings.
        offsets: ``(rows,)`` first entry of each row in the table.
        table: ``(rows * steps, halves, all modulations)``, None where none was made.
        again: Whether the condition came more than once.
    """

    condition: Condition
    halves: Tensor
    offsets: Tensor
    table: Tensor | None = None
    again: bool = False


class SamplingHead:
    """Equals :class:`~adapters.mar.head.GuidedHead` up to rounding, without gradients.

    From the second call with one condition object on, the modulations are looked up. Conditions
    must not be changed in place. Weights that were trained, loaded or moved since are noticed.

    Args:
        head: Not changed.
        timesteps: ``(steps,)`` original indices of the noise levels that will be asked about.
        table_bytes: Most memory for looked-up modulations; those of more rows than fit are
            computed at every call.
    """

    def __init__(
        self, head: DiffusionHead, timesteps: Tensor, table_bytes: int = _TABLE_BYTES
    ) -> None:
        self.head, self.table_bytes = head, table_bytes
        self.width = head.token_width
        self.timesteps = timesteps
        self._last: _Prepared | None = None
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
        if self._weights != _stamp(self.head):
            self._refresh()
        prepared = self._last = self._prepare(condition)
        steps = self._index.index_select(0, timestep)
        if prepared.table is None:
            embedding = self._times.index_select(0, steps).unsqueeze(1) + prepared.halves
            modulations = self.head.modulations(embedding)
        else:
            found = prepared.table.index_select(0, steps + prepared.offsets)
            modulations = found.split(self._sizes, dim=-1)
        return guide(self.head.denoise(state.unsqueeze(1), modulations), condition)

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
        self._sizes = [part.shape[-1] for part in head.modulations(self._times[:1])]
        self._last = None

    def _prepare(self, condition: Condition) -> _Prepared:
        last = self._last
        if last is None or last.condition is not condition:
            halves = self.head.embed(both_halves(condition))
            rows = torch.arange(len(halves), device=halves.device)
            return _Prepared(condition, halves, rows * len(self._times))
        if last.again:
            return last
        # Conditions that come once, such as those of parallel steps, do not pay for a table.
        return last._replace(table=self._table(last.halves), again=True)

    def _table(self, halves: Tensor) -> Tensor | None:
        """``(rows * steps, halves, all modulations)``, or None where that is too large."""
        entries = len(self._times) * halves.shape[:2].numel() * sum(self._sizes)
        if entries * halves.element_size() > self.table_bytes:
            return None
        every = (self._times.unsqueeze(1) + halves.unsqueeze(1)).flatten(0, 1)
        return torch.cat(self.head.modulations(every), dim=-1)


def _stamp(head: DiffusionHead) -> tuple[int, int]:
    """Changes when the weights do: they are trained, loaded and moved together."""
    weight = head.cond_embed.weight
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version
