"""Every sound is below the top, and every folder is among the subfolders of its parent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from boiler.browser import folder_tree

folder_lists = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), st.integers(1, 9), max_size=12
).map(lambda counts: list(counts.items()))


@given(folder_lists)
def test_the_folders_at_the_top_hold_all_sounds(folders: list[tuple[str, int]]) -> None:
    assert sum(count for _, count in folder_tree.subfolders(folders, "")) == sum(count for _, count in folders)


@given(folder_lists)
def test_every_folder_is_reached_from_the_top(folders: list[tuple[str, int]]) -> None:
    for folder, _ in folders:
        *parents, last = ["", *folder_tree.ancestors(folder)]
        assert last == folder
        for parent, child in zip(parents, [*parents[1:], folder], strict=True):
            assert child in dict(folder_tree.subfolders(folders, parent))
