"""What drafters here ask of a target beyond the core's role."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor

from lm_drafting.vision.compressor import Grid
from mmspec.messages import Evidence
from mmspec.roles import Decoder
from mmspec.state import State
from mmspec.token_target import Request


class FeatureTarget(Protocol):
    """A token target that lends its embedding table and its output head."""

    decoder: Decoder

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        ...

    def prefill(self, request: Request) -> tuple[State, Evidence]:
        """Read the prompts; see :class:`mmspec.token_target.TokenTarget`."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings ``(..., hidden)`` of token ids."""
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``(..., vocab)`` of hidden states after the final norm."""
        ...


class CaptioningTarget(FeatureTarget, Protocol):
    """A target that also turns pictures and prompts into tensors; needed for training only."""

    stop_ids: tuple[int, ...]

    def prepare(self, images: Any, prompts: Any) -> dict[str, Any]:
        """Tensors for a batch of prompts with their pictures."""
        ...


def placeholder_ids(target: Any) -> tuple[int, ...]:
    """Tokens that stand for pictures or clips in the target's prompts; none for a text model."""
    return tuple(getattr(target, "image_token_ids", ()))


def visual_grids(target: Any, inputs: dict[str, Any]) -> list[list[Grid | None]] | None:
    """Grids of every row's pictures in order, where the target knows them."""
    known = getattr(target, "visual_grids", None)
    return None if known is None else cast("list[list[Grid | None]]", known(inputs))
