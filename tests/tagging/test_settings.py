"""Settings of a tag model that cannot work are refused by the name of the flag."""

from __future__ import annotations

import pytest

from boiler.errors import SettingsError
from boiler.tagging.settings import TagSettings


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ({"network": "deep"}, "--network is deep"),
        ({"loss": "square"}, "--loss"),
        ({"thresholds": "half"}, "--thresholds"),
        ({"lr": 0.0}, "--lr"),
        ({"epoch": 0}, "--epoch"),
        ({"l2": -1.0}, "--l2"),
        ({"class_weight_power": float("nan")}, "--class_weight_power"),
        ({"held_share": 1.0}, "--held_share"),
        ({"classes_per_step": 5, "network": "experts"}, "--classes_per_step"),
        ({"classes_per_step": 5, "loss": "hamming"}, "--classes_per_step"),
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, object], flag: str) -> None:
    with pytest.raises(SettingsError, match=flag):
        TagSettings(**wrong)


def test_settings_survive_a_checkpoint() -> None:
    settings = TagSettings(network="experts", l2=1e-3, threads=2)
    assert TagSettings(**settings.to_plain()) == settings
