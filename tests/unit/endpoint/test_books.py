"""The books: shares add up, and what a killed server wrote is there again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilowit.endpoint import books as books_module
from kilowit.endpoint.books import BOOKS_NAME, Books, Share, token_fractions
from kilowit.endpoint.job import Cost, sum_costs
from kilowit.errors import StoreError

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


DAY_SECOND = 86_400.0
START_SECOND = 1_795_456_438.0  # 2026-11-23T17:13:58Z


def write_days(folder: Path, num_batches: int, days: float = 3.0) -> Books:
    """Book batches of two models and two clients, and idling, over some days."""
    now_second = [START_SECOND]
    books = Books(folder, utc_clock=lambda: now_second[0])
    for number in range(num_batches):
        now_second[0] = START_SECOND + days * DAY_SECOND * number / num_batches
        share = Share(f"r{number}", ("news", "")[number % 2], 30, 10, 1.0, 0.25)
        books.book_batch(("a", "b")[number % 3 == 0], COST, [share])
        books.book_other("idle", COST)
    books.close()
    return books


@pytest.fixture
def short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_module, "TAIL_BYTE", 4_000)


@pytest.mark.usefixtures("short_tail")
def test_a_start_reads_the_end_of_the_books_alone_and_has_the_same_sums(tmp_path: Path) -> None:
    from kilowit.endpoint.checkpoint import last_checkpoint

    written = write_days(tmp_path, 400)
    path = tmp_path / BOOKS_NAME
    _, begin_byte = last_checkpoint(path)
    assert begin_byte > 50_000
    content = path.read_bytes()
    path.write_bytes(b"#" * (begin_byte - 20_000) + content[begin_byte - 20_000 :])  # not looked at any more
    again = Books(tmp_path)
    assert again.num_unreadable_lines == 0
    whole = again.sums()
    assert whole == written.sums()
    assert (whole["a"].num_documents + whole["b"].num_documents, whole["idle"].joule) == (400, 400 * 80.0)
    today = "2026-11-26T"
    assert again.sums(hours=today) == written.sums(hours=today) != {}
    assert again.sums(of=lambda account: account.client)["news"].num_documents == 200


@pytest.mark.usefixtures("short_tail")
def test_a_checkpoint_that_was_torn_or_damaged_is_replaced_by_the_one_before_it(tmp_path: Path) -> None:
    from kilowit.endpoint.checkpoint import last_checkpoint

    expected = write_days(tmp_path, 200).sums()
    path = tmp_path / BOOKS_NAME
    content = path.read_bytes()
    begin = content.rindex(b'{"event":"totals"')
    end = content.index(b"\n", begin)
    for damaged in (b"", b"]}", b',"accounts":[[1,2]]}'):
        path.write_bytes(content[: begin + 40] + damaged + content[end:])
        assert 0 < last_checkpoint(path)[1] < begin
        assert Books(tmp_path).sums() == expected
    path.write_bytes(content[: begin + 40])  # a kill in the middle of it
    books = Books(tmp_path)
    books.book_other("idle", COST)
    assert Books(tmp_path).sums() == books.sums()


@pytest.mark.usefixtures("short_tail")
def test_a_report_passes_checkpoints_over(tmp_path: Path) -> None:
    from kilowit.endpoint.books import entries_of
    from kilowit.meter.ledger import read_events

    books = write_days(tmp_path, 200)
    events = [event for event in read_events(tmp_path / BOOKS_NAME) if event is not None]
    entries = [entry for event in events for entry in entries_of(event)]
    assert sum(event["event"] == "totals" for event in events) >= 2
    assert sum(entry.amount.joule for entry in entries) == sum(amount.joule for amount in books.sums().values())
    assert len({entry.account.hour_utc for entry in entries}) >= 72  # of three days
    assert "" in {account.hour_utc for account in books.accounts}  # days gone by take no memory in the server


def test_two_servers_do_not_keep_their_books_in_one_folder(tmp_path: Path) -> None:
    books = Books(tmp_path, is_kept=True)
    with pytest.raises(StoreError, match="another server keeps its books here"):
        Books(tmp_path, is_kept=True)
    assert Books(tmp_path).sums() == {}  # reading is free
    books.close()
    Books(tmp_path, is_kept=True).close()
