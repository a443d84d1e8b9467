"""`mmspec doctor`: is the installation sound, what does verification cost, what ails a drafter."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.commands.console import Console, UsageError, aligned, hush_libraries
from mmspec.commands.values import add_machine, add_output, number, whole

_MARKS = {"ok": "ok  ", "warn": "warn", "error": "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--model",
        default="tiny",
        help="model whose verification is timed and whose drafter is examined "
        "(default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=whole(1, 256), default=1, help="rows that are timed")
    parser.add_argument(
        "--seconds",
        type=number(0),
        default=2.0,
        help="how long to time it; 0 leaves it out (default: %(default)s)",
    )
    group = parser.add_argument_group("acceptance of a drafter")
    group.add_argument(
        "--drafter", metavar="PATH", help="folder or Hub id; finds out why few drafts are accepted"
    )
    group.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="pictures and clips like those it is meant for (default: the embedded world's)",
    )
    group.add_argument("--samples", type=whole(1), default=8, help="how many (%(default)s)")
    group.add_argument("--prompt", action="append", help="what to ask; repeat for several")
    add_machine(parser)
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Print findings, costs and a diagnosis; status 1 where the installation is broken."""
    from mmspec.doctor import check_environment

    if args.data is not None and args.drafter is None:
        raise UsageError("--data is for examining a drafter; name one with --drafter")
    console = Console(args)
    document: dict[str, Any] = {"command": "doctor"}
    findings = check_environment()
    for finding in findings:
        console.result(f"{_MARKS[finding.level]}  {finding.title}: {finding.detail}")
        if finding.fix:
            console.result(f"      -> {finding.fix}")
    document["findings"] = [asdict(finding) for finding in findings]
    document["verify_costs"] = []
    broken = any(finding.level == "error" for finding in findings)
    if not broken and (args.seconds or args.drafter):
        target = _load(args)
        if args.seconds:
            document["verify_costs"] = _time(args, target, console)
        if args.drafter:
            document |= _examine(args, target, console)
    console.document(document)
    return 1 if broken else 0


def _load(args: argparse.Namespace) -> Any:
    import torch

    from mmspec.pipelines import pipeline

    hush_libraries()
    if args.threads:
        torch.set_num_threads(args.threads)
    captioner = pipeline(
        "caption", model=args.model, method="none", device=args.device, dtype=args.dtype
    )
    return captioner.target


def _time(args: argparse.Namespace, target: Any, console: Console) -> list[dict[str, Any]]:
    """What verification costs by the number of tokens."""
    from mmspec.costs import verify_costs

    inputs = target.prepare([[]] * args.batch_size, ["describe ."] * args.batch_size)
    costs = verify_costs(target, inputs, args.seconds)
    console.result(f"\nOne pass of '{args.model}' over a block, batch {args.batch_size}:")
    for cost in costs:
        console.result(
            f"  {cost.tokens:3d} tokens  {1000 * cost.seconds:8.2f} ms"
            f"  {cost.relative:5.2f} x one token"
        )
    return [asdict(cost) for cost in costs]


def _examine(args: argparse.Namespace, target: Any, console: Console) -> dict[str, Any]:
    """Acceptance of the drafter as served and with every ingredient changed."""
    network = catalog.resolve("lm_drafting.storage:load")(args.drafter, target)
    found = catalog.resolve("lm_drafting.diagnosis:examine")(
        target, network, _samples(args, target), progress=not args.quiet
    )
    console.result(
        f"\nAcceptance length of the {found.kind} drafter for '{args.model}', {found.answers} "
        f"greedy answers, {found.rounds} rounds, at most {found.most}:"
    )
    rows: list[tuple[str, ...]] = [
        ("ingredient", "as served", "changed to", "length", "change"),
        ("nothing", "", "", f"{found.acceptance_length:.2f}", ""),
    ]
    for row in found.rows:
        length, change = f"{row.acceptance_length:.2f}", f"{row.change:+.2f}"
        mark = "  <-- better" if row.better else ""
        rows.append((row.ingredient, row.served, row.instead, length, change + mark))
    for line in aligned(rows):
        console.result(f"  {line}")
    console.result(f"\n{found.sentence[0].upper()}{found.sentence[1:]}.")
    return {"acceptance": found.as_rows(), "diagnosis": found.sentence}


def _samples(args: argparse.Namespace, target: Any) -> list[Any]:
    """What the target is asked: pictures and clips of a folder, or unseen ones of the world."""
    from mmspec.commands.train import folder_samples
    from mmspec.pipelines import default_prompt

    if args.data is not None:
        return folder_samples(args.data, args.samples, args.prompt)
    make = catalog.resolve("lm_drafting.training.data:Sample")
    draw = catalog.resolve("adapters.tiny.world.render:render")
    scenes = catalog.resolve("adapters.tiny.world.scene:long_caption_scenes")(args.samples)
    asked = args.prompt or [default_prompt(args.model)]
    takes_pictures = getattr(target, "supports_images", True)
    return [
        make([draw(scene)] if takes_pictures else [], asked[index % len(asked)])
        for index, scene in enumerate(scenes)
    ]
