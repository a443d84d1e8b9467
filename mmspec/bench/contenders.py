"""Who takes part: our engine with some drafter, or transformers' own ``generate``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace, synchronize


@dataclass(frozen=True)
class Outcome:
    """One batch run once: wall-clock seconds with vision and prefill, and the new units."""

    seconds: float
    rows: list[list[Any]]

    @property
    def tokens(self) -> int:
        """Tokens written over all rows."""
        return sum(len(row) for row in self.rows)


class Contender(Protocol):
    """Runs one prepared request at a time."""

    name: str

    def run(self, request: Any, seed: int) -> Outcome:
        """Generate from tensors that are already on the device."""
        ...

    def forget(self) -> None:
        """Drop what the warm-up recorded."""
        ...


@dataclass
class EngineContender:
    """The one loop with some drafter; an engine without one is the plain baseline.

    Attributes:
        method: Its row in the catalog, ``none`` for the baseline.
        knob: What distinguishes it from others of its method.
        trace: Of all runs so far.
    """

    name: str
    engine: Engine
    method: str = ""
    knob: str = ""
    trace: Trace = field(default_factory=Trace)

    def run(self, request: Any, seed: int) -> Outcome:
        synchronize(request.device)
        start = time.perf_counter()
        seeds = range(seed, seed + request.rows)
        rows, _ = self.engine.generate(request, self.trace, seeds=seeds)
        synchronize(request.device)
        return Outcome(time.perf_counter() - start, rows)

    def forget(self) -> None:
        self.trace = Trace()


@dataclass
class GenerateContender:
    """``model.generate`` with the same inputs, stop ids and warpers.

    Attributes:
        options: Extra arguments, for example ``prompt_lookup_num_tokens`` or ``assistant_model``.
    """

    name: str
    model: Any
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, request: Request, seed: int) -> Outcome:
        inputs, sampling = request.inputs, request.sampling
        synchronize(request.device)
        start = time.perf_counter()
        torch.manual_seed(seed)
        out = self.model.generate(**inputs, **generate_options(sampling), **self.options)
        rows = new_rows(out, inputs["input_ids"], sampling.stop_ids)
        synchronize(request.device)
        return Outcome(time.perf_counter() - start, rows)

    def forget(self) -> None:
        """Nothing is recorded."""


def generate_options(sampling: Sampling) -> dict[str, Any]:
    """The same options in the words of transformers' ``generate``."""
    options: dict[str, Any] = {
        "max_new_tokens": sampling.max_new_tokens,
        "do_sample": not sampling.greedy,
        "eos_token_id": list(sampling.stop_ids) or None,
        "pad_token_id": sampling.stop_ids[0] if sampling.stop_ids else 0,
    }
    if not sampling.greedy:
        options |= {
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        }
    return options


def new_rows(generated: Tensor, prompt: Tensor, stop_ids: tuple[int, ...]) -> list[list[int]]:
    """Ids after the prompt, every row up to its first stop id; padding behind it is not counted."""
    rows = generated[:, prompt.shape[1] :].tolist()
    ends = [next((i for i, token in enumerate(row, 1) if token in stop_ids), None) for row in rows]
    return [row[:end] for row, end in zip(rows, ends, strict=True)]
