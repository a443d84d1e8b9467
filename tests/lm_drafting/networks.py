"""Small drafter networks for the toy target, and slow references to compare with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lm_drafting.features.layout import Texts, arrange, visual_runs
from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.features.slots import attention
from lm_drafting.networks import build_network
from tests.lm_drafting.toy import HIDDEN, VOCAB, ToyTarget

Path = tuple[int, ...]
# The visual compressors a drafter may have, at sizes that fit the toy's pictures of three tokens.
COMPRESSORS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "prune": {"kind": "prune"},
    "pool": {"kind": "pool"},
    "conv": {"kind": "conv"},
    "resample": {"kind": "resample", "tokens": 2, "heads": 4},
    "text-only": {"kind": "text-only"},
    "queries": {"kind": "queries", "num_q": 3, "heads": 4},
    "latent": {"kind": "latent", "tokens": 2},
}
COMPRESSORS["elastic"] = {
    "kind": "elastic",
    "branches": [COMPRESSORS[kind] for kind in ("prune", "resample", "text-only")],
}


def make_network(
    kind: str = "eagle", seed: int = 0, noise: float = 0.3, **options: Any
) -> DraftNetwork:
    """A network that passes the hidden state on, plus noise, so that every weight matters.

    The toy target repeats itself, so drafts of such a network are sometimes right.
    """
    values = {"num_attention_heads": 4, "num_key_value_heads": 2, **options}
    shape = {"hidden_size": HIDDEN, "vocab_size": VOCAB, "intermediate_size": 48}
    network: Any = build_network(kind, {**shape, **values}).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    network.reset_parameters(generator)
    network.fc.weight[:, HIDDEN:] = torch.eye(HIDDEN)
    network.o_proj.weight.zero_()
    network.down_proj.weight.zero_()
    for weight in network.parameters():
        weight.add_(noise * torch.randn(weight.shape, generator=generator) / HIDDEN**0.5)
    return network.eval()


def real_rows(
    network: DraftNetwork, target: ToyTarget, inputs: dict[str, Any], tokens: list[int], prompt: int
) -> tuple[Tensor, Tensor]:
    """``(1, n, row)`` rows of one committed text and their positions, from one pass of the target.

    Args:
        network: Fuses and compresses.
        target: The target.
        inputs: Its pictures.
        tokens: Prompt and answer.
        prompt: Tokens of the prompt.
    """
    inputs = {**inputs, "input_ids": torch.tensor([tokens])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    filled = target.decoder.prefill(inputs, 1, True)
    assert filled.hidden is not None
    assert filled.embeds is not None
    runs = visual_runs(filled.ids, [prompt], target.image_token_ids)
    layout = arrange(
        network, Texts(filled.ids, filled.embeds, filled.hidden, [len(tokens)], [prompt], runs)
    )
    positions = layout.positions
    if positions is None:
        positions = torch.arange(layout.rows.shape[1]).unsqueeze(0)
    return layout.rows, positions


def run_network(network: DraftNetwork, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of a full causal pass, and ``(2, heads, n, head_dim)`` its keys and values."""
    kept = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept.append(torch.stack([k[0], v[0]]))
        return attention(q, k, v, None, is_causal=True)

    rotary = Rotary(network.cache_shape[1], network.config.rope_theta)
    rope = rotary.at(positions, int(positions.max()) + 1, rows)
    return network(rows, rope, attend), kept[0]


class SlowTree:
    """The dynamic tree by the book: one full pass over prefix and branch for every node.

    Args:
        network: A network of one step.
        target: The target.
        rows: Rows of the committed text.
        positions: Their positions.
        summary: ``(1, hidden)`` vector of the text's last picture, if the network reads one.
    """

    def __init__(
        self,
        network: DraftNetwork,
        target: ToyTarget,
        rows: Tensor,
        positions: Tensor,
        summary: Tensor | None = None,
    ) -> None:
        self.network, self.target, self.summary = network, target, summary
        first = run_network(network, rows, positions)[0][:, -1:]
        self.known: dict[Path, tuple[Tensor, Tensor, Tensor]] = {(): (rows, positions, first)}

    def logs(self, path: Path) -> Tensor:
        """Log law of the token after a branch."""
        if path not in self.known:
            self.logs(path[:-1])
            rows, positions, hidden = self.known[path[:-1]]
            embed = self.target.embed(torch.tensor([[path[-1]]]))
            summary = None if self.summary is None else self.summary.unsqueeze(1)
            rows = torch.cat([rows, self.network.fuse_own(embed, hidden, summary)], 1)
            positions = torch.cat([positions, positions[:, -1:] + 1], 1)
            after = run_network(self.network, rows, positions)[0][:, -1:]
            self.known[path] = (rows, positions, after)
        hidden = self.known[path][2]
        return self.network.logits(hidden, self.target)[0, 0].log_softmax(-1)

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
