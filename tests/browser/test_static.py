"""The colours of the map are distinguishable with any kind of colour blindness, on light and dark backgrounds.

Sources: G. Machado, M. Oliveira, L. Fernandes, A physiologically-based model for simulation of color vision deficiency,
2009 (the matrices, for eyes without one kind of cone); CIE 1976 L*a*b*, where a distance of 2 is just noticeable
between two large adjacent areas; points on a map need several times as much.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from boiler import browser
from boiler.arrays import Float64Array
from boiler.browser import map_data

HERE = Path(browser.__file__).parent
SCRIPT = (HERE / "static" / "map.js").read_text(encoding="utf-8")
THEME = tomllib.loads((HERE.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
MIN_DISTANCE = 15.0


def palette(name: str) -> list[str]:
    found = re.search(rf"const {name} = \[(.*)\];", SCRIPT)
    assert found is not None
    return re.findall(r"#[0-9a-f]{6}", found[1])


def perceived(colour: str, eye: str) -> Float64Array:
    """L*, a*, b* of an sRGB colour, as this eye perceives it."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.asarray(EYES[eye]) @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 216 / 24_389, np.cbrt(xyz), (24_389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_perceived_colours_agree_with_known_values() -> None:
    np.testing.assert_allclose(perceived("#ffffff", "all cones"), [100, 0, 0], atol=0.05)
    np.testing.assert_allclose(perceived("#ff0000", "all cones"), [53.2, 80.1, 67.2], atol=0.1)
    far = np.linalg.norm(perceived("#ff0000", "all cones") - perceived("#00a000", "all cones"))
    assert far > 2 * np.linalg.norm(perceived("#ff0000", "no green") - perceived("#00a000", "no green"))


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(("name", "background"), [("LIGHT", "light"), ("DARK", "dark")])
def test_all_colours_differ_from_each_other_and_from_the_background(name: str, background: str, eye: str) -> None:
    colours = [*palette(name), THEME[background]["secondaryBackgroundColor"]]
    assert len(colours) == map_data.N_COLOURS + 2  # all others, and the background
    apart = {
        (one, other): float(np.linalg.norm(perceived(one, eye) - perceived(other, eye)))
        for one, other in itertools.combinations(colours, 2)
    }
    assert {pair: round(value) for pair, value in apart.items() if value < MIN_DISTANCE} == {}
