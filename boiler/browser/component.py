"""Streamlit components made of the files in ``static/``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

STATIC = Path(__file__).parent / "static"
SHARED_SCRIPTS = ("element.js", "player.js")


def load_component(name: str, *scripts: str) -> Callable[..., Any]:
    """The component ``boiler_NAME``: a section of class NAME, styled by ``NAME.css``, driven by the shared scripts, the
    given ones and ``NAME.js``, whose default export Streamlit calls with the data."""
    component: Callable[..., Any] = st.components.v2.component(
        f"boiler_{name}",
        html=f'<section class="{name}"></section>',
        css=(STATIC / f"{name}.css").read_text(encoding="utf-8"),
        js="\n".join(
            (STATIC / script).read_text(encoding="utf-8") for script in (*SHARED_SCRIPTS, *scripts, f"{name}.js")
        ),
    )
    return component
