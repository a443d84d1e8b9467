"""What each architecture is trained on, as published; every value can be overridden."""

from __future__ import annotations

from typing import Any

from lm_drafting.training.recipe import Recipe

# Official runs last days on thousands of answers; lengths and rates here are for hours on one
# device. Only the terms of the loss and the depth of the rollout are the method's.
_PRESETS: dict[str, dict[str, Any]] = {
    "eagle": {},
    "eagle3": {"feature_weight": 0.0, "logit_weight": 1.0, "depth": 7, "decay": 0.8},
    "vispec": {
        "feature_weight": 0.0,
        "logit_weight": 0.0,
        "distance_weight": 10.0,
        "ranking_weight": 0.1,
        "depth": 2,
        "decay": 1.0,
    },
    "specvlm": {"feature_weight": 1.0, "logit_weight": 0.1, "depth": 1, "token_weight": 0.01},
    "flash": {"feature_weight": 1.0, "logit_weight": 0.1, "depth": 5, "decay": 1.0},
}


def preset(kind: str, **changes: Any) -> Recipe:
    """The recipe of an architecture.

    Args:
        kind: One of :data:`lm_drafting.networks.KINDS`.
        changes: Options that differ.
    """
    return Recipe(**{**_PRESETS[kind], **changes})
