"""A deeper transformer that starts as the shallower one it grows from."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def deepen(model: Any, shallow: Any) -> None:
    """Copy a shallower ``WanTransformer3DModel``; the layers that are new say nothing at first.

    New layers are spread evenly among the old ones. Each is a copy of the layer before it with
    zeros where its three branches end, so both models compute the same until training goes on.

    Args:
        model: Changed in place; of the same widths.
        shallow: With as many layers or fewer.

    Raises:
        ValueError: It is the deeper one of the two.
    """
    old, new = len(shallow.blocks), len(model.blocks)
    if old > new:
        raise ValueError(f"a model of {new} layers cannot grow from one of {old}")
    rest = {k: v for k, v in shallow.state_dict().items() if not k.startswith("blocks.")}
    model.load_state_dict(rest, strict=False)
    sources = [place * old // new for place in range(new)]
    for place, (block, source) in enumerate(zip(model.blocks, sources, strict=True)):
        block.load_state_dict(shallow.blocks[source].state_dict())
        if place and source == sources[place - 1]:
            for end in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
                end.weight.zero_()
                end.bias.zero_()
