"""Whose drafter it is: formats told apart by a few keys and by what ``config.json`` says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

_WRAPPER = "model."  # some trainers save the network inside a causal language model


@dataclass(frozen=True)
class Format:
    """One way of writing a drafter down.

    Attributes:
        name: For messages.
        kind: Architecture; checkpoints of a kind get the same key names.
        keys: Weights that are all there.
        config: Entries of ``config.json`` that are all there.
        renames: Prefixes of keys and what stands for them in canonical names; first match wins.
        implies: What is true of every drafter of this format, in the configuration's terms.
        ours: Written by this project, whose networks may hold a ``compressor`` of any kind.
        refused: Why it cannot be read; empty where it can.
    """

    name: str
    kind: str
    keys: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = ()
    implies: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = False
    refused: str = ""

    def fits(self, config: Mapping[str, Any], keys: Collection[str]) -> bool:
        """Whether a checkpoint's configuration and unwrapped keys show all marks."""
        return all(config.get(name) == value for name, value in self.config.items()) and all(
            key in keys for key in self.keys
        )

    def canonical(self, key: str) -> str:
        """The canonical name of a stored key."""
        key = key.removeprefix(_WRAPPER)
        for old, new in self.renames:
            if key.startswith(old):
                return new + key.removeprefix(old)
        return key


# Names of classes are part of the files on disk: renaming a class does not rename them.
_OURS = {
    "eagle": "EagleHead",
    "eagle3": "Eagle3Network",
    "vispec": "ViSpecNetwork",
    "specvlm": "SpecVLMNetwork",
    "flash": "FlashNetwork",
}
_REFUSED = (
    Format(
        "HiViS",
        "hivis",
        keys=("residual", "fc.weight"),
        refused="its fc reads a third vector that changes with every drafting step",
    ),
    Format(
        "FLASH with slot embeddings",
        "flash",
        keys=("layers.slot_embeddings",),
        refused="the form of FLASH that is supported predicts with layers.ar_proj",
    ),
    Format(
        "P-EAGLE",
        "peagle",
        keys=("mask_hidden",),
        refused="it drafts in parallel from mask tokens; a sequential EAGLE-3 is supported",
    ),
)
_TO_MIDLAYER = (("layers.0.", "midlayer."),)

# The first row that fits is taken, so narrow marks stand above wide ones.
FORMATS = (
    *(
        Format(
            f"mmspec {kind}", kind, config={"model_type": kind, "architectures": [cls]}, ours=True
        )
        for kind, cls in _OURS.items()
    ),
    *_REFUSED,
    Format("ViSpec", "vispec", keys=("imadpt.q",)),
    Format(
        "ViSpec of NeMo AutoModel",
        "vispec",
        keys=("img_adaptor.query",),
        renames=(("img_adaptor.query", "imadpt.q"), ("img_adaptor.", "imadpt.")),
    ),
    # The official attention sums over all key heads, which a drafter trained with it expects.
    Format("FLASH", "flash", keys=("layers.ar_proj.2.weight",), implies={"official": True}),
    Format("EAGLE-3", "eagle3", keys=("midlayer.self_attn.q_proj.weight",)),
    Format(
        "speculators EAGLE-3",
        "eagle3",
        keys=("layers.0.hidden_norm.weight",),
        config={"speculators_model_type": "eagle3"},
        renames=_TO_MIDLAYER,
    ),
    Format(
        "EAGLE-3 with layers.0 names",
        "eagle3",
        keys=("layers.0.hidden_norm.weight",),
        renames=_TO_MIDLAYER,
    ),
    Format(
        "speculators EAGLE",
        "eagle",
        keys=("fusion_fc.weight",),
        renames=(("fusion_fc.", "fc."), ("transformer.", "layers.0.")),
    ),
    Format("EAGLE-1/2", "eagle", keys=("fc.weight", "layers.0.self_attn.q_proj.weight")),
)


def sniff(config: Mapping[str, Any], keys: Collection[str]) -> Format:
    """Tell a checkpoint's format.

    Args:
        config: What its ``config.json`` says, possibly nothing.
        keys: Names of its weights.

    Raises:
        ValueError: The format is unknown, or known and not supported; says what was found.
    """
    bare = {key.removeprefix(_WRAPPER) for key in keys}
    found = next((row for row in FORMATS if row.fits(config, bare)), None)
    if found is None:
        marks = ("model_type", "architectures", "speculators_model_type")
        said = {name: config[name] for name in marks if name in config}
        known = ", ".join(row.name for row in FORMATS if not row.refused)
        raise ValueError(
            f"no drafter format that is known: config.json says {said or 'nothing'}, and the "
            f"{len(keys)} weights begin with {sorted(keys)[:6]}; known are {known}"
        )
    if found.refused:
        raise ValueError(f"this is a {found.name} drafter, which is not supported: {found.refused}")
    return found
