"""Emu3: picture codes are words of the language model's vocabulary."""
