"""Muon for the hidden matrices, AdamW for everything else, and one learning-rate schedule."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

# Token tables, output heads, the patch filter and tables of relative positions are no hidden
# matrices: Muon would hurt them.
_NOT_HIDDEN = (
    *("embed", "shared", "relative_attention_bias", "lm_head", "heads.", "output."),
    *("class_emb", "fake_latent", "final_layer.linear"),
)


def build_optimisers(
    named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float = 0.01
) -> list[torch.optim.Optimizer]:
    """Split parameters between Muon and AdamW; learning rates are set by `set_rate`."""
    hidden: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        is_hidden = parameter.ndim == 2 and not any(word in name for word in _NOT_HIDDEN)
        (hidden if is_hidden else other).append(parameter)
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(other, betas=(0.9, 0.98), weight_decay=weight_decay)
    ]
    if hidden:
        optimisers.append(
            torch.optim.Muon(
                hidden, momentum=0.95, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return optimisers


def rate_at(step: int, steps: int, peak: float, warmup: int, decay: float) -> float:
    """Linear warm-up, constant, then linear decay to zero over the last `decay` of the steps."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * min(1.0, (steps - step) / max(1.0, decay * steps))


def set_rate(optimisers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
