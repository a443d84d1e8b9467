"""Random numbers as a function of (seed, stream, position), so that methods can be compared.

Each row has a seed of its own, so a row's output depends neither on the batch it runs in nor on the
other rows; each purpose has a stream of its own, so changing the drafter never changes what the
target draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

_TAPE = 256  # positions generated at a time
_BLOCK = 64  # fresh numbers used up at a time, more than most drafts have nodes
_SEEDS = 2**62


class Noise:
    """Uniform numbers in ``[0, 1)``, and normal ones, for every row of a batch.

    Args:
        seeds: One seed a row.
        device: Where the numbers are needed. They are drawn on the CPU, so that CPU and GPU runs of
            one seed see the same numbers.
        horizon: Positions that can ever be asked for; asking beyond repeats the last one, which
            only happens for drafted positions past the end of the output.
    """

    def __init__(
        self, seeds: Sequence[int], device: torch.device | str = "cpu", horizon: int = _TAPE
    ) -> None:
        self.seeds = list(seeds)
        self.device = torch.device(device)
        self.horizon = horizon
        self._tapes: dict[str, Tensor] = {}
        self._fields: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._generators: dict[str, list[torch.Generator]] = {}

    def at(self, stream: str, positions: Tensor) -> Tensor:
        """The numbers of ``stream`` at ``positions`` ``(batch, k)``, the same at every call."""
        tape = self._tapes.get(stream)
        if tape is None:
            tape = self._tapes[stream] = self._record(stream)
        return tape.gather(1, positions.clamp(max=tape.shape[1] - 1))

    def uniforms(self, stream: str, places: Tensor) -> Tensor:
        """The numbers of ``stream`` at ``places`` ``(batch, ...)``; below 0 those of place 0."""
        flat = places.flatten(1).clamp(min=0)
        return self.at(stream, flat).view(places.shape)

    def normals(self, stream: str, places: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Standard normals ``(batch, ..., *shape)`` of ``stream``, the same for a place every time.

        A place has a generator of its own, so its numbers depend on neither the batch nor on how
        many places are asked for.

        Args:
            stream: Purpose.
            places: ``(batch, ...)``; those below 0 get the numbers of 0.
            shape: Of the numbers of one place.
        """
        field = self._fields.get((stream, shape))
        if field is None:
            field = self._fields[stream, shape] = self._sow(stream, shape)
        rows = torch.arange(len(places), device=places.device)
        rows = rows.view(-1, *[1] * (places.dim() - 1)).expand_as(places)
        return field[rows, places.clamp(0, field.shape[1] - 1)]

    def fresh(self, stream: str, count: int) -> Tensor:
        """Unused numbers of ``stream`` for every row, ``(batch, count)``.

        Numbers are used up by the block, so that what a row sees later does not depend on how many
        a longer row beside it needed.
        """
        generators = self._generators.get(stream)
        if generators is None:
            generators = [_generator(seed, stream, 0) for seed in self.seeds]
            self._generators[stream] = generators
        size = -(-count // _BLOCK) * _BLOCK
        rows = [torch.rand(size, generator=g, dtype=torch.float64)[:count] for g in generators]
        return torch.stack(rows).to(self.device)

    def _sow(self, stream: str, shape: tuple[int, ...]) -> Tensor:
        """Normals of all places, ``(batch, horizon, *shape)``."""
        rows = [
            torch.stack(
                [
                    torch.randn(shape, generator=_generator(seed, f"{stream} normals", place))
                    for place in range(self.horizon)
                ]
            )
            for seed in self.seeds
        ]
        return torch.stack(rows).to(self.device)

    def _record(self, stream: str) -> Tensor:
        """The whole tape, in chunks that each have a generator: a longer tape extends a shorter."""
        rows = [
            torch.cat(
                [
                    torch.rand(
                        _TAPE, generator=_generator(seed, stream, start), dtype=torch.float64
                    )
                    for start in range(0, self.horizon, _TAPE)
                ]
            )
            for seed in self.seeds
        ]
        return torch.stack(rows).to(self.device)


def seeds_from(generator: torch.Generator | None, rows: int) -> list[int]:
    """One seed a row, drawn from ``generator`` (which moves on) or from torch's default one."""
    device = generator.device if generator is not None else "cpu"
    return torch.randint(_SEEDS, (rows,), generator=generator, device=device).tolist()


def _generator(seed: int, stream: str, offset: int) -> torch.Generator:
    """A CPU generator for one (seed, stream, offset).

    Torch's CPU generator looks at the lower 32 bits of its seed only, so all three are hashed into
    them.
    """
    digest = blake2b(f"{seed}:{stream}:{offset}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
