"""Drafting from the target's own hidden states: what EAGLE, ViSpec, SpecVLM and FLASH share."""
