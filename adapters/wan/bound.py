"""Attention of diffusers' Wan transformer that acts otherwise inside calls bound to something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import Tensor

from adapters.wan.rope import Rotation, rotate

Value = TypeVar("Value")


class BoundProcessor(WanAttnProcessor):
    """diffusers' own processor, except inside a call around which ``bound`` has a value.

    Attributes:
        bound: What every call looks at; one a kind of processor, so that every thread and every
            task has its own value.
    """

    bound: ClassVar[ContextVar[Any]]

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Any = None,
    ) -> Tensor:
        """The module's forward; diffusers gives the arguments."""
        current = self.bound.get()
        if current is None:
            return super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb
            )
        return self.attend(attn, hidden_states, current)

    def attend(self, attn: Any, hidden_states: Tensor, current: Any) -> Tensor:
        """Attention inside such a call, ``(batch, tokens, width)``.

        Args:
            attn: The module.
            hidden_states: ``(batch, tokens, width)``.
            current: What is bound.
        """
        raise NotImplementedError


@contextmanager
def binding(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    """Bind a value to the calls made inside."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def rotated_heads(
    attn: Any, hidden_states: Tensor, rotation: Rotation
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of self-attention, ``(batch, tokens, heads, head)``, turned."""
    if attn.fused_projections:
        query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
    else:
        query, key, value = (
            project(hidden_states) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
    query, key, value = (
        states.unflatten(2, (attn.heads, -1))
        for states in (attn.norm_q(query), attn.norm_k(key), value)
    )
    return rotate(query, rotation), rotate(key, rotation), value
