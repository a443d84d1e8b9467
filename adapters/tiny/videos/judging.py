"""What a video shows, frame by frame: things are found, cut out and read by the judge.

The judge knows things in the middle of cells. A thing on its way is cut out and laid in the middle
of an empty cell of the same background. The background itself is the tone nearest to the median of
every fourth pixel: it fills more than half of any frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from adapters.tiny.images.judge import CROP, Judge, see_crops
from adapters.tiny.images.pictures import SIDE
from adapters.tiny.world.motion_prompts import MotionWish
from adapters.tiny.world.render import TONES
from adapters.tiny.world.scene import Thing
from adapters.tiny.world.vocabulary import BACKGROUNDS
from adapters.tiny.world.wishes import WishedThing

# A pixel belongs to a thing where some colour is farther than this from the background's, and a
# thing has at least so many pixels.
_APART, _LEAST_PIXELS = 0.12, 16
_TONES = torch.tensor([TONES[name] for name in BACKGROUNDS]) / 255
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


@dataclass(frozen=True, slots=True)
class Found:
    """Things in frames.

    Attributes:
        labels: ``(frames, 64, 64)`` whole numbers: which part each pixel belongs to, 0 for none.
        names: The numbers of those parts that are things.
        owners: The frame that each of them lies in.
        middles: Of the smallest upright boxes around them, (x, y) in pixels.
    """

    labels: Tensor
    names: list[int]
    owners: list[int]
    middles: list[tuple[float, float]]


def read_frames(judge: Judge, frames: Tensor) -> list[FrameReading]:
    """Read frames ``(frames, 3, 64, 64)`` in [0, 1]; they need not be of one video."""
    tones = frames[:, :, ::2, ::2].flatten(2).median(dim=2).values
    found = find_things(frames, tones)
    sightings: list[list[Sighting]] = [[] for _ in frames]
    seen = see_crops(judge, cut_out(frames, found, tones))
    for one, owner, (x, y) in zip(seen, found.owners, found.middles, strict=True):
        sightings[owner] += [Sighting(thing, (x, y)) for thing in one.things]
    nearest = torch.cdist(tones, _TONES).argmin(dim=1).tolist()
    return [
        FrameReading(tuple(each), BACKGROUNDS[tone])
        for each, tone in zip(sightings, nearest, strict=True)
    ]


def find_things(frames: Tensor, tones: Tensor) -> Found:
    """The connected parts of frames that are not background.

    Args:
        frames: ``(frames, 3, 64, 64)``.
        tones: Their backgrounds, ``(frames, 3)``.
    """
    inked = (frames - tones[:, :, None, None]).abs().amax(dim=1) > _APART
    labels, _ = ndimage.label(inked.numpy(), _NEIGHBOURS)
    large = np.bincount(labels.ravel())[1:] >= _LEAST_PIXELS
    boxes = [(at, box) for at, box in enumerate(ndimage.find_objects(labels), 1) if large[at - 1]]
    return Found(
        labels=torch.from_numpy(labels),
        names=[at for at, _ in boxes],
        owners=[frame.start for _, (frame, _, _) in boxes],
        middles=[
            ((columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2)
            for _, (_, rows, columns) in boxes
        ],
    )


def cut_out(frames: Tensor, found: Found, tones: Tensor) -> Tensor:
    """Crops ``(things, 3, 24, 24)`` of one thing each in the middle, on an even background.

    Args:
        frames: ``(frames, 3, 64, 64)``.
        found: What lies in them.
        tones: ``(frames, 3)`` backgrounds.
    """
    # One pixel more on every side, since what touches a thing is cut out with it.
    reach = torch.arange(-1, CROP + 1) - CROP // 2
    middles = torch.tensor(found.middles).view(-1, 2)
    columns, rows = ((middles + 0.5).round().long()[:, :, None] + reach).unbind(1)
    known_rows, known_columns = ((at >= 0) & (at < SIDE) for at in (rows, columns))
    inside = known_rows[:, :, None] & known_columns[:, None]
    rows, columns = rows.clamp(0, SIDE - 1)[:, :, None], columns.clamp(0, SIDE - 1)[:, None]
    place, name = (torch.tensor(at).long().view(-1, 1, 1) for at in (found.owners, found.names))
    held = ((found.labels[place, rows, columns] == name) & inside).float()
    near = (F.max_pool2d(held[:, None], 3, stride=1) > 0) & inside[:, None, 1:-1, 1:-1]
    cut = frames[place, :, rows[:, 1:-1], columns[:, :, 1:-1]].permute(0, 3, 1, 2)
    return torch.where(near, cut, tones[place.flatten(), :, None, None]).clamp(0, 1)


def matched(asked: MotionWish, reading: FrameReading) -> list[Sighting | None]:
    """The sighting that fits each wished thing best; None where things are missing."""
    # A wrong sighting is still better than none.
    pool: list[Sighting | None] = [*reading.sightings, *([None] * len(asked.wish.things))]
    fits = [
        [-0.1 if seen is None else float(sum(questions(thing, seen))) for seen in pool]
        for thing in asked.wish.things
    ]
    _, best = linear_sum_assignment(fits, maximize=True)
    return [pool[index] for index in best]


def questions(thing: WishedThing, seen: Sighting | None) -> list[bool]:
    """Answers to what a prompt says of a thing's looks, right or wrong."""
    said = [(thing.shape, "shape"), (thing.colour, "colour"), (thing.size, "size")]
    return [
        seen is not None and getattr(seen.thing, name) == value
        for value, name in said
        if value is not None
    ]
