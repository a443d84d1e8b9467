"""The suites, and what each measures by default: the only place where sizes stand.

Nothing here imports torch, so that help and errors are instant.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

# Dotted path of a function from settings to the records of one table after the other.
SUITES = {
    "caption": "mmspec.bench.caption_suite:measure",
    "caption-video": "mmspec.bench.caption_suite:measure_clips",
    "image": "mmspec.bench.image_suite:measure",
    "image-continuous": "mmspec.bench.latent_suite:measure",
    "video": "mmspec.bench.video_suite:measure",
    "visual-tokens": "mmspec.bench.growth:measure",
    "drafters": "mmspec.bench.drafters:measure",
    "pacing": "mmspec.bench.caption_suite:measure_pacing",
}


@dataclass(frozen=True)
class Size:
    """How much a suite measures.

    Attributes:
        inputs: Pictures, clips or prompts.
        repeats: Interleaved repeats.
        slow: Inputs of methods that take several times as long as the plain loop.
        points: Inputs of each point of a curve; 0 draws no curves.
    """

    inputs: int
    repeats: int = 1
    slow: int = 0
    points: int = 0

    def __post_init__(self) -> None:
        for one in fields(self):
            least = 1 if one.name in ("inputs", "repeats") else 0
            value = getattr(self, one.name)
            if value < least:
                raise ValueError(f"{one.name} of a benchmark must be {least} or more, not {value}")


# Seconds on two cores, from the speeds in the README: a caption by every method takes about 6.5, a
# clip 6, a prompt of pictures 5.5 (a prompt of its curves 14), a picture of latent vectors 1.4
# (6 by the slow modes), a film by every router 15. Together 50 minutes, quickly 7. A picture of
# latent vectors asks two questions, so that telling qualities apart takes many.
FULL = {
    "caption": Size(32, 2),
    "caption-video": Size(12, 2),
    "image": Size(64, points=12),
    "image-continuous": Size(192, slow=16, points=12),
    "video": Size(48),
    "visual-tokens": Size(1, 3),
    "drafters": Size(32, 2),
    "pacing": Size(16, 3),
}
QUICK = {
    "caption": Size(8),
    "caption-video": Size(4),
    "image": Size(8),
    "image-continuous": Size(8, slow=2),
    "video": Size(6),
    "visual-tokens": Size(1),
    "drafters": Size(8),
    "pacing": Size(16),
}
# What `mmspec bench all` runs: the suites that compare methods.
ALL = ("caption", "caption-video", "image", "image-continuous", "video")
CLIP_FRAMES = 16


@dataclass(frozen=True)
class Settings:
    """What a suite is told.

    Attributes:
        size: How much it measures.
        model: Target; None takes the suite's embedded model.
        data: Folder of pictures; None takes unseen ones of the embedded world.
        drafter: Trained drafter of a target that is not embedded.
        drafters: What the drafters suite compares.
        prompt: Text of the request.
        frames: Frames of a clip.
        max_new_tokens: Most tokens of a caption.
        temperatures: One table each; 0 is greedy. None takes the suite's own.
        dtype: ``float32``, ``bfloat16``, or ``auto``: whichever runs the plain loop faster here.
        progress: Show bars.
    """

    size: Size
    model: str | None = None
    data: str | None = None
    drafter: str | None = None
    drafters: tuple[str, ...] = ()
    prompt: str | None = None
    frames: int = CLIP_FRAMES
    max_new_tokens: int = 128
    temperatures: tuple[float, ...] | None = None
    dtype: str = "auto"
    progress: bool = False
