"""Lists of what was derived from a session's images; reconstructions are none here, and clients ask for them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import find
from .answers import table


def reconstructions(request: Request) -> Response:
    """GET .../experiments/E/reconstructions: an empty list, as of most sessions."""
    words = request.path_params
    find.experiment(request.app.state.xnat, request.state.user, words["e"], words.get("p", ""))
    return table(request, [], ["ID", "type", "baseScanType", "URI"])


routes = [
    Route(f"{base}/reconstructions", reconstructions)
    for base in find.SESSION_ADDRESSES
]
