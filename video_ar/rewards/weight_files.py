"""Weights of scorers, which are downloaded apart: safe reading, strict fitting, clear errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mmspec.weight_files import differences, read_file

Network = TypeVar("Network", bound=nn.Module)

_WITHOUT = (
    "Routers that need no scorer: target-only, draft-only, first-block, stride, random, budget and "
    "target-check; "
    "threshold, quantile and cascade also work with the scorers of video_ar.rewards.motion and "
    "video_ar.rewards.sharpness, which have no weights"
)


def read_weights(path: str | Path, scorer: str) -> dict[str, Tensor]:
    """Named tensors of a safetensors file, or of a pickle that holds nothing else, on the CPU.

    Args:
        path: The file.
        scorer: Whom errors name.

    Raises:
        ValueError: The file is missing, cannot be read safely, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{scorer} needs its weights and there is no file '{path}'. {_WITHOUT}")
    found: Any = read_file(path, ("state_dict",))
    if isinstance(found.get("model"), Mapping):
        found = found["model"]
    if not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds more or less than named tensors; it is no {scorer}")
    return dict(found)


def fill(network: Network, weights: Mapping[str, Tensor], source: str) -> Network:
    """Put weights into a network made on the meta device; they are taken over, not copied.

    Args:
        network: Comes back in eval mode and without gradients.
        weights: By the network's own names.
        source: What errors call them.

    Raises:
        ValueError: Weights missing, left over or ill-shaped; every one is named.
    """
    problems = differences(network.state_dict(), weights, "unknown")
    if problems:
        raise ValueError(f"{source} does not fit: {'; '.join(problems)}")
    network.load_state_dict(dict(weights), assign=True)
    for module in network.modules():
        counted = module._buffers.get("position_ids")  # not stored: it only counts
        if counted is not None:
            module.register_buffer(
                "position_ids", torch.arange(counted.shape[-1])[None], persistent=False
            )
    return network.requires_grad_(False).eval()


def load_pretrained(kind: Any, source: str | Path, scorer: str, **options: Any) -> Any:
    """``kind.from_pretrained`` for a folder or name, with errors that say what works without.

    Raises:
        ValueError: It cannot be loaded.
    """
    try:
        return kind.from_pretrained(str(source), **options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(f"{scorer} cannot load '{source}': {reason}. {_WITHOUT}") from error
