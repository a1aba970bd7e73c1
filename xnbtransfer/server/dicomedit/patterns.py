"""Regular expressions as Java understands them, in bounded time: a script is foreign text, and patterns can run for
ever.

A pattern is parsed into nodes and matched by backtracking with a budget of steps; one that uses it up fails the
evaluation (the engine itself would go on until its stack or somebody's patience ends). Supported is what scripts hold:
literals, classes with ranges, negation, nesting and intersection, ``\\d \\w \\s \\h \\b \\A \\z \\Z \\Q..\\E``, octal,
``\\x`` and ``\\u``, ``\\p{..}`` of the POSIX and Java kinds, groups of each kind, look-around, back-references, greedy,
lazy and possessive counts, and the flags ``i s m x u d``.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache

from .java import Malformed

BUDGET = 200_000
"""Steps of one match."""
_LIMIT = 20_000
"""Characters of a pattern, and how often a count may repeat."""

Test = Callable[[str], bool]
Groups = tuple[tuple[int, int] | None, ...]
_DIGITS, _WORD = frozenset(string.digits), frozenset(string.ascii_letters + string.digits + "_")
_SPACE = frozenset(" \t\n\x0b\f\r")
_ESCAPES: dict[str, Test] = {
    "d": _DIGITS.__contains__,
    "w": _WORD.__contains__,
    "s": _SPACE.__contains__,
    "h": frozenset(" \xa0\u1680\u180e\u202f\u205f\u3000\t").__contains__,
    "v": frozenset("\n\x0b\f\r\x85\u2028\u2029").__contains__,
}
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}
_PROPERTIES: dict[str, Test] = {
    "Lower": frozenset(string.ascii_lowercase).__contains__,
    "Upper": frozenset(string.ascii_uppercase).__contains__,
    "ASCII": lambda char: ord(char) < 128,
    "Alpha": frozenset(string.ascii_letters).__contains__,
    "Digit": _DIGITS.__contains__,
    "Alnum": frozenset(string.ascii_letters + string.digits).__contains__,
    "Punct": frozenset(string.punctuation).__contains__,
    "Graph": lambda char: 32 < ord(char) < 127,
    "Print": lambda char: 31 < ord(char) < 127,
    "Blank": frozenset(" \t").__contains__,
    "Cntrl": lambda char: ord(char) < 32 or ord(char) == 127,
    "XDigit": frozenset(string.hexdigits).__contains__,
    "Space": _SPACE.__contains__,
    "javaLowerCase": str.islower,
    "javaUpperCase": str.isupper,
    "IsAlphabetic": str.isalpha,
    "IsDigit": str.isdigit,
}


class _Node:
    """Something that matches: `match` yields each end and the groups there, best first."""

    def match(self, run: _Run, at: int, groups: Groups) -> Iterator[tuple[int, Groups]]:
        raise NotImplementedError


class _Run:
    def __init__(self, text: str) -> None:
        self.text, self.left = text, BUDGET

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Malformed("the pattern needs more steps than one match may take")


class _Char(_Node):
    def __init__(self, test: Test) -> None:
        self.test = test

    def match(self, run, at, groups):
        run.step()
        if at < len(run.text) and self.test(run.text[at]):
            yield at + 1, groups


class _Where(_Node):
    def __init__(self, test: Callable[[str, int], bool]) -> None:
        self.test = test

    def match(self, run, at, groups):
        run.step()
        if self.test(run.text, at):
            yield at, groups


class _Row(_Node):
    def __init__(self, nodes: list[_Node]) -> None:
        self.nodes = nodes

    def match(self, run, at, groups):
        if not self.nodes:
            yield at, groups
            return
        open_ = [self.nodes[0].match(run, at, groups)]
        while open_:  # without recursion: a long pattern must not end the process
            found = next(open_[-1], None)
            if found is None:
                open_.pop()
            elif len(open_) == len(self.nodes):
                yield found
            else:
                open_.append(self.nodes[len(open_)].match(run, *found))


class _Either(_Node):
    def __init__(self, nodes: list[_Node]) -> None:
        self.nodes = nodes

    def match(self, run, at, groups):
        for node in self.nodes:
            yield from node.match(run, at, groups)


class _Group(_Node):
    def __init__(self, number: int, node: _Node) -> None:
        self.number, self.node = number, node

    def match(self, run, at, groups):
        for end, inner in self.node.match(run, at, groups):
            yield end, (*inner[: self.number], (at, end), *inner[self.number + 1 :])


class _Atomic(_Node):
    def __init__(self, node: _Node) -> None:
        self.node = node

    def match(self, run, at, groups):
        found = next(self.node.match(run, at, groups), None)
        if found is not None:
            yield found


class _Look(_Node):
    def __init__(self, node: _Node, *, behind: bool, wanted: bool) -> None:
        self.node, self.behind, self.wanted = node, behind, wanted

    def match(self, run, at, groups):
        found = None
        for start in range(at, -1, -1) if self.behind else (at,):
            ends = self.node.match(run, start, groups)
            found = next((one for one in ends if not self.behind or one[0] == at), None)
            if found is not None:
                break
        if (found is not None) is self.wanted:
            yield at, found[1] if found is not None else groups


class _Back(_Node):
    def __init__(self, number: int, fold: bool) -> None:
        self.number, self.fold = number, fold

    def match(self, run, at, groups):
        run.step()
        span = groups[self.number] if self.number < len(groups) else None
        if span is None:
            return
        wanted = run.text[span[0] : span[1]]
        found = run.text[at : at + len(wanted)]
        if found == wanted or (self.fold and found.lower() == wanted.lower()):
            yield at + len(wanted), groups


class _Count(_Node):
    def __init__(self, node: _Node, least: int, most: int, kind: str) -> None:
        self.node, self.least, self.most, self.lazy = node, least, most, kind == "?"

    def match(self, run, at, groups):
        open_: list[tuple[int, Groups, Iterator]] = [(at, groups, self.node.match(run, at, groups))]
        if self.lazy and self.least == 0:
            yield at, groups
        while open_:
            run.step()
            here, held, ends = open_[-1]
            count = len(open_) - 1
            found = next(ends, None) if count < self.most else None
            if found is not None and not (found[0] == here and count >= self.least):
                open_.append((*found, self.node.match(run, *found)))
                if self.lazy and count + 1 >= self.least:
                    yield found
                continue
            if found is not None:
                continue
            open_.pop()
            if not self.lazy and count >= self.least:
                yield here, held


class Pattern:
    """A compiled pattern: `matches` asks for the whole text, `find` for the first place within it."""

    def __init__(self, source: str) -> None:
        if len(source) > _LIMIT:
            raise Malformed("the pattern is longer than a script has use for")
        self._parser = _Parser(source)
        self._node = self._parser.whole()
        self.groups = self._parser.count
        self._nothing: Groups = (None,) * (self.groups + 1)

    def matches(self, text: str) -> Groups | None:
        """The groups, 0 being the whole, where all of ``text`` matches."""
        run = _Run(text)
        return next(
            (((0, end), *groups[1:]) for end, groups in self._node.match(run, 0, self._nothing) if end == len(text)),
            None,
        )

    def find(self, text: str) -> Groups | None:
        """The groups of the first match anywhere in ``text``."""
        run = _Run(text)
        for at in range(len(text) + 1):
            found = next(self._node.match(run, at, self._nothing), None)
            if found is not None:
                return ((at, found[0]), *found[1][1:])
        return None


@lru_cache(maxsize=512)
def compiled(source: str) -> Pattern:
    """Compile ``source``; `Malformed` where Java's ``Pattern`` would throw."""
    try:
        return Pattern(source)
    except RecursionError:
        raise Malformed("the pattern is nested too deeply") from None


class _Parser:
    def __init__(self, source: str) -> None:
        self.source, self.at, self.count = source, 0, 0
        self.names: dict[str, int] = {}
        self.flags: frozenset[str] = frozenset()

    def whole(self) -> _Node:
        node = self._either()
        if self.at < len(self.source):
            raise Malformed(f"Unmatched closing ')' near index {self.at}")
        return node

    def _peek(self, text: str) -> bool:
        return self.source.startswith(text, self.at)

    def _take(self, text: str) -> bool:
        if self._peek(text):
            self.at += len(text)
            return True
        return False

    def _next(self) -> str:
        if self.at >= len(self.source):
            raise Malformed(f"the pattern ends too early near index {self.at}")
        self.at += 1
        return self.source[self.at - 1]

    def _either(self) -> _Node:
        rows = [self._row()]
        while self._take("|"):
            rows.append(self._row())
        return rows[0] if len(rows) == 1 else _Either(rows)

    def _row(self) -> _Node:
        nodes = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            if "x" in self.flags and self.source[self.at] in _SPACE:
                self.at += 1
                continue
            node = self._atom()
            if node is not None:
                nodes.append(self._counted(node))
        return nodes[0] if len(nodes) == 1 else _Row(nodes)

    def _counted(self, node: _Node) -> _Node:
        while True:
            if self._take("*"):
                least, most = 0, _LIMIT
            elif self._take("+"):
                least, most = 1, _LIMIT
            elif self._take("?"):
                least, most = 0, 1
            elif self._peek("{"):
                least, most = self._braces()
            else:
                return node
            kind = "?" if self._take("?") else "+" if self._take("+") else ""
            node = _Count(node, least, most, kind)
            if kind == "+":
                node = _Atomic(node)

    def _braces(self) -> tuple[int, int]:
        end = self.source.find("}", self.at)
        low, comma, high = self.source[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isascii() or not low.isdigit() or (high and not high.isdigit()):
            raise Malformed(f"Illegal repetition near index {self.at}")
        self.at = end + 1
        least = int(low[:9])
        most = int(high[:9]) if high else _LIMIT if comma else least
        if most < least or least > _LIMIT:
            raise Malformed("Illegal repetition range")
        return least, min(most, _LIMIT)

    def _literal(self, char: str) -> _Char:
        if "i" in self.flags:
            low, up = char.lower(), char.upper()
            return _Char(lambda one: one in (char, low, up))
        return _Char(lambda one: one == char)

    def _atom(self) -> _Node | None:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return _Char(self._folded(self._class()))
        if char == ".":
            if "s" in self.flags:
                return _Char(lambda one: True)
            ends = "\n" if "d" in self.flags else "\n\r\x85\u2028\u2029"
            return _Char(lambda one: one not in ends)
        if char == "^":
            lines = "m" in self.flags
            return _Where(lambda text, at: at == 0 or (lines and at < len(text) and text[at - 1] == "\n"))
        if char == "$":
            lines = "m" in self.flags
            return _Where(lambda text, at: _at_end(text, at) or (lines and text[at : at + 1] == "\n"))
        if char == "\\":
            return self._escaped()
        if char in "*+?":
            raise Malformed(f"Dangling meta character '{char}' near index {self.at - 1}")
        if char == "#" and "x" in self.flags:
            end = self.source.find("\n", self.at)
            self.at = len(self.source) if end < 0 else end
            return None
        if char == "{":
            raise Malformed(f"Illegal repetition near index {self.at - 1}")
        return self._literal(char)

    def _folded(self, test: Test) -> Test:
        if "i" not in self.flags:
            return test
        return lambda char: test(char) or test(char.lower()[:1]) or test(char.upper()[:1])

    def _group(self) -> _Node | None:
        before = self.flags
        node = self._special() if self._take("?") else self._numbered(None)
        if node is not None:
            self.flags = before
        return node

    def _closed(self) -> _Node:
        node = self._either()
        if not self._take(")"):
            raise Malformed("Unclosed group near index " + str(self.at))
        return node

    def _numbered(self, name: str | None) -> _Node:
        self.count += 1
        number = self.count
        if name is not None:
            self.names[name] = number
        return _Group(number, self._closed())

    def _special(self) -> _Node | None:
        for mark, behind, wanted in (("<=", True, True), ("<!", True, False), ("=", False, True), ("!", False, False)):
            if self._take(mark):
                return _Look(self._closed(), behind=behind, wanted=wanted)
        if self._take(":"):
            return self._closed()
        if self._take(">"):
            return _Atomic(self._closed())
        if self._take("<"):
            end = self.source.find(">", self.at)
            name = self.source[self.at : max(end, 0)]
            if not (name.isascii() and name.isalnum() and name[0].isalpha()):
                raise Malformed("capturing group name is missing or odd")
            self.at = end + 1
            return self._numbered(name)
        on, flags = True, set(self.flags)
        while True:
            char = self._next()
            if char == "-":
                on = False
            elif char in "idmsuxU":
                (flags.add if on else flags.discard)(char)
            elif char in ":)":
                self.flags = frozenset(flags)
                return self._closed() if char == ":" else None
            else:
                raise Malformed(f"Unknown inline modifier near index {self.at - 1}")

    def _escaped(self) -> _Node:
        char = self._next()
        if char in "bB":
            return _Where(lambda text, at: _at_word(text, at) is (char == "b"))
        if char in "AG":
            return _Where(lambda text, at: at == 0)
        if char == "z":
            return _Where(lambda text, at: at == len(text))
        if char == "Z":
            return _Where(_at_end)
        if char == "Q":
            end = self.source.find("\\E", self.at)
            end = len(self.source) if end < 0 else end
            quoted, self.at = self.source[self.at : end], min(end + 2, len(self.source))
            return _Row([self._literal(one) for one in quoted])
        if char == "k":
            end = self.source.find(">", self.at)
            name = self.source[self.at + 1 : max(end, 0)]
            if not self._peek("<") or name not in self.names:
                raise Malformed("named capturing group is missing")
            self.at = end + 1
            return _Back(self.names[name], "i" in self.flags)
        if char in "123456789":
            number = int(char)
            while self.at < len(self.source) and self.source[self.at] in string.digits:
                longer = number * 10 + int(self.source[self.at])
                if longer > self.count:
                    break
                number, self.at = longer, self.at + 1
            return _Back(number, "i" in self.flags)
        if char == "R":
            return _Either([_Row([self._literal("\r"), self._literal("\n")]), _Char(_ESCAPES["v"])])
        test = self._escape(char)
        return _Char(self._folded(test) if callable(test) else self._literal(test).test)

    def _escape(self, char: str) -> Test | str:
        """What ``\\char`` stands for within a class and outside of one: a test, or one character."""
        if char.lower() in _ESCAPES:
            test = _ESCAPES[char.lower()]
            return test if char.islower() else lambda one: not test(one)
        if char in "pP":
            return self._property(char == "P")
        if char in _CONTROL:
            return _CONTROL[char]
        if char == "0":
            digits = ""
            while len(digits) < 3 and self.at < len(self.source) and self.source[self.at] in "01234567":
                digits += self._next()
            if not digits or int(digits, 8) > 255:
                raise Malformed("Illegal octal escape sequence")
            return chr(int(digits, 8))
        if char in "xu":
            size = 2 if char == "x" else 4
            digits = self.source[self.at : self.at + size]
            if len(digits) < size or set(digits) - set(string.hexdigits):
                raise Malformed("Illegal hexadecimal or Unicode escape sequence")
            self.at += size
            return chr(int(digits, 16))
        if char == "c":
            return chr(ord(self._next()) ^ 64)
        if char.isascii() and char.isalpha():
            raise Malformed(f"Illegal/unsupported escape sequence near index {self.at - 1}")
        return char

    def _property(self, negated: bool) -> Test:
        if self._take("{"):
            end = self.source.find("}", self.at)
            if end < 0:
                raise Malformed("Unclosed character family")
            name, self.at = self.source[self.at : end], end + 1
        else:
            name = self._next()
        found = _PROPERTIES.get(name)
        if found is None:
            short = name.removeprefix("Is")
            if not (1 <= len(short) <= 2 and short[0] in "LMNPSZC"):
                raise Malformed(f"Unknown character property name {{{name}}}")

            def found(char: str, short: str = short) -> bool:
                return unicodedata.category(char).startswith(short)

        test = found
        return (lambda char: not test(char)) if negated else test

    def _class(self) -> Test:
        negated = self._take("^")
        tests: list[Test] = []
        others: list[Test] = []
        first = True
        while True:
            if self.at >= len(self.source):
                raise Malformed(f"Unclosed character class near index {self.at - 1}")
            char = self._next()
            if char == "]" and not first:
                break
            if char == "&" and not first and self._take("&"):
                others.append(self._rest())
                break
            first = False
            if char == "[":
                tests.append(self._class())
                continue
            low = self._escape(self._next()) if char == "\\" else char
            tests.append(low if callable(low) else self._range(low))
        return self._joined(tests, others, negated)

    def _rest(self) -> Test:
        """What stands behind ``&&`` up to the end of the class."""
        depth, start = 1, self.at
        while depth:
            char = self._next()
            if char == "\\":
                self._next()
            depth += {"[": 1, "]": -1}.get(char, 0)
        inner = self.source[start : self.at - 1]
        parser = _Parser(inner + "]")
        return parser._class()

    def _range(self, low: str) -> Test:
        following = self.source[self.at + 1 : self.at + 2]
        if not self._peek("-") or following in ("]", "[", ""):
            return lambda one: one == low
        self.at += 1
        char = self._next()
        high = self._escape(self._next()) if char == "\\" else char
        if callable(high) or high < low:
            raise Malformed(f"Illegal character range near index {self.at - 1}")
        return lambda one: low <= one <= high

    @staticmethod
    def _joined(tests: list[Test], others: list[Test], negated: bool) -> Test:
        def test(char: str) -> bool:
            found = any(one(char) for one in tests) and all(one(char) for one in others)
            return found is not negated

        return test


def _at_end(text: str, at: int) -> bool:
    return at == len(text) or text[at:] in ("\n", "\r\n", "\r", "\x85", "\u2028", "\u2029")


def _at_word(text: str, at: int) -> bool:
    before = at > 0 and (text[at - 1] in _WORD or text[at - 1].isalnum())
    after = at < len(text) and (text[at] in _WORD or text[at].isalnum())
    return before is not after
