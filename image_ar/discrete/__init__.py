"""Discrete image tokens: drafters, relaxed rules and the geometry of the grid."""
