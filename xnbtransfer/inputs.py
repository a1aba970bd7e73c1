"""What people wrote down for a transfer: label map and rule, decisions, policy, waivers, list of identifiers.

:func:`read_inputs` opens those files once, before any server is asked. Whatever plans, reads or reviews is given what
it returns, and opens none of them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from .decisions import Decisions, read_decisions
from .identities import Identifiers
from .label_rules import map_by_rule, read_rule
from .labels import LabelMap, read_label_map
from .policy import Policy, Waiver, read_policies, read_waivers


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files that the parameters name, as values.

    Attributes
    ----------
    labels, rule
        The lines of the label map, and the rule for sessions that it does not name; "" where there is none.
    decisions
        What was decided about single sessions.
    policy
        What the policy file says of each project; None where none was named.
    waivers
        Those of this run alone.
    identifiers
        The list of known names and numbers, or None.
    """

    labels: LabelMap = field(default_factory=LabelMap)
    rule: str = ""
    decisions: Decisions = field(default_factory=Decisions)
    policy: Mapping[str, Policy] | None = None
    waivers: tuple[Waiver, ...] = ()
    identifiers: Identifiers | None = None

    def labels_of(self, sessions: pd.DataFrame, project: str) -> LabelMap:
        """Where the labels of some sessions go: what was decided wins over the map, the map over the rule.

        ``sessions`` has the columns of an inventory's sessions; ``project`` is the source project.

        Raises
        ------
        InputError
            If the rule gives a session no label that can be used.
        """
        given = map_by_rule(self.rule, sessions, project, self.labels) if self.rule else self.labels
        return self.decisions.over(given)

    def policy_of(self, project: str) -> Policy:
        """What holds for one destination project: ``"*"``, then what stands under its own name, then the waivers."""
        found = Policy()
        for name in ("*", project):
            found = found.joined(self.policy[name]) if self.policy and name in self.policy else found
        return found.joined(Policy(waivers=self.waivers))


def read_inputs(options: Any) -> Inputs:
    """Read all files that the parameters of a transfer name; no server is asked.

    Parameters
    ----------
    options : TransferOptions
        ``label_map``, ``label_rule``, ``decisions``, ``policy``, ``waivers`` and ``identifiers`` are read here and
        nowhere else.

    Raises
    ------
    InputError
        If a file cannot be read, or a line of it, or the rule, cannot be used.
    """
    if options.label_rule:
        read_rule(options.label_rule)
    return Inputs(
        labels=read_label_map(options.label_map) if options.label_map else LabelMap(),
        rule=options.label_rule,
        decisions=read_decisions(options.decisions) if options.decisions else Decisions(),
        policy=read_policies(options.policy) if options.policy else None,
        waivers=read_waivers(options.waivers) if options.waivers else (),
        identifiers=Identifiers.read(options.identifiers) if options.identifiers else None,
    )
