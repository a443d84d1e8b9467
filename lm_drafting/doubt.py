"""Stopping a chain by confidence; the doubtful unit itself stays, which keeps sampling unbiased."""

from __future__ import annotations

import torch
from torch import Tensor

from mmspec.messages import Plan


def all_in_doubt(chance: Tensor, plan: Plan) -> bool:
    """Whether drafting further is pointless; asked on the CPU only, where reading costs nothing.

    Args:
        chance: Draft probability of the last unit of every row.
        plan: Holds the threshold.
    """
    if plan.stop_below is None or chance.device.type != "cpu":
        return False
    return bool((chance < plan.stop_below).all())


def until_doubt(chance: Tensor, plan: Plan) -> Tensor | None:
    """True up to and including the first unit whose probability is below the plan's threshold.

    Args:
        chance: ``(batch, length)`` draft probability of every unit.
        plan: Holds the threshold.
    """
    if plan.stop_below is None:
        return None
    sure = chance >= plan.stop_below
    return torch.cat([torch.ones_like(sure[:, :1]), sure[:, :-1].cumprod(1).bool()], dim=1)
