"""The ``dfanerf`` command: finds the subcommand, and turns errors into one line and an exit status."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from dfanerf_rt.errors import DfanerfError

EXIT_FAULT = 1
EXIT_USER = 2
EXIT_INTERRUPTED = 130

Command = TypeVar("Command")


class Subcommand(NamedTuple):
    """Where a subcommand lives; its module is imported when it is asked for."""

    module: str
    command: str
    summary: str


SUBCOMMANDS = {
    "prepare": Subcommand("dfanerf_rt.cli.prepare", "PrepareCommand", "turn a video of one person into a clip"),
    "train": Subcommand("dfanerf_rt.cli.train", "TrainCommand", "train an avatar on a clip"),
    "render": Subcommand("dfanerf_rt.cli.render", "RenderCommand", "let an avatar speak a sound file, into an MP4"),
    "evaluate": Subcommand(
        "dfanerf_rt.cli.evaluate", "EvaluateCommand", "score an avatar on its clip's held-out frames"
    ),
    "demo": Subcommand("dfanerf_rt.cli.demo", "DemoCommand", "let the bundled avatar speak a bundled sentence"),
    "info": Subcommand(
        "dfanerf_rt.cli.info", "InfoCommand", "show what was built and what would run here, and why not"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``dfanerf``; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else EXIT_USER
    if arguments[0] == "--version":
        from dfanerf_rt import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in SUBCOMMANDS:
        return _complain("dfanerf", f"unknown command {name!r}; expected one of {', '.join(SUBCOMMANDS)}")

    def action() -> int:
        module = importlib.import_module(SUBCOMMANDS[name].module)
        command = parse(getattr(module, SUBCOMMANDS[name].command), f"dfanerf {name}", rest)
        status: int = module.run(command)
        return status

    return guarded(f"dfanerf {name}", action)


def usage() -> str:
    """The help of ``dfanerf`` itself, made without importing any subcommand."""
    rows = "\n".join(f"  {name:<10} {entry.summary}" for name, entry in SUBCOMMANDS.items())
    return (
        f"usage: dfanerf COMMAND [options]\n\n{rows}\n\n"
        "dfanerf COMMAND --help shows a command's options; dfanerf-live speaks live."
    )


def parse(command_type: type[Command], prog: str, arguments: Sequence[str] | None = None) -> Command:
    """Read the command line into a command dataclass; bad usage is one line on standard error and exit status 2."""
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Any = tyro.cli(command_type, prog=prog, args=arguments)
            return parsed
    except SystemExit as stop:
        if stop.code:
            raise SystemExit(_complain(prog, f"{_first_part(complaint.getvalue())} (see {prog} --help)")) from None
        raise


def guarded(prog: str, action: Callable[[], int]) -> int:
    """Run ``action``; errors a user can meet become one line and status 2, Ctrl-C 130, faults of ours 1."""
    try:
        return action()
    except (DfanerfError, PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        return _complain(prog, str(error))
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone; Python would complain once more at exit
        return EXIT_FAULT
    except Exception as fault:  # noqa: BLE001 - the last one to know about it
        traceback.print_exc()
        print(f"{prog}: a fault of the program, not of its input: {type(fault).__name__}: {fault}", file=sys.stderr)
        return EXIT_FAULT


def _complain(prog: str, message: str) -> int:
    print(f"{prog}: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER


def _first_part(box: str) -> str:
    """The message in tyro's frame, without its title and what follows its dividing line."""
    lines: list[str] = []
    for line in box.strip().splitlines()[1:]:
        text = line.strip("│|╰╯+ ")  # drawn in ASCII where the terminal knows no more
        if text.strip("─-"):
            lines.append(text)
        elif lines:
            break
    return " ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
