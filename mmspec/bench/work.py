"""Where a contender's time went, by kind of work."""

from __future__ import annotations

from mmspec.bench.records import Entry

READING, DRAFTING, CHECKING = "reading prompts", "drafting", "passes of the target"
JUDGING, COMMITTING, REST = "judging", "committing and redrawing", "the rest"
SCORING, LOOKING = "scoring", "the target's looks at drafts"
TARGET, DECODING = "the target's blocks", "decoding"
# Stages of a video's blocks, and what they are called.
_STAGES = {
    "draft": DRAFTING,
    "score": SCORING,
    "check": LOOKING,
    "target": TARGET,
    "decode": DECODING,
}
STAGES = tuple(_STAGES)
KINDS = (
    READING,
    DRAFTING,
    CHECKING,
    JUDGING,
    COMMITTING,
    SCORING,
    LOOKING,
    TARGET,
    DECODING,
    REST,
)


def time_shares(entry: Entry) -> dict[str, float]:
    """Shares of the wall-clock time by kind of work, which add up to 1.

    Args:
        entry: Of a token or latent method (phases of the loop) or of a video (stages of its
            blocks, which the records hold by input).

    Returns:
        In the order of :data:`KINDS`; empty where nothing but the sum was recorded.
    """
    if "target" in entry.values:
        total = sum(seconds for seconds, _ in entry.cells[0])
        spent = {name: sum(entry.values.get(stage, ())) for stage, name in _STAGES.items()}
    elif entry.loop is not None:
        metrics = entry.loop.metrics
        total = metrics.seconds
        spent = {
            READING: metrics.prefill_seconds,
            DRAFTING: metrics.draft_seconds,
            CHECKING: metrics.verify_seconds,
            JUDGING: metrics.judge_seconds,
            COMMITTING: metrics.commit_seconds,
        }
    else:
        return {}
    spent[REST] = max(0.0, total - sum(spent.values()))
    whole = sum(spent.values())
    return {kind: spent[kind] / whole for kind in KINDS if kind in spent}
