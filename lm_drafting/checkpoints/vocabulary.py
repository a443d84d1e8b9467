"""The smaller vocabulary of an EAGLE-3 drafter, as its checkpoints map it to the target's."""

from __future__ import annotations

import torch
from torch import Tensor


def target_ids(offsets: Tensor) -> Tensor:
    """Target ids ``(draft vocabulary,)`` of draft ids; ``d2t`` holds what to add to each."""
    return torch.arange(len(offsets), device=offsets.device) + offsets


def within(ids: Tensor, vocabulary: int) -> bool:
    """Whether all ids are tokens of a vocabulary of this size."""
    return bool(((ids >= 0) & (ids < vocabulary)).all())


def token_mask(ids: Tensor, vocabulary: int) -> Tensor:
    """``t2d``: which tokens ``(vocabulary,)`` of the target a drafter knows."""
    mask = torch.zeros(vocabulary, dtype=torch.bool, device=ids.device)
    mask[ids] = True
    return mask
