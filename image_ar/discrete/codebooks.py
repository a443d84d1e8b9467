"""What rules and drafters ask of a target's codebook: its ids, and who is near whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from image_ar.discrete.neighbours import Neighbours
from mmspec.options import Check, flag, path_or

# Options of every part that looks at neighbours.
CHECKS: dict[str, Check] = {
    "normalize": flag(),
    "neighbours": path_or("a neighbour table", Neighbours),
}


def ids_of(target: Any) -> Tensor | None:
    """Vocabulary ids of a target's codes, None where ids are codes."""
    ids = getattr(target, "image_ids", None)
    return ids if isinstance(ids, Tensor) else None


def neighbours_of(
    target: Any,
    width: int,
    normalize: bool | None = None,
    neighbours: str | Path | Neighbours | None = None,
) -> Neighbours:
    """The neighbour table of a target's codebook.

    A table compares every code with every other, which is worth keeping for a codebook of
    thousands: one that is asked for by a file that does not exist yet is computed and written
    there, and read from there ever after.

    Args:
        target: Its codebook is compared.
        width: Neighbours a code that are needed.
        normalize: Whether rows are brought to length one first; None asks the image decoder.
        neighbours: The table, its file, or None to compute it.

    Raises:
        ValueError: A table of another codebook, of another metric, or too narrow.
        OSError: The file cannot be written.
    """
    unit = target.codebook_normalized if normalize is None else normalize
    if neighbours is None:
        return Neighbours.build(target.codebook, width, unit, ids_of(target))
    if isinstance(neighbours, Neighbours):
        return _fitting(neighbours, width, unit, "the neighbour table")
    file = Path(neighbours)
    if file.exists():
        return _fitting(Neighbours.load(file, target.codebook, ids_of(target)), width, unit, file)
    made = Neighbours.build(target.codebook, width, unit, ids_of(target))
    made.save(file)
    return made


def _fitting(table: Neighbours, width: int, normalize: bool, what: object) -> Neighbours:
    if table.normalize != normalize:
        made, here = ("normalised" if on else "stored" for on in (table.normalize, normalize))
        raise ValueError(
            f"{what} compares {made} rows of the codebook and {here} ones are asked for; give "
            f"normalize={str(table.normalize).lower()}, or another file"
        )
    if table.k_max < width:
        raise ValueError(
            f"{what} holds the {table.k_max} nearest codes and {width} are needed; ask for fewer "
            "with k, or give a new file"
        )
    return table
