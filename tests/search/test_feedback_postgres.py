"""Feedback in a real PostgreSQL server: bounds, rights, a server that is killed, URLs."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postgres import PostgresServer

from boiler.errors import FeedbackError, QueryError, SettingsError
from boiler.search import feedback_postgres, judgements
from boiler.search.feedback import open_feedback


def test_a_database_is_bounded_in_bytes(postgres_server: PostgresServer) -> None:
    store = feedback_postgres.PostgresFeedbackStore(postgres_server.new_database(), max_bytes=600_000)
    texts = "".join(map(chr, range(0x4E00, 0x4E00 + judgements.MAX_TEXT)))  # do not compress
    with pytest.raises(FeedbackError, match="full: it may have 600,000 bytes"):
        for n in range(200):
            store.add(texts, texts[n:], like=True, user=texts[: -n - 1])
    with contextlib.closing(store), store._transaction("read from") as connection:
        size = feedback_postgres._column(connection, "SELECT pg_total_relation_size('judgements')")
    assert 600_000 - feedback_postgres.GROWTH_BYTES < size <= 600_000
    assert store.summary(texts).likes  # the longest texts are found
    assert store.undo(1)
    store.close()


def test_a_killed_server_is_an_error_and_the_restarted_one_is_used(postgres_server: PostgresServer) -> None:
    store = feedback_postgres.PostgresFeedbackStore(postgres_server.new_database())
    store.add("q", "a", like=True)
    postgres_server.kill()
    for _ in range(2):
        with pytest.raises(FeedbackError, match="boiler"):
            store.summary("q")
    with pytest.raises(FeedbackError, match="cannot be written to PostgreSQL, boiler"):
        store.add("q", "b", like=True)
    postgres_server.start()
    assert store.add("q", "b", like=True) == 2
    assert store.summary("q").likes == ("a", "b")
    store.close()


def test_a_judgement_waits_for_that_of_another_host(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    one, other = (feedback_postgres.PostgresFeedbackStore(url) for _ in range(2))
    one.add("q", "a", like=True)
    with ThreadPoolExecutor(1) as pool, one._transaction("written to") as connection:
        connection.execute("INSERT INTO judgements VALUES (2, '2026', NULL, 'q', 'b', 1, '')")
        added = pool.submit(other.add, "q", "c", like=True)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not feedback_postgres._column(connection, waiting):
            assert not added.done()
            connection.execute("SELECT pg_stat_clear_snapshot()")
    assert added.result() == 3
    one.close()
    other.close()


def test_a_user_who_may_only_read_reads(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    store = feedback_postgres.PostgresFeedbackStore(url)
    store.add("q", "a", like=True)
    with store._transaction("written to") as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON judgements TO reader")
    store.close()
    reader = feedback_postgres.PostgresFeedbackStore(url.replace("boiler@", "reader@"))
    assert reader.summary("q").likes == ("a",)
    with pytest.raises(FeedbackError, match="permission denied"):
        reader.add("q", "b", like=True)
    reader.close()


def test_a_text_that_postgresql_cannot_store_is_refused(postgres_server: PostgresServer) -> None:
    store = feedback_postgres.PostgresFeedbackStore(postgres_server.new_database())
    for text in ("a\0b", "a\ud800"):
        with pytest.raises(QueryError, match="cannot store"):
            store.add("q", text, like=True)
    assert store.add("q", "a", like=True) == 1
    store.close()


@pytest.mark.parametrize("url", ["mysql://host/name", "feedback.sqlite", "postgresql://host:secret/name?nosuch=1"])
def test_other_urls_are_refused_without_repeating_them(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="postgresql://user@host/name") as caught:
        open_feedback(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_the_password_of_a_database_is_in_no_message() -> None:
    store = feedback_postgres.PostgresFeedbackStore("postgresql://ann:s3cret@127.0.0.1:1/sounds")
    with pytest.raises(FeedbackError, match=r"PostgreSQL, sounds at 127\.0\.0\.1") as caught:
        store.summary("q")
    assert "s3cret" not in str(caught.value)
