"""From a method's name and a loaded target to an engine; shared by both front doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.pacing import CostFitted, Fixed, Plain
from mmspec.roles import Drafter, Pacer
from mmspec.token_target import TokenTarget


@dataclass(frozen=True)
class Recipe:
    """A method and how to run it, checked before any weight is read.

    Attributes:
        method: The catalog's row.
        drafter: Folder, Hub id, ready model or ready :class:`~mmspec.roles.Drafter`.
        plan: The longest plan.
        pacer: Decides how far to draft.
        strict: Raise when the drafter fails.
        options: The method's own options.
        why: Why this method, where it was chosen automatically.
    """

    method: catalog.Method
    drafter: Any
    plan: Plan
    pacer: Pacer
    strict: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    @classmethod
    def choose(
        cls,
        method: str = "auto",
        drafter: Any = None,
        *,
        model: str | None = None,
        strict: bool = False,
        pacer: str | Pacer = "auto",
        draft_length: int | None = None,
        tree_width: int | None = None,
        tree_budget: int | None = None,
        **options: Any,
    ) -> Recipe:
        """Settle the method, its drafter and its plan.

        Raises:
            ValueError: Unknown method, option or pacer, or a drafter that is needed and missing.
        """
        row, why = _row(method, drafter, model)
        if drafter is None and model is not None:
            drafter = catalog.embedded_folder(model, row.name)
        if drafter is None and row.trained:
            raise ValueError(
                f"method '{row.name}' needs {row.needs}; give it as drafter=... (--drafter)"
            )
        row.check_options(options)
        plan = row.plan(draft_length, tree_width, tree_budget)
        if isinstance(drafter, Path):
            drafter = str(drafter)
        return cls(row, drafter, plan, _pacer(pacer, plan), strict, options, why)

    def engine(self, target: TokenTarget, load: Callable[..., TokenTarget]) -> Engine:
        """The engine for a target; ``load`` loads a drafter the way the target was loaded."""
        if isinstance(self.drafter, Drafter):
            drafter = self.drafter
        else:
            context = catalog.BuildContext(target, self.drafter, load, self.options)
            drafter = self.method.drafter(context)
        return Engine(
            target,
            drafter,
            self.method.make_rule(),
            self.pacer,
            lookahead=self.plan.nodes,
            strict=self.strict,
        )


def _row(method: str, drafter: Any, model: str | None) -> tuple[catalog.Method, str]:
    if method != "auto":
        return catalog.get(method), ""
    if isinstance(drafter, Drafter):
        return catalog.of_drafter(drafter.name), ""
    return catalog.choose(model, drafter)


def _pacer(pacer: str | Pacer, plan: Plan) -> Pacer:
    if plan.length == 0:
        return Plain()
    if pacer == "auto":
        return CostFitted(plan)
    if pacer == "fixed":
        return Fixed(plan)
    if isinstance(pacer, str):
        raise ValueError(f"pacer must be 'auto', 'fixed' or a pacer, got {pacer!r}")
    return pacer
