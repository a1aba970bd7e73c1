"""Instant checks of labels: what is wrong with each cell, while somebody types."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from ..keys import SessionKey
from ..label_rules import unfit
from ..labels import LabelMap, folded

_KINDS = (("to_subject", "subject"), ("to_session", "session"))


def label_notes(
    keys: Iterable[SessionKey],
    labels: LabelMap,
    existing_subjects: Iterable[str] = (),
    existing_sessions: Iterable[str] = (),
) -> dict[SessionKey, dict[str, str]]:
    """A sentence per label that XNAT does not take or that would meet another, by session and column.

    What :func:`xnbtransfer.labels.check_labels` refuses as a whole is found here cell by cell.
    """
    to = {key: labels(key) for key in keys}
    found: dict[SessionKey, dict[str, str]] = collections.defaultdict(dict)
    for key, new in to.items():
        for column, kind in _KINDS:
            problem = unfit(kind, getattr(new, kind))
            if problem:
                found[key][column] = f"{problem}.".capitalize().replace("xnat", "XNAT")
    goes: dict[str, list[SessionKey]] = collections.defaultdict(list)
    for key, new in to.items():
        goes[new.session].append(key)
    for label, sources in goes.items():
        if len(sources) > 1:
            for key in sources:
                others = ", ".join(str(one) for one in sources if one != key)
                found[key].setdefault("to_session", f"{others} goes to {label}, too: XNAT would join them.")
    for (column, kind), existing in zip(_KINDS, (set(existing_subjects), set(existing_sessions)), strict=True):
        near: dict[str, set[str]] = collections.defaultdict(set)
        for label in existing | {getattr(new, kind) for new in to.values()}:
            near[folded(label)].add(label)
        for key, new in to.items():
            label = getattr(new, kind)
            others = near[folded(label)] - {label}
            if others:
                found[key].setdefault(column, f"It differs only by case from {', '.join(sorted(others))}.")
    return dict(found)
