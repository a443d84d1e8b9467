"""Sizes of LlamaGen's transformer, and the released ones by name.

Source: Sun et al. 2024, "Autoregressive Model Beats Diffusion: Llama for Scalable Image
Generation", table 1, and the configurations published with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isqrt
from typing import Any

CLASSES, TEXT = "c2i", "t2i"
ZERO, IDENTITY = "zero", "identity"

SIZES: dict[str, dict[str, int]] = {
    "GPT-B": {"n_layer": 12, "n_head": 12, "dim": 768},
    "GPT-L": {"n_layer": 24, "n_head": 16, "dim": 1024},
    "GPT-XL": {"n_layer": 36, "n_head": 20, "dim": 1280},
    "GPT-XXL": {"n_layer": 48, "n_head": 24, "dim": 1536},
    "GPT-XXXL": {"n_layer": 48, "n_head": 40, "dim": 2560},
    "GPT-1B": {"n_layer": 22, "n_head": 32, "dim": 2048},
    "GPT-3B": {"n_layer": 24, "n_head": 32, "dim": 3200},
    "GPT-7B": {"n_layer": 32, "n_head": 32, "dim": 4096},
}


@dataclass(frozen=True)
class GPTConfig:
    """Shape of one transformer.

    Attributes:
        dim: Width of the residual stream.
        n_layer: Blocks.
        n_head: Query heads.
        n_kv_head: Key and value heads; None for as many as query heads.
        multiple_of: The feed-forward width is rounded up to a multiple of this.
        ffn_dim_multiplier: Factor on the feed-forward width before rounding.
        norm_eps: Added to the mean square in every norm.
        rope_base: Base of the rotary frequencies.
        condition_rope: What the rotation does to condition positions: ``zero`` in the released
            models, whose image tokens therefore read a text as the mean of its values;
            ``identity`` leaves queries and keys as they are, and single words can be looked up.
        vocab_size: Codes of the image tokenizer.
        num_classes: Classes without the null class (``c2i``).
        caption_dim: Width of the text encoder's features (``t2i``).
        cls_token_num: Condition positions before the image: 1 for classes, 120 in the released
            text models.
        model_type: ``c2i`` (class to image) or ``t2i`` (text to image).
        block_size: Image tokens, a square number.
        token_dropout, resid_dropout, ffn_dropout: Dropout of embeddings, of attention outputs and
            of feed-forward outputs; they act in training only.

    Raises:
        ValueError: Sizes that do not fit together.
    """

    dim: int
    n_layer: int
    n_head: int
    n_kv_head: int | None = None
    multiple_of: int = 256
    ffn_dim_multiplier: float | None = None
    norm_eps: float = 1e-5
    rope_base: float = 10000.0
    condition_rope: str = ZERO
    vocab_size: int = 16384
    num_classes: int = 1000
    caption_dim: int = 2048
    cls_token_num: int = 1
    model_type: str = CLASSES
    block_size: int = 256
    token_dropout: float = 0.1
    resid_dropout: float = 0.1
    ffn_dropout: float = 0.1

    def __post_init__(self) -> None:
        checks = (
            (self.model_type in (CLASSES, TEXT), "model_type must be 'c2i' or 't2i'"),
            (
                self.condition_rope in (ZERO, IDENTITY),
                "condition_rope must be 'zero' or 'identity'",
            ),
            (self.dim % self.n_head == 0, "dim must be a multiple of n_head"),
            (self.head_dim % 4 == 0, "dim / n_head must be a multiple of 4 for a 2-D rotation"),
            (self.n_head % self.kv_heads == 0, "n_head must be a multiple of n_kv_head"),
            (isqrt(self.block_size) ** 2 == self.block_size, "block_size must be a square number"),
            (
                self.model_type == TEXT or self.cls_token_num == 1,
                "cls_token_num must be 1 for model_type 'c2i'",
            ),
        )
        for good, message in checks:
            if not good:
                raise ValueError(f"{message}, got {self}")

    @classmethod
    def named(cls, name: str, **rest: Any) -> GPTConfig:
        """A released size; ``rest`` sets the other fields.

        Raises:
            ValueError: No such size, with those there are.
        """
        if name not in SIZES:
            raise ValueError(f"no size is named {name!r}; there are {', '.join(SIZES)}")
        defaults: dict[str, Any] = dict(SIZES[name])
        if rest.get("model_type") == TEXT:
            defaults["cls_token_num"] = 120
        return cls(**{**defaults, **rest})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GPTConfig:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: Unknown or missing fields.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"unknown fields {sorted(unknown)}; a GPT config has {sorted(known)}")
        if missing := {"dim", "n_layer", "n_head"} - set(values):
            raise ValueError(f"a GPT config needs {sorted(missing)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    @property
    def grid(self) -> int:
        """Rows and columns of image tokens."""
        return isqrt(self.block_size)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.n_head

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.n_kv_head or self.n_head

    @property
    def ffn_width(self) -> int:
        """Two thirds of four times the width, rounded up to ``multiple_of``."""
        width = int(2 * (4 * self.dim) / 3)
        if self.ffn_dim_multiplier is not None:
            width = int(self.ffn_dim_multiplier * width)
        return -(-width // self.multiple_of) * self.multiple_of

    @property
    def positions(self) -> int:
        """Rows of the rotary table: condition positions and image tokens."""
        return self.cls_token_num + self.block_size
