"""The receiver door: each file is sent by C-STORE, with the routing text of the sent copy naming the destination.

A receiver has no parameters: header text alone says where an object goes (XNAT source,
``ClassicDicomObjectIdentifier``). So PatientComments and StudyDescription of the copy are rewritten; nothing else is.
The status of a C-STORE only says that the object was taken, so its arrival is looked for in the prearchive, and proved
there like that of an import. Needs the extra ``receiver``.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import InputError, RefusedError, ServerError, TransientError, XnbTransferError
from .methods import ImportDoor, Work
from .once import send_and_look
from .options import TransferOptions
from .plan_file import Plan, ScanPlan, SessionPlan
from .routing import read_receiver, rerouted, routing_text
from .streams import Seen, Spool
from .xnat import Connection

_ARRIVAL_S = 30.0  # a row of the prearchive is there as soon as the first object is
_MOST_CONTEXTS = 128  # DICOM PS3.8 9.3.2: presentation contexts of one association


class ReceiverDoor(ImportDoor):
    """Sends the sessions of one plan to a receiver; what follows is as at the import door."""

    by_instance = False  # whoever else sends to the receiver may have sent the same instances

    def __init__(self, plan: Plan, destination: Connection, note: Callable[..., None], pace: Any = iter) -> None:
        super().__init__(plan, destination, note, pace)
        self.options: TransferOptions = plan.transfer_options
        self.receiver = read_receiver(self.options.receiver)
        _pynetdicom()

    def send(self, work: Work, scan: ScanPlan, spool: Spool, seen: list[Seen]) -> None:
        """Send the files of one scan. An instance that is sent again takes the place of itself."""
        texts, attempts = routing_text(self.project, work.session.to), itertools.count()
        with tempfile.TemporaryDirectory(prefix="xnbtransfer-", dir=spool.folder) as folder:

            def send() -> None:
                attempt = next(attempts)
                self.note(work, "sending", settle=False, scan=scan.scan, resource=scan.resource, attempt=attempt)
                self._send(work, spool, seen, texts, Path(folder))

            def look(problem: XnbTransferError | None) -> str | None:
                # Which instances a row holds is not told by their names: after a failure all are sent again.
                if problem is None:
                    work.uri = work.uri or self._arrival(work.session, len(seen))
                return work.uri if problem is None else None

            send_and_look(send, look, f"What was sent of {work.session.to} scan {scan.scan}")

    def _send(self, work: Work, spool: Spool, seen: list[Seen], texts: dict[str, str], folder: Path) -> None:
        from pynetdicom import AE, build_context, evt

        where = str(work.session.key)
        contexts = sorted({(one.content.sop_class_uid, one.content.transfer_syntax) for one in seen if one.content})
        names = {one.name for one in seen}
        entity = AE(ae_title=self.options.calling_title)
        entity.maximum_pdu_size = 0
        association = entity.associate(
            self.receiver.host,
            self.receiver.port,
            contexts=[build_context(*pair) for pair in contexts[:_MOST_CONTEXTS]],
            ae_title=self.receiver.title,
            tls_args=(self._tls(), self.receiver.host) if self.receiver.encrypted else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, _at_once)],
        )
        if not association.is_established and association.rejected_contexts and not association.is_rejected:
            syntaxes = sorted({syntax for _, syntax in contexts})
            raise RefusedError(
                f"The receiver {self.receiver.title} at {self.receiver.host} takes none of the files of {where}: their "
                f"transfer syntax is {', '.join(syntaxes)}.",
                "Send this session with method=import, which takes it.",
            )
        if not association.is_established:
            said = "refused the association" if association.is_rejected else "did not answer"
            raise TransientError(f"The receiver {self.receiver.title} at {self.receiver.host} {said}.")
        try:
            taken = {(one.abstract_syntax, one.transfer_syntax[0]) for one in association.accepted_contexts}
            if lacking := set(contexts) - taken:
                raise RefusedError(
                    f"The receiver does not take {len(lacking)} kinds of files of {where}, such as transfer syntax "
                    f"{sorted(lacking)[0][1]}.",
                    "Send this session with method=import.",
                )
            for member in spool.members:
                if member.name in names:
                    data = b"".join(self.pace(spool.bytes_of(member)))
                    self._store(association, rerouted(data, texts), folder, where)
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()

    def _store(self, association, data: bytes, folder: Path, where: str) -> None:
        # By path and in pieces the data set goes out byte for byte; as an object it would be encoded anew.
        file = folder / "object.dcm"
        file.write_bytes(data)
        try:
            status = association.send_c_store(str(file))
        except (RuntimeError, ValueError, AttributeError) as problem:
            if not association.is_established:
                raise TransientError(f"The association with the receiver ended while {where} was sent.") from None
            raise ServerError(f"A file of {where} cannot be sent by C-STORE ({type(problem).__name__}).") from None
        code = getattr(status, "Status", None)
        if code is None:
            raise TransientError(f"The receiver did not answer while {where} was sent.")
        if code >> 8 == 0xA7:
            raise TransientError(f"The receiver has no room for {where} (status {code:04X}).")
        if code and code >> 12 != 0xB:
            raise ServerError(
                f"The receiver refused a file of {where} (status {code:04X}).", "Send it with method=import."
            )

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.options.receiver_ca or None)
        except OSError as problem:
            raise InputError(
                f"The certificates in {self.options.receiver_ca} cannot be read: {problem.strerror or problem}."
            ) from None

    def _arrival(self, session: SessionPlan, files: int) -> str:
        """The prearchive row that the first objects of a session made."""
        until = time.monotonic() + _ARRIVAL_S
        while True:
            if uri := self.own_row(session):
                return uri
            if time.monotonic() > until:
                break
            time.sleep(0.5)
        raise ServerError(
            f"The receiver took {files} files of {session.key}, and nothing of them is in the prearchive of "
            f"{self.project}.",
            "Ask its administrator how the receiver routes, and for what lies in Unassigned.",
        )


def _at_once(event) -> None:
    """Small files wait for the network's own timer otherwise (measured: five times slower)."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _pynetdicom() -> None:
    try:
        from pynetdicom import _config
    except ImportError:
        raise InputError(
            "Sending to a DICOM receiver needs the package pynetdicom.", "Install xnbtransfer[receiver]."
        ) from None
    _config.STORE_SEND_CHUNKED_DATASET = True
