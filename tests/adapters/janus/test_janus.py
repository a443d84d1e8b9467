"""Janus: transformers' own generation token for token, prompts, pixels and refusals."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from adapters.image_tokens.loading import load_target
from adapters.image_tokens.prompting import guided_inputs
from adapters.janus.loading import assemble
from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace
from tests.adapters.image_models import BY_NAME, CODES, JANUS_START, janus_model

JANUS = BY_NAME["janus"]
SPECIAL = {
    "image_token": "<image>",
    "boi_token": "<start>",
    "eoi_token": "<end>",
}


def processor() -> Any:
    """A real processor around a tokenizer of a few words."""
    words = ["<pad>", "<bos>", "<eos>", "<start>", "<image>", "<end>", "a", "red", "cat", "user:"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "<eos>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    wrapped = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=SPECIAL,
    )
    template = (
        "{{ bos_token }} {% for m in messages %}user: {{ m['content'][0]['text'] }} {% endfor %}"
    )
    return hf.JanusProcessor(hf.JanusImageProcessor(), wrapped, chat_template=template)


@pytest.mark.parametrize("scale", [4.0, 1.5])
def test_greedy_pictures_equal_those_of_transformers(scale: float) -> None:
    model, target = janus_model(), JANUS.make()
    inputs = JANUS.inputs(scale=scale)
    wanted = model.generate(
        inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        generation_mode="image",
        guidance_scale=scale,
        do_sample=False,
        max_new_tokens=target.grid.length,
    )
    sampling = Sampling(max_new_tokens=target.grid.length)
    assert Engine(target).generate(Request(inputs, sampling), Trace())[0] == wanted.tolist()
    decoded = model.decode_image_tokens(wanted).permute(0, 3, 1, 2)
    torch.testing.assert_close(target.to_pixels(wanted), (decoded / 2 + 0.5).clamp(0, 1))


def test_prompts_become_what_transformers_makes_of_them() -> None:
    target = assemble(janus_model(), processor())
    inputs = target.prepare(["a red cat", "cat"], guidance_scale=4.0)
    assert inputs["input_ids"].tolist() == [[1, 9, 6, 7, 8, JANUS_START], [0, 0, 1, 9, 8, 3]]
    assert inputs["attention_mask"].tolist() == [[1] * 6, [0, 0, 1, 1, 1, 1]]
    assert inputs["null_ids"].tolist() == [[1, 0, 0, 0, 0, 3], [0, 0, 1, 0, 0, 3]]
    assert inputs["guidance_scale"].tolist() == [4.0, 4.0]
    assert target.defaults.guidance_scale == 5.0
    assert (target.defaults.temperature, target.defaults.top_k) == (1.0, 0)


def test_the_codebook_is_the_one_that_is_decoded() -> None:
    target = JANUS.make()
    assert target.codebook.shape == (CODES, 4)
    assert target.codebook_normalized
    torch.testing.assert_close(target.codebook.norm(dim=-1), torch.ones(CODES))
    assert (target.grid.rows, target.grid.columns, target.vocab_size) == (3, 3, CODES)


def test_a_folder_is_loaded_by_its_type(tmp_path: Path) -> None:
    folder = str(tmp_path)
    janus_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    target = load_target(folder, dtype="float32")
    again = target.prepare(["a red cat"])
    wanted = guided_inputs([[1, 9, 6, 7, 8, 3]], [[1, 0, 0, 0, 0, 3]], 5.0)
    assert {k: v.tolist() for k, v in again.items() if k != "cfg_interval"} == {
        k: v.tolist() for k, v in wanted.items() if k != "cfg_interval"
    }
    sampling = Sampling(max_new_tokens=9)
    plain = Engine(JANUS.make()).generate(Request(wanted, sampling), Trace())[0]
    assert Engine(target).generate(Request(again, sampling), Trace())[0] == plain
    with pytest.raises(ValueError, match="draws 24 x 24 pixels only, got image_size=512"):
        load_target(folder, image_size=512)
    with pytest.raises(ValueError, match=r"janus models do not take vq; they take image_size"):
        load_target(folder, vq="file")


def test_refusals_say_what_to_do() -> None:
    target = JANUS.make()
    with pytest.raises(ValueError, match="built without a processor; pass processor"):
        target.prepare(["a cat"])
    with pytest.raises(ValueError, match="knows no classes; give prompts"):
        target.prepare(class_ids=[1])
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        target.prepare(["a cat", " "])
    model = deepcopy(janus_model())
    model.config.vision_config.num_image_tokens = 10
    with pytest.raises(ValueError, match="10 image tokens and a grid of 3 x 3"):
        assemble(model)
    model = deepcopy(janus_model())
    model.generation_config.generation_kwargs = None
    with pytest.raises(ValueError, match="nor the tokenizer knows boi_token_id"):
        assemble(model)
