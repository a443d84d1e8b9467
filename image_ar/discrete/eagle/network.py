"""EAGLE-1's network for image tokens, with rotary positions of the kind the target has."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from image_ar.discrete.rotary import rotate, rotations, sequence_rotations
from mmspec.cache import RaggedCache


@dataclass(frozen=True)
class ImageEagleConfig:
    """Shape of the network.

    Attributes:
        hidden_size: The target's width.
        vocab_size: The target's image codes.
        num_heads: Attention heads; the width of one must be a multiple of 4.
        intermediate_size: Width of the feed-forward part.
        grid: Rows and columns of image tokens.
        lead: Condition positions of the target before the image; None where prompts differ in
            length, as those of language models do: rows then turn by their place in the sequence.
        norm_eps: Added to the mean square in the norm.
        rope_base: Base of the rotary frequencies.
    """

    hidden_size: int
    vocab_size: int
    num_heads: int
    intermediate_size: int
    grid: int
    lead: int | None
    norm_eps: float = 1e-5
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        if self.hidden_size % (4 * self.num_heads):
            raise ValueError(
                f"{self.num_heads} heads on a width of {self.hidden_size}: the width of a head "
                "must be a multiple of 4 for its rotation"
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


class ImageEagle(nn.Module):
    """``fc`` on (embedding of token ``j + 1``, hidden state of ``j``), then one Llama layer.

    EAGLE (Li et al. 2024, section 3) as LANTERN trains it for images (Jang et al. 2025): no norm in
    front of attention, none at the end; the output is the target's next hidden state, which the
    target's own head turns into logits. Row ``j`` stands at the position of its token. Where
    conditions have a fixed length, a row of the image turns by the cell of the code it holds and
    condition rows do not count, as in LlamaGen; elsewhere every row turns by its position.

    Args:
        config: Shape of the network.
    """

    def __init__(self, config: ImageEagleConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.fc = nn.Linear(2 * hidden, hidden)
        self.qkv_proj = nn.Linear(hidden, 3 * hidden, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)
        self.gate_up_proj = nn.Linear(hidden, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, hidden, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(hidden, config.norm_eps)
        self._table: Tensor | None = None

    def forward(
        self,
        embeds: Tensor,
        features: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: RaggedCache | None = None,
    ) -> Tensor:
        """Predicted hidden states ``(rows, n, hidden)``.

        Args:
            embeds: ``(rows, n, hidden)`` embeddings of the tokens.
            features: ``(rows, n, hidden)`` the target's, or own, hidden states one position before.
            positions: ``(rows or 1, n)`` positions of the tokens in the target's sequence.
            mask: Bool ``(rows or 1, 1, n, view)``, True where attention may look; None is causal
                for several tokens, everything in view for one.
            cache: Holds the rows before, its slots chosen; written to.
        """
        x = self.fc(torch.cat([embeds, features], -1))
        factors = self._factors(positions).unsqueeze(2)
        heads = self.qkv_proj(x).unflatten(-1, (3, self.config.num_heads, -1))
        turned = rotate(heads[:, :, :2].flatten(2, 3), factors).unflatten(2, (2, -1))
        queries, keys = (part.transpose(1, 2) for part in turned.unbind(2))
        values = heads[:, :, 2].transpose(1, 2)
        if cache is not None:
            keys, values = cache.store(0, keys, values)
        causal = mask is None and x.shape[1] > 1
        out = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
        x = x + self.o_proj(out.transpose(1, 2).flatten(2))
        gate, up = self.gate_up_proj(self.post_attention_layernorm(x)).chunk(2, -1)
        return x + self.down_proj(F.silu(gate) * up)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew; what leaves attention and the feed-forward part starts small."""
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
                if name.startswith(("o_proj", "down_proj")):
                    weight.mul_(0.2)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)

    def _factors(self, positions: Tensor) -> Tensor:
        """``(rows or 1, n, head_dim / 2)`` factors of positions."""
        c, device = self.config, positions.device
        dim = c.hidden_size // c.num_heads
        if c.lead is None:
            return sequence_rotations(positions, dim, c.rope_base)
        if self._table is None or self._table.device != device:
            self._table = rotations(c.grid, dim, c.lead, c.rope_base, device)
        # Nodes beyond the end of the picture can be drafted, not committed.
        return self._table[positions.clamp(max=len(self._table) - 1)]
