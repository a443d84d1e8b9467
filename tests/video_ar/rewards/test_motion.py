"""Scores of motion: what costs nothing, what does, and seams between blocks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from video_ar.rewards.motion import Flicker, Frozen, TemporalSeam, WarpError
from video_ar.rewards.protocol import FrameScorer, score_frames
from video_ar.rewards.sharpness import NegativeTotalVariation, Sharpness

TEMPORAL: list[FrameScorer] = [WarpError(), TemporalSeam(), Frozen(), Flicker(), TemporalSeam(2)]
STILL: list[FrameScorer] = [Sharpness(), NegativeTotalVariation()]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def moving(count: int = 12, speed: tuple[int, int] = (1, 2), start: int = 0) -> Tensor:
    """A texture that slides over 40 x 56 pixels, ``speed`` pixels a frame."""
    texture = noise(3, 40, 56, seed=3)
    steps = range(start, start + count)
    return torch.stack([texture.roll((speed[0] * step, speed[1] * step), (1, 2)) for step in steps])


def still(count: int = 6) -> Tensor:
    return noise(1, 3, 40, 56).expand(count, -1, -1, -1)


@pytest.mark.parametrize("scorer", TEMPORAL, ids=lambda scorer: scorer.name)
def test_blocks_are_scored_as_the_whole_clip(scorer: FrameScorer) -> None:
    clip = noise(14, 3, 40, 56)
    whole = score_frames(scorer, clip, "")
    parts = [score_frames(scorer, clip[a:b], "", clip[:a]) for a, b in ((0, 1), (1, 6), (6, 14))]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    assert float(whole.max()) <= 0.0
    assert float(whole.min()) < 0.0 or scorer.name == "frozen"


@pytest.mark.parametrize("scorer", TEMPORAL, ids=lambda scorer: scorer.name)
def test_a_frame_depends_on_its_context_only(scorer: FrameScorer) -> None:
    """Earlier frames than that, later ones and the prompt do not count."""
    clip = noise(12, 3, 40, 56) * 0.004 if scorer.name == "frozen" else noise(12, 3, 40, 56)
    place = 8
    changed = noise(12, 3, 40, 56, seed=9)
    reach = slice(place - scorer.context, place + 1)
    changed[reach] = clip[reach]
    first, second = (score_frames(scorer, c, text) for c, text in ((clip, "a"), (changed, "b")))
    assert torch.allclose(first[place], second[place], atol=1e-6)
    changed[place - scorer.context] += 0.5
    other = score_frames(scorer, changed, "")
    assert not torch.allclose(first[place], other[place], atol=1e-6)


@pytest.mark.parametrize("scorer", [*TEMPORAL, *STILL], ids=lambda scorer: scorer.name)
def test_scores_are_deterministic_and_keep_their_input(scorer: FrameScorer) -> None:
    clip = noise(5, 3, 40, 56)
    copy = clip.clone()
    assert torch.equal(scorer.score(clip, ""), scorer.score(clip, ""))
    assert torch.equal(clip, copy)
    assert scorer.score(clip.bfloat16(), "").dtype == torch.float32
    assert scorer.score(clip[:1], "").shape == (1,)
    assert not scorer.needs_prompt


@pytest.mark.parametrize("scorer", [*TEMPORAL, *STILL], ids=lambda scorer: scorer.name)
def test_scores_are_made_where_the_frames_are(scorer: FrameScorer) -> None:
    """A tensor of another device would not mix with those on meta."""
    clip = torch.empty(5, 3, 40, 56, device="meta")
    assert score_frames(scorer, clip, "", clip).device.type == "meta"


@pytest.mark.parametrize("speed", [(0, 0), (1, 2), (-3, 3), (0, -3)])
def test_warping_explains_slides_up_to_the_radius(speed: tuple[int, int]) -> None:
    scores = WarpError(radius=3, side=40).score(moving(5, speed), "")
    assert scores.tolist() == pytest.approx([0.0] * 5, abs=1e-6)


def test_warping_does_not_explain_faster_ones_or_cuts() -> None:
    scorer = WarpError(radius=3, side=40)
    assert float(scorer.score(moving(3, (0, 5)), "")[1:].max()) < -0.1
    clip = torch.cat([moving(4), 1 - moving(4, start=4)])
    scores = scorer.score(clip, "")
    assert float(scores[4]) < -0.05
    assert float(scores[[0, 1, 2, 3, 5, 6, 7]].min()) == pytest.approx(0.0, abs=1e-6)


def test_a_jump_at_a_seam_is_found_from_the_block_before() -> None:
    """Inside, both blocks are fine; the second starts elsewhere."""
    before, block = moving(9), moving(12, start=20)
    for scorer in (WarpError(side=40), WarpError(radius=2, side=40)):
        assert float(score_frames(scorer, block, "").min()) == pytest.approx(0.0, abs=1e-6)
        scores = score_frames(scorer, block, "", before)
        assert int(scores.argmin()) == 0
        assert float(scores[0]) < -0.05


def test_wholly_slow_frames_are_reduced_first() -> None:
    large = torch.nn.functional.interpolate(moving(3, (0, 1)), scale_factor=4)
    assert float(WarpError(side=40).score(large, "").min()) == pytest.approx(0.0, abs=1e-6)


def test_steady_motion_has_no_seam_and_cuts_and_freezes_have() -> None:
    pace = moving(9)
    scorer = TemporalSeam()
    steady = score_frames(scorer, moving(6, start=9), "", pace)
    assert steady.tolist() == pytest.approx([0.0] * 6, abs=1e-4)
    cut = score_frames(scorer, 1 - moving(6, start=9), "", pace)
    assert int(cut.argmin()) == 0
    freeze = score_frames(scorer, pace[-1:].expand(6, -1, -1, -1), "", pace)
    assert int(freeze.argmin()) == 0
    change = float((pace[1] - pace[0]).abs().mean())
    assert float(freeze[0]) == pytest.approx(-math.log((change + 1 / 255) * 255), abs=1e-3)


def test_seam_is_the_log_ratio_to_the_window_before() -> None:
    light = torch.tensor([0.0, 0.1, 0.3, 0.3, 0.7])
    clip = light.view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    scores = TemporalSeam(window=2, floor=0.01).score(clip, "")
    expected = [
        0.0,
        0.0,
        -abs(math.log(0.21 / 0.11)),
        -abs(math.log(0.01 / 0.16)),
        -abs(math.log(0.41 / 0.11)),
    ]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)


def test_frozen_frames_are_told_from_slow_ones() -> None:
    assert Frozen().score(still(4), "").tolist() == [0.0, -1.0, -1.0, -1.0]
    light = torch.tensor([0.0, 2.0, 2.5]).view(-1, 1, 1, 1) / 255
    found = Frozen().score(light.expand(-1, 3, 4, 4), "")
    assert found.tolist() == pytest.approx([0.0, 0.0, -0.5], abs=1e-5)
    assert score_frames(Frozen(), still(1), "", still(1)).tolist() == [-1.0]


def test_flicker_is_not_a_fade_nor_motion_inside_cells() -> None:
    steps = torch.arange(8).view(-1, 1, 1, 1)
    fade = (still(8) * 0.5 + steps * 0.05).clamp(0, 1)
    assert Flicker().score(fade, "").tolist() == pytest.approx([0.0] * 8, abs=1e-6)
    blinking = still(8) * 0.5 + 0.1 * (steps % 2)
    assert Flicker().score(blinking, "").tolist() == pytest.approx([0, 0] + [-0.2] * 6, abs=1e-5)
    assert float(Flicker().score(moving(8), "").min()) > -0.1


def test_sharpness_falls_with_blur_and_total_variation_with_noise() -> None:
    clip = moving(2)
    blurred = torch.nn.functional.avg_pool2d(clip, 3, 1, 1)
    assert bool((Sharpness().score(blurred, "") < 0.3 * Sharpness().score(clip, "")).all())
    rough, smooth = (NegativeTotalVariation().score(c, "") for c in (clip, blurred))
    assert bool((rough < smooth).all())
    flat = torch.full((1, 3, 9, 9), 0.4)
    assert Sharpness().score(flat, "").item() == pytest.approx(0.0, abs=1e-9)
    assert NegativeTotalVariation().score(flat, "").item() == 0.0


def test_total_variation_and_sharpness_by_hand() -> None:
    board = (torch.arange(6)[:, None] + torch.arange(6)).remainder(2).float().expand(1, 3, -1, -1)
    assert NegativeTotalVariation().score(board, "").item() == -2.0
    assert Sharpness().score(board, "").item() == pytest.approx(16.0)


def test_options_are_checked() -> None:
    for make, said in (
        (lambda: WarpError(radius=-1), "radius"),
        (lambda: WarpError(tile=0), "tile"),
        (lambda: WarpError(radius=8, side=16), "side must be a whole number of at least 17"),
        (lambda: TemporalSeam(0), "window"),
        (lambda: TemporalSeam(floor=0.0), "floor"),
        (lambda: Frozen(math.nan), "floor"),
        (lambda: Flicker(0), "cells"),
        (lambda: WarpError(radius=3).score(torch.zeros(2, 3, 6, 40), ""), "too small"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
