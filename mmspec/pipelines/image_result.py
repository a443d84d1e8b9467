"""What an image call returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec.pipelines.comparing import Compared
from mmspec.pipelines.image_options import Subject
from mmspec.trace import Trace, in_order

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from mmspec.trace import UnitRecord


@dataclass
class ImageOutput:
    """One image.

    Attributes:
        index: Its place in the call: image ``k`` of prompt ``j`` is ``j * num_images + k``.
        subject: What it was to show.
        seed: Seed its random draws came from.
        row: Its row in the trace.
        tokens: Token id, or latent vector, of every cell of the grid, row by row.
        image: The picture.
        pixels: ``(3, height, width)`` in ``[0, 1]`` on the CPU, kept for tensor output only.
        settings: What made it, in words, as it goes into the metadata of a file.
        path: The file it was saved to, if any.
        baseline_tokens: What the plain loop drew, when compared.
        baseline_image: The picture of that, when compared and scored.
    """

    index: int
    subject: Subject
    seed: int
    row: int
    tokens: list[Any]
    image: Image.Image = field(repr=False)
    pixels: Tensor | None = field(default=None, repr=False)
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    path: str | None = None
    baseline_tokens: list[Any] | None = field(default=None, repr=False)
    baseline_image: Image.Image | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The entry of ``outputs`` in the JSON document."""
        return {
            "input": self.subject.label,
            "text": None,
            "tokens": len(self.tokens),
            "path": self.path,
            "seed": self.seed,
            **asdict(self.subject),
        }


@dataclass(kw_only=True)
class ImageResult(Compared[ImageOutput]):
    """Images, and how they were made; one output a finished image.

    Seconds count from the prepared prompt to the pixels, the image decoder included, on both sides.

    Attributes:
        grid: Rows and columns of cells.
        cells: Output position of every cell; others are line ends and the like.
        parameters: Guidance, temperature, top-k, top-p as they were used.
        output_type: How ``images`` are handed out.
        decode_seconds: Share of the seconds that turned tokens into pixels.
        quality: What the judge says of the method's images, where it was asked.
        baseline_quality: What it says of the plain loop's.
    """

    grid: tuple[int, int]
    cells: list[int] = field(repr=False)
    parameters: dict[str, Any] = field(default_factory=dict)
    output_type: str = "pil"
    decode_seconds: float = 0.0
    quality: dict[str, float] | None = None
    baseline_quality: dict[str, float] | None = None

    @property
    def images(self) -> Any:
        """The images in the output type asked for, in order."""
        if self.output_type == "pil":
            return [output.image for output in self.outputs]
        import torch

        pixels = [output.pixels for output in self.outputs if output.pixels is not None]
        stacked = torch.stack(pixels) if pixels else torch.empty(0, 3, 0, 0)
        return stacked if self.output_type == "pt" else stacked.permute(0, 2, 3, 1).numpy()

    @property
    def tokens(self) -> list[list[Any]]:
        """Token ids or latent vectors of the cells of every image."""
        return [output.tokens for output in self.outputs]

    @property
    def nfe(self) -> int:
        """Forward passes of the target; one pass serves a whole batch, guidance included."""
        return self.metrics.target_forwards

    @property
    def step_compression(self) -> float:
        """Tokens of an image over the target passes it took part in; 1 for plain decoding."""
        return step_compression(self.trace)

    @property
    def bias(self) -> float | None:
        """Mean one-step total variation a unit; None where the rule reports none."""
        return self.metrics.bias if self.trace.bias and not self.lossless else None

    def records(self, index: int) -> list[UnitRecord]:
        """Who wrote each cell of an image."""
        row = in_order(self.trace.units[self.outputs[index].row])
        return [row[position] for position in self.cells]

    def heatmap(self, index: int = 0) -> Image.Image:
        """The picture under a tint of who wrote each cell, with a legend."""
        from mmspec.heatmap import draw_heatmap

        origins = [record.origin for record in self.records(index)]
        return draw_heatmap(self.outputs[index].image, origins, self.grid)

    def plot_scores(self, path: str | Path) -> None:
        """Draw a histogram of the numbers that drafts were judged by.

        They are log ratios of densities, or distances; the rule says which.
        """
        from mmspec.plots import plot_scores

        plot_scores(self.trace, path)

    def to_json(self) -> dict[str, Any]:
        """The document that ``mmspec image --json`` prints."""
        document = self.document("image") | {
            "grid": list(self.grid),
            "parameters": self.parameters,
            "nfe": self.nfe,
            "step_compression": self.step_compression,
            "bias": self.bias,
        }
        document["metrics"]["decode_seconds"] = self.decode_seconds
        if self.quality is not None:
            document["quality"] = self.quality
        if self.baseline is not None:
            document["baseline"]["nfe"] = self.baseline.trace.metrics.target_forwards
            if self.baseline_quality is not None:
                document["baseline"]["quality"] = self.baseline_quality
        return document


def step_compression(trace: Trace) -> float:
    """Units of all rows over the passes that each of them was active in, its prefill included."""
    passes = trace.row_rounds + sum(1 for row in trace.units if row)
    return trace.metrics.tokens / passes if passes else 0.0
