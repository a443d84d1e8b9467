"""Emu3: transformers' own guided generation token for token, prompts, pixels and refusals."""

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

from adapters.emu3.loading import assemble
from adapters.image_tokens.loading import load_target
from image_ar.discrete.grid import Grid
from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace
from tests.adapters.image_models import (
    BY_NAME,
    CODES,
    EMU3_END,
    EMU3_IDS,
    EMU3_LINE,
    emu3_model,
)

EMU3 = BY_NAME["emu3"]


def processor() -> Any:
    """A real processor around a tokenizer of a few words."""
    special = {
        "image_token": "<image>",
        "boi_token": "<boi>",
        "eoi_token": "<eoi>",
        "image_wrapper_token": "<img>",
        "eof_token": "<eof>",
    }
    words = ["<pad>", "<bos>", "<eos>", *special.values(), "a", "cat", "bad", "3*4"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "<eos>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    wrapped = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=special,
    )
    return hf.Emu3Processor(hf.Emu3ImageProcessor(), wrapped)


@pytest.mark.parametrize("row", range(4))
def test_greedy_pictures_equal_those_of_transformers(row: int) -> None:
    model, target, scale = emu3_model(), EMU3.make(), 2.5
    forced = dict(target.grid.forced_ids())
    prompt, null = (torch.tensor([rows[row]]) for rows in (EMU3.prompts, EMU3.nulls))

    def allowed(batch: int, ids: torch.Tensor) -> list[int]:
        made = len(ids) - prompt.shape[1]
        return [forced[made]] if made in forced else EMU3_IDS

    wanted = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        negative_prompt_ids=null,
        negative_prompt_attention_mask=torch.ones_like(null),
        guidance_scale=scale,
        prefix_allowed_tokens_fn=allowed,
        max_new_tokens=target.grid.length,
        do_sample=False,
        eos_token_id=None,
    )[:, prompt.shape[1] :]
    sampling = Sampling(max_new_tokens=target.grid.length, forced_ids=target.grid.forced_ids())
    request = Request(EMU3.inputs([row], scale), sampling)
    assert Engine(target).generate(request, Trace())[0] == wanted.tolist()
    # transformers cuts three tokens at the end; ours has one there.
    longer = torch.cat([wanted, wanted[:, :2]], 1)
    decoded = model.decode_image_tokens(image_tokens=longer, height=3, width=4)
    pixels = target.to_pixels(wanted[:, target.grid.cell_positions()])
    torch.testing.assert_close(pixels, (decoded / 2 + 0.5).clamp(0, 1))


def test_codes_and_grid_come_from_the_config() -> None:
    target = EMU3.make()
    assert target.grid == Grid(3, 4, (EMU3_LINE,), (EMU3_END,))
    assert isinstance(target.image_ids, torch.Tensor)
    assert target.image_ids.tolist() == EMU3_IDS
    assert target.codes(torch.tensor(EMU3_IDS)).tolist() == list(range(CODES))
    assert not target.codebook_normalized
    with pytest.raises(ValueError, match=r"token ids \[8\] stand for no picture code"):
        target.codes(torch.tensor([EMU3_LINE]))


def test_prompts_become_what_transformers_makes_of_them() -> None:
    target = assemble(emu3_model(), processor(), image_size=(6, 8), negative_prompt="bad")
    inputs = target.prepare(["a cat", "cat"])
    assert inputs["input_ids"].tolist() == [[1, 8, 9, 4, 11, 6], [0, 1, 9, 4, 11, 6]]
    assert inputs["null_ids"].tolist() == [[1, 10, 4, 11, 6]] * 2
    assert inputs["guidance_scale"].tolist() == [3.0, 3.0]
    assert target.defaults.top_k == 2048


def test_a_folder_is_loaded_by_its_type(tmp_path: Path) -> None:
    folder = str(tmp_path)
    emu3_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    target = load_target(folder, dtype="float32", image_size=(6, 8), negative_prompt="bad")
    same = assemble(emu3_model(), processor(), image_size=(6, 8), negative_prompt="bad")
    sampling = Sampling(max_new_tokens=16, forced_ids=same.grid.forced_ids())
    outputs = [
        Engine(one).generate(Request(one.prepare(["a cat"]), sampling), Trace())[0]
        for one in (target, same)
    ]
    assert outputs[0] == outputs[1]
    with pytest.raises(ValueError, match="must be a multiple of 2 pixels, got 6 x 7"):
        load_target(folder, image_size=(6, 7))


def test_refusals_say_what_to_do() -> None:
    target = EMU3.make()
    with pytest.raises(ValueError, match="built without a processor; pass processor"):
        target.prepare(["a cat"])
    with pytest.raises(ValueError, match="knows no classes; give prompts"):
        target.prepare(class_ids=[1])
    with pytest.raises(ValueError, match="must be a multiple of 2 pixels, got 7 x 7"):
        assemble(emu3_model(), image_size=7)
    model = deepcopy(emu3_model())
    del model.config.vocabulary_map["<|extra_200|>"]
    with pytest.raises(ValueError, match=r"lacks <\|extra_200\|>"):
        assemble(model, image_size=8)
