"""`mmspec doctor`: is the installation sound, and what does verification cost on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from mmspec.commands.console import Console, hush_libraries
from mmspec.commands.values import add_machine, add_output, number, whole

_MARKS = {"ok": "ok  ", "warn": "warn", "error": "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--model", default="tiny", help="model whose verification is timed (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=whole(1, 256), default=1)
    parser.add_argument(
        "--seconds",
        type=number(0),
        default=2.0,
        help="how long to time it; 0 leaves it out (default: %(default)s)",
    )
    add_machine(parser)
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Print findings and costs; status 1 where something is broken."""
    from mmspec.doctor import check_environment

    console = Console(args)
    findings = check_environment()
    for finding in findings:
        console.result(f"{_MARKS[finding.level]}  {finding.title}: {finding.detail}")
        if finding.fix:
            console.result(f"      -> {finding.fix}")
    broken = any(finding.level == "error" for finding in findings)
    costs = [] if broken or not args.seconds else _costs(args)
    if costs:
        console.result(f"\nOne pass of '{args.model}' over a block, batch {args.batch_size}:")
        for cost in costs:
            console.result(
                f"  {cost['tokens']:3d} tokens  {1000 * cost['seconds']:8.2f} ms"
                f"  {cost['relative']:5.2f} x one token"
            )
    console.document(
        {"command": "doctor", "findings": [asdict(f) for f in findings], "verify_costs": costs}
    )
    return 1 if broken else 0


def _costs(args: argparse.Namespace) -> list[dict[str, Any]]:
    import torch

    from mmspec.costs import verify_costs
    from mmspec.pipelines import pipeline

    hush_libraries()
    if args.threads:
        torch.set_num_threads(args.threads)
    captioner = pipeline(
        "caption", model=args.model, method="none", device=args.device, dtype=args.dtype
    )
    target = captioner.engine.target
    inputs = target.prepare([[]] * args.batch_size, ["describe ."] * args.batch_size)
    return [asdict(cost) for cost in verify_costs(target, inputs, args.seconds)]
