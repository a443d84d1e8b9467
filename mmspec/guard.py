"""A drafter that fails costs speed, never the output."""

from __future__ import annotations

import logging
from typing import Any

from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.roles import Drafter
from mmspec.trace import Trace

logger = logging.getLogger(__name__)


class NoDraft:
    """Proposes nothing: the baseline."""

    name = "none"

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        """An empty draft."""
        return Draft.empty(state.batch, state.tokens.device)

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
        patience: Failed requests before the drafter is given up.
    """

    def __init__(
        self, drafter: Drafter, trace: Trace, strict: bool = False, patience: int = 3
    ) -> None:
        self.name = drafter.name
        self._drafter, self._trace, self._strict = drafter, trace, strict
        self._patience = patience
        self._failed = False
        self._warned = False

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        """The drafter's proposal, or an empty one once it has failed."""
        if not self._failed:
            try:
                return self._drafter.draft(state, plan, noise)
            except Exception as error:
                self._give_up(f"raised {type(error).__name__}: {error}", error)
        return Draft.empty(state.batch, state.tokens.device)

    def observe(
        self, state: Any, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Pass the round on; notice non-finite numbers reported at the synchronisation."""
        if self._failed:
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
        self._failed = self._patience <= 0
        if not self._failed:
            self._drafter.reset()

    def _give_up(self, what: str, cause: Exception | None) -> None:
        message = f"drafter '{self.name}' {what}; going on with plain decoding (output unaffected)"
        if self._strict:
            raise RuntimeError(f"drafter '{self.name}' {what}") from cause
        self._failed = True
        self._patience -= 1
        if not self._warned:
            self._warned = True
            self._trace.notes.append(message)
            logger.warning(message)
