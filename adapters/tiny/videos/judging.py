"""What a video shows, frame by frame: things are found, put in the middle and read by the judge.

The judge knows pictures whose things lie in cells. A thing on its way is cut out and laid in the
middle cell of an empty picture of the same background.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.tiny.images.judge import CELLS, CROP, Judge, see
from adapters.tiny.images.pictures import SIDE
from adapters.tiny.world.motion_prompts import MotionWish
from adapters.tiny.world.scene import Thing
from adapters.tiny.world.wishes import WishedThing

# A pixel belongs to a thing where some colour is farther than this from the background's, and a
# thing has at least so many pixels.
_APART, _LEAST_PIXELS = 0.12, 16
_MIDDLE = CELLS // 2
_NOWHERE = SIDE * SIDE


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
    found = [find_things(frame, tone) for frame, tone in zip(frames, tones, strict=True)]
    crops, owners = [], []
    for index, masks in enumerate(found):
        for mask in masks:
            crops.append(centred(frames[index], mask, tones[index]))
            owners.append((index, mask))
    sightings: list[list[Sighting]] = [[] for _ in frames]
    if crops:
        for seen, (index, mask) in zip(see(judge, torch.stack(crops)), owners, strict=True):
            for thing in seen.things:
                if thing.cell == _MIDDLE:
                    sightings[index].append(Sighting(thing, _middle(mask)))
    blank = see(judge, frames)
    return [
        FrameReading(tuple(each), seen.background)
        for each, seen in zip(sightings, blank, strict=True)
    ]


def find_things(frame: Tensor, tone: Tensor) -> list[Tensor]:
    """Masks ``(64, 64)`` of the connected parts of a frame that are not background."""
    inked = (frame - tone[:, None, None]).abs().amax(dim=0) > _APART
    labels = torch.where(inked, torch.arange(SIDE * SIDE).view(SIDE, SIDE), _NOWHERE).float()
    while True:
        spread = -F.max_pool2d(-labels[None, None], 3, stride=1, padding=1)[0, 0]
        spread = torch.where(inked, spread, float(_NOWHERE))
        if torch.equal(spread, labels):
            break
        labels = spread
    masks = [labels == label for label in labels.unique() if label < _NOWHERE]
    return [mask for mask in masks if int(mask.sum()) >= _LEAST_PIXELS]


def centred(frame: Tensor, mask: Tensor, tone: Tensor) -> Tensor:
    """A picture ``(3, 64, 64)`` of one thing in the middle, on a background of one tone."""
    x, y = _middle(mask)
    near = F.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
    alone = torch.where(near, frame, tone[:, None, None])
    half = CROP // 2
    padded = torch.cat([alone, torch.ones(1, SIDE, SIDE)])
    padded = F.pad(padded, (half, half, half, half))
    left, top = round(x + 0.5), round(y + 0.5)
    cut = padded[:, top : top + CROP, left : left + CROP]
    picture = tone[:, None, None].expand(3, SIDE, SIDE).clone()
    first = (SIDE - CROP) // 2
    inside = torch.where(cut[3:] > 0, cut[:3], tone[:, None, None])
    picture[:, first : first + CROP, first : first + CROP] = inside
    return picture.clamp(0, 1)


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


def _middle(mask: Tensor) -> tuple[float, float]:
    """Middle of the smallest upright box around a mask, in pixels."""
    rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
    return float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2
