"""Drafters for vLLM, in the format of the ``speculators`` library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from lm_drafting.checkpoints.completion import complete
from lm_drafting.checkpoints.folders import CONFIG, WEIGHTS
from lm_drafting.checkpoints.inspection import COMPRESSOR, inspect
from lm_drafting.checkpoints.layouts import layout_of
from mmspec.files import replace_file

_UNSERVED = {
    "eagle": "its list of speculators types has no EAGLE-1, only EAGLE-3 and later ones",
    "vispec": "it has no drafter that shortens pictures",
    "specvlm": "it has no drafter that shortens pictures",
    "flash": "it has no drafter that predicts several tokens from one position",
}
_LAYER_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
)
_LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 1,
    "hidden_act": "silu",
    "mlp_bias": False,
    "tie_word_embeddings": False,
}


def export_speculators(
    folder_out: str | Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    target_name: str,
    target_architectures: Sequence[str],
    speculative_tokens: int,
) -> None:
    """Write an EAGLE-3 drafter so that vLLM can serve it.

    Reading the folder gives the same weights and configuration again, its ``target`` excepted,
    which is the one named here. Each file is replaced in one step.

    Args:
        folder_out: Made if needed.
        kind: Of the drafter.
        config: Canonical names.
        weights: Canonical names.
        target_name: Hub id or path of the target, which vLLM loads with the drafter.
        target_architectures: Class names of the target's ``config.json``.
        speculative_tokens: Tokens to draft in a round.

    Raises:
        ValueError: vLLM cannot serve this drafter, or its parts contradict each other.
    """
    _require_served(kind, weights)
    whole = complete(kind, config, weights)
    problems = inspect(kind, whole, weights, stated=config)
    if problems:
        raise ValueError(f"this {kind} drafter cannot be exported: {'; '.join(problems)}")
    named = target_name and target_architectures and not isinstance(target_architectures, str)
    if speculative_tokens < 1 or not named:
        raise ValueError(
            f"speculative_tokens={speculative_tokens}, target_name={target_name!r} and the list "
            f"target_architectures={target_architectures!r} must all be given"
        )
    greedy = {"proposal_type": "greedy", "speculative_tokens": speculative_tokens}
    content = _describe(whole, weights) | {
        "speculators_config": {
            "algorithm": kind,
            "proposal_methods": [greedy],
            "default_proposal_method": "greedy",
            "verifier": {
                "name_or_path": target_name,
                "architectures": list(target_architectures),
            },
        },
    }
    tensors = {
        key.replace("midlayer.", "layers.0."): value.detach().cpu().contiguous().clone()
        for key, value in weights.items()
    }
    folder, text = Path(folder_out), json.dumps(content, indent=2) + "\n"
    replace_file(folder / WEIGHTS, lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    replace_file(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))


def _require_served(kind: str, weights: Mapping[str, Tensor]) -> None:
    reason = _UNSERVED.get(kind, "" if kind == "eagle3" else "there is no such kind")
    if any(key.startswith(COMPRESSOR) for key in weights):
        reason = reason or "it has no drafter that shortens pictures"
    biased = {f"midlayer.self_attn.{name}_proj.bias" in weights for name in "qo"}
    if len(biased) > 1:
        reason = reason or "there queries have a bias if and only if the attention's output has"
    if reason:
        raise ValueError(f"vLLM cannot serve this {kind} drafter: {reason}")


def _describe(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The part of ``config.json`` that is about the network."""
    groups = layout_of("eagle3", config).stored(weights)
    layer = {**_LLAMA, **{name: config[name] for name in _LAYER_FIELDS}}
    return {
        "architectures": ["Eagle3Speculator"],
        "speculators_model_type": "eagle3",
        "draft_vocab_size": config["draft_vocab_size"],
        "target_hidden_size": config["target_hidden_size"],
        "eagle_aux_hidden_state_layer_ids": config["target_layers"],
        "norm_before_residual": config["norm_before_residual"],
        "norm_before_fc": groups["norm_before_fc"],
        "fc_norm": groups["fc_norm"],
        "norm_output": config["norm_output"],
        "embed_requires_grad": False,
        "torch_dtype": str(weights["fc.weight"].dtype).removeprefix("torch."),
        "transformer_layer_config": {**layer, "attention_bias": groups["attention_bias"]},
    }
