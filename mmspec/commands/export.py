"""`mmspec export`: a drafter in the format that vLLM serves."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.commands.console import Console
from mmspec.commands.values import add_output, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("drafter", help="folder or Hub id of an EAGLE-3 drafter")
    parser.add_argument("--model", required=True, help="its target, Hub id or folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--draft-length",
        type=whole(1),
        default=5,
        help="tokens vLLM drafts a round (default: %(default)s)",
    )
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Write the folder; what vLLM cannot serve is refused with the reason."""
    console = Console(args)
    read: Any = catalog.resolve("lm_drafting.checkpoints:read")
    export: Any = catalog.resolve("lm_drafting.checkpoints:export_speculators")
    found = read(args.drafter)
    export(
        args.out,
        kind=found.kind,
        config=found.config,
        weights=found.weights,
        target_name=args.model,
        target_architectures=_architectures(args.model),
        speculative_tokens=args.draft_length,
    )
    console.result(f"{args.out}: serve it with vLLM's --speculative-config")
    console.document({"command": "export", "drafter": args.drafter, "path": str(args.out)})
    return 0


def _architectures(model: str) -> list[str]:
    """Class names in the target's ``config.json``."""
    from transformers import AutoConfig

    names = AutoConfig.from_pretrained(model).architectures
    if not names:
        raise ValueError(f"the config.json of {model} names no architectures, which vLLM needs")
    return list(names)
