"""What the drafter reads of a target's prompts: one row for every token but the first."""

from __future__ import annotations

import torch
from torch import Tensor

from mmspec.state import Prompt


def streams_of(values: Tensor, hidden_size: int) -> Tensor:
    """Halves of guidance that lie side by side, as rows: ``(streams * batch, n, hidden)``."""
    return torch.cat(values.split(hidden_size, -1))


def padded_rows(prompt: Prompt, hidden_size: int) -> Tensor | None:
    """Which rows of a prompt are padding that only they themselves may look at.

    Row ``t`` joins token ``t`` with the hidden state of position ``t - 1`` and has index ``t - 1``.
    It is padding where the target says that token ``t`` is (``caption_mask``), or where it has no
    hidden state of position ``t - 1``: those of padding in front of a prompt are 0.

    Args:
        prompt: Read with features.
        hidden_size: Width of one stream.

    Returns:
        ``(streams * batch, lead - 1)`` bool, ``lead`` the longest prompt; None without padding,
        which is found out on the host.
    """
    assert prompt.hidden is not None
    states = streams_of(prompt.hidden[:, :-1], hidden_size)
    padded = (states == 0).all(-1)
    lengths = torch.tensor(prompt.lengths, device=padded.device)
    rows = torch.arange(1, padded.shape[1] + 1, device=padded.device)
    behind = rows >= lengths.unsqueeze(1)  # picture tokens will lie there
    copies = len(states) // len(lengths)
    padded &= ~behind.repeat(copies, 1)
    mask = prompt.inputs.get("caption_mask")
    if mask is not None:
        padded |= ~mask[:, 1:].bool().repeat(copies, 1)
    return padded if bool(padded.any()) else None
