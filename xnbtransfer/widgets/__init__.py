"""The guided transfer and its parts for notebooks: a model without widgets, and views that are windows on it."""

from .app import Guide
from .models import GuidedTransfer
from .records import Records, RecordShelf
from .runner import Progress, Runner, RunState
from .table import SessionTable

__all__ = ["Guide", "GuidedTransfer", "Progress", "RecordShelf", "Records", "RunState", "Runner", "SessionTable"]
