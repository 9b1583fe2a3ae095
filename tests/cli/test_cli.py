"""`boiler` runs every subcommand, lists them, and starts quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import boiler
from boiler import cli


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "boiler", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [(), ("--help",), ("help",)])
def test_help_shows_every_command_with_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert f"  {name} " in said
        assert f"$ {command.example}" in said
        assert command.example.startswith(f"boiler {name}")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: boiler {name}")
    assert "$" in said or "boiler" in said


def test_a_mistyped_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serach"]) == 2
    assert "did you mean 'search'" in capsys.readouterr().err


def test_the_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"boiler {boiler.__version__}\n"


def test_help_loads_neither_torch_nor_the_service() -> None:
    code = "import sys; from boiler import cli; cli.main(['--help']); print({'torch', 'fastapi'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "set()"


def test_python_dash_m_boiler_is_the_same_command() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"boiler {boiler.__version__}\n")


def test_ctrl_c_while_modules_load_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "interrupted_import.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    command = cli.COMMANDS["status"]._replace(module="interrupted_import")
    monkeypatch.setattr(cli, "COMMANDS", {"status": command})
    assert cli.main(["status"]) == 130
    assert capsys.readouterr().err == "boiler: stopped\n"
