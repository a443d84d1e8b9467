"""The text encoder of the embedded video models: a small T5 over the words of film prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from adapters.tiny.images import text_encoder as images
from adapters.tiny.world.motion_prompts import MOTION_WORDS

# Room for the longest prompt and the end mark.
TEXT_TOKENS = images.TEXT_TOKENS
TEXT_DIM = 96


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of picture prompts, with the words of motions added."""
    tokenizer = images.build_tokenizer()
    known = tokenizer.get_vocab()
    # Whole words only: "up" is no part of "upper".
    fresh = [
        AddedToken(word, single_word=True, normalized=True)
        for word in MOTION_WORDS
        if word not in known
    ]
    tokenizer.add_tokens(fresh)
    return tokenizer


def text_config() -> T5Config:
    """Return the encoder's shape: two layers of width 96."""
    config = images.text_config()
    config.vocab_size = len(build_tokenizer())
    config.d_model, config.d_kv, config.num_heads = TEXT_DIM, 24, 4
    config.d_ff, config.num_layers = 192, 2
    return config


def build_text_encoder() -> T5EncoderModel:
    """Build an untrained encoder."""
    return T5EncoderModel(text_config())


def encode(
    encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """States ``(prompts, TEXT_TOKENS, TEXT_DIM)``, zero after the end of a prompt, and token ids.

    Wan's attention to the text has no mask; zeros past the end are what it is trained with.
    """
    ids, mask = images.tokenize(tokenizer, prompts, TEXT_TOKENS)
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return torch.where(mask.unsqueeze(-1), states, 0.0), ids
