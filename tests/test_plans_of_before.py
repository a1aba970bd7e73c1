"""Plans of other versions: told which version reads them, and where they are read they end with no 0 that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xnbtransfer import __version__
from xnbtransfer.changes import ChangePlan
from xnbtransfer.errors import InputError
from xnbtransfer.plan_file import Plan, SessionPlan, open_points, unsent_state

EARLIER = Path(__file__).parent / "earlier" / "plan.json"
OURS = f"xnbtransfer {__version__}"


@pytest.mark.parametrize("kind", [Plan, ChangePlan])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 0, "made_by": OURS}, f"was made by {OURS}, .*: format"),
        ({"format": 2, "made_by": "xnbtransfer 9.1.0"}, f"was made by xnbtransfer 9.1.0, and this is {OURS}"),
        ({"news": [], "made_by": "xnbtransfer 9.1.0"}, "was made by xnbtransfer 9.1.0"),
        ({"news": [], "made_by": OURS}, "is not a whole plan"),
        ({"news": [], "made_by": "\x1b[31m"}, "is not a whole plan"),
        ({"news": [], "made_by": 7}, "is not a whole plan"),
    ],
)
def test_a_plan_of_another_format_tells_which_version_reads_it(tmp_path, kind, change, told):
    path = tmp_path / "plan.json"
    found = json.loads(EARLIER.read_text())
    if kind is ChangePlan and "was made by" in told and change.get("format", 1) == 1:
        found = {"fingerprint": "", **change}
    path.write_text(json.dumps({**found, **change}))
    with pytest.raises(InputError, match=told) as refused:
        kind.load(path)
    if "was made by" in told:
        assert f"Carry it out with {change['made_by']}" in refused.value.remedy


def row(**more) -> SessionPlan:
    """A session that is not sent, as a version before wrote it: without ``open_point``."""
    found = json.loads(EARLIER.read_text())["sessions"][0]
    return SessionPlan.model_validate_json(json.dumps({**found, "action": "skip", "scans": [], **more}))


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"because": "the label is taken by another study", "conflict": "label of another study"}, "needs a person"),
        ({"because": "every scan of it is at the destination already"}, "needs a person"),
        ({"because": "the source lists no StudyInstanceUID for it"}, "needs a person"),
        ({"because": "the label is taken", "decided": "by row"}, "skipped"),
        ({"because": "the same study is there with the same counts; its bytes were rewritten"}, "there already"),
        ({"because": "the same study is there, and every MD5 is equal"}, "there already"),
        ({"because": "of this version", "open_point": ""}, "there already"),
    ],
)
def test_what_a_plan_of_before_does_not_send_is_told(more, state):
    session = row(**more)
    assert unsent_state(session) == state
    made = Plan.load(EARLIER).model_copy(update={"sessions": (session,)})
    assert bool(open_points(made)) == (state == "needs a person")
