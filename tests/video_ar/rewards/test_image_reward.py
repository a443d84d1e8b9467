"""ImageReward in transformers' BLIP: both towers against a reference on the released names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.video_ar.rewards import blip_reference as reference
from tests.video_ar.rewards.words import WORDS, bert_words, frames
from video_ar.rewards.image_reward import ImageReward, ImageRewardNetwork, load_image_reward
from video_ar.rewards.image_reward_weights import BLIP_LARGE, hosted_names
from video_ar.rewards.preparation import crop_square, normalised
from video_ar.rewards.protocol import score_frames

TINY: dict[str, dict[str, Any]] = {"vision": reference.VIEW, "text": reference.TEXT}
PROMPT = "a red star moves left"


def stored(folder: Path, weights: dict[str, Tensor]) -> Path:
    path = folder / "ImageReward.pt"
    torch.save(weights, path)
    return path


@pytest.fixture
def scorer(tmp_path: Path) -> ImageReward:
    return load_image_reward(stored(tmp_path, reference.weights()), bert_words(), config=TINY)


def test_both_towers_are_the_released_ones(scorer: ImageReward) -> None:
    weights, blip = reference.weights(), scorer.network.blip
    pixels = normalised(frames(3, 32, 32))
    seen = blip.vision_model(pixels).last_hidden_state
    assert torch.allclose(seen, reference.see(weights, pixels), atol=1e-5)
    found = bert_words()(PROMPT, padding="max_length", max_length=35, return_tensors="pt")
    ids, mask = (found[key].expand(3, -1) for key in ("input_ids", "attention_mask"))
    read = blip.text_encoder(
        input_ids=ids,
        attention_mask=mask,
        encoder_hidden_states=seen,
        encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
    ).last_hidden_state
    used = mask.bool()
    assert torch.allclose(read[used], reference.read(weights, ids, mask, seen)[used], atol=1e-5)


def test_scores_are_the_released_ones(scorer: ImageReward) -> None:
    clip = frames(5)
    pixels = normalised(crop_square(clip, 32))
    found = bert_words()(PROMPT, padding="max_length", max_length=35, return_tensors="pt")
    expected = reference.reward(
        reference.weights(), pixels, *(found[k] for k in ("input_ids", "attention_mask"))
    )
    scores = score_frames(scorer, clip, PROMPT)
    assert scores.shape == (5,)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores.double(), expected, atol=1e-5)
    assert float(scores.std()) > 1e-3


def test_frames_are_scored_alike_alone_and_together(scorer: ImageReward) -> None:
    clip = frames(4)
    together = score_frames(scorer, clip, PROMPT)
    alone = torch.cat([score_frames(scorer, frame[None], PROMPT) for frame in clip])
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.equal(together, score_frames(scorer, clip, PROMPT))
    some = score_frames(scorer, clip, PROMPT, which=(3, 1))
    assert torch.allclose(some, together[[3, 1]], atol=1e-6)


def test_prompts_and_pictures_count(scorer: ImageReward) -> None:
    clip = frames(2)
    assert not torch.allclose(scorer.score(clip, PROMPT), scorer.score(clip, "a blue circle"))
    assert not torch.allclose(scorer.score(clip, PROMPT), scorer.score(1 - clip, PROMPT))


def test_every_released_name_has_one_place() -> None:
    """446 million parameters, and what no shape tells, where transformers' defaults differ."""
    with torch.device("meta"):
        network = ImageRewardNetwork(BLIP_LARGE)
        released = {
            name: torch.empty(shape)
            for name, shape in reference.shapes(BLIP_LARGE["vision"], BLIP_LARGE["text"]).items()
        }
    hosted, known = hosted_names(released), network.state_dict()
    assert hosted.keys() == known.keys()
    assert {n: v.shape for n, v in hosted.items()} == {n: v.shape for n, v in known.items()}
    text, view = network.blip.config.text_config, network.blip.config.vision_config
    assert (text.num_attention_heads, view.num_attention_heads) == (12, 16)
    assert (text.layer_norm_eps, view.layer_norm_eps) == (1e-12, 1e-6)
    assert 445e6 < sum(value.numel() for value in known.values()) < 447e6


def test_nothing_is_left_uninitialised(scorer: ImageReward) -> None:
    tensors = [*scorer.network.parameters(), *scorer.network.buffers()]
    assert not any(tensor.is_meta for tensor in tensors)
    assert not scorer.network.training


def test_weights_must_fit(tmp_path: Path) -> None:
    weights = reference.weights()
    del weights["blip.visual_encoder.blocks.1.attn.qkv.bias"]
    weights["blip.visual_encoder.blocks.9.norm1.bias"] = torch.zeros(24)
    weights["mlp.layers.7.weight"] = torch.zeros(2, 16)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_image_reward(stored(tmp_path, weights), bert_words(), config=TINY)
    for said in (
        "missing blip.vision_model.encoder.layers.1.self_attn.qkv.bias",
        "unknown blip.vision_model.encoder.layers.9.layer_norm1.bias",
        "mlp.layers.7.weight is (2, 16), not (1, 16)",
    ):
        assert said in str(caught.value)


def test_missing_weights_say_what_works_without(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file.*first-block, stride, random"):
        load_image_reward(tmp_path / "absent.pt", bert_words())
    path = stored(tmp_path, reference.weights())
    with pytest.raises(ValueError, match=r"ImageReward cannot load .*first-block, stride, random"):
        load_image_reward(path, tmp_path / "no-tokenizer", config=TINY)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match="cannot be read safely"):
        load_image_reward(tmp_path / "text.pt", bert_words())
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="more or less than named tensors"):
        load_image_reward(tmp_path / "other.pt", bert_words())


def test_safetensors_containers_and_tokenizer_folders_are_read(
    tmp_path: Path, scorer: ImageReward
) -> None:
    clip, weights = frames(2), reference.weights()
    save_file(weights, tmp_path / "reward.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "wrapped.pt")
    bert_words().save_pretrained(tmp_path / "words")
    for name in ("reward.safetensors", "wrapped.pt"):
        other = load_image_reward(tmp_path / name, tmp_path / "words", config=TINY)
        assert torch.equal(other.score(clip, PROMPT), scorer.score(clip, PROMPT))


def test_half_precision_keeps_the_head_whole(tmp_path: Path, scorer: ImageReward) -> None:
    half = load_image_reward(
        stored(tmp_path, reference.weights()), bert_words(), config=TINY, dtype=torch.bfloat16
    )
    assert half.network.mlp.layers[0].weight.dtype == torch.float32
    found, exact = half.score(frames(4), PROMPT), scorer.score(frames(4), PROMPT)
    assert found.dtype == torch.float32
    assert torch.allclose(found, exact, atol=0.1)


def test_only_the_first_35_tokens_count_and_that_is_said_once(
    scorer: ImageReward, caplog: pytest.LogCaptureFixture
) -> None:
    clip, long = frames(2), " ".join(WORDS * 4)
    cut = " ".join((WORDS * 4)[:33])
    with caplog.at_level(logging.WARNING):
        scorer.score(clip, cut)
        assert not caplog.records
        scores = [scorer.score(clip, text) for text in (long, long, long + " red")]
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("ImageReward reads the first 35 tokens of a prompt")
    assert "this one has 58" in caplog.messages[0]
    assert all(torch.equal(score, scorer.score(clip, cut)) for score in scores)
