"""What the text encoder's mean feature is to say: what a prompt asks for, what its scene holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from adapters.tiny.world.prompt_words import MAX_WISHED
from adapters.tiny.world.scene import GRID, Scene
from adapters.tiny.world.vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES
from adapters.tiny.world.wishes import Wish

CELLS = GRID * GRID
SIDES = ("above", "below", "left", "right")
LOOKS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "texture": TEXTURES,
}
NOTHING = -100


@dataclass(frozen=True, slots=True)
class TextLabels:
    """Labels of some prompts; `NOTHING` where there is no question.

    Attributes:
        slots: ``(prompts, 4, 4)`` index of each look of each wished thing, one past the last name
            where it is unsaid.
        present: ``(prompts, 4)`` 1 where the prompt asks for that many things.
        places: ``(prompts, 4, 9)`` 1 for the cells that a wished thing may lie in.
        relations: ``(prompts, 4)`` side on which the thing before lies of this one, 4 for none.
        background: ``(prompts,)`` index, 6 where it is unsaid.
        filled: ``(prompts, 9)`` 1 where the scene has a thing.
        looks: ``(prompts, 9, 4)`` index of each look of the thing in a cell of the scene.
    """

    slots: Tensor
    present: Tensor
    places: Tensor
    relations: Tensor
    background: Tensor
    filled: Tensor
    looks: Tensor


def text_labels(wishes: Sequence[Wish], scenes: Sequence[Scene]) -> TextLabels:
    """Labels of the wishes that prompts express and the scenes that these were written for."""
    rows = [_row(wish, scene) for wish, scene in zip(wishes, scenes, strict=True)]
    parts = {
        field.name: torch.stack([getattr(row, field.name) for row in rows])
        for field in fields(TextLabels)
    }
    return TextLabels(**parts)


def scene_looks(scene: Scene) -> Tensor:
    """Index of each look in each cell, ``(9, 4)``; `NOTHING` where the cell is empty."""
    looks = torch.full((CELLS, len(LOOKS)), NOTHING)
    for thing in scene.things:
        looks[thing.cell] = torch.tensor(
            [names.index(getattr(thing, look)) for look, names in LOOKS.items()]
        )
    return looks


def _row(wish: Wish, scene: Scene) -> TextLabels:
    slots = torch.full((MAX_WISHED, len(LOOKS)), NOTHING)
    present, places = torch.zeros(MAX_WISHED), torch.zeros(MAX_WISHED, CELLS)
    relations = torch.full((MAX_WISHED,), NOTHING)
    sides = {(i, j): SIDES.index(side) for i, side, j in wish.relations}
    for index, thing in enumerate(wish.things):
        present[index] = 1
        places[index, list(thing.cells)] = 1
        for place, (look, names) in enumerate(LOOKS.items()):
            said = getattr(thing, look)
            slots[index, place] = len(names) if said is None else names.index(said)
        relations[index] = sides.get((index - 1, index), len(SIDES))
    tone = len(BACKGROUNDS) if wish.background is None else BACKGROUNDS.index(wish.background)
    looks = scene_looks(scene)
    return TextLabels(
        slots=slots,
        present=present,
        places=places,
        relations=relations,
        background=torch.tensor(tone),
        filled=(looks[:, 0] != NOTHING).float(),
        looks=looks,
    )
