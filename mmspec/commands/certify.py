"""`mmspec certify`: a losslessness report for a model and a method."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from mmspec import catalog
from mmspec.commands.console import Console, UsageError, hush_libraries
from mmspec.commands.values import add_machine, add_model, add_output, number, whole
from mmspec.pipelines.options import MAX_BATCH, MAX_NEW_TOKENS

if TYPE_CHECKING:
    from mmspec.pipelines.caption import CaptionPipeline
    from mmspec.token_target import Request

_PIPELINE = (
    "method",
    "drafter",
    "device",
    "dtype",
    "revision",
    "draft_length",
    "tree_width",
    "tree_budget",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture, clip or folder")
    add_model(parser)
    parser.add_argument("--prompt", help="what to ask (default: for a description)")
    _add_test(parser)
    add_machine(parser)
    add_output(parser)


def _add_test(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("test")
    group.add_argument(
        "--samples",
        type=whole(1),
        default=64,
        metavar="N",
        help="sampled runs of every batch (default: %(default)s)",
    )
    group.add_argument(
        "--positions",
        type=whole(2, 256),
        default=16,
        metavar="N",
        help="output positions whose law is tested (default: %(default)s)",
    )
    group.add_argument(
        "--max-new-tokens",
        type=whole(1, MAX_NEW_TOKENS),
        default=128,
        metavar="N",
        help="length of the greedy comparison (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=whole(1, MAX_BATCH),
        default=8,
        metavar="N",
        help="rows decoded together; few inputs are repeated (default: %(default)s)",
    )
    group.add_argument("--seed", type=whole(0, 2**62), default=0, metavar="N", help="(default: 0)")
    group.add_argument(
        "--tolerance",
        type=number(0),
        metavar="GAP",
        help="logit gap of a near tie (default: by number format)",
    )


def run(args: argparse.Namespace) -> int:
    """Report; 0 only if the verdict is lossless."""
    if args.method != "auto":
        try:
            catalog.get(args.method)
        except ValueError as error:
            raise UsageError(str(error)) from None
    console = Console(args)
    hush_libraries()
    import torch

    from mmspec.certify import certify
    from mmspec.pipelines import pipeline

    if args.threads:
        torch.set_num_threads(args.threads)
    # A pacer that may decline to speculate would leave nothing to certify.
    options = {name: getattr(args, name) for name in _PIPELINE}
    pipe = pipeline("caption", args.model, pacer="fixed", **options)
    report = certify(
        pipe.engine,
        _requests(pipe, args),
        samples=args.samples,
        positions=args.positions,
        seed=args.seed,
        tolerance=args.tolerance,
        progress=_progress if not args.quiet and sys.stderr.isatty() else None,
    )
    console.result(str(report))
    console.document(
        {
            "command": "certify",
            "model": args.model,
            "method": pipe.method.name,
            "certificate": report.promise,
            **report.to_json(),
        }
    )
    return 0 if report.lossless else 1


def _requests(pipe: CaptionPipeline, args: argparse.Namespace) -> list[Request]:
    """Batches of the inputs; the last one is filled up by repeating them."""
    from mmspec.pipelines.inputs import list_sources, open_source
    from mmspec.sampling import Sampling
    from mmspec.token_target import Request

    sources, _ = list_sources(args.inputs)
    media: Sequence[Any] = [open_source(source, 8, None) for source in sources]
    size = args.batch_size
    count = -(-len(media) // size)
    filled = list(islice(cycle(media), count * size))
    sampling = Sampling(max_new_tokens=args.max_new_tokens, stop_ids=pipe.target.stop_ids)
    batches = [filled[start : start + size] for start in range(0, len(filled), size)]
    return [Request(pipe.prepare(batch, args.prompt), sampling) for batch in batches]


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{done} of {total} sampled runs{end}")
    sys.stderr.flush()
