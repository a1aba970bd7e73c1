"""An embedded XNAT-compatible server: for the demo, for teaching, and for testing anybody's XNAT scripts.

It shares no code with the rest of the package: a fake that shares code with its client shares its misunderstandings.
"""

from .main import RunningServer, running, serve

__all__ = ["RunningServer", "running", "serve"]
