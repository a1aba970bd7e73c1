"""The first request of a login goes alone: up to 1.7.2 what runs beside it is answered without rights (fact 15)."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from standin import table

from xnbtransfer import forms
from xnbtransfer.errors import InputError, SessionExpiredError
from xnbtransfer.inventory import read_inventory
from xnbtransfer.options import TransferOptions
from xnbtransfer.progress import read_selected

NOBODYS = ("/", "/data/auth", "/data/services/auth", "/data/JSESSION", "/xapi/siteConfig/buildInfo", "/data/version")


class Late:
    """A server whose logins know their rights only once a first request was answered; ``beside`` came before that."""

    def __init__(self, standin) -> None:
        self.standin, self.lock = standin, threading.Lock()
        self.known: dict[int, bool] = {}
        self.running = self.slow = 0
        self.beside: list[int] = []

    def __call__(self, query: dict) -> tuple[int, dict, bytes]:
        with self.lock:
            login, self.running = self.standin.logins, self.running + 1
            if not self.known.get(login) and self.running > 1:
                self.beside.append(login)
            first = login not in self.known
            self.known.setdefault(login, False)
        if first:
            threading.Event().wait(0.15)  # time for others to come beside it, if they do
        with self.lock:
            self.running -= 1
            self.known[login] = True
        return 200, {}, table([])


@pytest.fixture
def late(standin):
    found = Late(standin)
    item = json.dumps({"items": [{"meta": {}, "data_fields": {"ID": "P"}}]}).encode()

    def project(query: dict) -> tuple[int, dict, bytes]:
        found(query)
        return 200, {}, item

    standin.answers |= {
        "/data/projects/P": project,
        **{f"/data/projects/P/{below}": found for below in ("experiments", "subjects", "files")},
        "/data/projects": found,
        "/data/prearchive/projects/P": found,
        "/data/services/archive": found,
        **{f"/data/experiments/{one}/scans/ALL/files": found for one in ("X_E1", "X_E2", "X_E1,X_E2")},
        **{f"/data/experiments/{one}/files": found for one in ("X_E1", "X_E2", "X_E1,X_E2")},
    }
    return found


def asked(standin) -> list[str]:
    return [path for _, path, _, _ in standin.log if path not in NOBODYS]


@pytest.mark.parametrize("more", [{}, {"settings": False}, {"known": {"X_E1", "X_E2"}, "settings": False}])
def test_an_inventory_asks_one_thing_of_a_new_login_before_many(connection, late, more):
    read_inventory(connection, "P", **more)
    assert late.known == {1: True} and late.beside == []


def test_chosen_sessions_are_read_so_too(connection, late):
    options = TransferOptions.from_mapping({"source_project": "P", "destination_project": "Q", "subjects": ["~."]})
    with pytest.raises(InputError, match="leaves none"):
        read_selected(connection, "P", options)
    assert late.known == {1: True} and late.beside == []


def test_a_login_that_is_renewed_begins_with_one_request_again(connection, standin, late):
    connection.subjects("P")
    standin.expire()
    with ThreadPoolExecutor(8) as threads:
        for one in [threads.submit(connection.subjects, "P") for _ in range(24)]:
            one.result()
    assert late.known == {1: True, 2: True} and late.beside == []


def test_before_a_write_or_a_download_a_small_question_is_asked(connection, standin, late):
    connection.settings("P")
    standin.expire()
    with pytest.raises(SessionExpiredError):
        connection.archive("/prearchive/projects/P/20260101_010203000/S1")
    before = len(asked(standin))
    connection.archive("/prearchive/projects/P/20260101_010203000/S1")
    assert asked(standin)[before:] == ["/data/projects/P", "/data/services/archive"]


def test_nothing_is_asked_twice_for_it(connection, standin, late):
    connection.subjects("P")
    assert asked(standin) == [forms.SUBJECTS(project="P").path]
