"""A guided transfer brought to a step, as a person would by pressing the buttons."""

from __future__ import annotations

from roads import DESTINATION, SOURCE

from xnbtransfer.server import RunningServer
from xnbtransfer.widgets import GuidedTransfer
from xnbtransfer.widgets.steps import NAMES


class Road:
    """Brings transfers to a step, as a person would by pressing the button of each step."""

    def __init__(self, server: RunningServer, root: str, role: str = "member", destination: str = DESTINATION) -> None:
        self.server, self.root, self.role, self.destination = server, root, role, destination

    def connected(self) -> GuidedTransfer:
        transfer = GuidedTransfer(self.root)
        user, password = self.server.accounts[self.role]
        for side in ("source", "destination"):
            transfer.connect(side, self.server.url, user, password)
        return transfer

    def to(self, step: str, sessions: tuple[str, ...] = ("001_MR1", "001_MR2"), **values) -> GuidedTransfer:
        transfer = self.connected()
        if values:
            transfer.set(**values)
        if step == "connect":
            return transfer
        transfer.confirm()
        transfer.choose_project("source", SOURCE)
        transfer.choose_project("destination", self.destination)
        keys = transfer.listing.sessions[["subject", "session"]].itertuples(index=False, name=None)
        transfer.select([key for key in keys if key[1] in sessions])
        while NAMES.index(transfer.step) < NAMES.index(step):
            if transfer.step == "run":
                transfer.run()
            transfer.confirm()
        return transfer
