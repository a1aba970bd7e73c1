"""The DICOM receiver: C-STORE and C-ECHO into the prearchive, and what ``/xapi/dicomscp`` says of it.

An object takes the road of one that is imported (``gradual-DICOM``): routing rules of the receiver, the default rules,
the site's script, a row that is RECEIVING until nothing has come for a while (XNAT source: ``DicomSCPInstance``,
``CStoreService``). It runs as the user of the preference ``receivedFileUser``, so that every project can be found.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .anonymise import ScriptError
from .answers import Refusal, as_json
from .importer import Importer, Order
from .reencode import NotDicom
from .routing import XNAT_STRING, Routing, RuleError, check
from .rules import during

if TYPE_CHECKING:
    from pathlib import Path

    from .state import State

_DEFAULTS: dict[str, Any] = {
    "id": 1, "aeTitle": "XNAT", "port": 8104, "identifier": "dicomObjectIdentifier", "enabled": False,
    "fileNamer": "templatizedDicomFileNamer", "customProcessing": False, "directArchive": False,
    "anonymizationEnabled": True, "whitelistEnabled": False, "whitelist": [], "routingExpressionsEnabled": True,
    "projectRoutingExpression": XNAT_STRING["project"], "subjectRoutingExpression": XNAT_STRING["subject"],
    "sessionRoutingExpression": XNAT_STRING["session"],
}  # fmt: skip
_SETTABLE = set(_DEFAULTS) - {"id", "port", "enabled"}
SUCCESS, NO_ROOM, FAILED, NOT_UNDERSTOOD = 0x0000, 0xA700, 0x0110, 0xC000
"""Answers to C-STORE (DICOM PS3.4 B.2.3)."""
TRANSFER_SYNTAXES = [
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 100, 101, 102, 103, 104)),
]  # fmt: skip
"""The nineteen that XNAT's receiver takes; deflated and high-throughput JPEG 2000 are not among them."""


def settings(state: State) -> dict[str, Any]:
    """The receiver as ``/xapi/dicomscp`` shows it."""
    return {**_DEFAULTS, **json.loads(state.site("dicomscp") or "{}")}


def _save(state: State, **changes: Any) -> None:
    state.set_site("dicomscp", json.dumps({**json.loads(state.site("dicomscp") or "{}"), **changes}))


def start(state: State, host: str, port: int, tls: tuple[str | Path, str | Path] | None = None):
    """Start it in threads of this process; returns pynetdicom's server, whose ``shutdown()`` ends it, and its port.

    Parameters
    ----------
    port : int
        0 takes a free one.
    tls : certificate and key, optional
        Files in PEM form; with them only encrypted associations are taken.
    """
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made from a table when imported

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    entity = AE(ae_title=settings(state)["aeTitle"])
    entity.require_called_aet = True
    entity.maximum_pdu_size = 0
    entity.maximum_associations = 50
    entity.add_supported_context(Verification)
    for storage in AllStoragePresentationContexts:
        assert storage.abstract_syntax is not None
        entity.add_supported_context(storage.abstract_syntax, TRANSFER_SYNTAXES)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, tls))
    handlers = [(evt.EVT_C_ECHO, lambda event: SUCCESS), (evt.EVT_C_STORE, lambda event: _store(state, event)),
                (evt.EVT_CONN_OPEN, _at_once), (evt.EVT_REQUESTED, lambda event: _admit(state, event))]  # fmt: skip
    server = entity.start_server((host, port), block=False, ssl_context=context,
                                 evt_handlers=handlers)  # type: ignore[arg-type]  # its events look like plain tuples
    assert server is not None and server.socket is not None  # it does not block, and is bound
    port = server.socket.getsockname()[1]
    _save(state, port=port, enabled=True)
    return server, port


def _at_once(event) -> None:
    """Without this every small answer waits for the network's own timer."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _admit(state: State, event) -> None:
    """Refuse who is not on the whitelist: ``AE``, ``AE@host`` or a host (REST test TestDicomSCPWhitelist)."""
    known = settings(state)
    if not known["whitelistEnabled"]:
        return
    caller, host = event.assoc.requestor.primitive.calling_ae_title.strip(), event.assoc.requestor.address
    for entry in known["whitelist"]:
        name, _, place = str(entry).rpartition("@")
        if (name or place) in (caller, host) and (not name or (name == caller and place == host)):
            return
    event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # permanently, by the user, calling AE title not recognised
    event.assoc.kill()


def _store(state: State, event) -> int:
    known = settings(state)
    routing = None
    if known["routingExpressionsEnabled"]:
        routing = Routing(*(known[f"{what}RoutingExpression"] or "" for what in ("project", "subject", "session")))
    order = Order(
        user=state.site("receivedFileUser") or "admin", handler="gradual-DICOM", routing=routing,
        prevent_anon=not known["anonymizationEnabled"], direct=known["directArchive"], source="",
    )  # fmt: skip
    try:
        with during(state.faults.moment("C-STORE", "/receiver")):
            importer = Importer(state, order)
            importer.take("object", io.BytesIO(event.encoded_dataset()))
            importer.close()
    except (NotDicom, ScriptError):  # a script that fails is no other answer (seen on a live 1.8.11)
        return NOT_UNDERSTOOD
    except OSError:
        return NO_ROOM
    except Exception:  # whatever it was, the sender must not think that the object is here
        return FAILED
    return SUCCESS


# -- on the wire ------------------------------------------------------------------------------------------------


def list_receivers(request: Request) -> Response:
    """``GET /xapi/dicomscp``: anybody logged in."""
    found = settings(request.app.state.xnat)
    return as_json([{**found, "label": f"{found['aeTitle']}:{found['port']}"}])


async def receiver(request: Request) -> Response:
    """``GET`` and ``PUT /xapi/dicomscp/1``, administrators only."""
    state: State = request.app.state.xnat
    if not state.is_admin(request.state.user):
        return Response(status_code=403)
    if request.path_params["id"] != 1:
        return Response(status_code=404)
    if request.method == "PUT":
        try:
            given = json.loads(await request.body())
            changes = {name: value for name, value in given.items() if name in _SETTABLE}
            for name, value in changes.items():
                if not isinstance(value, type(_DEFAULTS[name])):
                    raise RuleError(f"{name} is no {type(_DEFAULTS[name]).__name__}")
                if name.endswith("RoutingExpression"):
                    check(value)
        except (ValueError, AttributeError) as problem:
            raise Refusal(400, str(problem)) from None
        _save(state, **changes)
    return as_json(settings(state))


def identifiers(request: Request) -> Response:
    """``GET /xapi/dicomscp/identifiers``."""
    return as_json({"dicomObjectIdentifier": "XNAT classic DICOM object identifier"})


routes = [
    Route("/xapi/dicomscp", list_receivers),
    Route("/xapi/dicomscp/identifiers", identifiers),
    Route("/xapi/dicomscp/{id:int}", receiver, methods=["GET", "PUT"]),
]
