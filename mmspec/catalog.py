"""The one table of methods: a row a method, its parts by dotted path, imported when used.

Nothing here imports torch, so that listing methods and printing help stay instant, and a broken
optional dependency breaks one method instead of the package.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec.messages import Plan
    from mmspec.roles import Drafter, Pacer, Rule
    from mmspec.token_target import TokenTarget

TARGET_LOADER = "adapters.hf_vlm:load_target"
IMAGE_LOADER = "adapters.image_tokens.loading:load_target"
IMAGE_UNITS = "adapters.image_tokens.loading:units_of"
IMAGE_WORDS = "adapters.tiny.world.prompt_parser:parse_prompt"
IMAGE_SCORER = "adapters.tiny.images.scoring:score_pictures"
VIDEO_LOADER = "adapters.wan.opening:open_target"
VIDEO_WORDS = "adapters.tiny.world.motion_prompts:parse_motion_prompt"
VIDEO_SCORER = "adapters.tiny.videos.scoring:score_videos"
EXACT = "exact: the output law is the target's own; greedy output is identical"
RELAXED = "relaxed: how far depends on its options, see the certificate and the bias of a result"
PLAN_OPTIONS = ("draft_length", "tree_width", "tree_budget")


@dataclass(frozen=True)
class BuildContext:
    """What a method's ``build`` may use to make its drafter.

    Attributes:
        target: The loaded target.
        drafter: Folder, Hub id or ready object that holds the drafter; None where none was given.
        load_target: Loads a second model the way the target was loaded: same device, same dtype.
        options: The method's own options, already checked against the row's names.
    """

    target: TokenTarget
    drafter: Any = None
    load_target: Callable[..., TokenTarget] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: What users type.
        family: What is made: ``text``, ``image`` or ``video``.
        summary: One sentence.
        build: Dotted path of ``build(context) -> Drafter``; empty for plain decoding. A build with
            options may have a method ``check(options)`` that refuses wrong values, see
            :mod:`mmspec.options`.
        length: Draft steps a round by default.
        width: Children of a node by default; 1 is a chain.
        budget: Most nodes a round by default; 0 means ``length * width``.
        rule: Dotted path of ``build(context) -> Rule``, or of a rule that takes no arguments.
        certificate: What the rule promises, word for word; a rule with options says more itself.
        trained: Whether the drafter was trained for its target.
        needs: What a user must supply.
        paper: Where it comes from.
        options: Names of the method's own options.
        rule_options: Names of those that its rule takes.
        units: What it drafts, ``tokens``, ``latents`` or ``blocks``; a target has one of them.
        pace: Dotted path of ``wrap(pacer, options) -> Pacer``, where a method has its own say in
            when to draft; empty where it has none.
        pace_options: Names of the options that this takes.
    """

    name: str
    family: str
    summary: str
    build: str = ""
    length: int = 0
    width: int = 1
    budget: int = 0
    rule: str = "mmspec.rules:Exact"
    certificate: str = EXACT
    trained: bool = False
    needs: str = "nothing"
    paper: str = ""
    options: tuple[str, ...] = ()
    rule_options: tuple[str, ...] = ()
    units: str = "tokens"
    pace: str = ""
    pace_options: tuple[str, ...] = ()

    @property
    def all_options(self) -> tuple[str, ...]:
        """Names of all options of the method's own."""
        return tuple(dict.fromkeys((*self.options, *self.rule_options, *self.pace_options)))

    @property
    def lossless(self) -> bool:
        """Whether the output law is the target's own."""
        return self.certificate.startswith("exact")

    def plan(
        self,
        draft_length: int | None = None,
        tree_width: int | None = None,
        tree_budget: int | None = None,
    ) -> Plan:
        """The default plan, with what the user changed."""
        from mmspec.messages import Plan

        if not self.build:
            return Plan(length=0)
        length = self.length if draft_length is None else draft_length
        width = self.width if tree_width is None else tree_width
        if length < 1:
            raise ValueError(
                f"draft_length must be at least 1, got {length}; "
                "use method 'none' to decode without drafts"
            )
        budget = self.budget if tree_budget is None else tree_budget
        return Plan(length=length, width=width, budget=budget if width > 1 else 0)

    def drafter(self, context: BuildContext) -> Drafter:
        """A new drafter; the method's module is imported here."""
        if not self.build:
            from mmspec.guard import NoDraft

            return NoDraft()
        self.check_options(context.options)
        drafter: Drafter = resolve(self.build)(_only(context, self.options))
        return drafter

    def make_rule(self, context: BuildContext) -> Rule:
        """A new acceptance rule; one with options is made for the target at hand."""
        if not self.build and hasattr(context.target, "plain_rule"):
            plain: Rule = context.target.plain_rule()
            return plain
        make = resolve(self.rule)
        rule: Rule = make(_only(context, self.rule_options)) if self.rule_options else make()
        return rule

    def paced(self, pacer: Pacer, options: Mapping[str, Any]) -> Pacer:
        """A pacer with the method's own say in when to draft."""
        if not self.pace:
            return pacer
        wrapped: Pacer = resolve(self.pace)(pacer, options)
        return wrapped

    def check_target(self, target: Any) -> None:
        """Refuse a target whose units the method does not draft.

        Raises:
            ValueError: Names the methods that fit.
        """
        units = getattr(target, "units", "tokens")
        if self.build and self.units != units:
            fit = [row.name for row in methods(self.family) if not row.build or row.units == units]
            raise ValueError(
                f"method '{self.name}' drafts {self.units} and this model draws {units}; "
                f"methods that fit: {', '.join(fit)}"
            )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse an option that the method does not know, or a value that its part refuses.

        Raises:
            ValueError: The message names what is known or allowed.
        """
        own = self.all_options
        unknown = sorted(set(options) - set(own))
        if unknown:
            known = ", ".join((*PLAN_OPTIONS, *own))
            raise ValueError(
                f"method '{self.name}' has no option {', '.join(unknown)}; it knows {known}"
            )
        for path, names in (
            (self.build, self.options),
            (self.rule, self.rule_options),
            (self.pace, self.pace_options),
        ):
            given = {name: value for name, value in options.items() if name in names}
            check = getattr(resolve(path), "check", None) if given else None
            if check is not None:
                check(given)

    def as_dict(self) -> dict[str, Any]:
        """What `mmspec methods --json` prints."""
        shown = ("name", "family", "summary", "lossless", "certificate", "trained", "needs")
        return {
            **{key: getattr(self, key) for key in shown},
            "paper": self.paper,
            "plan": {"length": self.length, "width": self.width, "budget": self.budget},
            "options": list(self.all_options),
        }


def _only(context: BuildContext, names: tuple[str, ...]) -> BuildContext:
    """The context with those of its options that one part takes."""
    return replace(context, options={k: v for k, v in context.options.items() if k in names})


_RELAXED_OPTIONS = ("residual", "track_bias")
_NEIGHBOUR_OPTIONS = ("k", "normalize", "neighbours")
_LATENT_OPTIONS = ("mode", "draft_steps")
_LATENT_RULE = ("mode", "delta", "sigma_v", "rounds", "zeros_on_failure")
_LATENT: dict[str, Any] = {
    "units": "latents",
    "pace": "image_ar.continuous.building:pace",
    "pace_options": ("mode", "prefill"),
}
_VIDEO: dict[str, Any] = {
    "family": "video",
    "build": "video_ar.building:build_drafter",
    "length": 1,
    "certificate": "lossy: blocks of the drafter are kept as they are; nothing bounds how far the "
    "video is from the target's",
    "trained": True,
    "needs": "a smaller video model with the target's autoencoder and blocks",
    "units": "blocks",
    "options": ("draft_steps",),
    "pace": "video_ar.building:pace",
}
_SDVG = "SDVG, arXiv 2604.17397"
_IMAGE_EAGLE = "an image drafter trained for the target (`mmspec train image-eagle`)"

METHODS: tuple[Method, ...] = (
    Method("none", "text", "plain decoding: the same loop with an empty draft"),
    Method(
        name="prompt-lookup",
        family="text",
        summary="repeats what followed the same words earlier in the prompt or the output",
        build="lm_drafting.prompt_lookup:build",
        length=8,
        options=("max_ngram", "min_ngram", "earliest"),
        paper="Saxena 2023, prompt lookup decoding",
    ),
    Method(
        name="draft-model",
        family="text",
        summary="a smaller model with the same vocabulary drafts a chain",
        build="lm_drafting.draft_model:build",
        length=4,
        options=("omit", "vocab_size"),
        trained=True,
        needs="a drafter model with the target's vocabulary",
        paper="Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318",
    ),
    Method(
        name="draft-model-tree",
        family="text",
        summary="a smaller model drafts a tree, siblings sampled without replacement",
        build="lm_drafting.draft_model:build_tree",
        length=4,
        width=2,
        budget=12,
        options=("omit", "vocab_size"),
        trained=True,
        needs="a drafter model with the target's vocabulary",
        paper="Jeon et al. 2024, arXiv 2402.14160",
    ),
    Method(
        name="eagle",
        family="text",
        summary="one decoder layer on the target's hidden states drafts a dynamic tree",
        build="lm_drafting.building:build_eagle",
        length=12,
        width=2,
        budget=16,
        options=("temperature",),
        trained=True,
        needs="a drafter trained for the target (`mmspec train eagle`)",
        paper="Li et al. 2024, arXiv 2401.15077 and arXiv 2406.16858",
    ),
    Method(
        name="vispec",
        family="text",
        summary="EAGLE's layer on a few compressed visual tokens and one vector of the picture",
        build="lm_drafting.building:build_vispec",
        length=8,
        width=2,
        budget=12,
        options=("temperature",),
        trained=True,
        needs="a drafter trained for the target (`mmspec train vispec`)",
        paper="Kang et al. 2025, arXiv 2509.15235",
    ),
    Method(
        name="specvlm",
        family="text",
        summary="EAGLE's layer behind a gate that picks how each picture is shortened",
        build="lm_drafting.building:build_specvlm",
        length=8,
        width=2,
        budget=12,
        options=("temperature",),
        trained=True,
        needs="a drafter trained for the target (`mmspec train specvlm`)",
        paper="Huang et al. 2025, arXiv 2509.11815",
    ),
    Method(
        name="flash",
        family="text",
        summary="one pass over a compressed picture drafts several tokens at once",
        build="lm_drafting.building:build_flash",
        length=5,
        width=2,
        budget=8,
        options=("temperature", "tree"),
        trained=True,
        needs="a drafter trained for the target (`mmspec train flash`)",
        paper="Wang et al. 2025, arXiv 2505.12728",
    ),
    Method(
        name="eagle3",
        family="text",
        summary="one decoder layer on hidden states of several layers, with its own vocabulary",
        build="lm_drafting.building:build_eagle3",
        length=7,
        width=4,
        budget=24,
        options=("temperature",),
        trained=True,
        needs="a drafter trained for the target (`mmspec train eagle3`)",
        paper="Li et al. 2025, arXiv 2503.01840",
    ),
    Method("none", "image", "plain decoding: the same loop with an empty draft"),
    Method(
        name="sjd",
        family="image",
        summary="what the model itself said about the cells ahead, drawn anew every round",
        build="image_ar.discrete.building:build_sjd",
        length=15,
        options=("initialise",),
        paper="Teng et al. 2024, arXiv 2410.01699",
    ),
    Method(
        name="scd",
        family="image",
        summary="the same, redrawn so that a cell keeps its draft wherever its new law allows",
        build="image_ar.discrete.building:build_scd",
        length=15,
        options=("redraw", "initialise"),
        paper="So et al. 2025, arXiv 2510.24211",
    ),
    Method(
        name="gsd",
        family="image",
        summary="the coupled window, codes of similar probability judged as one group",
        build="image_ar.discrete.building:build_scd",
        length=15,
        rule="image_ar.discrete.rule_building:build_gsd",
        certificate=RELAXED,
        options=("redraw", "initialise"),
        rule_options=("group_size", "p_tol", "distance_tol", "mode", *_RELAXED_OPTIONS),
        paper="So et al. 2025, arXiv 2508.07747",
    ),
    Method(
        name="image-eagle",
        family="image",
        summary="one layer on the model's hidden states, guided as the model is, drafts a chain",
        build="image_ar.discrete.building:build_eagle",
        length=5,
        options=("tree",),
        trained=True,
        needs=_IMAGE_EAGLE,
        paper="Li et al. 2024, arXiv 2401.15077",
    ),
    Method(
        name="lantern",
        family="image",
        summary="its static tree, where a code may borrow mass from its nearest codes",
        build="image_ar.discrete.building:build_eagle",
        length=5,
        width=4,
        budget=25,
        rule="image_ar.discrete.rule_building:build_lantern",
        certificate=RELAXED,
        options=("tree",),
        rule_options=("delta", *_NEIGHBOUR_OPTIONS, *_RELAXED_OPTIONS),
        trained=True,
        needs=_IMAGE_EAGLE,
        paper="Jang et al. 2025, arXiv 2410.03355",
    ),
    Method(
        name="lantern-plus",
        family="image",
        summary="the same, where mass may grow by a factor at most",
        build="image_ar.discrete.building:build_eagle",
        length=5,
        width=4,
        budget=25,
        rule="image_ar.discrete.rule_building:build_lantern_plus",
        certificate=RELAXED,
        options=("tree",),
        rule_options=("multiplier", *_NEIGHBOUR_OPTIONS, *_RELAXED_OPTIONS),
        trained=True,
        needs=_IMAGE_EAGLE,
        paper="Park et al. 2025, arXiv 2502.06352",
    ),
    Method(
        name="cool",
        family="image",
        summary="the chain, accepted more readily at its start than at its end",
        build="image_ar.discrete.building:build_eagle",
        length=5,
        rule="image_ar.discrete.rule_building:build_cool",
        certificate=RELAXED,
        options=("tree",),
        rule_options=("delta", "nu", "mu", *_RELAXED_OPTIONS),
        trained=True,
        needs=_IMAGE_EAGLE,
        paper="arXiv 2601.09212",
    ),
    Method(
        name="mulo",
        family="image",
        summary="a low-resolution model drafts whole rows; unlikely islands are drawn anew",
        build="image_ar.discrete.building:build_mulo",
        length=31,
        rule="image_ar.discrete.building:build_mulo_rule",
        certificate=RELAXED,
        options=("rows", "upsampler", "margin"),
        rule_options=("tau", *_NEIGHBOUR_OPTIONS, "radius", "order", "window"),
        trained=True,
        needs="a low-resolution model with the target's image tokenizer",
        paper="arXiv 2601.05149",
    ),
    Method(
        name="cspd",
        family="image",
        summary="a smaller model of latent vectors drafts, along the noise that the target uses",
        build="image_ar.continuous.building:build_model",
        length=8,
        rule="image_ar.continuous.building:build_rule",
        certificate=RELAXED,
        options=_LATENT_OPTIONS,
        rule_options=_LATENT_RULE,
        trained=True,
        needs="a smaller model of the same vectors",
        paper="Wang et al. 2024, arXiv 2411.11925",
        **_LATENT,
    ),
    Method(
        name="cspd-self",
        family="image",
        summary="the model itself drafts, with a third of its denoising steps",
        build="image_ar.continuous.building:build_self",
        length=8,
        rule="image_ar.continuous.building:build_rule",
        certificate=RELAXED,
        options=_LATENT_OPTIONS,
        rule_options=_LATENT_RULE,
        paper="the rule of arXiv 2411.11925 without a second model",
        **_LATENT,
    ),
    Method("none", "video", "plain decoding: the target makes every block", units="blocks"),
    Method(
        name="draft-only",
        summary="the drafter makes every block: the baseline for speed",
        rule="video_ar.building:build_draft_only",
        **_VIDEO,
    ),
    Method(
        name="first-block",
        summary="the target makes the first block, the drafter all that follow",
        rule="video_ar.building:build_first_block",
        paper=f"the baseline in {_SDVG}",
        **_VIDEO,
    ),
    Method(
        name="random",
        summary="a coin keeps drafted blocks; what a reward has to beat",
        rule="video_ar.building:build_random",
        rule_options=("rate", "router_seed", "forced"),
        paper=f"the baseline in {_SDVG}",
        **_VIDEO,
    ),
    Method(
        name="stride",
        summary="the target makes every k-th block, the drafter those between",
        rule="video_ar.building:build_stride",
        rule_options=("k", "phase"),
        paper="StrideAR",
        **_VIDEO,
    ),
    Method(
        name="budget",
        summary="the target makes the first blocks, as many as a budget allows",
        rule="video_ar.building:build_budget",
        rule_options=("max_target_blocks", "target_seconds"),
        **_VIDEO,
    ),
    Method(
        name="sdvg",
        summary="a drafted block stays if its worst picture scores high enough",
        rule="video_ar.building:build_sdvg",
        rule_options=(
            *("scorer", "threshold", "relative", "accept_rate", "aggregate", "forced"),
            *("stitch", "target_steps"),
        ),
        paper=_SDVG,
        **_VIDEO,
    ),
    Method(
        name="sdvg-hybrid",
        summary="the same, scoring as few pictures as it takes; the target finishes refused drafts",
        rule="video_ar.building:build_hybrid",
        rule_options=(
            *("scorer", "threshold", "relative", "group", "band", "forced"),
            *("stitch", "target_steps"),
        ),
        paper=_SDVG,
        **_VIDEO,
    ),
    Method(
        name="temporal-seam",
        summary="a drafted block stays if the pace of change does not break at it",
        rule="video_ar.building:build_seam",
        rule_options=("threshold", "forced", "stitch"),
        **_VIDEO,
    ),
    Method(
        name="target-check",
        summary="a drafted block stays if the target, asked once amid its steps, sees the same",
        rule="video_ar.building:build_check",
        rule_options=("threshold", "step", "aggregate", "forced", "stitch"),
        **_VIDEO,
    ),
)

# Models that come with the package, and which of their drafters fits which method.
EMBEDDED: dict[str, dict[str, str]] = {
    "tiny": {
        "model": "captioner",
        "draft-model": "draft-text",
        "draft-model-tree": "draft-text",
        "eagle": "eagle",
        "vispec": "vispec",
        "specvlm": "specvlm",
        "flash": "flash",
    },
}
EMBEDDED_IMAGES: dict[str, dict[str, str]] = {
    "tiny": {
        "model": "llamagen",
        **dict.fromkeys(("image-eagle", "lantern", "lantern-plus", "cool"), "image-eagle"),
        "mulo": "llamagen-low",
    },
    "tiny-c2i": {"model": "llamagen-c2i"},
    "tiny-mar": {"model": "mar", "cspd": "mar-draft"},
    "tiny-mar-masked": {"model": "mar-masked"},
}
EMBEDDED_VIDEOS: dict[str, dict[str, str]] = {
    "tiny-video": {
        "model": "wan/target",
        **{row.name: "wan/drafter" for row in METHODS if row.family == "video" and row.trained},
    },
}
# Scores of pictures that a router of video blocks may compare, by name: ``load(device)`` for those
# that come with the package, ``load(weights, device)`` for the others.
REWARDS: dict[str, str] = {
    "judge": "adapters.tiny.videos.reward:load_reward",
}
WEIGHED_REWARDS: dict[str, str] = {
    "image-reward": "video_ar.rewards.image_reward:load_image_reward",
    "pickscore": "video_ar.rewards.clip:load_pickscore",
    "hpsv2": "video_ar.rewards.open_clip:load_hpsv2",
    "clip": "video_ar.rewards.clip:load_clip",
    "aesthetic": "video_ar.rewards.aesthetic:load_aesthetic",
}
PLAIN_REWARDS = "video_ar.building:SCORERS"


def methods(family: str | None = None) -> tuple[Method, ...]:
    """The rows, or those of one family."""
    return tuple(row for row in METHODS if family in (None, row.family))


def names(family: str | None = None) -> tuple[str, ...]:
    """The names of the rows, or of those of one family."""
    return tuple(row.name for row in methods(family))


def get(name: str, family: str = "text") -> Method:
    """The row of a method; some names exist in more than one family.

    Raises:
        ValueError: No such method; the message lists those of the family.
    """
    for row in methods(family):
        if row.name == name:
            return row
    known = names(family)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"unknown method '{name}'; {guess}known methods: {', '.join(known)}")


def of_drafter(name: str, family: str = "text") -> Method:
    """A row for a drafter that the caller made, under a known name or a new one."""
    for row in methods(family):
        if row.name == name:
            return row
    return Method(name, family, "a drafter of the caller's own", length=5, build="given")


def embedded(family: str = "text") -> dict[str, dict[str, str]]:
    """The models of a family that come with the package: their folders by part."""
    families = {"text": EMBEDDED, "image": EMBEDDED_IMAGES, "video": EMBEDDED_VIDEOS}
    return families.get(family, {})


def resolve(path: str) -> Any:
    """The object behind ``package.module:name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def embedded_folder(model: str, part: str, family: str = "text") -> Path | None:
    """Folder of an embedded model (``part`` = "model") or of its drafter for a method, if there."""
    name = embedded(family).get(model, {}).get(part)
    if name is None:
        return None
    folder: Path = resolve("adapters.tiny:folder")(name)
    return folder if (folder / "config.json").is_file() else None
