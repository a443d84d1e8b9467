"""Drafters and rules for autoregressive video generation; empty until its first method lands."""
