"""mmspec: speculative decoding for multimodal generation.

A cheap drafter proposes, the target checks the whole proposal in one parallel pass, a rule decides
what stays. Importing this package is cheap: torch and transformers load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec import catalog
    from mmspec.catalog import methods
    from mmspec.custom_generate import speculative
    from mmspec.engine import Engine
    from mmspec.pipelines import pipeline
    from mmspec.sampling import Sampling
    from mmspec.trace import Trace

# The only place that states the version; the build reads it from here without importing.
__version__ = "0.1.0"

__all__ = [
    "Engine",
    "Sampling",
    "Trace",
    "__version__",
    "catalog",
    "methods",
    "pipeline",
    "speculative",
]

_HOMES = {
    "Engine": "mmspec.engine",
    "Sampling": "mmspec.sampling",
    "Trace": "mmspec.trace",
    "methods": "mmspec.catalog",
    "pipeline": "mmspec.pipelines",
    "speculative": "mmspec.custom_generate",
}


def __getattr__(name: str) -> Any:
    """Import an exported name when it is first asked for."""
    if name == "catalog":
        return import_module("mmspec.catalog")
    if name not in _HOMES:
        raise AttributeError(f"module 'mmspec' has no attribute {name!r}; it offers {__all__}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
