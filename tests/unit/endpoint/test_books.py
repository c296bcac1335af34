"""The books: shares add up, and what a killed server wrote is there again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilowit.endpoint.books import BOOKS_NAME, Books, Share, token_fractions
from kilowit.endpoint.job import Cost, sum_costs

COST = Cost(second=2.0, joule=80.0, joule_low=60.0, joule_high=100.0, source="rapl", measured_fraction=1.0)
counts = st.integers(min_value=1, max_value=2000)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=64), st.integers(1, 8))
def test_the_shares_of_a_batch_add_up_to_the_batch(tokens: list[tuple[int, int]], num_beams: int) -> None:
    fractions = token_fractions([t[0] for t in tokens], [t[1] for t in tokens], num_beams)
    total = sum_costs([COST.share(fraction) for fraction in fractions])
    assert total.joule == pytest.approx(COST.joule)
    assert total.joule_low == pytest.approx(COST.joule_low)
    assert total.second == pytest.approx(COST.second)
    assert (total.source, total.basis) == ("rapl", "measured")


def test_what_is_unknown_for_one_is_unknown_for_the_sum() -> None:
    assert sum_costs([COST, Cost(second=1.0)]).joule is None


def test_books_go_on_after_a_kill_in_mid_line(tmp_path: Path) -> None:
    books = Books(tmp_path, utc_clock=lambda: 1_795_456_438.0)
    books.book_batch("tiny", COST, [Share("r1", "news", 30, 10, 0.75), Share("r2", "", 10, 10, 0.25)])
    books.book_other("idle", COST)
    books.close()
    path = tmp_path / BOOKS_NAME
    with path.open("ab") as file:
        file.write(b'{"event":"batch","utc_sec')  # a kill
    again = Books(tmp_path)
    assert again.num_unreadable_lines == 1
    again.book_other("idle", COST)
    last = Books(tmp_path)
    assert last.accounts.keys() == again.accounts.keys()
    sums = last.sums()
    assert (sums["tiny"].num_documents, sums["tiny"].joule, sums["tiny"].num_input_tokens) == (2, 80.0, 40)
    assert sums["idle"].joule == 160.0
    by_client = last.sums(of=lambda account: account.client)
    assert (by_client["news"].joule, by_client["news"].second) == (60.0, 1.5)


def test_clients_beyond_those_that_are_told_apart_are_booked_together(tmp_path: Path) -> None:
    books = Books(None)
    for number in range(300):
        books.book_batch("tiny", COST, [Share("r", f"c{number}", 1, 1, 1.0)])
    by_client = books.sums(of=lambda account: account.client)
    assert len(by_client) == 257
    assert by_client["(other)"].num_documents == 44
    assert sum(amount.joule for amount in by_client.values()) == pytest.approx(300 * 80.0)


def test_what_was_refused_is_booked_on_its_client_and_read_again(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for client in ("news", "news", ""):
        books.count_refusal("tiny", client)
    books.book_refusals()
    books.count_refusal("tiny", "late")
    books.close()
    by_client = Books(tmp_path).sums(of=lambda account: account.client)
    assert {client: amount.num_refused for client, amount in by_client.items()} == {"news": 2, "": 1, "late": 1}


def test_a_session_is_noted_and_no_account(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.book_session({"models": {}, "region": "country/FR", "machine": None, "pue": 1.1})
    books.close()
    again = Books(tmp_path)
    assert again.accounts == {} and again.num_unreadable_lines == 0
