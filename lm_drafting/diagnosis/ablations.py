"""The table of alternatives: each changes one ingredient of what a drafter reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lm_drafting.diagnosis import changes
from lm_drafting.diagnosis.case import Case


@dataclass(frozen=True)
class Ablation:
    """One ingredient, changed to its usual alternative.

    Attributes:
        ingredient: What it is about.
        served: How a drafter is served.
        instead: The alternative.
        applies: Whether there is anything to change in a case.
        change: The case with the alternative.
        advice: What to do about a drafter that does clearly better with it.
    """

    ingredient: str
    served: str
    instead: str
    applies: Callable[[Case], bool]
    change: Callable[[Case], Case]
    advice: str


def _layers(instead: str, choose: changes.Choose) -> Ablation:
    return Ablation(
        "layer ids",
        "as configured",
        instead,
        partial(changes.has_layers, choose=choose),
        partial(changes.other_layers, choose=choose),
        "correct the layer ids in its config.json: some projects number what enters a layer, "
        "others what leaves it",
    )


def _flag(name: str, ingredient: str) -> Ablation:
    return Ablation(
        ingredient,
        "as configured",
        "the other way round",
        partial(changes.has_flag, flag=name),
        partial(changes.flipped, flag=name),
        f"change {name} in its config.json",
    )


# Where two alternatives do equally well, the first of the table is named.
ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "hidden states",
        "after the final norm",
        "before the final norm",
        changes.reads_last,
        changes.before_norm,
        "train it on the target's last hidden states after its final norm",
    ),
    Ablation(
        "hidden states",
        "last layer before the final norm",
        "last layer after the final norm",
        changes.reads_top,
        changes.top_after_norm,
        "train it on what leaves the last layer, before the final norm",
    ),
    _layers("every id one lower", changes.lower),
    _layers("every id one higher", changes.higher),
    _layers("the usual ones", changes.usual),
    Ablation(
        "pairs",
        "embedding of token j+1, hidden state j",
        "embedding of token j, hidden state j",
        changes.always,
        changes.unshifted,
        "train it with the tokens one place ahead of the hidden states",
    ),
    Ablation(
        "concatenation",
        "embedding, then hidden state",
        "hidden state, then embedding",
        changes.has_halves,
        changes.swapped,
        "swap the two halves of the columns of the projection that reads both: fc, or for EAGLE-3 "
        "q_proj, k_proj and v_proj",
    ),
    Ablation(
        "pictures",
        "projected vision features",
        "the placeholder's embedding",
        changes.embeds_pictures,
        changes.placeholder_rows,
        "train it on the embeddings that the target's decoder reads, vision features included",
    ),
    Ablation(
        "compressor",
        "on",
        "off: every visual token",
        changes.compresses,
        changes.uncompressed,
        'set "compressor" to null in its config.json',
    ),
    Ablation(
        "positions",
        "a short picture keeps its room",
        "closed up behind it",
        changes.compresses,
        changes.closed_up,
        "train it with text at the positions it has in the prompt",
    ),
    Ablation(
        "pictures",
        "in the drafter's sequence",
        "left out",
        changes.reads_pictures,
        changes.left_out,
        'train it on pictures, or set "compressor" to {"kind": "text-only"} in its config.json',
    ),
    Ablation(
        "pictures",
        "in the drafter's sequence",
        "left out, positions closed up",
        changes.reads_pictures,
        changes.left_out_closed_up,
        "it was trained on text alone: train it on pictures",
    ),
    Ablation(
        "vocabulary map",
        "d2t holds offsets",
        "d2t holds target ids",
        changes.has_map,
        changes.absolute_map,
        "subtract its draft id from every entry of d2t in the checkpoint",
    ),
    Ablation(
        "vocabulary map",
        "d2t holds offsets",
        "no map",
        changes.has_map,
        changes.no_map,
        "fill d2t of the checkpoint with zeros",
    ),
    _flag("norm_before_residual", "norm in front of the residual stream"),
    _flag("norm_output", "norm of what is fed back"),
)
