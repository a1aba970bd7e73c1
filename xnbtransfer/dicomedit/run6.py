"""Carrying out a script of DicomEdit 6 over a data set, as its engine does (``DicomEditParseTreeVisitor``).

One :class:`Run` is one run of the engine over one file or over many: variables stay from file to file. Called by
:mod:`.script`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import before66, paths
from .dataset import EXPLICIT_BIG, PIXEL_DATA, Dataset, Element
from .dictionary import vr_of
from .functions6 import FUNCTIONS, MISSING, VOID, Value, shown, truth
from .javatext import matches
from .tree import (
    Assign,
    Call,
    Choice,
    Condition,
    Delete,
    Describe,
    Echo,
    If,
    Items,
    Name,
    Number,
    Path,
    RemoveAllPrivateTags,
    SetVariable,
    Statement,
    Text,
    Version,
    nodes,
)
from .tree import Value as Node
from .values import EMPTIED, Drawn, bytes_of, text_of
from .words import Ended, Failed, NotForetold, Place, Refused

VERSIONS = ("6.0", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6")
_MOST_STEPS = 100_000
_MOST_TEXT = 1 << 20


def external(
    statements: tuple[Statement, ...], *, functions: frozenset[str], dialect: tuple[int, int] = (6, 6)
) -> tuple[set[str], set[str]]:
    """The words that the context has to give, and all words that get an entry before the script runs.

    Unknown functions stop the script here, also in a branch that is not taken; those that are arguments of another
    are not looked at, nor are words there (``DiscoverVariablesTreeVisitor``).

    Raises
    ------
    Refused
        For a function that does not exist.
    """
    outside: set[str] = set()
    known: set[str] = set()

    def value(node: Node | None) -> None:
        if isinstance(node, Name):
            if node.name not in known:
                outside.add(node.name)
                known.add(node.name)
        elif isinstance(node, Call):
            if dialect < (6, 6):
                for one in node.arguments:
                    value(one)
            elif node.name not in functions:
                raise Refused(f"there is no function {node.name}", node.place)
        elif isinstance(node, Items):
            for one in node.values:
                if not isinstance(one, Name):
                    value(one)

    def condition(node: Condition) -> None:
        value(node.left)
        value(node.right)

    def statement(node: Statement | None) -> None:
        match node:
            case Assign() | Echo():
                value(node.value)
            case SetVariable():
                value(node.value)
                known.add(node.name)
            case Describe() if node.kind != "text" and node.name not in known:
                outside.add(node.name)
                known.add(node.name)
            case Call():
                value(node)
            case Choice():
                condition(node.condition)
                statement(node.then)
                statement(node.other)
            case If():
                for test, block in node.branches:
                    condition(test)
                    for one in block:
                        statement(one)
                for one in node.other:
                    statement(one)
            case _:
                pass

    for one in statements:
        statement(one)
    return outside, known


class Run:
    """One run of a script: the words it knows, and the file it is at.

    ``alone`` is False where other files may have run before this one, in an order that is not known: what a variable
    holds that this file has not set yet cannot be foretold then.
    """

    def __init__(
        self,
        statements: tuple[Statement, ...],
        context: Mapping[str, str],
        *,
        ignore_rejection: bool = False,
        alone: bool = True,
        dialect: tuple[int, int] = (6, 6),
    ) -> None:
        self.statements, self.ignore_rejection, self.dialect = statements, ignore_rejection, dialect
        self.functions = functions_of(dialect)
        given = {name.lower(): text for name, text in context.items()}
        outside, known = external(statements, functions=frozenset(self.functions), dialect=dialect)
        for name in sorted(outside):
            if name.lower() not in given:
                raise Refused(f"the word {name} has no value", place_of(statements, name))
        self.variables: dict[str, Value] = dict.fromkeys(known, MISSING)
        self.variables |= {name: given[name.lower()] for name in outside}
        self.echoed: list[str] = []
        self.root = Dataset()
        self.steps = 0
        self.stale = set() if alone else _set_by(statements)

    def over(self, root: Dataset) -> None:
        """Carry the script out over a data set, in place.

        Raises
        ------
        Ended
            Where the run ends otherwise than at its end; what was changed until then is still in ``root``.
        """
        self.root, self.steps = root, 0
        doubtful = set(self.stale)
        for statement in self.statements:
            try:
                self.statement(statement)
            except Ended as ended:
                if ended.place is None:
                    ended.place = statement.place
                raise
            except RecursionError:
                raise NotForetold("the script is nested too deeply", statement.place) from None
        self.stale = doubtful

    def statement(self, node: Statement | None) -> Value:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise NotForetold("the script has too many steps")
        match node:
            case Assign():
                self.assign(node)
            case SetVariable():
                value = self.value(node.value)
                self.variables[node.name] = value
                self.stale.discard(node.name)
            case Delete():
                self.delete(node.target)
            case Echo():
                if node.value is None:
                    if self.dialect < (6, 4):
                        return VOID
                    raise Failed("echo has no value")
                value = self.value(node.value)
                if value is VOID:
                    raise Failed("a function without a value is printed")
                text = shown(value)
                self.echoed.append("null" if text is None else text)
            case RemoveAllPrivateTags():
                _remove_private(self.root)
            case Version():
                version = node.text.replace('"', "")
                if version not in VERSIONS[: self.dialect[1] + 1]:
                    raise Failed(f"version {version} is not known to the engine")
            case Describe():
                self.variables.setdefault(node.name, MISSING)
            case Choice():
                if self.condition(node.condition):
                    self.statement(node.then)
                elif node.other is not None:
                    self.statement(node.other)
            case If():
                self.block_if(node)
            case Call():
                self.call(node)
        return VOID

    def block_if(self, node: If) -> None:
        for test, block in node.branches:
            if self.condition(test):
                for one in block:
                    self.statement(one)
                return
        for one in node.other:
            self.statement(one)

    def condition(self, node: Condition) -> bool:
        left = self.value(node.left)
        if node.right is None:
            return truth(left)
        right = self.value(node.right)
        first, second = shown(left), shown(right)
        if isinstance(first, Drawn) or isinstance(second, Drawn):
            raise NotForetold("a condition asks for what is drawn at random")
        if node.operator in ("=", "!="):
            same = first is not None and first == second
        elif first is None:
            same = False
        elif second is None:
            raise Failed("a pattern is missing")
        else:
            same = matches(first, second)
        return same if node.operator in ("=", "~") else not same

    def assign(self, node: Assign) -> None:
        if isinstance(node.value, Path) and not (paths.is_singular(node.value) and node.value.parts[-1].item is None):
            raise Failed("a path of several elements, or of an item, is used as a value")
        value = self.value(node.value)
        if value is VOID:
            raise Failed("a function without a value is assigned")
        if value is MISSING:
            raise Failed("a word without a value is assigned")
        text = shown(value)
        if text is not None and len(text) > _MOST_TEXT:
            raise NotForetold("a value of more than 1 MB is made")
        if node.if_exists:
            self.assign_if_exists(node.target, text)
        elif not paths.is_singular(node.target):
            if self.dialect < (6, 4) and before66.is_many(node.target):
                return
            raise Failed("a path of several elements is set")
        elif text is not None:
            self.put_at(paths.resolve(node.target, self.root, create=True), text, "UN")

    def assign_if_exists(self, target: Path, text: str | None) -> None:
        if self.dialect < (6, 5):
            before66.assign_if_exists(self, target, text)
            return
        test = paths.matcher(target.parts)

        def leaf(path: str, element: Element, dataset: Dataset) -> None:
            if test(path):
                if text is None and element.vr not in EMPTIED:
                    raise Failed(f"a missing value is written as {element.vr}")
                self.write(element.tag, "" if text is None else text, dataset, element.vr, kept=True)

        paths.walk(self.root, leaf)

    def value(self, node: Node | None) -> Value:
        """A value that is assigned, compared or printed: of a tag what it holds."""
        match node:
            case Text():
                return _undone(node.text)
            case Number():
                return node.text
            case Path():
                if self.dialect < (6, 5) and node.parts[-1].item is not None:
                    raise NotForetold("what an engine before 6.5 reads at an item was not measured")
                if not paths.is_singular(node):
                    if self.dialect < (6, 5) and before66.read_many(node):
                        return VOID
                    raise Failed("a path of several elements is used as a value")
                return self.text_at(node)
            case Name():
                return self.variable(node)
            case Items():
                return [self.in_list(one) for one in node.values]
            case Call():
                return self.call(node)
        return MISSING

    def argument(self, node: Node) -> Value:
        """An argument of a function: a tag is itself, not what it holds."""
        if self.dialect < (6, 6):
            return self.value(node)
        if isinstance(node, Path):
            return node
        if isinstance(node, Name):
            if node.name not in self.variables:
                raise Failed(f"the word {node.name} has no value", node.place)
            return self.variable(node)
        return self.value(node)

    def in_list(self, node: Node) -> Value:
        """A value of a list; texts keep their backslashes there, and numbers are lost (``visitList``)."""
        if isinstance(node, Text):
            return node.text
        if isinstance(node, Number):
            return MISSING
        return self.argument(node)

    def variable(self, node: Name) -> Value:
        if node.name in self.stale:
            raise NotForetold(f"the word {node.name} keeps what an earlier file has set", node.place)
        if node.name not in self.variables:
            raise Failed(f"the word {node.name} is not known", node.place)
        return self.variables[node.name]

    def call(self, node: Call) -> Value:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise NotForetold("the script has too many steps")
        if node.name not in self.functions:
            raise Failed(f"there is no function {node.name}", node.place)
        arguments = [self.argument(one) for one in node.arguments]
        try:
            value = self.functions[node.name](self, arguments)
        except Ended as ended:
            if ended.place is None:
                ended.place = node.place
            raise
        if isinstance(value, str) and len(value) > _MOST_TEXT:
            raise NotForetold("a value of more than 1 MB is made", node.place)
        return value

    # What functions ask of the file.

    def text_at(self, path: Path) -> str | None:
        """What the engine reads at a path; reading makes what resolving it needs."""
        element, dataset = paths.get(paths.resolve(path, self.root, create=False), self.root)
        return None if element is None else text_of(element, dataset)

    def vr_at(self, path: Path) -> str:
        """The VR at a path, without looking for the block of a private tag."""
        tags: list[int] = []
        for part in path.parts:
            tags.append(paths.number(part))
            if part.item is not None:
                tags.append(paths.item_number(part))
        element, _ = paths.get(tags, self.root)
        return element.vr if element is not None else vr_of(tags[-1])

    def path_of_text(self, text: str) -> Path:
        from .parser6 import parse

        parsed = parse(f"-{text}")
        if len(parsed) != 1 or not isinstance(parsed[0], Delete):
            raise Refused("a text is no path", Place(line=1, column=1))
        return parsed[0].target

    def put(self, tag: int, text: str | None, dataset: Dataset) -> None:
        """Set an element that a walk has met."""
        self.write(tag, text, dataset, self._vr(dataset.get(tag), tag))

    def put_at(self, tags: list[int], text: str | None, vr: str) -> None:
        """Set the element at tags and item numbers; ``vr`` UN: the VR it has, or that of the dictionary."""
        element, _ = paths.get(tags, self.root)
        if vr == "UN":
            vr = self._vr(element, tags[-1])
        self.write(tags[-1], text, paths.make(tags, self.root), vr)

    def _vr(self, element: Element | None, tag: int) -> str:
        return vr_of(tag) if element is None or self.dialect < (6, 6) else element.vr

    def write(self, tag: int, text: str | None, dataset: Dataset, vr: str, *, kept: bool = False) -> None:
        """Set an element in a VR; ``kept``: in the one that it has, whatever the engine is."""
        if kept and self.dialect < (6, 6) and vr in ("OB", "OW", "OF"):
            raise NotForetold(f"what an engine before 6.6 writes into a {vr} that is there was not measured")
        if self.dialect > (6, 6) and vr in ("OF", "SQ"):
            # Newer than what was measured (mizer's public source, MizerDicomObject.putString): one number, and nothing.
            raise NotForetold(f"what an engine newer than 6.6 writes into {vr} was not measured")
        if self.dialect < (6, 6) and before66.write(self, tag, text, dataset, vr):
            return
        if vr == "SQ":
            raise Failed("a text is written into a sequence")
        if vr in ("OF", "OW") and self.root.text(0x00020010) == EXPLICIT_BIG and len(text or "") % 4:
            raise NotForetold(f"a text is written into {vr} of a big endian file")
        if text is None:
            raise Failed("a missing value is assigned")
        drawn = isinstance(text, Drawn)
        if drawn and vr not in (
            "UI",
            "LO",
            "SH",
            "PN",
            "LT",
            "ST",
            "UT",
            "UN",
            "AE",
            "CS",
            "DA",
            "DS",
            "DT",
            "IS",
            "TM",
        ):
            raise Failed("a UID is written where a number has to be")
        dataset.put(Element(tag, vr, b"" if drawn else bytes_of(text, vr, dataset), random=drawn))

    def delete(self, path: Path) -> None:
        """Delete every element that a path fits; private creators stay, and so do emptied items."""
        test, longer = paths.matcher(path.parts), paths.matcher(path.parts, True)
        seen_leaf = False

        def leaf(name: str, element: Element, dataset: Dataset) -> None:
            nonlocal seen_leaf
            if paths.is_creator(element.tag):
                return
            seen_leaf = True
            if longer(name):
                dataset.remove(element.tag)

        def sequence(name: str, element: Element, dataset: Dataset) -> bool:
            if (longer if seen_leaf and _ends_openly(path) else test)(name):
                dataset.remove(element.tag)
                return False
            return True

        before = before66.filled(self.root) if self.dialect < (6, 4) else set()
        paths.walk(self.root, leaf, sequence)
        if self.dialect < (6, 4):
            before66.tidy(self.root, before)


def functions_of(dialect: tuple[int, int]) -> dict[str, Callable[[Run, list[Value]], Value]]:
    """The functions that an engine has, by name."""
    return FUNCTIONS if dialect >= (6, 6) else before66.OLDER


def _ends_openly(path: Path) -> bool:
    """Whether the engine has made the pattern of a path open at its end by the first element it tried."""
    last = path.parts[-1]
    plain = not last.wildcard and last.item is None and last.creator is None
    return not (len(path.parts) == 1 and plain and (last.group + last.element).isdigit())


def _undone(text: str) -> str:
    """A text as the engine takes it: two quotes are one, two backslashes are one, all else stays."""
    return text.replace('""', '"').replace("\\\\", "\\")


def _remove_private(dataset: Dataset) -> None:
    for element in dataset:
        if element.tag & 0x10000:
            dataset.remove(element.tag)
        elif element.items and element.tag != PIXEL_DATA:
            for item in element.items:
                _remove_private(item)


def _set_by(statements: tuple[Statement, ...]) -> set[str]:
    """The words that a script sets anywhere."""
    names: set[str] = set()

    def visit(node: Statement | None) -> None:
        match node:
            case SetVariable():
                names.add(node.name)
            case Choice():
                visit(node.then)
                visit(node.other)
            case If():
                for _, block in node.branches:
                    for one in block:
                        visit(one)
                for one in node.other:
                    visit(one)
            case _:
                pass

    for one in statements:
        visit(one)
    return names


def place_of(statements: tuple[Statement, ...], name: str) -> Place | None:
    """Where a word stands first as a value."""
    found = [one.place for one in nodes(statements) if isinstance(one, Name | Describe) and one.name == name]
    return min(found, key=lambda place: (place.line, place.column)) if found else None
