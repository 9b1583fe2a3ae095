"""Fixtures of the tests of encoders."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def library() -> Any:
    """`transformers`, quiet. Its import takes 20 s."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers
