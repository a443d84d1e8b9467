"""A losslessness report for somebody's own target, drafter and rule.

Three kinds of evidence, each against the plain loop (same cache, same kernels, empty drafts):

* greedy output, token for token; below float32 a difference is allowed only where the two best
  logits of the plain run are closer than a stated tolerance, because scoring several tokens at once
  rounds differently from scoring one;
* the law of sampled output: each sampled unit is compared with the law that the *plain* target has
  after the same prefix, so an error of the fast path cannot hide in its own evidence;
* where every draft was deterministic, sampled output unit for unit under equal seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mmspec.engine import Engine
from mmspec.goodness import Pool, TestResult
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.roles import Rule
from mmspec.rules import Exact, Match
from mmspec.token_target import Request
from mmspec.trace import Trace

# Gap of the two best logits below which another block size may flip the argmax.
TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 0.0625,
    torch.bfloat16: 0.5,
}
SIGNIFICANCE = 1e-4  # chance that a lossless method fails some test of a report
FEW = 200  # kept units below which a report says that it has seen little
PATHWISE = 32  # samples compared unit for unit under equal seeds


@dataclass(frozen=True)
class Check:
    """One question and its answer; ``passed`` is None where the question does not apply."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class Divergence:
    """The first unit at which a greedy row differs from the plain run.

    Attributes:
        request: Index of the request.
        row: Row of its batch.
        position: Output position.
        plain: Unit of the plain run; None where its row had ended.
        found: Unit of the method; None where its row had ended.
        gap: Distance of the plain run's two best logits there.
        allowed: Whether that is a near tie.
    """

    request: int
    row: int
    position: int
    plain: int | None
    found: int | None
    gap: float
    allowed: bool


@dataclass
class Certification:
    """What :func:`certify` found.

    Attributes:
        lossless: The verdict; None when nothing was drafted, so nothing was proven.
        promise: The certificate of the rule.
        reasons: Why the verdict is what it is.
        checks: Every question asked.
        divergences: Greedy rows that differ, near ties included.
        tests: Tests of the law, with their p-values.
        dtype: Number format of the target.
        tolerance: Logit gap that counts as a near tie.
        drafted: Units that were submitted to the target.
        accepted: Units that were kept.
    """

    lossless: bool | None
    promise: str
    reasons: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)
    tests: list[TestResult] = field(default_factory=list)
    dtype: str = "float32"
    tolerance: float = 0.0
    drafted: int = 0
    accepted: int = 0

    @property
    def rounds_coarsely(self) -> bool:
        """True below float32, where a block of tokens and single tokens may round differently."""
        return self.dtype in ("float16", "bfloat16")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries and lists."""
        return asdict(self)

    def __str__(self) -> str:
        """A report for people."""
        word = {True: "LOSSLESS", False: "NOT LOSSLESS", None: "NOT PROVEN"}[self.lossless]
        mark = {True: "ok  ", False: "FAIL", None: "--  "}
        lines = [f"{word}: {'; '.join(self.reasons)}", f"rule: {self.promise}"]
        lines += [f"  {mark[check.passed]} {check.name}: {check.detail}" for check in self.checks]
        for one in self.divergences:
            kind = "near tie" if one.allowed else "differs"
            lines.append(
                f"       {kind}: request {one.request} row {one.row} position {one.position}: "
                f"{one.found} instead of {one.plain}, logit gap {one.gap:.3g}"
            )
        return "\n".join(lines)


def certify(
    engine: Engine,
    requests: Sequence[Request],
    *,
    samples: int = 256,
    positions: int = 8,
    seed: int = 0,
    tolerance: float | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Certification:
    """Find out whether an engine's output is its target's own.

    Args:
        engine: Target with drafter, rule and pacer. Use a pacer that does draft.
        requests: Prompts and options; greedy ones are sampled at temperature 1 for the law.
        samples: Sampled runs of every row of every request.
        positions: Output positions whose law is tested. The first is never drafted.
        seed: Where the seeds of the runs start.
        tolerance: Logit gap that counts as a near tie; None goes by the target's number format, see
            :data:`TOLERANCE`.
        progress: Called with the number of sampled runs done and their total.

    Returns:
        The verdict with its reasons.

    Raises:
        ValueError: No request, or fewer than 20 samples in all.
    """
    if not requests:
        raise ValueError("certify needs at least one request")
    rows = sum(request.inputs["input_ids"].shape[0] for request in requests)
    if samples * rows < 20:
        raise ValueError(f"{samples} samples of {rows} rows are too few; ask for 20 or more in all")
    report = Certification(None, str(engine.rule.certificate))
    _check_greedy(report, engine, requests, seed, tolerance)
    _check_law(report, engine, requests, samples, positions, seed, progress)
    _decide(report, engine)
    return report


def _decide(report: Certification, engine: Engine) -> None:
    failed = [check.name for check in report.checks if check.passed is False]
    if failed:
        report.lossless, report.reasons = False, [f"failed: {', '.join(failed)}"]
    elif not engine.rule.certificate.lossless:
        report.lossless = False
        report.reasons = ["the rule itself does not promise the target's law"]
    elif not report.drafted:
        report.reasons = ["nothing was drafted, so plain decoding was compared with itself"]
    else:
        report.lossless = True
        report.reasons = [f"every check passed, {report.accepted} drafted units were kept"]
        if report.accepted < FEW:
            report.reasons.append("that is little evidence: ask for more samples and positions")


class _Watch:
    """A rule that passes everything on and takes notes."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.certificate = rule, rule.certificate
        self.soft = False
        self.gaps: list[list[float]] = []
        self.dtype = torch.float32

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        self.soft = self.soft or (draft.nodes > 0 and not draft.law.is_one_hot)
        scores = getattr(evidence.law, "scores", None)
        if scores is not None and not draft.nodes:
            best = scores[:, 0].double().topk(2, dim=-1).values
            self.gaps.append((best[:, 0] - best[:, 1]).tolist())
            self.dtype = scores.dtype
        return self.rule.judge(draft, evidence, noise)


class _Replay:
    """A rule for the plain loop that repeats given units and keeps the law each was drawn from."""

    certificate = Exact.certificate

    def __init__(self, outputs: Sequence[Sequence[int]], pools: Sequence[Pool]) -> None:
        self.outputs, self.pools, self.position = outputs, pools, 0

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        at, self.position = self.position, self.position + 1
        units = [row[at] if at < len(row) else 0 for row in self.outputs]
        own = torch.tensor(units, device=evidence.positions.device)
        running = torch.tensor([at < len(row) for row in self.outputs])
        probs: Tensor = evidence.law.probs[:, 0].cpu()  # type: ignore[attr-defined]
        self.pools[at].add(probs[running], own.cpu()[running])
        batch = len(units)
        empty = torch.empty(batch, 0, dtype=torch.long, device=own.device)
        none = torch.zeros(batch, dtype=torch.long, device=own.device)
        return Verdict(empty, none, own, none.bool())


def _plain(engine: Engine, rule: Rule | None = None) -> Engine:
    plain = engine.plain()
    return plain if rule is None else replace(plain, rule=rule)


def _count(report: Certification, trace: Trace) -> None:
    report.drafted += sum(record.drafted for record in trace.rounds)
    report.accepted += sum(sum(record.accepted) for record in trace.rounds)


def _check_greedy(
    report: Certification,
    engine: Engine,
    requests: Sequence[Request],
    seed: int,
    tolerance: float | None,
) -> None:
    """Token for token; a row is compared up to its first difference."""
    equal = rows = 0
    for index, request in enumerate(requests):
        asked = replace(request, sampling=replace(request.sampling, temperature=0.0))
        seeds = [seed + row for row in range(asked.inputs["input_ids"].shape[0])]
        watch = _Watch(Exact())
        plain, _ = _plain(engine, watch).generate(asked, seeds=seeds)
        found, trace = engine.generate(asked, seeds=seeds)
        _count(report, trace)
        dtype = getattr(getattr(engine.target, "model", None), "dtype", watch.dtype)
        report.dtype = str(dtype).removeprefix("torch.")
        report.tolerance = TOLERANCE.get(dtype, 1e-4) if tolerance is None else tolerance
        for row, (theirs, ours) in enumerate(zip(plain, found, strict=True)):
            rows += 1
            equal += theirs == ours
            if theirs != ours:
                report.divergences.append(_divergence(index, row, theirs, ours, watch, report))
    bad = sum(not one.allowed for one in report.divergences)
    ties = f", {rows - equal - bad} differ at a near tie" if rows - equal - bad else ""
    detail = f"{equal} of {rows} rows equal the plain run{ties} (gap below {report.tolerance:g})"
    report.checks.append(Check("greedy", bad == 0, detail))


def _divergence(
    index: int, row: int, plain: list[int], found: list[int], watch: _Watch, report: Certification
) -> Divergence:
    pairs = enumerate(zip(plain, found, strict=False))
    shorter = min(len(plain), len(found))
    position = next((place for place, (a, b) in pairs if a != b), shorter)
    theirs = plain[position] if position < len(plain) else None
    ours = found[position] if position < len(found) else None
    gap = watch.gaps[position][row] if theirs is not None else float("inf")
    allowed = gap <= report.tolerance
    return Divergence(index, row, position, theirs, ours, gap, allowed)


def _check_law(
    report: Certification,
    engine: Engine,
    requests: Sequence[Request],
    samples: int,
    positions: int,
    seed: int,
    progress: Callable[[int, int], Any] | None,
) -> None:
    """Sample, replay the samples through the plain loop, test; compare some of them pathwise."""
    watch = _Watch(engine.rule)
    watched = replace(engine, rule=watch)
    generator = torch.Generator().manual_seed(seed)
    pools = [Pool(f"position {place}", generator) for place in range(positions)]
    unequal = compared = 0
    for index, request in enumerate(requests):
        options = request.sampling
        limit = min(positions, options.max_new_tokens)
        heat = options.temperature or 1.0
        asked = replace(request, sampling=replace(options, temperature=heat, max_new_tokens=limit))
        rows = asked.inputs["input_ids"].shape[0]
        for sample in range(samples):
            start = seed + (index * samples + sample) * rows
            seeds = list(range(start, start + rows))
            found, trace = watched.generate(asked, seeds=seeds)
            _count(report, trace)
            _plain(engine, _Replay(found, pools)).generate(asked, seeds=seeds)
            if sample < PATHWISE and not watch.soft:
                plain, _ = _plain(engine).generate(asked, seeds=seeds)
                compared += rows
                unequal += sum(a != b for a, b in zip(plain, found, strict=True))
            if progress is not None:
                progress(index * samples + sample + 1, len(requests) * samples)
    _judge_law(report, pools)
    _judge_paths(report, engine, watch, compared, unequal)


def _judge_law(report: Certification, pools: Sequence[Pool]) -> None:
    report.tests = [test for pool in pools for test in pool.tests()]
    impossible = sum(pool.impossible for pool in pools)
    least = min((test.p_value for test in report.tests), default=1.0)
    limit = SIGNIFICANCE / max(len(report.tests), 1)
    drawn = sum(pool.count for pool in pools)
    detail = (
        f"{drawn} sampled units, {len(report.tests)} tests, smallest p-value {least:.2g} "
        f"(limit {limit:.1g})"
    )
    if impossible:
        detail += f"; {impossible} units that the target cannot produce"
    passed = least >= limit and (not impossible or report.rounds_coarsely)
    report.checks.append(Check("law", passed, detail))


def _judge_paths(
    report: Certification, engine: Engine, watch: _Watch, compared: int, unequal: int
) -> None:
    if watch.soft or not isinstance(engine.rule, Exact | Match):
        why = "drafts were sampled from their own laws" if watch.soft else "not this rule's promise"
        report.checks.append(Check("pathwise", None, f"does not apply: {why}"))
        return
    detail = (
        f"{compared - unequal} of {compared} sampled rows equal the plain run under equal seeds"
    )
    # Below float32 a unit drawn at the edge of its interval may flip; the law test decides then.
    passed = None if unequal and report.rounds_coarsely else unequal == 0
    report.checks.append(Check("pathwise", passed, detail))
