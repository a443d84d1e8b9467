"""Asking a scorer for a block: context across the seam, some frames only, shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.video_ar.rewards.words import frames
from video_ar.rewards.protocol import score_frames


class Spy:
    """Scores a frame by its mean minus that of the frame ``context`` before, where there is one."""

    name = "spy"
    needs_prompt = False

    def __init__(self, context: int) -> None:
        self.context = context
        self.seen: list[int] = []

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        self.seen.append(len(frames))
        means = frames.double().mean((1, 2, 3))
        if not self.context:
            return means
        past = torch.nn.functional.pad(means, (self.context, 0))[: len(means)]
        return means - past


def test_frames_alone_are_the_only_ones_shown() -> None:
    spy, clip = Spy(0), frames(6, 8, 8)
    found = score_frames(spy, clip, "", before=frames(3, 8, 8, seed=1), which=(4, 2))
    assert spy.seen == [2]
    assert found.dtype == torch.float32
    assert torch.allclose(found, clip[[4, 2]].mean((1, 2, 3)))


@pytest.mark.parametrize("context", [1, 2])
def test_blocks_with_context_are_scored_as_the_whole_clip(context: int) -> None:
    spy, clip = Spy(context), frames(12, 8, 8)
    whole = score_frames(spy, clip, "")
    parts = [score_frames(spy, clip[a : a + 4], "", clip[:a]) for a in (0, 4, 8)]
    assert torch.allclose(torch.cat(parts), whole)
    assert spy.seen == [12, 4, 4 + context, 4 + context]
    some = score_frames(spy, clip[4:8], "", clip[:4], which=(3, 0))
    assert torch.allclose(some, whole[[7, 4]])


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"frames must be floating-point .* torch.uint8"):
        score_frames(Spy(0), torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "")
    with pytest.raises(ValueError, match=r"before must be .* \(2, 1, 4, 4\)"):
        score_frames(Spy(1), torch.zeros(2, 3, 4, 4), "", torch.zeros(2, 1, 4, 4))

    class Column(Spy):
        def score(self, frames: Tensor, prompt: str) -> Tensor:
            return torch.zeros(len(frames), 1)

    with pytest.raises(ValueError, match=r"one score for each of 2 frames, got shape \(2, 1\)"):
        score_frames(Column(0), torch.zeros(2, 3, 4, 4), "")
