"""Unmodified transformers models, multimodal and text, as targets."""

from adapters.hf_vlm.decoder import HFDecoder
from adapters.hf_vlm.front_door import inputs_from_generate
from adapters.hf_vlm.loading import load_target
from adapters.hf_vlm.target import HFTarget

__all__ = ["HFDecoder", "HFTarget", "inputs_from_generate", "load_target"]
