"""From prompts to the inputs of Chameleon's descendants, which differ in what frames a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapters.image_tokens.prompting import guided_inputs, only_prompts
from image_ar.discrete.grid import Grid

VARIANTS = ("anole", "lumina")
NULLS = ("image", "start")
_PIXELS_A_SIZE_TOKEN = 32


@dataclass(frozen=True)
class SpecialIds:
    """Vocabulary ids that frame a picture; the defaults are those of every released model.

    Attributes:
        bos: Starts a sequence.
        separator: Ends what the user says.
        image_start: Starts a picture.
        image_end: Ends a picture.
        line_end: Ends a row of a picture (Lumina-mGPT).
        sizes: ``sizes + n`` says that a side has ``32 * n`` pixels (Lumina-mGPT).
    """

    bos: int = 0
    separator: int = 8710
    image_start: int = 8197
    image_end: int = 8196
    line_end: int = 8803
    sizes: int = 8804


@dataclass(frozen=True)
class Frame:
    """What surrounds the codes of a picture.

    Attributes:
        grid: The picture, its line ends and its end.
        lead: Ids between the prompt and the first code.
        null: The whole prompt of the unconditional half.
        template: Wording of the request, with ``{prompt}``.
    """

    grid: Grid
    lead: tuple[int, ...]
    null: tuple[int, ...]
    template: str = "{prompt}"


def frame_of(
    variant: str,
    size: tuple[int, int],
    pixels_a_token: int,
    ids: SpecialIds,
    null: str | None = None,
) -> Frame:
    """How a model frames pictures.

    Args:
        variant: ``"anole"``: codes only. ``"lumina"``: two size tokens in front, a token after
            every row, one at the end.
        size: Height and width in pixels.
        pixels_a_token: Pixels of a side that a code stands for.
        ids: The model's ids.
        null: What the unconditional half begins with: ``"image"``, the image start, or
            ``"start"``, the start of a sequence and the image start. None takes the one of the
            variant, ``"start"`` for Anole and ``"image"`` for Lumina-mGPT.

    Raises:
        ValueError: An unknown variant or null, or a size the variant cannot say.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    null = null or ("image" if variant == "lumina" else "start")
    if null not in NULLS:
        raise ValueError(f"null must be one of {', '.join(NULLS)}, got {null!r}")
    unit = _PIXELS_A_SIZE_TOKEN if variant == "lumina" else pixels_a_token
    height, width = size
    if any(side < unit or side % unit for side in size):
        raise ValueError(f"image_size must be a multiple of {unit} pixels, got {height} x {width}")
    rows, columns = height // pixels_a_token, width // pixels_a_token
    begin = (ids.bos,) if null == "start" else ()
    if variant == "anole":
        lead: tuple[int, ...] = (ids.image_start,)
        return Frame(Grid(rows, columns), lead, (*begin, *lead))
    lead = (ids.image_start, ids.sizes + height // unit, ids.sizes + width // unit)
    grid = Grid(rows, columns, (ids.line_end,), (ids.image_end,))
    wording = f"Generate an image of {width}x{height} according to the following prompt:\n"
    return Frame(grid, lead, (*begin, *lead), wording + "{prompt}")


class ChameleonConditioner:
    """Prompts as a user's turn, followed by what starts a picture.

    Args:
        tokenizer: The model's tokenizer; None if inputs are made from ids only.
        frame: What surrounds a picture.
        ids: The model's ids.
        device: Where the inputs must be.
    """

    classes: tuple[str, ...] | None = None

    def __init__(
        self,
        tokenizer: Any,
        frame: Frame,
        ids: SpecialIds,
        device: torch.device | str = "cpu",
    ) -> None:
        self.tokenizer, self.frame, self.ids, self.device = tokenizer, frame, ids, device

    def __call__(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        guidance_scale: float,
        cfg_interval: int,
    ) -> dict[str, Any]:
        """See :func:`~adapters.image_tokens.prompting.guided_inputs`.

        Raises:
            ValueError: Classes, an empty prompt, or no tokenizer.
        """
        texts = only_prompts(prompts, "Chameleon")
        if self.tokenizer is None:
            raise ValueError(
                "this target was built without a tokenizer; pass tokenizer=..., or make inputs "
                "with target.conditioner.from_ids"
            )
        words = [
            self.tokenizer(self.frame.template.format(prompt=text), add_special_tokens=False)
            for text in texts
        ]
        rows = [list(encoded["input_ids"]) for encoded in words]
        return self.from_ids(rows, guidance_scale, cfg_interval)

    def from_ids(
        self, rows: Sequence[Sequence[int]], guidance_scale: float, cfg_interval: int = -1
    ) -> dict[str, Any]:
        """Inputs from the ids of the words alone."""
        ids, lead = self.ids, self.frame.lead
        turns = [(ids.bos, *row, ids.separator, *lead) for row in rows]
        nulls = [self.frame.null] * len(rows)
        return guided_inputs(turns, nulls, guidance_scale, cfg_interval, self.device)
