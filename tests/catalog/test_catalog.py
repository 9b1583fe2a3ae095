"""The catalog keeps what was committed, whatever happens."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from catalogs import PROBE, add_files, add_vectors

from boiler.catalog import embed_queue
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import CatalogError


@pytest.fixture
def store(tmp_path: Path):
    with Catalog(tmp_path / CATALOG_FILE) as store:
        yield store


def test_numbers_follow_the_ids_and_are_never_reused(store: Catalog) -> None:
    add_files(store, "b.wav", "a.wav")
    assert [(one.n, one.found.id) for one in store.queue] == [(1, "a.wav"), (2, "b.wav")]
    store.queue.delete_file(2)
    add_files(store, "c.wav")
    assert [one.n for one in store.queue] == [1, 3]


def test_related_values_are_set_and_unset_in_one_statement(store: Catalog) -> None:
    """A kill between writing hash and dimension of the encoder would leave a catalog that cannot be published."""
    statements: list[str] = []
    store.db.set_trace_callback(statements.append)
    store.put(encoder_sha256="x", dim="3")
    store.unset("encoder_sha256", "dim")
    store.db.set_trace_callback(None)
    assert len(set(statements)) == 2  # each is shown again for the rows whose checksum a trigger updates
    assert store.get("encoder_sha256") is store.get("dim") is None


def test_an_embedded_file_is_an_item_with_its_windows(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav")
    add_vectors(store, 1, "aa", n_windows=2)
    add_vectors(store, 2, "bb", n_windows=0)
    assert [(item.id, item.silent, item.duration_s) for item in store.items(str)] == [
        ("a.wav", False, 8.192),
        ("b.wav", True, 8.192),
    ]
    assert [(n, start, np.frombuffer(vector, "<f4").tolist()) for n, start, _, vector in store.rows()] == [
        (1, 0.0, [2, 2, 2]),
        (1, 4.096, [3, 3, 3]),
    ]
    assert len(store.queue) == 0


def test_duplicate_files_are_embedded_once_and_are_two_items(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav")
    add_vectors(store, 1, "aa")
    store.queue.set_hash(2, "aa")
    assert [item.id for item in store.items(str)] == ["a.wav", "b.wav"]
    assert [n for n, *_ in store.rows()] == [1, 2]
    assert len(store.queue) == 0
    store.queue.delete_file(1)
    store.queue.delete_unused()
    assert [n for n, *_ in store.rows()] == [2]


def test_a_duplicate_that_finishes_first_is_used(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav")
    c, _ = store.queue.begin(1)
    store.queue.add_windows([(c, 0.0, 8.192, np.ones(3, np.float32))])
    add_vectors(store, 2, "aa")
    store.queue.finish(1, c, "aa", 1, PROBE)
    assert [n for n, *_ in store.rows()] == [1, 2]


def test_a_failure_applies_to_the_content_and_a_problem_to_the_file(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav", "c.wav")
    store.queue.fail(1, "aa", "is empty")
    store.queue.set_hash(2, "aa")
    store.queue.set_problem(3, "no permission")
    assert [(one.id, one.reason) for one in store.failures()] == [
        ("a.wav", "is empty"),
        ("b.wav", "is empty"),
        ("c.wav", "no permission"),
    ]
    assert [one.n for one in store.queue] == [3]
    store.queue.retry_failed()
    assert [one.n for one in store.queue] == [1, 2, 3]


def test_a_partly_embedded_file_is_resumed(store: Catalog) -> None:
    add_files(store, "a.wav")
    c, known = store.queue.begin(1)
    assert known == set()
    store.queue.add_windows([(c, 0.0, 8.192, np.ones(3, np.float32))])
    assert store.queue.begin(1) == (c, {0.0})
    assert list(store.rows()) == []  # not an item before its end
    assert len(store.queue) == 1


def test_every_visible_change_raises_the_revision(store: Catalog) -> None:
    seen = [store.revision]
    add_files(store, "a.wav", "b.wav")
    seen.append(store.revision)
    add_vectors(store, 1, "aa")
    seen.append(store.revision)
    store.queue.set_problem(2, "no permission")
    seen.append(store.revision)
    store.update_columns(lambda id: ("label", {"bpm": 1}))
    seen.append(store.revision)
    store.update_columns(lambda id: ("label", {"bpm": 1}))
    assert store.revision == seen[-1]
    assert seen == sorted(set(seen))


def test_a_transaction_is_atomic(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav")
    with pytest.raises(RuntimeError), store.transaction():
        store.queue.delete_file(1)
        store.commit()
        store.queue.delete_file(2)
        raise RuntimeError
    assert [one.n for one in store.queue] == [2]


def test_a_file_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").write_bytes(b"not a database, and long enough to be looked at" * 50)
    with pytest.raises(CatalogError, match=r"boiler index .* --repair"):
        Catalog(tmp_path / "catalogue.sqlite")


def test_a_kill_keeps_exactly_what_was_committed(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from catalogs import add_files, add_vectors
        from boiler.catalog.catalog import CATALOG_FILE, Catalog
        store = Catalog(Path(sys.argv[1]))
        add_files(store, *(f"{{n}}.wav" for n in range(1, 9)))
        with store.transaction():
            add_vectors(store, 1, "1")
            store.commit()
            add_vectors(store, 2, "2")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "catalogue.sqlite")], check=False)
    with Catalog(tmp_path / "catalogue.sqlite") as store:
        assert [n for n, *_ in store.rows()] == [1]
        assert len(store.queue) == 7


def test_a_file_that_times_out_is_tried_three_times(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav")
    revisions = [store.revision]
    for _ in range(embed_queue.MAX_TRIES):
        assert [one.n for one in store.queue] == [1, 2]
        store.queue.fail(1, "aa", "too slow", may_pass=True)
        revisions.append(store.revision)
    assert [one.n for one in store.queue] == [2]
    assert [one.reason for one in store.failures()] == ["too slow"]
    # The first failure and the last one are published; the try in between changes nothing that is published.
    assert [before != after for before, after in pairwise(revisions)] == [True, False, True]
    store.queue.retry_failed()
    assert [one.n for one in store.queue] == [1, 2]


def test_a_second_try_may_succeed_or_fail_permanently(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav")
    for n, sha256 in ((1, "aa"), (2, "bb")):
        store.queue.fail(n, sha256, "too slow", may_pass=True)
    assert [one.reason for one in store.failures()] == ["too slow; the next run tries again"] * 2
    add_vectors(store, 1, "aa")
    store.queue.fail(2, "bb", "is empty")
    assert [item.id for item in store.items(str)] == ["a.wav"]
    assert [(one.id, one.reason) for one in store.failures()] == [("b.wav", "is empty")]
    assert len(store.queue) == 0
    store.queue.fail(1, "aa", "too slow", may_pass=True)  # as from a duplicate: what was embedded stays
    assert [n for n, *_ in store.rows()] == [1]


def test_windows_embedded_before_a_timeout_are_kept_for_the_next_try(store: Catalog) -> None:
    add_files(store, "a.wav")
    c, _ = store.queue.begin(1)
    store.queue.add_windows([(c, 0.0, 8.192, np.ones(3, np.float32))])
    store.queue.fail(1, "aa", "too slow", may_pass=True)
    store.queue.delete_unused()
    assert store.queue.begin(1) == (c, {0.0})
    store.queue.add_windows([(c, 4.096, 12.288, np.ones(3, np.float32))])
    store.queue.finish(1, c, "aa", 1, PROBE)
    assert [start_s for _, start_s, _, _ in store.rows()] == [0.0, 4.096]
    assert len(store.queue) == 0


def test_what_could_not_be_decoded_of_a_file_is_kept_as_long_as_its_bytes(store: Catalog) -> None:
    add_files(store, "a.wav", "b.wav", "c.wav")
    add_vectors(store, 1, "aa")
    c, _ = store.queue.begin(2)
    store.queue.finish(2, c, "bb", 1, PROBE, "it ends 3.0 s before the end that it states")
    store.queue.set_hash(3, "bb")
    assert [(one.id, one.sha256) for one in store.warnings()] == [("b.wav", "bb"), ("c.wav", "bb")]
    assert [item.warning[:16] for item in store.items(str)] == ["", "it ends 3.0 s be", "it ends 3.0 s be"]
    store.queue.delete_file(2)
    store.queue.delete_unused()
    assert [one.id for one in store.warnings()] == ["c.wav"]
    store.queue.delete_file(3)
    store.queue.delete_unused()
    assert store.get("warning:bb") is None
    add_files(store, "d.wav")
    add_vectors(store, 4, "bb")
    assert store.warnings() == []
