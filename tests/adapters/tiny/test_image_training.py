"""Training of the embedded image models: what it must compute, and that it runs and resumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, T5EncoderModel

from adapters.llamagen.checkpoints import load_gpt
from adapters.llamagen.gpt import GPT
from adapters.llamagen.vq import VQConfig, VQModel
from adapters.llamagen.vq_checkpoints import save_vq
from adapters.tiny.images import codes as codes_module
from adapters.tiny.images import train_gpt, train_text_encoder
from adapters.tiny.images.codes import code_scene, stored_codes
from adapters.tiny.images.evaluate import class_scores, held_out_prompts, prompt_scores
from adapters.tiny.images.fast_pass import training_pass
from adapters.tiny.images.gpt_shape import (
    CLASS_NAMES,
    class_gpt_config,
    class_of,
    main_thing,
    text_gpt_config,
)
from adapters.tiny.images.gpt_trainee import CodeData, Texts, Trainee
from adapters.tiny.images.judge import Seen
from adapters.tiny.images.text_encoder import (
    TEXT_DIM,
    TEXT_TOKENS,
    build_text_encoder,
    build_tokenizer,
    encode,
    tokenize,
)
from adapters.tiny.images.text_labels import LOOKS, NOTHING, text_labels
from adapters.tiny.optimiser import build_optimisers
from adapters.tiny.world.prompt_parser import parse_prompt
from adapters.tiny.world.prompt_words import PROMPT_WORDS, normalise
from adapters.tiny.world.scene import Scene, Thing

SCENE = Scene(
    (
        Thing("star", "red", "small", "plain", 1),
        Thing("cross", "blue", "large", "dotted", 4),
        Thing("circle", "green", "large", "plain", 8),
    ),
    "mint",
)


def random_gpt(config) -> GPT:
    gpt = GPT(config)
    gpt.reset_parameters(torch.Generator().manual_seed(0), zero_output=False)
    return gpt


def test_tokenizer_reads_prompts_as_the_parser_does():
    tokenizer = build_tokenizer()
    prompts = held_out_prompts(40)[1] + [
        "An 'orange' circle, and, a big gray star; on: grey.",
        ", 2 red-squares , and a cross, above a star !",
        "a circle of glass",
    ]
    for prompt in prompts:
        words = [word if word in PROMPT_WORDS else "<unk>" for word in normalise(prompt)]
        ids = tokenizer(prompt)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == [*words, "</s>"]


def test_text_encoder_survives_its_folder(tmp_path):
    encoder, tokenizer = build_text_encoder().eval(), build_tokenizer()
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids, mask = tokenize(AutoTokenizer.from_pretrained(tmp_path), ["a red star", "two crosses"])
    assert ids.shape == (2, TEXT_TOKENS)
    assert mask.sum(1).tolist() == [4, 3]
    again = T5EncoderModel.from_pretrained(tmp_path)
    with torch.inference_mode():
        assert torch.equal(encode(encoder, ids, mask), encode(again, ids, mask))


def test_labels_say_what_prompt_and_scene_hold():
    wish = parse_prompt("a red star above a large dotted cross in the centre and a circle on mint")
    labels = text_labels([wish], [SCENE])
    assert labels.present.tolist() == [[1, 1, 1, 0]]
    shapes, colours = LOOKS["shape"], LOOKS["colour"]
    assert labels.slots[0, 0].tolist() == [shapes.index("star"), colours.index("red"), 3, 5]
    assert labels.slots[0, 3].tolist() == [NOTHING] * 4
    assert labels.places[0, 1].nonzero().flatten().tolist() == [4]
    assert labels.relations.tolist() == [[4, 0, 4, NOTHING]]
    assert labels.filled.nonzero()[:, 1].tolist() == [1, 4, 8]
    assert labels.looks[0, 8, 0] == shapes.index("circle")


def test_class_is_that_of_the_largest_thing_first_in_raster_order():
    assert main_thing(SCENE).shape == "cross"
    assert CLASS_NAMES[class_of(SCENE)] == "blue cross"


@pytest.mark.parametrize("kind", ["text", "class"])
def test_training_pass_is_the_models_own(kind):
    gpt = random_gpt(text_gpt_config() if kind == "text" else class_gpt_config())
    drawn = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 512, (3, 256), generator=drawn)
    mask = torch.arange(TEXT_TOKENS) >= TEXT_TOKENS - torch.tensor([[4], [9], [17]])
    caption = torch.randn(3, TEXT_TOKENS, TEXT_DIM, generator=drawn) * mask.unsqueeze(-1)
    texts = {"caption": caption, "caption_mask": mask}
    inputs = texts if kind == "text" else {"labels": torch.tensor([0, 5, 47])}
    drop = torch.tensor([True, False, False])
    with torch.inference_mode():
        ours = training_pass(gpt, codes, inputs, drop)
        torch.testing.assert_close(ours.logits, gpt.loss_logits(codes, inputs, drop))
    assert ours.streams[0].shape == (3, 256, 128)


def test_small_models_stay_small():
    assert sum(p.numel() for p in GPT(text_gpt_config()).parameters()) < 1.8e6
    assert sum(p.numel() for p in GPT(class_gpt_config()).parameters()) < 1.35e6


def test_tables_and_output_are_no_hidden_matrices():
    trainee = Trainee(GPT(class_gpt_config()))
    for module in (trainee, build_text_encoder()):
        hidden = build_optimisers(module.named_parameters())[1].param_groups[0]["params"]
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        found = [names[id(parameter)] for parameter in hidden]
        assert not [n for n in found if "embed" in n or "output." in n or "bias" in n]
        assert not [n for n in found if "shared" in n or "heads" in n]


def test_a_batch_depends_on_its_step_alone_and_prompts_are_new_each_time():
    codes = np.random.default_rng(0).integers(0, 512, (4, 256)).astype(np.int16)
    data = CodeData(codes, Texts(build_text_encoder(), build_tokenizer()))
    first, again, later = data.batch(0, 4), data.batch(0, 4), data.batch(1, 4)
    assert torch.equal(first.inputs["caption"], again.inputs["caption"])
    assert torch.equal(first.codes, later.codes)
    assert not torch.equal(first.inputs["caption"], later.inputs["caption"])
    # Where a thing lies, codes are told its looks; codes are five to a place.
    thing = code_scene(0).things[0]
    place = 5 * thing.row * 16 + 5 * thing.column
    assert first.looks[0, place, 0] == LOOKS["shape"].index(thing.shape)
    loss = Trainee(GPT(text_gpt_config()))(first, probe=True)
    loss.backward()
    assert loss.isfinite()


@pytest.fixture
def tokenizer(tmp_path):
    torch.manual_seed(0)
    config = VQConfig(
        codebook_size=512, codebook_embed_dim=8, ch=8, ch_mult=(1, 1, 1), z_channels=8, num_groups=4
    )
    folder = tmp_path / "llamagen" / "vq"
    save_vq(VQModel(config), folder)
    return folder


def test_codes_are_made_once_and_go_on_after_a_kill(tokenizer, tmp_path, monkeypatch):
    codes = stored_codes(tokenizer, tmp_path / "codes", 5)
    assert codes.shape == (5, 256)
    (path,) = (tmp_path / "codes").iterdir()
    path.write_bytes(path.read_bytes()[: 3 * 512 + 7])
    assert np.array_equal(stored_codes(tokenizer, tmp_path / "codes", 5), codes)

    def refuse(path):
        raise AssertionError("made again")

    monkeypatch.setattr(codes_module, "load_vq", refuse)
    assert np.array_equal(stored_codes(tokenizer, tmp_path / "codes", 4), codes[:4])


def test_trainings_run_and_the_class_model_starts_from_the_text_model(
    tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(train_text_encoder, "_HELD_OUT_ROWS", 8)
    monkeypatch.setattr(train_text_encoder, "ROWS", 4)
    monkeypatch.setattr(train_gpt, "HELD_OUT_PICTURES", 2)
    out, words = tmp_path / "llamagen", tmp_path / "llamagen" / "text_encoder"
    given = ["--work", str(tmp_path / "work"), "--threads", str(torch.get_num_threads())]
    train_text_encoder.main(["--out", str(words), "--steps", "2", *given])
    given += ["--vq", str(tokenizer), "--codes", str(tmp_path / "codes")]
    given += ["--pictures", "4", "--rows", "2", "--steps", "1", "1"]
    train_gpt.main(["text", "--out", str(out), "--text-encoder", str(words), *given])
    classes = tmp_path / "llamagen-c2i"
    train_gpt.main(["class", "--out", str(classes), "--start", str(out / "gpt"), *given])
    text, started = load_gpt(out / "gpt"), train_gpt.build_gpt("class", out / "gpt")
    ours, theirs = started.layers[5].feed_forward.w1.weight, text.layers[5].feed_forward.w1.weight
    assert torch.equal(ours, theirs.float())
    config = json.loads((classes / "config.json").read_text())
    assert config["vq"] == "../llamagen/vq"
    assert config["classes"][8] == "orange triangle"
    assert load_gpt(classes / "gpt").config.num_classes == 48
    assert "Held-out loss" in (out / "README.md").read_text()


def test_scores_know_right_from_wrong():
    seen = Seen(SCENE.things, SCENE.background, 1.0, (1.0,) * 9)
    wishes = [parse_prompt("a red star above a blue cross and a circle on mint")] * 2
    scores = prompt_scores([*wishes, parse_prompt("three large stars")], [seen] * 3)
    assert scores["background"] == 1.0
    assert scores["flawless"] == pytest.approx(2 / 3, abs=1e-3)
    blue_cross = CLASS_NAMES.index("blue cross")
    scores = class_scores([blue_cross, 0], [seen, seen])
    assert scores == {"attribute_accuracy": 0.5, "colour": 0.5, "shape": 0.5, "class": 0.5}
