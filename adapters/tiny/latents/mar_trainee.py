"""What the embedded MAR models learn: the noise in their latents, with averaged weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.mar.causal import CausalMAR
from adapters.mar.config import MASKED, MARConfig
from adapters.mar.head import GuidedHead
from adapters.mar.mar import MAR
from adapters.tiny.averaging import RunningAverage
from image_ar.continuous.chain import Condition
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.training import diffusion_loss

from .store import LatentBatch, LatentData

# Noise draws for each token of a batch: conditions are dear, the head is cheap.
DRAWS = 4
# The share of unknown tokens is a normal of this mean and deviation, cut to [least, 1].
RATIO_MEAN, RATIO_STD, RATIO_LEAST = 1.0, 0.25, 0.7
TEACHER_WEIGHT, CLASS_WEIGHT = 1.0, 0.03
MOST_WEIGHT = 50.0
# Most tokens lie on flat background and are soon known; a token is taken to lie there where it is
# closer than this to what its picture mostly is.
FLAT_WEIGHT, FLAT_DISTANCE = 0.25, 2.5


def build_mar(config: MARConfig) -> MAR | CausalMAR:
    """A model of this shape that has learned nothing."""
    return MAR(config) if config.variant == MASKED else CausalMAR(config)


class Trainee(nn.Module):
    """A model, the running average of its weights, and a linear head that asks for the class.

    The class matters to few tokens only, those where a thing begins. Asking every condition vector
    for it makes the model hand it on early. The head is thrown away.

    Args:
        config: Shape of the model.
        decay: Of the average, per step.
    """

    def __init__(self, config: MARConfig, decay: float) -> None:
        super().__init__()
        self.model = build_mar(config)
        self.class_head = nn.Linear(config.decoder_width, config.classes)
        self.average = RunningAverage(self.model, decay)

    def update_average(self) -> None:
        """Let the average follow the weights; the first call copies them."""
        self.average.update_parameters(self.model)

    @property
    def averaged(self) -> MAR | CausalMAR:
        """The model with averaged weights."""
        module = self.average.module
        assert isinstance(module, (MAR, CausalMAR))
        return module


@dataclass(frozen=True, slots=True)
class Asked:
    """The tokens of a batch that the head is asked for.

    Attributes:
        tokens: ``(n, width)``.
        conditions: ``(n, W)``.
        unknown: ``(rows, cells)`` bool, which they are; None for all.
    """

    tokens: Tensor
    conditions: Tensor
    unknown: Tensor | None = None


def ask(model: MAR | CausalMAR, batch: LatentBatch, generator: torch.Generator) -> Asked:
    """Conditions of the tokens to learn: all of them, or for a masked model those hidden."""
    if isinstance(model, CausalMAR):
        conditions = model.training_conditions(batch.tokens, batch.labels, batch.drop)
        return Asked(batch.tokens.flatten(0, 1), conditions.flatten(0, 1))
    rows, cells, _ = batch.tokens.shape
    unknown = hidden_tokens(rows, cells, generator)
    conditions = model(batch.tokens, unknown, batch.labels, batch.drop)
    return Asked(batch.tokens[unknown], conditions[unknown], unknown)


def hidden_tokens(rows: int, cells: int, generator: torch.Generator) -> Tensor:
    """Which tokens a masked model must do without, ``(rows, cells)`` bool.

    The share is drawn once for the batch, from a normal cut to its upper tail; the tokens are drawn
    for every row. Source: Li et al. 2024 (arXiv 2406.11838), appendix B.
    """
    low = _normal_cdf((RATIO_LEAST - RATIO_MEAN) / RATIO_STD)
    high = _normal_cdf((1 - RATIO_MEAN) / RATIO_STD)
    level = low + (high - low) * float(torch.rand((), generator=generator))
    ratio = RATIO_MEAN + RATIO_STD * float(torch.special.ndtri(torch.tensor(level)))
    count = min(cells, max(1, math.ceil(cells * ratio)))
    ranks = torch.rand(rows, cells, generator=generator).argsort(1).argsort(1)
    return ranks < count


def mar_loss(
    model: MAR | CausalMAR,
    batch: LatentBatch,
    seed: int,
    teacher: MAR | CausalMAR | None = None,
    lesson: nn.Linear | None = None,
) -> Tensor:
    """Loss of a batch: MAR's, and with a teacher the distance from its predicted noise.

    Args:
        model: Is conditioned once; its head sees every token at several noise levels.
        batch: Latents and classes.
        seed: Of noise, noise levels and hidden tokens.
        teacher: A causal model that is told the same; gets no gradient.
        lesson: Asks every condition vector for the class; tokens of flat background then count
            less too. None for the plain loss.
    """
    generator = torch.Generator().manual_seed(seed)
    asked = ask(model, batch, generator)
    tokens = asked.tokens.repeat(DRAWS, 1)
    noise = torch.randn(tokens.shape, generator=generator)
    base = model.config.base_steps
    timesteps = torch.randint(0, base, (len(tokens),), generator=generator)
    head: Any = GuidedHead(model.head)
    if teacher is not None:
        with torch.no_grad():
            told = ask(teacher, batch, generator).conditions.repeat(DRAWS, 1)
        head = TaughtHead(head, GuidedHead(teacher.head), Condition(told), base)
    condition = Condition(asked.conditions.repeat(DRAWS, 1))
    each = diffusion_loss(head, tokens, condition, noise, timesteps, base)
    each = each * noise_weights(base)[timesteps]
    loss = each.mean()
    if lesson is not None:
        weights = torch.where(flat_tokens(batch.tokens), FLAT_WEIGHT, 1.0)
        weights = weights.flatten() if asked.unknown is None else weights[asked.unknown]
        loss = (each * weights.repeat(DRAWS)).sum() / (DRAWS * weights.sum())
        loss = loss + CLASS_WEIGHT * _class_loss(lesson, asked, batch)
    if isinstance(head, TaughtHead):
        loss = loss + TEACHER_WEIGHT * head.distance
    return loss


@lru_cache(maxsize=2)
def noise_weights(base_steps: int) -> Tensor:
    """How much the loss at each noise level counts, ``(base_steps,)``.

    One over the share of the signal, up to a limit: the squared error of the velocity instead of
    that of the noise. What a token shows by itself hides its condition; where it shows little, at
    high noise, errors of the noise are small numbers that would hardly count.
    """
    signal = DiffusionProcess(base_steps, base_steps).alphas_cumprod
    return (1 / signal).clamp(max=MOST_WEIGHT).float()


def _class_loss(lesson: nn.Linear, asked: Asked, batch: LatentBatch) -> Tensor:
    """Cross-entropy of the class at every condition vector of the rows that were told it."""
    unknown = asked.unknown
    if unknown is None:
        unknown = torch.ones(batch.tokens.shape[:2], dtype=torch.bool)
    told = (~batch.drop).unsqueeze(1).expand_as(unknown)[unknown]
    labels = batch.labels.unsqueeze(1).expand_as(unknown)[unknown]
    return F.cross_entropy(lesson(asked.conditions[told]).float(), labels[told])


def flat_tokens(tokens: Tensor) -> Tensor:
    """Which tokens ``(rows, cells, width)`` lie on flat background, ``(rows, cells)`` bool."""
    usual = tokens.median(dim=1, keepdim=True).values
    return (tokens - usual).norm(dim=-1) < FLAT_DISTANCE


@torch.inference_mode()
def held_out_loss(model: MAR | CausalMAR, data: LatentData, rows: int) -> float:
    """MAR's loss with the class, over all whole batches of the data; the same noise every time."""
    losses = [
        mar_loss(model, data.batch(step, rows, dropped=0.0), step)
        for step in range(max(1, len(data.moments) // rows))
    ]
    return round(float(torch.stack(losses).mean()), 4)


class TaughtHead:
    """A head that notes how far its predicted noise is from a teacher's at the same states.

    Attributes:
        width: Numbers of a vector.
        distance: Mean squared distance at the last call, weighted as the loss is.
    """

    def __init__(
        self, head: GuidedHead, teacher: GuidedHead, told: Condition, base_steps: int
    ) -> None:
        self.head, self.teacher, self.told = head, teacher, told
        self.base_steps = base_steps
        self.width = head.width
        self.distance = torch.zeros(())

    def __call__(
        self, state: Tensor, timestep: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """The head's own answer."""
        noise, logits = self.head(state, timestep, condition)
        with torch.no_grad():
            wanted, _ = self.teacher(state, timestep, self.told)
        weights = noise_weights(self.base_steps)[timestep]
        self.distance = ((noise - wanted).square().mean(-1) * weights).mean()
        return noise, logits


def _normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
