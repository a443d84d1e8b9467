"""Scorers on CLIP: cosine, scale, open_clip's weights, and the aesthetic head."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from tests.video_ar.rewards import open_clip_reference as reference
from tests.video_ar.rewards.words import WORDS, clip_words, frames
from video_ar.rewards.aesthetic import load_aesthetic
from video_ar.rewards.clip import ClipScorer, load_clip, load_pickscore, picture_features
from video_ar.rewards.head import LinearHead
from video_ar.rewards.open_clip import VIT_H_14, hosted_names, load_hpsv2
from video_ar.rewards.preparation import crop_square, normalised, pad_square
from video_ar.rewards.protocol import score_frames

PROMPT = "a red star moves left"


def ids(prompt: str = PROMPT) -> torch.Tensor:
    found: torch.Tensor = clip_words()(prompt, return_tensors="pt")["input_ids"]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stored model whose weights are the reference's."""
    model = CLIPModel(CLIPConfig(**reference.CONFIG))
    model.load_state_dict(hosted_names(reference.weights()))
    model.save_pretrained(tmp_path / "clip")
    clip_words().save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def test_cosine_of_a_stored_model(folder: Path) -> None:
    clip = frames(4)
    scorer = load_clip(folder)
    expected = reference.cosine(reference.weights(), normalised(crop_square(clip, 32)), ids())
    scores = score_frames(scorer, clip, PROMPT)
    assert torch.allclose(scores, expected, atol=1e-5)
    assert float(scores.std()) > 1e-3
    assert scorer.name == f"clip:{folder}"


def test_pickscore_is_the_cosine_at_the_models_scale(folder: Path) -> None:
    clip = frames(4)
    plain, scaled = (load(folder, clip_words()) for load in (load_clip, load_pickscore))
    factor = reference.weights()["logit_scale"].exp()
    assert torch.allclose(scaled.score(clip, PROMPT), factor * plain.score(clip, PROMPT))
    assert scaled.name == "pickscore"


def test_hpsv2_reads_open_clip_and_sees_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "HPS_v2.1_compressed.pt"
    torch.save({"state_dict": reference.weights()}, path)
    scorer = load_hpsv2(path, clip_words(), config=reference.CONFIG)
    clip = frames(4)
    expected = reference.cosine(reference.weights(), normalised(pad_square(clip, 32)), ids())
    assert torch.allclose(scorer.score(clip, PROMPT), 100 * expected, atol=1e-3)
    assert scorer.name == "hpsv2:HPS_v2.1_compressed"
    tensors = [*scorer.model.parameters(), *scorer.model.buffers()]
    assert not any(tensor.is_meta for tensor in tensors)


def test_every_open_clip_name_has_one_place() -> None:
    """ViT-H/14, 986 million parameters."""
    with torch.device("meta"):
        known = CLIPModel(CLIPConfig(**VIT_H_14)).state_dict()
        released = {name: torch.empty(shape) for name, shape in reference.shapes(VIT_H_14).items()}
    hosted = hosted_names(released)
    assert {n: v.shape for n, v in hosted.items()} == {n: v.shape for n, v in known.items()}
    assert sum(value.numel() for value in known.values()) == 986_109_441


def test_weights_must_fit(tmp_path: Path) -> None:
    weights = reference.weights()
    weights["visual.transformer.resblocks.0.ln_3.bias"] = weights.pop("visual.ln_post.bias")
    torch.save(weights, tmp_path / "hps.pt")
    with pytest.raises(
        ValueError, match=r"missing vision_model\.post_layernorm\.bias; unknown vis"
    ):
        load_hpsv2(tmp_path / "hps.pt", clip_words(), config=reference.CONFIG)


def test_missing_models_say_what_works_without(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"CLIP cannot load .*first-block, stride, random"):
        load_clip(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"HPSv2 needs its weights .*first-block, stride, random"):
        load_hpsv2(tmp_path / "absent.pt")


def test_the_window_is_the_models_and_is_told_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scorer, clip = load_clip(folder), frames(2)
    with caplog.at_level(logging.WARNING):
        scorer.score(clip, " ".join(WORDS[:10]))
        assert not caplog.records
        scorer.score(clip, " ".join(WORDS[:11]))
        scorer.score(clip, " ".join(WORDS[:12]))
    assert [record.getMessage()[:40] for record in caplog.records] == [
        f"clip:{folder} reads the first 12 tokens"[:40]
    ]


def test_an_unknown_fit_is_refused(folder: Path) -> None:
    model = load_clip(folder).model
    with pytest.raises(ValueError, match="choose from crop, pad"):
        ClipScorer(model, clip_words(), "x", fit="stretch")  # type: ignore[arg-type]


def test_aesthetic_head_is_linear_in_the_unit_vector(folder: Path, tmp_path: Path) -> None:
    head = LinearHead(reference.CONFIG["projection_dim"])
    torch.save(head.state_dict(), tmp_path / "head.pth")
    scorer, clip = load_aesthetic(tmp_path / "head.pth", folder), frames(4)
    vectors = picture_features(scorer.model, clip)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(4))
    names = [f"layers.{place}.{part}" for place in (0, 2, 4, 6, 7) for part in ("weight", "bias")]
    assert list(head.state_dict()) == names
    expected = vectors
    for place in (0, 2, 4, 6, 7):
        weight, bias = (head.state_dict()[f"layers.{place}.{part}"] for part in ("weight", "bias"))
        expected = expected @ weight.T + bias
    scores = score_frames(scorer, clip, PROMPT)
    assert torch.allclose(scores, expected.squeeze(-1), atol=1e-6)
    assert torch.equal(scores, score_frames(scorer, clip, "something else"))
    assert not scorer.needs_prompt
