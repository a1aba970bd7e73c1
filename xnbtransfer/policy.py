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

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import InputError
from .findings import RULES, Finding

Retained = Literal[
    "uids", "dates", "device", "institution", "patient", "descriptors", "structured", "graphics", "private"
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Scope(_Model):
    """What a waiver holds for. Each word may hold * and ?; all of those given must fit, and one must be given."""

    subject: str = Field("*", description="subject label at the source")
    session: str = Field("*", description="session label at the source")
    scan: str = Field("*", description="scan ID at the source")
    element: str = Field("*", description="element as a finding names it")
    everywhere: bool = Field(False, description="the waiver holds for the whole project")

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


class Policy(_Model):
    """What holds for one destination project."""

    rules: dict[str, Literal["blocking", "warning", "note", "off"]] = Field(
        default_factory=dict, description="rule to its severity here, or off"
    )
    retain: tuple[Retained, ...] = Field((), description="options of PS3.15 that the project is approved for")
    private_creators: tuple[str, ...] = Field((), description="private creators that were reviewed; may hold * and ?")
    harmless: tuple[str, ...] = Field(
        (), description="values that identify nobody, such as pseudonyms; may hold * and ?"
    )
    waivers: tuple[Waiver, ...] = Field((), description="rules that do not count for a scope, each with a reason")

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


def read_policy(path: str | Path = "", project: str = "", *, waivers: str | Path = "") -> Policy:
    """The policy of a destination project.

    Parameters
    ----------
    path : path
        The YAML file; without it no rule is changed.
    project : str
        Its ID at the destination.
    waivers : path
        A YAML file of its own with ``format: 1`` and a list ``waivers``, for this run.

    Raises
    ------
    InputError
        If a file cannot be read, or a word of it is not known.
    """
    found = Policy()
    if path:
        projects = _load(path, _File, "policy").projects
        for name in ("*", project):
            found = found.joined(projects[name]) if name in projects else found
    if waivers:
        found = found.joined(Policy(waivers=_load(waivers, _Waivers, "waivers").waivers))
    return found


def _load(path: str | Path, kind: type[BaseModel], word: str) -> Any:
    import yaml

    advice = "docs/findings.md shows such a file."
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"The {word} file {path} cannot be read: {problem.strerror}.", advice) from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise InputError(f"The {word} file {path} is not YAML: {str(problem).splitlines()[0]}.", advice) from None
    try:
        return kind.model_validate(values)
    except ValidationError as problem:
        told = []
        for error in problem.errors():
            where = ".".join(str(part) for part in error["loc"]) or "the file"
            said = error["msg"].removeprefix("Value error, ")
            if error["type"] == "string_type":
                said = "write it in quotes: labels are text"
            told.append(f"{where}: {said}.")
        raise InputError(f"The {word} file {path} cannot be used. {' '.join(told[:5])}", advice) from None


def _known_rule(name: str) -> str:
    if name not in RULES:
        raise ValueError(f"there is no rule {name!r}; docs/findings.md lists them")
    return name
