"""A method beside the plain loop: what every task's result and pipeline share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Generic, Protocol, TypeVar

import torch

from mmspec import catalog
from mmspec.catalog import Method
from mmspec.engine import Engine
from mmspec.messages import Commit
from mmspec.speed import efficiency, ideal_speedup
from mmspec.token_target import Request
from mmspec.trace import Metrics, Trace

Listener = Callable[[Commit], Any] | None
Rows = list[list[int]]


@dataclass(frozen=True)
class Route:
    """One way to do a task.

    Attributes:
        engine: Target, drafter, rule and pacer.
        method: The catalog's row of the method.
        why: Why this method, where it was chosen automatically.
    """

    engine: Engine
    method: Method
    why: str = ""


@dataclass
class Baseline:
    """The plain loop on the same inputs.

    Attributes:
        trace: Its trace.
        identical: Whether all unit ids agree; None when sampling, where only the law must.
    """

    trace: Trace
    identical: bool | None


class Entry(Protocol):
    """One output of a run."""

    def to_json(self) -> dict[str, Any]:
        """As the command's JSON document lists it."""
        ...


Output = TypeVar("Output", bound=Entry)


@dataclass(kw_only=True)
class Compared(Generic[Output]):
    """What the result of every task holds, and says about speed.

    Attributes:
        outputs: One record an output, in order.
        trace: Records of the run.
        method: Name of the method that ran.
        certificate: What its rule promises.
        lossless: Whether the output law is the target's own.
        model: What the target was asked for by.
        setting: Device, dtype and threads.
        baseline: The plain run, where it was compared.
    """

    outputs: list[Output]
    trace: Trace
    method: str
    certificate: str
    lossless: bool
    model: str
    setting: dict[str, Any]
    baseline: Baseline | None = None

    @property
    def metrics(self) -> Metrics:
        """Units, seconds, acceptance."""
        return self.trace.metrics

    @property
    def notes(self) -> list[str]:
        """What the user should know about this run."""
        return self.trace.notes

    @property
    def speedup(self) -> float | None:
        """Plain seconds over this method's seconds on the same inputs; None if not compared."""
        if self.baseline is None or not self.trace.seconds:
            return None
        return self.baseline.trace.seconds / self.trace.seconds

    @property
    def identical(self) -> bool | None:
        """Whether the plain loop wrote the same units; None if not compared or sampled."""
        return self.baseline.identical if self.baseline is not None else None

    @property
    def ideal_speedup(self) -> float | None:
        """See :func:`mmspec.speed.ideal_speedup`; None if not compared."""
        return ideal_speedup(self.trace, self.baseline.trace) if self.baseline else None

    @property
    def efficiency(self) -> float | None:
        """Measured over ideal speed-up; None if not compared."""
        return efficiency(self.speedup, self.ideal_speedup) if self.speedup is not None else None

    def document(self, command: str) -> dict[str, Any]:
        """What every command's JSON document holds."""
        ratios = {"ideal_speedup": self.ideal_speedup, "efficiency": self.efficiency}
        document: dict[str, Any] = {
            "command": command,
            "model": self.model,
            "method": self.method,
            "lossless": self.lossless,
            "certificate": self.certificate,
            "outputs": [output.to_json() for output in self.outputs],
            "metrics": asdict(self.metrics) | ratios,
            "acceptance_by_position": self.trace.acceptance_by_position,
            "notes": list(self.notes),
            "setting": self.setting,
        }
        if self.baseline is not None:
            plain = self.baseline.trace.metrics
            document["baseline"] = {
                "seconds": plain.seconds,
                "tokens_per_second": plain.tokens_per_second,
                "tokens": plain.tokens,
                "identical": self.baseline.identical,
            }
            document["speedup"] = self.speedup
        return document


def generate_both(
    engines: tuple[Engine, Engine],
    request: Request,
    seeds: Sequence[int],
    traces: tuple[Trace, Trace | None],
    listeners: tuple[Listener, Listener] = (None, None),
    plain_first: bool = False,
) -> tuple[Rows, Rows | None]:
    """Run a batch by the method and, where it is compared, by the plain loop under the same seeds.

    Args:
        engines: The method's engine and the plain one.
        request: The batch.
        seeds: One seed a row.
        traces: A trace for each side; None leaves the plain side out.
        listeners: Told of each side's commits.
        plain_first: Which side goes first; alternate it from batch to batch.

    Returns:
        Unit ids of every row by the method, and by the plain loop (None if left out).
    """
    trace, baseline = traces
    plain = None
    if baseline is not None and plain_first:
        plain, _ = engines[1].generate(request, baseline, seeds=seeds, on_commit=listeners[1])
    ours, _ = engines[0].generate(request, trace, seeds=seeds, on_commit=listeners[0])
    if baseline is not None and not plain_first:
        plain, _ = engines[1].generate(request, baseline, seeds=seeds, on_commit=listeners[1])
    return ours, plain


def blank(route: Route, model: str, compare: bool) -> dict[str, Any]:
    """The fields of :class:`Compared` of a run that has made nothing yet.

    Args:
        route: How it will be made.
        model: What the target was asked for by.
        compare: Whether the plain loop runs too.
    """
    certificate = route.engine.rule.certificate
    return {
        "outputs": [],
        "trace": Trace(notes=[route.why] if route.why else []),
        "method": route.method.name,
        "certificate": str(certificate),
        "lossless": certificate.lossless,
        "model": model,
        "setting": setting_of(route.engine.target),
        "baseline": Baseline(Trace(), None) if compare else None,
    }


def check_judged(model: str, family: str, shown: str) -> None:
    """Refuse to score what the small world's judge cannot read.

    Args:
        model: What the target was asked for by.
        family: ``image`` or ``video``.
        shown: What the judge would read.

    Raises:
        ValueError: Another model than an embedded one, or the judge's library is missing.
    """
    if model not in catalog.embedded(family):
        known = ", ".join(catalog.embedded(family))
        raise ValueError(
            f"score needs a model of the small world ({known}), whose judge reads its {shown}; "
            f"nobody judges those of '{model}'"
        )
    if find_spec("timm") is None:
        raise ValueError(
            "score needs timm, which the judge is built of: pip install 'mmspec[generation]'"
        )


def setting_of(target: Any) -> dict[str, Any]:
    """Device, dtype and threads of a run."""
    return {
        "device": str(getattr(target, "device", "unknown")),
        "dtype": str(getattr(target, "dtype", "unknown")).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def declined_note(routes: Sequence[Route], trace: Trace) -> str:
    """A note if a pacer prefers plain decoding right now, else ""."""
    if not any(getattr(route.engine.pacer, "declined", False) for route in routes):
        return ""
    plain = sum(not r.drafted for r in trace.rounds if "prefill" not in r.seconds)
    return (
        f"speculation declined in {plain} of {trace.decoding_rounds} rounds: by the costs "
        f"measured during this run {routes[0].method.name} does not beat plain decoding here"
    )
