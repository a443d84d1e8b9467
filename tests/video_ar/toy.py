"""Block models, a decoder and scorers of a few numbers, and a run through the one loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmspec.engine import Engine
from mmspec.messages import Commit
from mmspec.trace import Trace
from video_ar.drafter import BlockDrafter
from video_ar.pacing import AskRouter
from video_ar.reporting import BlockRecord, FinishedBlock
from video_ar.request import VideoRequest
from video_ar.routers import Router
from video_ar.rule import Routed
from video_ar.schedule import few_steps, pixel_frames
from video_ar.target import BlockTarget

SHAPE = (2, 3, 2, 2)
BLOCKS = 7


class ToyModel:
    """A velocity that depends on the block, the time and all committed blocks in their order."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.evaluations = 0
        self.reads: list[int] = []
        self.fail_at: int | None = None
        self.error: Exception | None = None
        self.value: float | None = None

    def start(self, request: VideoRequest) -> list[Tensor]:
        return []

    def denoise(self, block: Tensor, timestep: float, context: Any) -> Tensor:
        self.evaluations += 1
        if self.fail_at == len(context):
            if self.error is not None:
                raise self.error
            return torch.full_like(block, self.value if self.value is not None else torch.nan)
        past = torch.zeros_like(block)
        for one in context:
            past = torch.tanh(past + one)
        return torch.tanh(self.strength * block + timestep / 500 + past)

    def commit(self, blocks: Sequence[Tensor], context: Any) -> None:
        self.reads.append(len(blocks))
        context.extend(blocks)


class ToyDecoder:
    """Pixels look like latents, mixed with the last latent frame of the block before."""

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, latents: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        self.decoded += 1
        start, past = memory if memory is not None else (0, torch.zeros_like(latents[:, :, :1]))
        frames = latents + 0.3 * torch.cat([past, latents[:, :, :-1]], 2)
        pictures = torch.cat([frames, frames[:, :1]], 1).repeat_interleave(4, 2)
        pictures = pictures[:, :, -pixel_frames(latents.shape[2], start) :]
        return pictures.clamp(-1, 1), (start + latents.shape[2], latents[:, :, -1:])


class Brightness:
    """A scorer that separates blocks."""

    name = "brightness"
    needs_prompt = False
    context = 0

    def __init__(self) -> None:
        self.scored = 0

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        self.scored += len(frames)
        return (frames * torch.arange(1, 1 + frames[0].numel()).view(frames[0].shape)).mean(
            (1, 2, 3)
        )


@dataclass
class Film:
    """All that came out of a run."""

    records: list[BlockRecord]
    latents: Tensor
    pictures: Tensor | None
    trace: Trace
    blocks: list[FinishedBlock] = field(default_factory=list)

    @property
    def decisions(self) -> list[str]:
        return [record.decision for record in self.records]

    @property
    def first_refusal(self) -> int:
        """Index of the first refused draft after block 0; that of the end where there is none."""
        wrong = [i for i, what in enumerate(self.decisions) if i and what != "accepted"]
        return wrong[0] if wrong else len(self.decisions)


def request(**change: Any) -> VideoRequest:
    settings: dict[str, Any] = {"blocks": BLOCKS, "shape": SHAPE, "schedule": few_steps()}
    return VideoRequest(**{**settings, **change})


def engine(
    target: Any,
    draft: Any,
    router: Router,
    scorer: Any = None,
    start_step: int = 0,
    decoder: Any = None,
    **rest: Any,
) -> Engine:
    return Engine(
        BlockTarget(target, decoder or ToyDecoder()),
        BlockDrafter(draft),
        Routed(router, scorer, start_step),
        rest.pop("pacer", AskRouter()),
        lookahead=1,
        **rest,
    )


def film(runner: Engine, seed: int = 0, wanted: VideoRequest | None = None) -> Film:
    trace, made = Trace(), []

    def keep(commit: Commit) -> None:
        made.extend(commit.made)

    units, _ = runner.generate(wanted or request(), trace, [seed], on_commit=keep)
    pictures = [block.pictures for block in made]
    return Film(
        units[0],
        torch.cat([block.latents for block in made], 2),
        None if pictures[0] is None else torch.cat(pictures, 2),
        trace,
        made,
    )


def same(one: Film, other: Film) -> bool:
    """Bit for bit, latents and pictures."""
    assert one.pictures is not None
    assert other.pictures is not None
    return torch.equal(one.latents, other.latents) and torch.equal(one.pictures, other.pictures)
