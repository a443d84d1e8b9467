"""Public drafters in formats that are read here, with the targets they were trained for."""

from __future__ import annotations

from typing import NamedTuple


class KnownDrafter(NamedTuple):
    """A drafter on the Hub.

    Attributes:
        name: Hub id.
        method: How it was trained.
        kind: Architecture it is read as.
        target: Hub id of the target.
    """

    name: str
    method: str
    kind: str
    target: str


# By method and kind. MSD's weights are EAGLE's, but it reads visual tokens past `fc`.
_TABLE = {
    ("ViSpec", "vispec"): {
        "JLKang/ViSpec-llava-1.5-7b-hf": "llava-hf/llava-1.5-7b-hf",
        "JLKang/ViSpec-llava-v1.6-vicuna-7b-hf": "llava-hf/llava-v1.6-vicuna-7b-hf",
        "JLKang/ViSpec-llava-v1.6-vicuna-13b-hf": "llava-hf/llava-v1.6-vicuna-13b-hf",
        "JLKang/ViSpec-Qwen2.5-VL-3B-Instruct": "Qwen/Qwen2.5-VL-3B-Instruct",
        "JLKang/ViSpec-Qwen2.5-VL-7B-Instruct": "Qwen/Qwen2.5-VL-7B-Instruct",
    },
    ("EAGLE-3", "eagle3"): {
        "Rayzl/qwen2.5-vl-7b-eagle3-sgl": "Qwen/Qwen2.5-VL-7B-Instruct",
        "AngelSlim/Qwen3-VL-2B-Instruct_eagle3": "Qwen/Qwen3-VL-2B-Instruct",
        "AngelSlim/Qwen3-VL-4B-Instruct_eagle3": "Qwen/Qwen3-VL-4B-Instruct",
        "AngelSlim/Qwen3-VL-30B-A3B-Instruct_eagle3": "Qwen/Qwen3-VL-30B-A3B-Instruct",
        "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B": "meta-llama/Llama-3.1-8B-Instruct",
        "yuhuili/EAGLE3-LLaMA3.3-Instruct-70B": "meta-llama/Llama-3.3-70B-Instruct",
        "yuhuili/EAGLE3-Vicuna1.3-13B": "lmsys/vicuna-13b-v1.3",
        "yuhuili/EAGLE3-DeepSeek-R1-Distill-LLaMA-8B": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3": "meta-llama/Llama-3.1-8B-Instruct",
        "RedHatAI/Qwen3-8B-speculator.eagle3": "Qwen/Qwen3-8B",
        "RedHatAI/Qwen3-32B-speculator.eagle3": "Qwen/Qwen3-32B",
    },
    ("EAGLE-2", "eagle"): {
        "Irisssme/EAGLE-2-llava-v1.6-vicuna-7b-hf": "llava-hf/llava-v1.6-vicuna-7b-hf",
        "yuhuili/EAGLE-Vicuna-7B-v1.3": "lmsys/vicuna-7b-v1.3",
        "yuhuili/EAGLE-Vicuna-13B-v1.3": "lmsys/vicuna-13b-v1.3",
        "yuhuili/EAGLE-Vicuna-33B-v1.3": "lmsys/vicuna-33b-v1.3",
        "yuhuili/EAGLE-LLaMA3.1-Instruct-8B": "meta-llama/Llama-3.1-8B-Instruct",
    },
    ("MSD", "eagle"): {
        "lucylyn/MSD-LLaVA1.6-7B": "llava-hf/llava-v1.6-vicuna-7b-hf",
        "lucylyn/MSD-Qwen2VL-7B-Instruct": "Qwen/Qwen2-VL-7B-Instruct",
        "lucylyn/MSD-Qwen2.5VL-7B-Instruct": "Qwen/Qwen2.5-VL-7B-Instruct",
    },
}
KNOWN = tuple(
    KnownDrafter(name, method, kind, target)
    for (method, kind), pairs in _TABLE.items()
    for name, target in pairs.items()
)
