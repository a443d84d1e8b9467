"""What a video call returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from mmspec.pipelines.comparing import Compared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor


class UnfinishedError(RuntimeError):
    """A block could not be made; what was committed before it is kept.

    Attributes:
        result: Everything up to there, the unfinished video last, as the call would have returned
            it.
    """

    def __init__(self, message: str, result: VideoResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass
class Film:
    """What one run made of a video so far.

    Attributes:
        records: Of its blocks, see :class:`video_ar.reporting.BlockRecord`.
        latents: ``(channels, frames, height, width)`` on the CPU, a tensor a block.
        pictures: ``(frames, 3, height, width)`` on the CPU, a tensor a block: bytes, or floating in
            [0, 1] where tensors were asked for; none where no pictures were.
    """

    records: list[Any] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list, repr=False)
    pictures: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def whole_latents(self) -> Tensor:
        """``(channels, frames, height, width)`` of all blocks."""
        return torch.cat(self.latents, 1)

    @property
    def pixels(self) -> Tensor:
        """Pictures of all blocks, ``(frames, 3, height, width)`` floating in [0, 1]."""
        whole = torch.cat(self.pictures) if self.pictures else torch.empty(0, 3, 0, 0)
        return whole if whole.is_floating_point() else whole.float() / 255

    @property
    def array(self) -> NDArray[np.uint8]:
        """Pictures of all blocks, ``(frames, height, width, 3)`` bytes."""
        whole = torch.cat(self.pictures) if self.pictures else torch.empty(0, 3, 0, 0).byte()
        return to_bytes(whole).permute(0, 2, 3, 1).contiguous().numpy()

    @property
    def images(self) -> list[Image.Image]:
        """Pictures of all blocks."""
        from PIL import Image

        return [Image.fromarray(one) for one in self.array]

    @property
    def timeline(self) -> list[dict[str, Any]]:
        """What became of each block, as plain values."""
        return [entry(record) for record in self.records]


@dataclass
class VideoOutput:
    """One video.

    Attributes:
        index: Its place in the call: video ``k`` of prompt ``j`` is ``j * num_videos + k``.
        prompt: What it was to show.
        seed: Seed its random draws came from.
        row: Its row in the trace.
        film: Its blocks.
        fps: Pictures a second.
        settings: What made it, in words, as it goes into the metadata of a file.
        path: The file it was saved to, if any.
        error: Why it ends before its end, if it does.
        baseline: What the plain loop made, when compared.
    """

    index: int
    prompt: str
    seed: int
    row: int
    film: Film
    fps: float
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    path: str | None = None
    error: str = ""
    baseline: Film | None = None

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The timeline: what became of each block, see :func:`entry`."""
        return self.film.timeline

    @property
    def images(self) -> list[Image.Image]:
        """The pictures."""
        return self.film.images

    @property
    def latent_distance(self) -> float | None:
        """How far the latents are from the plain loop's, over the size of those; None if unknown.

        The root mean square of the difference over that of the plain latents; 0 is bit for bit.
        """
        if self.error or self.baseline is None or not self.baseline.latents:
            return None
        ours, plain = self.film.whole_latents.double(), self.baseline.whole_latents.double()
        return float(((ours - plain).square().mean() / plain.square().mean()).sqrt())

    def to_json(self) -> dict[str, Any]:
        """The entry of ``outputs`` in the JSON document."""
        found: dict[str, Any] = {
            "input": self.prompt,
            "text": None,
            "tokens": len(self.film.records),
            "path": self.path,
            "seed": self.seed,
            "prompt": self.prompt,
            "frames": sum(record.frames for record in self.film.records),
            "fps": self.fps,
            "blocks": self.blocks,
        }
        if self.baseline is not None:
            found["latent_distance"] = self.latent_distance
        return found | ({"error": self.error} if self.error else {})


@dataclass(kw_only=True)
class VideoResult(Compared[VideoOutput]):
    """Videos, and how they were made; the trace's units are blocks.

    Seconds count from the encoded prompt to the pictures, on both sides. Time spent in callbacks is
    left out.

    Attributes:
        parameters: Blocks, frames, size and rate as they were used.
        output_type: How ``frames`` are handed out.
        quality: What the judge says of the method's videos, where it was asked.
        baseline_quality: What it says of the plain loop's.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    output_type: str = "pil"
    quality: dict[str, float] | None = None
    baseline_quality: dict[str, float] | None = None

    @property
    def frames(self) -> Any:
        """The finished videos in the output type asked for, in order."""
        done = [output for output in self.outputs if not output.error]
        if self.output_type == "pil":
            return [output.images for output in done]
        if not done:
            return torch.empty(0) if self.output_type != "np" else torch.empty(0).numpy()
        if self.output_type == "latent":
            return torch.stack([output.film.whole_latents for output in done])
        pixels = torch.stack([output.film.pixels for output in done])
        return pixels if self.output_type == "pt" else pixels.permute(0, 1, 3, 4, 2).numpy()

    @property
    def timeline(self) -> list[list[dict[str, Any]]]:
        """What became of each block of each video, see :func:`entry`."""
        return [output.blocks for output in self.outputs]

    @property
    def target_blocks(self) -> float:
        """Share of all blocks that the target wrote."""
        entries = [one for blocks in self.timeline for one in blocks]
        kept = sum(one["decision"] == "accepted" for one in entries)
        return 1 - kept / len(entries) if entries else 0.0

    @property
    def ideal_speedup(self) -> float | None:
        """The speed-up if all but evaluations of the target's network were free; None if unknown.

        A ratio of counts. Nothing is known where nothing was compared, and nothing is limited where
        the target was not asked at all.
        """
        films = [(one.film, one.baseline) for one in self.outputs if one.baseline is not None]
        ours = sum(record.evaluations for film, _ in films for record in film.records)
        plain = sum(record.evaluations for _, film in films for record in film.records)
        return plain / ours if ours else None

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of drafting, scoring, the target's work and decoding, over all blocks."""
        return _stages(self.timeline)

    @property
    def baseline_stages(self) -> dict[str, float]:
        """The same of the plain loop; zeros where nothing was compared."""
        films = [one.baseline for one in self.outputs if one.baseline is not None]
        return _stages([film.timeline for film in films])

    @property
    def latent_distance(self) -> float | None:
        """Mean of the videos', see :attr:`VideoOutput.latent_distance`."""
        found = [d for one in self.outputs if (d := one.latent_distance) is not None]
        return sum(found) / len(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """The document that ``mmspec video --json`` prints."""
        document = self.document("video") | {
            "parameters": self.parameters,
            "target_blocks": self.target_blocks,
        }
        document["metrics"]["stages"] = self.stages
        if self.quality is not None:
            document["quality"] = self.quality
        if self.baseline is not None:
            document["latent_distance"] = self.latent_distance
            document["baseline"]["stages"] = self.baseline_stages
            if self.baseline_quality is not None:
                document["baseline"]["quality"] = self.baseline_quality
        return document


def entry(record: Any) -> dict[str, Any]:
    """A block of a timeline.

    Args:
        record: A :class:`video_ar.reporting.BlockRecord`.

    Returns:
        ``block``, ``decision`` (``forced``, ``accepted`` or ``regenerated``), ``score`` (None where
        nothing was compared), ``seconds`` of all stages, ``stages`` (seconds by name), ``frames``,
        ``start_step``, ``evaluations`` of the target, and ``reason``.
    """
    return {
        "block": record.block,
        "decision": record.decision,
        "score": record.score,
        "seconds": sum(record.seconds.values()),
        "stages": dict(record.seconds),
        "frames": record.frames,
        "start_step": record.start_step,
        "evaluations": record.evaluations,
        "reason": record.reason,
    }


def to_bytes(pictures: Tensor) -> Tensor:
    """Pictures as bytes; floating ones lie in [0, 1]."""
    if not pictures.is_floating_point():
        return pictures
    return (pictures * 255).round().to(torch.uint8)


def _stages(timelines: list[list[dict[str, Any]]]) -> dict[str, float]:
    found = dict.fromkeys(("draft", "score", "target", "decode"), 0.0)
    for blocks in timelines:
        for block in blocks:
            for stage, seconds in block["stages"].items():
                found[stage] = found.get(stage, 0.0) + seconds
    return found
