"""The shipped weights: small, readable by the public classes, and right about unseen scenes."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)

from adapters.tiny.data import encode
from adapters.tiny.evaluate import WEIGHTS, evaluate_clips, evaluate_pictures
from adapters.tiny.train_blind import blind_row, build_blind

BUDGET = {"captioner": 10_500_000, "draft-text": 600_000}

pytestmark = pytest.mark.skipif(
    not all((WEIGHTS / name / "model.safetensors").exists() for name in BUDGET),
    reason="the weights have not been trained here",
)


@pytest.mark.parametrize("name", BUDGET)
def test_weights_keep_to_their_budget(name: str) -> None:
    assert (WEIGHTS / name / "model.safetensors").stat().st_size <= BUDGET[name]
    assert (WEIGHTS / name / "README.md").exists()


def test_captioner_is_right_about_unseen_pictures_and_clips() -> None:
    processor = AutoProcessor.from_pretrained(WEIGHTS / "captioner")
    model = LlavaForConditionalGeneration.from_pretrained(
        WEIGHTS / "captioner", dtype=torch.float32
    )
    assert evaluate_pictures(model, processor, 21, batch=21)["all"] >= 0.95
    assert evaluate_clips(model, processor, 7, batch=7)["all"] >= 0.9


def test_draft_model_shares_the_vocabulary_and_knows_the_grammar() -> None:
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "draft-text")
    words = "user : describe the picture . assistant :"
    assert tokenizer(words)["input_ids"] == encode(words)
    model = LlamaForCausalLM.from_pretrained(WEIGHTS / "draft-text", dtype=torch.float32)
    trained, untrained = [], []
    for seed in range(8):
        ids, start = blind_row(seed)
        row = torch.tensor([ids])
        labels = torch.where(torch.arange(len(ids)) < start, -100, row)
        with torch.inference_mode():
            trained.append(model(input_ids=row, labels=labels).loss.item())
            untrained.append(build_blind()(input_ids=row, labels=labels).loss.item())
    # Words that only the picture determines keep it well above zero, grammar well below chance.
    assert 0.4 < sum(trained) / 8 < 0.5 * sum(untrained) / 8
