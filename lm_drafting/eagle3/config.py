"""The shape of an EAGLE-3 drafter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def default_layers(num_layers: int) -> tuple[int, ...]:
    """Layers whose inputs are read from a target of ``num_layers``: near both ends, and midway.

    These are the official ones, ``(2, n // 2, n - 3)``; below seven layers, where those would meet,
    the quarters of the target.
    """
    layers = (2, num_layers // 2, num_layers - 3)
    if num_layers < 7:
        layers = (num_layers // 4, num_layers // 2, num_layers - num_layers // 4)
    return tuple(sorted(set(layers)))


@dataclass(frozen=True)
class Eagle3Config:
    """Shape of the drafter, under the names of official configurations where they have one.

    Attributes:
        hidden_size: The drafter's own width, which must be that of the target's embeddings.
        vocab_size: The target's vocabulary.
        intermediate_size: Width of the feed-forward part.
        num_attention_heads: Query heads.
        num_key_value_heads: Key and value heads.
        target_layers: Layers of the target whose inputs, before any norm, are read; ascending. See
            :func:`default_layers`.
        target_hidden_size: Width of each of these hidden states; 0 means ``hidden_size``.
        draft_vocab_size: Tokens the drafter can say; 0 means all of the target's.
        head_dim: Width of a head; 0 means ``hidden_size / num_attention_heads``.
        rms_norm_eps: Epsilon of the norms.
        rope_theta: Base of the rotary frequencies.
        qkv_bias: Whether queries, keys and values have biases.
        attention_bias: Whether these and the attention's output have biases.
        norm_before_residual: Whether the attention is added to the normed hidden state (vLLM's
            speculators) or to the hidden state itself (EAGLE-3).
        norm_before_fc: Whether one norm over all target layers side by side, ``input_norm``, comes
            before ``fc``.
        fc_norm: Whether each target layer has a norm of its own before ``fc`` (EAGLE 3.1, arXiv
            2605.09992).
        norm_output: Whether the output is fed back after the final norm (EAGLE 3.1) or before it.
        compressor: What shortens pictures, see
            :func:`lm_drafting.vision.building.build_compressor`; None reads every visual token.

    Raises:
        ValueError: Heads, layers or vocabularies that do not fit together.
    """

    hidden_size: int
    vocab_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    target_layers: tuple[int, ...]
    target_hidden_size: int = 0
    draft_vocab_size: int = 0
    head_dim: int = 0
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    qkv_bias: bool = False
    attention_bias: bool = False
    norm_before_residual: bool = False
    norm_before_fc: bool = False
    fc_norm: bool = False
    norm_output: bool = False
    compressor: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        heads, shared = self.num_attention_heads, self.num_key_value_heads
        defaults = {
            "target_hidden_size": self.hidden_size,
            "draft_vocab_size": self.vocab_size,
            "head_dim": self.hidden_size // heads,
        }
        for name, value in defaults.items():
            object.__setattr__(self, name, getattr(self, name) or value)
        layers = tuple(self.target_layers or ())
        object.__setattr__(self, "target_layers", layers)
        if not layers or list(layers) != sorted(set(layers)):
            raise ValueError(
                f"target_layers={layers} must name layers of the target in ascending order; "
                "default_layers(n) gives the usual ones of a target with n layers"
            )
        if heads % shared or self.head_dim % 2:
            raise ValueError(
                f"{heads} query heads of width {self.head_dim} with {shared} key/value heads: the "
                "first must be a multiple of the last, and the width even"
            )
        if not 1 <= self.draft_vocab_size <= self.vocab_size:
            raise ValueError(
                f"draft_vocab_size={self.draft_vocab_size} must be from 1 to the target's "
                f"{self.vocab_size}"
            )

    @property
    def features_size(self) -> int:
        """Width of the target's hidden states, all layers side by side."""
        return len(self.target_layers) * self.target_hidden_size
