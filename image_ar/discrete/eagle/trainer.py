"""Training an image drafter; every batch depends on its step alone, so restarts change nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from image_ar.discrete.drawings import inputs_of
from image_ar.discrete.eagle.lessons import Lesson, read
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.recipe import Recipe
from image_ar.discrete.eagle.report import Row, write_card, write_curve, write_log
from image_ar.discrete.eagle.storage import save
from image_ar.discrete.eagle.training import loss, rollout
from mmspec.files import replace_file
from mmspec.pipelines.image_options import Subject

logger = logging.getLogger(__name__)

# What is left of a finished training; checkpoint and log stay behind.
FINISHED = ("config.json", "model.safetensors", "README.md", "curve.png")
_LOGITS = 2**28  # held at a time
_GUIDED = 2.0  # any guidance makes the target run its unconditional stream


def train(
    target: Any,
    subjects: Sequence[Subject],
    tokens: Tensor,
    network: ImageEagle,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    name: str = "",
    data: str = "",
    progress: bool = True,
) -> dict[str, Any]:
    """Train an image drafter for a target.

    The target is never changed. Run again with the same arguments after an interruption: training
    goes on from the last checkpoint, on the same curve.

    Args:
        target: A target over a grid of picture tokens.
        subjects: What the pictures show.
        tokens: ``(pictures, length)`` their output tokens; the last ``recipe.held_out`` of them
            only measure.
        network: Trained in place, in float32.
        out: Folder for the drafter, its card, curve, log and checkpoint.
        recipe: Options.
        name: The target's name, for the card.
        data: What the pictures are, for the card.
        progress: Show a bar.

    Returns:
        ``overlap``, the mean overlap of the two laws on the held-out pictures at each depth.

    Raises:
        ValueError: Too few pictures to hold any out, a checkpoint in ``out`` of another recipe or
            network, or something the model does not take.
    """
    return Trainer(target, subjects, tokens, network, Path(out), recipe or Recipe()).run(
        name, data, progress
    )


class Trainer:
    """The loop: batches by step, checkpoints, measurements. Args as for :func:`train`."""

    def __init__(
        self,
        target: Any,
        subjects: Sequence[Subject],
        tokens: Tensor,
        network: ImageEagle,
        out: Path,
        recipe: Recipe,
    ) -> None:
        if len(subjects) <= recipe.held_out:
            raise ValueError(
                f"{len(subjects)} pictures are given and {recipe.held_out} are held out; give more "
                "or lower held_out"
            )
        self._target, self._subjects, self._tokens = target, subjects, tokens
        self._recipe, self._out = recipe, out
        self._count = len(subjects) - recipe.held_out
        self._network = network.to(target.device).float().requires_grad_(True).train()
        self._parameters = list(network.parameters())
        self._optimisers = _optimisers(self._parameters, recipe)
        self._rows: list[Row] = []

    def run(self, name: str, data: str, progress: bool) -> dict[str, Any]:
        """Train from the last checkpoint to the end, then write curve and card."""
        recipe, (begin, spent) = self._recipe, self._resume()
        clock = time.monotonic() - spent
        steps = tqdm(
            range(begin, recipe.steps),
            "image-eagle",
            initial=begin,
            total=recipe.steps,
            disable=not progress,
        )
        for step in steps:
            value, overlap = self._step(step)
            done, seconds = step + 1, time.monotonic() - clock
            last = done == recipe.steps
            if last or done % recipe.log_every == 0:
                row = {"step": done, "loss": round(value, 5), "overlap": _rounded(overlap)}
                self._rows.append(row | {"seconds": round(seconds, 2)})
                steps.set_postfix(loss=f"{value:.3f}")
            if last or done % recipe.measure_every == 0:
                self._rows.append({"step": done, "held_out": self.measure()})
            if last or done % recipe.save_every == 0:
                self._save(done, time.monotonic() - clock)
        self._network.requires_grad_(False).eval()
        measured = [row["held_out"] for row in self._rows if "held_out" in row]
        write_curve(self._rows, self._out / "curve.png")
        write_card(self._out, self._network, name, data, recipe, self._rows, self._count)
        return {"overlap": measured[-1]}

    @torch.no_grad()
    def measure(self) -> list[float]:
        """Mean overlap of the two laws at each depth: held-out pictures, without guidance."""
        total, size = torch.zeros(self._recipe.depth), self._recipe.batch
        for start in range(self._count, len(self._subjects), size):
            places = list(range(start, min(start + size, len(self._subjects))))
            total += len(places) * self._judged(self._lesson(places, False))[1].cpu()
        return _rounded(total / self._recipe.held_out)

    def _step(self, step: int) -> tuple[float, Tensor]:
        """One optimiser step: its loss, and the overlap at each depth."""
        recipe = self._recipe
        places = self._places(step)
        draws = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        drop = torch.rand(len(places), generator=draws) < recipe.dropped
        total, overlaps = 0.0, torch.zeros(recipe.depth)
        for without in (False, True):
            some = [
                place for place, gone in zip(places, drop.tolist(), strict=True) if gone == without
            ]
            if not some:
                continue
            value, overlap = self._judged(self._lesson(some, without))
            share = len(some) / len(places)
            (share * value).backward(inputs=self._parameters)
            total += share * float(value.detach())
            overlaps += share * overlap.cpu()
        nn.utils.clip_grad_norm_(self._parameters, recipe.clip)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate_at(step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return total, overlaps

    def _lesson(self, places: list[int], unconditional: bool) -> Lesson:
        target = self._target
        scale = _GUIDED if unconditional else 1.0
        inputs = inputs_of(target, [self._subjects[place] for place in places], scale)
        return read(target, inputs, self._tokens[places].long().to(target.device), unconditional)

    def _judged(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """Loss of a lesson, and the overlap at each depth."""
        recipe, target = self._recipe, self._target
        outputs = rollout(
            self._network,
            lesson.embeds,
            lesson.features,
            lesson.positions,
            recipe.depth,
            lesson.seen,
        )
        return loss(
            outputs,
            lesson.truth,
            lambda hidden: target.head(hidden.to(target.dtype)),
            lesson.counted(recipe.depth),
            recipe.feature_weight,
            recipe.decay,
            max(1, _LOGITS // target.vocab_size),
        )

    def _places(self, step: int) -> list[int]:
        """Pictures of a step; every epoch has an order of its own and leaves a random rest out."""
        size = min(self._recipe.batch, self._count)
        epoch, turn = divmod(step, self._count // size)
        generator = torch.Generator().manual_seed(self._recipe.seed * 7919 + epoch)
        order = torch.randperm(self._count, generator=generator)
        return order[turn * size : (turn + 1) * size].tolist()

    def _save(self, done: int, seconds: float) -> None:
        """Checkpoint, log and usable drafter; the files they replace stay whole until then."""
        state = {
            "step": done,
            "seconds": seconds,
            "rows": self._rows,
            "recipe": self._identity(),
            "network": self._network.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
        }
        replace_file(self._out / "checkpoint.pt", lambda path: torch.save(state, path))
        write_log(self._rows, self._out / "log.jsonl")
        save(self._network, self._out)

    def _resume(self) -> tuple[int, float]:
        """Load the folder's checkpoint if there is one; returns next step and time spent."""
        path = self._out / "checkpoint.pt"
        if not path.exists():
            return 0, 0.0
        state = torch.load(path, map_location=self._target.device, weights_only=True)
        ours = self._identity()
        differ = [key for key, value in ours.items() if state["recipe"].get(key) != value]
        if differ:
            raise ValueError(
                f"{path} was trained with other {', '.join(differ)}; choose another folder, or "
                "delete the checkpoint to start again"
            )
        self._network.load_state_dict(state["network"])
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self._rows = list(state["rows"])
        logger.info("going on from step %d", state["step"])
        return int(state["step"]), float(state["seconds"])

    def _identity(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its continuation."""
        free = ("save_every", "log_every", "measure_every")
        options = {key: value for key, value in asdict(self._recipe).items() if key not in free}
        mark = sha256(self._tokens.long().numpy().tobytes()).hexdigest()[:12]
        return {"pictures": mark, **options, **self._network.config.to_dict()}


def _optimisers(parameters: list[nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for everything else."""
    matrices = [one for one in parameters if one.ndim == 2]
    others = [one for one in parameters if one.ndim != 2]
    decay = recipe.weight_decay
    return [
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=decay),
        torch.optim.Muon(
            matrices, momentum=0.95, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
        ),
    ]


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
