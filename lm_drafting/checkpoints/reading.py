"""Any drafter as one checkpoint with canonical names, or one error with everything wrong in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lm_drafting.checkpoints.completion import complete
from lm_drafting.checkpoints.folders import fetch, read_config, read_names, read_weights
from lm_drafting.checkpoints.formats import Format, sniff
from lm_drafting.checkpoints.inspection import inspect
from lm_drafting.checkpoints.layouts import DROPPED, layout_of
from lm_drafting.checkpoints.mending import mend
from lm_drafting.checkpoints.statements import understand


@dataclass(frozen=True)
class Checkpoint:
    """A drafter on the host, whoever trained it.

    Attributes:
        kind: Architecture: "eagle", "eagle3", "vispec", "specvlm" or "flash".
        config: Canonical names: the shape, for every optional group of weights in
            :mod:`lm_drafting.checkpoints.layouts` whether it is there, and ``compressor``, what
            shortens pictures. A drafter of this project keeps whatever else its file says.
        weights: Canonical names, exactly those of the kind's layout. A drafter of this project may
            have a ``compressor`` besides.
        origin: Format and place, then notes on what was assumed or made up.
    """

    kind: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    origin: str


def read(source: str | Path) -> Checkpoint:
    """Read a drafter strictly: nothing of it is missing, left over or of another shape.

    Args:
        source: A folder or a Hub id.

    Raises:
        ValueError: The files cannot be read, the format is unknown, or configuration and weights
            contradict each other; every contradiction is named.
    """
    folder = fetch(source)
    raw, stored = read_config(folder), read_weights(folder)
    found = sniff(raw, stored)
    stated = understand(raw)
    renamed = _rename(found, stored)
    config = complete(found.kind, stated.values, renamed)
    weights = {key: value for key, value in renamed.items() if not _is_dropped(key)}
    notes = stated.notes + mend(found.kind, config, weights)
    problems = stated.problems + inspect(
        found.kind, config, weights, stated=stated.values, ours=found.ours
    )
    if problems:
        raise ValueError(f"{source} is no usable {found.name} drafter: {'; '.join(problems)}")
    config |= {**layout_of(found.kind, config).stored(weights), **found.implies}
    rest = raw if found.ours else {"compressor": _compressor(config)}
    origin = "; ".join([f"{found.name} from {source}", *notes])
    return Checkpoint(found.kind, {**rest, **config}, weights, origin)


def kind_of(source: str | Path) -> str:
    """Architecture of a drafter, told by its configuration and the names of its weights.

    Raises:
        ValueError: It cannot be read, or is no drafter of a known format.
    """
    folder = fetch(source)
    return sniff(read_config(folder), read_names(folder)).kind


def _rename(found: Format, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {key: found.canonical(key) for key in stored}
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice:
        raise ValueError(f"two weights of this {found.name} drafter are both {', '.join(twice)}")
    return {names[key]: value for key, value in stored.items()}


def _compressor(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """ViSpec's adaptor, in the terms in which this project describes what shortens pictures."""
    if not config.get("adaptor"):
        return None
    return {
        "kind": "queries",
        "num_q": config["num_q"],
        "heads": config["adaptor_heads"],
        "qkv_bias": config["adaptor_bias"],
    }


def _is_dropped(key: str) -> bool:
    return any(key == ending or key.endswith(f".{ending}") for ending in DROPPED)
