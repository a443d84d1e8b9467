"""FLASH's drafter: one attention whose output an MLP turns into ``k`` hidden states at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lm_drafting.features.network import Attend, DraftNetwork, Rope
from lm_drafting.features.rotary import rotate
from lm_drafting.vision.building import build_compressor


@dataclass(frozen=True)
class FlashConfig:
    """Shape of the drafter.

    Attributes:
        hidden_size: The target's hidden size.
        vocab_size: The target's vocabulary.
        num_attention_heads: Query heads.
        num_key_value_heads: Key and value heads; the official code has 4 for every target.
        head_dim: Width of a head; 0 means ``hidden_size / num_attention_heads``.
        intermediate_size: Width of the MLP; 0 means ``4 * hidden_size``, as in the paper.
        rope_theta: Base of the rotary frequencies.
        k: Tokens predicted by one pass.
        bias: Whether ``fc`` has a bias.
        official: Every query head sums what it reads from all key and value heads, as the official
            code does, instead of reading its own. Checkpoints must be run as they were trained.
        compressor: What shortens pictures, see
            :func:`lm_drafting.vision.building.build_compressor`; None reads every visual token.
    """

    hidden_size: int
    vocab_size: int
    num_attention_heads: int
    num_key_value_heads: int = 4
    head_dim: int = 0
    intermediate_size: int = 0
    rope_theta: float = 10000.0
    k: int = 5
    bias: bool = True
    official: bool = False
    compressor: dict[str, Any] | None = field(
        default_factory=lambda: {"kind": "latent", "tokens": 64}
    )

    def __post_init__(self) -> None:
        heads, shared = self.num_attention_heads, self.num_key_value_heads
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden_size // heads)
        if not self.intermediate_size:
            object.__setattr__(self, "intermediate_size", 4 * self.hidden_size)
        if (heads % shared and not self.official) or self.head_dim % 2:
            raise ValueError(
                f"{heads} query heads of width {self.head_dim} with {shared} key/value heads: the "
                "first must be a multiple of the last, and the width even"
            )
        if self.k < 1:
            raise ValueError(f"k={self.k}: a pass must predict at least one token")


class FlashNetwork(DraftNetwork):
    """``fc``, then FLASH's semi-autoregressive head (arXiv 2505.12728).

    The pair (embedding of token ``j + 1``, hidden state of position ``j``) predicts the hidden
    states of positions ``j + 1`` to ``j + k`` together, since objects seen together make several
    tokens predictable at a time. Later ones do not know which earlier tokens were chosen. Pictures
    are read as a few means of the target's hidden states, which bypass ``fc``.

    Args:
        config: Shape of the network.
    """

    kind: ClassVar[str] = "flash"
    title: ClassVar[str] = "FLASH"
    about: ClassVar[str] = (
        "One attention layer that predicts several of the target's next hidden states at once, "
        "from a picture compressed to a few tokens."
    )

    def __init__(self, config: FlashConfig) -> None:
        super().__init__()
        self.config, self.steps = config, config.k
        self.fc = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=config.bias)
        self.layers = SemiAutoregressiveHead(config)  # official name of what is one layer
        spec = config.compressor or {"kind": "none"}
        self.compressor = build_compressor(spec, hidden=config.hidden_size, row=self.row_size)

    def fuse(self, embeds: Tensor, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """``fc`` on embedding and hidden state, in this order."""
        return self.fc(torch.cat([embeds, features], -1))

    def forward(self, rows: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """The ``k`` predictions of every row side by side; see :class:`DraftNetwork`."""
        return self.layers(rows, rope, attend)


class SemiAutoregressiveHead(nn.Module):
    """``MLP(W_o attention(x))``, all biased, without residual and without norm.

    Args:
        config: Shape of the network.
    """

    def __init__(self, config: FlashConfig) -> None:
        super().__init__()
        hidden, inner, dim = config.hidden_size, config.intermediate_size, config.head_dim
        queries, groups = config.num_attention_heads, config.num_key_value_heads
        self._dim, self._groups, self._sums_groups = dim, groups, config.official
        self.q_proj = nn.Linear(hidden, queries * dim)
        self.k_proj = nn.Linear(hidden, groups * dim)
        self.v_proj = nn.Linear(hidden, groups * dim)
        self.o_proj = nn.Linear(queries * dim, hidden)
        self.ar_proj = nn.Sequential(
            nn.Linear(hidden, inner), nn.SiLU(), nn.Linear(inner, config.k * hidden)
        )

    def forward(self, rows: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """Predictions ``(batch, n, steps * hidden)`` of rows ``(batch, n, hidden)``."""
        queries, keys, values = (
            project(rows).unflatten(-1, (-1, self._dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )  # (batch, heads, n, head_dim)
        queries, keys = rotate(queries, rope), rotate(keys, rope)
        if self._sums_groups:
            # One copy of all queries for each group: shared heads then do what the sum asks for.
            out = attend(queries.repeat(1, self._groups, 1, 1), keys, values)
            out = out.unflatten(1, (self._groups, -1)).sum(1)
        else:
            out = attend(queries, keys, values)
        return self.ar_proj(self.o_proj(out.transpose(1, 2).flatten(2)))
