"""The guide's last step from Python: a copy becomes a move, and nothing is deleted that was not typed and proved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from guide_roads import Road
from roads import SOURCE, as_, writes

from xnbtransfer.errors import RefusedError
from xnbtransfer.record import open_record
from xnbtransfer.server import running
from xnbtransfer.widgets import Guide, GuidedTransfer
from xnbtransfer.widgets.steps import StepState
from xnbtransfer.widgets.story import chapter

TAKEN = ("006_CT1", "007_MR1", "002_MR1")  # the last one has a resource that no copy carries by itself


@pytest.fixture
def road(tmp_path) -> Iterator[Road]:
    """From a server of its own, since its source is deleted."""
    with running(demo=True) as server:
        answer = requests.put(f"{server.url}/data/projects/MOVED", auth=tuple(server.accounts["owner"]), timeout=60)
        assert answer.status_code in (200, 201), answer.text
        yield Road(server, str(tmp_path / "records"), "owner", "MOVED")


def sealed(road: Road, **values) -> GuidedTransfer:
    """A copy that is archived and sealed."""
    transfer = road.to("record", TAKEN, archive=True, **values)
    transfer.confirm()
    assert transfer.step == "move"
    return transfer


def deletions(road: Road) -> list[str]:
    return [one["path"] for one in writes(road.server) if one["method"] == "DELETE"]


def at_the_source(road: Road) -> set[str]:
    with as_(road.server, "owner") as connection:
        return {row["session"] for row in connection.sessions(SOURCE)}


def test_a_copy_becomes_a_move_with_a_record_of_its_own(road):
    transfer = sealed(road, reason="moved out")
    before = at_the_source(road)
    made = transfer.plan_deletion()
    decided = {change.session: change.action for change in made.sessions}
    assert decided == {"006_CT1": "delete", "007_MR1": "delete", "002_MR1": "skip"}
    assert made.confirm == f"{SOURCE} 2" and deletions(road) == []
    done = transfer.delete(f"{SOURCE} 2")
    assert before - at_the_source(road) == {"006_CT1", "007_MR1"}
    assert len(deletions(road)) == 2
    assert transfer.deletion is None and transfer.heard
    summary = open_record(done.record).summary
    assert summary["template"] == "finish-move" and summary["exit_code"] == 7
    assert summary["sessions"] == {"deleted": 2, "needs a person": 1}
    assert transfer.record.name in open_record(done.record).notebook.read_text()
    told = str(chapter(transfer, "move")[0])
    assert done.record.name in told and "002_MR1" in told
    transfer.confirm()
    assert transfer.state("move") == StepState.DONE
    assert open_record(transfer.record).summary["template"] == "guided", "the record of the copy is as it was"


def test_nothing_is_deleted_before_it_is_typed_letter_by_letter(road):
    transfer = sealed(road)
    with pytest.raises(RefusedError, match="no plan that deletes"):
        transfer.delete(f"{SOURCE} 2")
    transfer.plan_deletion()
    for typed in ("", "yes", SOURCE, f"{SOURCE} 3", f"{SOURCE.lower()} 2"):
        with pytest.raises(RefusedError, match="To delete, type"):
            transfer.delete(typed)
        assert "To delete, type" in transfer.problem("move")
    assert deletions(road) == []


def test_it_needs_the_sealed_record_and_ends_with_the_transfer(road):
    transfer = road.to("record", TAKEN[:1], archive=True)
    with pytest.raises(RefusedError, match="Seal the record first"):
        transfer.plan_deletion()
    transfer.confirm()
    transfer.confirm()
    with pytest.raises(RefusedError, match="sealed record"):
        transfer.plan_deletion()
    assert "Nothing was deleted" in str(chapter(transfer, "move")[0])


def test_a_limit_leaves_the_rest_for_the_next_round(road):
    transfer = sealed(road)
    transfer.plan_deletion(limit=1)
    transfer.delete(f"{SOURCE} 1")
    transfer.plan_deletion(limit=1)
    transfer.delete(f"{SOURCE} 1")
    assert len(transfer.deleted) == 2 and len({one.record for one in transfer.deleted}) == 2
    assert not {"006_CT1", "007_MR1"} & at_the_source(road)


def test_stopped_after_a_session_and_gone_on_with(road):
    transfer = sealed(road)
    made = transfer.plan_deletion()

    def stop(change) -> None:
        if deletions(road):
            transfer.stop_deleting()

    transfer.observe(stop, "version")
    done = transfer.delete(made.confirm)
    assert done.record is None and transfer.deletion is made
    assert len(deletions(road)) == 1
    transfer.unobserve_all("version")
    done = transfer.delete(made.confirm)
    assert len(deletions(road)) == 2 and open_record(done.record).summary["sessions"]["deleted"] == 2
    assert len(transfer.deleted) == 1


def test_a_copy_that_was_not_archived_cannot_be_made_a_move(road):
    transfer = road.to("record", TAKEN[:1])
    transfer.confirm()
    made = transfer.plan_deletion()
    assert made.confirm == "" and "not in the archive of the destination" in made.sessions[0].because


def test_the_page_of_the_move_is_a_window_on_it(road):
    transfer = sealed(road)
    guide = Guide(transfer=transfer)
    page = guide.page
    assert page.name == "move" and page.asked.layout.display == "none"
    page.look.click()
    guide.wait()
    assert page.confirmation.description == f"To delete, type: {SOURCE} 2" and page.delete.disabled
    assert "MRIQC" in page.planned.value
    page.confirmation.value = f"{SOURCE} 2 "
    assert not page.delete.disabled
    page.delete.click()
    guide.wait()
    assert len(deletions(road)) == 2 and "deleted" in page.done.value
    assert page.asked.layout.display == "none" and guide.banner.value == ""
    page.act.click()
    guide.wait()
    assert transfer.state("move") == StepState.DONE
