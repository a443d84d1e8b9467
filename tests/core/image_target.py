"""A toy image model: random attention over a small grid with line ends, no weights to load."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from image_ar.discrete.grid import Grid
from mmspec.catalog import Method
from mmspec.image_target import TokenImages
from mmspec.messages import Draft, Evidence, Features, Plan, Verdict
from mmspec.rules import Exact
from mmspec.rules.certificate import Certificate
from mmspec.token_target import Prefilled
from tests.core.toy import AttentionDecoder, Silent

CODES = 8
LINE = CODES  # token that ends a line
WORDS = {"a", "red", "blue", "circle", "star"}
CLASSES = ("circle", "square", "star")
LOSSY = "lossy: made for a test"
given: list[dict[str, Any]] = []  # options of every call of the loader


class CodesOnly(AttentionDecoder):
    """Line ends appear only where they are forced."""

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        filled = super().prefill(inputs, reserve, features)
        filled.logits[..., LINE] = float("-inf")
        return filled

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        logits, hidden = super().step(tokens, positions, mask, state)
        logits[..., LINE] = float("-inf")
        return logits, hidden


class ToyImages(TokenImages):
    """Every prompt or class is one token in front; pixels are grey squares."""

    name = "toy"
    device = torch.device("cpu")
    dtype = torch.float32
    classes: tuple[str, ...] | None = CLASSES

    def __init__(self) -> None:
        super().__init__(CodesOnly(vocab=CODES + 1, sharp=1.5))
        self.grid = Grid(4, 4, line_ids=(LINE,))
        self.defaults = SimpleNamespace(guidance_scale=2.0, temperature=1.0, top_k=0, top_p=1.0)
        self.prepared: list[dict[str, Any]] = []
        self.drawn = 0

    def prepare(
        self,
        prompts: Sequence[str] | None = None,
        class_ids: Sequence[int] | None = None,
        guidance_scale: float = 1.0,
        cfg_interval: int = -1,
    ) -> dict[str, Any]:
        for number in class_ids or ():
            if number >= len(CLASSES):
                raise ValueError(f"class {number} is out of range; there are {len(CLASSES)}")
        firsts = [len(text) % CODES for text in prompts or ()] + list(class_ids or ())
        ids = torch.tensor(firsts).unsqueeze(1)
        self.prepared.append({"rows": len(firsts), "guidance_scale": guidance_scale})
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def to_pixels(self, tokens: list[list[int]]) -> Tensor:
        self.drawn += len(tokens)
        codes = torch.tensor(tokens).view(-1, 1, self.grid.rows, self.grid.columns)
        grey = codes.float() / (CODES - 1)
        return grey.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)


class Relaxed(Exact):
    """Claims to be lossy and reports a bias of a quarter for every judged unit."""

    certificate = Certificate("lossy", LOSSY.removeprefix("lossy: "))

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        verdict = super().judge(draft, evidence, noise)
        bias = torch.full((draft.batch, draft.nodes + 1), 0.25) if draft.nodes else None
        return Verdict(verdict.path, verdict.accepted, verdict.own, verdict.corrected, bias=bias)


class Regular(Silent):
    """Guesses the same pattern whatever the batch."""

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        steps = torch.arange(plan.length)
        units = (state.lengths.unsqueeze(1) * 3 + steps) % CODES
        return Draft.chain(units, source="regular")


def build(context: Any) -> Any:
    return Regular()


def read_words(text: str) -> None:
    """Stands in for the parser of the small world's prompts."""
    for word in text.split():
        if word not in WORDS:
            raise ValueError(f"unknown word '{word}'; nearest words: red")


def load(name: str, **options: Any) -> ToyImages:
    """Stands in for the loader of image models."""
    given.append(options)
    if "missing" in name:
        raise ValueError(f"cannot load '{name}': there is no such folder")
    return ToyImages()


def judge(
    prompts: list[str] | None, class_ids: list[int] | None, images: list[Image.Image]
) -> dict[str, float]:
    """Stands in for the judge."""
    assert len(prompts or class_ids or ()) == len(images)
    return {"attribute_accuracy": 0.5, "shape": 0.25}


HERE = "tests.core.image_target"
NONE = Method("none", "image", "plain decoding")
ROWS = (
    NONE,
    Method("scd", "image", "guesses", build=f"{HERE}:build", length=4),
    Method(
        "loose",
        "image",
        "guesses, loosely",
        build=f"{HERE}:build",
        length=4,
        rule=f"{HERE}:Relaxed",
        certificate=LOSSY,
        options=("tolerance",),
    ),
    Method("learned", "image", "trained", build=f"{HERE}:build", length=4, trained=True),
)
