"""Janus and Janus-Pro: pictures through a head and a vocabulary of their own."""
