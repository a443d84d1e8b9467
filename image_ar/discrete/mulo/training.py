"""What the up-sampler learns from: pairs of codes of one picture at two resolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from image_ar.discrete.mulo.upsampler import Upsampler


def upsampler_loss(network: Upsampler, low: Tensor, high: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the high codes, the true ones above given.

    The simplest of the losses that MuLo-SD compares; the better ones look at pixels through the
    frozen image decoder.

    Args:
        network: Trained.
        low: ``(batch, rows, columns)`` codes.
        high: ``(batch, ratio * rows, ratio * columns)`` codes of the same pictures.
        smoothing: Share of the mass that is spread over all codes.
    """
    logits = network(low, high).flatten(0, 2)
    return F.cross_entropy(logits, high.flatten(), label_smoothing=smoothing)


@torch.no_grad()
def upsampler_scores(network: Upsampler, low: Tensor, high: Tensor) -> dict[str, float]:
    """How often the likeliest code is the right one.

    Returns:
        ``accuracy`` over all cells; ``accuracy_detail`` over those that do not hold their picture's
        commonest code; ``probability``, the mean probability of the right code.
    """
    laws = network(low, high).softmax(-1)
    right = laws.argmax(-1) == high
    commonest = high.flatten(1).mode(1).values.view(-1, 1, 1)
    detail = high != commonest
    chance = laws.gather(-1, high.unsqueeze(-1))
    return {
        "accuracy": float(right.float().mean()),
        "accuracy_detail": float(right[detail].float().mean()) if bool(detail.any()) else 1.0,
        "probability": float(chance.mean()),
    }
