"""The page that asks: find a sound or bring one, hear it, and see what sounds like it."""

from __future__ import annotations

import random
from dataclasses import replace

import streamlit as st

from boiler.browser import (
    actions,
    background,
    cards,
    collection_page,
    explanation,
    feedback,
    filter_form,
    folder_tree,
    indexes,
    results,
    upload_field,
)
from boiler.browser.indexes import Library
from boiler.browser.url_state import MOST, Question, Wish
from boiler.catalog.items import Item
from boiler.search.nearest import Nearest

TO_BEGIN_WITH = 6
MOST_FOLDERS = 120  # shown of one folder
MOST_LABELS = 40  # offered one by one; more are found by typing
SHAPES = {"grid": ":material/grid_view:", "list": ":material/view_list:"}


def page(shelf: Library) -> None:
    """Everything on the page, for what the address asks."""
    question = Question.of(st.query_params)
    bar(shelf, question)
    upload_field.take_in(question)
    if question.find or (question.wish.label and not question.asks):
        found(shelf, question)
    elif question.folder is not None and not question.asks:
        looked_through(shelf, question)
    elif question.asks:
        trail(shelf, question)
        sound = asked(shelf, question)
        if not heard(shelf, question):
            return
        steered = st.container()
        reason = st.container()
        answers(shelf, question)
        with steered:  # made last, as what follows: the answers need not wait for it
            steering(shelf, question)
        if sound is not None:
            with reason:
                explanation.section(shelf, question, *sound)
    else:
        welcome(shelf, question)


def bar(shelf: Library, question: Question) -> None:
    """The ways to ask: by name, by chance, with a file, with the microphone."""
    st.session_state["find"] = question.find  # the address is the truth, also after Back
    total = len(shelf.nearest)
    with st.container(horizontal=True, vertical_alignment="bottom", key="bar"):
        st.text_input(
            "Find a sound by its name",
            key="find",
            type="search",
            live=True,
            icon=":material/search:",
            placeholder=f"Find one of {total:,} sounds by its name",
            label_visibility="collapsed",
            on_change=lambda: actions.go(Question.of(st.query_params).look_for(st.session_state["find"] or "")),
        )
        st.button(
            "Surprise me",
            key="random",
            icon=":material/casino:",
            help="Ask with a sound taken at random",
            disabled=not total,
            on_click=lambda: actions.go(Question.of(st.query_params).ask(at_random(shelf.nearest))),
        )
        if len(collection_page.counted(shelf).folders) > 1:
            st.button(
                "Folders",
                key="folders",
                icon=":material/folder:",
                help="Look through the folders of the collection",
                on_click=lambda: actions.go(Question.of(st.query_params).look_through("")),
            )
        upload_field.field()


def at_random(nearest: Nearest) -> int:
    """The number of some item."""
    return nearest.items(offset=random.randrange(len(nearest)), limit=1)[0].n


def trail(shelf: Library, question: Question) -> None:
    """The sounds asked for before, each a way back."""
    before = list(indexes.items_of(shelf, question.trail))
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center", key="trail"):
        st.button(
            "Start",
            icon=":material/home:",
            type="tertiary",
            key="home",
            on_click=lambda: actions.go(question.nothing()),
        )
        for place, item in enumerate(before):
            st.button(
                plain(item),
                icon=":material/chevron_right:",
                type="tertiary",
                key=f"trail-{place}",
                help=item.id,
                on_click=actions.go,
                args=(question.ask(item.n),),
            )


def asked(shelf: Library, question: Question) -> tuple[Item, str] | None:
    """The sound that is asked with, and where it is heard; None where likes alone are the question."""
    if question.sound is not None:
        item, at = indexes.brought().item(question.sound), indexes.brought().at
    elif question.item is not None:
        item, at = shelf.nearest.item(question.item), shelf.sounds_at
    else:
        return None
    cards.show(
        [cards.of_query(item, at, question, actions.kept(shelf))],
        "one",
        "query",
        lambda message: actions.act(shelf, message),
        title="The sound asked with",
    )
    return item, at


def heard(shelf: Library, question: Question) -> bool:
    """Whether what is asked with can be compared: a sound that is no item has to be embedded first, which is stopped
    where it takes too long."""
    if not results.embeds(question):
        return True
    part = f"{question.start_s}-{question.end_s}"
    key = f"hear-{shelf.key}-{shelf.nearest.generation}-{question.item or question.sound}-{part}"
    return (
        background.done(key, "Listening to it", lambda on_progress: results.alone(shelf, question, on_progress))
        is not None
    )


def remembered(shelf: Library, question: Question) -> None:
    """What was judged of these answers earlier, and a click to heed it."""
    asked_with = results.alone(shelf, question)
    if asked_with is None or not shelf.nearest.feedback.exists:
        return
    verdicts = shelf.nearest.feedback_for(asked_with)
    if not verdicts.likes and not verdicts.dislikes:
        return
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="remembered"):
        st.caption(
            f"Kept from earlier: {len(verdicts.likes)} liked, {len(verdicts.dislikes)} disliked.", width="content"
        )
        st.button(
            "Heed them",
            key="heed",
            icon=":material/history:",
            type="tertiary",
            on_click=actions.go,
            args=(question.wished(replace(question.wish, heed=True)),),
        )


def steering(shelf: Library, question: Question) -> None:
    """What was liked and disliked, each to be taken back by a click; or what was judged of these answers earlier."""
    if not question.more and not question.less:
        if not question.wish.heed:
            remembered(shelf, question)
        return
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="steering"):
        st.caption("Steered by", width="content")
        for sign, numbers, like in (("add", question.more, True), ("remove", question.less, False)):
            for item in indexes.items_of(shelf, numbers):
                st.button(
                    plain(item),
                    icon=f":material/{sign}:",
                    key=f"{sign}-{item.n}",
                    help="Take this back",
                    on_click=lambda n, like: actions.go(feedback.judge(shelf, question, n, like=like)),
                    args=(item.n, like),
                )
        st.button(
            "Undo",
            key="undo",
            icon=":material/undo:",
            type="tertiary",
            help="Take the last like or dislike back (Z)",
            on_click=lambda: actions.go(feedback.undo(shelf, question)),
        )


def answers(shelf: Library, question: Question) -> None:
    """The neighbours, nearest first."""
    with st.container(horizontal=True, vertical_alignment="center", key="heading"):
        title = st.container(width="stretch")
        filter_form.wishes(collection_page.counted(shelf), question)
        shape = shapes()
    answer = results.of(shelf, question)
    title.header(f"{count(len(answer.matches), 'sound')} most like it", anchor=False)
    if answer.shortfall:
        st.caption(f"There are {answer.shortfall}.")
    if not answer.matches:
        st.info("No other sound of this collection is like that. Ask for less.", icon=":material/hearing_disabled:")
        return
    tray = actions.kept(shelf)
    items = {match.n: shelf.nearest.item(match.n) for match in answer.matches}
    cards.show(
        [cards.of_match(match, items[match.n], shelf.sounds_at, question, tray) for match in answer.matches],
        shape,
        "answers",
        lambda message: actions.act(shelf, message),
        title="Sounds most like it",
    )
    if len(answer.matches) == question.k < MOST:
        st.button(
            "Show more", icon=":material/expand_more:", key="more", on_click=actions.go, args=(question.further(),)
        )
    hints()


def heading(words: str) -> cards.Shape:
    """The line above a list of sounds, with the switch of its shape; the shape chosen."""
    with st.container(horizontal=True, vertical_alignment="center", key="heading"):
        st.header(words, anchor=False, width="stretch")
        return shapes()


def shapes() -> cards.Shape:
    """The switch between a grid and a list, kept for the session."""
    shape = st.segmented_control(
        "Shape",
        list(SHAPES),
        format_func=SHAPES.__getitem__,
        default="grid",
        required=True,
        key="shape",
        label_visibility="collapsed",
        persist_state="session",
    )
    return "list" if shape == "list" else "grid"


def hints() -> None:
    """The keys, for those who look for them."""
    st.caption(
        ":material/keyboard: **J** **K** next and previous, **space** play, **M** more like this, **L** like, "
        "**D** dislike, **Z** undo, **T** keep, **S** spectrogram, **W** why, **G** the way there. "
        "Drag over the large waveform to ask with a part of it."
    )


def found(shelf: Library, question: Question) -> None:
    """The items whose name holds what was typed, or whose label was chosen."""
    items = shelf.nearest.items(text=question.find or None, label=question.wish.label, limit=question.k + 1, offset=0)
    said = f"with “{question.find}” in the name" if question.find else f"labelled {question.wish.label}"
    st.button(
        "Start", icon=":material/home:", type="tertiary", key="home", on_click=actions.go, args=(question.nothing(),)
    )
    if not items:
        st.info(f"There is no sound {said}. Try a shorter piece of a name.", icon=":material/search_off:")
        return
    more = len(items) > question.k
    items = items[: question.k]
    shape = heading(f"{'The first ' if more else ''}{count(len(items), 'sound')} {said}")
    listed(shelf, question, items, shape)
    if more and question.k < MOST:
        st.button(
            "Show more", icon=":material/expand_more:", key="more", on_click=actions.go, args=(question.further(),)
        )


def looked_through(shelf: Library, question: Question) -> None:
    """What lies in a folder: the way to it, the folders in it, and its own sounds."""
    place = question.folder or ""
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center", key="trail"):
        st.button(
            "Start",
            icon=":material/home:",
            type="tertiary",
            key="home",
            on_click=lambda: actions.go(question.nothing()),
        )
        for depth, folder in enumerate(["", *folder_tree.way(place)]):
            st.button(
                escaped(folder.rpartition("/")[2]) or "All folders",
                icon=":material/chevron_right:",
                type="tertiary",
                key=f"way-{depth}",
                on_click=actions.go,
                args=(question.look_through(folder),),
            )
    st.header(escaped(place.rpartition("/")[2]) or "The folders", anchor=False)
    inside = folder_tree.below(collection_page.counted(shelf).folders, place)
    items = shelf.nearest.items(folder=place, limit=question.k + 1)
    if not inside and not items:
        st.info("There is no sound in a folder of that name.", icon=":material/folder_off:")
        return
    with st.container(horizontal=True, gap="small", key="inside"):
        for folder, n in inside[:MOST_FOLDERS]:
            st.button(
                f"{escaped(folder.rpartition('/')[2])} · {n:,}",
                icon=":material/folder:",
                key=f"folder-{folder}",
                help=f"{count(n, 'sound')} in {folder}",
                on_click=actions.go,
                args=(question.look_through(folder),),
            )
    if len(inside) > MOST_FOLDERS:
        st.caption(f"These are {MOST_FOLDERS} of {len(inside):,} folders. Find the others by a piece of their name.")
    if items:
        more = len(items) > question.k
        shape = heading(f"{'The first ' if more else ''}{count(min(len(items), question.k), 'sound')} in it")
        listed(shelf, question, items[: question.k], shape)
        if more and question.k < MOST:
            st.button(
                "Show more", icon=":material/expand_more:", key="more", on_click=actions.go, args=(question.further(),)
            )


def welcome(shelf: Library, question: Question) -> None:
    """Nothing asked yet: what is here, and some sounds to begin with."""
    held = collection_page.counted(shelf)
    if not held.n_items:
        st.info("This index holds no sounds yet. Put some in its folder and run `boiler index` again.")
        return
    st.title("What sounds like this?", anchor=False)
    st.caption(
        f"{count(held.n_items, 'sound')}, {collection_page.hours(held.duration_s)}, compared by {held.header.encoder}. Pick one "
        "below, find one by its name, or bring your own."
    )
    if 1 < len(held.labels) <= MOST_LABELS:
        st.pills(
            "Or look through a label",
            [name for name, _ in held.labels],
            key="label",
            on_change=lambda: actions.go(question.wished(Wish(label=st.session_state["label"]))),
        )
    chance = random.Random(st.session_state.setdefault("seed", random.randrange(2**32)))
    total = len(shelf.nearest)
    offsets = sorted(chance.sample(range(total), min(TO_BEGIN_WITH, total)))
    items = [item for offset in offsets for item in shelf.nearest.items(offset=offset, limit=1)]
    listed(shelf, question, items, heading("Some to begin with"))


def count(n: int, what: str) -> str:
    """A number of things, in words.

    >>> count(1, "sound"), count(1_200, "sound")
    ('1 sound', '1,200 sounds')
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def listed(shelf: Library, question: Question, items: list[Item], shape: cards.Shape) -> None:
    """Items that are not compared with anything."""
    cards.show(
        [cards.of_item(item, shelf.sounds_at, question, actions.kept(shelf)) for item in items],
        shape,
        "items",
        lambda message: actions.act(shelf, message),
    )


def plain(item: Item) -> str:
    """An item's name, for a label."""
    return escaped(item.id.rpartition("/")[2])


def escaped(name: str) -> str:
    """Without what Streamlit would read as markup in a label."""
    for sign in "\\`*_[]:$~":
        name = name.replace(sign, f"\\{sign}")
    return name
