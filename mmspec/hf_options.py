"""What transformers' ``generate`` settled, in our words; what we cannot honour is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmspec.sampling import Processor, Sampling, warpers_of

# They look at more than the tokens of one row, keep state between calls, or run the model.
REFUSED_PROCESSORS = (
    "ClassifierFreeGuidanceLogitsProcessor",
    "EncoderNoRepeatNGramLogitsProcessor",
    "EncoderRepetitionPenaltyLogitsProcessor",
    "PrefixConstrainedLogitsProcessor",
    "SynthIDTextWatermarkLogitsProcessor",
    "UnbatchedClassifierFreeGuidanceLogitsProcessor",
    "WhisperTimeStampLogitsProcessor",
)
_NEUTRAL: dict[str, tuple[Any, str]] = {
    "num_beams": (1, "beam search is not speculative; drop num_beams"),
    "num_beam_groups": (1, "beam search is not speculative; drop num_beam_groups"),
    "constraints": (None, "constrained beam search is not supported"),
    "force_words_ids": (None, "constrained beam search is not supported"),
    "penalty_alpha": (None, "contrastive search is not supported"),
    "dola_layers": (None, "DoLa decoding is not supported"),
    "assistant_early_exit": (None, "drafting by early exit is not supported"),
    "prompt_lookup_num_tokens": (
        None,
        "choose it here: speculative(method='prompt-lookup', draft_length=...)",
    ),
}


@dataclass(frozen=True)
class Limits:
    """When rows end.

    Attributes:
        max_new_tokens: Most tokens a row may add.
        stop_ids: Tokens that end a row.
        deadline: Seconds since the epoch after which no further round is begun.
    """

    max_new_tokens: int
    stop_ids: tuple[int, ...] = ()
    deadline: float | None = None


def check_config(config: Any) -> None:
    """Refuse decoding strategies and outputs this loop does not have.

    Raises:
        ValueError: Which option, and what to do.
    """
    for name, (neutral, advice) in _NEUTRAL.items():
        if getattr(config, name, neutral) not in (neutral, None):
            raise ValueError(f"{name}={getattr(config, name)}: {advice}")
    if config.return_dict_in_generate:
        for name in ("output_scores", "output_logits", "output_attentions", "output_hidden_states"):
            if getattr(config, name, False):
                raise ValueError(
                    f"{name}=True is not supported by speculative decoding; "
                    "probabilities of the emitted tokens are in the trace"
                )
    if str(config.cache_implementation or "").startswith(("offloaded", "quantized")):
        raise ValueError(
            f"cache_implementation={config.cache_implementation!r} is not supported: this loop "
            "brings a static cache of its own; leave the option out"
        )


def check_inputs(input_ids: Tensor, model_kwargs: dict[str, Any]) -> None:
    """Refuse prompts that are not token ids padded on the left.

    Raises:
        ValueError: What was found, and the fix.
    """
    if model_kwargs.get("inputs_embeds") is not None or input_ids.shape[1] == 0:
        raise ValueError("prompts must be given as input_ids; inputs_embeds cannot be drafted from")
    mask = model_kwargs.get("attention_mask")
    if mask is not None and bool((mask[:, 1:] < mask[:, :-1]).any()):
        raise ValueError(
            "prompts must be padded on the left: processor.tokenizer.padding_side='left'"
        )


def limits_of(criteria: Any, config: Any, prompt_length: int) -> Limits:
    """Lengths, stop ids and time from stopping criteria.

    Raises:
        ValueError: A criterion of another kind.
    """
    from transformers.generation.stopping_criteria import (
        EosTokenCriteria,
        MaxLengthCriteria,
        MaxTimeCriteria,
    )

    longest, stops, deadline = config.max_length, list[int](), None
    for criterion in criteria or ():
        if isinstance(criterion, MaxLengthCriteria):
            longest = min(longest, criterion.max_length)
        elif isinstance(criterion, EosTokenCriteria):
            stops += [int(token) for token in torch.as_tensor(criterion.eos_token_id).reshape(-1)]
        elif isinstance(criterion, MaxTimeCriteria):
            deadline = criterion.initial_timestamp + criterion.max_time
        else:
            raise ValueError(
                f"stopping criterion {type(criterion).__name__} is not supported by speculative "
                "decoding; supported: maximal length, end-of-text tokens, maximal time"
            )
    return Limits(longest - prompt_length, tuple(dict.fromkeys(stops)), deadline)


def sampling_of(
    processors: Any, config: Any, limits: Limits, input_ids: Tensor, mask: Tensor | None
) -> Sampling:
    """The law of a token as ``generate`` would shape it.

    Raises:
        ValueError: A processor that cannot see one branch of a draft at a time, or a place in the
            order that we cannot keep.
    """
    given = list(processors or ())
    _check_processors(given)
    warpers, rest = warpers_of(given)
    options: dict[str, Any] = {"temperature": 1.0, **warpers}
    if not config.do_sample:
        options = {"temperature": 0.0}  # warpers never change which token is the most likely
    if rest and mask is not None and not bool(mask.all()):
        repad = LeftPadding(input_ids, mask)
        rest = tuple(repad.wrap(processor) for processor in rest)
    return Sampling(
        max_new_tokens=limits.max_new_tokens,
        stop_ids=limits.stop_ids,
        processors=rest,
        **options,
    )


def _check_processors(given: Sequence[Any]) -> None:
    for processor in given:
        name = type(processor).__name__
        if name in REFUSED_PROCESSORS:
            raise ValueError(
                f"logits processor {name} is not supported: while a draft is checked, a processor "
                "sees the prefix of one drafted token at a time"
            )
    # We run prefix processors first and then temperature, top-k, top-p, min-p, as generate does.
    order = [warpers_of([processor])[0] for processor in given]
    places = [index for index, options in enumerate(order) if options]
    kinds = [next(iter(order[index])) for index in places]
    wanted = [name for name in ("temperature", "top_k", "top_p", "min_p") if name in kinds]
    late = [
        type(processor).__name__
        for processor, options in list(zip(given, order, strict=True))[(places or [0])[0] :]
        if places and not options and type(processor).__name__ != "LogitNormalization"
    ]
    if kinds != wanted or late:
        raise ValueError(
            f"logits processors in the order {[type(item).__name__ for item in given]} are not "
            "supported: processors come first, then temperature, top-k, top-p and min-p, once each"
        )


class LeftPadding:
    """Gives processors the padded prefixes that ``generate`` would give them.

    Our loop works without padding; processors that count tokens or penalise repeated ones see the
    padding in ``generate``, and the same output needs the same view. A prefix's row is recognised
    by its prompt.

    Args:
        input_ids: Prompts padded on the left.
        mask: Their attention mask.

    Raises:
        ValueError: One prompt begins with another, so that rows cannot be told apart.
    """

    def __init__(self, input_ids: Tensor, mask: Tensor) -> None:
        self._counts = (mask == 0).sum(1).tolist()
        self._rows = [
            (row[count:], row[:count]) for row, count in zip(input_ids, self._counts, strict=True)
        ]
        for prompt, _ in self._rows:
            longer = [other for other, _ in self._rows if len(other) > len(prompt)]
            if any(torch.equal(other[: len(prompt)], prompt) for other in longer):
                raise ValueError(
                    "with logits processors and padding, no prompt may begin with another prompt "
                    "of the batch; generate them one by one"
                )

    def wrap(self, processor: Processor) -> Processor:
        """The processor, fed with padded prefixes."""
        from transformers import RepetitionPenaltyLogitsProcessor

        if isinstance(processor, RepetitionPenaltyLogitsProcessor):
            skipped = processor.prompt_ignore_length
            if isinstance(skipped, Tensor):
                # A length for every row: `generate` has it skip just the padding, which is not
                # there in our loop.
                if skipped.tolist() != self._counts:
                    raise ValueError("repetition penalty: prompt_ignore_length must be one number")
                return RepetitionPenaltyLogitsProcessor(processor.penalty)

        def padded(prefixes: Tensor, scores: Tensor) -> Tensor:
            lead = self._lead(prefixes[0])
            full = torch.cat([lead.expand(prefixes.shape[0], -1), prefixes], dim=1)
            return processor(full, scores)

        return padded

    def _lead(self, prefix: Tensor) -> Tensor:
        for prompt, lead in self._rows:
            if len(prefix) >= len(prompt) and torch.equal(prefix[: len(prompt)], prompt):
                return lead
        raise AssertionError("a prefix that starts with none of the prompts")
