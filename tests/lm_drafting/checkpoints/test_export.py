"""What vLLM is given can be read back, and what it cannot serve is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lm_drafting.checkpoints import Checkpoint, export_speculators, read
from tests.lm_drafting.checkpoints import makers
from tests.lm_drafting.checkpoints.makers import DRAFT_VOCAB, HIDDEN, LLAMA, VOCAB

NORMS = {"input_norm.weight": (3 * HIDDEN,), **{f"fc_norm.{i}.weight": (HIDDEN,) for i in range(3)}}
BIASES = {
    f"midlayer.self_attn.{name}_proj.bias": (size,)
    for name, size in {"q": HIDDEN, "k": 8, "v": 8, "o": HIDDEN}.items()
}
PLAIN = {**LLAMA, "draft_vocab_size": DRAFT_VOCAB}
RICH = {
    **makers.SPECFORGE,
    "norm_before_residual": True,
    "norm_output": True,
    "eagle_aux_hidden_state_layer_ids": [1, 8, 13],
}


def export(folder: Path, drafter: Checkpoint, **changes: Any) -> None:
    options: dict[str, Any] = {
        "kind": drafter.kind,
        "config": drafter.config,
        "weights": drafter.weights,
        "target_name": "Qwen/Qwen2.5-VL-7B-Instruct",
        "target_architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "speculative_tokens": 4,
    }
    export_speculators(folder, **(options | changes))


def make(folder: Path, weights: makers.Weights, config: dict[str, Any]) -> Checkpoint:
    folder.mkdir()
    return read(makers.write(folder, weights, config))


@pytest.mark.parametrize(
    ("weights", "config"),
    [
        (makers.eagle3(), PLAIN),
        (makers.eagle3() | makers.draw(NORMS), RICH),
        (makers.eagle3() | makers.draw(BIASES), PLAIN),
        (
            makers.without(makers.eagle3(), "d2t", "t2d")
            | makers.draw({"lm_head.weight": (VOCAB, HIDDEN)}),
            LLAMA,
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(
    tmp_path: Path, weights: makers.Weights, config: dict[str, Any], dtype: torch.dtype
) -> None:
    cast = {key: w.to(dtype) if w.is_floating_point() else w for key, w in weights.items()}
    drafter = make(tmp_path / "in", cast, config)
    export(tmp_path / "out", drafter)
    again = read(tmp_path / "out")
    target = {"name": "Qwen/Qwen2.5-VL-7B-Instruct"}
    assert again.config == {**drafter.config, "target": target}
    assert again.weights.keys() == drafter.weights.keys()
    for key, value in drafter.weights.items():
        assert again.weights[key].dtype == value.dtype
        assert torch.equal(again.weights[key], value)
    assert again.origin == f"speculators EAGLE-3 from {tmp_path / 'out'}"


def test_the_file_has_what_vllm_asks_for(tmp_path: Path) -> None:
    export(tmp_path / "out", make(tmp_path / "in", makers.eagle3(), RICH))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["speculators_model_type"] == "eagle3"
    methods = config["speculators_config"]["proposal_methods"]
    assert methods == [{"proposal_type": "greedy", "speculative_tokens": 4}]
    assert config["speculators_config"]["verifier"] == {
        "name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct",
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    }
    layer = config["transformer_layer_config"]
    assert (layer["model_type"], layer["vocab_size"], layer["head_dim"]) == ("llama", VOCAB, 4)
    # Left out, vLLM takes true where others take false.
    assert config["norm_before_residual"] is True
    assert config["eagle_aux_hidden_state_layer_ids"] == [1, 8, 13]
    keys = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert "layers.0.hidden_norm.weight" in keys
    assert not any(key.startswith("midlayer.") for key in keys)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("eagle", "has no EAGLE-1"),
        ("vispec", "no drafter that shortens pictures"),
        ("specvlm", "no drafter that shortens pictures"),
        ("flash", "several tokens from one position"),
        ("medusa", "there is no such kind"),
    ],
)
def test_kinds_that_vllm_cannot_serve(tmp_path: Path, kind: str, message: str) -> None:
    drafter = make(tmp_path / "in", makers.eagle3(), PLAIN)
    with pytest.raises(ValueError, match=f"vLLM cannot serve this {kind} drafter: .*{message}"):
        export(tmp_path / "out", drafter, kind=kind)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"compressor.q": (2, 4, 4)}, "vLLM cannot serve.* shortens pictures"),
        ({"midlayer.self_attn.q_proj.bias": (16,)}, "vLLM cannot serve.* have a bias if and only"),
        ({"midlayer.self_attn.q_norm.weight": (4,)}, "cannot be exported: unknown weights"),
        ({"norm.weight": (8,)}, r"cannot be exported: norm\.weight is 8, but hidden_size is 16"),
    ],
)
def test_drafters_that_vllm_cannot_serve(
    tmp_path: Path, extra: dict[str, tuple[int, ...]], message: str
) -> None:
    drafter = make(tmp_path / "in", makers.eagle3(), PLAIN)
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "out", drafter, weights=drafter.weights | makers.draw(extra))


@pytest.mark.parametrize(
    "changes",
    [{"speculative_tokens": 0}, {"target_name": ""}, {"target_architectures": "Llama"}],
)
def test_what_must_be_given(tmp_path: Path, changes: dict[str, Any]) -> None:
    drafter = make(tmp_path / "in", makers.eagle3(), PLAIN)
    with pytest.raises(ValueError, match="must all be given"):
        export(tmp_path / "out", drafter, **changes)


def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafter = make(tmp_path / "in", makers.eagle3(), PLAIN)
    export(tmp_path / "out", drafter)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("lm_drafting.checkpoints.export.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        export(tmp_path / "out", drafter, speculative_tokens=9)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
