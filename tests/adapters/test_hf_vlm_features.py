"""Hidden states of chosen layers are those of transformers' own forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from mmspec.messages import Draft, Features
from mmspec.noise import Noise
from mmspec.rules import Exact
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trees import Tree
from tests.adapters.families import BY_NAME, IMAGE, WORDS, model_of
from tests.adapters.prompts import Row, batch_of, rows_of
from tests.adapters.references import target_of

NAMES = ["llama", "llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "smolvlm", "internvl"]
CASES = [(name, kind) for name in NAMES for kind in BY_NAME[name].kinds]
LAYERS = (0, 1, 2, 3)  # of three: the last is what leaves the last layer
PATHS = ((0,), (1,), (0, 0), (1, 0), (1, 1))
BRANCHES = ((0, 2), (1, 3), (1, 4))  # nodes from the root to each leaf
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def own(name: str, row: Row) -> Tensor:
    """``(tokens, layers * hidden)`` of one prompt run alone, as transformers reports them.

    It reports what leaves each layer: DeepStack adds to that before the next layer reads it, and
    of the last layer it reports the normed states.
    """
    model, inputs = model_of(name), batch_of(BY_NAME[name], [row])
    ends: list[Tensor] = []
    norm = model.get_decoder().norm
    with norm.register_forward_pre_hook(lambda module, args: ends.append(args[0])):
        out = model(**inputs, output_hidden_states=True, use_cache=False)
    states = [*out.hidden_states[:-1], ends[0]]
    for layer, added in enumerate(deepstack(name, inputs), start=1):
        states[layer] = states[layer].clone()
        states[layer][inputs["input_ids"] >= IMAGE] += added
    return torch.cat(states, dim=-1)[0]


def deepstack(name: str, inputs: dict[str, Tensor]) -> list[Tensor]:
    """What Qwen3-VL adds behind its first layers at the placeholders."""
    base = model_of(name).base_model
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if name == "qwen3_vl" and pixels in inputs:
            encode = getattr(base, f"get_{kind}_features")
            out = encode(inputs[pixels], inputs[f"{kind}_grid_thw"])
            return [torch.cat(layer) for layer in out.deepstack_features]
    return []


@contextmanager
def unhooked(name: str) -> Iterator[None]:
    """No hook is on the model afterwards that was not there before."""
    modules = list(model_of(name).modules())

    def count() -> list[tuple[int, int]]:
        return [(len(each._forward_pre_hooks), len(each._forward_hooks)) for each in modules]

    before = count()
    yield
    assert count() == before


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_prompts_keep_the_inputs_of_layers(name: str, kind: str, side: str) -> None:
    rows = rows_of(BY_NAME[name], kind, 3)
    expected = [own(name, row) for row in rows]
    with unhooked(name):
        asked = Request(batch_of(BY_NAME[name], rows, side), features=Features(LAYERS))
        state, evidence = target_of(name).prefill(asked)
    for index, states in enumerate(expected):
        torch.testing.assert_close(state.prompt.hidden[index, : len(states)], states, **CLOSE)
        torch.testing.assert_close(evidence.hidden[index, 0], states[-1], **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 3], ids=["single", "ragged"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_node_of_a_tree_keeps_the_inputs_of_layers(name: str, kind: str, count: int) -> None:
    target, rows = target_of(name), rows_of(BY_NAME[name], kind, count)
    asked = Request(
        batch_of(BY_NAME[name], rows),
        Sampling(max_new_tokens=9),
        features=Features(LAYERS),
        lookahead=len(PATHS),
    )
    state, evidence = target.prefill(asked)
    nothing = Draft.empty(count)
    target.commit(state, nothing, evidence, Exact().judge(nothing, evidence, Noise([0] * count)))
    units = torch.randint(3, WORDS, (count, len(PATHS)), generator=torch.Generator().manual_seed(5))
    own(name, rows[0])  # transformers puts its own hooks on a model once, and leaves them
    with unhooked(name):
        hidden = target.score(state, Draft(units, Tree.static(PATHS, count))).hidden
    for index, row in enumerate(rows):
        root = state.outputs()[index]
        for branch in BRANCHES:
            whole = Row([*row.ids, *root, *units[index, list(branch)].tolist()], row.vision)
            nodes = [0, *(node + 1 for node in branch)]
            expected = own(name, whole)[-len(nodes) :]
            torch.testing.assert_close(hidden[index, nodes], expected, **CLOSE)


@torch.inference_mode()
def test_fewer_layers_are_a_part_of_all() -> None:
    target, family = target_of("llava"), BY_NAME["llava"]
    inputs = batch_of(family, rows_of(family, "image", 2))

    def hidden(*layers: int) -> Tensor:
        return target.prefill(Request(inputs, features=Features(layers)))[0].prompt.hidden

    parts = hidden(*LAYERS).chunk(len(LAYERS), dim=-1)
    assert torch.equal(hidden(1, 3), torch.cat([parts[1], parts[3]], dim=-1))
    embeds = target.prefill(Request(inputs, features=Features((2,))))[0].prompt.embeds
    torch.testing.assert_close(embeds, parts[0])


def test_a_pass_that_fails_leaves_no_hook() -> None:
    inputs: dict[str, Any] = batch_of(BY_NAME["llava"], rows_of(BY_NAME["llava"], "image", 1))
    inputs["pixel_values"] = torch.zeros(2, 3, 16, 16)
    with unhooked("llava"), pytest.raises(ValueError, match="do not match"):
        target_of("llava").prefill(Request(inputs, features=Features(LAYERS)))


def test_layers_the_model_lacks_are_refused() -> None:
    ids = torch.tensor([[5, 6]])
    with pytest.raises(ValueError, match=r"features of layer 4 .* give 0 to 3"):
        target_of("llama").prefill(Request({"input_ids": ids}, features=Features((0, 4))))
