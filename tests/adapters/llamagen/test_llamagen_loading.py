"""From folders and files to pictures, and everything that is refused on the way."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from adapters.image_tokens import Defaults, ImageTokenTarget
from adapters.image_tokens.loading import load_target
from adapters.llamagen.config import CLASSES, TEXT
from adapters.llamagen.loading import assemble, save_folder
from adapters.llamagen.prompting import ClassConditioner, TextConditioner
from adapters.llamagen.vq import VQConfig, VQModel
from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.adapters.llamagen.tiny_models import CELLS, KINDS, LENGTH, NUM_CLASSES, WIDTH, gpt_of

WORDS = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "red": 4, "circle": 5, "blue": 6, "square": 7}
NAMES = ["cat", "dog", "owl", "bee", "fox"]


@lru_cache(maxsize=1)
def vq_of(codes: int = 24) -> VQModel:
    torch.manual_seed(0)
    shape = VQConfig(codes, 4, ch=8, ch_mult=(1, 2), num_res_blocks=1, z_channels=8, num_groups=4)
    return VQModel(shape).eval()


@lru_cache(maxsize=1)
def text_parts() -> tuple[Any, Any]:
    config = hf.T5Config(
        vocab_size=len(WORDS), d_model=WIDTH, d_kv=6, d_ff=16, num_layers=1, num_heads=2
    )
    torch.manual_seed(0)
    rules = Tokenizer(WordLevel(WORDS, unk_token="<unk>"))
    rules.pre_tokenizer = Whitespace()
    rules.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    return hf.T5EncoderModel(config).eval(), tokenizer


def target_of(kind: str) -> ImageTokenTarget:
    if kind == CLASSES:
        return assemble(gpt_of(kind), vq_of(), ClassConditioner(NUM_CLASSES, classes=NAMES))
    return assemble(gpt_of(kind), vq_of(), TextConditioner(*text_parts(), LENGTH, WIDTH))


def saved(kind: str, folder: Path, **rest: Any) -> Path:
    encoder, tokenizer = text_parts() if kind == TEXT else (None, None)
    names = NAMES if kind == CLASSES else None
    options = {"classes": names, "text_encoder": encoder, "tokenizer": tokenizer, **rest}
    save_folder(folder, gpt_of(kind), vq_of(), **options)
    return folder


def asked(kind: str, target: ImageTokenTarget, **rest: Any) -> dict[str, Any]:
    what: dict[str, Any] = {"class_ids": [1, 4]}
    if kind == TEXT:
        what = {"prompts": ["a red circle", "blue square"]}
    return target.prepare(**what, **rest)


def drawn(kind: str, target: ImageTokenTarget) -> list[list[int]]:
    sampling = Sampling(max_new_tokens=target.grid.length, temperature=1.0)
    request = Request(asked(kind, target, guidance_scale=2.0), sampling)
    return Engine(target).generate(request, seeds=[1, 2])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_draws_what_was_saved(kind: str, tmp_path: Path) -> None:
    target = target_of(kind)
    found = load_target(str(saved(kind, tmp_path, name="small")), device="cpu", dtype="float32")
    assert found.name == "small"
    assert found.classes == (tuple(NAMES) if kind == CLASSES else None)
    assert (found.grid.rows, found.grid.columns, found.vocab_size) == (4, 4, 24)
    assert found.defaults == Defaults(4.0, 1.0, 2000) if kind == CLASSES else True
    assert (found.device.type, found.dtype) == ("cpu", torch.float32)
    rows = drawn(kind, target)
    assert drawn(kind, found) == rows
    pixels = found.to_pixels(rows)
    assert pixels.shape == (2, 3, 8, 8)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    torch.testing.assert_close(pixels, target.to_pixels(torch.tensor(rows)))
    assert found.codebook.shape == (24, 4)
    assert found.codebook_normalized
    torch.testing.assert_close(found.codebook.norm(dim=1), torch.ones(24))


@pytest.mark.parametrize("kind", KINDS)
def test_official_files_with_their_tokenizer(kind: str, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path / "folder", defaults=Defaults(1.0))
    file = tmp_path / "x2i_T.pt"
    torch.save({"model": gpt_of(kind).state_dict()}, file)
    rest: dict[str, Any] = {"vq": folder / "vq", "n_head": 2}
    if kind == TEXT:
        rest["text_encoder"] = folder / "text_encoder"
    for size in ({"grid": 4}, {"image_size": 8}):
        found = load_target(str(file), **rest, **size)
        assert found.defaults.guidance_scale == (4.0 if kind == CLASSES else 7.5)
        assert drawn(kind, found) == drawn(kind, target_of(kind))


def test_prompts_become_left_padded_features() -> None:
    target = target_of(TEXT)
    inputs = target.prepare(["a red circle", "blue"], guidance_scale=3, cfg_interval=5)
    assert inputs["caption_mask"].int().tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert inputs["input_ids"].shape == (2, LENGTH)
    assert (inputs["guidance_scale"].tolist(), inputs["cfg_interval"]) == ([3, 3], 5)
    encoder, tokenizer = text_parts()
    alone = encoder(**tokenizer(["blue"], return_tensors="pt", return_token_type_ids=False))
    torch.testing.assert_close(inputs["caption"][1, -2:], alone.last_hidden_state[0])
    assert not inputs["caption"][1, :-2].any()
    assert target.prepare(["blue"])["guidance_scale"].tolist() == [7.5]


def test_prompts_are_tidied_where_the_model_learned_so() -> None:
    dirty, tidy = ["A <b>RED</b> circle.jpg", "“blue”"], ["a red", "blue"]
    conditioner = TextConditioner(*text_parts(), LENGTH, WIDTH, clean=True)
    plain = TextConditioner(*text_parts(), LENGTH, WIDTH)
    ours, theirs = conditioner(dirty, None, 1.0, -1), plain(tidy, None, 1.0, -1)
    assert torch.equal(ours["caption"], theirs["caption"])
    with pytest.raises(ValueError, match=r"prompt 1, 'cat.png', holds only what is taken out"):
        conditioner(["a cat", "cat.png"], None, 1.0, -1)


@pytest.mark.parametrize(
    ("kind", "what", "message"),
    [
        (CLASSES, {}, "give prompts or class_ids, neither was given"),
        (CLASSES, {"prompts": ["a"], "class_ids": [1]}, "both were given"),
        (CLASSES, {"prompts": ["a cat"]}, r"draws classes, not prompts; give class_ids .* 0 to 4"),
        (CLASSES, {"class_ids": [0, 5]}, "class 5 is out of range; give 0 to 4"),
        (CLASSES, {"class_ids": [-1]}, "class -1 is out of range"),
        (CLASSES, {"class_ids": []}, "the batch is empty"),
        (CLASSES, {"class_ids": [0], "guidance_scale": -1}, "guidance_scale must be 0 or above"),
        (CLASSES, {"class_ids": [0], "guidance_scale": float("nan")}, "guidance_scale must be"),
        (CLASSES, {"class_ids": [0], "cfg_interval": -2}, "cfg_interval must be -1"),
        (TEXT, {"class_ids": [0]}, "draws prompts and knows no classes; give prompts"),
        (TEXT, {"prompts": ["a", " "]}, "prompt 1 is empty; say what to draw"),
        (TEXT, {"prompts": ["a " * 6]}, "prompt 0 has 7 tokens and the model reads at most 6"),
    ],
)
def test_what_a_model_does_not_draw(kind: str, what: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        target_of(kind).prepare(**what)


def test_pictures_that_cannot_be_decoded() -> None:
    target = target_of(CLASSES)
    with pytest.raises(ValueError, match=r"has 16 tokens \(4 x 4\), got rows of \[3\]"):
        target.to_pixels([[0, 1, 2]])
    with pytest.raises(ValueError, match=r"got shape \(1, 15\)"):
        target.to_pixels(torch.zeros(1, CELLS - 1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"token ids \[-1, 24\] stand for no picture code"):
        target.to_pixels(torch.tensor([[24, -1] * 8]))


def test_ids_of_a_larger_vocabulary() -> None:
    """Codes may be a slice or any set of a model's vocabulary."""
    plain = target_of(CLASSES)
    parts = {"grid": plain.grid, "conditioner": plain.conditioner}

    class Wide:
        vocab_size = 40

    for ids in (slice(10, 34), torch.arange(10, 34), torch.arange(33, 9, -1)):
        target = ImageTokenTarget(
            Wide(),
            **parts,
            image_decoder=plain.image_decoder,
            image_ids=ids,  # type: ignore[arg-type]
        )
        every = torch.arange(40)[ids]
        assert target.codes(every).tolist() == list(range(24))
        with pytest.raises(ValueError, match=r"token ids \[9\] stand for no"):
            target.codes(torch.tensor([9]))
    with pytest.raises(ValueError, match="writes 40 picture codes and the image decoder has 24"):
        ImageTokenTarget(Wide(), **parts, image_decoder=plain.image_decoder)  # type: ignore[arg-type]


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    folder = saved(CLASSES, tmp_path / "classes")
    torch.save(gpt_of(CLASSES).state_dict(), tmp_path / "c2i_B_384.pt")
    official = str(tmp_path / "c2i_B_384.pt")
    other = VQModel(
        VQConfig(25, 4, ch=8, ch_mult=(1, 2), num_res_blocks=1, z_channels=8, num_groups=4)
    )
    from adapters.llamagen.vq_checkpoints import save_vq

    save_vq(other, tmp_path / "vq25")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name_or_path": "nowhere"}, "there is no file or folder 'nowhere'"),
        ({"name_or_path": str(folder), "revision": "main"}, "revision='main' is for Hub names"),
        ({"name_or_path": str(folder), "grid": 5}, "writes a grid of 4 x 4, not 5 x 5"),
        ({"name_or_path": str(folder), "image_size": 9}, "image_size must be a multiple of 2"),
        ({"name_or_path": str(folder), "image_size": 8, "grid": 4}, "grid or image_size, not both"),
        ({"name_or_path": str(folder), "dtype": "int8"}, "dtype must be auto, float32"),
        (
            {"name_or_path": str(folder), "vq": tmp_path / "vq25"},
            "writes 24 codes and the image to",
        ),
        ({"name_or_path": official}, "is a transformer alone; give vq=..."),
        (
            {"name_or_path": official, "vq": folder / "vq", "grid": 16},
            r"writes 24 x 24 tokens by its name, not 16 x 16",
        ),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            load_target(**options)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "classes": ["one"]}))
    with pytest.raises(ValueError, match="names 1 classes and its transformer knows 5"):
        load_target(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "other"}))
    with pytest.raises(
        ValueError, match="is a model of type 'other', which draws no pictures here"
    ):
        load_target(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a model's config"):
        load_target(str(folder))


def test_texts_need_their_encoder(tmp_path: Path) -> None:
    folder = saved(TEXT, tmp_path, text_encoder=None, tokenizer=None)
    with pytest.raises(ValueError, match="comes without a text encoder; give text_encoder="):
        load_target(str(folder))
    encoder, tokenizer = text_parts()
    with pytest.raises(ValueError, match="needs its tokenizer; give tokenizer="):
        load_target(str(folder), text_encoder=encoder)
    with pytest.raises(ValueError, match="cannot load the text encoder"):
        load_target(str(folder), text_encoder=str(tmp_path / "nowhere"))
    given = load_target(str(folder), text_encoder=encoder, tokenizer=tokenizer)
    assert drawn(TEXT, given) == drawn(TEXT, target_of(TEXT))
    with pytest.raises(ValueError, match="features of width 12 and the transformer takes 13"):
        TextConditioner(encoder, tokenizer, LENGTH, 13)
