"""From a method's name and a loaded target to an engine; shared by both front doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmspec import catalog, choosing
from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.pacing import BiasBudget, CostFitted, Fixed, Plain
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
        family: str = "text",
        model: str | None = None,
        strict: bool = False,
        pacer: str | Pacer = "auto",
        bias_budget: float | None = None,
        draft_length: int | None = None,
        tree_width: int | None = None,
        tree_budget: int | None = None,
        long: bool = False,
        units: str = "tokens",
        **options: Any,
    ) -> Recipe:
        """Settle the method, its drafter and its plan.

        Args as in :func:`mmspec.pipelines.loading.load_captioner`; ``long`` is for "auto", see
        :func:`mmspec.choosing.choose`, and ``units`` what an image model draws. ``bias_budget`` is
        the largest mean one-step bias that a relaxed rule may reach; None sets no limit.

        Raises:
            ValueError: Unknown method, option or pacer, or a drafter that is needed and missing.
        """
        row, why = _row(method, drafter, model, long, family, units)
        if drafter is None and model is not None:
            drafter = catalog.embedded_folder(model, row.name, family)
        if drafter is None and row.trained:
            raise ValueError(
                f"method '{row.name}' needs {row.needs}; give it as drafter=... (--drafter)"
            )
        row.check_options(options)
        plan = row.plan(draft_length, tree_width, tree_budget)
        if isinstance(drafter, Path):
            drafter = str(drafter)
        paced = _budgeted(row.paced(_pacer(pacer, plan), options), row, bias_budget)
        return cls(row, drafter, plan, paced, strict, options, why)

    def engine(self, target: TokenTarget, load: Callable[..., TokenTarget]) -> Engine:
        """The engine for a target; ``load`` loads a drafter the way the target was loaded."""
        self.method.check_target(target)
        context = catalog.BuildContext(target, self.drafter, load, self.options)
        given = isinstance(self.drafter, Drafter)
        drafter = self.drafter if given else self.method.drafter(context)
        return Engine(
            target,
            drafter,
            self.method.make_rule(context),
            self.pacer,
            lookahead=self.plan.nodes,
            strict=self.strict,
        )


def _row(
    method: str, drafter: Any, model: str | None, long: bool, family: str, units: str
) -> tuple[catalog.Method, str]:
    if method != "auto":
        return catalog.get(method, family), ""
    if isinstance(drafter, Drafter):
        return catalog.of_drafter(drafter.name, family), ""
    if family == "image":
        return choosing.choose_image(drafter, units)
    if family == "video":
        return choosing.choose_video(drafter)
    return choosing.choose(model, drafter, long)


def _budgeted(pacer: Pacer, row: catalog.Method, budget: float | None) -> Pacer:
    """The pacer, told how far a relaxed rule may go.

    Raises:
        ValueError: The method is exact, its rule tells no bias, or the budget is out of range.
    """
    if budget is None:
        return pacer
    if row.lossless:
        raise ValueError(f"method '{row.name}' is exact and spends no bias; leave out bias_budget")
    if row.units != "tokens":
        raise ValueError(
            f"method '{row.name}' drafts {row.units}, for which no bias is known that a budget "
            f"could bound; leave out bias_budget. Its own options are "
            f"{', '.join(row.all_options) or 'none'}"
        )
    return BiasBudget(pacer, budget)


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
