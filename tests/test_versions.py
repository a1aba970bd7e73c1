"""What the client tells of a server of each version: what an older one leaves open is asked another way."""

from __future__ import annotations

import uuid

import pytest
from people import people
from roads import as_

from xnbtransfer.server import personality, running

VERSIONS = list(personality.VERSIONS)
SCRIPT = '(0008,1030) := "told"\n'


@pytest.fixture(scope="module", params=VERSIONS)
def aged(request):
    """A server of each version."""
    with running(personality=request.param) as server, people(server) as person:
        yield server, person


@pytest.fixture
def project(aged) -> str:
    """A project of the owner, of which the member is one."""
    _, person = aged
    name = f"V{uuid.uuid4().hex[:8]}"
    assert person("owner").put(f"/data/projects/{name}").status_code == 200
    assert person("owner").put(f"/data/projects/{name}/users/Members/mia").status_code == 200
    return name


def config(person, project: str, text: str, status: str):
    return person("owner").put(
        f"/data/projects/{project}/config/anon/projects/{project}",
        data=text,
        params={"inbody": "true", "status": status},
        headers={"Content-Type": "text/plain"},
    )


@pytest.mark.parametrize("role", ["owner", "member"])
@pytest.mark.parametrize(
    ("status", "expected"), [("", (False, None)), ("disabled", (False, None)), ("enabled", (True, SCRIPT))]
)
def test_the_script_of_a_project_is_told(aged, project, role, status, expected):
    """No release before 1.8 answers whether it is on: 404 from 1.6.4, 415 from 1.7.2, 500 from 1.7.6 (F16)."""
    server, person = aged
    if status:
        assert config(person, project, SCRIPT, status).status_code in (200, 201)
    with as_(server, role) as connection:
        told = connection.settings(project)
    assert (told.project_script_on, told.project_script) == expected
    assert told.site_script_on is True and "subject" in told.site_script
    assert told.failed == ()
