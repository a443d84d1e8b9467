"""Measuring a drafter as served and with every alternative, from a few teacher-forced passes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm.auto import tqdm

from lm_drafting.diagnosis.ablations import ABLATIONS, Ablation
from lm_drafting.diagnosis.case import Case, twin
from lm_drafting.diagnosis.changes import layers_to_read
from lm_drafting.diagnosis.report import Diagnosis, Row, clearly_better
from lm_drafting.features.drafter import check_fit
from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.targets import CaptioningTarget
from lm_drafting.training.data import Sample, Teacher, own_answers
from lm_drafting.training.losses import Objective, rounds, score
from mmspec.messages import Features
from mmspec.sampling import Sampling

_NO_LOSS = Objective(feature=0.0, entropy=0.0)


@torch.no_grad()
def examine(
    target: CaptioningTarget,
    network: DraftNetwork,
    samples: Sequence[Sample],
    *,
    depth: int = 6,
    max_new_tokens: int = 64,
    batch: int = 4,
    progress: bool = False,
) -> Diagnosis:
    """Find the ingredient that a drafter expects otherwise than it is served.

    The target answers every sample greedily and reads its answers again, twice whatever is tried:
    for its last hidden states, and for those of all layers. On these texts greedy chains are
    scored, which is what decoding would accept, as served and with each of
    :data:`~lm_drafting.diagnosis.ablations.ABLATIONS` that applies. Two ingredients that are both
    wrong may hide each other. Neither target nor network is changed.

    Args:
        target: The target.
        network: The drafter's network, as it would be served.
        samples: What to answer; pictures like those the drafter is meant for.
        depth: Drafted tokens a round; fewer where one pass of the network predicts fewer.
        max_new_tokens: Longest answer.
        batch: Samples read together.
        progress: Show bars.

    Raises:
        ValueError: The drafter does not fit the target, or the answers are too short to measure.
    """
    check_fit(network, target)
    Features(network.target_layers).check(target.decoder.num_layers)
    sampling = Sampling(max_new_tokens=max_new_tokens, stop_ids=tuple(target.stop_ids))
    with TemporaryDirectory() as folder:
        store = Path(folder) / "answers.jsonl"
        said = own_answers(target, samples, store, sampling, batch=batch, progress=progress)
    # The first token is the target's own; a round needs one more to draft.
    kept = [index for index, answer in enumerate(said) if len(answer) > 1]
    if not kept:
        raise ValueError(
            f"the target answers all {len(samples)} samples with less than two tokens, too few to "
            "measure acceptance; show it other pictures or ask something else"
        )
    shown, answers = [samples[index] for index in kept], [said[index] for index in kept]
    served: list[int] = []
    changed: defaultdict[Ablation, list[int]] = defaultdict(list)
    applied = set()
    cases = _cases(target, _ready(network), shown, answers, batch)
    total = -(-len(kept) // batch)
    for case in tqdm(cases, total=total, desc="ablations", leave=False, disable=not progress):
        as_served = _accepted(case, depth)
        served += as_served
        for ablation in ABLATIONS:
            applies = ablation.applies(case)
            changed[ablation] += _accepted(ablation.change(case), depth) if applies else as_served
            applied |= {ablation} if applies else set()
    length = _acceptance_length(served)
    return Diagnosis(
        kind=network.kind,
        acceptance_length=length,
        most=1 + (min(depth, network.steps) if network.steps > 1 else depth),
        answers=len(kept),
        rounds=len(served),
        rows=tuple(
            _row(ablation, _acceptance_length(changed[ablation]), length)
            for ablation in ABLATIONS
            if ablation in applied
        ),
    )


def _ready(network: DraftNetwork) -> DraftNetwork:
    """The network in evaluation mode and float32, as scores are made; the original stays as is."""
    if all(weight.dtype == torch.float32 for weight in network.parameters()):
        return twin(network).eval()
    return copy.deepcopy(network).float().eval()


def _cases(
    target: CaptioningTarget,
    network: DraftNetwork,
    samples: Sequence[Sample],
    answers: Sequence[Sequence[int]],
    size: int,
) -> Iterator[Case]:
    """The drafter as served, with a few samples at a time."""
    layers = layers_to_read(network.target_layers, target.decoder.num_layers)
    teacher = Teacher(target, samples, answers, cache_mb=0, layers=layers)
    rotary = Rotary(network.cache_shape[1], network.config.rope_theta)
    for begin in range(0, len(samples), size):
        batch = teacher.batch(range(begin, min(begin + size, len(samples))))
        parts = batch.features.chunk(len(layers), -1)
        known = dict(zip(layers, parts, strict=True))
        case = Case(target, network, rotary, replace(batch, features=batch.hidden), known)
        if network.target_layers is not None:
            case = case.reading([known[layer] for layer in network.target_layers])
        yield case


def _accepted(case: Case, depth: int) -> list[int]:
    """Drafted tokens accepted in every round of decoding a case's texts."""
    return rounds(score(case.network, case.rotary, case.target, case.batch, _NO_LOSS, depth))


def _acceptance_length(accepted: Sequence[int]) -> float:
    return 1.0 + sum(accepted) / len(accepted)


def _row(ablation: Ablation, length: float, served: float) -> Row:
    return Row(
        ingredient=ablation.ingredient,
        served=ablation.served,
        instead=ablation.instead,
        acceptance_length=length,
        change=length - served,
        better=clearly_better(length, served),
        advice=ablation.advice,
    )
