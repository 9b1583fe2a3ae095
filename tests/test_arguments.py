"""Dashes and underscores in flags are equivalent; errors are one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boiler import arguments
from boiler.errors import QueryError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wav_dir", required=True)


def run_printing(args: argparse.Namespace) -> int:
    print(args.wav_dir)
    return 0


def call(argv: list[str], run=run_printing) -> int:
    return arguments.command(argv, prog="boiler", description="", add_arguments=add_arguments, run=run)


@pytest.mark.parametrize(
    "argv", [["--wav_dir", "my-sounds"], ["--wav-dir", "my-sounds"], ["--wav-dir=my-sounds"], ["--wav_dir=my-sounds"]]
)
def test_dashes_and_underscores_in_flags_are_equivalent(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(argv) == 0
    assert capsys.readouterr().out == "my-sounds\n"


def test_an_abbreviation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(["--wav", "my-sounds"])
    assert "--wav_dir" in capsys.readouterr().err


def test_a_boiler_error_prints_one_sentence_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(args: argparse.Namespace) -> int:
        raise QueryError("k must be at least 1")

    assert call(["--wav_dir", "x"], refuse) == 2
    assert capsys.readouterr().err == "boiler: k must be at least 1\n"


def test_ctrl_c_exits_with_130() -> None:
    def stop(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert call(["--wav_dir", "x"], stop) == 130


@pytest.mark.parametrize(
    ("kind", "good", "bad"), [("port", "0", "65536"), ("port", "65535", "-1"), ("at_least_1", "1", "0")]
)
def test_a_number_out_of_range_is_refused_with_the_name_of_its_flag(
    kind: str, good: str, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = arguments.Parser(prog="boiler")
    parser.add_argument("--number", type=getattr(arguments, kind))
    assert parser.parse_args(["--number", good]).number == int(good)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--number={bad}"])
    assert bad in capsys.readouterr().err


def test_a_deprecated_flag_still_works_and_names_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    def add_renamed_arguments(parser: argparse.ArgumentParser) -> None:
        arguments.add_renamed(parser, "--fold", parser.add_argument("--dedup_distance", type=float, default=None))
        arguments.add_renamed(parser, "--hubs", parser.add_argument("--csls", action="store_true"))

    def run(args: argparse.Namespace) -> int:
        print(args.dedup_distance, args.csls)
        return 0

    def called(*argv: str) -> str:
        code = arguments.command(argv, prog="boiler", description="", add_arguments=add_renamed_arguments, run=run)
        assert code == 0
        return capsys.readouterr()

    assert called().out == "None False\n"
    old = called("--fold", "0.2", "--hubs")
    assert old.out == called("--dedup_distance", "0.2", "--csls").out == "0.2 True\n"
    assert "--fold is deprecated: use --dedup_distance" in old.err
    assert "--hubs is deprecated: use --csls" in old.err
    with pytest.raises(SystemExit):
        called("--help")
    assert "--fold" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("address", "expected"),
    [("localhost", True), ("::1", True), ("127.0.0.2", True), ("", False), ("example.org", False), ("::", False)],
)
def test_only_this_machine_reaches_loopback_addresses(address: str, expected: bool) -> None:
    assert arguments.is_loopback(address) is expected


@pytest.mark.parametrize(
    "argv",
    [["a", "b", "--n", "3"], ["--n", "3", "a", "b"], ["a", "--n", "3", "b"], ["a", "--n=3", "--", "b"]],
)
def test_positional_arguments_and_flags_come_in_any_order(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def add_words(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*")
        parser.add_argument("--n", type=int)

    def run(args: argparse.Namespace) -> int:
        print(args.words, args.n)
        return 0

    assert arguments.command(argv, prog="boiler", description="", add_arguments=add_words, run=run) == 0
    assert capsys.readouterr().out == "['a', 'b'] 3\n"


SLOW_IMPORT = """
import sys, time
print("loading", flush=True)
try:
    for _ in range(6_000):
        time.sleep(0.01)
except KeyboardInterrupt:
    raise ImportError("some libraries do this")
"""


@pytest.mark.parametrize("module", ["boiler.index", "boiler.train_vqvae", "boiler index"])
def test_ctrl_c_while_modules_load_prints_one_sentence(module: str, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text(SLOW_IMPORT)  # in the place of the real one
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", *module.split(), "--help"],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "boiler: stopped\n")


def test_ctrl_c_is_an_exception_again_while_a_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(args: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    before = signal.getsignal(signal.SIGINT)
    try:
        arguments.exit_at_interrupt()
        assert call(["--wav_dir", "x"], interrupted) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "boiler: stopped\n"


@pytest.mark.slow
def test_idle_threads_of_training_sleep() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-m", "boiler.train_vqvae", "--help"]
    done = subprocess.run(command, env=environment | {"OMP_DISPLAY_ENV": "true"}, capture_output=True, text=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
