"""Old names work for one version and say what to use instead."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from boiler.deprecated import RenamedAttribute, module_getattr, renamed_arguments


@renamed_arguments(who="user")
@dataclass(frozen=True)
class Settings:
    user: str | None = None
    who = RenamedAttribute("user")

    def greeting(self) -> str:
        return f"hello {self.user}"

    hail = RenamedAttribute("greeting")


def test_a_renamed_keyword_sets_the_new_field_and_warns_at_the_caller() -> None:
    with pytest.deprecated_call(match=r"Settings\(who=...\) is deprecated: use Settings\(user=...\)") as caught:
        made = Settings(who="ann")  # type: ignore[call-arg]
    assert made == Settings("ann")
    assert caught[0].filename == __file__


def test_a_renamed_attribute_or_method_returns_the_new_one_and_warns_at_the_caller() -> None:
    with pytest.deprecated_call(match="Settings.who is deprecated: use Settings.user") as caught:
        assert Settings("ann").who == "ann"
    with pytest.deprecated_call(match="Settings.hail is deprecated: use Settings.greeting"):
        assert Settings("ann").hail() == "hello ann"
    assert caught[0].filename == __file__


def test_both_names_of_one_argument_are_refused() -> None:
    with pytest.raises(TypeError, match="got user twice"):
        Settings(user="ann", who="bob")  # type: ignore[call-arg]


def test_a_renamed_name_of_a_module_is_found_and_an_unknown_one_is_not() -> None:
    lookup = module_getattr("boiler.deprecated", {"Renamed": "RenamedAttribute"})
    with pytest.deprecated_call(match="boiler.deprecated.Renamed is deprecated"):
        assert lookup("Renamed") is RenamedAttribute
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        lookup("nothing")
    assert "boiler.deprecated" in sys.modules
