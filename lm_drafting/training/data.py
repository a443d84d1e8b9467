"""Training data: the target's own answers, kept as token ids, and its features, made on the fly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from lm_drafting.features.layout import visual_runs
from lm_drafting.targets import CaptioningTarget, placeholder_ids, visual_grids
from lm_drafting.training.batch import Batch
from lm_drafting.vision.runs import Run
from mmspec.engine import Engine
from mmspec.files import replace_file
from mmspec.messages import Features
from mmspec.sampling import Sampling
from mmspec.state import State
from mmspec.token_target import Request


@dataclass(frozen=True)
class Sample:
    """One thing to answer.

    Attributes:
        images: Pictures shown before the prompt, in whatever form ``target.prepare`` takes.
        prompt: What is asked.
    """

    images: Sequence[Any]
    prompt: str


def own_answers(
    target: CaptioningTarget,
    samples: Sequence[Sample],
    store: Path,
    sampling: Sampling,
    *,
    batch: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> list[list[int]]:
    """What the target says to every sample, as token ids with the stop token.

    A drafter must predict its target, so it learns from the target's words, not from captions
    people wrote. Answers are appended to ``store`` as they come; a call after an interruption goes
    on where it stopped, and a line cut short by a full disk is made again.

    Args:
        target: Answers.
        samples: What is asked; their order must not change between calls.
        store: JSON lines, one an answer.
        sampling: How answers are drawn; its stop ids end them.
        batch: Samples answered together.
        seed: Seed of the first sample; every other has its own.
        progress: Show a bar.
    """
    known = _read(store, len(samples))
    missing = [index for index in range(len(samples)) if index not in known]
    engine = Engine(target)  # type: ignore[arg-type]
    store.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(samples), initial=len(known), desc="answers", disable=not progress) as bar:
        for begin in range(0, len(missing), batch):
            group = missing[begin : begin + batch]
            inputs = _prepare(target, [samples[index] for index in group])
            seeds = [seed + index for index in group]
            rows, _ = engine.generate(Request(inputs, sampling), seeds=seeds)
            with store.open("a", encoding="utf-8") as file:
                for index, ids in zip(group, rows, strict=True):
                    file.write(json.dumps({"index": index, "ids": ids}) + "\n")
            known.update(zip(group, rows, strict=True))
            bar.update(len(group))
    never = set(placeholder_ids(target))
    return [_until(known[index], never) for index in range(len(samples))]


@dataclass(frozen=True)
class _Row:
    """One text of the target.

    Attributes:
        ids: ``(length,)`` prompt and answer.
        hidden: ``(length, hidden)``.
        features: ``(length, features)``; ``hidden`` itself where that is what the drafter reads.
        embeds: ``(length, hidden)``.
        start: Where the answer starts.
        runs: Visual runs of the prompt.
    """

    ids: Tensor
    hidden: Tensor
    features: Tensor
    embeds: Tensor
    start: int
    runs: list[Run]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        apart = 0 if self.features is self.hidden else self.features.nbytes
        return self.ids.nbytes + self.hidden.nbytes + apart + self.embeds.nbytes


class Teacher:
    """The frozen target reading samples and answers; remembers what fits a budget.

    Args:
        target: The teacher; never changed.
        samples: Samples.
        answers: The target's answer to each.
        cache_mb: Memory for features that are kept; 0 makes them anew every time.
        layers: Layers of the target that the drafter reads; None for the last hidden state.
    """

    def __init__(
        self,
        target: CaptioningTarget,
        samples: Sequence[Sample],
        answers: Sequence[Sequence[int]],
        cache_mb: float,
        layers: tuple[int, ...] | None = None,
    ) -> None:
        self._target, self._samples, self._answers = target, samples, answers
        self._layers = layers
        self._free = int(cache_mb * 2**20)
        # Half the memory, and an error far below the drafter's. Samples that do not fit are rounded
        # too, so that a restart, which fills the memory in another order, changes nothing.
        self._dtype = torch.bfloat16 if cache_mb else made_dtype(target)
        self._kept: dict[int, _Row] = {}

    def size(self, index: int) -> tuple[int, int]:
        """What orders samples by length before they are encoded: pictures, then answer tokens."""
        return len(self._samples[index].images), len(self._answers[index])

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at ``indices``, right-padded, in float32 whatever the target computes in."""
        missing = [index for index in dict.fromkeys(indices) if index not in self._kept]
        made = self._make(missing) if missing else {}
        rows = [self._kept[index] if index in self._kept else made[index] for index in indices]
        ids, hidden, features, embeds = (
            pad_sequence([getattr(row, name) for row in rows], batch_first=True)
            for name in ("ids", "hidden", "features", "embeds")
        )
        return Batch(
            ids=ids,
            hidden=hidden.float(),
            features=features.float(),
            embeds=embeds.float(),
            starts=[row.start for row in rows],
            lengths=[len(row.ids) for row in rows],
            runs=[row.runs for row in rows],
        )

    def _make(self, indices: Sequence[int]) -> dict[int, _Row]:
        """One pass of the target over prompts and answers; keeps what the budget allows."""
        inputs = _prepare(self._target, [self._samples[index] for index in indices])
        grids = visual_grids(self._target, inputs)
        inputs, starts = with_answers(inputs, [self._answers[index] for index in indices])
        state, hidden, embeds = self._read(inputs, Features())
        features = hidden
        if self._layers is not None:
            # What it learns from and what it reads are different states: the target runs twice.
            _, features, _ = self._read(inputs, Features(self._layers))
        prompt = state.prompt
        runs = visual_runs(state.tokens, starts, placeholder_ids(self._target), grids)
        made = {}
        for row, index in enumerate(indices):
            length = prompt.lengths[row]
            last = hidden[row, :length].to(self._dtype, copy=True)
            own = features[row, :length].to(self._dtype, copy=True) if self._layers else last
            made[index] = _Row(
                ids=state.tokens[row, :length].clone(),
                hidden=last,
                features=own,
                embeds=embeds[row, :length].to(self._dtype, copy=True),
                start=starts[row],
                runs=runs[row],
            )
            if made[index].nbytes <= self._free:
                self._free -= made[index].nbytes
                self._kept[index] = made[index]
        return made

    def _read(self, inputs: dict[str, Any], wanted: Features) -> tuple[State, Tensor, Tensor]:
        """One pass of the target: its state, hidden states and input embeddings."""
        with torch.no_grad():
            request = Request(inputs, Sampling(max_new_tokens=1), features=wanted)
            state, _ = self._target.prefill(request)
        prompt = state.prompt
        if prompt.hidden is None or prompt.embeds is None:
            raise ValueError("the target returned no hidden states; training needs them")
        return state, prompt.hidden, prompt.embeds


def with_answers(
    inputs: dict[str, Any], answers: Sequence[Sequence[int]]
) -> tuple[dict[str, Any], list[int]]:
    """Prompts with their answers behind them, right-padded.

    Every input with one entry a token (ids, token types) grows by zeros; pixels stay as they are.

    Returns:
        The inputs, and where each answer starts.
    """
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    real = torch.ones_like(ids).bool() if mask is None else mask.bool()
    tails = [torch.tensor(list(answer), device=ids.device) for answer in answers]
    longer = dict(inputs)
    for key, value in inputs.items():
        if not isinstance(value, Tensor) or value.shape != ids.shape:
            continue
        ends = tails if key == "input_ids" else [torch.zeros_like(tail) for tail in tails]
        rows = [
            torch.cat([row[kept], end.to(row.dtype)])
            for row, kept, end in zip(value, real, ends, strict=True)
        ]
        longer[key] = pad_sequence(rows, batch_first=True)
    starts = real.sum(1).tolist()
    totals = [start + len(tail) for start, tail in zip(starts, tails, strict=True)]
    ones = [torch.ones(total, dtype=torch.long, device=ids.device) for total in totals]
    longer["attention_mask"] = pad_sequence(ones, batch_first=True)
    return longer, starts


def made_dtype(target: CaptioningTarget) -> torch.dtype:
    """The dtype of the target's features."""
    return target.embed(torch.zeros(1, dtype=torch.long, device=target.device)).dtype


def _prepare(target: CaptioningTarget, samples: Sequence[Sample]) -> dict[str, Any]:
    return target.prepare(
        [sample.images for sample in samples], [sample.prompt for sample in samples]
    )


def _until(ids: list[int], never: set[int]) -> list[int]:
    """An answer up to the first placeholder, which a target may say but cannot read back."""
    return list(takewhile(lambda token: token not in never, ids))


def _read(store: Path, count: int) -> dict[int, list[int]]:
    """Answers of an earlier call; whatever is not a whole line is dropped from the file."""
    if not store.exists():
        return {}
    known: dict[int, list[int]] = {}
    whole = []
    for line in store.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            index, ids = int(entry["index"]), [int(token) for token in entry["ids"]]
        except (ValueError, KeyError, TypeError):
            continue
        whole.append(line)
        if index < count:
            known[index] = ids
    text = "".join(line + "\n" for line in whole)
    replace_file(store, lambda path: path.write_text(text, encoding="utf-8"))
    return known
