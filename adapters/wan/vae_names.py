"""Names of the Wan 2.1 autoencoder's weights: those of the original program and of diffusers.

The original file ``Wan2.1_VAE.pth`` numbers all stages of the decoder in one row; diffusers groups
them by resolution. The two sets are renamings of each other, one to one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

FILE = "Wan2.1_VAE.pth"
CHANNELS = 16  # of its latents, whose means and deviations diffusers knows
_STAGES = 4
_TOP = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    **{
        f"{half}.{theirs}": f"{half}.{ours}"
        for half in ("encoder", "decoder")
        for theirs, ours in (
            ("conv1", "conv_in"),
            ("head.0", "norm_out"),
            ("head.2", "conv_out"),
            ("middle.0", "mid_block.resnets.0"),
            ("middle.1", "mid_block.attentions.0"),
            ("middle.2", "mid_block.resnets.1"),
        )
    },
}
_RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_NAME = re.compile(
    r"(?P<place>conv[12]|(encoder|decoder)\.(conv1|head\.[02]|middle\.[012]))"
    r"|encoder\.downsamples\.(?P<down>\d+)|decoder\.upsamples\.(?P<up>\d+)"
)
_INSIDE = re.compile(r"\.(residual\.[0236]|shortcut)(?=\.)")


def is_original_vae(weights: Mapping[str, Tensor]) -> bool:
    """Whether names are those of the original program."""
    return "encoder.conv1.weight" in weights and "conv2.weight" in weights


def vae_config(weights: Mapping[str, Tensor], source: str = "weights") -> dict[str, Any]:
    """The diffusers config that original names and shapes tell.

    Args:
        weights: Under original names.
        source: What to call them in errors.

    Raises:
        ValueError: The autoencoder of another Wan, such as 2.2's.
    """
    channels = weights["conv2.weight"].shape[0]
    if channels != CHANNELS or any(".downsamples.0.downsamples." in name for name in weights):
        raise ValueError(
            f"{source} is not Wan 2.1's autoencoder: its latents have {channels} channels, those "
            f"of 2.1 have {CHANNELS}; give the diffusers folder of this one"
        )
    return {
        "base_dim": weights["encoder.conv1.weight"].shape[0],
        "z_dim": channels,
        "num_res_blocks": _row(weights) - 2,
    }


def vae_to_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Original names become those of diffusers; unknown ones stay as they are."""
    row = _row(weights)
    return {_renamed(name, row): value for name, value in weights.items()}


def _row(weights: Mapping[str, Tensor]) -> int:
    """Places of a stage of the decoder: its residual blocks, and what enlarges after them."""
    places = {name.split(".")[2] for name in weights if name.startswith("decoder.upsamples.")}
    return (len(places) + 1) // _STAGES


def _renamed(name: str, row: int) -> str:
    match = _NAME.match(name)
    if match is None:
        return name
    if match["place"]:
        lead = _TOP[match["place"]]
    elif match["down"]:
        lead = f"encoder.down_blocks.{match['down']}"
    else:
        stage, place = divmod(int(match["up"]), row)
        part = "upsamplers.0" if place == row - 1 else f"resnets.{place}"
        lead = f"decoder.up_blocks.{stage}.{part}"
    return lead + _INSIDE.sub(lambda inner: f".{_RESIDUAL[inner[1]]}", name[match.end() :])
