"""The EAGLE drafter's network: one decoder layer between the target's embeddings and its head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_drafting.features.names import from_official, to_official
from lm_drafting.features.network import Attend, DraftNetwork, Rope
from lm_drafting.features.rotary import rotate
from lm_drafting.vision.building import build_compressor


@dataclass(frozen=True)
class EagleConfig:
    """Shape of the drafter, under the official configuration's names.

    Attributes:
        hidden_size: The target's hidden size.
        vocab_size: The target's vocabulary.
        intermediate_size: Width of the feed-forward part.
        num_attention_heads: Query heads.
        num_key_value_heads: Key and value heads.
        head_dim: Width of a head; 0 means ``hidden_size / num_attention_heads``.
        rms_norm_eps: Epsilon of the norms.
        rope_theta: Base of the rotary frequencies.
        bias: Whether ``fc`` has a bias.
        qkv_bias: Whether queries, keys and values have biases (Qwen targets).
        input_layernorm: Whether the layer normalises its input; EAGLE-1 and -2 do not, EagleVLM
            does.
        final_norm: Whether its output is normalised (NeMo AutoModel's ViSpec); others are not.
        compressor: What shortens pictures, see
            :func:`lm_drafting.vision.building.build_compressor`; None reads every visual token.
    """

    hidden_size: int
    vocab_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int = 0
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    bias: bool = True
    qkv_bias: bool = False
    input_layernorm: bool = False
    final_norm: bool = False
    compressor: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        heads, shared = self.num_attention_heads, self.num_key_value_heads
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden_size // heads)
        if heads % shared or self.head_dim % 2:
            raise ValueError(
                f"{heads} query heads of width {self.head_dim} with {shared} key/value heads: the "
                "first must be a multiple of the last, and the width even"
            )


class EagleHead(DraftNetwork):
    """``fc``, then one Llama layer; the target's own head turns its output into logits.

    EAGLE (Li et al. 2024, section 3): the pair (embedding of token ``j + 1``, hidden state of
    position ``j``) predicts the hidden state of position ``j + 1``. No norm in front of attention
    and none at the end, as in the official code; embedding table and output head are the target's.

    Projections of one input are kept as one matrix, since a small layer costs what its kernel
    launches cost; ``state_dict`` and ``load_state_dict`` speak the official key names.

    Args:
        config: Shape of the network.
    """

    kind: ClassVar[str] = "eagle"
    title: ClassVar[str] = "EAGLE"
    about: ClassVar[str] = "One decoder layer that predicts the target's next hidden states."

    def __init__(self, config: EagleConfig) -> None:
        super().__init__()
        self.config = config
        hidden, inner, dim = config.hidden_size, config.intermediate_size, config.head_dim
        queries, shared = config.num_attention_heads, config.num_key_value_heads
        self._split = (queries + shared, shared)
        self._queries = queries
        self.fc = nn.Linear(2 * hidden, hidden, bias=config.bias)
        self.qkv_proj = nn.Linear(hidden, (queries + 2 * shared) * dim, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries * dim, hidden, bias=False)
        self.gate_up_proj = nn.Linear(hidden, 2 * inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(hidden, config.rms_norm_eps)
        self.input_layernorm = (
            nn.RMSNorm(hidden, config.rms_norm_eps) if config.input_layernorm else None
        )
        self.norm = nn.RMSNorm(hidden, config.rms_norm_eps) if config.final_norm else None
        spec = config.compressor or {"kind": "none"}
        self.compressor = build_compressor(spec, hidden=hidden, row=self.row_size)
        self.register_state_dict_post_hook(_to_official)
        self.register_load_state_dict_pre_hook(_from_official)

    def fuse(self, embeds: Tensor, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """``fc`` on embedding and hidden state, in this order."""
        return self.fc(torch.cat([embeds, features], -1))

    def forward(self, rows: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """One Llama layer; see :class:`DraftNetwork`."""
        y = rows if self.input_layernorm is None else self.input_layernorm(rows)
        heads = self.qkv_proj(y).unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)
        rotated, values = heads.split(self._split, 1)
        rotated = rotate(rotated, rope)
        out = attend(rotated[:, : self._queries], rotated[:, self._queries :], values)
        x = rows + self.o_proj(out.transpose(1, 2).flatten(2))
        gate, up = self.gate_up_proj(self.post_attention_layernorm(x)).chunk(2, -1)
        x = x + self.down_proj(F.silu(gate) * up)
        return x if self.norm is None else self.norm(x)


_LAYER = "layers.0"


def _to_official(module: EagleHead, state: dict[str, Any], prefix: str, _: Any) -> None:
    to_official(state, prefix, _LAYER, module.config)


def _from_official(module: EagleHead, state: dict[str, Any], prefix: str, *_: Any) -> None:
    from_official(state, prefix, _LAYER)
