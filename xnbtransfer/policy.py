"""The policy of a destination project: which rules count how much, what is declared as retained, what is waived.

A YAML file, checked by its schema::

    format: 1
    projects:
      STUDY_B:
        rules: {D12: note, D21: blocking, D14: "off"}
        retain: [dates, device]
        private_creators: ["SIEMENS *"]
        harmless: ["STUDY_A_*"]
        waivers:
          - {rule: D05, scope: {session: "001_MR1"}, reason: "ticket 17"}
      "*": {}

``"*"`` is for every project, and what stands under its own name adds to it and wins.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import InputError
from .findings import RULES, Finding, finding
from .yaml_files import read_yaml, what_is_wrong

Retained = Literal[
    "uids", "dates", "device", "institution", "patient", "descriptors", "structured", "graphics", "private"
]


UNFORETOLD = "S21"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Scope(_Model):
    """What a waiver holds for. Each word may hold * and ?; all of those given must fit, and one must be given."""

    subject: str = Field("*", description="subject label at the source")
    session: str = Field("*", description="session label at the source")
    scan: str = Field("*", description="scan ID at the source")
    element: str = Field("*", description="element as a finding names it")
    everywhere: bool = Field(False, description="the waiver holds for the whole project")

    @property
    def told(self) -> str:
        """The scope in words."""
        words = [f"{name} {value}" for name, value in self.model_dump().items() if value not in ("*", True, False)]
        return ", ".join([*words, *(["the whole project"] if self.everywhere else [])])

    def fits(self, finding: Finding) -> bool:
        """Whether a finding lies in this scope; one that is about all sessions does not lie in a single one."""
        return all(
            pattern == "*" or fnmatch.fnmatchcase(value, pattern)
            for pattern, value in (
                (self.subject, finding.subject),
                (self.session, finding.session),
                (self.scan, finding.scan),
                (self.element, finding.element),
            )
        )


class Waiver(_Model):
    """A rule that does not count for a scope, and why. It is written into the record."""

    rule: str
    scope: Scope
    reason: str

    @field_validator("rule")
    @classmethod
    def _known(cls, value: str) -> str:
        return _known_rule(value)

    @field_validator("reason")
    @classmethod
    def _said(cls, value: str) -> str:
        if len(value.strip()) < 5:
            raise ValueError("say in some words why; an auditor reads it years later")
        return value.strip()

    @field_validator("scope")
    @classmethod
    def _limited(cls, value: Scope) -> Scope:
        if not value.everywhere and not value.model_fields_set:
            raise ValueError("name a subject, session, scan or element, or say 'everywhere: true'")
        return value

    @model_validator(mode="after")
    def _by_element(self) -> Waiver:
        if self.rule == UNFORETOLD and (self.scope.everywhere or set(self.scope.element) & set("*?[")):
            raise ValueError("name one element, as the finding does; no other change is explained by it")
        return self


class Policy(_Model):
    """What holds for one destination project."""

    rules: dict[str, Literal["blocking", "warning", "note", "off"]] = Field(
        default_factory=dict, description="rule to its severity here, or off"
    )
    retain: tuple[Retained, ...] = Field(default=(), description="options of PS3.15 that the project is approved for")
    private_creators: tuple[str, ...] = Field(
        default=(), description="private creators that were reviewed; may hold * and ?"
    )
    harmless: tuple[str, ...] = Field(
        default=(), description="values that identify nobody, such as pseudonyms; may hold * and ?"
    )
    waivers: tuple[Waiver, ...] = Field(
        default=(), description="rules that do not count for a scope, each with a reason"
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        # YAML 1.1 reads a bare off as false.
        return (
            {name: "off" if word is False else word for name, word in value.items()}
            if isinstance(value, dict)
            else value
        )

    @field_validator("rules")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        return {_known_rule(name): word for name, word in value.items()}

    @field_validator("retain", "private_creators", "harmless", "waivers", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    def joined(self, other: Policy) -> Policy:
        """This policy with another one on top, whose rules win."""
        return Policy(
            rules={**self.rules, **other.rules},
            retain=tuple(dict.fromkeys((*self.retain, *other.retain))),
            private_creators=tuple(dict.fromkeys((*self.private_creators, *other.private_creators))),
            harmless=tuple(dict.fromkeys((*self.harmless, *other.harmless))),
            waivers=(*self.waivers, *other.waivers),
        )

    def unforetold(self, subject: str, session: str) -> dict[str, str]:
        """The elements whose unforetold changes are waived in a session, each with the reason."""
        found = {}
        for one in self.waivers:
            about = finding(UNFORETOLD, "", subject=subject, session=session, element=one.scope.element)
            if one.rule == UNFORETOLD and one.scope.scan == "*" and one.scope.fits(about):
                found[one.scope.element] = one.reason
        return found

    def applied(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings as this policy weighs them: raised, lowered, left out, or waived with the reason."""
        found = []
        for one in findings:
            word = self.rules.get(one.rule, one.severity)
            if word == "off":
                continue
            if word != one.severity:
                one = one.model_copy(update={"severity": word})
            waiver = next((each for each in self.waivers if each.rule == one.rule and each.scope.fits(one)), None)
            if waiver is not None and not one.waived:
                one = one.model_copy(update={"severity": "note", "waived": waiver.reason})
            found.append(one)
        return found


class _File(_Model):
    format: Literal[1]
    projects: dict[str, Policy]


class _Waivers(_Model):
    format: Literal[1]
    waivers: tuple[Waiver, ...]

    @field_validator("waivers", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


def read_policies(path: str | Path) -> dict[str, Policy]:
    """What a YAML file says of each destination project, by its ID; ``"*"`` is for every one.

    Raises
    ------
    InputError
        If the file cannot be read, or a word of it is not known.
    """
    return _load(path, _File, "policy").projects


def read_waivers(path: str | Path) -> tuple[Waiver, ...]:
    """The waivers of one run: a YAML file of its own with ``format: 1`` and a list ``waivers``.

    Raises
    ------
    InputError
        If the file cannot be read, or a word of it is not known.
    """
    return _load(path, _Waivers, "waivers").waivers


def idle_findings(
    policy: Policy,
    selected: Iterable[tuple[str, str, str]],
    project: str,
    *,
    named: Collection[str] | None = None,
    waivers: Collection[Waiver] = (),
) -> Iterator[Finding]:
    """What of the policy meets nothing that was selected: it makes nothing laxer, and may be misspelt.

    Parameters
    ----------
    policy : Policy
        What holds for ``project``, with the waivers of this run.
    selected : iterable of (subject, session, scan)
        The labels at the source; "" as the scan of a session that has none.
    project : str
        The destination project.
    named : collection of str, optional
        The projects that the policy file names; None where there is no such file.
    waivers : collection of Waiver
        Those that were written for this run.
    """
    rows = set(selected)
    for one in policy.waivers:
        wanted = (one.scope.subject, one.scope.session, one.scope.scan)
        if any(all(map(fnmatch.fnmatchcase, row, wanted)) for row in rows):
            continue
        near = [
            f"{word} {_near(label, {row[place] for row in rows})}"
            for place, (word, label) in enumerate(zip(("subject", "session", "scan"), wanted, strict=True))
            if _near(label, {row[place] for row in rows})
        ]
        sentence = f"The waiver of {one.rule} for {one.scope.told} fits nothing that is selected."
        if near:
            sentence = f"{sentence[:-1]}; perhaps {', '.join(near)} was meant."
        yield finding("P12" if near or one in waivers else "P13", sentence, project=project)
    if named is not None and not set(named) & {"*", project}:
        meant = _near(project, named)
        sentence = f"The policy says nothing of {project}, and names {', '.join(sorted(named)) or 'no project'}."
        yield finding("P14", f"{sentence[:-1]}; perhaps {meant} is misspelt." if meant else sentence, project=project)


def _near(label: str, labels: Iterable[str]) -> str:
    """The one of some labels that was perhaps meant; "" where the label is one of them, a pattern, or none is near."""
    labels = set(labels)
    if label in labels or set(label) & set("*?["):
        return ""
    same = sorted(one for one in labels if one.casefold() == label.strip().casefold())
    return (same or difflib.get_close_matches(label, sorted(labels), 1, 0.8) or [""])[0]


def _load(path: str | Path, kind: type[BaseModel], word: str) -> Any:
    advice = "docs/findings.md shows such a file."
    found = read_yaml(path, f"{word} file", advice)
    try:
        return kind.model_validate(found.values)
    except ValidationError as problem:
        told = [what_is_wrong(error, kind, found.lines) for error in problem.errors()]
        more = f" And {len(told) - 5} more." if len(told) > 5 else ""
        raise InputError(f"The {word} file {path} cannot be used. {' '.join(told[:5])}{more}", advice) from None


def _known_rule(name: str) -> str:
    if name not in RULES:
        raise ValueError(f"there is no rule {name!r}; docs/findings.md lists them")
    return name
