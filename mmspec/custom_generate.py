"""The second front door: ``model.generate(**inputs, custom_generate=speculative(...))``.

transformers prepares inputs, logits processors and stopping criteria as always and then calls our
object instead of its own loop. Whatever it asks for is honoured or refused, never ignored.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.engine import Engine
from mmspec.hf_options import Limits, check_config, check_inputs, limits_of, sampling_of
from mmspec.noise import seeds_from
from mmspec.token_target import Request
from mmspec.trace import Trace

_INPUTS = "adapters.hf_vlm:inputs_from_generate"


def speculative(
    drafter: Any = None,
    method: str = "auto",
    *,
    streamer: Any = None,
    strict: bool = False,
    **options: Any,
) -> Speculative:
    """A decoding loop for ``generate``'s ``custom_generate`` argument.

    Args:
        drafter: Folder, Hub id or ready model; None suits methods that need none.
        method: A name from the catalog; ``"auto"`` is ``eagle`` or ``draft-model``, whichever the
            drafter fits, else ``prompt-lookup``.
        streamer: A transformers streamer. Give it here: ``generate`` does not pass its own on.
        strict: Raise when the drafter fails, instead of decoding plainly with a warning.
        **options: ``pacer``, ``draft_length``, ``tree_width``, ``tree_budget``, and those of
            the method.

    Returns:
        A callable to reuse from call to call; ``.trace`` holds the records of the last one.
    """
    recipe = Recipe.choose(method, drafter, strict=strict, **options)
    return Speculative(recipe, streamer)


class Speculative:
    """A decoding loop that transformers calls; made by :func:`speculative`.

    Attributes:
        trace: Records of the last call; None before the first.
    """

    def __init__(self, recipe: Recipe, streamer: Any = None) -> None:
        self.trace: Trace | None = None
        self._recipe, self._streamer = recipe, streamer
        self._model: Any = None  # the model of the last call and its engine, for the next call
        self._engine: Engine | None = None

    @property
    def lossless(self) -> bool:
        """Whether the output law is the model's own."""
        return self._recipe.method.lossless

    @property
    def certificate(self) -> str:
        """What the method promises, in words."""
        return self._recipe.method.certificate

    # transformers forwards extra arguments of `generate` only if they are named here.
    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        **model_kwargs: Any,
    ) -> Any:
        """Generate; called by transformers.

        Args:
            model: The model ``generate`` was called on.
            input_ids: Prompts, padded on the left.
            logits_processor: What ``generate`` prepared.
            stopping_criteria: What ``generate`` prepared.
            generation_config: The settled options.
            generator: Source of random numbers, when sampling.
            seed: Row ``i`` draws from ``seed + i``; comes before ``generator``.
            **model_kwargs: Inputs of the model.

        Returns:
            Prompt and new tokens as ``generate`` returns them.

        Raises:
            ValueError: An option that this loop cannot honour.
        """
        check_config(generation_config)
        check_inputs(input_ids, model_kwargs)
        limits = limits_of(stopping_criteria, generation_config, input_ids.shape[1])
        mask = model_kwargs.get("attention_mask")
        sampling = sampling_of(logits_processor, generation_config, limits, input_ids, mask)
        inputs = catalog.resolve(_INPUTS)(model, input_ids, model_kwargs)
        rows = input_ids.shape[0]
        if seed is not None:
            seeds = [seed + row for row in range(rows)]
        else:
            seeds = seeds_from(generator, rows)
        texts = self._run(model, Request(inputs, sampling), seeds, limits, input_ids)
        sequences = _padded(input_ids, texts, _pad_id(generation_config, limits))
        if not generation_config.return_dict_in_generate:
            return sequences
        from transformers.generation import GenerateDecoderOnlyOutput

        return GenerateDecoderOnlyOutput(sequences=sequences)

    def _run(
        self, model: Any, request: Request, seeds: list[int], limits: Limits, prompts: Tensor
    ) -> list[list[int]]:
        """New tokens of every row, streamed as they come."""
        streamer, self.trace = self._streamer, Trace()
        if streamer is not None:
            if len(seeds) > 1:
                raise ValueError("a transformers streamer follows one row; the batch has several")
            streamer.put(prompts.cpu())  # it expects the prompt first, as from generate
        texts: list[list[int]] = [[] for _ in seeds]
        for commit in self._engine_for(model).stream(request, self.trace, seeds):
            for text, units in zip(texts, commit.units, strict=True):
                text.extend(units)
            if streamer is not None and commit.units[0]:
                streamer.put(torch.tensor(commit.units[0]))
            if limits.deadline is not None and time.time() > limits.deadline:
                break
        if streamer is not None:
            streamer.end()
        return texts

    def _engine_for(self, model: Any) -> Engine:
        """The engine of the last call if the model is the same; drafters are not loaded twice."""
        if self._engine is None or self._model is not model:
            load = partial(
                catalog.resolve(catalog.TARGET_LOADER), dtype=model.dtype, device=model.device
            )
            target = catalog.resolve("adapters.hf_vlm:HFTarget")(model)
            self._engine, self._model = self._recipe.engine(target, load), model
        return self._engine


def _padded(prompts: Tensor, texts: list[list[int]], pad: int) -> Tensor:
    """Prompts followed by the new tokens, filled up with ``pad`` after the end of a text."""
    longest = max(len(text) for text in texts)
    filled = [text + [pad] * (longest - len(text)) for text in texts]
    return torch.cat([prompts, torch.tensor(filled, dtype=prompts.dtype, device=prompts.device)], 1)


def _pad_id(config: Any, limits: Limits) -> int:
    """The padding token as ``generate`` chooses it: the named one, else the first stop id."""
    pad = getattr(config, "_pad_token_tensor", None)
    if pad is not None:
        return int(pad)
    return limits.stop_ids[0] if limits.stop_ids else 0
