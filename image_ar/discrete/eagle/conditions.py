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
    Where the target says which tokens are padding (``caption_mask``), their rows are. Elsewhere
    rows are padding that have no hidden state of position ``t - 1``: targets hand out 0 for padding
    in front of a prompt.

    Args:
        prompt: Read with features.
        hidden_size: Width of one stream.

    Returns:
        ``(streams * batch, lead - 1)`` bool, ``lead`` the longest prompt; None without padding,
        which is found out on the host.
    """
    assert prompt.hidden is not None
    states = streams_of(prompt.hidden[:, :-1], hidden_size)
    copies = len(states) // len(prompt.lengths)
    mask = prompt.inputs.get("caption_mask")
    if mask is not None:
        padded = ~mask[:, 1:].bool().repeat(copies, 1)
    else:
        lengths = torch.tensor(prompt.lengths, device=states.device).repeat(copies)
        rows = torch.arange(1, states.shape[1] + 1, device=states.device)
        # Behind a prompt that is shorter than others picture tokens will lie.
        padded = (states == 0).all(-1) & (rows < lengths.unsqueeze(1))
    return padded if bool(padded.any()) else None
