"""Anole and Lumina-mGPT: what frames a picture, the separate image tokenizer, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from adapters.chameleon.conditioning import SpecialIds, frame_of
from adapters.chameleon.loading import assemble, released_vocabulary_map
from adapters.image_tokens.loading import load_target
from adapters.llamagen.vq_checkpoints import save_vq
from image_ar.discrete.grid import Grid
from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace
from tests.adapters.image_models import (
    BY_NAME,
    CHAMELEON_FIRST,
    CHAMELEON_IDS,
    CODES,
    chameleon_model,
    small_vq,
)


def tokenizer() -> Any:
    words = ["<s>", "<bos>", "</s>", "a", "<sep>", "<boi>", "cat", "Generate", "prompt"]
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "</s>"))
    made.pre_tokenizer = Whitespace()
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")


def test_the_models_own_forward_forbids_what_the_target_allows() -> None:
    painter = BY_NAME["anole"]
    target, model = painter.make(), chameleon_model()
    ids = torch.tensor([painter.prompts[0]])
    theirs = model(input_ids=ids).logits[0, -1].softmax(-1)
    request = Request(painter.inputs([0], 1.0), Sampling(max_new_tokens=9))
    ours = target.prefill(request)[1].law.scores[0, 0].softmax(-1)  # type: ignore[attr-defined]
    allowed = painter.allowed(target)
    assert theirs[allowed].sum() == 0
    assert float(ours[allowed].sum()) == pytest.approx(1)


def test_released_models_are_framed_like_this() -> None:
    ids = SpecialIds()
    anole = frame_of("anole", (512, 512), 16, ids)
    assert anole.grid == Grid(32, 32)
    assert (anole.lead, anole.null, anole.template) == ((8197,), (0, 8197), "{prompt}")
    lumina = frame_of("lumina", (768, 512), 16, ids)
    assert lumina.grid == Grid(48, 32, (8803,), (8196,))
    assert lumina.grid.length == 48 * 33 + 1
    assert lumina.lead == (8197, 8804 + 24, 8804 + 16)
    assert lumina.null == lumina.lead
    assert "512x768" in lumina.template
    assert frame_of("lumina", (768, 512), 16, ids, "start").null == (0, *lumina.lead)
    assert frame_of("anole", (512, 512), 16, ids, "image").null == (8197,)


def test_released_codes_follow_each_other() -> None:
    names = released_vocabulary_map()
    assert (len(names), min(names.values()), max(names.values())) == (8192, 4, 8195)
    assert names["IMGIMGAZ"] == 4
    assert names["IMGIMGBCDZ"] == 4 + 123


def test_prompts_are_turns_of_a_user() -> None:
    target = assemble(chameleon_model(), small_vq(), tokenizer(), image_size=48, ids=CHAMELEON_IDS)
    inputs = target.prepare(["a cat", "cat"])
    assert inputs["input_ids"].tolist() == [[1, 3, 6, 4, 5], [0, 1, 6, 4, 5]]
    assert inputs["null_ids"].tolist() == [[1, 5], [1, 5]]
    assert target.defaults.top_k == 2000
    target = assemble(
        chameleon_model(),
        small_vq(),
        tokenizer(),
        variant="lumina",
        image_size=(64, 32),
        ids=CHAMELEON_IDS,
    )
    row = target.prepare(["a cat"])["input_ids"][0].tolist()
    assert row[:2] == [1, 7]
    assert row[-6:] == [3, 6, 4, 5, 12, 11]


def test_codes_are_those_of_the_map() -> None:
    target = BY_NAME["anole"].make()
    assert isinstance(target.image_ids, torch.Tensor)
    assert target.image_ids.tolist() == list(range(CHAMELEON_FIRST, CHAMELEON_FIRST + CODES))
    cells = torch.arange(9).view(1, 9)
    wanted = (small_vq().decode(cells.view(1, 3, 3)) * 0.5 + 0.5).clamp(0, 1)
    torch.testing.assert_close(target.to_pixels(cells + CHAMELEON_FIRST), wanted)
    assert target.to_pixels(cells + CHAMELEON_FIRST).shape == (1, 3, 48, 48)


def test_a_folder_is_loaded_by_its_type(tmp_path: Path) -> None:
    folder = tmp_path / "anole"
    chameleon_model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    with pytest.raises(ValueError, match=r"no decoder from codes to pixels.*give vq=.*vqgan\.ckpt"):
        load_target(folder)
    with pytest.raises(ValueError, match="vq: there is no file or folder 'nowhere'"):
        load_target(folder, vq="nowhere")
    save_vq(small_vq(), folder / "vq")
    target = load_target(folder, dtype="float32", image_size=48)
    painter = BY_NAME["anole"]
    request = Request(painter.inputs(), Sampling(max_new_tokens=9))
    plain = Engine(painter.make()).generate(request, Trace())[0]
    assert Engine(target).generate(request, Trace())[0] == plain
    assert target.grid == Grid(3, 3)
    lumina = load_target(folder, dtype="float32", variant="lumina", image_size=64)
    assert lumina.grid.line_ids == (8803,)
    save_vq(small_vq(), tmp_path / "elsewhere")
    assert load_target(folder, vq=tmp_path / "elsewhere", image_size=16).grid.cells == 1


def test_refusals_say_what_to_do() -> None:
    model = chameleon_model()
    with pytest.raises(ValueError, match=r"give vq=\.\.\., the vqgan\.ckpt"):
        assemble(model, None)
    with pytest.raises(ValueError, match="variant must be one of anole, lumina, got 'other'"):
        assemble(model, small_vq(), variant="other", image_size=64)
    with pytest.raises(ValueError, match="null must be one of image, start"):
        assemble(model, small_vq(), null="none")
    with pytest.raises(ValueError, match="must be a multiple of 16 pixels, got 40 x 40"):
        assemble(model, small_vq(), image_size=40)
    with pytest.raises(ValueError, match="must be a multiple of 32 pixels, got 48 x 64"):
        assemble(model, small_vq(), variant="lumina", image_size=(48, 64))
    target = BY_NAME["anole"].make()
    with pytest.raises(ValueError, match="built without a tokenizer; pass tokenizer"):
        target.prepare(["a cat"])
    with pytest.raises(ValueError, match="knows no classes; give prompts"):
        target.prepare(class_ids=[1])


def test_other_models_are_refused(tmp_path: Path) -> None:
    config = hf.LlamaConfig(vocab_size=8, hidden_size=8, num_attention_heads=2)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"type 'llama'.*supported are llamagen, janus, emu3"):
        load_target(tmp_path)
    with pytest.raises(ValueError, match="model of type 'janus', not 'chameleon'"):
        assemble(BY_NAME["janus"].make().decoder.model, small_vq())  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="there is no file or folder"):
        load_target(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a model's config"):
        load_target(tmp_path)
