"""What a model of latent vectors provides, and what is known of a batch between two rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from image_ar.continuous.chain import Chain, ChainHead, Condition, denoise, settle
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.request import Conditioning, Denoising, LatentRequest, Reads
from mmspec.noise import Noise

# The stream of the noise that target and drafter share.
DENOISE = "denoise"


class LatentDecoder(Protocol):
    """A model behind its adapter: conditions for vectors, and the head that draws them.

    Attributes:
        width: Numbers of a vector.
        cells: Vectors of a picture.
        base_steps: Noise levels that the head was trained on.
        latent_range: Magnitude to which clean vectors are clipped while denoising; None for none.
    """

    width: int
    cells: int
    base_steps: int
    latent_range: float | None

    def head_for(self, process: DiffusionProcess) -> ChainHead:
        """The network that predicts the noise in a vector, ready for the steps of a process."""
        ...

    def layout(self, noise: Noise, ar_steps: int | None) -> Tensor:
        """Places that every autoregressive step fills, ``(batch, steps, group)``, -1 for padding.

        Raises:
            ValueError: A number of steps that the model cannot take.
        """
        ...

    def prefill(
        self, inputs: Mapping[str, Any], layout: Tensor, capacity: int
    ) -> tuple[Any, Condition]:
        """Read what is to be drawn into a fresh context with room for ``capacity`` steps.

        Returns:
            The context, and the condition of the first step's vectors, as in :meth:`conditions`.
        """
        ...

    def conditions(self, state: LatentState, units: Tensor) -> Condition:
        """Conditions of what follows the committed vectors and each drafted step.

        One parallel pass. May write into the context what belongs to the steps run; those beyond
        the committed ones are scratch.

        Args:
            state: The committed vectors; the context lacks the last ``state.pending`` steps.
            units: ``(batch, nodes, group, width)`` drafted steps.

        Returns:
            ``batch * (nodes + 1) * group`` rows in this order.
        """
        ...

    def window_conditions(self, state: LatentState, nodes: int) -> Condition:
        """Conditions of the next ``nodes`` steps given the committed vectors alone.

        Returns:
            ``batch * nodes * group`` rows in this order.

        Raises:
            ValueError: The model draws in order and has no such conditions.
        """
        ...


@dataclass
class LatentState:
    """Committed vectors of every picture of a batch.

    A *step* fills a group of places; a causal model's groups hold one place each.

    Attributes:
        canvas: ``(batch, cells + 1, width)`` vectors by raster place, zeros where nothing stands
            yet; one more at the end, which nothing reads, for what is written to place -1. Replaced
            by every write, never changed in place.
        layout: ``(batch, steps, group)`` places that every step fills, -1 for padding.
        lengths: ``(batch,)`` committed steps, on the device.
        host_lengths: The same numbers on the host.
        finished: Whether each picture is complete.
        context: What the decoder keeps.
        inputs: What the decoder conditions on.
        process: The denoising process.
        head: Of the decoder, for that process.
        denoising: How vectors are drawn.
        noise: Shared by target and drafter.
        ar_steps: Of the request.
        reads: Of the request.
        conditioning: Of the request.
        lookahead: Of the request.
        pending: Committed steps at the end of each row that the context does not hold yet.
        scored: Conditions of the last scored draft, for chains that a verdict hands back.
    """

    canvas: Tensor
    layout: Tensor
    lengths: Tensor
    host_lengths: list[int]
    finished: list[bool]
    context: Any
    inputs: Mapping[str, Any]
    process: DiffusionProcess
    head: ChainHead
    denoising: Denoising
    noise: Noise
    ar_steps: int | None
    reads: Reads
    conditioning: Conditioning
    lookahead: int
    pending: int = 1
    scored: Condition | None = None

    @classmethod
    def start(
        cls, decoder: LatentDecoder, request: LatentRequest, steps: int | None = None
    ) -> tuple[LatentState, Condition]:
        """A state with nothing committed, and the condition of the first step.

        Args:
            decoder: The model.
            request: With its noise.
            steps: Denoising steps where they are not the request's.
        """
        noise = request.noise
        assert noise is not None
        layout = decoder.layout(noise, request.ar_steps).to(request.device)
        batch, total, _ = layout.shape
        context, condition = decoder.prefill(request.inputs, layout, total + request.lookahead + 1)
        shape = (batch, decoder.cells + 1, decoder.width)
        count = steps or request.denoising.steps
        process = DiffusionProcess(count, decoder.base_steps, decoder.latent_range)
        state = cls(
            canvas=condition.vectors.new_zeros(shape, dtype=torch.float32),
            layout=layout,
            lengths=torch.zeros(batch, dtype=torch.long, device=layout.device),
            host_lengths=[0] * batch,
            finished=[False] * batch,
            context=context,
            inputs=request.inputs,
            process=process,
            head=decoder.head_for(process),
            denoising=request.denoising,
            noise=noise,
            ar_steps=request.ar_steps,
            reads=request.reads,
            conditioning=request.conditioning,
            lookahead=request.lookahead,
            pending=0,
        )
        return state, condition

    @property
    def vectors(self) -> Tensor:
        """``(batch, cells, width)`` by raster place, zeros where nothing stands yet."""
        return self.canvas[:, :-1]

    @property
    def batch(self) -> int:
        """Pictures."""
        return self.canvas.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.canvas.device

    @property
    def steps(self) -> int:
        """Steps of a picture."""
        return self.layout.shape[1]

    @property
    def group(self) -> int:
        """Vectors of the widest step."""
        return self.layout.shape[2]

    @property
    def done(self) -> bool:
        """True when every picture is complete."""
        return all(self.finished)

    @property
    def new_lengths(self) -> list[int]:
        """Steps each picture has committed."""
        return list(self.host_lengths)

    @property
    def reached(self) -> int | Tensor:
        """Committed steps: one number where all pictures stand alike, else ``(batch,)``."""
        first = self.host_lengths[0]
        alike = all(length == first for length in self.host_lengths)
        return first if alike else self.lengths

    def places(self, count: int, offset: int = 0) -> Tensor:
        """``(batch, count, group)`` places of the next steps, from ``offset`` on."""
        first = self.reached + offset
        if isinstance(first, int) and 0 <= first <= self.steps - count:
            return self.layout[:, first : first + count]
        index = self.lengths.unsqueeze(1) + offset + torch.arange(count, device=self.device)
        inside = (index >= 0) & (index < self.steps)
        rows = torch.arange(self.batch, device=self.device).unsqueeze(1)
        found = self.layout[rows, index.clamp(0, self.steps - 1)]
        return torch.where(inside.unsqueeze(-1), found, -1)

    def last(self, count: int) -> Tensor:
        """``(batch, count, group, width)`` vectors of the last committed steps."""
        return self.at(self.places(count, -count))

    def at(self, places: Tensor) -> Tensor:
        """``(batch, ..., width)`` vectors at places ``(batch, ...)``; those below 0 as at 0."""
        flat = places.flatten(1).clamp(min=0).unsqueeze(-1)
        found = self.vectors.gather(1, flat.expand(-1, -1, self.vectors.shape[-1]))
        return found.view(*places.shape, -1)

    def write(self, places: Tensor, vectors: Tensor) -> None:
        """Put ``(batch, n, group, width)`` at places ``(batch, n, group)``; -1 is skipped."""
        rows = torch.arange(self.batch, device=self.device).view(-1, 1, 1)
        self.canvas = self.canvas.index_put((rows, places), vectors.to(self.canvas.dtype))

    def normals(self, places: Tensor, steps: int | None = None) -> Tensor:
        """``(batch, ..., steps + 1, width)`` noise of the denoising chains of places."""
        shape = ((steps or self.denoising.steps) + 1, self.canvas.shape[-1])
        return self.noise.normals(DENOISE, places, shape)


def draw(
    state: LatentState, condition: Condition, normals: Tensor, record: bool = False
) -> tuple[Chain, Tensor]:
    """Denoise vectors to the end.

    Args:
        state: Says how.
        condition: A row a vector.
        normals: ``(rows, steps + 1, width)``.
        record: Keep states and kernels of all steps.

    Returns:
        The chain, and the vectors ``(rows, width)``.
    """
    denoising = state.denoising
    chain = denoise(
        state.head, state.process, condition, normals, denoising.temperature, record=record
    )
    return chain, settle(chain.last, denoising.final_noise, normals[:, -1])
