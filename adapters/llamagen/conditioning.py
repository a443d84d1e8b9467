"""What an image is generated from: a class or the features of a text, and the absence of both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelEmbedder(nn.Module):
    """One embedding a class; the row after the last class stands for "no class".

    Args:
        num_classes: Classes.
        dim: Width.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding_table = nn.Embedding(num_classes + 1, dim)

    def forward(self, labels: Tensor, drop: Tensor | None = None) -> Tensor:
        """``(rows, 1, dim)`` of ``labels`` ``(rows,)``; where ``drop`` is True, the null class."""
        if drop is not None:
            labels = torch.where(drop, self.num_classes, labels)
        return self.embedding_table(labels).unsqueeze(1)


class CaptionProjection(nn.Module):
    """Two bias-free matrices with a tanh-approximated GELU between them."""

    def __init__(self, caption_dim: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(caption_dim, dim, bias=False)
        self.fc2 = nn.Linear(dim, dim, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(features), approximate="tanh"))


class CaptionEmbedder(nn.Module):
    """Features of a text encoder, projected; a fixed random text stands for "no text".

    The null text lies before the projection and is a buffer: the projection learns what to make of
    it.

    Args:
        caption_dim: Width of the features.
        dim: Width of the transformer.
        token_num: Positions of a text.
    """

    def __init__(self, caption_dim: int, dim: int, token_num: int) -> None:
        super().__init__()
        self.cap_proj = CaptionProjection(caption_dim, dim)
        self.uncond_embedding: Tensor
        self.register_buffer("uncond_embedding", torch.zeros(token_num, caption_dim))

    def forward(self, caption: Tensor, drop: Tensor | None = None) -> Tensor:
        """``(rows, T, dim)`` of ``caption`` ``(rows, T, caption_dim)``; null where ``drop``."""
        caption = caption.to(self.uncond_embedding.dtype)
        if drop is not None:
            caption = torch.where(drop.view(-1, 1, 1), self.uncond_embedding, caption)
        return self.cap_proj(caption)


def left_padded(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the valid block of right-padded features to the end and clear what is left of it.

    Args:
        features: ``(batch, T, width)``, right-padded.
        mask: ``(batch, T)``, 1 or True where there is text; the ones come first.

    Returns:
        The features with zeros in the padded rows, and the mask ``(batch, T)`` bool.
    """
    mask = mask.bool()
    size = mask.shape[1]
    shift = size - mask.sum(1, keepdim=True)
    origin = (torch.arange(size, device=mask.device) - shift) % size
    moved = features.gather(1, origin.unsqueeze(-1).expand_as(features))
    flipped = mask.flip(1)
    return moved * flipped.unsqueeze(-1), flipped


def causal_mask(caption_mask: Tensor, length: int) -> Tensor:
    """Who sees whom in a text's image: earlier positions, padding excluded, and always oneself.

    Args:
        caption_mask: ``(batch, T)`` bool, False on padding.
        length: Positions, the ``T`` of the text among them.

    Returns:
        ``(batch, 1, length, length)`` bool.
    """
    past = torch.ones(length, length, dtype=torch.bool, device=caption_mask.device).tril()
    seen = past & seen_columns(caption_mask, length)
    return seen | torch.eye(length, dtype=torch.bool, device=seen.device)


def seen_columns(caption_mask: Tensor, view: int) -> Tensor:
    """``(batch, 1, 1, view)`` bool: False on the keys of padded text positions."""
    batch, size = caption_mask.shape
    rest = caption_mask.new_ones(batch, view - size)
    return torch.cat([caption_mask, rest], dim=1)[:, None, None]
