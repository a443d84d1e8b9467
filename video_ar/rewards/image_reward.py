"""ImageReward (Xu et al., arXiv 2304.05977): how well one picture fits a text, as people judged it.

It sees single frames, so no motion, freeze or seam; of a frame the middle square at 224 x 224; of a
prompt the first 35 tokens. Scores are roughly standard normal on its training data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from video_ar.rewards.head import LinearHead
from video_ar.rewards.image_reward_weights import BLIP_LARGE, hosted_names
from video_ar.rewards.preparation import crop_square, normalised
from video_ar.rewards.prompts import PromptWindow
from video_ar.rewards.weight_files import fill, load_pretrained, read_weights

WINDOW = 35
# Mean and deviation of raw scores, as released with the model.
RAW_MEAN, RAW_STD = 0.16717362830052426, 1.0333394966054072
_TOKENIZER = "google-bert/bert-base-uncased"


class ImageRewardNetwork(nn.Module):
    """The two towers in transformers' own BLIP, and the head.

    Args:
        config: Sizes as in :data:`~video_ar.rewards.image_reward_weights.BLIP_LARGE`.
    """

    def __init__(self, config: dict[str, dict[str, Any]]) -> None:
        from transformers import BlipConfig, BlipForImageTextRetrieval

        super().__init__()
        blip = BlipConfig(text_config=config["text"], vision_config=config["vision"])
        self.blip = BlipForImageTextRetrieval(blip)
        self.blip.itm_head = nn.Identity()  # the released weights have none
        self.mlp = LinearHead(blip.text_config.hidden_size)

    @property
    def side(self) -> int:
        """Pixels of a picture's side."""
        side: int = self.blip.config.vision_config.image_size
        return side

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores ``(F,)`` float32 of ``pixels`` ``(F, 3, side, side)`` and one text ``(1, L)``."""
        seen = self.blip.vision_model(pixels).last_hidden_state
        read = self.blip.text_encoder(
            input_ids=ids.expand(len(seen), -1),
            attention_mask=mask.expand(len(seen), -1),
            encoder_hidden_states=seen,
            encoder_attention_mask=mask.new_ones(seen.shape[:2]),
        )
        raw: Tensor = self.mlp(read.last_hidden_state[:, 0].float())
        return (raw - RAW_MEAN) / RAW_STD


class ImageReward:
    """A :class:`~video_ar.rewards.protocol.FrameScorer`; all frames in one batch.

    Args:
        network: In eval mode; the head in float32.
        tokenizer: BERT's, uncased.
        window: Tokens of the prompt that are read.
    """

    name = "image-reward"
    needs_prompt = True
    context = 0

    def __init__(self, network: ImageRewardNetwork, tokenizer: Any, window: int = WINDOW) -> None:
        self.network = network
        self._prompt = PromptWindow(tokenizer, window, "ImageReward")

    @torch.inference_mode()
    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """Scores ``(F,)`` float32; the first prompt that is cut is warned of."""
        like = self.network.blip.vision_proj.weight
        pixels = normalised(crop_square(frames.to(like.device), self.network.side))
        ids, mask = self._prompt(prompt, like.device)
        scores: Tensor = self.network(pixels.to(like.dtype), ids, mask)
        return scores


def load_image_reward(
    path: str | Path,
    tokenizer: Any = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    config: dict[str, dict[str, Any]] | None = None,
) -> ImageReward:
    """A scorer from the released file ``ImageReward.pt``, or the same as safetensors.

    Args:
        path: The file; pickles are read only as far as they hold plain tensors.
        tokenizer: BERT's tokenizer, its folder or its name; None takes ``bert-base-uncased``.
        device: Where to score.
        dtype: Of the towers; the head stays in float32.
        config: Sizes, those of the released model by default.

    Raises:
        ValueError: Weights that are missing or do not fit, or no tokenizer.
    """
    from transformers import AutoTokenizer

    weights = hosted_names(read_weights(path, "ImageReward"))
    with torch.device("meta"):
        network = ImageRewardNetwork(config or BLIP_LARGE)
    fill(network, weights, str(path))
    network.blip.to(dtype)
    network.mlp.float()
    if tokenizer is None or isinstance(tokenizer, str | Path):
        tokenizer = load_pretrained(AutoTokenizer, tokenizer or _TOKENIZER, "ImageReward")
    return ImageReward(network.to(device), tokenizer)
