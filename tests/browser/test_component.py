"""Every component is made of files that exist and fit together."""

from __future__ import annotations

import re
from typing import Any

import pytest
import streamlit as st

from boiler.browser import component

SCRIPTS = {"cards": ("waveform.js",), "map": ("plot.js",), "explanation": ()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_of_a_component_declare_no_name_twice_and_export_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(st.components.v2, "component", lambda name, **files: given.update(files, name=name))
    component.load_component(name, *SCRIPTS[name])
    assert given["name"] == f"boiler_{name}"
    assert f".{name} {{" in given["css"]
    names = re.findall(r"^(?:const|let|function) (\w+)", given["js"], re.MULTILINE)
    assert sorted(names) == sorted(set(names))
    assert given["js"].count("export default") == 1
    assert f'querySelector(".{name}")' in given["js"]


def test_a_file_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        component.load_component("nothing")
