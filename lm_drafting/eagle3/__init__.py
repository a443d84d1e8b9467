"""EAGLE-3 (arXiv 2503.01840): one layer on several depths of the target, with its own head."""

from lm_drafting.eagle3.config import Eagle3Config, default_layers
from lm_drafting.eagle3.network import Eagle3Network
from lm_drafting.eagle3.vocabulary import choose_vocabulary

__all__ = ["Eagle3Config", "Eagle3Network", "choose_vocabulary", "default_layers"]
