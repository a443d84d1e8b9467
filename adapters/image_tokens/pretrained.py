"""Reading models, processors and configs of transformers, with one-sentence errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def read(reader: Any, name: str, what: str, **options: Any) -> Any:
    """``reader.from_pretrained``; no code of a repository is run.

    Raises:
        ValueError: It cannot be loaded; the first line of the reason.
    """
    try:
        return reader.from_pretrained(name, **options)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(f"cannot load the {what} of '{name}': {reason}") from error


def read_model(
    model_class: Any,
    name: str,
    *,
    dtype: str | torch.dtype,
    revision: str | None,
    **options: Any,
) -> Any:
    """Weights from safetensors, in eval mode, on the CPU."""
    model = read(
        model_class,
        name,
        "weights",
        dtype=dtype,
        revision=revision,
        use_safetensors=True,
        **options,
    )
    return model.eval()


def check_type(config: Any, wanted: str, name: str) -> None:
    """Refuse the model of another family.

    Raises:
        ValueError: Names both families.
    """
    if config.model_type != wanted:
        raise ValueError(
            f"'{name}' is a model of type {config.model_type!r}, not {wanted!r}; load it with "
            "adapters.image_tokens.loading.load_target, which looks at the type itself"
        )


def ids_of_codes(code_to_id: dict[int, int], family: str) -> Tensor:
    """``(codes,)`` vocabulary id of every code.

    Raises:
        ValueError: The codes are not 0, 1, 2, ...
    """
    if not code_to_id or sorted(code_to_id) != list(range(len(code_to_id))):
        raise ValueError(
            f"the vocabulary_map in the config of this {family} model does not name every picture "
            f"code from 0 on ({len(code_to_id)} are named); use the config of a released model"
        )
    return torch.tensor([code_to_id[code] for code in range(len(code_to_id))])


def unit_range(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] as float32 in [0, 1]."""
    return (pixels.float() * 0.5 + 0.5).clamp(0, 1)
