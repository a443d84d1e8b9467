"""The guided head made for sampling: what does not depend on the state is computed once.

A chain of a hundred steps asks the head a hundred times about the same conditions. The modulations
of its layers, most of its work for few rows, depend on the noise level and the condition only, so
that all steps' are made in one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.mar.head import DiffusionHead, both_halves, guide
from image_ar.continuous.chain import Condition

_TABLE_BYTES = 2**28


class _Prepared(NamedTuple):
    """One condition and what was computed for it.

    Attributes:
        condition: Itself, to know it again.
        halves: ``(rows, halves, width)`` its embeddings.
        table: ``(steps, rows, halves, all modulations)``, None where none was made.
        again: Whether the condition came more than once.
    """

    condition: Condition
    halves: Tensor
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
        self, state: Tensor, timestep: Tensor | int, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Guided noise and variance logits, ``(rows, width)`` each.

        Args:
            state: ``(rows, width)``.
            timestep: Original indices, of those given at construction, one for all or ``(rows,)``.
            condition: Of the same rows.

        Raises:
            IndexError: A noise level that was not given (on the CPU).
        """
        if self._weights != _stamp(self.head):
            self._refresh()
        prepared = self._last = self._prepare(condition)
        if isinstance(timestep, int):
            modulations = self._of_step(self._step_of(timestep), prepared)
        else:
            modulations = self._of_rows(self._index.index_select(0, timestep), prepared)
        return guide(self._network(state.unsqueeze(1), modulations), condition)

    def _of_step(self, step: int, prepared: _Prepared) -> tuple[Tensor, ...]:
        """Modulations where all rows are at one step; a view of the table."""
        if prepared.table is None:
            return self.head.modulations(self._times[step] + prepared.halves)
        return prepared.table[step].split(self._sizes, dim=-1)

    def _of_rows(self, steps: Tensor, prepared: _Prepared) -> tuple[Tensor, ...]:
        """Modulations where every row is at a step of its own."""
        if prepared.table is None:
            return self.head.modulations(
                self._times.index_select(0, steps).unsqueeze(1) + prepared.halves
            )
        rows = torch.arange(len(steps), device=steps.device)
        return prepared.table[steps, rows].split(self._sizes, dim=-1)

    def _step_of(self, timestep: int) -> int:
        step = self._steps.get(timestep)
        if step is None:
            raise IndexError(f"noise level {timestep} is not among those of this head")
        return step

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
        self._sizes = [part.shape[-1] for part in head.modulations(self._times[:1])]
        self._network = _Network(head)
        self._last = None

    def _prepare(self, condition: Condition) -> _Prepared:
        last = self._last
        if last is None or last.condition is not condition:
            halves = self.head.embed(both_halves(condition))
            return _Prepared(condition, halves)
        if last.again:
            return last
        # Conditions that come once, such as those of parallel steps, do not pay for a table.
        return last._replace(table=self._table(last.halves), again=True)

    def _table(self, halves: Tensor) -> Tensor | None:
        """``(steps, rows, halves, all modulations)``, or None where that is too large."""
        entries = len(self._times) * halves.shape[:2].numel() * sum(self._sizes)
        if entries * halves.element_size() > self.table_bytes:
            return None
        every = self._times.view(-1, 1, 1, halves.shape[-1]) + halves
        return torch.cat(self.head.modulations(every), dim=-1)


class _Network:
    """:meth:`DiffusionHead.denoise` without its modules: for few rows they cost more than the sums.

    Args:
        head: Whose weights are taken.
    """

    def __init__(self, head: DiffusionHead) -> None:
        self._input = (head.input_proj.weight, head.input_proj.bias)
        self._output = (head.final_layer.linear.weight, head.final_layer.linear.bias)
        self._eps, self._width = head.final_layer.norm_final.eps, (self._input[0].shape[0],)
        self._blocks = [_weights_of(block) for block in head.res_blocks]

    def __call__(self, state: Tensor, modulations: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Noise and variance logits ``(..., token_width)`` under given modulations."""
        width, eps = self._width, self._eps
        x = F.linear(state.to(self._input[0].dtype), *self._input)
        for (scale_in, shift_in, one, one_bias, two, two_bias), modulation in zip(
            self._blocks, modulations, strict=False
        ):
            shift, scale, gate = modulation.chunk(3, dim=-1)
            inner = torch.addcmul(shift, F.layer_norm(x, width, scale_in, shift_in, eps), 1 + scale)
            inner = F.linear(F.silu(F.linear(inner, one, one_bias), inplace=True), two, two_bias)
            x = torch.addcmul(x, gate, inner)
        shift, scale = modulations[-1].chunk(2, dim=-1)
        x = torch.addcmul(shift, F.layer_norm(x, width, eps=eps), 1 + scale)
        noise, logits = F.linear(x, *self._output).to(state.dtype).chunk(2, dim=-1)
        return noise, logits


def _weights_of(block: Any) -> tuple[Tensor, ...]:
    norm, one, two = block.in_ln, block.mlp[0], block.mlp[2]
    return norm.weight, norm.bias, one.weight, one.bias, two.weight, two.bias


def _stamp(head: DiffusionHead) -> tuple[int, int]:
    """Changes when the weights do: they are trained, loaded and moved together."""
    weight = head.cond_embed.weight
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version
