"""Wan video transformers run block by block: Self-Forcing, CausVid, Krea Realtime and our own."""
