"""SpecVLM's drafter: EAGLE's layer with an input norm behind an elastic compressor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from lm_drafting.eagle.head import EagleConfig, EagleHead


@dataclass(frozen=True)
class SpecVLMConfig(EagleConfig):
    """EagleVLM's shape, with a compressor by default; see :class:`EagleConfig`."""

    input_layernorm: bool = True
    compressor: dict[str, Any] | None = field(default_factory=lambda: {"kind": "elastic"})


class SpecVLMNetwork(EagleHead):
    """EagleVLM whose pictures pass an elastic compressor first (arXiv 2509.11815).

    EagleVLM is EAGLE-2 on the whole multimodal sequence, with a norm in front of the layer for
    stable training. The gate reads the question and the picture and picks one way to shorten it:
    pruning, pooling, convolution, a resampler, or no visual tokens at all. Without a compressor
    this is EagleVLM exactly.
    """

    kind: ClassVar[str] = "specvlm"
    title: ClassVar[str] = "SpecVLM"
    about: ClassVar[str] = (
        "One decoder layer that predicts the target's next hidden states; a gate that reads the "
        "question decides how pictures are shortened for it."
    )
