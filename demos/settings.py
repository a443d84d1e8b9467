"""What a tab is started with: its model, where that runs, and when it is loaded."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mmspec import catalog

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Settings:
    """The model of a tab and how to load it; the names are those of the command line.

    Attributes:
        model: Embedded name, folder or Hub id.
        drafter: Folder or Hub id of a drafter; None takes the embedded ones.
        revision: Revision of a Hub model.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
    """

    model: str = "tiny"
    drafter: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"

    @classmethod
    def of(cls, args: argparse.Namespace, family: str = "text") -> Settings:
        """From parsed arguments; pictures and videos have a model and a drafter of their own."""
        prefix = "" if family == "text" else f"{family}_"
        model = getattr(args, f"{prefix}model")
        drafter = getattr(args, f"{prefix}drafter")
        revision = args.revision if family == "text" else None
        return cls(model, drafter, revision, args.device, args.dtype)

    def loading(self) -> dict[str, Any]:
        """Keyword arguments of ``mmspec.pipeline`` except task, model and drafter."""
        return {"revision": self.revision, "device": self.device, "dtype": self.dtype}

    def embedded(self, family: str) -> bool:
        """Whether the model comes with the package."""
        return self.model in catalog.embedded(family)


class Lazy(Generic[Loaded]):
    """Something that is loaded when it is first wanted, once.

    Args:
        load: Loads it; what it raises is raised again on every try.
    """

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._value: list[Loaded] = []

    def get(self) -> Loaded:
        """The thing itself; the first caller waits for it to load."""
        with self._lock:
            if not self._value:
                self._value.append(self._load())
            return self._value[0]
