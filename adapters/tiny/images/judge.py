"""The judge: a small timm network that reads a picture back into the scene that it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from adapters.tiny.world.scene import GRID, Scene, Thing
from adapters.tiny.world.vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

from .pictures import CELL, SIDE

WEIGHTS = Path(__file__).parents[1] / "weights" / "judge"
CELLS = GRID * GRID
# A crop is a cell and the margin around it: the nine of them cover the picture exactly.
MARGIN = (SIDE - GRID * CELL) // 2
CROP = CELL + 2 * MARGIN
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "texture": TEXTURES,
}
# A thing may be there from this probability of "no thing" downwards.
_EMPTY = 0.5
_BATCH = 64


def _vocabulary() -> dict[str, list[str]]:
    values = {**ATTRIBUTES, "background": BACKGROUNDS}
    return {name: list(words) for name, words in values.items()}


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Shape of the network and the meaning of its outputs, in order.

    Attributes:
        backbone: Name of a timm model.
        options: Further arguments of `timm.create_model`.
        vocabulary: Values of every attribute.
    """

    backbone: str = "resnet10t"
    options: Mapping[str, object] = field(
        default_factory=lambda: {"channels": [32, 64, 96, 96], "stem_width": 16}
    )
    vocabulary: Mapping[str, list[str]] = field(default_factory=_vocabulary)


@dataclass(frozen=True, slots=True)
class Readings:
    """Logits of a batch.

    Attributes:
        empty: ``(batch, cells)``, of "no thing that can be recognised" against "a thing"; a picture
            has nine cells.
        attributes: ``(batch, cells, values)`` for shape, colour, size and texture.
        background: ``(batch, 6)``.
    """

    empty: torch.Tensor
    attributes: dict[str, torch.Tensor]
    background: torch.Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What the judge sees in one picture.

    Attributes:
        things: Things in raster order.
        background: The tone behind them.
        confidence: The least of the cells' confidences and that of the background.
        cells: Confidence of each cell: the probability of "no thing" where it is read as empty,
            otherwise that of a thing with exactly these four attributes.
    """

    things: tuple[Thing, ...]
    background: str
    confidence: float
    cells: tuple[float, ...]

    @property
    def scene(self) -> Scene:
        """The same as a scene, to compare with the true one."""
        return Scene(things=self.things, background=self.background)


class Judge(nn.Module):
    """One shared backbone on the nine crops, linear heads on its pooled features.

    The background is read from the mean of the nine cells' features: every crop shows some of it.
    """

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config or JudgeConfig()
        self.backbone = timm.create_model(
            self.config.backbone, pretrained=False, num_classes=0, **self.config.options
        )
        width = self.backbone.num_features
        sizes = {name: len(values) for name, values in self.config.vocabulary.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in sizes.items()})
        self.heads["empty"] = nn.Linear(width, 1)

    def forward(self, pixels: torch.Tensor) -> Readings:
        """Read pictures ``(batch, 3, 64, 64)`` with values in [0, 1].

        Raises:
            ValueError: If they have another shape or are whole numbers.
        """
        _check(pixels)
        return self.read_crops(crop_cells(pixels))

    def read_crops(self, crops: torch.Tensor) -> Readings:
        """Read cells alone, ``(batch, cells, 3, 24, 24)``; the background from all of a row."""
        flat = crops.flatten(0, 1).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
        features = self.backbone(flat).unflatten(0, crops.shape[:2])
        return Readings(
            empty=self.heads["empty"](features).squeeze(-1).float(),
            attributes={name: self.heads[name](features).float() for name in ATTRIBUTES},
            background=self.heads["background"](features.mean(1)).float(),
        )


def crop_cells(pixels: torch.Tensor) -> torch.Tensor:
    """Cut pictures ``(batch, 3, 64, 64)`` into their cells, ``(batch, 9, 3, 24, 24)``."""
    crops = pixels.unfold(2, CROP, CELL).unfold(3, CROP, CELL)
    return crops.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


def _check(pixels: torch.Tensor) -> None:
    if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, SIDE, SIDE):
        raise ValueError(
            f"the judge reads pictures of shape (batch, 3, {SIDE}, {SIDE}), "
            f"got {tuple(pixels.shape)}; resize them or add the batch dimension"
        )
    if not pixels.is_floating_point():
        raise ValueError(
            f"the judge reads floats in [0, 1], got {pixels.dtype}; divide bytes by 255"
        )


def to_pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Stack pictures of 64 x 64 as ``(batch, 3, 64, 64)`` floats in [0, 1].

    Raises:
        ValueError: If there is no picture or one has another size.
    """
    if not images:
        raise ValueError("the judge needs at least one picture, got none")
    for index, image in enumerate(images):
        if image.size != (SIDE, SIDE):
            raise ValueError(
                f"the judge reads pictures of {SIDE} x {SIDE} pixels, got {image.size[0]} x "
                f"{image.size[1]} at index {index}; resize it first"
            )
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float().div_(255)


def see(judge: Judge, pictures: torch.Tensor | Sequence[Image.Image]) -> list[Seen]:
    """Read pictures in evaluation mode, in batches of bounded size.

    Args:
        judge: Put into evaluation mode; otherwise left as it is.
        pictures: ``(batch, 3, 64, 64)`` floats in [0, 1], or PIL pictures of 64 x 64.

    Returns:
        One reading for each picture. A cell holds a thing where P(no thing) < 0.5.

    Raises:
        ValueError: If shape, type or size is another, or values are not in [0, 1].
    """
    pixels = pictures if isinstance(pictures, torch.Tensor) else to_pixels(pictures)
    _check(pixels)
    if pixels.numel() and not (pixels.min() >= -0.01 and pixels.max() <= 1.01):
        low, high = pixels.min().item(), pixels.max().item()
        raise ValueError(f"pixels must lie in [0, 1], got {low:.3g} to {high:.3g}; scale them")
    return _read(judge, judge, pixels, _BATCH)


def see_crops(judge: Judge, crops: torch.Tensor) -> list[Seen]:
    """Read single cells as if each were a picture of one cell.

    The background is right where a crop shows nothing else: it is read from all of a picture.

    Args:
        judge: Put into evaluation mode; otherwise left as it is.
        crops: ``(batch, 3, 24, 24)`` floats in [0, 1].
    """
    return _read(judge, judge.read_crops, crops.unsqueeze(1), _BATCH * CELLS)


def _read(
    judge: Judge, read: Callable[[torch.Tensor], Readings], pixels: torch.Tensor, rows: int
) -> list[Seen]:
    """Read in evaluation mode, so many rows at a time."""
    if judge.training:
        judge.eval()
    weight = next(judge.heads.parameters())
    seen: list[Seen] = []
    with torch.inference_mode():
        for chunk in pixels.to(weight.device, weight.dtype).split(rows):
            seen += _decide(read(chunk))
    return seen


def _decide(readings: Readings) -> list[Seen]:
    """Turn logits into words and probabilities, picture by picture."""
    empty = readings.empty.sigmoid()
    best = {name: logits.softmax(-1).max(-1) for name, logits in readings.attributes.items()}
    sure = torch.stack([value.values for value in best.values()]).prod(0) * (1 - empty)
    held = empty < _EMPTY
    cells = torch.where(held, sure, empty)
    tone = readings.background.softmax(-1).max(-1)
    least = torch.minimum(cells.min(1).values, tone.values).tolist()
    choices = {name: value.indices.tolist() for name, value in best.items()}
    tones, kept, confidences = tone.indices.tolist(), held.tolist(), cells.tolist()
    seen = []
    for row, shown in enumerate(kept):
        things = tuple(
            Thing(cell=cell, **{n: ATTRIBUTES[n][choices[n][row][cell]] for n in ATTRIBUTES})
            for cell, is_held in enumerate(shown)
            if is_held
        )
        seen.append(Seen(things, BACKGROUNDS[tones[row]], least[row], tuple(confidences[row])))
    return seen


def save_judge(judge: Judge, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.bfloat16() if value.is_floating_point() else value).contiguous()
        for name, value in judge.state_dict().items()
    }
    weights = folder / "model.safetensors"
    save_file(state, weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    text = json.dumps({"model_type": "judge", **asdict(judge.config)}, indent=2)
    (folder / "config.json").write_text(text + "\n")


def load_judge(folder: Path | None = None) -> Judge:
    """Load a judge in float32 and evaluation mode; the embedded one if no folder is named.

    Raises:
        FileNotFoundError: If the folder holds no judge.
        ValueError: If it is another kind of model or reads another vocabulary.
    """
    folder = folder or WEIGHTS
    if not (folder / "config.json").exists() or not (folder / "model.safetensors").exists():
        raise FileNotFoundError(
            f"no judge in {folder}: config.json and model.safetensors must be there; train one "
            "with python -m adapters.tiny.images.train_judge"
        )
    values = json.loads((folder / "config.json").read_text())
    kind = values.pop("model_type", None)
    if kind != "judge":
        raise ValueError(f"{folder} holds a model of type {kind!r}, not a judge; name its folder")
    if values.get("vocabulary") != _vocabulary():
        raise ValueError(f"the judge in {folder} reads another vocabulary; train it again")
    judge = Judge(JudgeConfig(**values))
    judge.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    # As crops come: filters would be laid out anew in every call.
    judge.backbone.to(memory_format=torch.channels_last)
    return judge.eval()
