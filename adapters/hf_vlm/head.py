"""Input embeddings and final logits, exactly as a model computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Finish = Callable[[Tensor], Tensor]


class Head:
    """A model's output projection followed by what its ``forward`` does to the logits.

    Args:
        model: A transformers model with a language modeling head.
    """

    def __init__(self, model: Any) -> None:
        self._project = model.get_output_embeddings()
        self._finish = _finish(model)
        self.vocab_size: int = self._project.weight.shape[0]

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits ``(..., vocab)`` of hidden states after the final norm."""
        logits = self._project(hidden)
        return logits if self._finish is None else self._finish(logits)


def _finish(model: Any) -> Finish | None:
    """What follows the projection; multimodal wrappers ignore their text model's option."""
    if model.base_model is not model.get_decoder():
        return None
    config = model.config
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    if cap is not None:
        return lambda logits: torch.tanh(logits / cap) * cap
    factor = getattr(config, "logit_scale", None)  # Cohere
    if factor is not None:
        return lambda logits: logits * factor
    divisor = getattr(config, "logits_scaling", None)  # Granite
    if divisor is not None:
        return lambda logits: logits / divisor
    return None
