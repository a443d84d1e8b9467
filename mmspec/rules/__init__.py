"""Acceptance rules: pure functions of draft, evidence and noise, each with its certificate."""

from mmspec.rules.certificate import Certificate
from mmspec.rules.chain import ChainRejection
from mmspec.rules.exact import Exact
from mmspec.rules.match import Match
from mmspec.rules.tree import TreeRejection

__all__ = ["Certificate", "ChainRejection", "Exact", "Match", "TreeRejection"]
