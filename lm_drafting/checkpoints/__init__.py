"""Drafters people already have, told apart and read strictly; ours exported for vLLM.

:func:`read` opens a folder or a Hub id and gives a :class:`Checkpoint` with one set of names per
architecture, whether EAGLE, SpecForge, ``speculators``, ModelOpt, ViSpec, NeMo AutoModel, FLASH or
this project wrote it. :func:`export_speculators` goes the other way.
"""

from lm_drafting.checkpoints.export import export_speculators
from lm_drafting.checkpoints.folders import fetch, read_config, read_weights
from lm_drafting.checkpoints.formats import FORMATS, Format, sniff
from lm_drafting.checkpoints.known import KNOWN, KnownDrafter
from lm_drafting.checkpoints.reading import Checkpoint, kind_of, read

__all__ = [
    "FORMATS",
    "KNOWN",
    "Checkpoint",
    "Format",
    "KnownDrafter",
    "export_speculators",
    "fetch",
    "kind_of",
    "read",
    "read_config",
    "read_weights",
    "sniff",
]
