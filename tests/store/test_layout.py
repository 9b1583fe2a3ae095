"""The map: similar sounds are adjacent, the same index gives the same map, and an update moves few points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boiler import engine
from boiler.arrays import Float32Array
from boiler.search.nearest import Nearest
from boiler.store import generation, layout
from boiler.store.generation import Header, Item, rows_of

DIM = 16


def groups(n_items: int, n_groups: int = 4, seed: int = 0) -> tuple[Float32Array, np.ndarray]:
    """Unit vectors around a few centres, and the group of each."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(n_groups, DIM))
    group = random.integers(0, n_groups, n_items)
    return engine.normalize(centres[group] + 0.25 * random.normal(size=(n_items, DIM))), group


def publish(model_dir: Path, vectors: Float32Array, numbers: np.ndarray) -> Nearest:
    items = [Item(int(n), f"{n}.wav", duration_s=5.0, label="even" if n % 2 == 0 else None) for n in numbers]
    generation.publish(model_dir, Header(encoder="random", dim=DIM), vectors, rows_of(numbers, end_s=5.0), items)
    return Nearest(model_dir)


def share_of_neighbours_in_group(xy: np.ndarray, group: np.ndarray) -> float:
    """How often the nearest point on the map is of the same group."""
    distances = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((group[distances.argmin(axis=1)] == group).mean())


@pytest.mark.parametrize("n_items", [12, 49, 50, 300])
def test_similar_items_are_adjacent_and_in_one_cluster(n_items: int) -> None:
    vectors, group = groups(n_items)
    places = layout.layout_map(vectors, np.arange(n_items))
    found = layout.collection_map(places, (None,) * n_items)
    assert found.xy.min() >= 0
    assert found.xy.max() <= 1
    assert np.ptp(found.xy, axis=0).max() == pytest.approx(1)
    assert share_of_neighbours_in_group(found.xy, group) > 0.9
    counts = np.bincount(found.cluster)
    assert (np.diff(counts) <= 0).all()
    if len(counts) >= 4:  # with fewer clusters than groups, some contain two
        pure = sum(np.bincount(group[found.cluster == one]).max() for one in range(len(counts)))
        assert pure > 0.9 * n_items


@pytest.mark.parametrize("n_items", [0, 1, 2, 3])
def test_there_is_a_map_of_up_to_three_items(n_items: int) -> None:
    vectors, _ = groups(n_items)
    found = layout.collection_map(layout.layout_map(vectors, np.arange(n_items)), (None,) * n_items)
    assert found.xy.shape == (n_items, 2)
    assert ((found.xy >= 0) & (found.xy <= 1)).all()


def test_items_that_are_all_the_same_have_places() -> None:
    vectors = np.repeat(groups(1)[0], 80, axis=0)
    assert np.isfinite(layout.collection_map(layout.layout_map(vectors, np.arange(80)), (None,) * 80).xy).all()


def test_the_same_vectors_give_the_same_map() -> None:
    vectors, _ = groups(200)
    assert layout.layout_map(vectors, np.arange(200)).tobytes() == layout.layout_map(vectors, np.arange(200)).tobytes()


def test_items_beyond_the_sample_are_placed_beside_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, group = groups(500)
    monkeypatch.setattr(layout, "MAX_FITTED", 100)
    xy = layout.collection_map(layout.layout_map(vectors, np.arange(500)), (None,) * 500).xy
    assert share_of_neighbours_in_group(xy, group) > 0.9


def test_approximate_neighbours_are_nearly_all_true_ones() -> None:
    vectors, _ = groups(6_000, n_groups=30)
    assert len(vectors) > layout._EXACT_UP_TO
    rows, distances = layout._neighbours(vectors, vectors[:100], 10)
    truth = np.argsort(-(vectors[:100] @ vectors.T), axis=1)[:, :10]
    assert np.mean([len({*some.tolist()} & {*true.tolist()}) for some, true in zip(rows, truth, strict=True)]) > 9
    assert (np.diff(distances, axis=1) >= -1e-6).all()
    exact = np.linalg.norm(vectors[:100, None] - vectors[rows], axis=2)
    np.testing.assert_allclose(distances, exact, atol=1e-3)


def test_the_first_item_is_a_neighbour_like_any_other() -> None:
    vectors, _ = groups(6_000, n_groups=30)
    vectors[1] = engine.normalize(vectors[:1] + 1e-3)[0]
    rows, _ = layout._neighbours(vectors, vectors[1:2], 3)
    assert rows[0, :2].tolist() == [1, 0]


def test_a_few_new_items_move_no_point_and_are_placed_in_their_group(tmp_path: Path) -> None:
    vectors, group = groups(120)
    before = publish(tmp_path, vectors[:110], np.arange(110)).map()
    kept = np.setdiff1d(np.arange(120), [3, 7])  # two go, ten come
    after = publish(tmp_path, vectors[kept], kept).map()
    assert before is not None
    assert after is not None
    assert after.n.tolist() == kept.tolist()
    old = kept[kept < 110]
    assert (after.xy[: len(old)] == before.xy[old]).all()
    assert share_of_neighbours_in_group(after.xy, group[kept]) > 0.9


def test_a_changed_item_moves(tmp_path: Path) -> None:
    vectors, group = groups(100)
    before = publish(tmp_path, vectors, np.arange(100)).map()
    changed = vectors.copy()
    other = int(np.flatnonzero(group != group[0])[0])
    changed[0] = vectors[other]
    after = publish(tmp_path, changed, np.arange(100)).map()
    assert before is not None
    assert after is not None
    assert np.linalg.norm(after.xy[0] - after.xy[other]) < 0.05 < np.linalg.norm(before.xy[0] - after.xy[0])


def test_an_item_whose_vector_increased_in_every_direction_moves(tmp_path: Path) -> None:
    vectors, _ = groups(60)
    vectors[0] = -np.abs(vectors[0])
    np.save(tmp_path / "item_vectors.npy", vectors)
    before = layout.layout_map(vectors, np.arange(60))
    np.save(tmp_path / layout.MAP_FILE, before)
    vectors[0] = np.abs(vectors[0])
    after = layout.layout_map(vectors, np.arange(60), before=tmp_path)
    assert np.flatnonzero(after["later"]).tolist() == [0]
    assert (after[["x", "y"]] != before[["x", "y"]]).nonzero()[0].tolist() == [0]


def test_with_many_new_items_the_layout_is_refitted_from_the_old_one(tmp_path: Path) -> None:
    vectors, group = groups(200)
    before = publish(tmp_path, vectors[:140], np.arange(140)).map()
    after = publish(tmp_path, vectors, np.arange(200)).map()
    assert before is not None
    assert after is not None
    assert share_of_neighbours_in_group(after.xy, group) > 0.9
    for one in range(4):  # each group is still nearest to its former place
        old = [before.xy[group[:140] == other].mean(axis=0) for other in range(4)]
        middle = after.xy[group == one].mean(axis=0)
        assert np.argmin([np.linalg.norm(middle - place) for place in old]) == one


def test_labels_match_their_items_and_silent_items_have_no_point(tmp_path: Path) -> None:
    vectors, _ = groups(4)
    items = [Item(n, f"{n}.wav", duration_s=5.0, label=str(n), silent=n == 2) for n in range(5)]
    rows = rows_of(np.array([0, 1, 3, 4]), end_s=5.0)
    generation.publish(tmp_path, Header(encoder="random", dim=DIM), vectors, rows, items)
    found = Nearest(tmp_path).map()
    assert found is not None
    assert found.n.tolist() == [0, 1, 3, 4]
    assert found.labels == ("0", "1", "3", "4")


def test_an_older_index_without_a_map_opens(tmp_path: Path) -> None:
    import json

    vectors, _ = groups(5)
    publish(tmp_path, vectors, np.arange(5)).close()
    current = tmp_path / "current"
    (current / layout.MAP_FILE).unlink()
    manifest = json.loads((current / "manifest.json").read_text())
    del manifest["files"][layout.MAP_FILE], manifest["xxh3"]  # manifests of that time had no checksum
    (current / "manifest.json").write_text(json.dumps(manifest))
    assert Nearest(tmp_path).map() is None
    assert publish(tmp_path, vectors, np.arange(5)).map() is not None
