"""The target role for every model that writes a picture as a grid of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from image_ar.discrete.grid import Grid
from mmspec.image_target import TokenImages
from mmspec.roles import Decoder
from mmspec.state import State


@dataclass(frozen=True)
class Defaults:
    """How a model likes to be sampled.

    Attributes:
        guidance_scale: Strength of classifier-free guidance; 1 is none.
        temperature: 0 is greedy decoding.
        top_k: Keep the ``k`` most likely codes; 0 keeps all.
        top_p: Keep the smallest set of codes with at least this mass; 1 keeps all.
    """

    guidance_scale: float = 4.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Conditioner(Protocol):
    """Makes a decoder's inputs from what a picture is to show."""

    classes: tuple[str, ...] | None  # names of the classes, where there are any

    def __call__(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        guidance_scale: float,
        cfg_interval: int,
    ) -> dict[str, Any]:
        """The decoder's inputs; exactly one of ``prompts`` and ``class_ids`` is given.

        Raises:
            ValueError: The model does not take these.
        """
        ...


class ImageDecoder(Protocol):
    """Turns codes into pixels.

    Attributes:
        codebook: ``(codes, dim)`` the vectors that are decoded.
        codebook_normalized: Whether vectors are brought to length one before they are decoded.
    """

    @property
    def codebook(self) -> Tensor: ...

    @property
    def codebook_normalized(self) -> bool: ...

    def __call__(self, codes: Tensor) -> Tensor:
        """Pixels ``(batch, 3, height, width)`` in [0, 1] of codes ``(batch, rows, columns)``."""
        ...


class ImageTokenTarget(TokenImages):
    """A target over picture tokens.

    Args:
        decoder: The transformer behind its adapter.
        grid: What is written.
        conditioner: Makes the decoder's inputs.
        image_decoder: Turns codes into pixels.
        device: Where the decoder's inputs must be.
        dtype: Its number format.
        image_ids: Vocabulary ids of the codes, in their order; None where ids are codes.
        defaults: How the model likes to be sampled.
        name: What to call the model.

    Attributes:
        codebook: ``(codes, dim)`` as the image decoder sees it.
        codebook_normalized: Whether its rows are brought to length one before they are decoded.
        vocab_size: Tokens the decoder gives logits for.
        classes: Names of the classes, or None.
        (and the arguments, under their names)

    Raises:
        ValueError: More or fewer ids than codes.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        grid: Grid,
        conditioner: Conditioner,
        image_decoder: ImageDecoder,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        image_ids: slice | Tensor | None = None,
        defaults: Defaults | None = None,
        name: str = "model",
    ) -> None:
        super().__init__(decoder)
        self.grid, self.conditioner, self.image_decoder = grid, conditioner, image_decoder
        self.device, self.dtype, self.name = torch.device(device), dtype, name
        self.defaults = defaults or Defaults()
        self.vocab_size = decoder.vocab_size
        self.codebook = image_decoder.codebook
        self.codebook_normalized = image_decoder.codebook_normalized
        self.image_ids: slice | Tensor = (
            slice(0, self.vocab_size) if image_ids is None else image_ids
        )
        self.classes = conditioner.classes
        self._code_of = self._codes_of_ids()

    def prepare(
        self,
        prompts: Sequence[str] | None = None,
        class_ids: Sequence[int] | None = None,
        guidance_scale: float | None = None,
        cfg_interval: int = -1,
    ) -> dict[str, Any]:
        """The decoder's inputs for a batch.

        Args:
            prompts: What to draw, one text a picture.
            class_ids: Classes to draw by number, instead of prompts.
            guidance_scale: Strength of classifier-free guidance, 1 or less is none; None takes the
                model's default.
            cfg_interval: Guidance ends after this many tokens; -1 never ends it.

        Raises:
            ValueError: Neither or both of prompts and classes, or something this model does not
                take; nothing has been computed then.
        """
        if (prompts is None) == (class_ids is None):
            given = "neither was" if prompts is None else "both were"
            raise ValueError(f"give prompts or class_ids, {given} given")
        scale = self.defaults.guidance_scale if guidance_scale is None else guidance_scale
        if not (isfinite(scale) and scale >= 0):
            raise ValueError(f"guidance_scale must be 0 or above (1 is no guidance), got {scale}")
        if cfg_interval < -1:
            raise ValueError(
                f"cfg_interval must be -1 (guidance to the end) or above, got {cfg_interval}"
            )
        if not (prompts or class_ids):
            raise ValueError("the batch is empty; give at least one prompt or class")
        return self.conditioner(prompts, class_ids, float(scale), cfg_interval)

    @torch.inference_mode()
    def to_pixels(self, tokens: Tensor | Sequence[Sequence[int]]) -> Tensor:
        """Pictures of complete grids.

        Args:
            tokens: ``(batch, cells)`` vocabulary ids of the cells in raster order, line ends and
                the like left out.

        Returns:
            ``(batch, 3, height, width)`` in [0, 1].

        Raises:
            ValueError: Another number of tokens than cells, or an id that stands for no code.
        """
        grid = self.grid
        ids = tokens if isinstance(tokens, Tensor) else _stacked(tokens, grid)
        if ids.ndim != 2 or ids.shape[1] != grid.cells:
            raise ValueError(
                f"a picture has {grid.cells} tokens ({grid.rows} x {grid.columns}), got shape "
                f"{tuple(ids.shape)}; leave line ends out and let the picture be finished"
            )
        codes = self.codes(ids.to(self.codebook.device))
        return self.image_decoder(codes.view(-1, grid.rows, grid.columns))

    def codes(self, ids: Tensor) -> Tensor:
        """Codes of vocabulary ids, of any shape.

        Raises:
            ValueError: An id that stands for no code.
        """
        table = self._code_of.to(ids.device)
        inside = (ids >= 0) & (ids < len(table))
        codes = torch.where(inside, table[ids.clamp(0, len(table) - 1)], -1)
        if bool((codes < 0).any()):
            wrong = ids[codes < 0].unique().tolist()[:5]
            raise ValueError(
                f"token ids {wrong} stand for no picture code; there are {len(self.codebook)} codes"
            )
        return codes

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the decoder's input embedding table."""
        table: Any = self.decoder
        return table.embed(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits, not guided, of hidden states after the final norm."""
        table: Any = self.decoder
        return table.head(hidden)

    @property
    def hidden_size(self) -> int:
        """Width of one stream of hidden states."""
        return self.decoder.hidden_size

    def guide(self, logits: Tensor, positions: Tensor, state: State) -> Tensor:
        """Guided logits ``(batch, n, vocab)`` of both streams, conditional rows first.

        Args:
            logits: ``(2 * batch, n, vocab)``.
            positions: ``(batch, n)`` position in the sequence of the token the logits follow.
            state: Says how strongly this request is guided.
        """
        table: Any = self.decoder
        return table.guide(logits, positions, state.prompt.inputs)

    def _codes_of_ids(self) -> Tensor:
        """``(vocab,)`` the code of every vocabulary id, -1 for ids that are none."""
        every = torch.arange(self.vocab_size)
        ids = every[self.image_ids] if isinstance(self.image_ids, slice) else self.image_ids.cpu()
        if len(ids) != len(self.codebook):
            raise ValueError(
                f"the transformer writes {len(ids)} picture codes and the image decoder has "
                f"{len(self.codebook)}; they belong to different models, load a matching pair"
            )
        table = torch.full((self.vocab_size,), -1)
        table[ids] = torch.arange(len(ids))
        return table


def _stacked(rows: Sequence[Sequence[int]], grid: Grid) -> Tensor:
    """Rows of ids as a tensor.

    Raises:
        ValueError: Rows of another length than the grid has cells.
    """
    lengths = sorted({len(row) for row in rows})
    if lengths != [grid.cells]:
        raise ValueError(
            f"a picture has {grid.cells} tokens ({grid.rows} x {grid.columns}), got rows of "
            f"{lengths}; leave line ends out and let the picture be finished"
        )
    return torch.tensor([list(row) for row in rows])
