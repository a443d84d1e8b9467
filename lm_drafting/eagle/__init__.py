"""EAGLE-1 and EAGLE-2 (EagleVLM on pictures): one layer on the target's last hidden states."""

from lm_drafting.eagle.head import EagleConfig, EagleHead

__all__ = ["EagleConfig", "EagleHead"]
