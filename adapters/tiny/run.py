"""A resumable training loop: a batch depends on its step alone, so a restart changes nothing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from mmspec.allocator import keep_freed_memory

from .optimiser import build_optimisers, rate_at, set_rate

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training: how long, how fast, and when to save."""

    name: str
    steps: int
    rate: float
    warmup: int = 50
    decay: float = 0.5
    save_every: int = 100
    clip_norm: float = 1.0


def train(
    stage: Stage,
    module: nn.Module,
    step_loss: Callable[[int], torch.Tensor],
    folder: Path,
    *,
    on_save: Callable[[int], None] | None = None,
) -> None:
    """Train a module in place, resuming from `folder` if it holds a checkpoint of this stage.

    Freed memory is kept by the process from then on.

    Args:
        stage: Length, learning rate and saving interval.
        module: Module whose parameters that require gradients are trained.
        step_loss: Loss of the batch of a step; must depend on nothing but the step and the module.
        folder: Where the checkpoint and the loss curve of the stage go.
        on_save: Called with the step after each checkpoint.
    """
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    optimisers = build_optimisers(module.named_parameters())
    start, spent = _resume(stage, module, optimisers, folder)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    curve = folder / f"{stage.name}.jsonl"
    began = time.monotonic() - spent
    steps = range(start, stage.steps)
    for step in tqdm(steps, stage.name, initial=start, total=stage.steps, mininterval=5):
        rate = rate_at(step, stage.steps, stage.rate, stage.warmup, stage.decay)
        set_rate(optimisers, rate)
        loss = step_loss(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, stage.clip_norm)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began
        row = {"step": step, "loss": round(loss.item(), 5), "seconds": round(seconds, 2)}
        with curve.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if (step + 1) % stage.save_every == 0 or step + 1 == stage.steps:
            _save(stage, module, optimisers, folder, step + 1, seconds)
            if on_save is not None:
                on_save(step + 1)


def _save(
    stage: Stage,
    module: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    folder: Path,
    step: int,
    seconds: float,
) -> None:
    """Write the checkpoint beside the old one, then swap, so that a kill leaves one whole."""
    state = {
        "step": step,
        "seconds": seconds,
        "module": module.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    target = folder / f"{stage.name}.pt"
    fresh = target.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(target)


def _resume(
    stage: Stage, module: nn.Module, optimisers: Iterable[torch.optim.Optimizer], folder: Path
) -> tuple[int, float]:
    """Load the stage's checkpoint if there is one; return the next step and the time spent."""
    target, curve = folder / f"{stage.name}.pt", folder / f"{stage.name}.jsonl"
    if not target.exists():
        curve.unlink(missing_ok=True)
        return 0, 0.0
    state = torch.load(target, weights_only=True)
    module.load_state_dict(state["module"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    rows = curve.read_text().splitlines()[: state["step"]]
    curve.write_text("".join(row + "\n" for row in rows))
    log.info("%s resumes at step %d", stage.name, state["step"])
    return int(state["step"]), float(state["seconds"])
