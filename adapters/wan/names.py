"""Names of Wan's transformer weights: those of the original program and those of diffusers.

Wan's own files, Self-Forcing, CausVid and Krea Realtime use the original names, wrapped in the
prefixes of their training programs. The two sets are renamings of each other, one to one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_TOP = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
}
_BLOCK = {
    "modulation": "scale_shift_table",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    **{f"self_attn.{theirs}": f"attn1.{ours}" for theirs, ours in _ATTENTION.items()},
    **{f"cross_attn.{theirs}": f"attn2.{ours}" for theirs, ours in _ATTENTION.items()},
}
_NAME = re.compile(r"(?P<block>blocks\.\d+\.)?(?P<module>.*?)(?P<kind>\.weight|\.bias)?")
_PREFIXES = ("model.diffusion_model.", "model.")
# Wrappers of parallel training, anywhere in a name.
_WRAPPERS = re.compile(r"(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")


def is_original(weights: Mapping[str, Tensor]) -> bool:
    """Whether bare names are those of the original program."""
    return "head.head.weight" in weights or "text_embedding.0.weight" in weights


def bare(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the wrappers and the common prefix of training programs."""
    names = {name: _WRAPPERS.sub("", name) for name in weights}
    for prefix in _PREFIXES:
        if names and all(name.startswith(prefix) for name in names.values()):
            names = {name: short.removeprefix(prefix) for name, short in names.items()}
    return {short: weights[name] for name, short in names.items()}


def to_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bare original names become those of diffusers; unknown ones stay as they are."""
    return {_renamed(name, _TOP, _BLOCK): value for name, value in weights.items()}


def to_original(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of diffusers become bare original ones; unknown ones stay as they are."""
    top = {ours: theirs for theirs, ours in _TOP.items()}
    block = {ours: theirs for theirs, ours in _BLOCK.items()}
    return {_renamed(name, top, block): value for name, value in weights.items()}


def _renamed(name: str, top: Mapping[str, str], inside: Mapping[str, str]) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        return name
    block, module, kind = match["block"] or "", match["module"], match["kind"] or ""
    table = inside if block else top
    return block + table.get(module, module) + kind
