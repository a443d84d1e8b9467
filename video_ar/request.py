"""What to make a video from, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mmspec.noise import Noise
from video_ar.checks import check_count
from video_ar.noise import BlockNoise
from video_ar.rewards.protocol import FrameScorer
from video_ar.routers import Router, TargetOnly
from video_ar.schedule import TEMPORAL, Schedule


@dataclass(frozen=True)
class VideoRequest:
    """One video. Satisfies :class:`mmspec.roles.Request`.

    Attributes:
        blocks: Blocks of the video.
        shape: Of a block's latents: channels, frames, height, width.
        schedule: The steps in which target and drafter make a block.
        conditions: What the models are told, such as states of the text encoder.
        prompt: The text itself, for scorers.
        device: Where latents are made.
        temporal: Pixel frames that a latent frame stands for.
        decode: Whether pictures are wanted; without them a block is decoded only where a router
            asks for its scores.
        eager: Have the target read every block as soon as it is committed, instead of all blocks
            that it does not know yet when it is next called. The video is the same.
        earlier: Block scores of videos made before, for routers that adapt to them.
        router: Decides who writes each block; the rule of the run sets it.
        scorer: Scores pictures for the router; the rule of the run sets it.
        lookahead: Most blocks any draft will have.
        noise: All randomness of the run, set when it begins.

    Raises:
        ValueError: No block, or sizes that are not positive.
    """

    blocks: int
    shape: tuple[int, int, int, int]
    schedule: Schedule
    conditions: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    temporal: int = TEMPORAL
    decode: bool = True
    eager: bool = False
    earlier: tuple[float, ...] = ()
    router: Router = field(default_factory=TargetOnly)
    scorer: FrameScorer | None = None
    lookahead: int = 1
    noise: BlockNoise | None = None

    def __post_init__(self) -> None:
        check_count("blocks", self.blocks, 1)
        for name, size in zip(("channels", "frames", "height", "width"), self.shape, strict=True):
            check_count(f"{name} of a block", size, 1)

    @property
    def rows(self) -> int:
        """One video: it fills a device by itself."""
        return 1

    @property
    def horizon(self) -> int:
        """Blocks of the video."""
        return self.blocks

    @property
    def greedy(self) -> bool:
        """Never: a block has no most likely value that could be chosen."""
        return False

    def brief(self, count: int) -> VideoRequest:
        """A shorter video, to warm up with."""
        return replace(self, blocks=min(self.blocks, max(count, 1)))

    def under(self, drafter: Any, rule: Any, lookahead: int, noise: Noise) -> VideoRequest:
        """With the rule's router and scorer, and the noise that both models share.

        Raises:
            ValueError: The rule does not route blocks, or hands over or checks at a step that there
                is none of.
        """
        if not hasattr(rule, "router"):
            raise ValueError(
                f"{type(rule).__name__} cannot judge video blocks, which have no probability; use "
                "video_ar.rule.Routed"
            )
        if rule.start_step > len(self.schedule):
            raise ValueError(
                f"stitch={rule.start_step} is beyond the {len(self.schedule)} steps of a block; "
                f"give 0 to {len(self.schedule)}"
            )
        check = rule.router.check_step
        if check is not None and check >= len(self.schedule):
            raise ValueError(
                f"step={check} is beyond the {len(self.schedule)} steps of a block; give 0 to "
                f"{len(self.schedule) - 1}"
            )
        return replace(
            self,
            router=rule.router,
            scorer=rule.scorer,
            lookahead=max(self.lookahead, lookahead),
            noise=BlockNoise(noise.seeds, self.device),
        )
