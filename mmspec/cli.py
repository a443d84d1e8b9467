"""The command line. Each command is imported when it is chosen, so help and errors are instant."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from mmspec import __version__
from mmspec.allocator import keep_freed_memory
from mmspec.commands.console import UsageError, complain

# Command -> (module with `add_arguments(parser)` and `run(args) -> exit status`, help).
COMMANDS: dict[str, tuple[str, str]] = {
    "caption": ("mmspec.commands.caption", "caption pictures, clips and folders"),
    "image": ("mmspec.commands.image", "generate pictures from prompts or classes"),
    "video": ("mmspec.commands.video", "generate videos from prompts, block by block"),
    "demo": ("mmspec.commands.demo", "serve the demo in a browser"),
    "methods": ("mmspec.commands.methods", "list the speculative methods"),
    "train": ("mmspec.commands.train", "train a drafter or the embedded models"),
    "export": ("mmspec.commands.export", "write a drafter in the format that vLLM serves"),
    "bench": ("mmspec.commands.bench", "benchmark methods side by side"),
    "certify": ("mmspec.commands.certify", "prove that a method is lossless on your model"),
    "doctor": ("mmspec.commands.doctor", "check the installation and measure this machine"),
}
OK, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 for success, 1 where the work failed, 2 for wrong usage.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        parser, module = _parser(words)
        args = parser.parse_args(words)
    except SystemExit as stop:  # argparse has already said why
        return stop.code if isinstance(stop.code, int) else USAGE
    if module is None:
        parser.print_help()
        return OK
    keep_freed_memory()
    try:
        return int(module.run(args))
    except KeyboardInterrupt:
        complain("interrupted")
        return FAILED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain about it at exit.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return FAILED
    except Exception as error:
        if debug:
            raise
        complain(one_line(error))
        return USAGE if isinstance(error, UsageError) else FAILED


def one_line(error: BaseException) -> str:
    """What went wrong in one line; a name is put in front where the text alone says little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no reason given"
    expected = isinstance(error, ValueError | OSError | RuntimeError | ImportError)
    return text if lines and expected else f"{type(error).__name__}: {text} (--debug shows where)"


def _parser(words: Sequence[str]) -> tuple[argparse.ArgumentParser, ModuleType | None]:
    """The parser, with the arguments of the chosen command only, and that command's module."""
    parser = argparse.ArgumentParser(
        prog="mmspec",
        description="Speculative decoding for multimodal generation: same output, less time.",
        epilog="`mmspec COMMAND --help` explains a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mmspec {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((word for word in words if not word.startswith("-")), None)
    module = None
    for name, (path, about) in COMMANDS.items():
        sub = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False
        )
        if name == chosen:
            module = importlib.import_module(path)
            module.add_arguments(sub)
            sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser, module


if __name__ == "__main__":
    sys.exit(main())
