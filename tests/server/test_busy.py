"""Many who change the same items at once: nobody is told of an error inside, and the state fits together in the end."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import requests
from share_kit import Pair

OCTETS = {"Content-Type": "application/octet-stream"}
EXPECTED = {200, 201, 404, 409}
WORKERS, STEPS = 6, 40


def test_many_who_move_rename_share_upload_and_delete(study):
    pair = Pair(study)
    session = f"/data/experiments/{pair.ids['S01_MR1']}"
    other = f"/data/experiments/{pair.ids['S01_MR2']}"

    def step(ask, dice: random.Random, worker: int, number: int):
        project = dice.choice((pair.src, pair.dst))
        name = f"{worker}_{number}.bin"
        return dice.choice(
            (
                lambda: ask("PUT", f"{session}/projects/{project}", params={"primary": "true"}),
                lambda: ask("PUT", f"{session}/projects/{project}", params={"label": dice.choice("AB")}),
                lambda: ask("DELETE", f"{other}/projects/{pair.dst}"),
                lambda: ask("PUT", f"{other}/projects/{pair.dst}"),
                lambda: ask("PUT", session, params={"label": f"L{dice.randrange(3)}"}),
                lambda: ask("PUT", f"{session}/scans/1/resources/R/files/{name}", data=b"x" * 999, headers=OCTETS),
                lambda: ask("PUT", f"{session}/scans/1/resources/R/files/same", data=name.encode(), headers=OCTETS,
                            params={"overwrite": "true"}),
                lambda: ask("DELETE", f"{session}/scans/1/resources/R"),
                lambda: ask("GET", f"{session}/scans/ALL/files", params={"format": "json"}),
                lambda: ask("PUT", f"/data/projects/{project}/subjects/N{number % 5}"),
                lambda: ask("DELETE", f"/data/projects/{project}/subjects/N{number % 5}",
                            params={"removeFiles": "true"}),
            )
        )()  # fmt: skip

    def work(worker: int) -> list[str]:
        dice, wrong = random.Random(worker), []
        with requests.Session() as person:
            person.auth = pair.owner.auth

            def ask(method: str, path: str, **rest):
                return person.request(method, pair.owner.server.url + path, timeout=60, **rest)

            for number in range(STEPS):
                answer = step(ask, dice, worker, number)
                if answer.status_code not in EXPECTED:
                    wrong.append(f"{answer.request.method} {answer.request.path_url}: {answer.status_code}")
        return wrong

    with ThreadPoolExecutor(WORKERS) as pool:
        assert [wrong for found in pool.map(work, range(WORKERS)) for wrong in found] == []
    assert pair.whole() == []
    held = pair.owner.rows(f"{session}/scans/ALL/files")
    assert all(pair.owner.get(row["URI"]).status_code == 200 for row in held)
    assert {"a.dcm", "b.dcm", "c.dcm"} <= {row["Name"] for row in held}
