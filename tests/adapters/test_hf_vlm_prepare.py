"""Prompts through real processors, and whole folders through ``load_target``."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

from adapters.hf_vlm import HFTarget, load_target
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.adapters import processors
from tests.adapters.families import IMAGE, TEXT, VIDEO, model_of
from tests.drafters import DRAFTERS

RED = Image.new("RGB", (20, 16), (200, 10, 10))
GREEN = Image.new("RGB", (20, 16), (10, 200, 10))
BLUE = Image.new("RGB", (16, 24), (10, 10, 200))
MAKERS = {
    "llava": processors.llava,
    "qwen2_5_vl": processors.qwen,
    "idefics3": processors.idefics,
    "gemma3": processors.gemma,
}


def target_with(name: str) -> HFTarget:
    return HFTarget(model_of(name), MAKERS[name]())


def generated(target: HFTarget, inputs: dict[str, Any], count: int = 12) -> list[list[int]]:
    """What transformers' own ``generate`` adds."""
    full = target.model.generate(
        **inputs, max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return full[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("name", MAKERS)
def test_prepared_rows_decode_as_generate_decodes_them_alone(name: str) -> None:
    target = target_with(name)
    images, prompts = [[RED], [], [BLUE, RED]], ["describe it", "a cat", "a cat and it"]
    expected = [
        generated(target, target.prepare([pictures], [prompt]))[0]
        for pictures, prompt in zip(images, prompts, strict=True)
    ]
    inputs = target.prepare(images, prompts)
    assert inputs["input_ids"].shape[0] == 3
    engine = DRAFTERS["bush"].engine(target, expected)
    assert engine.generate(Request(inputs, Sampling(max_new_tokens=12)))[0] == expected


def test_videos_are_prepared_after_pictures() -> None:
    target = target_with("qwen2_5_vl")
    inputs = target.prepare([[RED]], ["describe it"], videos=[[[RED, GREEN, RED, GREEN]]])
    ids = inputs["input_ids"][0].tolist()
    assert 0 < ids.index(IMAGE) < ids.index(VIDEO)
    expected = generated(target, inputs)
    engine = DRAFTERS["flaky"].engine(target, expected)
    assert engine.generate(Request(inputs, Sampling(max_new_tokens=12)))[0] == expected


def test_a_processor_without_template_gets_placeholders_and_a_line() -> None:
    target = HFTarget(model_of("llava"), processors.llava(chat=False))
    ids = target.prepare([[RED]], ["a cat"])["input_ids"][0].tolist()
    assert ids == [IMAGE] * 16 + [4, 5]


def test_the_template_is_not_given_a_second_bos() -> None:
    ids = target_with("llava").prepare([[]], ["a cat"])["input_ids"][0].tolist()
    assert ids.count(target_with("llava").tokenizer.bos_token_id) <= 1


@pytest.mark.parametrize("chat", [True, False])
def test_text_models_take_a_tokenizer(chat: bool) -> None:
    tokenizer = processors.tokenizer()
    if chat:
        tokenizer.chat_template = (
            "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }}{% endfor %}"
            "{% if add_generation_prompt %} assistant :{% endif %}"
        )
    target = HFTarget(model_of("llama"), tokenizer)
    inputs = target.prepare([], ["a cat", "describe it a cat"])
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert inputs["input_ids"].shape == (2, 8 if chat else 4)
    assert target.decode([4, 5, 2]) == "a cat"


@pytest.mark.parametrize(
    ("name", "images", "prompts", "message"),
    [
        ("llava", [[RED]], ["<image> a cat"], "prompt 0 contains the placeholder '<image>'"),
        ("gemma3", [[]], ["a <boi>"], "prompt 0 contains the placeholder '<boi>'"),
        ("qwen2_5_vl", [[]], ["a <|video_pad|>"], "placeholder '<|video_pad|>'"),
        ("llava", [[RED], []], ["a cat"], "2 rows of images and 1 of videos for 1 prompts"),
        ("llava", [], [], "at least one prompt"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    name: str, images: Any, prompts: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        target_with(name).prepare(images, prompts)


def test_modalities_the_model_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="llava takes no videos"):
        target_with("llava").prepare([[]], ["a cat"], videos=[[[RED]]])
    with pytest.raises(ValueError, match="text model"):
        HFTarget(model_of("llama"), processors.tokenizer()).prepare([[RED]], ["a cat"])
    with pytest.raises(ValueError, match="without a processor"):
        HFTarget(model_of("llava")).prepare([[RED]], ["a cat"])
    with pytest.raises(ValueError, match="without a processor"):
        HFTarget(model_of("llava")).decode([4])


def test_a_saved_folder_loads_and_decodes_alike(tmp_path: Any) -> None:
    target = target_with("llava")
    target.model.save_pretrained(tmp_path)
    target.processor.save_pretrained(tmp_path)
    loaded = load_target(str(tmp_path), dtype=torch.float32, attn_implementation="eager")
    assert loaded.dtype == torch.float32
    assert loaded.model.get_decoder().config._attn_implementation == "eager"
    inputs = loaded.prepare([[RED]], ["describe it"])
    expected = generated(target, inputs)
    engine = DRAFTERS["static"].engine(loaded, expected)
    assert engine.generate(Request(inputs, Sampling(max_new_tokens=12)))[0] == expected


def test_a_text_folder_loads_in_the_dtype_asked_for(tmp_path: Any) -> None:
    hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT)).save_pretrained(tmp_path)
    processors.tokenizer().save_pretrained(tmp_path)
    loaded = load_target(str(tmp_path), dtype="bfloat16", device="cpu")
    assert loaded.dtype == torch.bfloat16
    assert loaded.prepare([], ["a cat"])["input_ids"].tolist() == [[4, 5]]


def test_a_folder_without_weights_is_one_sentence(tmp_path: Any) -> None:
    hf.LlamaConfig(**TEXT).save_pretrained(tmp_path)
    processors.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot load the weights of") as caught:
        load_target(str(tmp_path))
    assert "\n" not in str(caught.value)
