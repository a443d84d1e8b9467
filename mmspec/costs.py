"""What a verification pass costs on this machine, by the number of tokens it checks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from mmspec.messages import Draft
from mmspec.sampling import Sampling
from mmspec.token_target import Request, TokenTarget
from mmspec.trace import synchronize

SIZES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Cost:
    """Seconds of one target pass.

    Attributes:
        tokens: Tokens scored a row, the root included.
        seconds: Median over repeats.
        relative: Seconds over those of one token; close to 1 where verification is almost free.
    """

    tokens: int
    seconds: float
    relative: float


@torch.inference_mode()
def verify_costs(
    target: TokenTarget,
    inputs: dict[str, Any],
    seconds: float = 2.0,
    sizes: tuple[int, ...] = SIZES,
) -> list[Cost]:
    """Time passes of several sizes after a prefill; sizes take turns so that drift hits all alike.

    Args:
        target: The model.
        inputs: A prepared batch; its rows are scored together.
        seconds: How long to measure.
        sizes: Tokens a row, ascending, the first being 1.
    """
    request = Request(inputs, Sampling(max_new_tokens=1), lookahead=max(sizes))
    state, _ = target.prefill(request)
    # One committed token stands for the first output; its value does not matter for time.
    target.rewind(state, state.lengths, state.host_lengths, pending=1)
    device = state.tokens.device
    drafts = [
        Draft.chain(torch.ones(state.batch, n - 1, dtype=torch.long, device=device)) for n in sizes
    ]
    samples: list[list[float]] = [[] for _ in sizes]
    for draft in drafts:
        target.score(state, draft)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(samples[0]) < 3:
        for draft, times in zip(drafts, samples, strict=True):
            synchronize(device)
            start = time.perf_counter()
            target.score(state, draft)
            synchronize(device)
            times.append(time.perf_counter() - start)
    medians = [median(times) for times in samples]
    return [Cost(n, spent, spent / medians[0]) for n, spent in zip(sizes, medians, strict=True)]
