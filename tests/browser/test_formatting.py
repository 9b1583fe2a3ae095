"""Text from outside is shown as it is, whatever Markdown it holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.browser.formatting import escape_markdown, format_bytes, format_seconds, without_links

SPECIAL = "\\`*_{}[]()<>#+!|~$:&=-"
HOSTILE = [
    "![x](https://example.org/x.png)",
    "[click](https://example.org)",
    "<img src=x onerror=alert(1)>",
    "https://example.org/x",
    "WWW.example.org",
    "me@example.org",
    ":material/delete: :red[x] :smile:",
    "$x^2$ and $$y$$",
    "# heading",
    "1. list",
    "a\n\n# b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_markdown_is_left(text: str) -> None:
    escaped = escape_markdown(text)
    assert not re.search(r"(?<!\\)[\[\]<>`*_#$:!]", escaped)
    assert not re.search(r"://|www\.|[^\u2060]@|^\d+\.", escaped, re.IGNORECASE)
    assert "\n" not in escaped


def test_a_name_that_begins_as_a_list_has_one_backslash() -> None:
    assert escape_markdown("1. kick.wav") == "1\\. kick.wav"


@given(st.text(alphabet=SPECIAL + "ab1. \n\\", max_size=30))
def test_escaping_only_adds_backslashes_and_joiners(text: str) -> None:
    assert re.sub(r"\\([^\sA-Za-z0-9])|\u2060", r"\1", escape_markdown(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE[:8])
def test_a_report_keeps_its_tables_but_no_links_and_no_html(text: str) -> None:
    report = f"# Results\n\n| label | P@1 |\n| --- | --- |\n| {text} | **.7** |\n\n`a[0]`\n"
    shown = without_links(report)
    assert "| --- | --- |" in shown
    assert "**.7**" in shown
    assert "`a[0]`" in shown
    (row,) = (line for line in shown.splitlines() if "**.7**" in line)
    assert not re.search(r"(?<!\\)[\[\]<$]|(?<!\\):[a-z]|://|www\.", row)


def test_durations_and_sizes_change_their_unit() -> None:
    assert [format_seconds(value) for value in (59.9, 60, 3_600)] == ["59.9 s", "1:00", "1:00:00"]
    assert [format_bytes(value) for value in (999, 1_000, 2e12)] == ["999 B", "1.0 kB", "2.0 TB"]
