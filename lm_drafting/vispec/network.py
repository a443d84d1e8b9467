"""ViSpec's drafter: EAGLE's layer, a vision adaptor, and a global vector mixed into the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lm_drafting.eagle.head import EagleConfig, EagleHead
from lm_drafting.vision.queries import Queries


@dataclass(frozen=True)
class ViSpecConfig(EagleConfig):
    """EAGLE's shape with a vision adaptor of two queries; see :class:`EagleConfig`."""

    compressor: dict[str, Any] | None = field(default_factory=lambda: {"kind": "queries"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compressor is not None and self.compressor["kind"] == "queries":
            # The adaptor has as many heads as the layer, as the official checkpoints have it.
            own = {"num_q": 2, "heads": self.num_attention_heads, "qkv_bias": self.qkv_bias}
            object.__setattr__(self, "compressor", own | self.compressor)


class ViSpecNetwork(EagleHead):
    """EAGLE-1's layer that sees few visual tokens and never forgets the picture.

    ViSpec (arXiv 2509.15235). A one-layer drafter cannot find the few visual tokens that matter
    among hundreds, and loses the picture in long answers. So learned queries attend to the
    projected vision features: all but the last query give compressed tokens, the last gives the
    global vector ``g``. ``img_fc`` mixes ``g`` of the latest picture into the hidden state of every
    text pair behind it, ``h' = img_fc(concat(h, g))``, before ``fc``. It starts as the identity on
    ``h``, so a trained EAGLE drafter is where the multimodal stage begins.
    """

    kind: ClassVar[str] = "vispec"
    title: ClassVar[str] = "ViSpec"
    about: ClassVar[str] = (
        "One decoder layer that predicts the target's next hidden states from a few compressed "
        "visual tokens and one global vector of the picture."
    )
    reads_summary = True

    def __init__(self, config: ViSpecConfig) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        self.img_fc = nn.Linear(2 * hidden, hidden)
        self._start_as_eagle()
        self.register_state_dict_post_hook(_to_official)
        self.register_load_state_dict_pre_hook(_from_official)

    def fuse(self, embeds: Tensor, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """``fc`` on the embedding and on the hidden state with the picture's vector mixed in."""
        picture = torch.zeros_like(features) if summary is None else summary.to(features)
        mixed = self.img_fc(torch.cat([features, picture], -1))
        return super().fuse(embeds, mixed)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """EAGLE's start values, with the picture not mixed in yet."""
        super().reset_parameters(generator)
        self._start_as_eagle()

    def _start_as_eagle(self) -> None:
        with torch.no_grad():
            self.img_fc.weight.zero_()
            self.img_fc.weight.fill_diagonal_(1.0)
            self.img_fc.bias.zero_()


_OURS, _OFFICIAL = "compressor.", "imadpt."


def _to_official(module: ViSpecNetwork, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Give the vision adaptor its official name, in place."""
    if isinstance(module.compressor, Queries):
        _rename(state, prefix + _OURS, prefix + _OFFICIAL)


def _from_official(module: ViSpecNetwork, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The reverse, before loading."""
    if isinstance(module.compressor, Queries):
        _rename(state, prefix + _OFFICIAL, prefix + _OURS)


def _rename(state: dict[str, Any], old: str, new: str) -> None:
    for key in [key for key in state if key.startswith(old)]:
        state[new + key[len(old) :]] = state.pop(key)
