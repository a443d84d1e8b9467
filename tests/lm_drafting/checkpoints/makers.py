"""Tiny drafters with exactly the keys, shapes and configurations that other projects write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

HIDDEN, INNER, HEADS, SHARED, DIM = 16, 24, 4, 2, 4
VOCAB, DRAFT_VOCAB = 40, 12
Weights = dict[str, Tensor]

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_position_embeddings": 128,
    "model_type": "llama",
    "num_attention_heads": HEADS,
    "num_hidden_layers": 1,
    "num_key_value_heads": SHARED,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": VOCAB,
}


def draw(shapes: dict[str, tuple[int, ...]]) -> Weights:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def layer(prefix: str, width: int = HIDDEN, *, biases: bool = False) -> dict[str, tuple[int, ...]]:
    """A Llama layer without norms of its input."""
    rows = {"q": HEADS * DIM, "k": SHARED * DIM, "v": SHARED * DIM}
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}self_attn.{name}_proj.weight": (size, width) for name, size in rows.items()
    }
    if biases:
        shapes |= {f"{prefix}self_attn.{name}_proj.bias": (size,) for name, size in rows.items()}
    return shapes | {
        f"{prefix}self_attn.o_proj.weight": (HIDDEN, HEADS * DIM),
        f"{prefix}mlp.gate_proj.weight": (INNER, HIDDEN),
        f"{prefix}mlp.up_proj.weight": (INNER, HIDDEN),
        f"{prefix}mlp.down_proj.weight": (HIDDEN, INNER),
        f"{prefix}post_attention_layernorm.weight": (HIDDEN,),
    }


def eagle(*, fc_bias: bool = True, biases: bool = False) -> Weights:
    """EAGLE-1/2, as the official training saves it, with the target's table."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (VOCAB, HIDDEN),
        "fc.weight": (HIDDEN, 2 * HIDDEN),
        **({"fc.bias": (HIDDEN,)} if fc_bias else {}),
        **layer("layers.0.", biases=biases),
    }
    return draw(shapes)


def vispec(num_q: int = 2, *, biases: bool = True) -> Weights:
    """ViSpec for a Qwen target: 22 tensors."""
    shapes: dict[str, tuple[int, ...]] = {
        "imadpt.q": (num_q, HEADS, DIM),
        "img_fc.weight": (HIDDEN, 2 * HIDDEN),
        "img_fc.bias": (HIDDEN,),
    }
    for name in "kv":
        shapes[f"imadpt.{name}_proj.weight"] = (HIDDEN, HIDDEN)
        if biases:
            shapes[f"imadpt.{name}_proj.bias"] = (HIDDEN,)
    shapes["imadpt.o_proj.weight"] = (HIDDEN, HIDDEN)
    return eagle(biases=biases) | draw(shapes)


def vispec_nemo() -> Weights:
    """NeMo AutoModel's: other names, no bias of `fc` and `img_fc`, a norm at both ends."""
    official = vispec(biases=False)
    weights = {key.replace("imadpt.q", "img_adaptor.query"): official[key] for key in official}
    weights = {key.replace("imadpt.", "img_adaptor."): weights[key] for key in weights}
    del weights["fc.bias"], weights["img_fc.bias"]
    norms = {"layers.0.input_layernorm.weight": (HIDDEN,), "norm.weight": (HIDDEN,)}
    return weights | draw(norms)


def eagle3(prefix: str = "midlayer.", *, layers_read: int = 3) -> Weights:
    """EAGLE-3; the prefix is "layers.0." in speculators and ModelOpt."""
    shapes: dict[str, tuple[int, ...]] = {
        "fc.weight": (HIDDEN, layers_read * HIDDEN),
        **layer(prefix, 2 * HIDDEN),
        f"{prefix}input_layernorm.weight": (HIDDEN,),
        f"{prefix}hidden_norm.weight": (HIDDEN,),
        "norm.weight": (HIDDEN,),
        "lm_head.weight": (DRAFT_VOCAB, HIDDEN),
    }
    ids = torch.arange(DRAFT_VOCAB) * 3 + 2
    mask = torch.zeros(VOCAB, dtype=torch.bool)
    mask[ids] = True
    return draw(shapes) | {"d2t": ids - torch.arange(DRAFT_VOCAB), "t2d": mask}


def flash(k: int = 3, groups: int = 2) -> Weights:
    """FLASH's semi-autoregressive drafter, with its saved buffer."""
    wide = 4 * HIDDEN
    return draw(
        {
            "embed_tokens.weight": (VOCAB, HIDDEN),
            "layers.q_proj.weight": (HIDDEN, HIDDEN),
            "layers.q_proj.bias": (HIDDEN,),
            "layers.k_proj.weight": (groups * DIM, HIDDEN),
            "layers.k_proj.bias": (groups * DIM,),
            "layers.v_proj.weight": (groups * DIM, HIDDEN),
            "layers.v_proj.bias": (groups * DIM,),
            "layers.o_proj.weight": (HIDDEN, HIDDEN),
            "layers.o_proj.bias": (HIDDEN,),
            "layers.rotary_emb.inv_freq": (DIM // 2,),
            "layers.ar_proj.0.weight": (wide, HIDDEN),
            "layers.ar_proj.0.bias": (wide,),
            "layers.ar_proj.2.weight": (k * HIDDEN, wide),
            "layers.ar_proj.2.bias": (k * HIDDEN,),
            "fc.weight": (HIDDEN, 2 * HIDDEN),
            "fc.bias": (HIDDEN,),
        }
    )


SPECFORGE: dict[str, Any] = {
    **LLAMA,
    "architectures": ["LlamaForCausalLMEagle3"],
    "head_dim": DIM,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]},
    "rope_theta": 1000000,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "target_model_type": "qwen2_5_vl",
    "draft_vocab_size": DRAFT_VOCAB,
}
SPECULATORS: dict[str, Any] = {
    "architectures": ["Eagle3Speculator"],
    "auto_map": {"": "eagle3.Eagle3SpeculatorConfig"},
    "draft_vocab_size": DRAFT_VOCAB,
    "eagle_aux_hidden_state_layer_ids": None,
    "norm_before_residual": True,
    "speculators_config": {
        "algorithm": "eagle3",
        "default_proposal_method": "greedy",
        "proposal_methods": [
            {
                "accept_tolerance": 0.0,
                "proposal_type": "greedy",
                "speculative_tokens": 5,
                "verifier_accept_k": 1,
            }
        ],
        "verifier": {"architectures": ["Qwen3ForCausalLM"], "name_or_path": "Qwen/Qwen3-8B"},
    },
    "speculators_model_type": "eagle3",
    "speculators_version": "0.2.0",
    "target_hidden_size": None,
    "torch_dtype": "bfloat16",
    "transformer_layer_config": {
        key: LLAMA[key]
        for key in (
            "hidden_act",
            "hidden_size",
            "intermediate_size",
            "max_position_embeddings",
            "model_type",
            "num_attention_heads",
            "num_hidden_layers",
            "num_key_value_heads",
            "rms_norm_eps",
            "rope_scaling",
            "vocab_size",
        )
    }
    | {"attention_bias": False, "mlp_bias": False, "head_dim": DIM, "rope_theta": 500000.0},
}


def without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in names}


def write(
    folder: Path, weights: Weights, config: dict[str, Any] | None, *, how: str = "safetensors"
) -> Path:
    """A drafter's folder, with its weights whole, in two shards or in a pickle."""
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if how == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    elif how == "shards":
        write_shards(folder, weights)
    else:
        save_file(weights, folder / "model.safetensors")
    return folder


def write_shards(folder: Path, weights: Weights) -> None:
    places = {}
    for index, keys in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        name = f"model-{index + 1:05}-of-00002.safetensors"
        save_file({key: weights[key] for key in keys}, folder / name)
        places |= dict.fromkeys(keys, name)
    index_file = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_file))
