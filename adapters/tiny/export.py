"""Write finished models as ordinary checkpoint folders."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration, PreTrainedModel, ProcessorMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from .model import build_processor

# Kept when a folder is replaced: what other programs put beside the weights.
_KEPT = ("README.md", "loss.png", "scores.json")


def export_captioner(model: LlavaForConditionalGeneration, out: Path) -> None:
    """Save a captioner in bfloat16 together with its processor, replacing the folder as a whole."""
    export(model, build_processor(), out)


def export(
    model: PreTrainedModel, words: ProcessorMixin | PreTrainedTokenizerBase, out: Path
) -> None:
    """Save a model in bfloat16 and its processor or tokenizer, swapping the finished folder in."""
    fresh, old = out.with_name(out.name + ".new"), out.with_name(out.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(fresh)
    words.save_pretrained(fresh)
    for name in _KEPT:
        if (out / name).exists():
            shutil.copy2(out / name, fresh / name)
    for path in fresh.iterdir():
        path.chmod(0o644)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
