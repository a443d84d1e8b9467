"""EAGLE-3's network: several depths of the target in, the drafter's own vocabulary out."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_drafting.eagle3.config import Eagle3Config
from lm_drafting.eagle3.vocabulary import choose_vocabulary, spoken
from lm_drafting.features.names import from_official, to_official
from lm_drafting.features.network import Attend, DraftNetwork, Rope
from lm_drafting.features.rotary import rotate
from lm_drafting.targets import FeatureTarget
from lm_drafting.vision.building import build_compressor


class Eagle3Network(DraftNetwork):
    """``fc`` on the target's layers, one layer of twice the usual input, and an own output head.

    EAGLE-3 (Li et al. 2025, arXiv 2503.01840): hidden states of several depths of the target,
    condensed to one vector ``h``, stand beside the embedding ``e`` of the next token. The layer's
    attention reads both after a norm each, its residual stream starts at ``h``, and its output
    before the final norm is the ``h`` of the next position. No loss ties that output to the
    target's hidden states, so drafts several tokens deep are trained by the tokens alone.

    The drafter may say fewer tokens than the target. ``d2t`` maps its ids to the target's as
    offsets, ``t2d`` marks the target's tokens it knows; without a choice it knows the first ones.

    Projections of one input are kept as one matrix, since a small layer costs what its kernel
    launches cost; ``state_dict`` and ``load_state_dict`` speak the official key names.

    Args:
        config: Shape of the network.
    """

    kind: ClassVar[str] = "eagle3"
    title: ClassVar[str] = "EAGLE-3"
    about: ClassVar[str] = (
        "One decoder layer that reads several depths of the target and predicts tokens directly."
    )
    d2t: Tensor
    t2d: Tensor

    def __init__(self, config: Eagle3Config) -> None:
        super().__init__()
        self.config = config
        self.target_layers = config.target_layers
        hidden, inner, dim = config.hidden_size, config.intermediate_size, config.head_dim
        queries, shared = config.num_attention_heads, config.num_key_value_heads
        self._split = (queries + shared, shared)
        self._queries = queries

        def norm(width: int) -> nn.RMSNorm:
            return nn.RMSNorm(width, config.rms_norm_eps)

        self.input_norm = norm(config.features_size) if config.norm_before_fc else None
        self.fc_norm = (
            nn.ModuleList(norm(config.target_hidden_size) for _ in config.target_layers)
            if config.fc_norm
            else None
        )
        self.fc = nn.Linear(config.features_size, hidden, bias=False)
        self.input_layernorm, self.hidden_norm = norm(hidden), norm(hidden)
        biased = config.qkv_bias or config.attention_bias
        self.qkv_proj = nn.Linear(2 * hidden, (queries + 2 * shared) * dim, bias=biased)
        self.o_proj = nn.Linear(queries * dim, hidden, bias=config.attention_bias)
        self.post_attention_layernorm = norm(hidden)
        self.gate_up_proj = nn.Linear(hidden, 2 * inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.norm = norm(hidden)
        self.lm_head = nn.Linear(hidden, config.draft_vocab_size, bias=False)
        d2t = torch.zeros(config.draft_vocab_size, dtype=torch.long)
        self.register_buffer("d2t", d2t)
        self.register_buffer("t2d", spoken(d2t, config.vocab_size))
        spec = config.compressor or {"kind": "none"}
        self.compressor = build_compressor(spec, hidden=hidden, row=self.row_size)
        self.register_state_dict_post_hook(_to_official)
        self.register_load_state_dict_pre_hook(_from_official)

    @property
    def row_size(self) -> int:
        """Width of a row: embedding and hidden state side by side."""
        return 2 * int(self.config.hidden_size)

    def condense(self, features: Tensor) -> Tensor:
        """``fc`` on the target's layers side by side, behind the norms that are asked for.

        Raises:
            ValueError: They are not as wide as the layers this network reads.
        """
        if features.shape[-1] != self.config.features_size:
            raise ValueError(
                f"this EAGLE-3 drafter reads layers {self.target_layers} of the target, "
                f"{self.config.features_size} wide side by side, and got {features.shape[-1]}; "
                "prefill with features of these layers, or use the drafter made for this target"
            )
        if self.input_norm is not None:
            features = self.input_norm(features)
        if self.fc_norm is not None:
            layers = features.chunk(len(self.fc_norm), -1)
            features = torch.cat(
                [norm(x) for norm, x in zip(self.fc_norm, layers, strict=True)], -1
            )
        return self.fc(features)

    def fuse(self, embeds: Tensor, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """The embedding beside the condensed layers of the target; norms wait for ``forward``.

        Raises:
            ValueError: Embeddings or features are not as wide as this network reads them.
        """
        if embeds.shape[-1] != self.config.hidden_size:
            raise ValueError(
                f"the target's embeddings are {embeds.shape[-1]} wide, this EAGLE-3 drafter is "
                f"{self.config.hidden_size} wide and has no embeddings of its own; use one of the "
                "target's width"
            )
        return self.fuse_own(embeds, self.condense(features))

    def fuse_own(self, embeds: Tensor, hidden: Tensor, summary: Tensor | None = None) -> Tensor:
        """The embedding beside an own output, which never passes ``fc`` whatever its width."""
        return torch.cat([embeds, hidden], -1)

    def admit(self, rows: Tensor) -> Tensor:
        """A compressor's row in the place of both embedding and hidden state."""
        return torch.cat([rows, rows], -1)

    def forward(self, rows: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """One Llama layer on pairs; see :class:`DraftNetwork`."""
        embeds, hidden = rows.chunk(2, -1)
        normed = self.hidden_norm(hidden)
        y = torch.cat([self.input_layernorm(embeds), normed], -1)  # (batch, n, 2 * hidden)
        heads = self.qkv_proj(y).unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)
        rotated, values = heads.split(self._split, 1)
        rotated = rotate(rotated, rope)
        out = attend(rotated[:, : self._queries], rotated[:, self._queries :], values)
        residual = normed if self.config.norm_before_residual else hidden
        x = residual + self.o_proj(out.transpose(1, 2).flatten(2))
        gate, up = self.gate_up_proj(self.post_attention_layernorm(x)).chunk(2, -1)
        x = x + self.down_proj(F.silu(gate) * up)
        return self.norm(x) if self.config.norm_output else x

    def logits(self, hidden: Tensor, target: FeatureTarget) -> Tensor:
        """Logits ``(..., draft vocabulary)`` of the own head; the target's is not asked."""
        hidden = hidden.to(self.lm_head.weight.dtype)
        return self.lm_head(hidden if self.config.norm_output else self.norm(hidden))

    def narrow(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The target's law given that its token is one the drafter knows; see the base class."""
        if self.config.draft_vocab_size == self.config.vocab_size:
            return super().narrow(logits)
        law = logits[..., self._ids].softmax(-1)
        return law, self.t2d[logits.argmax(-1)].to(law)

    def to_target(self, ids: Tensor) -> Tensor:
        """Target ids of draft-vocabulary ids."""
        return ids + self.d2t[ids]

    @torch.no_grad()
    def choose_vocabulary(self, counts: Tensor) -> None:
        """Fix the tokens the drafter can say, before training: those that answers use most.

        Args:
            counts: ``(vocab,)`` how often each token occurs in the target's answers.

        Raises:
            ValueError: Counts of another vocabulary.
        """
        if counts.shape != self.t2d.shape:
            wanted = self.config.vocab_size
            raise ValueError(f"{tuple(counts.shape)} counts for a vocabulary of {wanted} tokens")
        d2t, t2d = choose_vocabulary(counts, self.config.draft_vocab_size)
        self.d2t.copy_(d2t)
        self.t2d.copy_(t2d)

    @torch.no_grad()
    def start_from(self, head: Tensor) -> None:
        """Start the own head from the target's ``(vocab, hidden)``, once the vocabulary is fixed.

        Raises:
            ValueError: The target's head has another shape.
        """
        wanted = (self.config.vocab_size, self.config.hidden_size)
        if head.shape != wanted:
            raise ValueError(f"the target's head has shape {tuple(head.shape)}, not {wanted}")
        self.lm_head.weight.copy_(head[self._ids.to(head.device)])

    @property
    def _ids(self) -> Tensor:
        """``(draft vocabulary,)`` target ids of all tokens the drafter knows."""
        return self.d2t + torch.arange(len(self.d2t), device=self.d2t.device)


_LAYER = "midlayer"


def _to_official(module: Eagle3Network, state: dict[str, Any], prefix: str, _: Any) -> None:
    to_official(state, prefix, _LAYER, module.config)


def _from_official(module: Eagle3Network, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Also completes the vocabulary: ``d2t`` decides, and who knows every token needs neither.

    Some checkpoints leave ``t2d`` out; some trainers never fill it where it would hold every token.
    """
    from_official(state, prefix, _LAYER)
    d2t, t2d, config = prefix + "d2t", prefix + "t2d", module.config
    if config.draft_vocab_size == config.vocab_size:
        state.setdefault(d2t, torch.zeros_like(module.d2t))
        state.pop(t2d, None)
    if d2t not in state or state[d2t].shape != module.d2t.shape:
        return  # loading reports it
    known = spoken(state[d2t], config.vocab_size)
    if t2d in state and not torch.equal(state[t2d].bool(), known):
        raise ValueError("d2t and t2d of this checkpoint do not describe the same tokens")
    state[t2d] = known
