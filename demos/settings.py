"""What a tab is started with: its model, where that runs, and when it is loaded."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mmspec import catalog
from mmspec.commands.demo import PARTS

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
        parts: What else the pipeline of the task is told, such as the file of an autoencoder.
    """

    model: str = "tiny"
    drafter: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    parts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, args: argparse.Namespace, family: str = "text", prefix: str | None = None
    ) -> Settings:
        """From parsed arguments.

        Args:
            args: Of a command.
            family: Of the tab.
            prefix: Of the options that speak of it; None takes those of `mmspec demo`, where
                pictures and videos have a model and a drafter of their own.
        """
        if prefix is None:
            prefix = "" if family == "text" else f"{family}_"
        model, drafter = (getattr(args, f"{prefix}{name}") for name in ("model", "drafter"))
        given = {name: getattr(args, f"{prefix}{name}") for name in PARTS.get(family, ())}
        parts = {name: value for name, value in given.items() if value is not None}
        revision = getattr(args, f"{prefix}revision", None)
        return cls(model, drafter, revision, args.device, args.dtype, parts)

    def loading(self) -> dict[str, Any]:
        """Keyword arguments of ``mmspec.pipeline`` except task, model and drafter."""
        place = {"revision": self.revision, "device": self.device, "dtype": self.dtype}
        return place | dict(self.parts)

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
