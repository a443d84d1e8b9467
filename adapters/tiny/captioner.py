"""Loss of the captioner on a batch, with logits only where a caption word is predicted."""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .data import Batch
from .model import IMAGE


def caption_loss(
    model: LlavaForConditionalGeneration, batch: Batch, *, train_tower: bool
) -> torch.Tensor:
    """Mean cross entropy of the caption tokens of a batch."""
    return word_loss(model, batch, language_states(model, batch, train_tower=train_tower)[-1])


def language_states(
    model: LlavaForConditionalGeneration, batch: Batch, *, train_tower: bool
) -> tuple[torch.Tensor, ...]:
    """Hidden states (rows, tokens, width) of the language model: embeddings, then each layer."""
    core = model.model
    with torch.set_grad_enabled(train_tower):
        patches = core.vision_tower(batch.pixels).last_hidden_state[:, 1:]
    features = core.multi_modal_projector(patches)  # (images, patches, width)
    embeddings = core.language_model.embed_tokens(batch.ids)
    slots = (batch.ids == IMAGE).unsqueeze(-1)
    embeddings = embeddings.masked_scatter(slots, features.to(embeddings.dtype))
    output = core.language_model(
        inputs_embeds=embeddings, use_cache=False, output_hidden_states=True
    )
    states: tuple[torch.Tensor, ...] = output.hidden_states
    return states


def word_loss(
    model: LlavaForConditionalGeneration, batch: Batch, hidden: torch.Tensor
) -> torch.Tensor:
    """Mean cross entropy of the caption tokens, given the last hidden states."""
    predicting = caption_positions(batch)
    targets = batch.ids[:, 1:][predicting]
    return functional.cross_entropy(model.lm_head(hidden[:, :-1][predicting]).float(), targets)


def caption_positions(batch: Batch) -> torch.Tensor:
    """Mask (rows, tokens - 1) of the positions that predict a caption token."""
    columns = torch.arange(batch.ids.shape[1] - 1)
    starts = torch.tensor(batch.starts).unsqueeze(1)
    lengths = torch.tensor(batch.lengths).unsqueeze(1)
    return (columns >= starts - 1) & (columns < lengths - 1)
