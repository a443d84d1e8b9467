"""Training a drafter; every batch depends on its step alone, so restarts change nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.storage import describe, save
from lm_drafting.training.batch import Batch
from lm_drafting.training.data import Sample, Teacher, own_answers
from lm_drafting.training.losses import Scores, rounds, score
from lm_drafting.training.recipe import Recipe
from lm_drafting.training.report import Log, write_card, write_curve
from mmspec.files import replace_file
from mmspec.sampling import Sampling

logger = logging.getLogger(__name__)

_WINDOW = 16  # batches whose samples are sorted by length together


def answer(
    target: Any, samples: Sequence[Sample], store: Path, recipe: Recipe, *, progress: bool = True
) -> list[list[int]]:
    """The target's own answers; see :func:`~lm_drafting.training.data.own_answers`.

    Args:
        target: Answers.
        samples: What is asked.
        store: Kept here; may be shared by drafters trained on the same samples.
        recipe: How answers are drawn.
        progress: Show a bar.

    Raises:
        ValueError: Too few samples to hold any out.
    """
    if len(samples) <= recipe.held_out:
        raise ValueError(
            f"{len(samples)} samples are given and {recipe.held_out} are held out; give more or "
            "lower held_out"
        )
    sampling = Sampling(
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.temperature,
        stop_ids=tuple(target.stop_ids),
    )
    with _frozen(target.model):
        return own_answers(target, samples, store, sampling, seed=recipe.seed, progress=progress)


def train(
    target: Any,
    samples: Sequence[Sample],
    answers: Sequence[Sequence[int]],
    network: DraftNetwork,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    name: str = "",
    data: str = "",
    progress: bool = True,
) -> None:
    """Train a drafter for a target on the target's own answers.

    The target is frozen and never changed. Run again with the same arguments after an interruption:
    training goes on from the last checkpoint, on the same curve.

    Args:
        target: What ``adapters.hf_vlm:load_target`` returns, or anything like it.
        samples: What was asked; the last ``recipe.held_out`` of them only measure.
        answers: What the target said, see :func:`answer`.
        network: Trained in place, in float32.
        out: Folder for the drafter, its model card, log, curve and checkpoint.
        recipe: Options.
        name: The target's name, for the config and the card.
        data: What the samples are, for the card.
        progress: Show bars.

    Raises:
        ValueError: A checkpoint in ``out`` of another recipe or network.
    """
    recipe, out = recipe or Recipe(), Path(out)
    with _frozen(target.model):
        memory, layers = recipe.cache_features_mb, network.target_layers
        teacher = Teacher(target, samples, answers, memory, layers)
        trainer = Trainer(target, teacher, len(samples), network, recipe, out)
        trainer.run(describe(target, name), data, progress)


class Trainer:
    """The loop: batches by step, checkpoints, measurements.

    Args:
        target: The frozen teacher.
        teacher: Makes batches of it.
        count: Samples, the held-out ones at the end.
        network: Trained in place.
        recipe: Options.
        out: Folder of everything written.
    """

    def __init__(
        self,
        target: Any,
        teacher: Teacher,
        count: int,
        network: DraftNetwork,
        recipe: Recipe,
        out: Path,
    ) -> None:
        self._target, self._teacher, self._recipe, self._out = target, teacher, recipe, out
        self._train = count - recipe.held_out
        self._held_out = range(self._train, count)
        self._device = target.device
        self._network = network.to(self._device).requires_grad_(True).train()
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self._rotary = Rotary(network.cache_shape[1], network.config.rope_theta)
        self._optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=recipe.rate,
            betas=(0.9, 0.95),
            weight_decay=recipe.weight_decay,
        )

    def run(self, made_for: dict[str, Any], data: str, progress: bool) -> None:
        """Train from the last checkpoint to the end, then write curve and card."""
        recipe, log = self._recipe, Log(self._out / "log.jsonl")
        begin, spent = self._resume()
        log.cut(begin)
        clock = time.monotonic() - spent
        bar = tqdm(total=recipe.steps, initial=begin, desc=self._network.kind, disable=not progress)
        for step in range(begin, recipe.steps):
            scores, norm = self._step(step)
            done, seconds = step + 1, time.monotonic() - clock
            if done % recipe.log_every == 0 or done == recipe.steps:
                row = self._row(done, scores, norm, seconds)
                log.add(row)
                bar.set_postfix(loss=f"{row['loss']:.3f}", agree=f"{row['agreement'][0]:.3f}")
            if done % recipe.measure_every == 0 or done == recipe.steps:
                log.add({"step": done, "held_out": self.measure()})
            if done % recipe.save_every == 0 or done == recipe.steps:
                self._save(done, time.monotonic() - clock, made_for)
            bar.update()
        bar.close()
        write_curve(log.rows(), self._out / "curve.png")
        write_card(self._out, self._network, made_for, recipe, log.rows(), self._train, data)

    def measure(self) -> dict[str, Any]:
        """Greedy acceptance on the held-out samples, from teacher-forced rollouts."""
        recipe, size = self._recipe, self._recipe.batch
        accepted: list[int] = []
        overlap, pairs = 0.0, 0
        self._network.eval()
        for begin in range(0, len(self._held_out), size):
            batch = self._teacher.batch(self._held_out[begin : begin + size])
            with torch.no_grad():
                scores = self._score(batch, recipe.measure_depth)
            accepted += rounds(scores)
            counted = int(scores.lesson.supervised(0).sum())
            overlap, pairs = overlap + counted * float(scores.overlap), pairs + counted
        self._network.train()
        total = max(len(accepted), 1)
        survival = [
            sum(count >= depth for count in accepted) / total
            for depth in range(1, recipe.measure_depth + 1)
        ]
        return {
            "acceptance_length": round(1.0 + sum(accepted) / total, 4),
            "survival": [round(share, 4) for share in survival],
            "overlap": round(overlap / max(pairs, 1), 4),
        }

    def _step(self, step: int) -> tuple[Scores, Tensor]:
        """One optimiser step; returns the scores of its last pass and the gradient norm."""
        recipe = self._recipe
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        self._network.anneal(step / recipe.steps, seed=recipe.seed * 1_000_003 + step)
        for part in range(recipe.accumulate):
            turn = step * recipe.accumulate + part
            batch = self._teacher.batch(self._indices(turn))
            scores = self._score(self._noisy(batch, turn), recipe.depth)
            (scores.loss / recipe.accumulate).backward()
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), recipe.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return scores, norm

    def _score(self, batch: Batch, depth: int) -> Scores:
        recipe = self._recipe
        with torch.autocast(self._device.type, torch.bfloat16, enabled=recipe.bf16):
            return score(self._network, self._rotary, self._target, batch, recipe.objective, depth)

    def _indices(self, turn: int) -> list[int]:
        """Samples of a pass; every epoch has an order of its own and leaves a random rest out."""
        size = min(self._recipe.batch, self._train)
        epoch, index = divmod(turn, self._train // size)
        if epoch != self._epoch[0]:
            self._epoch = (epoch, self._order(epoch, size))
        return self._epoch[1][index]

    def _order(self, epoch: int, size: int) -> list[list[int]]:
        """Batches in random order, each of samples alike in length: padding costs too."""
        generator = torch.Generator().manual_seed(self._recipe.seed * 7919 + epoch)
        count = self._train // size
        shuffled = torch.randperm(self._train, generator=generator).tolist()[: count * size]
        rows: list[int] = []
        for begin in range(0, len(shuffled), _WINDOW * size):
            rows += sorted(shuffled[begin : begin + _WINDOW * size], key=self._teacher.size)
        turns = torch.randperm(count, generator=generator).tolist()
        return [rows[turn * size : (turn + 1) * size] for turn in turns]

    def _noisy(self, batch: Batch, turn: int) -> Batch:
        """Uniform noise on what the drafter reads; what it must predict stays clean."""
        width = self._recipe.feature_noise
        if not width:
            return batch
        generator = torch.Generator().manual_seed(self._recipe.seed * 1_000_003 + turn)
        noise = torch.rand(batch.features.shape, generator=generator) * 2 - 1
        return replace(batch, noise=(width * noise).to(batch.features))

    def _row(self, done: int, scores: Scores, norm: Tensor, seconds: float) -> dict[str, Any]:
        return {
            "step": done,
            "loss": round(scores.loss.item(), 5),
            "rate": self._recipe.rate_at(done - 1),
            "gradient": round(float(norm), 4),
            "agreement": [round(share, 4) for share in scores.agreement.tolist()],
            "overlap": round(float(scores.overlap), 4),
            "seconds": round(seconds, 2),
        }

    def _save(self, done: int, seconds: float, made_for: dict[str, Any]) -> None:
        """Checkpoint and usable drafter; the files they replace stay whole until then."""
        state = {
            "step": done,
            "seconds": seconds,
            "recipe": self._identity(),
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        replace_file(self._out / "checkpoint.pt", lambda path: torch.save(state, path))
        # Half the bytes; the rounding can only cost a little acceptance.
        save(self._network, self._out, made_for, torch.bfloat16)

    def _resume(self) -> tuple[int, float]:
        """Load the folder's checkpoint if there is one; returns next step and time spent."""
        path = self._out / "checkpoint.pt"
        if not path.exists():
            return 0, 0.0
        state = torch.load(path, map_location=self._device, weights_only=True)
        ours = self._identity()
        differ = [key for key, value in ours.items() if state["recipe"].get(key) != value]
        if differ:
            raise ValueError(
                f"{path} was trained with other {', '.join(differ)}; choose another folder, "
                "or delete the checkpoint to start again"
            )
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        logger.info("going on from step %d", state["step"])
        return int(state["step"]), float(state["seconds"])

    def _identity(self) -> dict[str, Any]:
        """What must not change between a checkpoint and its continuation."""
        free = ("save_every", "log_every", "measure_every", "measure_depth", "cache_features_mb")
        options = {key: value for key, value in asdict(self._recipe).items() if key not in free}
        return {"kind": self._network.kind, **options, **asdict(self._network.config)}


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradients for the target inside; afterwards every parameter is as it was."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
