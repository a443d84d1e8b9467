"""From denoising chains of many rows to the records that rules compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from image_ar.continuous.chain import Chain
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.laws import Endpoints, Paths, Record


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


def joined(records: Sequence[Record]) -> Record:
    """Records of consecutive rows as one."""
    whole: Record = _joined(records)
    return whole


def _joined(records: Sequence[Any]) -> Any:
    """Dataclasses of tensors and dataclasses, field by field."""
    first = records[0]
    if isinstance(first, Tensor):
        return torch.cat(list(records), 1)
    names = [field.name for field in fields(first)]
    return type(first)(*(_joined([getattr(r, name) for r in records]) for name in names))
