"""The data of a card."""

from __future__ import annotations

import json

from browsing import LONG, collection, item_number

from boiler.browser import cards
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState


def test_no_card_reveals_a_path_of_this_machine(index: OpenIndex) -> None:
    for match in index.nearest.by_item(1, 20):
        card = cards.result_card(match, index.nearest.item(match.n), index.sounds_url, SearchState(item=1), ())
        assert str(collection()[0].parent) not in json.dumps(card.__dict__)


def test_results_of_likes_alone_have_nothing_to_be_compared_with(index: OpenIndex) -> None:
    (match,) = index.nearest.by_item(1, 1)
    item = index.nearest.item(match.n)
    by_likes = cards.result_card(match, item, index.sounds_url, SearchState(liked=(1,)), ())
    by_upload = cards.result_card(match, item, index.sounds_url, SearchState(upload="abc"), ())
    assert not {"explain", "path"} & set(by_likes.actions)
    assert {"explain", "path"} & set(by_upload.actions) == {"explain"}


def test_the_selected_part_of_the_query_is_drawn_and_played_from(index: OpenIndex) -> None:
    item = index.nearest.item(item_number(index, LONG))
    card = cards.query_card(item, index.sounds_url, SearchState(item=item.n, start_s=3.0, end_s=9.0), {item.n})
    assert (card.selected_s, card.start_s, card.in_tray) == ((3.0, 9.0), 3.0, True)
