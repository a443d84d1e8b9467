"""A drafter that fails costs speed, never the output."""

from __future__ import annotations

import logging
from typing import Any

from mmspec.distributions import Categorical
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.roles import Drafter
from mmspec.trace import Trace

logger = logging.getLogger(__name__)

PATIENCE = 3  # requests in which a drafter may fail before it is left alone


class NoDraft:
    """Proposes nothing: the baseline."""

    name = "none"

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        """An empty draft."""
        return Draft.empty(state.batch, state.device)

    def observe(
        self, state: Any, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Nothing to note."""

    def reset(self) -> None:
        """Nothing to forget."""


class Guarded:
    """Runs a drafter; after an exception or non-finite numbers decodes plainly, with one warning.

    The rest of the request goes on without drafts; the next request tries the drafter again, and
    after ``patience`` failed requests it is left alone for good.

    Args:
        drafter: The drafter to run.
        trace: Receives the note a user should see.
        strict: Raise instead of falling back.
        patience: Failures left before the drafter is given up.
        vocab_size: The target's; a draft law over another vocabulary is a failure.
        limit: Most nodes the cache has room for; None checks nothing.
    """

    def __init__(
        self,
        drafter: Drafter,
        trace: Trace,
        strict: bool = False,
        patience: int = PATIENCE,
        vocab_size: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.name = drafter.name
        self.failed = False
        self._drafter, self._trace, self._strict = drafter, trace, strict
        self._patience, self._vocab_size, self._limit = patience, vocab_size, limit

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        """The drafter's proposal, or an empty one once it has failed."""
        if not self.failed:
            try:
                draft = self._drafter.draft(state, plan, noise)
                self._check(draft, state.batch)
                return draft
            except Exception as error:
                self._give_up(f"raised {type(error).__name__}: {error}", error)
        return Draft.empty(state.batch, state.device)

    def observe(
        self, state: Any, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Pass the round on; notice non-finite numbers reported at the synchronisation."""
        if self.failed:
            return
        if not commit.draft_healthy:
            self._give_up("returned numbers that are not finite", None)
            return
        try:
            self._drafter.observe(state, draft, evidence, verdict, commit)
        except Exception as error:
            self._give_up(f"raised {type(error).__name__}: {error}", error)

    def reset(self) -> None:
        """Start a request; a drafter that failed is tried again while patience lasts."""
        if self._patience <= 0:
            self.failed = True
            self._note(f"drafter '{self.name}' failed in earlier requests and is left alone")
            return
        try:
            self._drafter.reset()
        except Exception as error:
            self._give_up(f"raised {type(error).__name__}: {error}", error)

    def _check(self, draft: Draft, batch: int) -> None:
        """Shapes only: what a draft says is the rule's business.

        Raises:
            ValueError: The draft does not fit the batch, its own tree, the cache or the vocabulary.
        """
        shape = (batch, draft.nodes)
        if draft.units.shape[:2] != shape or draft.tree.parents.shape != shape:
            raise ValueError(
                f"draft for {batch} rows expected, got units {tuple(draft.units.shape)} "
                f"on a tree {tuple(draft.tree.parents.shape)}"
            )
        if self._limit is not None and draft.nodes > self._limit:
            raise ValueError(f"{draft.nodes} nodes drafted, lookahead allows {self._limit}")
        if self._vocab_size and isinstance(draft.law, Categorical):
            expected = (*shape, self._vocab_size)
            if draft.law.probs.shape != expected:
                raise ValueError(
                    f"draft law of shape {expected} expected, got {tuple(draft.law.probs.shape)}; "
                    "drafter and target must share one vocabulary"
                )

    def _give_up(self, what: str, cause: Exception | None) -> None:
        message = f"drafter '{self.name}' {what}; going on with plain decoding (output unaffected)"
        if self._strict:
            raise RuntimeError(f"drafter '{self.name}' {what}") from cause
        self.failed = True
        self._patience -= 1
        self._note(message)

    def _note(self, message: str) -> None:
        """Say it once a trace, however many requests the job has."""
        if message not in self._trace.notes:
            self._trace.notes.append(message)
            logger.warning(message)
