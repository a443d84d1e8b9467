"""The captioner's folder, its batches, and a training loop that survives a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoProcessor, LlavaForConditionalGeneration

from adapters.tiny.captioner import caption_loss
from adapters.tiny.data import clip_example, collate, encode, picture_example, prompt_ids
from adapters.tiny.evaluate import conversation, summarise
from adapters.tiny.export import export_captioner
from adapters.tiny.model import EOS, build_captioner, build_tokenizer
from adapters.tiny.motion import MotionReader, motion_labels
from adapters.tiny.run import Stage, train
from adapters.tiny.tower import PatchReader, tower_batch, tower_loss
from adapters.tiny.world.captions import caption, clip_caption
from adapters.tiny.world.clips import clip_from_seed
from adapters.tiny.world.scene import scene_from_seed
from adapters.tiny.world.vocabulary import MOTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("weights") / "captioner"
    export_captioner(build_captioner(), out)
    return out


@pytest.mark.parametrize("frames", [1, 3])
def test_processor_makes_the_ids_training_uses(folder: Path, frames: int) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    example = picture_example(5) if frames == 1 else clip_example(5, frames)
    talk = conversation(example.prompt, frames)
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
    images = [Image.fromarray(image) for image in example.images]
    inputs = processor(images=images, text=text, return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == prompt_ids(example.prompt, frames)
    torch.testing.assert_close(inputs["pixel_values"], collate([example]).pixels)


def test_training_loss_is_the_loss_of_the_public_model(folder: Path) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    examples = [picture_example(1), picture_example(2)]
    total, tokens = 0.0, 0
    for example in examples:
        batch = collate([example])
        labels = batch.ids.clone()
        labels[:, : batch.starts[0]] = -100
        count = batch.lengths[0] - batch.starts[0]
        output = model(input_ids=batch.ids, pixel_values=batch.pixels, labels=labels)
        total, tokens = total + output.loss.item() * count, tokens + count
    padded = caption_loss(model, collate(examples), train_tower=False).item()
    assert padded == pytest.approx(total / tokens, rel=1e-4)


def test_decoded_captions_read_well_and_encode_back() -> None:
    tokenizer = build_tokenizer()
    text = "on mint , two shapes : centre a star ; lower left : a cross drifts up . every frame ."
    decoded = tokenizer.decode(encode(text))
    spaced = "on mint, two shapes: centre a star; lower left: a cross drifts up. every frame."
    assert decoded == spaced
    assert tokenizer(decoded)["input_ids"] == encode(text)
    assert tokenizer.eos_token_id == EOS


def test_summary_of_true_captions_is_perfect() -> None:
    scenes = [scene_from_seed(seed, held_out=True) for seed in range(20)]
    clips = [clip_from_seed(seed, held_out=True) for seed in range(20)]
    assert set(summarise([caption(scene) for scene in scenes], scenes).values()) == {1.0}
    assert set(summarise([clip_caption(clip) for clip in clips], clips).values()) == {1.0}


def test_tower_reader_has_a_loss_for_every_head() -> None:
    torch.manual_seed(0)
    reader = PatchReader(build_captioner().model.vision_tower)
    pixels, labels = tower_batch(0, batch=4)
    loss = tower_loss(reader(pixels), labels)
    assert loss.isfinite()
    assert set(labels) == {"shape", "colour", "size", "texture", "background"}


def test_motion_labels_follow_the_things() -> None:
    clip = next(c for c in map(clip_from_seed, range(100)) if c.motions == ("right",))
    labels = motion_labels(clip, 4).reshape(4, 6, 6)
    assert (labels[0] == -100).all()
    thing = clip.scene.things[0]
    last = (labels[3] == MOTIONS.index("right")).nonzero()
    assert set(last[0]) == {2 * thing.row, 2 * thing.row + 1}
    end = clip.end_cell(0) % 3
    assert set(last[1]) == {2 * end, 2 * end + 1}
    torch.manual_seed(0)
    reader = MotionReader(build_captioner())
    batch = collate([clip_example(1, 3)])
    motions = torch.from_numpy(motion_labels(clip_from_seed(1), 3))
    assert reader(batch, motions) > reader(batch, None)


def test_a_resumed_run_follows_the_same_curve(tmp_path: Path) -> None:
    def start() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))

    def run(module: nn.Module, folder: Path, kill_at: int | None = None) -> str:
        def step_loss(step: int) -> torch.Tensor:
            if step == kill_at:
                raise KeyboardInterrupt
            inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            return (module(inputs) - inputs.sum(1, keepdim=True)).square().mean()

        stage = Stage("toy", steps=12, rate=1e-2, warmup=2, save_every=4)
        train(stage, module, step_loss, folder)
        return (folder / "toy.jsonl").read_text()

    whole = run(start(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(start(), tmp_path / "killed", kill_at=6)
    resumed = run(start(), tmp_path / "killed")
    losses = [line.split('"seconds"')[0] for line in whole.splitlines()]
    assert losses == [line.split('"seconds"')[0] for line in resumed.splitlines()]
