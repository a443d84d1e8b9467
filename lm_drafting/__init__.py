"""Drafters for text decoders and vision-language models, and their training."""
