"""A toy world of blocks: frame scores are a fixed function of (video, block, what came before)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from video_ar.routers import BlockEvidence, Decision, Router, route

FRAMES = 12


def frame_scores(video: int, block: int, kept: tuple[bool, ...], frames: int = FRAMES) -> Tensor:
    """``(frames,)``; another history gives other scores."""
    past = sum(2**place for place, accept in enumerate(kept) if accept)
    seed = (video * 1009 + block) * 4096 + past
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, generator=generator, dtype=torch.float64)


def run(
    router: Router,
    video: int = 0,
    blocks: int = 9,
    frames: int = FRAMES,
    earlier: tuple[float, ...] = (),
) -> tuple[list[Decision], list[int]]:
    """All decisions on a video, and how many frames were scored for each."""
    history: tuple[Decision, ...] = ()
    scored: list[int] = []
    for block in range(blocks):
        kept = tuple(decision.accept for decision in history)
        asked: list[int] = []
        evidence = BlockEvidence(block, blocks, frames, history=history, earlier=earlier)
        score = counting(frame_scores(video, block, kept), asked)
        decision = route(router, evidence, score, unasked, unreferred)
        history = (*history, decision)
        scored.append(len(asked))
    return list(history), scored


def counting(scores: Tensor, asked: list[int]) -> Callable[[tuple[int, ...]], Tensor]:
    """Gives the scores and writes down what was asked for."""

    def score(frames: tuple[int, ...]) -> Tensor:
        asked.extend(frames)
        return scores[list(frames)]

    return score


def unasked(step: int) -> tuple[float, ...]:
    raise AssertionError(f"nobody needs the target's word at step {step}")


def unreferred() -> float:
    raise AssertionError("nobody needs a score of the target's own block")


def accepts(decisions: list[Decision]) -> list[bool]:
    return [decision.accept for decision in decisions]
