"""EAGLE heads for the toy target, and slow references to compare with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lm_drafting.eagle.head import EagleConfig, EagleHead, Rotary
from lm_drafting.eagle.slots import attention
from tests.lm_drafting.toy import HIDDEN, VOCAB, ToyTarget

Path = tuple[int, ...]


def make_head(seed: int = 0, noise: float = 0.3, **options: Any) -> EagleHead:
    """A head that passes the hidden state on, plus noise, so that every weight matters.

    The toy target repeats itself, so drafts of such a head are sometimes right.
    """
    values = {"num_attention_heads": 4, "num_key_value_heads": 2, **options}
    head = EagleHead(EagleConfig(HIDDEN, VOCAB, 48, **values)).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    head.reset_parameters(generator)
    head.fc.weight[:, HIDDEN:] = torch.eye(HIDDEN)
    head.o_proj.weight.zero_()
    head.down_proj.weight.zero_()
    for weight in head.parameters():
        weight.add_(noise * torch.randn(weight.shape, generator=generator) / HIDDEN**0.5)
    return head.eval()


def real_pairs(target: ToyTarget, inputs: dict[str, Any], tokens: list[int]) -> Tensor:
    """``(1, length - 1, 2 * hidden)`` pairs of one committed row, from one pass of the target."""
    inputs = {**inputs, "input_ids": torch.tensor([tokens])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    filled = target.decoder.prefill(inputs, 1, True)
    assert filled.hidden is not None
    assert filled.embeds is not None
    return torch.cat([filled.embeds[:, 1:], filled.hidden[:, :-1]], -1)


def run_head(head: EagleHead, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs for pairs at positions 0, 1, ... and ``(2, heads, n, head_dim)`` keys and values."""
    kept = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept.append(torch.stack([k[0], v[0]]))
        return attention(q, k, v, None, is_causal=True)

    rope = Rotary(head.config.head_dim, head.config.rope_theta).between(0, pairs.shape[1], pairs)
    return head(pairs, rope, attend), kept[0]


class SlowTree:
    """The dynamic tree by the book: one full pass over prefix and branch for every node."""

    def __init__(self, head: EagleHead, target: ToyTarget, pairs: Tensor) -> None:
        self.head, self.target = head, target
        self.known: dict[Path, tuple[Tensor, Tensor]] = {
            (): (pairs, run_head(head, pairs)[0][:, -1:])
        }

    def logs(self, path: Path) -> Tensor:
        """Log law of the token after a branch."""
        if path not in self.known:
            self.logs(path[:-1])
            pairs, hidden = self.known[path[:-1]]
            embed = self.target.embed(torch.tensor([[path[-1]]]))
            pairs = torch.cat([pairs, torch.cat([embed, hidden], -1)], 1)
            self.known[path] = (pairs, run_head(self.head, pairs)[0][:, -1:])
        return self.target.head(self.known[path][1])[0, 0].log_softmax(-1)

    def tree(self, depth: int, width: int, budget: int) -> set[Path]:
        """The kept nodes as token paths."""
        beam: list[tuple[float, Path]] = [(0.0, ())]
        pool: list[tuple[float, Path]] = []
        for _ in range(depth):
            offers = []
            for score, path in beam:
                values, tokens = self.logs(path).topk(width)
                pairs = zip(values.tolist(), tokens.tolist(), strict=True)
                offers += [(score + value, (*path, token)) for value, token in pairs]
            pool += offers
            beam = sorted(offers, key=lambda offer: -offer[0])[:width]
        best = sorted(pool, key=lambda offer: (-offer[0], len(offer[1])))[:budget]
        return {path for _, path in best}


def paths(units: Tensor, parents: Tensor) -> set[Path]:
    """A drafted tree of one row as token paths."""
    found: list[Path] = []
    for unit, parent in zip(units.tolist(), parents.tolist(), strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), unit))
    return set(found)
