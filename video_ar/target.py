"""The target role for models that make videos block by block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmspec.messages import Commit, Draft, Evidence, Verdict
from video_ar.agreement import Agreement
from video_ar.follower import VideoModel
from video_ar.laws import Drafted, Seen
from video_ar.preview import BlockDecoder, Preview
from video_ar.reporting import (
    BlockRecord,
    FinishedBlock,
    committed,
    nothing_due,
    outcome,
)
from video_ar.request import VideoRequest
from video_ar.routers import TargetOnly
from video_ar.rule import Routed, Routing
from video_ar.state import VideoState, naming_block
from video_ar.timing import timed


@dataclass(frozen=True)
class _Made:
    """A block about to be committed, and what the target did for it."""

    block: Tensor
    preview: Preview
    start_step: int | None = None


class BlockTarget:
    """A :class:`~mmspec.roles.Target` on top of a :class:`~video_ar.follower.VideoModel`.

    One unit is one block of latents. A block's noise is a function of (seed, block, step), so a
    block that the target makes does not depend on what was drafted in its place. Commits carry a
    :class:`~video_ar.reporting.BlockRecord` as the unit and a
    :class:`~video_ar.reporting.FinishedBlock` with the latents and pictures in ``made``.

    The target is asked for nothing while drafts are accepted; the blocks that it has not read are
    read in one pass when it is next called.

    Args:
        model: The model behind its adapter.
        decoder: Of the latents.
    """

    units = "blocks"

    def __init__(self, model: VideoModel, decoder: BlockDecoder) -> None:
        self.model, self.decoder = model, decoder

    def plain_rule(self) -> Routed:
        """The rule of plain decoding."""
        return Routed(TargetOnly())

    def prefill(self, request: VideoRequest) -> tuple[VideoState, Evidence]:
        """Start a video. Nothing is computed: whether to draft the first block is still open.

        Raises:
            ValueError: The request did not come through the engine.
        """
        if request.noise is None:
            raise ValueError("the request has no noise; run it through mmspec.engine.Engine")
        state = VideoState(self.model, request)
        return state, Evidence(law=Seen(None), positions=_positions(state, 0))

    @torch.no_grad()
    def score(self, state: VideoState, draft: Draft) -> Evidence:
        """Make the draft ready to be looked at; decoding, scores and checks wait for the router."""
        positions = _positions(state, draft.nodes)
        if not draft.nodes:
            return Evidence(law=Seen(state.view()), positions=positions)
        block = draft.units[:, 0]
        finite = bool(block.isfinite().all())
        preview = Preview(self.decoder, state, block)
        told = Agreement(state, draft.law.rollout) if isinstance(draft.law, Drafted) else None
        law = Seen(state.view(), preview, told, state.written, finite)
        return Evidence(law=law, positions=positions)

    @torch.no_grad()
    def commit(
        self, state: VideoState, draft: Draft, evidence: Evidence, verdict: Verdict
    ) -> Commit:
        """Keep the drafted block, or make it with the target; decode it if pictures are wanted.

        Mutates the state: blocks, history, the target's context, the decoder's memory, counts.

        Raises:
            FloatingPointError: The target made a block that is not finite.
            torch.OutOfMemoryError: While the target made a block; blocks committed so far were
                handed out and stay as they are.
        """
        routing: Routing | None = verdict.again
        if routing is None:
            return nothing_due()
        seen = evidence.law
        assert isinstance(seen, Seen)
        seconds: dict[str, float] = {}
        if isinstance(draft.law, Drafted):
            seconds["draft"] = draft.law.seconds
        made = self._kept(draft, seen) if routing.decision.accept else None
        if made is None:
            with timed(seconds, "target", state.device):
                made = self._own(state, draft, seen, routing)
            state.target_seconds += seconds["target"]
        pictures = self._advance(state, made, routing)
        for part in (seen.preview, made.preview, seen.agreement, seen.written):
            for stage, spent in part.seconds.items() if part is not None else ():
                seconds[stage] = seconds.get(stage, 0.0) + spent
            if part is not None:
                part.seconds.clear()
        if not routing.decision.accept:
            made.preview.let_go()
            state.written = made.preview
        if state.request.eager:
            state.target.catch_up(state.blocks)
        record = self._record(state, draft, seen, routing, made.start_step, seconds)
        finished = FinishedBlock(made.block, pictures)
        return committed(draft, record, finished, state.done, seen.finite)

    def _record(
        self,
        state: VideoState,
        draft: Draft,
        seen: Seen,
        routing: Routing,
        start_step: int | None,
        seconds: dict[str, float],
    ) -> BlockRecord:
        """What the committed block was and cost; counts start anew for the next one."""
        assert seen.view is not None
        target, (evaluations, passes) = state.target, state.counted
        state.counted = (target.evaluations, target.passes)
        return BlockRecord(
            block=seen.view.block,
            decision=outcome(draft, routing),
            score=routing.decision.score,
            reason=routing.decision.reason,
            start_step=start_step,
            evaluations=target.evaluations - evaluations,
            passes=target.passes - passes,
            frames=seen.view.frames,
            seconds=seconds,
            checks=int(seen.agreement is not None and seen.agreement.step is not None),
        )

    def _kept(self, draft: Draft, seen: Seen) -> _Made:
        """The draft as it is, with what the router had decoded of it."""
        assert seen.preview is not None
        return _Made(draft.units[:, 0], seen.preview)

    def _own(self, state: VideoState, draft: Draft, seen: Seen, routing: Routing) -> _Made:
        """The target's block: from its noise, or from where the drafter left off."""
        start, step = None, routing.start_step
        if step and isinstance(draft.law, Drafted):
            start = draft.law.rollout.state(step)
        known = seen.agreement.prediction(step) if seen.agreement is not None else None
        with naming_block(state):
            block = state.target.make(state.blocks, start, step, known, routing.steps).x0
        if not bool(block.isfinite().all()):
            raise FloatingPointError(
                f"the target made block {len(state.blocks)} with numbers that are not finite; try "
                "dtype float32 or bfloat16, or check the checkpoint"
            )
        return _Made(block, Preview(self.decoder, state, block), step)

    def _advance(self, state: VideoState, made: _Made, routing: Routing) -> Tensor | None:
        """Commit a block; its pictures, where they are wanted or later scores build on them."""
        request = state.request
        wanted = request.decode or request.router.needs_pixels
        pictures, memory = made.preview.decoded() if wanted else (None, None)
        state.append(made.block, routing.decision)
        if pictures is not None:
            state.remember(pictures, memory)
        return pictures


def _positions(state: VideoState, nodes: int) -> Tensor:
    """``(1, nodes + 1)`` indices of the blocks that follow each node."""
    first = len(state.blocks)
    return torch.arange(first, first + nodes + 1, device=state.device).unsqueeze(0)
