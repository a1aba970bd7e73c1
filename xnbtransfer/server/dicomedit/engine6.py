"""Runs a script of DicomEdit 6, statement after statement, each seeing what the one before left.

(dicom-edit6 sources: ``DicomEditParseTreeVisitor``, ``DiscoverVariablesTreeVisitor``.) Variables live as long as the
run: what the first file sets is there for the second. A name that occurs as an argument of a function only is not known
in 6.6, since nothing looks for it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import functions6, older6, texts
from .dataset import PIXELS, DataSet
from .errors import Failed, Refused
from .functions6 import FUNCTIONS, VOID, Given, as_text, truth
from .java import Malformed
from .limits import Budget
from .parser6 import (
    Assign,
    Call,
    Compare,
    Condition,
    Delete,
    Describe,
    Echo,
    If,
    Initialize,
    Listed,
    Name,
    Number,
    RemovePrivate,
    Statement,
    Text,
    Value,
    Version,
    parse,
)
from .paths import Path, delete, holder_of, locate
from .patterns import compiled

UNSET = object()
"""A variable that was described and has no value, which is not the same as one of a missing tag."""


@dataclass
class Maps:
    """The UIDs that ``mapUID`` and ``mapReferencedUIDs`` gave; they live as long as the server."""

    uids: dict[str | None, str] = field(default_factory=dict)
    referenced: dict[str | None, str] = field(default_factory=dict)


class Run:
    """A script over the files of one run: make it once, then `over` each of them.

    Raises
    ------
    Refused
        For a statement that is none, an unknown function, and a name that neither script nor context knows.
    """

    meaning = "XNAT DicomEdit 6 Script"

    def __init__(
        self,
        text: str,
        context: Mapping[str, str],
        *,
        release: tuple[int, int] = (6, 6),
        maps: Maps | None = None,
        keeps_all: bool = False,
    ) -> None:
        self.release, self.keeps_all, self.maps = release, keeps_all, maps or Maps()
        self.functions = FUNCTIONS if release >= (6, 6) else older6.functions(release)
        self.script = parse(text, release)
        self.variables = self._known(context)
        self.dataset, self.budget = DataSet(), Budget()
        self.echoed: list[str] = []
        self.notes: set[str] = set()

    def over(self, dataset: DataSet) -> None:
        """Carry the script out over one file.

        Raises
        ------
        Failed, RejectedFile
        """
        self.dataset, self.budget = dataset, Budget()
        for statement in self.script:
            self._carry_out(statement)

    # What is known before ------------------------------------------------------------------------------------------

    def _known(self, context: Mapping[str, str]) -> dict[str, Given]:
        own: set[str] = set()
        external: dict[str, None] = {}
        for kind, name in _mentioned(self.script, arguments=self.release < (6, 6)):
            if kind == "function":
                if self.release >= (6, 6) and name not in self.functions:
                    raise Refused("NullPointerException: internal error: something is null")
            elif kind == "set":
                own.add(name)
            elif name not in own:
                external[name] = None
                own.add(name)
        folded = {key.lower(): value for key, value in context.items()}
        missing = [name for name in external if name.lower() not in folded]
        if missing:
            raise Refused(f"Missing value for script-required variable(s): {', '.join(missing)}")
        return {name: folded[name.lower()] for name in external}

    # Statements ----------------------------------------------------------------------------------------------------

    def _carry_out(self, statement: Statement) -> None:
        if isinstance(statement, Assign):
            self._assign(statement)
        elif isinstance(statement, Delete):
            self.delete(statement.path)
        elif isinstance(statement, Initialize):
            self.variables[statement.name] = self.value(statement.value)
        elif isinstance(statement, If):
            self._branch(statement)
        elif isinstance(statement, Call):
            self.call(statement)
        elif isinstance(statement, Echo):
            self._echo(statement)
        elif isinstance(statement, RemovePrivate):
            remove_private(self.dataset)
        elif isinstance(statement, Describe):
            if statement.what in ("text", "hidden"):
                self.variables.setdefault(statement.name, UNSET)
        elif isinstance(statement, Version):
            self._check(statement.text)

    def _assign(self, statement: Assign) -> None:
        value = self.value(statement.value)
        if value is VOID:
            raise Failed("Assigned value is VOID.")
        if statement.present and self.release >= (6, 5):
            functions6.assign_present(self, statement.path, as_text(value))
        elif statement.present:
            older6.assign_present(self, statement.path, as_text(value))
        else:
            older6.assign(self, statement.path, as_text(value))

    def delete(self, path: Path) -> None:
        """Delete what ``path`` means; before 6.4 with what is empty afterwards."""
        if self.release >= (6, 4):
            delete(self.dataset, path)
        else:
            older6.delete_and_tidy(self.dataset, path)

    def _branch(self, statement: If) -> None:
        holding = (block for condition, block in statement.branches if self._holds(condition))
        for inner in next(holding, statement.otherwise):
            self._carry_out(inner)

    def _holds(self, condition: Condition) -> bool:
        if isinstance(condition, Call):
            return truth(self.call(condition))
        return self._compare(condition)

    def _compare(self, condition: Compare) -> bool:
        left, right = as_text(self.value(condition.left)), as_text(self.value(condition.right))
        met = left is not None
        if left is not None and condition.operator in ("=", "!="):
            met = left == right
        elif left is not None:
            if right is None:
                raise Malformed("internal error: something is null")
            met = compiled(right).matches(left) is not None
        return met is not condition.operator.startswith("!")

    def _echo(self, statement: Echo) -> None:
        if statement.value is None:
            if self.release >= (6, 4):
                raise Failed("internal error: something is null")
            return
        value = self.value(statement.value)
        if value is VOID:
            raise Failed("Assigned value is VOID.")
        told = as_text(value)
        self.budget.spend(len(told or ""))
        self.echoed.append(("null" if told is None else told) + "\n")

    def _check(self, version: str) -> None:
        known = [f"6.{minor}" for minor in range(self.release[1] + 1)]
        if version not in known:
            raise Failed(f"Unsupported version: {version}. Supported versions are [{', '.join(known)}]")

    # Values --------------------------------------------------------------------------------------------------------

    def value(self, value: Value) -> Given:
        """What stands right of ``:=``, in a condition and behind ``echo``: paths are read."""
        if isinstance(value, Path):
            if not value.singular:
                return older6.of_many(self, value) if self.release < (6, 5) else self._many(value)
            return self.read(value)
        if isinstance(value, Name):
            return self._set(value.name, f"Unknown variable: {value.name}")
        return self._plain(value)

    def _set(self, name: str, otherwise: str) -> Given:
        value = self.variables.get(name, UNSET)
        if value is UNSET:
            raise Failed(otherwise if name not in self.variables else "internal error: something is null")
        return value

    def _many(self, path: Path) -> Given:
        raise Failed(f"Path matching multiple tags not allowed as term: {path.text()}")

    def _plain(self, value: Text | Number | Call | Listed) -> Given:
        if isinstance(value, Text):
            return value.raw.replace("\\\\", "\\")
        if isinstance(value, Number):
            return value.text
        if isinstance(value, Listed):
            return [self.argument(one) for one in value.values]
        return self.call(value)

    def argument(self, value: Value) -> Given:
        """What stands between the brackets of a function: paths are not read, and unknown names are nothing."""
        if self.release < (6, 6):
            return self.value(value)
        if isinstance(value, Path):
            return value
        if isinstance(value, Name):
            return self._set(value.name, "internal error: something is null")
        return self._plain(value)

    def call(self, call: Call) -> Given:
        """What a function gives."""
        arguments = [self.argument(one) for one in call.arguments]
        function = self.functions.get(call.name)
        if function is None:
            raise Failed(f"Error evaluating {call.name}")
        result = function(self, arguments)
        self.budget.spend(len(result) if isinstance(result, str) else 0)
        return result

    def read(self, path: Path) -> str | None:
        """The text at a singular path; reading makes sequences and private blocks that are missing."""
        numbers = locate(self.dataset, path, create=False)
        holder = holder_of(self.dataset, numbers, create=False)
        return None if holder is None else texts.show(holder, numbers[-1])

    def put(self, holder: DataSet, tag: int, text: str | None, *, present: bool = False) -> None:
        """Set an element, in its own value representation or that of the dictionary; up to 6.5 `older6` knows how."""
        self.budget.spend(len(text or ""))
        if self.release >= (6, 6):
            texts.put(holder, tag, text)
        else:
            older6.put(self.release, holder, tag, text, present=present)


def remove_private(dataset: DataSet) -> None:
    """``removeAllPrivateTags``: in the items of public sequences, too."""
    for tag in dataset.tags(meta=False):
        if tag & 0x10000:
            del dataset[tag]
        elif tag != PIXELS:
            for item in dataset[tag].items or ():
                remove_private(item)


def _mentioned(statements: tuple[Statement, ...], *, arguments: bool) -> Iterator[tuple[str, str]]:
    """Names in the order in which the engine looks for them: used, set, or of a function."""
    for statement in statements:
        if isinstance(statement, Assign):
            yield from _in_value(statement.value, arguments=arguments)
        elif isinstance(statement, Initialize):
            yield from _in_value(statement.value, arguments=arguments)
            yield "set", statement.name
        elif isinstance(statement, Echo) and statement.value is not None:
            yield from _in_value(statement.value, arguments=arguments)
        elif isinstance(statement, Call):
            yield from _in_value(statement, arguments=arguments)
        elif isinstance(statement, Describe) and statement.what != "text":
            yield "used", statement.name
        elif isinstance(statement, If):
            yield from _in_branches(statement, arguments=arguments)


def _in_branches(statement: If, *, arguments: bool) -> Iterator[tuple[str, str]]:
    for condition, block in statement.branches:
        for value in (condition,) if isinstance(condition, Call) else (condition.left, condition.right):
            yield from _in_value(value, arguments=arguments)
        yield from _mentioned(block, arguments=arguments)
    yield from _mentioned(statement.otherwise, arguments=arguments)


def _in_value(value: Value, *, arguments: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, Name):
        yield "used", value.name
    elif isinstance(value, Call):
        yield "function", value.name
        if arguments:
            for one in value.arguments:
                yield from _in_value(one, arguments=True)
    elif isinstance(value, Listed):
        for one in value.values:
            if isinstance(one, Call | Listed):
                yield from _in_value(one, arguments=arguments)


def called(text: str, release: tuple[int, int]) -> set[str]:
    """The functions that a script calls, those in arguments too; `Refused` for a text that is no script."""
    return {name for kind, name in _mentioned(parse(text, release), arguments=True) if kind == "function"}
