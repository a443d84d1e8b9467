"""Real processors around a word list, built by hand."""

from __future__ import annotations

from typing import Any

import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.adapters.families import IMAGE, VIDEO, VOCAB

WORDS = ["[pad]", "<s>", "</s>", "[unk]", "a", "cat", "describe", "it", "user", "assistant", ":"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE {% elif c['type'] == 'video' %}VIDEO "
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} assistant :{% endif %}"
)


def tokenizer(image: str = "", video: str = "", others: tuple[str, ...] = (), **named: str) -> Any:
    """Whole words; the placeholders have the ids that the tiny families give them."""
    names = [*WORDS, *others]
    names += [f"w{index}" for index in range(len(names), VOCAB)]
    names[IMAGE], names[VIDEO] = image or names[IMAGE], video or names[VIDEO]
    vocab = {name: index for index, name in enumerate(names)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="[unk]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens([name for name in (image, video, *others) if name])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[pad]",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="[unk]",
        extra_special_tokens=named,
    )


def template(image: str, video: str = "") -> str:
    return TEMPLATE.replace("IMAGE", image).replace("VIDEO", video)


def llava(chat: bool = True) -> Any:
    return hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer("<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=template("<image>") if chat else None,
    )


def qwen() -> Any:
    sizes = {"patch_size": 4, "merge_size": 2, "min_pixels": 64, "max_pixels": 1024}
    return hf.Qwen2_5_VLProcessor(
        hf.Qwen2VLImageProcessor(**sizes),
        tokenizer("<|image_pad|>", "<|video_pad|>", ("<|vision_start|>", "<|vision_end|>")),
        hf.Qwen2VLVideoProcessor(**sizes, cap_pixels_per_frame=True),
        chat_template=template(
            "<|vision_start|><|image_pad|><|vision_end|>",
            "<|vision_start|><|video_pad|><|vision_end|>",
        ),
    )


def qwen3() -> Any:
    sizes = {"patch_size": 4, "merge_size": 2}
    return hf.Qwen3VLProcessor(
        hf.Qwen2VLImageProcessor(**sizes, min_pixels=64, max_pixels=1024),
        tokenizer("<|image_pad|>", "<|video_pad|>", ("<|vision_start|>", "<|vision_end|>")),
        hf.Qwen3VLVideoProcessor(
            **sizes,
            size={"shortest_edge": 64, "longest_edge": 4096},
            do_sample_frames=False,
            cap_pixels_per_frame=True,
        ),
        chat_template=template(
            "<|vision_start|><|image_pad|><|vision_end|>",
            "<|vision_start|><|video_pad|><|vision_end|>",
        ),
    )


def internvl() -> Any:
    size = {"height": 16, "width": 16}
    named = {"start_image_token": "<img>", "end_image_token": "</img>"}
    named |= {"context_image_token": "<ctx>", "video_token": "<video>"}
    return hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer("<ctx>", others=("<img>", "</img>", "<video>"), **named),
        hf.InternVLVideoProcessor(size=size, do_sample_frames=False),
        image_seq_length=4,
        chat_template=template("<ctx>", "<video>"),
    )


def idefics() -> Any:
    others = ("<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
    return hf.Idefics3Processor(
        hf.Idefics3ImageProcessor(
            size={"longest_edge": 16},
            max_image_size={"longest_edge": 16},
            do_image_splitting=False,
        ),
        tokenizer("<image>", others=others),
        image_seq_len=4,
        chat_template=template("<image>"),
    )


def gemma() -> Any:
    named = {"image_token": "<img>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    return hf.Gemma3Processor(
        hf.Gemma3ImageProcessor(size={"height": 16, "width": 16}),
        tokenizer("<img>", others=("<boi>", "<eoi>"), **named),
        image_seq_length=4,
        chat_template=template("<boi>"),
    )
