"""The one decoding loop. Plain decoding is this loop with an empty draft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mmspec.messages import Commit, Draft
from mmspec.noise import Noise
from mmspec.roles import Drafter, Pacer, Rule, Target
from mmspec.trace import Trace


def speculate(
    target: Target,
    drafter: Drafter,
    rule: Rule,
    pacer: Pacer,
    request: Any,
    noise: Noise,
    trace: Trace,
) -> Iterator[Commit]:
    """Generate, one round at a time.

    The prefill is the scoring of an empty draft, so the first round needs no special case; every
    later round drafts, scores the draft in one parallel pass of the target, judges and commits.

    Args:
        target: Owns the state; mutated through its own verbs only.
        drafter: Proposes; asked only in rounds whose plan is not empty.
        rule: Pure judge of a round.
        pacer: Decides how far to draft.
        request: What ``target.prefill`` takes.
        noise: All randomness of the run.
        trace: Receives one record a round.

    Yields:
        What each round committed, as soon as it is committed.
    """
    clock = trace.clock
    drafter.reset()
    with clock("prefill"):
        state, evidence = target.prefill(request)
    draft = Draft.empty(state.batch, evidence.positions.device)
    while True:
        with clock("judge"):
            verdict = rule.judge(draft, evidence, noise)
        with clock("commit"):
            commit = target.commit(state, draft, evidence, verdict)
        with clock("draft"):
            drafter.observe(state, draft, evidence, verdict, commit)
        pacer.observe(commit, trace.record(commit, draft.source))
        yield commit
        if state.done:
            return
        plan = pacer.plan(state)
        draft = Draft.empty(state.batch, evidence.positions.device)
        if plan.length:
            with clock("draft"):
                draft = replace(drafter.draft(state, plan, noise), slack=plan.slack)
        with clock("verify"):
            evidence = target.score(state, draft)
