"""What an unmodified decoder and its layers read, caught by hooks that live for one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def decoder_layers(text: nn.Module, count: int) -> nn.ModuleList:
    """The ``count`` layers of a text decoder, whatever its family calls them and wherever they are.

    Raises:
        ValueError: There is no such list.
    """
    for module in text.modules():  # outer modules first: experts within a layer come later
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(text).__name__} holds no list of its {count} layers")


@contextmanager
def embeddings_read(text: nn.Module) -> Iterator[list[Tensor]]:
    """Catch the embeddings ``(batch, n, hidden)`` a text decoder is given; ids leave it empty."""
    caught: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if kwargs.get("inputs_embeds") is not None:
            caught.append(kwargs["inputs_embeds"])

    with text.register_forward_pre_hook(note, with_kwargs=True):
        yield caught


@contextmanager
def layers_read(layers: nn.ModuleList, wanted: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Catch the inputs ``(batch, n, hidden)`` of the wanted layers, by layer.

    They are what a layer really reads: where something is added between two layers (DeepStack), it
    is in. ``len(layers)`` stands for what leaves the last layer, before the final norm.
    """
    caught: dict[int, Tensor] = {}

    def note(index: int, module: nn.Module, args: Any, output: Any = None) -> None:
        value = args[0] if output is None else output
        # Layers of older style return a tuple around their states.
        caught[index] = value[0] if isinstance(value, tuple) else value

    with ExitStack() as hooks:
        for index in wanted:
            if index < len(layers):
                hook = layers[index].register_forward_pre_hook(partial(note, index))
            else:
                hook = layers[-1].register_forward_hook(partial(note, index))
            hooks.enter_context(hook)
        yield caught


def side_by_side(caught: dict[int, Tensor], last: Tensor) -> Tensor:
    """The inputs of the layers, ascending, along the last axis; ``last`` where none were wanted."""
    if not caught:
        return last
    # The layers of a model may be spread over devices.
    return torch.cat([caught[index].to(last.device) for index in sorted(caught)], dim=-1)
