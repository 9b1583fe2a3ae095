"""The entry point for ASGI servers, and its old name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from boiler.api import web
from boiler.service.app import BoilerApp


def test_app_is_a_boiler_app_without_an_index() -> None:
    assert isinstance(web.app, BoilerApp)
    assert web.app.state.service is None


@pytest.mark.slow
def test_importing_needs_no_settings_and_no_torch() -> None:
    script = "import sys, boiler.api.web; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_web_is_a_deprecated_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"boiler.api.web.Web is deprecated: use boiler.api.web.BoilerApp"):
        assert web.Web is BoilerApp
