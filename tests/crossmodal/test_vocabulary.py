"""The word vectors of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from boiler.crossmodal import vocabulary
from boiler.errors import CheckpointError


def test_the_package_holds_40_000_words_in_3_mb_and_their_meaning() -> None:
    known = vocabulary.load()
    assert len(known) >= 40_000
    assert vocabulary.FILE.stat().st_size <= 3_000_000
    np.testing.assert_allclose(np.linalg.norm(known.vectors, axis=1), 1, atol=1e-5)

    def similarity(one: str, other: str) -> float:
        first, second = known.vector(one), known.vector(other)
        assert first is not None
        assert second is not None
        return float(first @ second)

    assert similarity("hound", "dog") > 0.5 > similarity("hound", "violin")
    assert similarity("infant", "baby") > 0.5 > similarity("infant", "engine")
    assert {"sneeze", "sneezing", "meow", "glockenspiel"} <= {*known.words}


def test_saved_words_are_the_same_up_to_8_bits(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [f"w{n}" for n in range(50)]
    vocabulary.save(tmp_path / "v.safetensors", words, vectors)
    found = vocabulary.load(tmp_path / "v.safetensors")
    assert found.words == tuple(words)
    assert (found.vectors * vectors).sum(axis=1).min() > 0.9999
    assert found.nearest(vectors[7], 3)[0][0] == "w7"


def test_unknown_words_have_known_ones_with_a_similar_spelling() -> None:
    known = vocabulary.load()
    assert "helicoptr" not in known
    assert known.spelled_alike("helicoptr")[0] == "helicopter"
    assert known.spelled_alike("zzzzzzzzzz") == []


@pytest.mark.parametrize("content", [b"", b"nothing"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="these are no word vectors"):
        vocabulary.load(tmp_path / "v.safetensors")


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys; from boiler.crossmodal import text_query, word_model;"
        " word_model.load().nearest_classes(text_query.parse('wolf growl').wanted); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
