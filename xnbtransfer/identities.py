"""What reads as a person: names, numbers, addresses in text; dummies that stand for nobody; a list of known ones."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import InputError

_DUMMY_WORDS = (
    "anon|anonym|anonymous|anonymized|anonymised|anonymize|deidentified|de-identified|removed|redacted|none|null|unknown|"
    "unspecified|unassigned|no_value|novalue|empty|dummy|phantom|test|patient|subject|nobody|na|n/a|value|default|hidden|"
    "withheld|deleted|blank|zero|not.available|private|name"
)
_DUMMY = re.compile(rf"(?:{_DUMMY_WORDS})(?:[\W_]*(?:\d|{_DUMMY_WORDS}))*|[x0\W_]*", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z]{0,12}[-_]?\d[A-Za-z0-9_-]*", re.ASCII)
_WORDS_ONLY = re.compile(r"(?:[^\W\d_]{2,}|[\u2e80-\U0003ffff])(?:[ '.-]+[^\W\d_]+\.?)*", re.UNICODE)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{2,63})*\.[A-Za-z]{2,12}\b")
_LABELLED = re.compile(
    r"(?<![A-Za-z])(?:mrn|m\.r\.n\.|ssn|nhs(?: ?(?:no|number))?|dob|d\.o\.b\.|date of birth|birth ?da(?:te|y)"
    r"|geb(?:\.|urtsdatum)"
    r"|hospital (?:no|number|id)|chart (?:no|number)|acc(?:ession)?[ .]*(?:no|number|#)"
    r"|(?:pat(?:ient)?'?s?|pt)[ _.]*(?:name|id|no|nr|number|birth ?da(?:te|y))|full name|surname|last name|first name"
    r"|(?<!ip )(?<!mac )address|medical record(?: (?:no|number))?)\s*(?:[:=#]|\bis\b)\s*\"?([\w][\w^,.'/ -]{1,62}[\w])",
    re.IGNORECASE,
)
# Siemens protocols: <ParamString."PatientName"> { "..." }, and assignments such as tPatientName = "...".
_PROTOCOL = re.compile(
    r"t?(?:patient'?s?[ _]?(?:name|id|birth\w*|last\w*|first\w*)|dateofbirth)\"?>?\s*[:=]?\s*\{?\s*"
    r"\"+([^\"{}<>]{2,80})\"",
    re.IGNORECASE,
)
_NATIONAL = re.compile(
    r"(?<![\d.])(?:\d{3}-\d{2}-\d{4}|\d{6}[-+]\d{4}|\d{3} \d{3} \d{4}|[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]"
    r"|756\.\d{4}\.\d{4}\.\d{2}|[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2})(?![\d.])"
)
_TITLE = re.compile(
    r"(?<![A-Za-z])(?:Dr|Drs|Prof|Mr|Mrs|Ms|Miss|Herr|Frau|Mme|Mlle|Sr|Sra|Signor[ae]?)\.?\s+(?:med\.?\s+)?"
    r"[A-ZÀ-Þ][\w'-]{1,30}"
)
_PHONE = re.compile(
    r"(?<![\d.])(?:(?:tel|phone|fax|mob(?:ile)?|call)[.:]*\s*\+?[\d ()/-]{6,20}\d|\+\d{1,3}[ /-]?\(?\d[\d ()/-]{6,16}\d"
    r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\d.])",
    re.IGNORECASE,
)
_STREET = re.compile(
    r"\b\d{1,5}[a-z]?,? (?:[A-Z][\w'-]+ ){1,3}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Way)\b\.?"
    r"|\b[A-ZÄÖÜ][\w-]*(?:stra(?:ß|ss)e|str\.|weg|platz|gasse|allee|straat|laan|gatan|vej)\s+\d{1,4}\b"
    r"|\b(?:rue|avenue|via|calle|rua) (?:[\w'-]+ ){0,3}[\w'-]+,? \d{1,4}\b|\b\d{1,4},? rue (?:[\w'-]+ ?){1,4}"
)
_CARET = re.compile(r"(?<![\w^])[A-ZÀ-Þ][\w'-]{1,30}\^[A-ZÀ-Þa-z][\w'-]{0,30}(?:\^[\w.' -]{0,20})*", re.UNICODE)
_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*"
_DATE = re.compile(
    r"(?<![\d.])(?:(?:19|20)\d{2}[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|1[0-2])[-/.](?:19|20)\d{2}"
    rf"|(?:0?[1-9]|[12]\d|3[01])[. -]+{_MONTH}[. -]+(?:19|20)\d{{2}})(?![\d.])",
    re.IGNORECASE,
)
_ROUTING = re.compile(r"(?:^|[\s,;])(project|subject|session|aa)\s*:\s*([\w-]*)(?=$|[\s,;])", re.IGNORECASE)
_TOKEN = re.compile(r"[^\W_]+", re.UNICODE)
_BYTE_TOKEN = re.compile(rb"[0-9a-z]+")
# Digits as people group them: 123-45-6789, 00 77 23 145; and those within a word: NA7723145.
_GROUPED = re.compile(r"(?<!\d)\d+(?:[-./_ ]\d+)+(?!\d)")
_TIED = re.compile(r"(?<!\d)\d+(?:[-./_]\d+)+(?!\d)")
_DIGITS = re.compile(r"(?<!\d)\d{5,}(?!\d)")
# Scripts without blanks between words: a name stands in the middle of a text there.
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]{2,}")
# Letters that Unicode does not take apart, as the Latin alphabet spells them; then those that are spelt with two.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ß": "ss"})
_TWO_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_WIDE = re.compile(rb"(?:[\x20-\xff]\0){3,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "the and for with head brain chest left right slice series image scan study field map rest test body neck knee "
        "hand foot spine long short young white black brown green rose may june april grace hope love king",
    )
)
_ORDINARY = frozenset(
    re.findall(
        r"\w+",
        "pilot control patient healthy visit baseline follow scan test demo phantom group arm study site quality head "
        "brain",
    )
)


def is_dummy(text: str) -> bool:
    """Whether a value stands for nobody: empty, ANONYMOUS, REMOVED, XXXX, 0000."""
    return _DUMMY.fullmatch(text.strip().strip("^=\\ ")) is not None


def looks_like_a_person(text: str, *, is_name: bool) -> bool:
    """Whether a PatientName or PatientID that is no label reads as somebody.

    A name without any digit does; so does text with a caret or a comma between words, an e-mail address or a national
    number.
    """
    found = text.strip().strip("^=")
    if (
        next(identity_in(found), None) is not None
        or _CARET.search(found)
        or re.search(r"[^\W\d]{2,}[,^] ?[^\W\d]", found)
    ):
        return True
    if _LABEL.fullmatch(found):
        return False
    return is_name and _WORDS_ONLY.fullmatch(found.replace("^", " ").replace(",", " ").strip()) is not None


def identity_in(text: str) -> Iterator[str]:
    """The parts of a text that say who somebody is: e-mail addresses, labelled numbers and names, national numbers."""
    for at in re.finditer("@", text):
        # A window around the sign: a binary value has many of them, and a pattern that begins before each is slow.
        if found := _EMAIL.search(text, max(0, at.start() - 64), at.start() + 80):
            yield found[0]
    if ":" in text or "=" in text or "#" in text or " is " in text:
        yield from (found[1] for found in _LABELLED.finditer(text) if not _says_nothing(found[1]))
    if '"' in text:
        yield from (found[1] for found in _PROTOCOL.finditer(text) if not _says_nothing(found[1]))
    yield from (found[0] for found in _NATIONAL.finditer(text))


def _says_nothing(found: str) -> bool:
    return is_dummy(found) or found.strip().lower() in ("yes", "no", "true", "false", "m", "f", "o")


def suspicious(text: str, *, caret_is_fine: bool) -> Iterator[tuple[str, str]]:
    """Rule and part of a text that may be a person, a telephone, an address (D20) or a date (D22)."""
    for pattern in (_TITLE, _PHONE, _STREET, *(() if caret_is_fine else (_CARET,))):
        yield from (("D20", found[0]) for found in pattern.finditer(text))
    yield from (("D22", found[0]) for found in _DATE.finditer(text))


def routing_in(text: str) -> list[tuple[str, str]]:
    """The routing words of a text as XNAT reads them: (project, subject, session or aa; what it names).

    XNAT documentation, "How XNAT Scans DICOM to Map to Project/Subject/Session"; the form ``xnat://P/S/E`` is that of
    sites with a rule of their own.
    """
    found = [(word.lower(), value) for word, value in _ROUTING.findall(text) if value]
    for address in re.findall(r"xnat://([\w/.-]+)", text, re.IGNORECASE):
        parts = address.split("/")
        found += [(word, value) for word, value in zip(("project", "subject", "session"), parts, strict=False) if value]
    return found


def only_routing(text: str) -> bool:
    """Whether a comment holds routing words and nothing else."""
    return bool(routing_in(text)) and not re.sub(r"xnat://[\w/.-]+", "", _ROUTING.sub(" ", text), flags=re.I).strip(
        " ,;\0"
    )


def reads_as_a_person(label: str) -> bool:
    """Whether a label or file name is called like somebody.

    >>> reads_as_a_person("Smith_John"), reads_as_a_person("001_MR1"), reads_as_a_person("Pilot_A")
    (True, False, False)
    """
    if next(identity_in(label), None) is not None or _CARET.search(label):
        return True
    if re.fullmatch(r"[A-Z]{3,}[_^][A-Z]{3,}\.(?:MR|CT|PT|US)\..*", label):
        return True  # what Siemens scanners call an exported file: NAME.MR.PROGRAMME.0001...
    words = set(re.findall(r"[a-z]+", label.lower()))
    return re.fullmatch(r"[A-Z][a-z]{2,}[ ,_-]+[A-Z][a-z]{2,}", label) is not None and not words & _ORDINARY


class Identifiers:
    """Names and numbers of people, to be found wherever they stand. Never printed, never stored.

    Compared without accents and case, word by word: an entry of several words is found where they follow each other in
    any order (a scanner writes the family name first), one with ä, ö, ü, ø or å also where that is spelt with two
    letters. A number is found without its leading zeros, however its digits are grouped and whatever letters are tied
    to it. Entries of less than three letters (two in Chinese, Japanese and Korean) or four digits, and common words,
    are left out and counted in ``dropped``.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._words: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        self._numbers: dict[str, int] = {}
        self._in_text: dict[str, int] = {}
        self._accented: dict[bytes, int] = {}
        self.count = self.dropped = 0
        kept = []
        for number, entry in enumerate(entries, 1):
            spelt = {tuple(_TOKEN.findall(text)) for text in _spellings(entry)}
            words = tuple(_TOKEN.findall(_folded(entry)))
            if re.fullmatch(r"\d{4}\W\d{2}\W\d{2}", entry.strip()):
                spelt.add(("".join(words),))
            whole = "".join(words)
            least = 4 if whole.isdigit() else 2 if _CJK.fullmatch(whole) else 3
            if len(whole) < least or whole in _COMMON:
                self.dropped += 1
                continue
            self.count += 1
            kept.append(_folded(entry))
            if whole.isdecimal() and len(whole.lstrip("0")) > 3:
                self._numbers[whole.lstrip("0")] = number
            if _CJK.fullmatch(whole):
                self._in_text[whole] = number
            if not entry.isascii():
                for form in {entry.strip(), entry.strip().lower(), entry.strip().upper(), entry.strip().title()}:
                    self._accented[form.encode()] = number
                    self._accented[form.encode("latin-1", "ignore")] = number
            for one in spelt:
                self._words.setdefault(one[0], []).append((number, one))
                for other in set(one[1:]):
                    self._words.setdefault(other, []).append((number, one))
        self._accented.pop(b"", None)
        self._text = "\n".join(sorted(kept)).encode()

    def __bool__(self) -> bool:
        return bool(self._words)

    def __repr__(self) -> str:
        return f"<Identifiers: {self.count} entries>"

    def __reduce__(self):
        raise TypeError("A list of known identifiers stays in the memory of the process that read it.")

    @classmethod
    def read(cls, path: str | Path) -> Identifiers:
        """One entry a line, UTF-8; empty lines and lines that begin with # are passed over.

        Raises
        ------
        InputError
            If the file cannot be read. Nothing of it is in the message.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except OSError as problem:
            raise InputError(f"The list of identifiers {path} cannot be read: {problem.strerror}.") from None
        except UnicodeDecodeError:
            raise InputError(f"The list of identifiers {path} is not UTF-8 text.", "Save it as UTF-8.") from None
        return cls(line.strip() if line.strip() and line.lstrip()[0] != "#" else "" for line in lines)

    def entries_in(self, text: str) -> set[int]:
        """The numbers of the entries (from 1, in the order of the list) that stand in a text."""
        if not text:
            return set()
        found = self._in_numbers(text)
        for spelling in _spellings(text):
            found |= self._among(_TOKEN.findall(spelling))
        if self._in_text and not text.isascii():
            plain = "".join(_TOKEN.findall(_folded(text)))
            found |= {number for name, number in self._in_text.items() if name in plain}
        return found

    def _in_numbers(self, text: str) -> set[int]:
        """Entries that are numbers, however their digits are grouped."""
        if not self._numbers:
            return set()
        runs = {run.lstrip("0") for run in _DIGITS.findall(text)}
        for pattern in (_GROUPED, _TIED):
            runs |= {re.sub(r"\D", "", run).lstrip("0") for run in pattern.findall(text)}
        return {self._numbers[run] for run in runs & self._numbers.keys()}

    def entries_in_bytes(self, raw: bytes) -> set[int]:
        """The same for bytes in ASCII, Latin-1, UTF-8 or UTF-16, whatever stands around them."""
        found = self._among([word.decode() for word in _BYTE_TOKEN.findall(raw.lower())])
        found |= self._in_numbers(raw.decode("latin-1"))
        for run in _WIDE.findall(raw):
            found |= self.entries_in(run.decode("utf-16-le"))
        if self._accented and not raw.isascii():
            for variant, number in self._accented.items():
                if variant in raw:
                    found.add(number)
        return found

    def _among(self, words: list[str]) -> set[int]:
        hits = self._words.keys() & set(words)
        found = set()
        for word in hits:
            for number, entry in self._words[word]:
                if len(entry) == 1 or _follow(words, entry):
                    found.add(number)
        return found

    def fingerprint(self) -> dict[str, str | int]:
        """What a record may keep of the list: how many entries, and one salted digest over all of them (scrypt)."""
        salt = secrets.token_bytes(16)
        digest = hashlib.scrypt(self._text, salt=salt, n=1 << 14, r=8, p=1, dklen=32)
        return {"entries": self.count, "left_out": self.dropped, "salt": salt.hex(), "scrypt": digest.hex()}


def _follow(words: list[str], entry: tuple[str, ...]) -> bool:
    """Whether the words of an entry stand beside each other, in any order."""
    length, wanted = len(entry), sorted(entry)
    return any(sorted(words[at : at + length]) == wanted for at in range(len(words) - length + 1))


def _spellings(text: str) -> set[str]:
    """A text without accents, and with those letters spelt with two that are."""
    if text.isascii():
        return {text.lower()}
    return {_folded(text), _folded(unicodedata.normalize("NFC", text).lower().translate(_TWO_LETTERS))}


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return plain.casefold().translate(_LETTERS)
