"""A loaded captioner with every method there is a drafter for."""

from __future__ import annotations

from typing import Any

from demos.settings import Lazy, Settings
from mmspec import catalog, choosing
from mmspec.pipelines.caption import CaptionPipeline
from mmspec.pipelines.loading import load_captioner

AUTO = "auto"
_PACER = "fixed"  # the viewer's choice is what runs, also where it does not pay
_KEPT = 6  # pipelines kept beside the first one; each holds the weights of a drafter


class Captioner:
    """One target, loaded once, and a pipeline for every method and size of draft.

    Args:
        settings: The model and where it runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._first = Lazy(
            lambda: load_captioner(
                settings.model,
                method=AUTO,
                drafter=settings.drafter,
                pacer=_PACER,
                **settings.loading(),
            )
        )
        self._others: dict[tuple[str, int], CaptionPipeline] = {}

    def load(self) -> CaptionPipeline:
        """The pipeline of the default method; the weights are read by the first call."""
        return self._first.get()

    def methods(self) -> list[str]:
        """Names of the methods that run without a further drafter; nothing is loaded."""
        found = [row.name for row in catalog.methods("text") if row.build and self._fits(row.name)]
        return [AUTO, *found]

    def default_size(self, method: str) -> int:
        """Most drafted tokens a round, where nothing is asked for."""
        row = self._row(method)
        return row.budget if row.width > 1 else row.length

    def pipeline(self, method: str, size: int) -> CaptionPipeline:
        """The pipeline of a method.

        Args:
            method: One of :meth:`methods`.
            size: Most drafted tokens a round: of the tree, or of the chain where it has no branch.

        Raises:
            ValueError: A method without a drafter here, or weights that cannot be read.
        """
        if method not in self.methods():
            known = ", ".join(self.methods())
            raise ValueError(f"method '{method}' has no drafter here; there is {known}")
        first = self.load()
        if method == AUTO and size == self.default_size(AUTO):
            return first
        if (method, size) not in self._others:
            while len(self._others) >= _KEPT:
                self._others.pop(next(iter(self._others)))
            self._others[method, size] = self._build(first, method, size)
        return self._others[method, size]

    def _build(self, first: CaptionPipeline, method: str, size: int) -> CaptionPipeline:
        row = self._row(method)
        plan: dict[str, Any] = {"tree_budget" if row.width > 1 else "draft_length": size}
        return load_captioner(
            first.target,
            method=row.name,
            drafter=self._drafter(row.name),
            pacer=_PACER,
            device=str(first.target.device),
            dtype=str(first.target.dtype).removeprefix("torch."),
            **plan,
        )

    def _row(self, method: str) -> catalog.Method:
        if method != AUTO:
            return catalog.get(method)
        return choosing.choose(self.settings.model, self.settings.drafter)[0]

    def _fits(self, name: str) -> bool:
        row = catalog.get(name)
        return not row.trained or self._drafter(name) is not None

    def _drafter(self, name: str) -> Any:
        """The drafter that was given if the method is for it, else the embedded one, else None."""
        given = self.settings.drafter
        if given is None:
            return catalog.embedded_folder(self.settings.model, name)
        kind = choosing.choose(drafter=given)[0].name
        same = name.removesuffix("-tree") == kind.removesuffix("-tree")
        return given if same else None
