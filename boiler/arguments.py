"""Command-line parsing for all commands. `--wav_dir` and `--wav-dir` are the same flag.

A command is a module with `add_arguments(parser)`, `run(args) -> int` (the exit code) and `main(argv=None) -> int`;
`boiler.cli` uses the same functions, so `boiler index` and `python -m boiler.index` are the same command.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import ipaddress
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol
from unicodedata import category

from boiler.errors import BoilerError

# Read when torch is loaded, which comes later. Idle threads of OpenMP shall sleep, not spin: on two cores with other
# work on both, training with spinning ones kept 15 % of its speed, with sleeping ones 88 % (exp/benchmarks/beside.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that accepts `-` for `_` in flags, keeps the layout of its description, and
    refuses abbreviations, so that a new flag cannot change the meaning of an existing script."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # argparse's own long list of keywords

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]  # as in argparse
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args([underscored(word) for word in given], namespace)


class SettingsFlag(Protocol):
    """Adds the flag of one setting."""

    def __call__(self, name: str, kind: type, what: str, choices: Sequence[str] | None = None) -> None: ...


def settings_flags(parser: argparse.ArgumentParser, settings: type) -> SettingsFlag:
    """A function that adds flags named after fields of the dataclass `settings`. A flag that is not given is not in the
    parsed arguments; its help states the default of the field, unless that is None or `auto`."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}

    def flag(name: str, kind: type, what: str, choices: Sequence[str] | None = None) -> None:
        default = "" if defaults[name] in (None, "auto") else f" (default {defaults[name]})"
        parser.add_argument(f"--{name}", type=kind, choices=choices, default=argparse.SUPPRESS, help=f"{what}{default}")

    return flag


class _RenamedFlag(argparse.Action):
    """The old name of a flag: prints the new name on stderr, then acts like it."""

    def __init__(self, option_strings: Sequence[str], dest: str, new: argparse.Action) -> None:
        super().__init__(
            option_strings,
            dest,
            nargs=new.nargs,
            type=new.type,  # type: ignore[arg-type]
            choices=new.choices,
            help=argparse.SUPPRESS,
        )
        self.default = argparse.SUPPRESS
        self._new = new

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(f"boiler: {option_string} is deprecated: use {self._new.option_strings[0]}", file=sys.stderr)
        self._new(parser, namespace, values, option_string)


def add_renamed(parser: argparse._ActionsContainer, old: str, new: argparse.Action) -> None:
    """Keep the old name of a flag for one version. It is not shown in --help; using it prints the new name on
    stderr."""
    parser.add_argument(old, dest=new.dest, action=_RenamedFlag, new=new)


def port(text: str) -> int:
    """The argparse type of a port: 0 (any free one) to 65535."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{number} is not a port: give a number from 0 to 65535")
    return number


def at_least_1(text: str) -> int:
    """The argparse type of a count that must be at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1, not {number}")
    return number


def underscored(word: str) -> str:
    """The word with the dashes inside a long flag replaced by underscores; the value of the flag is unchanged.

    >>> underscored("--wav-dir=my-sounds"), underscored("my-sounds"), underscored("--")
    ('--wav_dir=my-sounds', 'my-sounds', '--')
    """
    if not word.startswith("--") or len(word) == 2:
        return word
    name, equals, value = word[2:].partition("=")
    return "--" + name.replace("-", "_") + equals + value


def command(
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
) -> int:
    """Parse the arguments, run a command and return its exit code: 2 for an error of boiler, whose message goes to
    stderr, 130 for Ctrl-C."""
    parser = Parser(prog=prog, description=description)
    add_arguments(parser)
    # Intermixed: positional arguments may be separated by flags, as in `boiler index DIR --pt_path CKPT ENCODER`.
    return run_or_report(run, parser.parse_intermixed_args(argv))


_PLACE_ERRORS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
    }
)
"""What is wrong with a place that the user gave, not with the program."""


def printable(text: str) -> str:
    """The text for a terminal: control characters, which a file name may contain, are shown as escapes, except line
    breaks and tabs.

    >>> printable("a\\x1b[31mb\\rc")
    'a\\\\x1b[31mb\\\\x0dc'
    """
    if text.isprintable():
        return text
    return "".join(f"\\x{ord(one):02x}" if one not in "\n\t" and category(one) == "Cc" else one for one in text)


def exit_at_interrupt() -> None:
    """Let Ctrl-C end the process with a sentence, until `run_or_report` runs a command.

    For modules that are run by `python -m`, before they import anything slow: an interrupted import prints a traceback,
    and libraries may take the `KeyboardInterrupt` for a fault of their own.
    """
    signal.signal(signal.SIGINT, _exit_stopped)


@contextlib.contextmanager
def exiting_at_interrupt() -> Iterator[None]:
    """As `exit_at_interrupt`, while the block runs. Outside of the main thread, which gets no signals, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    exit_at_interrupt()
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _exit_stopped(number: int, frame: FrameType | None) -> None:
    os.write(2, b"boiler: stopped\n")
    os._exit(130)


def run_or_report(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """`run(args)`, with an error of boiler printed as a message instead of a traceback."""
    if signal.getsignal(signal.SIGINT) is _exit_stopped:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run(args)
        if sys.stdout is not None:  # as in a program without a console
            sys.stdout.flush()
        return code
    except BoilerError as error:
        print(printable(f"boiler: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # as in `boiler status MODEL_DIR | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _PLACE_ERRORS or error.filename is None:
            raise
        print(
            printable(f"boiler: {error.filename}: {error.strerror}: check its permissions, or give another place"),
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("boiler: stopped", file=sys.stderr)
        return 130


def is_loopback(address: str | None) -> bool:
    """Whether a server at this address can be reached from this machine only. None and names other than `localhost`
    are not.

    >>> [is_loopback(address) for address in ("127.0.0.1", "::1", "localhost", "0.0.0.0", None)]
    [True, True, True, False, False]
    """
    if address == "localhost":
        return True
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
