"""What a video shows, frame by frame: things are found, cut out and read by the judge.

The judge knows things in the middle of cells. A thing on its way is cut out and laid in the middle
of an empty cell of the same background.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from torchvision.ops import masks_to_boxes

from adapters.tiny.images.judge import CROP, Judge, see_crops
from adapters.tiny.images.pictures import SIDE
from adapters.tiny.world.motion_prompts import MotionWish
from adapters.tiny.world.scene import Thing
from adapters.tiny.world.wishes import WishedThing

# A pixel belongs to a thing where some colour is farther than this from the background's, and a
# thing has at least so many pixels.
_APART, _LEAST_PIXELS = 0.12, 16
# Pixels that touch, if only by a corner, are of one thing; pixels of two frames never are.
_NEIGHBOURS = np.array([[[0] * 3] * 3, [[1] * 3] * 3, [[0] * 3] * 3])


@dataclass(frozen=True, slots=True)
class Sighting:
    """A thing in one frame: what the judge takes it for, and its middle (x, y) in pixels."""

    thing: Thing
    middle: tuple[float, float]


@dataclass(frozen=True, slots=True)
class FrameReading:
    """What one frame shows."""

    sightings: tuple[Sighting, ...]
    background: str


def read_frames(judge: Judge, frames: Tensor) -> list[FrameReading]:
    """Read frames ``(frames, 3, 64, 64)`` in [0, 1]; they need not be of one video."""
    tones = frames.flatten(2).median(dim=2).values
    masks, owners = find_things(frames, tones)
    middles = _middles(masks)
    crops = cut_out(frames[owners], masks, middles, tones[owners])
    empty = tones[:, :, None, None].expand(-1, -1, CROP, CROP)
    seen = see_crops(judge, torch.cat([crops, empty]))
    sightings: list[list[Sighting]] = [[] for _ in frames]
    for one, owner, (x, y) in zip(seen, owners.tolist(), middles.tolist(), strict=False):
        sightings[owner] += [Sighting(thing, (x, y)) for thing in one.things]
    return [
        FrameReading(tuple(each), ground.background)
        for each, ground in zip(sightings, seen[len(crops) :], strict=True)
    ]


def find_things(frames: Tensor, tones: Tensor) -> tuple[Tensor, Tensor]:
    """The connected parts of frames that are not background.

    Args:
        frames: ``(frames, 3, 64, 64)``.
        tones: Their backgrounds, ``(frames, 3)``.

    Returns:
        Masks ``(things, 64, 64)`` bool, and the frame that each lies in, ``(things,)``.
    """
    inked = (frames - tones[:, :, None, None]).abs().amax(dim=1) > _APART
    labels, count = ndimage.label(inked.numpy(), _NEIGHBOURS)
    owners = np.zeros(count + 1, dtype=np.int64)
    owners[labels] = np.arange(len(labels))[:, None, None]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    large = np.flatnonzero(sizes >= _LEAST_PIXELS)
    masks = labels[owners[large]] == large[:, None, None]
    return torch.from_numpy(masks), torch.from_numpy(owners[large])


def cut_out(frames: Tensor, masks: Tensor, middles: Tensor, tones: Tensor) -> Tensor:
    """Crops ``(things, 3, 24, 24)`` of one thing each in the middle, on an even background.

    Args:
        frames: ``(things, 3, 64, 64)`` in which they lie.
        masks: ``(things, 64, 64)`` bool.
        middles: ``(things, 2)``, x and y.
        tones: ``(things, 3)`` backgrounds.
    """
    near = F.max_pool2d(masks[:, None].float(), 3, stride=1, padding=1) > 0
    alone = torch.where(near, frames, tones[:, :, None, None])
    reach = torch.arange(CROP) - CROP // 2
    columns, rows = ((middles + 0.5).round().long()[:, :, None] + reach).unbind(1)
    known_rows, known_columns = ((at >= 0) & (at < SIDE) for at in (rows, columns))
    inside = known_rows[:, :, None] & known_columns[:, None]
    things = torch.arange(len(frames)).view(-1, 1, 1)
    rows, columns = rows.clamp(0, SIDE - 1), columns.clamp(0, SIDE - 1)
    cut = alone[things, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
    return torch.where(inside[:, None], cut, tones[:, :, None, None]).clamp(0, 1)


def matched(asked: MotionWish, reading: FrameReading) -> list[Sighting | None]:
    """The sighting that fits each wished thing best; None where things are missing."""
    wanted = asked.wish.things
    pool: list[Sighting | None] = [*reading.sightings, *([None] * len(wanted))]
    # A wrong decode may scatter crumbs; six things are as many as the assignment may consider.
    pool = sorted(pool, key=lambda one: -max(_fit(thing, one) for thing in wanted))[:6]
    best = max(
        permutations(pool, len(wanted)),
        key=lambda order: sum(_fit(thing, one) for thing, one in zip(wanted, order, strict=True)),
    )
    return list(best)


def questions(thing: WishedThing, seen: Sighting | None) -> list[bool]:
    """Answers to what a prompt says of a thing's looks, right or wrong."""
    said = [(thing.shape, "shape"), (thing.colour, "colour"), (thing.size, "size")]
    return [
        seen is not None and getattr(seen.thing, name) == value
        for value, name in said
        if value is not None
    ]


def _fit(thing: WishedThing, seen: Sighting | None) -> float:
    # A wrong sighting is still better than none.
    return -0.1 if seen is None else float(sum(questions(thing, seen)))


def _middles(masks: Tensor) -> Tensor:
    """Middles ``(things, 2)`` of the smallest upright boxes around masks, x and y in pixels."""
    boxes = masks_to_boxes(masks)
    return (boxes[:, :2] + boxes[:, 2:]) / 2
