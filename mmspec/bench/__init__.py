"""Honest side-by-side measurements: contenders, races, records, and what is drawn from them."""
