"""From denoising chains of many rows to the records that rules compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from image_ar.continuous.chain import Chain
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.laws import Endpoints, Paths


def endpoints_of(chain: Chain, vectors: Tensor, places: Tensor) -> Endpoints:
    """Ends of chains whose rows are those of ``places`` ``(batch, rows, group)``, flattened.

    Args:
        chain: Of ``batch * rows * group`` rows.
        vectors: ``(batch * rows * group, width)`` what the chains ended in.
        places: Where each belongs.
    """
    shape = (*places.shape, vectors.shape[-1])
    last = GaussianStep(chain.last.mean.view(shape), chain.last.log_std.view(shape))
    return Endpoints(last, chain.trail.view(places.shape), vectors.view(shape), places)


def paths_of(chain: Chain, places: Tensor) -> Paths:
    """Whole chains, recorded, whose rows are those of ``places``, flattened."""
    assert chain.states is not None
    assert chain.kernels is not None
    return Paths(by_step(chain.states, places), steps_of(chain.kernels, places), places)


def steps_of(kernels: GaussianStep, places: Tensor) -> GaussianStep:
    """Kernels ``(batch * rows * group, steps, width)`` in the shape of :class:`Paths`."""
    return GaussianStep(by_step(kernels.mean, places), by_step(kernels.log_std, places))


def by_step(values: Tensor, places: Tensor) -> Tensor:
    """``(batch * rows * group, steps, width)`` as ``(batch, rows, steps, group, width)``."""
    return values.view(*places.shape, *values.shape[1:]).transpose(2, 3)


def woven(chains: Sequence[Chain], batch: int) -> Chain:
    """Chains of consecutive nodes, of ``batch * group`` rows each, as one; see :func:`by_node`."""
    whole: Chain = _woven(chains, batch)
    return whole


def by_node(values: Sequence[Tensor], batch: int) -> Tensor:
    """A tensor ``(batch * group, ...)`` a node as ``(batch * nodes * group, ...)``."""
    return torch.stack(list(values), 1).unflatten(0, (batch, -1)).transpose(1, 2).flatten(0, 2)


def _woven(parts: Sequence[Any], batch: int) -> Any:
    """Tensors, or dataclasses of tensors and dataclasses, field by field; None stays None."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return by_node(parts, batch)
    names = [field.name for field in fields(first)]
    return type(first)(*(_woven([getattr(p, name) for p in parts], batch) for name in names))
