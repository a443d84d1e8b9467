"""Who handles the messages: four roles, each with a contract a verb."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from mmspec.messages import Commit, Draft, Evidence, Features, Plan, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate


class Request(Protocol):
    """What to generate from; a target defines what else is in it."""

    @property
    def rows(self) -> int:
        """Outputs wanted."""
        ...

    @property
    def device(self) -> torch.device:
        """Where numbers are needed."""
        ...

    @property
    def horizon(self) -> int:
        """Most units of an output, for the noise."""
        ...

    @property
    def lookahead(self) -> int:
        """Most nodes any draft will have."""
        ...

    def under(self, drafter: Drafter, rule: Rule, lookahead: int, noise: Noise) -> Self:
        """The same request with what these parts ask of the target, sized for their drafts.

        ``noise`` is for targets that draw units themselves while they score.
        """
        ...


@runtime_checkable
class Target(Protocol):
    """The model whose output is wanted. Owns its state and every cache in it."""

    def prefill(self, request: Any) -> tuple[Any, Evidence]:
        """Read the prompt.

        Returns:
            A new state, and the evidence for the first unit: that of an empty draft.
        """
        ...

    def score(self, state: Any, draft: Draft) -> Evidence:
        """One parallel pass over the root and all drafted nodes.

        Mutates only scratch slots of the cache beyond the committed prefix. The evidence is valid
        until the next ``score``.
        """
        ...

    def commit(self, state: Any, draft: Draft, evidence: Evidence, verdict: Verdict) -> Commit:
        """Make the verdict part of the state: append units, move caches along the path, end rows.

        A span that the verdict hands back is generated here. Contains the round's single host
        synchronisation.
        """
        ...


@runtime_checkable
class Drafter(Protocol):
    """Proposes units. Whatever it proposes, the output stays right; only speed is at stake.

    A drafter that reads hidden states of the target says so by two optional attributes:
    ``needs_features = True``, and ``target_layers``, the ``layers`` of
    :class:`~mmspec.messages.Features`. The engine then has the target keep them.
    """

    name: str

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        """Propose at most ``plan.nodes`` nodes after the committed prefix.

        Reads the state, mutates only the drafter. Must draw randomness only from streams of
        ``noise`` that rules do not use.
        """
        ...

    def observe(
        self, state: Any, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Take notes of a round, after the commit; cheap, the work waits for the next ``draft``."""
        ...

    def reset(self) -> None:
        """Forget the current request; called before every prefill."""
        ...


@runtime_checkable
class Rule(Protocol):
    """Decides what stays. Pure: never touches a model or a cache.

    A rule that changes which law counts as the target's has a method ``plain()``: the rule of plain
    decoding under that law.
    """

    certificate: Certificate

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """The longest part of the draft that may stay, and what the target adds to it."""
        ...


@runtime_checkable
class Pacer(Protocol):
    """Decides how far to draft.

    It may read laws and history, never the value of a unit that was sampled and not yet verified:
    dropping a drafted unit because of its value biases sampling.
    """

    def plan(self, state: Any) -> Plan:
        """The plan of the next round."""
        ...

    def observe(self, commit: Commit, seconds: dict[str, float]) -> None:
        """Learn from a finished round and from the seconds its phases took."""
        ...


class Decoder(Protocol):
    """What a token model's adapter provides; everything else about a target is shared.

    The model may use any layout inside; to the core it is logits and hidden states for tokens put
    at given slots with a given mask.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Any:
        """Read right-padded prompts into a fresh cache with ``reserve`` free slots a row.

        Args:
            inputs: The processor's tensors.
            reserve: Slots for what follows the prompts.
            features: Hidden states to keep, of layers the decoder has; None keeps nothing.

        Returns:
            A :class:`~mmspec.token_target.Prefilled`.
        """
        ...

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        """One pass over ``tokens`` ``(batch, n)`` whose slots the cache already knows.

        Args:
            tokens: Token ids.
            positions: ``(batch, n)`` logical positions.
            mask: ``(batch, 1, n, view)`` bool, True where attention may look; None for one token a
                row that sees everything in view.
            state: The state, for its cache, rotary offset and features.

        Returns:
            Logits ``(batch, n, vocab)`` and the hidden states ``(batch, n, width)`` that
            ``state.features`` asks for; where it is None, the last ones after the final norm.
        """
        ...
