"""Word tokenizers in the manner of BERT and of CLIP, twenty words each; and frames to look at."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast

_SENTENCE = "a red blue star circle moves left right up down over under and the"
WORDS = tuple(_SENTENCE.split())


def bert_words() -> Any:
    """``[CLS] ... [SEP]``, padded with 0."""
    return _tokenizer(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS), "[CLS]", "[SEP]", "[PAD]")


def clip_words() -> Any:
    """Begin and end are the largest ids; padded with the end, as CLIP's."""
    names = ("[UNK]", *WORDS, "-", "/", "+", "<bos>", "<eos>")
    return _tokenizer(names, "<bos>", "<eos>", "<eos>")


def frames(count: int = 5, height: int = 40, width: int = 60, seed: int = 0) -> Tensor:
    """``(count, 3, height, width)`` in [0, 1]."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _tokenizer(names: tuple[str, ...], begin: str, end: str, pad: str) -> Any:
    table = {name: place for place, name in enumerate(names)}
    assert len(table) <= 20
    inner = Tokenizer(WordLevel(table, "[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, table[begin]), (end, table[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", pad_token=pad, bos_token=begin, eos_token=end
    )
