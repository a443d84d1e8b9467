"""Chameleon and its descendants that draw: Anole and Lumina-mGPT."""
