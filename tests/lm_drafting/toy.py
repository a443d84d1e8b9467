"""A tiny random Llama as a target that lends embeddings and head; some ids are "pictures"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mmspec.cache import RaggedCache
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.sampling import Sampling
from mmspec.token_target import Prefilled, Request, TokenTarget
from mmspec.trace import Trace

VOCAB, HIDDEN = 50, 32
PICTURE = 49  # placeholder id; its embedding at inference is a made-up vision feature
STOP = 2


class LlamaDecoder:
    """The core's decoder role on an unmodified ``LlamaForCausalLM``."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.vocab_size = model.config.vocab_size
        self.hidden_size = model.config.hidden_size
        self.steps = 0

    def prefill(self, inputs: dict[str, Any], reserve: int, want_features: bool) -> Prefilled:
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        lengths = mask.sum(1).tolist()
        assert all(bool(row[:n].all()) for row, n in zip(mask, lengths, strict=True))
        cache = RaggedCache(self.model.config.num_hidden_layers, ids.shape[1] + reserve)
        cache.place(0, ids.shape[1], ids.shape[1])
        embeds = self.model.get_input_embeddings()(ids)
        pixels = inputs.get("pixel_values")
        if pixels is not None:
            embeds = embeds.masked_scatter((ids == PICTURE).unsqueeze(-1), pixels.to(embeds.dtype))
        hidden = self.model.model(inputs_embeds=embeds, past_key_values=cache).last_hidden_state
        last = hidden[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        logits = self.model.lm_head(last)
        if not want_features:
            return Prefilled(ids, lengths, cache, logits)
        return Prefilled(ids, lengths, cache, logits, hidden=hidden, embeds=embeds)

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        self.steps += 1
        if mask is not None:
            seen, dtype = mask, self.model.dtype
            mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
            mask = mask.expand(len(tokens), -1, -1, -1)
        hidden = self.model.model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=state.cache,
        ).last_hidden_state
        return self.model.lm_head(hidden), hidden


class ToyTarget(TokenTarget):
    """What `lm_drafting.targets` asks for; a prompt is a string of letters, a picture 3 vectors."""

    model_type = "toy"
    device = torch.device("cpu")
    image_token_ids = (PICTURE,)

    def __init__(
        self, seed: int = 0, layers: int = 3, sharp: float = 20.0, vocab: int = VOCAB
    ) -> None:
        state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=vocab,
            hidden_size=HIDDEN,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            eos_token_id=STOP,
        )
        self.model = LlamaForCausalLM(config).eval().requires_grad_(False)
        self.model.lm_head.weight.mul_(sharp)
        torch.random.set_rng_state(state)
        super().__init__(LlamaDecoder(self.model))
        self.stop_ids: tuple[int, ...] = (STOP,)

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)

    def head(self, hidden: Tensor) -> Tensor:
        return self.model.lm_head(hidden)

    def prepare(self, images: Sequence[Sequence[Any]], prompts: Sequence[str]) -> dict[str, Any]:
        rows = [
            [1] + [PICTURE] * (3 * len(shown)) + [3 + ord(letter) % 40 for letter in prompt]
            for shown, prompt in zip(images, prompts, strict=True)
        ]
        inputs = padded(rows)
        pixels = [picture for shown in images for picture in shown]
        if pixels:
            inputs["pixel_values"] = torch.stack(pixels)
        return inputs


def padded(rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Right-padded ids with their mask."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(list(row))
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def request(rows: Sequence[Sequence[int]], **options: Any) -> Request:
    return Request(padded(rows), Sampling(**options))


def prompts(lengths: Sequence[int], seed: int = 0, vocab: int = VOCAB - 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocab, (n,), generator=generator).tolist() for n in lengths]


def plain(
    target: TokenTarget, asked: Request, seeds: Sequence[int] | None = None
) -> list[list[int]]:
    return Engine(target).generate(asked, seeds=seeds)[0]


class Wobble:
    """A pacer that walks through plans, pauses included, so that drafters meet every history."""

    def __init__(self, *plans: Plan) -> None:
        self.plans, self.turn = plans, 0

    def plan(self, state: Any) -> Plan:
        self.turn += 1
        return self.plans[self.turn % len(self.plans)]

    def observe(self, commit: Any, seconds: Any) -> None: ...


class Spy:
    """Passes everything on and calls ``look(state, draft)`` after every draft."""

    needs_features = True

    def __init__(self, drafter: Any, look: Callable[[Any, Draft], None]) -> None:
        self.drafter, self.look, self.name = drafter, look, drafter.name

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        draft: Draft = self.drafter.draft(state, plan, noise)
        self.look(state, draft)
        return draft

    def observe(self, *args: Any) -> None:
        self.drafter.observe(*args)

    def reset(self) -> None:
        self.drafter.reset()


def run(
    target: TokenTarget,
    drafter: Any,
    asked: Request,
    *plans: Plan,
    seeds: Sequence[int] | None = None,
) -> tuple[list[list[int]], Trace]:
    """Generate with a drafter; any failure of it fails the test."""
    room = max(plan.nodes for plan in plans)
    engine = Engine(target, drafter, pacer=Wobble(*plans), lookahead=room, strict=True)
    return engine.generate(asked, seeds=seeds)
