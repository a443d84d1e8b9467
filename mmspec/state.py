"""What a token target knows of a batch between two rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmspec.messages import Features


@dataclass
class Prompt:
    """What prefill leaves behind for drafters that read the prompt.

    Attributes:
        inputs: The processor's tensors, right-padded, as given to the target.
        lengths: Prompt length of every row, image placeholders expanded.
        hidden: ``(batch, longest, width)`` hidden states of the prompt, those that
            :class:`~mmspec.messages.Features` asked for; None unless asked.
        embeds: ``(batch, longest, hidden)`` the decoder's input embeddings (projected image
            features at image positions); None unless features were asked for.
    """

    inputs: dict[str, Any]
    lengths: list[int]
    hidden: Tensor | None = None
    embeds: Tensor | None = None


@dataclass
class State:
    """Committed tokens of every row, and the cache that holds all but the last few of them.

    Three numbers are kept apart. The *slot* of a token is its index in the cache buffer; its
    *logical position* is its index in the row, equal to the slot of a committed token; its *rotary
    position* is what the model's position embedding sees (``logical + rope_offset``, on three axes
    for M-RoPE models).

    Attributes:
        tokens: ``(batch, capacity)`` prompt and committed tokens, row by row from index 0.
        lengths: ``(batch,)`` committed tokens of every row, on the device.
        host_lengths: The same numbers on the host.
        pending: Committed tokens at the end of each row that are not in the cache yet; 1 for a
            target (the last one), more after a round that drew units anew, and for a drafter that
            catches up.
        cache: The key/value cache.
        prompt: What prefill left behind.
        rope_offset: ``(batch, 1)`` rotary minus logical position of generated tokens, or None.
        prompt_lengths: ``(batch,)`` prompt lengths, on the device.
        finished: Whether each row is complete.
        sampler: Turns logits into laws for this request; here, not in the target, so that two
            requests may be in progress on one target.
        features: Hidden states to keep in the evidence; None keeps none.
    """

    tokens: Tensor
    lengths: Tensor
    host_lengths: list[int]
    cache: Any
    prompt: Prompt
    prompt_lengths: Tensor
    finished: list[bool]
    pending: int = 1
    rope_offset: Tensor | None = None
    sampler: Any = None
    features: Features | None = None

    @property
    def batch(self) -> int:
        """Rows."""
        return self.tokens.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tokens are."""
        return self.tokens.device

    @property
    def done(self) -> bool:
        """True when every row is complete."""
        return all(self.finished)

    @property
    def new_lengths(self) -> list[int]:
        """Tokens each row has added to its prompt."""
        pairs = zip(self.host_lengths, self.prompt.lengths, strict=True)
        return [length - prompt for length, prompt in pairs]

    @property
    def cached(self) -> Tensor:
        """``(batch,)`` slots in use in the cache; 0 for complete rows shorter than ``pending``."""
        return (self.lengths - self.pending).clamp(min=0)

    def outputs(self) -> list[list[int]]:
        """New tokens of every row."""
        pairs = zip(self.tokens.tolist(), self.prompt.lengths, self.host_lengths, strict=True)
        return [row[start:end] for row, start, end in pairs]

    def pending_tokens(self) -> Tensor:
        """``(batch, pending)`` the committed tokens not yet in the cache."""
        if self.pending == 1:
            return self.tokens.gather(1, (self.lengths - 1).unsqueeze(1))
        steps = torch.arange(-self.pending, 0, device=self.tokens.device)
        return self.tokens.gather(1, (self.lengths.unsqueeze(1) + steps).clamp(min=0))
