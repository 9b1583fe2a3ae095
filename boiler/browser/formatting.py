"""Text for the pages: durations, sizes, counts, and text from outside made safe for Streamlit, which reads Markdown."""

from __future__ import annotations

import re

from boiler.catalog.items import Item

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~$:&=-])")
_AUTOLINK = re.compile(r"://|www\.|@(?=[-\w]+\.[-\w])", re.IGNORECASE)
_WORD_JOINER = "\u2060"  # invisible; inside "://" it keeps Markdown from making a link of a bare address


def escape_markdown(text: str) -> str:
    """The text, shown by Streamlit as it is: no Markdown, no HTML, no emoji code, no link, all on one line.

    File names, labels and URL parameters come from outside: `![](https://...)` in one would make the visitor's browser
    fetch that address.

    >>> print(escape_markdown("![x](y) *loop*"))
    \\!\\[x\\]\\(y\\) \\*loop\\*
    """
    text = " ".join(text.split())
    text = _AUTOLINK.sub(lambda found: found[0][:-1] + _WORD_JOINER + found[0][-1], text)
    text = _MARKDOWN.sub(r"\\\1", text)
    return re.sub(r"^(\d+)\.(?=\s|$)", r"\1\\.", text)  # the first item of a numbered list


def without_links(markdown: str) -> str:
    """A Markdown document with headings, tables and emphasis, but without links, images, HTML, emoji codes and maths:
    `boiler evaluate` writes labels into its report, and those come from outside.

    >>> print(without_links("**bold** ![x](https://example.org) `a[0]`"))
    **bold** !\\[x\\](https:/⁠/example.org) `a[0]`
    """
    parts = re.split(r"(```.*?```|`[^`\n]*`)", markdown, flags=re.DOTALL)
    for place in range(0, len(parts), 2):  # the others are code
        text = _AUTOLINK.sub(lambda found: found[0][:-1] + _WORD_JOINER + found[0][-1], parts[place])
        parts[place] = re.sub(r"(?<!\\)([\[\]<$]|:(?=[A-Za-z⁠]))", r"\\\1", text)
    return "".join(parts)


def item_name(item: Item) -> str:
    """The file name of an item, escaped for a label."""
    return escape_markdown(item.id.rpartition("/")[2])


def count_noun(n: int, noun: str) -> str:
    """A number and its noun.

    >>> count_noun(1, "sound"), count_noun(1_200, "sound")
    ('1 sound', '1,200 sounds')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def format_seconds(value_s: float) -> str:
    """A position or the length of one sound: tenths below a minute, minutes and hours above.

    >>> format_seconds(4.096), format_seconds(83.2), format_seconds(7_265)
    ('4.1 s', '1:23', '2:01:05')
    """
    if value_s < 60.0:
        return f"{value_s:.1f} s"
    minutes, seconds = divmod(int(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def format_total_duration(value_s: float) -> str:
    """The length of many sounds together.

    >>> format_total_duration(40.0), format_total_duration(1_980.0), format_total_duration(45_000.0)
    ('40 s', '33 min', '12.5 h')
    """
    if value_s < 60:
        return f"{value_s:.0f} s"
    return f"{value_s / 60:.0f} min" if value_s < 3_600 else f"{value_s / 3_600:,.1f} h"


def format_round_duration(value_s: float) -> str:
    """The edge of a histogram's bin.

    >>> format_round_duration(0.5), format_round_duration(30.0), format_round_duration(300.0)
    ('0.5 s', '30 s', '5 min')
    """
    return f"{value_s:g} s" if value_s < 60 else f"{value_s / 60:g} min"


def format_utc(timestamp: str) -> str:
    """An ISO 8601 timestamp in UTC, to the minute.

    >>> format_utc("2026-11-21T11:31:58+00:00"), format_utc("")
    ('2026-11-21 11:31 UTC', 'unknown')
    """
    return f"{timestamp[:16].replace('T', ' ')} UTC" if timestamp else "unknown"


def format_bytes(n_bytes: float) -> str:
    """A file size in decimal units.

    >>> format_bytes(812), format_bytes(3_400_000), format_bytes(5.1e9)
    ('812 B', '3.4 MB', '5.1 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1_000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1_000
    return f"{n_bytes:,.1f} TB"
