"""Who takes part in making the same films: every router at several settings."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.bench.contenders import Outcome
from mmspec.bench.work import STAGES
from mmspec.engine import Engine
from mmspec.messages import Commit
from mmspec.trace import Trace, synchronize

BASELINE = "the target alone"
REWARD = "judge"
RATES = (0.1, 0.3, 0.5, 0.8)  # shares that coins keep, and that thresholds are to refuse
HYBRID_RATES = (0.1, 0.5)
FEW = 0.02  # a share so small that nearly all drafts stay
EARLY = "sdvg-hybrid by four frames"  # the published cascade, which keeps a block early
# Scores counted from those of the target's own last block.
RELATIVE, RELATIVE_EARLY = "sdvg relative", "sdvg-hybrid relative by four frames"
TWO_FORCED = ", two blocks forced"
MENDED = ", refused blocks in one step"
KEPT = (0.4, 0.7)  # of all blocks, by the router that finds its threshold itself
STRIDES = (2, 3)
BUDGETS = (2, 3, 4)
ALL_STEPS = "first-block, drafts in all steps"
ONE_STEP = "the target, one step after the first block"
CALIBRATION_FILMS = 16  # of prompts that are not measured


@dataclass(frozen=True)
class Setting:
    """One router at one setting.

    Attributes:
        label: What settings of the same kind have in common.
        knob: What distinguishes this one.
        options: Of the method.
        method: Row in the catalog; the label where it is empty.
        itself: Whether the target drafts for itself.
    """

    label: str
    knob: str
    options: Mapping[str, Any]
    method: str = ""
    itself: bool = False

    @property
    def other_drafter(self) -> bool:
        """Whether drafts are made in another way than those of all other settings."""
        return self.itself or "draft_steps" in self.options

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.label} {self.knob}".strip()

    def engine(self, target: Any, drafter: Any) -> Engine:
        """Our loop with this router."""
        by = target if self.itself else drafter
        return engine_for(target, by, self.method or self.label, self.options)


@dataclass(frozen=True)
class VideoBench:
    """What is measured.

    Attributes:
        model: Embedded name of the target; its prompts are those of the small world.
        films: How many prompts, one film each.
        repeats: Interleaved repeats.
        seed: Of the prompts.
    """

    model: str = "tiny-video"
    films: int = 48
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in catalog.embedded("video"):
            known = ", ".join(catalog.embedded("video"))
            raise ValueError(f"films of '{self.model}' cannot be judged; measure one of {known}")


def prompts_of(bench: VideoBench, first: int, count: int) -> list[str]:
    """Prompts of unseen films with motion, from number ``first`` on."""
    film = catalog.resolve("adapters.tiny.world.films:film_from_seed")
    write = catalog.resolve("adapters.tiny.world.motion_prompts:write_motion_prompt")
    numbers = range(bench.seed + first, bench.seed + first + count)
    return [write(film(number, held_out=True), random.Random(number)) for number in numbers]


def load(bench: VideoBench) -> tuple[Any, Any]:
    """The target, and the drafter that shares its autoencoder and text encoder.

    Raises:
        ValueError: The weights did not come with the installation.
    """
    parts = ("model", "first-block")
    folders = [catalog.embedded_folder(bench.model, part, "video") for part in parts]
    if None in folders:
        raise ValueError(f"the weights of '{bench.model}' did not come with this installation")
    open_target = catalog.resolve(catalog.VIDEO_LOADER)
    target = open_target(folders[0], dtype="float32")
    return target, open_target(folders[1], dtype="float32", like=target)


def request_for(target: Any, prompt: str) -> Any:
    """One film at the model's own length and size."""
    size = target.defaults
    return target.request(prompt, size.blocks, size.height, size.width)


def engine_for(target: Any, drafter: Any, method: str, options: Mapping[str, Any]) -> Engine:
    """Our loop with one router."""
    given = drafter if catalog.get(method, "video").build else None
    recipe = Recipe.choose(method, given, family="video", pacer="fixed", strict=True, **options)
    load_like = partial(catalog.resolve(catalog.VIDEO_LOADER), like=target)
    return recipe.engine(target, load_like)


def settings_of(target: Any, drafter: Any, reward: Any, prompts: list[str]) -> list[Setting]:
    """Every router at its settings.

    Args:
        target: The target.
        drafter: Its drafter.
        reward: Scores pictures.
        prompts: To find thresholds on: those that refuse given shares of drafted blocks.
    """
    rewarded = {"scorer": reward}
    related = {**rewarded, "relative": True}
    whole = {"draft_steps": len(target.schedule)}
    second = {**related, "forced": (0, 1)}
    mend = {"stitch": 0, "target_steps": 1}
    early = {"band": 0.0}
    found: list[Setting] = [
        Setting("draft-only", "", {}),
        Setting("first-block", "", {}),
        Setting(ALL_STEPS, "", whole, "first-block"),
        Setting(ONE_STEP, "", {"draft_steps": 1}, "first-block", itself=True),
    ]
    found += [Setting("stride", f"k={k}", {"k": k}) for k in STRIDES]
    found += [
        Setting("budget", f"blocks={count}", {"max_target_blocks": count}) for count in BUDGETS
    ]
    found += [Setting("random", f"rate={rate:g}", {"rate": rate}) for rate in RATES]
    tables = {
        label: calibrated(target, drafter, method, options, prompts)
        for label, method, options in (
            ("sdvg", "sdvg", rewarded),
            (RELATIVE, "sdvg", related),
            ("temporal-seam", "temporal-seam", {}),
            ("target-check", "target-check", {}),
        )
    }
    # The table of thresholds is that of the scores compared, whoever looks at fewer of them, forces
    # more blocks or mends them in another way.
    for label, method, scores, options, rates in (
        ("sdvg", "sdvg", "sdvg", rewarded, RATES),
        ("sdvg-hybrid", "sdvg-hybrid", "sdvg", rewarded, HYBRID_RATES),
        (EARLY, "sdvg-hybrid", "sdvg", rewarded | early, HYBRID_RATES),
        (RELATIVE, "sdvg", RELATIVE, related, RATES),
        (RELATIVE_EARLY, "sdvg-hybrid", RELATIVE, related | early, HYBRID_RATES),
        (RELATIVE + TWO_FORCED, "sdvg", RELATIVE, second, HYBRID_RATES),
        (RELATIVE_EARLY + TWO_FORCED, "sdvg-hybrid", RELATIVE, second | early, HYBRID_RATES),
        ("sdvg" + MENDED, "sdvg", "sdvg", rewarded | mend, HYBRID_RATES),
        (RELATIVE + MENDED, "sdvg", RELATIVE, related | mend, (FEW, *RATES)),
        (RELATIVE_EARLY + MENDED, "sdvg-hybrid", RELATIVE, related | mend | early, RATES),
        ("temporal-seam", "temporal-seam", "temporal-seam", {}, RATES),
        ("target-check", "target-check", "target-check", {}, RATES),
    ):
        # Scores with ties may give one threshold for several shares.
        for threshold in dict.fromkeys(f"{tables[scores].threshold(rate):.3g}" for rate in rates):
            given = {**options, "threshold": float(threshold)}
            found.append(Setting(label, f"threshold={threshold}", given, method))
    return found + [
        Setting("sdvg by rate", f"{rate:g}", {**rewarded, "accept_rate": rate}, "sdvg")
        for rate in KEPT
    ]


def calibrated(
    target: Any, drafter: Any, method: str, options: Mapping[str, Any], prompts: list[str]
) -> Any:
    """Quantiles of a router's scores, from films of which the drafter makes all but block 0."""
    engine = engine_for(target, drafter, method, {**options, "threshold": float("-inf")})
    scores: list[float] = []
    for seed, prompt in enumerate(prompts):
        rows, _ = engine.generate(request_for(target, prompt), seeds=[seed])
        scores += [record.score for record in rows[0] if record.score is not None]
    calibration = catalog.resolve("video_ar.rewards.calibration:Calibration")
    return calibration.of(method, scores)


@dataclass
class Judge:
    """What the small world's judge says of films; one that it has read is not read again.

    A film follows from its prompt, its seed, the drafter and who made which of its blocks, in how
    many steps.
    """

    known: dict[Any, dict[str, float]] = field(default_factory=dict)

    def __call__(
        self, prompt: str, seed: int, drafter: str, authors: Any, pictures: list[Any]
    ) -> Any:
        import torch

        key = (prompt, seed, drafter, authors)
        if key not in self.known:
            frames = torch.cat([(one[0].transpose(0, 1).float() + 1) / 2 for one in pictures])
            score = catalog.resolve(catalog.VIDEO_SCORER)
            self.known[key] = score([prompt], [frames.clamp(0, 1).cpu()])
        return self.known[key]


@dataclass
class VideoContender:
    """One router; the judge reads its films between timed runs.

    Attributes:
        name: Unique.
        engine: With the router.
        judge: Shared by all.
        method: Its row in the catalog.
        knob: Its setting.
        drafter: What to call one that other contenders do not have; its costs are its own, so that
            what was done is not recorded for the time model.
        trace: Of all runs so far.
        numbers: Of every film by seed: quality, counts of blocks, and seconds by stage.
        earlier: Scores of the films before, for routers that adapt to them.
    """

    name: str
    engine: Engine
    judge: Judge
    method: str
    knob: str = ""
    drafter: str = ""
    trace: Trace = field(default_factory=Trace)
    numbers: dict[int, dict[str, float]] = field(default_factory=dict)
    earlier: list[float] = field(default_factory=list)

    def run(self, request: Any, seed: int) -> Outcome:
        pictures: list[Any] = []

        def keep(commit: Commit) -> None:
            pictures.extend(block.pictures for block in commit.made)

        if seed == 0:  # a repeat begins
            self.earlier = []
        asked = replace(request, earlier=tuple(self.earlier))
        synchronize(request.device)
        start = time.perf_counter()
        rows, _ = self.engine.generate(asked, self.trace, seeds=[seed], on_commit=keep)
        synchronize(request.device)
        seconds = time.perf_counter() - start
        records = rows[0]
        authors = tuple(
            (one.decision == "accepted", one.start_step or 0, one.evaluations - one.checks)
            for one in records
        )
        self.earlier += [one.score for one in records if one.score is not None]
        if seed not in self.numbers:
            quality = self.judge(request.prompt, seed, self.drafter, authors, pictures)
            work = {} if self.drafter else counted(records, len(request.schedule), seconds)
            self.numbers[seed] = {**quality, **work, **shared_out(records)}
        return Outcome(seconds, [list(authors)])

    def forget(self) -> None:
        self.trace, self.numbers, self.earlier = Trace(), {}, []


def counted(records: list[Any], steps: int, seconds: float) -> dict[str, float]:
    """What was done for a film.

    Args:
        records: Of its blocks.
        steps: Evaluations of the network that a whole block takes.
        seconds: What it took.
    """
    work = catalog.resolve("video_ar.time_model:Record").of(records, steps, seconds)
    return {name: value for name, value in vars(work).items() if name != "seconds"}


def shared_out(records: list[Any]) -> dict[str, float]:
    """The target's share of a film's blocks, and the seconds of its stages."""
    share = sum(one.decision != "accepted" for one in records) / len(records)
    stages = {stage: sum(one.seconds.get(stage, 0.0) for one in records) for stage in STAGES}
    return {"target_share": share, **stages}
