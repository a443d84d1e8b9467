"""Toy targets (a Markov chain, a two-layer attention model) and drafters for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmspec.cache import RaggedCache
from mmspec.distributions import Categorical, invert_cdf, without
from mmspec.messages import Draft, Features, Plan
from mmspec.sampling import Sampling
from mmspec.token_target import Prefilled, Request
from mmspec.trees import Candidates, Tree, cut

# Fixture F3: target and draft laws with hand-computed oracles.
P3 = (0.6, 0.3, 0.1)
Q3 = (0.2, 0.5, 0.3)


def laws(*rows: Sequence[float]) -> Tensor:
    """Rows of probabilities as a float64 tensor."""
    return torch.tensor(rows, dtype=torch.float64)


def random_laws(rows: int, vocab: int, seed: int, sharp: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocab, generator=generator, dtype=torch.float64)
    return (sharp * logits).softmax(-1)


def request(prompts: Sequence[Sequence[int]], **options: Any) -> Request:
    """Right-padded prompts with their mask."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(list(prompt))
        mask[row, : len(prompt)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    lookahead = options.pop("lookahead", 0)
    return Request(inputs, Sampling(**options), lookahead=lookahead)


class NoCache:
    """Stands in for a cache where the model has no memory."""

    def place(self, start: int | Tensor, count: int, longest: int) -> None: ...

    def keep(self, start: int | Tensor, path: Tensor) -> None: ...


class MarkovDecoder:
    """The law of the next token is a row of a table, chosen by the last token."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.logits = table.log()
        self.vocab_size = self.hidden_size = table.shape[1]
        self.steps = 0

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        ids, lengths = inputs["input_ids"], inputs["attention_mask"].sum(1)
        last = ids.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
        return Prefilled(ids, lengths.tolist(), NoCache(), self.logits[last])  # type: ignore[arg-type]

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        self.steps += 1
        return self.logits[tokens], torch.zeros(*tokens.shape, 1)


class AttentionDecoder:
    """Two layers of attention in float64: every visible token and its position matter."""

    def __init__(self, vocab: int = 11, dim: int = 8, seed: int = 0, sharp: float = 4.0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def weight(*shape: int) -> Tensor:
            values = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return values / shape[0] ** 0.5

        self.vocab_size, self.hidden_size = vocab, dim
        self.embed = weight(vocab, dim) * vocab**0.5
        self.place_code = weight(512, dim) * 512**0.5
        self.layers = [tuple(weight(dim, dim) for _ in range(4)) for _ in range(2)]
        self.head = weight(dim, vocab) * sharp
        self.num_layers = len(self.layers)
        self.entered: list[Tensor] = []  # what each layer of the last pass read, and what left it
        self.steps = 0

    def run(self, tokens: Tensor, positions: Tensor, mask: Tensor, cache: RaggedCache) -> Tensor:
        x = self.embed[tokens] + self.place_code[positions]
        self.entered = [x]
        for index, (wq, wk, wv, wo) in enumerate(self.layers):
            keys, values = cache.store(index, (x @ wk).unsqueeze(1), (x @ wv).unsqueeze(1))
            score = (x @ wq).unsqueeze(1) @ keys.transpose(-1, -2)
            weights = score.masked_fill(~mask, float("-inf")).softmax(-1)
            x = x + torch.tanh((weights @ values).squeeze(1) @ wo)
            self.entered.append(x)
        return x

    def kept(self, last: Tensor, features: Features | None) -> Tensor:
        if features is None or features.layers is None:
            return last
        return torch.cat([self.entered[layer] for layer in features.layers], dim=-1)

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        ids = inputs["input_ids"]
        lengths = inputs["attention_mask"].sum(1)
        longest = ids.shape[1]
        cache = RaggedCache(len(self.layers), longest + reserve)
        cache.place(0, longest, longest)
        mask = torch.ones(1, 1, longest, longest, dtype=torch.bool).tril()
        x = self.run(ids, torch.arange(longest).expand_as(ids), mask, cache)
        logits = (x @ self.head)[torch.arange(ids.shape[0]), lengths - 1]
        hidden = None if features is None else self.kept(x, features)
        return Prefilled(ids, lengths.tolist(), cache, logits, hidden=hidden)

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        self.steps += 1
        if mask is None:
            mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        x = self.run(tokens, positions, mask, state.cache)
        return x @ self.head, self.kept(x, state.features)


class Silent:
    """The parts of a drafter that the toys do not need."""

    name = "toy"

    def observe(self, *args: Any) -> None: ...

    def reset(self) -> None: ...


def last_token(state: Any) -> Tensor:
    return state.tokens.gather(1, (state.lengths - 1).unsqueeze(1)).squeeze(1)


class SampledChain(Silent):
    """Draws a chain from a Markov table and records the laws; ``recorded`` may lie."""

    def __init__(self, table: Tensor, recorded: Tensor | None = None, greedy: bool = False) -> None:
        self.table = table
        self.recorded = table if recorded is None else recorded
        self.greedy = greedy

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        token, units, rows = last_token(state), [], []
        uniforms = noise.fresh("draft", plan.length)
        for step in range(plan.length):
            law = self.table[token]
            rows.append(self.recorded[token])
            token = law.argmax(-1) if self.greedy else invert_cdf(law, uniforms[:, step])
            units.append(token)
        probs = torch.stack(rows, dim=1).float()
        return Draft.chain(torch.stack(units, dim=1), Categorical(probs), source=self.name)


class SampledSiblings(Silent):
    """``plan.width`` children of every node of a full tree, without replacement or independent."""

    def __init__(self, tables: Sequence[Tensor], replace: bool = False) -> None:
        self.tables, self.replace = tables, replace

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        level, parents = [(-1, last_token(state))], []
        units: list[Tensor] = []
        rows: list[Tensor] = []
        for _ in range(plan.length):
            grown = []
            for parent, token in level:
                removed: list[Tensor] = []
                uniforms = noise.fresh("draft", plan.width)
                for rank in range(plan.width):
                    law = self.tables[rank % len(self.tables)][token]
                    for unit in removed if not self.replace else []:
                        law = without(law, unit)
                    drawn = invert_cdf(law, uniforms[:, rank])
                    removed.append(drawn)
                    grown.append((len(units), drawn))
                    units.append(drawn)
                    rows.append(law)
                    parents.append(parent)
            level = grown
        tree = Tree(torch.tensor([parents]).expand(state.batch, -1), plan.length)
        probs = torch.stack(rows, dim=1).float()
        return Draft(torch.stack(units, dim=1), tree, Categorical(probs), source=self.name)


class FixedTree(Silent):
    """Top-ranked tokens of a table on a static tree: deterministic given the prefix."""

    def __init__(self, table: Tensor, paths: Sequence[Sequence[int]]) -> None:
        self.order = table.argsort(-1, descending=True)
        self.paths = sorted((tuple(path) for path in paths), key=lambda p: (len(p), p))

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        known = {(): last_token(state)}
        for path in self.paths:
            known[path] = self.order[known[path[:-1]], path[-1]]
        units = torch.stack([known[path] for path in self.paths], dim=1)
        return Draft(units, Tree.static(self.paths, state.batch), source=self.name)


class DynamicTree(Silent):
    """Expands the best ``width`` nodes of each level and cuts the pool to ``plan.budget``."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        width = plan.width
        batch = state.batch
        pool: list[tuple[Tensor, Tensor, Tensor]] = []
        score, token = self.table[last_token(state)].log().topk(width, dim=-1)
        parent = torch.full((batch, width), -1)
        pool.append((token, parent, score))
        start = 0
        for _ in range(plan.length - 1):
            step, child = self.table[token].log().topk(width, dim=-1)
            total = (score.unsqueeze(-1) + step).flatten(1)
            origin = (
                (start + torch.arange(score.shape[1])).repeat_interleave(width).expand(batch, -1)
            )
            start += score.shape[1]
            token, score = child.flatten(1), total
            pool.append((token, origin, score))
        units, parents, scores = (torch.cat(part, dim=1) for part in zip(*pool, strict=True))
        keep, tree = cut(Candidates(units, parents, scores, plan.length), plan.budget)
        return Draft(units.gather(1, keep), tree, source=self.name)


class Guess(Silent):
    """Anything at all as a one-hot draft: uniform tokens on a random tree."""

    def __init__(self, vocab: int, seed: int = 0, chain: bool = False) -> None:
        self.vocab, self.chain = vocab, chain
        self.generator = torch.Generator().manual_seed(seed)

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        size = (state.batch, plan.nodes)
        units = torch.randint(self.vocab, size, generator=self.generator)
        valid = torch.rand(size, generator=self.generator) < 0.9
        if self.chain:
            return Draft.chain(units, valid=valid.long().cumprod(1).bool(), source=self.name)
        bound = torch.rand(size, generator=self.generator)
        parents = (bound * (torch.arange(size[1]) + 1)).long() - 1
        return Draft(units, Tree(parents, size[1]), valid=valid, source=self.name)


class Oracle(Silent):
    """Knows the outputs beforehand: drafts them, or with ``wrong`` always something else."""

    def __init__(self, outputs: Sequence[Sequence[int]], vocab: int, wrong: bool = False) -> None:
        self.outputs, self.vocab, self.wrong = outputs, vocab, wrong

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        units = torch.zeros(state.batch, plan.length, dtype=torch.long)
        for row, (output, done) in enumerate(zip(self.outputs, state.new_lengths, strict=True)):
            ahead = list(output[done : done + plan.length])
            units[row, : len(ahead)] = torch.tensor(ahead, dtype=torch.long)
        if self.wrong:
            units = (units + 1) % self.vocab
        return Draft.chain(units, source=self.name)
