"""What a query in words means: wanted words, words to avoid, and words that are not known.

>>> parsed = parse("a dog barking -indoor, qwrtz")
>>> parsed.wanted, parsed.unwanted, parsed.unknown
(('dog', 'barking'), ('indoor',), ('qwrtz',))
>>> parsed.describe()
"dog, barking, not indoor; unknown: 'qwrtz' (known: swartz, qwerty, quartz)"
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from boiler.crossmodal import vocabulary
from boiler.errors import QueryError

MAX_LENGTH = 500
_TOKEN = re.compile(r"(?:(?<=\s)|^)([-\u2212])?\s*([^\W\d_]+)|([^\W\d_]+)")


@dataclass(frozen=True)
class TextQuery:
    """Words in lower case.

    spelled_alike: for each unknown word, known ones with a similar spelling
    """

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    spelled_alike: tuple[tuple[str, ...], ...] = field(default=(), compare=False)

    def describe(self) -> str:
        """What was understood, as a line of text."""
        text = ", ".join([*self.wanted, *(f"not {word}" for word in self.unwanted)])
        unknown = [
            f"{word!r} (known: {', '.join(alike)})" if alike else repr(word)
            for word, alike in zip(self.unknown, self.spelled_alike, strict=True)
        ]
        return f"{text}; unknown: {', '.join(unknown)}" if unknown else text


def parse(text: str, *, any_word: bool = False) -> TextQuery:
    """The words of a text. A minus in front of a word turns it around; words like *the* and *sound* are left out.

    any_word: none is unknown, as a model of sentences spells words out

    Raises: QueryError: too long, no word, only words to avoid, or none that is known; the message names known
    words with a similar spelling.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a query in words has at most {MAX_LENGTH} characters, not {len(text):,}")
    known = vocabulary.load()
    found: dict[bool, list[str]] = {True: [], False: []}
    unknown: list[str] = []
    n_words = 0
    for minus, word, inside in _TOKEN.findall(text.lower()):
        one = word or inside
        if one in vocabulary.STOP_WORDS or len(one) < 2:
            continue
        n_words += 1
        place = found[not minus] if any_word or one in known else unknown
        if one not in place:
            place.append(one)
    alike = tuple(tuple(known.spelled_alike(word)) for word in unknown)
    parsed = TextQuery(tuple(found[True]), tuple(found[False]), tuple(unknown), alike)
    if not n_words:
        raise QueryError(f"there is no word to search with in {text[:100]!r}: describe a sound, as in dog barking")
    if not parsed.wanted and not parsed.unwanted:
        raise QueryError(f"no word is known: {parsed.describe().removeprefix('; ')}")
    if not parsed.wanted:
        raise QueryError(f"only words to stay away from ({', '.join(parsed.unwanted)}): describe a wanted sound, too")
    return parsed
