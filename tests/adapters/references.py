"""Targets and reference outputs of the tiny families, made once a process."""

from __future__ import annotations

from functools import cache

from transformers import logging as hf_logging

from adapters.hf_vlm import HFTarget
from tests.adapters.families import BY_NAME, model_of
from tests.adapters.prompts import Row, batch_of, rows_of

NEW = 22  # tokens every reference has

hf_logging.set_verbosity_error()


@cache
def target_of(name: str) -> HFTarget:
    return HFTarget(model_of(name))


@cache
def reference(name: str, kind: str) -> tuple[list[Row], list[list[int]]]:
    """Three ragged prompts, and what ``generate`` adds to each when run alone."""
    rows = rows_of(BY_NAME[name], kind, 3)
    return rows, [alone(name, row) for row in rows]


def alone(name: str, row: Row) -> list[int]:
    """What transformers' own greedy ``generate`` adds to one prompt."""
    full = model_of(name).generate(
        **batch_of(BY_NAME[name], [row]),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return full[0, len(row.ids) :].tolist()
