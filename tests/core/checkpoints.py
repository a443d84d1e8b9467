"""Tiny random checkpoints made by hand and saved like real ones: no downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
WORDS = ("describe", "the", "picture", "clip", ".", "user", "assistant", ":")
VOCAB = [*SPECIALS, *WORDS, *(f"w{index}" for index in range(51))]
SIDE, PATCH = 16, 4
TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'] }} : "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}assistant :"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    table = {word: index for index, word in enumerate(VOCAB)}
    words = Tokenizer(WordLevel(table, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )


def text_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(VOCAB),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _spread(model: Any, seed: int) -> Any:
    """Weights large enough that the context matters and the argmax is clear."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(0.25 * torch.randn(parameter.shape, generator=generator))
        if hasattr(model.model, "vision_tower"):  # its class token has one dimension
            token = model.model.vision_tower.embeddings.class_embedding
            token.copy_(torch.randn(token.shape, generator=generator))
        model.get_output_embeddings().weight.mul_(4)
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    return model.eval()


def llava() -> LlavaForConditionalGeneration:
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(),
        image_token_index=4,
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    return _spread(LlavaForConditionalGeneration(config), seed=0)


def llama(seed: int = 1) -> LlamaForCausalLM:
    return _spread(LlamaForCausalLM(text_config()), seed)


def processor() -> LlavaProcessor:
    size = {"height": SIDE, "width": SIDE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False),
        tokenizer=tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def save_llava(folder: Path) -> Path:
    llava().save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def save_llama(folder: Path) -> Path:
    llama().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
