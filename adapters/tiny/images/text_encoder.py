"""The text encoder of the embedded text-to-image model: a small T5 over the words of prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from adapters.tiny.world.prompt_words import MAX_PROMPT_WORDS, PROMPT_WORDS, SYNONYMS

SPECIALS = ("<pad>", "</s>", "<unk>")
PAD, EOS, UNK = range(len(SPECIALS))
# The longest prompt and the end mark.
TEXT_TOKENS = MAX_PROMPT_WORDS + 1
TEXT_DIM = 128


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the word-level tokenizer; it reads a prompt as `prompt_words.normalise` does."""
    vocabulary = {word: index for index, word in enumerate([*SPECIALS, *PROMPT_WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    same = [
        normalizers.Replace(Regex(rf"\b{re.escape(word)}\b"), known)
        for word, known in SYNONYMS.items()
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[\"'`()\[\]{}“”‘’_\-]"), " "),
            normalizers.Replace(Regex(r"[.;:!?]"), ","),
            *same,
            # A comma says something only between two phrases.
            normalizers.Replace(Regex(r"^[\s,]+"), ""),
            normalizers.Replace(Regex(r"\band[\s,]+"), "and "),
            normalizers.Replace(
                Regex(r"[\s,]*,(?=\s*(?:$|,|(?:and|above|below|to|left|right|on|in|at)\b))"), " "
            ),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=TEXT_TOKENS,
    )


def text_config() -> T5Config:
    """Return the encoder's shape: three layers of width 128."""
    return T5Config(
        vocab_size=len(SPECIALS) + len(PROMPT_WORDS),
        d_model=TEXT_DIM,
        d_kv=32,
        d_ff=192,
        num_layers=3,
        num_heads=4,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=64,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )


def build_text_encoder() -> T5EncoderModel:
    """Build an untrained encoder."""
    return T5EncoderModel(text_config())


def tokenize(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], size: int | None = TEXT_TOKENS
) -> tuple[Tensor, Tensor]:
    """Token ids and mask ``(prompts, size)``, padded on the right; None pads to the longest."""
    padding = "longest" if size is None else "max_length"
    out = tokenizer(
        list(prompts),
        padding=padding,
        truncation=True,
        max_length=TEXT_TOKENS,
        return_tensors="pt",
    )
    return out["input_ids"], out["attention_mask"].bool()


def encode(encoder: T5EncoderModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Features of each token, ``(prompts, tokens, TEXT_DIM)``."""
    features: Tensor = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return features


def mean_features(features: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of each prompt: all that the image model's attention can read."""
    weights = mask.to(features.dtype).unsqueeze(-1)
    return torch.sum(features * weights, 1) / weights.sum(1)
