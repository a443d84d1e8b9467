"""What ``model.generate(custom_generate=...)`` hands a decoding loop, as inputs for prefill."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor


def inputs_from_generate(
    model: Any, input_ids: Tensor, model_kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Inputs for :meth:`HFTarget.prefill` from what ``generate`` prepared.

    ``generate`` has run the vision tower (``mm_encoder_outputs``) and dropped the pixels and grids,
    has computed ``position_ids``, and passes ``attention_mask=None`` where nothing is padded. Only
    positions on several axes are kept, because the grids they came from are gone; others follow
    from the padding.

    Args:
        model: The model that ``generate`` was called on.
        input_ids: Prompt ids, padded on the left.
        model_kwargs: Everything else ``generate`` passed; not changed.

    Raises:
        ValueError: A cache that already holds tokens: the loop starts from a whole prompt.
    """
    past = model_kwargs.get("past_key_values")
    if past is not None and past.get_seq_length() > 0:
        raise ValueError(
            "past_key_values already hold tokens; pass the whole prompt and no cache to generate"
        )
    accepted = set(inspect.signature(model.base_model.forward).parameters)
    dropped = {"past_key_values", "use_cache", "inputs_embeds", "input_ids", "position_ids"}
    inputs = {
        key: value
        for key, value in model_kwargs.items()
        if value is not None and key in accepted - dropped
    }
    positions = model_kwargs.get("position_ids")
    if positions is not None and positions.dim() == 3:
        inputs["position_ids"] = positions
    return {"input_ids": input_ids, **inputs}
