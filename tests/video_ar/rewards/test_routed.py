"""Scorers with weights, of the real classes, in front of a router: whole videos, end to end."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from tests.video_ar.rewards import blip_reference, open_clip_reference
from tests.video_ar.rewards.words import WORDS, bert_words, clip_words
from tests.video_ar.toy import BLOCKS, Film, ToyModel, engine, film, request, same
from video_ar.rewards.aesthetic import load_aesthetic
from video_ar.rewards.clip import load_clip, load_pickscore
from video_ar.rewards.head import LinearHead
from video_ar.rewards.image_reward import load_image_reward
from video_ar.rewards.open_clip import hosted_names, load_hpsv2
from video_ar.rewards.protocol import FrameScorer, score_frames
from video_ar.routers import FirstBlock, Forced, TargetOnly, Threshold

PROMPT = "a red star moves left"
LONG = " ".join(WORDS * 4)


def clip_folder(folder: Path) -> Path:
    model = CLIPModel(CLIPConfig(**open_clip_reference.CONFIG))
    model.load_state_dict(hosted_names(open_clip_reference.weights()))
    model.save_pretrained(folder / "clip")
    clip_words().save_pretrained(folder / "clip")
    return folder / "clip"


def image_reward(folder: Path) -> FrameScorer:
    torch.save(blip_reference.weights(), folder / "ImageReward.pt")
    sizes = {"vision": blip_reference.VIEW, "text": blip_reference.TEXT}
    return load_image_reward(folder / "ImageReward.pt", bert_words(), config=sizes)


def pickscore(folder: Path) -> FrameScorer:
    return load_pickscore(clip_folder(folder), clip_words())


def clip(folder: Path) -> FrameScorer:
    return load_clip(clip_folder(folder))


def hpsv2(folder: Path) -> FrameScorer:
    torch.save({"state_dict": open_clip_reference.weights()}, folder / "HPS_v2_compressed.pt")
    path, sizes = folder / "HPS_v2_compressed.pt", open_clip_reference.CONFIG
    return load_hpsv2(path, clip_words(), config=sizes)


def aesthetic(folder: Path) -> FrameScorer:
    torch.manual_seed(0)
    head = LinearHead(open_clip_reference.CONFIG["projection_dim"])
    torch.save(head.state_dict(), folder / "head.pth")
    return load_aesthetic(folder / "head.pth", clip_folder(folder))


LOADERS = [image_reward, pickscore, hpsv2, clip, aesthetic]


def routed(scorer: FrameScorer, tau: float, prompt: str = PROMPT) -> Film:
    router = Forced({0}, Threshold(tau))
    return film(engine(ToyModel(0.9), ToyModel(0.2), router, scorer), 1, request(prompt=prompt))


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_whole_videos(
    load: Callable[[Path], FrameScorer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = load(tmp_path)
    kept = routed(scorer, -math.inf)
    assert same(kept, film(engine(ToyModel(0.9), ToyModel(0.2), FirstBlock()), 1))
    plain = film(engine(ToyModel(0.9), ToyModel(0.2), TargetOnly()), 1)
    assert same(routed(scorer, math.inf), plain)
    assert kept.pictures is not None
    shown = (kept.pictures[0].transpose(0, 1).float() + 1) / 2
    scores = [record.score for record in kept.records[1:]]
    for block, score in enumerate(scores, 1):
        frames = shown[9 + 12 * (block - 1) :][:12]
        assert score == pytest.approx(float(score_frames(scorer, frames, PROMPT).min()), abs=1e-4)
    between = sorted(score for score in scores if score is not None)[BLOCKS // 2 - 1]
    mixed = routed(scorer, between)
    assert {"accepted", "regenerated"} < set(mixed.decisions)
    with caplog.at_level(logging.WARNING):
        routed(scorer, between, LONG)
    # Six blocks of one prompt; the aesthetic score reads none.
    ours = [record for record in caplog.records if record.name.startswith("video_ar")]
    assert len(ours) == int(scorer.needs_prompt)
    assert all("reads the first" in record.getMessage() for record in ours)


def test_missing_files_name_what_works_without(tmp_path: Path) -> None:
    loads: list[Callable[[], FrameScorer]] = [
        lambda: load_image_reward(tmp_path / "a.pt", bert_words()),
        lambda: load_hpsv2(tmp_path / "a.pt", clip_words()),
        lambda: load_aesthetic(tmp_path / "a.pth"),
        lambda: load_pickscore(tmp_path / "folder", clip_words()),
        lambda: load_clip(tmp_path / "folder"),
    ]
    for load in loads:
        with pytest.raises(
            ValueError, match=r"first-block, stride, random, budget and target-chec"
        ):
            load()
