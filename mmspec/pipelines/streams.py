"""Hands committed tokens to callbacks and transformers streamers while a batch is running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmspec.messages import Commit
from mmspec.pipelines.options import CaptionOptions
from mmspec.render import Detokenizer, Piece
from mmspec.trace import Trace

Decode = Callable[[list[int]], str]


class Streams:
    """The listeners of one call.

    Args:
        options: Holds ``on_text`` and ``streamer``.
        decode: Token ids to text.
        count: Inputs of the call.

    Raises:
        ValueError: A transformers streamer for several inputs; it cannot tell them apart.
    """

    def __init__(self, options: CaptionOptions, decode: Decode, count: int) -> None:
        if options.streamer is not None and count > 1:
            raise ValueError(
                f"a transformers streamer follows one input, {count} were given; use on_text, "
                "which is told the input's index"
            )
        self._on_text, self._streamer, self._decode = options.on_text, options.streamer, decode
        self._words: dict[int, Detokenizer] = {}
        self._last: dict[int, Piece] = {}

    def watch(
        self, trace: Trace, first: int, indices: Sequence[int]
    ) -> Callable[[Commit], None] | None:
        """A listener for a batch whose rows start at ``first`` in the trace; None if not needed."""
        if self._on_text is None and self._streamer is None:
            return None

        def listen(commit: Commit) -> None:
            for place, units in enumerate(commit.units):
                if self._streamer is not None and units:
                    self._streamer.put(torch.tensor(units))
                if self._on_text is not None and units:
                    self._tell(indices[place], trace.units[first + place][-len(units) :])

        return listen

    def end(self, indices: Sequence[int]) -> None:
        """Hand out what was held back; the batch is complete."""
        for index in indices:
            words, last = self._words.pop(index, None), self._last.pop(index, None)
            rest = words.rest() if words is not None else ""
            if rest and last is not None and self._on_text is not None:
                self._on_text(index, Piece(rest, last.origin, last.probability, last.round))
        if self._streamer is not None:
            self._streamer.end()

    def _tell(self, index: int, records: Sequence[Any]) -> None:
        words = self._words.setdefault(index, Detokenizer(self._decode))
        for record in records:
            text = words.push(record.unit)
            piece = Piece(text, record.origin, record.probability, record.round)
            self._last[index] = piece
            if text and self._on_text is not None:
                self._on_text(index, piece)
