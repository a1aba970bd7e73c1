"""Carrying out a script of DicomEdit 4 over a data set, as its engine does.

All values are computed from the file as it was; then the statements are carried out from the last to the first, so that
the first about a tag has the last word (``ScriptApplicator``). Called by :mod:`.script`.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping

from .dataset import Dataset, Element
from .dictionary import vr_of
from .functions6 import hash_uid
from .javatext import find, matches, message
from .parser4 import Call, Format, Name, New, Number, Pattern, Statement, Statements, Term, Text
from .values import Drawn, bytes_of, java_int, text_of
from .words import Ended, Failed, NotForetold, Refused

FUNCTIONS = ("format", "getURL", "hashUID", "lowercase", "match", "replace", "substring", "uppercase", "urlEncode")
_CLASSES = {"X": "[0-9A-F]", "@": "[02468ACE]", "#": "[13579BDF]"}
_DEPTH = 200
_MOST_TEXT = 1 << 20


def required(script: Statements) -> dict[str, object]:
    """The words that the context has to give, with their places."""
    return {name: place for name, place in script.words.items() if name not in script.variables}


class Run:
    """One run over one file or many; nothing is kept from file to file but what ``new UID`` drew."""

    def __init__(self, script: Statements, context: Mapping[str, str]) -> None:
        self.script = script
        self.given = {name.lower(): text for name, text in context.items()}
        self.echoed: list[str] = []
        self.root = Dataset()
        if script.broken is not None:
            raise script.broken
        for statement in script.statements:
            for call in _calls(statement):
                if call.name not in FUNCTIONS:
                    raise Refused(f"there is no function {call.name}", call.place)
        for value in script.variables.values():
            for call in _calls_of(value):
                if call.name not in FUNCTIONS:
                    raise Refused(f"there is no function {call.name}", call.place)
        for name, place in required(script).items():
            if name not in self.given:
                raise Refused(f"the word {name} has no value", place)  # type: ignore[arg-type]

    def over(self, root: Dataset) -> None:
        """Carry the script out over a data set, in place; see :meth:`.run6.Run.over`."""
        self.root = root
        actions: list[Callable[[], None]] = []
        for statement in self.script.statements:
            try:
                if all(self.holds(one.left, one.operator, one.right) for one in statement.conditions):
                    actions.append(self.action(statement))
            except Ended as ended:
                ended.place = ended.place or statement.place
                raise
        for action in reversed(actions):
            action()

    def holds(self, left: Term, operator: str, right: Term) -> bool:
        first, second = self.value(left), self.value(right)
        if isinstance(first, Drawn) or isinstance(second, Drawn):
            raise NotForetold("a condition asks for what is drawn at random")
        if operator == "=":
            return first == second
        if second is None:
            raise Failed("a pattern is missing")
        try:
            return first is not None and matches(first, second)
        except Failed as failed:
            raise Refused(failed.reason) from None

    def action(self, statement: Statement) -> Callable[[], None]:
        target = statement.target
        if target is None:
            assert statement.value is not None
            try:
                self.echoed.append(self.value(statement.value) or "null")
            except Failed:
                self.echoed.append("[uninterpretable]")
            return lambda: None
        if statement.value is None:
            return lambda: self.delete(target)
        value = self.value(statement.value)

        def assign() -> None:
            try:
                self.assign(target, value)
            except Ended as ended:
                ended.place = ended.place or statement.place
                raise

        return assign

    def delete(self, target: Pattern) -> None:
        for tag in self.tags(target):
            self.root.remove(tag)

    def assign(self, target: Pattern, text: str | None) -> None:
        for tag in self.tags(target):
            vr = vr_of(tag)
            if vr == "UN":
                vr = "LO"
            if vr in ("OB", "OW", "OF", "SQ"):
                raise Failed(f"a text cannot be written as {vr}")
            drawn = isinstance(text, Drawn)
            try:
                value = b"" if text is None or drawn else bytes_of(text, vr, self.root)
            except Failed as failed:
                raise Refused(failed.reason) from None
            if text is None and vr in ("US", "SS", "UL", "SL", "FL", "FD", "AT"):
                raise Refused("a missing value is written as a number")
            self.root.put(Element(tag, vr, value, random=drawn))

    def tags(self, target: Pattern) -> list[int]:
        """A tag, whether it is there or not; of a pattern the tags that are."""
        text = (target.group + target.element).upper()
        if not set(text) & set("X@#"):
            return [int(text, 16)]
        test = re.compile("".join(_CLASSES.get(sign, sign) for sign in text)).fullmatch
        return [element.tag for element in self.root if element.tag >> 16 > 2 and test(f"{element.tag:08X}")]

    def value(self, term: Term, depth: int = 0) -> str | None:
        if depth > _DEPTH:
            raise Refused("words are set in a circle", term.place)
        match term:
            case Text():
                return term.text
            case Number():
                return term.text
            case Pattern():
                return self.read(int(term.group + term.element, 16))
            case Name():
                if term.name in self.script.variables and term.name not in self.given:
                    return self.value(self.script.variables[term.name], depth + 1)
                if term.name in self.script.variables:
                    return self.value(self.script.variables[term.name], depth + 1)
                return self.given.get(term.name)
            case New():
                if term.name != "UID":
                    raise NotForetold(f"new {term.name} is not known here", term.place)
                return Drawn("")
            case Format():
                return self.format(term.text, [self.value(one, depth + 1) for one in term.values])
            case Call():
                try:
                    text = self.call(term, [self.value(one, depth + 1) for one in term.arguments])
                except Ended as ended:
                    ended.place = ended.place or term.place
                    raise
                if text is not None and len(text) > _MOST_TEXT:
                    raise NotForetold("a value of more than 1 MB is made", term.place)
                return text
        raise AssertionError

    def format(self, text: str, values: list[str | None]) -> str:
        if any(isinstance(value, Drawn) for value in values):
            return Drawn("")
        try:
            return message(text, values)
        except Failed as failed:
            raise Refused(failed.reason) from None

    def read(self, tag: int) -> str | None:
        """A tag outside of sequences as text: None where it is missing."""
        element = self.root.get(tag)
        if element is None:
            return None
        text = text_of(element, self.root)
        if element.vr == "AT" and text:
            numbers = [int(part, 16) for part in text.split("\\")]
            return "\\".join(str(one - (one >> 31 << 32)) for one in numbers)
        return text

    def call(self, term: Call, values: list[str | None]) -> str | None:
        if any(isinstance(value, Drawn) for value in values):
            if term.name in ("lowercase", "uppercase", "hashUID", "format", "replace", "urlEncode"):
                return Drawn("")
            raise NotForetold("what is drawn at random is worked on")
        match term.name:
            case "format":
                if values[0] is None:
                    raise Refused("a format is missing")
                return self.format(values[0], values[1:])
            case "lowercase":
                return None if values[0] is None else values[0].lower()
            case "uppercase":
                return None if values[0] is None else values[0].upper()
            case "hashUID":
                return None if values[0] is None else hash_uid(values[0])
            case "urlEncode":
                return (
                    None if values[0] is None else urllib.parse.quote_plus(values[0], safe="*-._").replace("~", "%7E")
                )
            case "substring":
                return self.substring(values)
            case "replace":
                return self.replace(values)
            case "match":
                return self.match(values)
            case _:
                raise NotForetold("an address is read by the server")

    def substring(self, values: list[str | None]) -> str | None:
        if len(values) != 3:
            raise Refused("substring needs a text and two numbers")
        begin, end = (java_int(value or "") for value in values[1:])
        text = values[0]
        if text is None:
            return None
        if not 0 <= begin <= end <= len(text):
            raise Failed("a part of a text is asked for that the text does not have")
        return text[begin:end]

    def replace(self, values: list[str | None]) -> str | None:
        if len(values) != 3:
            raise Refused("replace needs three texts")
        text, old, new = values
        if text is None or old is None or new is None:
            raise Refused("replace needs three texts")
        return text.replace(old, new)

    def match(self, values: list[str | None]) -> str | None:
        if len(values) != 3:
            raise Refused("match needs a text, a pattern and a number")
        text, pattern = values[0], values[1]
        if text is None or pattern is None:
            return None
        try:
            found, group = find(text, pattern, java_int(values[2] or ""), whole=True)
        except Failed as failed:
            raise Refused(failed.reason) from None
        return group if found else None


def _calls(statement: Statement) -> list[Call]:
    found = [] if statement.value is None else _calls_of(statement.value)
    for condition in statement.conditions:
        found += _calls_of(condition.left) + _calls_of(condition.right)
    return found


def _calls_of(term: Term) -> list[Call]:
    inner = term.arguments if isinstance(term, Call) else term.values if isinstance(term, Format) else ()
    own = [term] if isinstance(term, Call) else []
    return own + [call for one in inner for call in _calls_of(one)]
