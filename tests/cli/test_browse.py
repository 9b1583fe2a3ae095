"""`boiler browse`: what it refuses, and what it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import APP

from boiler.cli import browse


def test_a_folder_that_is_no_model_directory_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOILER_MODEL_DIR", "")
    assert browse.main([str(tmp_path)]) == 2
    assert "run boiler index" in capsys.readouterr().err


def test_it_runs_streamlit_for_this_machine_only_unless_another_address_is_given() -> None:
    command = browse.streamlit_command("127.0.0.1", 8600, headless=True)
    assert command[1:5] == ["-m", "streamlit", "run", str(APP)]
    assert command[command.index("--server.address") + 1] == "127.0.0.1"
    assert command[command.index("--server.headless") + 1] == "true"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104
def test_other_machines_are_served_only_if_asked_for(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOILER_MODEL_DIR", "")
    started: list[list[str]] = []

    def execv(program: str, words: list[str]) -> None:
        started.append(words)
        raise SystemExit(0)  # it does not return

    monkeypatch.setattr("os.execv", execv)
    assert browse.main(["--host", host]) == 2
    assert "--allow_anyone" in capsys.readouterr().err
    assert started == []
    with pytest.raises(SystemExit):
        browse.main(["--host", host, "--allow-anyone"])
    assert [host in words for words in started] == [True]


def test_the_streamlit_settings_bind_to_loopback_and_disable_telemetry() -> None:
    settings = (APP.parent / ".streamlit" / "config.toml").read_text()
    assert 'address = "127.0.0.1"' in settings
    assert "gatherUsageStats = false" in settings
    assert 'showErrorDetails = "none"' in settings
