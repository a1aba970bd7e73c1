"""What the check of a server asks is what the client asks, and each version answers it as it was recorded.

The check of ``xnbtransfer doctor`` and this suite share one register (``xnbtransfer/forms.py``): no check stands on a
belief of its own.
"""

from __future__ import annotations

import pytest

from xnbtransfer import doctor, forms
from xnbtransfer.doctor import examine
from xnbtransfer.server import running
from xnbtransfer.xnat import connect

# What a version does not tell a member (recorded of 1.6.4, 1.7.2 and 1.7.6): site settings, scripts and filters that it
# has no address for (1.6) or keeps for administrators (1.7), and single rows of the prearchive (1.7.2, fixed in 1.7.3).
OTHERWISE = {
    "1.6": {"F08", "F10", "F11", "F12", "F13", "F16", "F19"},
    "1.7.2": {"F10", "F12", "F13", "F14", "F16", "F19", "F58"},
    "1.7": {"F12", "F13", "F14", "F16"},
    "1.8": set(),
    "1.9": set(),
}


@pytest.mark.parametrize("version", OTHERWISE)
def test_the_check_asks_registered_forms_and_each_version_answers_as_recorded(version):
    registered = {(form.number, form.asks, f"{form.method} {form.path}") for form in forms.FORMS if not form.changes}
    with running(demo=True, personality=version) as server:
        user, password = server.accounts["member"]
        with connect(server=server.url, user=user, password=password, prompt=False) as connection:
            checks = examine(connection, "DEMO_DESTINATION")
    assert {(check.form, check.asks, check.request) for check in checks} <= registered
    assert {check.form for check in checks if check.expected is False} == OTHERWISE[version]
    assert [check.form for check in checks if check.expected is False and not check.cost] == []
    told = {(check.form, check.asks) for check in checks}
    assert [form.asks for form in doctor._COSTS if (form.number, form.asks) not in told] == [], "a cost of no check"
