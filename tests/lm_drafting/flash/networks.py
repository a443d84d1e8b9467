"""FLASH networks for the toy target, and FLASH by the book: one position and one head at a time."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from lm_drafting.flash import FlashConfig, FlashNetwork
from lm_drafting.flash.trees import PATHS
from tests.lm_drafting.networks import Path, real_rows, run_network
from tests.lm_drafting.toy import HIDDEN, PICTURE, VOCAB, ToyTarget

HEADS, K = 4, 5
COMPRESSOR = {"kind": "latent", "tokens": 2}  # the toy's pictures have three tokens


def make_flash(seed: int = 0, **options: Any) -> FlashNetwork:
    """A network of random weights, biases included."""
    values = {"compressor": None, **options}
    network = FlashNetwork(FlashConfig(HIDDEN, VOCAB, HEADS, **values)).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    network.reset_parameters(generator)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            weight.normal_(0.0, 0.3, generator=generator)
    return network.eval()


def make_linear(
    fuse: Tensor, maps: Tensor, noise: float = 0.0, vocab: int = VOCAB, **options: Any
) -> Any:
    """A network whose head ``i`` is a linear map of its row, plus noise.

    Queries and keys are one constant, so rotary positions alone make every row attend to itself,
    and ``silu(x) - silu(-x) = x`` makes the MLP linear.

    Args:
        fuse: ``(hidden, 2 * hidden)`` from embedding and hidden state to the row.
        maps: ``(k, hidden, hidden)`` from the row to each prediction.
        noise: Scale of what is added to every weight.
        vocab: The target's vocabulary.
        options: Of the configuration.
    """
    values = {"compressor": None, **options}
    config = FlashConfig(HIDDEN, vocab, HEADS, HEADS, k=len(maps), **values)
    network: Any = FlashNetwork(config).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(3)
    network.reset_parameters(generator)
    eye, layers = torch.eye(HIDDEN), network.layers
    network.fc.weight.copy_(fuse)
    for name in ("q_proj", "k_proj"):
        getattr(layers, name).weight.zero_()
        getattr(layers, name).bias.fill_(20.0)
    layers.v_proj.weight.copy_(eye)
    layers.o_proj.weight.copy_(eye)
    layers.ar_proj[0].weight.copy_(torch.cat([eye, -eye, 0 * eye, 0 * eye]))
    layers.ar_proj[2].weight.copy_(torch.cat([maps, -maps, 0 * maps, 0 * maps], 2).flatten(0, 1))
    for weight in network.parameters():
        weight.add_(noise * torch.randn(weight.shape, generator=generator) / HIDDEN**0.5)
    return network


def make_repeater(noise: float = 0.02, k: int = K, **options: Any) -> FlashNetwork:
    """Every head passes the hidden state on: the toy repeats itself, so drafts are often right."""
    eye = torch.eye(HIDDEN)
    return make_linear(torch.cat([0 * eye, eye], 1), eye.expand(k, -1, -1), noise, **options)


def slow_heads(network: FlashNetwork, rows: Tensor, positions: Tensor) -> Tensor:
    """``(n, k, hidden)`` predictions for rows ``(n, hidden)``, in float64, from the formulas."""
    config, dim = network.config, network.config.head_dim
    weights = {name: value.double() for name, value in network.state_dict().items()}
    turns = config.rope_theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)

    def affine(name: str, x: Tensor) -> Tensor:
        return weights[f"layers.{name}.weight"] @ x + weights[f"layers.{name}.bias"]

    def turned(x: Tensor, position: Tensor) -> Tensor:
        pairs = torch.complex(x[: dim // 2], x[dim // 2 :]) * torch.exp(1j * position * turns)
        return torch.cat([pairs.real, pairs.imag])

    heads, groups = config.num_attention_heads, config.num_key_value_heads
    queries, keys, values = (
        [affine(f"{name}_proj", x).split(dim) for x in rows.double()] for name in "qkv"
    )
    said = []
    for now in range(len(rows)):
        answers = []
        for head in range(heads):
            asked = range(groups) if config.official else [head // (heads // groups)]
            query = turned(queries[now][head], positions[now])
            read = torch.zeros(dim, dtype=torch.float64)
            for group in asked:
                scores = torch.stack(
                    [query @ turned(keys[s][group], positions[s]) for s in range(now + 1)]
                )
                share = (scores / dim**0.5).softmax(0)
                read += sum(share[s] * values[s][group] for s in range(now + 1))
            answers.append(read)
        inner = affine("ar_proj.0", affine("o_proj", torch.cat(answers)))
        said.append(affine("ar_proj.2", inner * inner.sigmoid()).view(config.k, -1))
    return torch.stack(said)


def slow_laws(network: FlashNetwork, target: ToyTarget, text: tuple[Tensor, Tensor]) -> Tensor:
    """``(k, vocab)`` log laws after a text of rows and positions, from one full pass."""
    last = run_network(network, *text)[0][0, -1]
    return target.head(last.view(network.steps, -1)).log_softmax(-1)


def text_of(network: FlashNetwork, target: ToyTarget, asked: Any, state: Any, row: int) -> Any:
    """Rows and positions of one committed text, from one pass of the target."""
    ids, pixels = asked.inputs["input_ids"], asked.inputs.get("pixel_values")
    counts = ((ids == PICTURE).sum(1) // 3).tolist()
    shown = {}
    if pixels is not None and counts[row]:
        shown["pixel_values"] = pixels[sum(counts[:row]) : sum(counts[: row + 1])]
    tokens = state.tokens[row, : state.host_lengths[row]].tolist()
    return real_rows(network, target, shown, tokens, int(state.prompt_lengths[row]))


def slow_product_tree(laws: Tensor, width: int, budget: int) -> set[Path]:
    """Best paths by product of probabilities: a beam over levels, then the best of all offers."""
    beam: list[tuple[float, Path]] = [(0.0, ())]
    pool: list[tuple[float, Path]] = []
    for law in laws:
        best = list(zip(*(part.tolist() for part in law.topk(width)), strict=True))
        offers = [
            (score + value, (*path, token)) for (score, path), (value, token) in product(beam, best)
        ]
        pool += offers
        beam = sorted(offers, key=lambda offer: -offer[0])[:width]
    best_paths = sorted(pool, key=lambda offer: (-offer[0], len(offer[1])))[:budget]
    return {path for _, path in best_paths}


def slow_static_tree(laws: Tensor, width: int, budget: int) -> set[Path]:
    """The official paths, read as tokens."""
    ranked = laws.argsort(dim=-1, descending=True).tolist()
    fitting = [path for path in PATHS if len(path) <= len(laws) and max(path) < width]
    fitting.sort(key=lambda path: (len(path) + sum(path), path))
    return {
        tuple(ranked[depth][rank] for depth, rank in enumerate(path)) for path in fitting[:budget]
    }
