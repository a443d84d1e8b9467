"""Prompts as tokens of a fixed window, with one warning for those that do not fit."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class PromptWindow:
    """Cuts and pads prompts to a window; says so once when something is cut.

    Args:
        tokenizer: Of transformers.
        length: Tokens of the window, begin and end marks included.
        scorer: Whom the warning names.
    """

    def __init__(self, tokenizer: Any, length: int, scorer: str) -> None:
        self.tokenizer, self.length, self.scorer = tokenizer, length, scorer
        self._warned = False

    def __call__(self, prompt: str, device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids and mask, ``(1, length)`` each."""
        if not self._warned:
            needed = len(self.tokenizer(prompt, verbose=False)["input_ids"])
            if needed > self.length:
                self._warned = True
                logger.warning(
                    "%s reads the first %d tokens of a prompt; this one has %d, the rest does not "
                    "count. Put what matters first",
                    self.scorer,
                    self.length,
                    needed,
                )
        found = self.tokenizer(
            prompt,
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        return found["input_ids"].to(device), found["attention_mask"].to(device)
