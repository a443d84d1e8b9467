"""Names and shapes of the official autoencoder file, and those of diffusers.

The networks are the same; the official one numbers the decoder's levels from the largest and writes
the matrices of attention as 1 x 1 convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Each pattern of diffusers' names and what it is officially; the level of the decoder is put in
# apart.
_RULES = (
    (r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"(down|up)_blocks\.(\d+)\.resnets\.(\d+)\.", r"\1.\2.block.\3."),
    (r"down_blocks\.(\d+)\.attentions\.(\d+)\.", r"down.\1.attn.\2."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
_LEVEL = re.compile(r"\bup_blocks\.(\d+)\.")
_ATTENTION = re.compile(r"\.attentions\.\d+\.to_\w+\.(\d+\.)?weight$")


def official_names(names: Iterable[str]) -> dict[str, str]:
    """The official name of each diffusers name of one autoencoder."""
    names = list(names)
    top = max((int(found[1]) for name in names if (found := _LEVEL.search(name))), default=0)
    return {name: _official(name, top) for name in names}


def to_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of diffusers under official names and in official shapes."""
    names = official_names(weights)
    return {
        names[name]: value[..., None, None] if _ATTENTION.search(name) else value
        for name, value in weights.items()
    }


def from_official(weights: Mapping[str, Tensor], known: Iterable[str]) -> dict[str, Tensor]:
    """Official weights under diffusers' names; those of no known name stay as they are.

    Args:
        weights: Under official names.
        known: All diffusers names of the autoencoder.
    """
    back = {theirs: ours for ours, theirs in official_names(known).items()}
    found = {}
    for theirs, value in weights.items():
        ours = back.get(theirs, theirs)
        is_convolution = value.ndim == 4 and value.shape[2:] == (1, 1)
        found[ours] = value[..., 0, 0] if _ATTENTION.search(ours) and is_convolution else value
    return found


def _official(name: str, top: int) -> str:
    name = _LEVEL.sub(lambda found: f"up_blocks.{top - int(found[1])}.", name)
    for ours, theirs in _RULES:
        name = re.sub(ours, theirs, name)
    return name
