"""Sizes of MAR's networks, and the released ones by name.

Source: Li et al. 2024, "Autoregressive Image Generation without Vector Quantization"
(arXiv 2406.11838), and the configurations published with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isqrt
from typing import Any

from torch import Tensor

MASKED, CAUSAL = "masked", "causal"

SIZES: dict[str, dict[str, int]] = {
    "base": {"width": 768, "depth": 12, "heads": 12, "head_blocks": 6, "head_width": 1024},
    "large": {"width": 1024, "depth": 16, "heads": 16, "head_blocks": 8, "head_width": 1280},
    "huge": {"width": 1280, "depth": 20, "heads": 16, "head_blocks": 12, "head_width": 1536},
}
_RATES = ("label_drop", "dropout")
_NEEDED = ("decoder_width", "decoder_depth", "decoder_heads", "head_blocks", "head_width")


@dataclass(frozen=True, kw_only=True)
class MARConfig:
    """Shape of one model.

    Attributes:
        variant: ``masked`` (encoder and decoder, both bidirectional) or ``causal`` (a decoder
            alone, raster order).
        rows, columns: Grid of latent vectors.
        channels: Channels of the autoencoder's latents.
        patch: Side of the square of latents that makes one vector.
        encoder_width, encoder_depth, encoder_heads: The encoder; all zero in the causal variant.
        decoder_width, decoder_depth, decoder_heads: The decoder.
        mlp_ratio: Width of the feed-forward over that of its block.
        head_blocks, head_width: Residual blocks of the diffusion head and their width.
        buffer: Copies of the class vector before the tokens.
        classes: Classes, the missing one not counted.
        label_drop: Share of rows trained without their class.
        dropout: On attention weights and on projections; acts in training only.
        norm_eps: Added to the variance in every norm.
        base_steps: Noise levels that the head is trained on.
        latent_range: Largest magnitude of a clean latent, to which sampling clips what the
            predicted noise implies; None clips nothing, as the released models are sampled.

    Raises:
        ValueError: Sizes that do not fit together.
    """

    variant: str = MASKED
    rows: int = 16
    columns: int = 16
    channels: int = 16
    patch: int = 1
    encoder_width: int = 0
    encoder_depth: int = 0
    encoder_heads: int = 0
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    mlp_ratio: float = 4.0
    head_blocks: int
    head_width: int
    buffer: int = 64
    classes: int = 1000
    label_drop: float = 0.1
    dropout: float = 0.1
    norm_eps: float = 1e-6
    base_steps: int = 1000
    latent_range: float | None = None

    def __post_init__(self) -> None:
        if self.variant not in (MASKED, CAUSAL):
            raise ValueError(f"variant must be 'masked' or 'causal', got {self.variant!r}")
        encoder = {name: getattr(self, f"encoder_{name}") for name in ("width", "depth", "heads")}
        if self.variant == CAUSAL and any(encoder.values()):
            raise ValueError(f"a causal model has no encoder: set its sizes to 0, got {encoder}")
        for field in fields(self):
            value = getattr(self, field.name)
            absent = self.variant == CAUSAL and field.name.startswith("encoder_")
            if field.name in _RATES and not 0 <= value < 1:
                raise ValueError(f"{field.name} must be at least 0 and below 1, got {value}")
            absent |= field.name == "latent_range" and value is None
            if field.name not in ("variant", *_RATES) and not absent and not value > 0:
                raise ValueError(f"{field.name} must be positive, got {value}")
        for part in ("decoder",) if self.variant == CAUSAL else ("encoder", "decoder"):
            width, heads = getattr(self, f"{part}_width"), getattr(self, f"{part}_heads")
            if width % heads:
                raise ValueError(
                    f"{part}_width must be a multiple of {part}_heads, got {width} and {heads}"
                )

    @classmethod
    def named(cls, name: str, variant: str = MASKED, **rest: Any) -> MARConfig:
        """A released size, or its causal counterpart with all blocks in the decoder.

        Args:
            name: ``base``, ``large`` or ``huge``.
            variant: ``masked`` or ``causal``.
            rest: Other fields.

        Raises:
            ValueError: No such size, with those there are.
        """
        if name not in SIZES:
            raise ValueError(f"no size is named {name!r}; there are {', '.join(SIZES)}")
        size = SIZES[name]
        encoder = {} if variant == CAUSAL else _part("encoder", size, size["depth"])
        depth = size["depth"] * (2 if variant == CAUSAL else 1)
        head = {key: size[key] for key in ("head_blocks", "head_width")}
        values: dict[str, Any] = {**encoder, **_part("decoder", size, depth), **head, **rest}
        return cls(variant=variant, **values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MARConfig:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: Unknown or missing fields.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"unknown fields {sorted(unknown)}; a MAR config has {sorted(known)}")
        if missing := set(_NEEDED) - set(values):
            raise ValueError(f"a MAR config needs {sorted(missing)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    @property
    def cells(self) -> int:
        """Latent vectors of a picture."""
        return self.rows * self.columns

    @property
    def token_width(self) -> int:
        """Numbers of one latent vector."""
        return self.channels * self.patch**2

    @property
    def input_width(self) -> int:
        """Width of the network that tokens and classes enter."""
        return self.decoder_width if self.variant == CAUSAL else self.encoder_width


def infer_config(
    weights: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    patch: int = 1,
    source: str = "weights",
) -> MARConfig:
    """Sizes, as far as weights under official names tell them.

    Args:
        weights: Under official names.
        heads: Attention heads; needed for widths that are not released ones.
        grid: Rows and columns; needed where the grid is not square.
        patch: Side of the square of latents that makes one vector.
        source: What to call the weights in errors.

    Raises:
        ValueError: The weights are of something else, or do not tell what is not given.
    """
    try:
        values = _told_by(weights, patch, source)
        cells = weights["diffusion_pos_embed_learned"].shape[1]
        side = "decoder" if values["variant"] == CAUSAL else "encoder"
        buffer = weights[f"{side}_pos_embed_learned"].shape[1] - cells
    except KeyError as error:
        raise ValueError(f"{source} is no MAR model: it has no {error}") from error
    rows, columns = grid or (isqrt(cells), isqrt(cells))
    if rows * columns != cells:
        raise ValueError(
            f"{source} has {cells} tokens a picture, not {rows} x {columns}; give grid as "
            "(rows, columns)"
        )
    for part in ("decoder",) if values["variant"] == CAUSAL else ("encoder", "decoder"):
        values[f"{part}_heads"] = heads or _heads(values[f"{part}_width"], source)
    return MARConfig(rows=rows, columns=columns, patch=patch, buffer=buffer, **values)


def _part(part: str, size: Mapping[str, int], depth: int) -> dict[str, int]:
    return {
        f"{part}_width": size["width"],
        f"{part}_depth": depth,
        f"{part}_heads": size["heads"],
    }


def _told_by(weights: Mapping[str, Tensor], patch: int, source: str) -> dict[str, Any]:
    """The fields that shapes and names say directly."""
    inputs, width = weights["z_proj.weight"].shape[1], weights["decoder_norm.weight"].shape[0]
    if inputs % patch**2:
        raise ValueError(f"{source} has tokens of {inputs} numbers, which patch={patch} cannot cut")
    values: dict[str, Any] = {
        "variant": MASKED if "mask_token" in weights else CAUSAL,
        "channels": inputs // patch**2,
        "classes": weights["class_emb.weight"].shape[0],
        "decoder_width": width,
        "decoder_depth": _count(weights, "decoder_blocks."),
        "mlp_ratio": weights["decoder_blocks.0.mlp.fc1.weight"].shape[0] / width,
        "head_blocks": _count(weights, "diffloss.net.res_blocks."),
        "head_width": weights["diffloss.net.input_proj.weight"].shape[0],
    }
    if values["variant"] == MASKED:
        values["encoder_width"] = weights["encoder_norm.weight"].shape[0]
        values["encoder_depth"] = _count(weights, "encoder_blocks.")
    return values


def _count(weights: Mapping[str, Tensor], start: str) -> int:
    """Blocks whose names begin so."""
    return len(
        {name.removeprefix(start).split(".")[0] for name in weights if name.startswith(start)}
    )


def _heads(width: int, source: str) -> int:
    """Heads of the released size of this width."""
    for size in SIZES.values():
        if size["width"] == width:
            return size["heads"]
    raise ValueError(f"{source} has width {width}, which is no released one; give heads")
