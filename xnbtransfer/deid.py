"""Confidentiality of one header: which attributes still say who somebody is. Values come in and never go out.

Judged by DICOM's confidentiality profile (``confidentiality``), by the private dictionary of pydicom, and by patterns
in text at any depth. A judgement is made once for each value of an element and then remembered, so that a file of a
series costs little more than looking its values up.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from .confidentiality import attribute
from .dicom import PREAMBLE, Values
from .findings import shape_of
from .identities import (
    Identifiers,
    identity_in,
    is_dummy,
    looks_like_a_person,
    only_routing,
    reads_as_a_person,
    suspicious,
)

_TEXT_VR = frozenset((b"SH", b"LO", b"ST", b"LT", b"UT", b"UC", b"PN", b"CS", b"AE", b"UR", b"AS", b"UN"))
_NUMBERS = frozenset((b"US", b"SS", b"UL", b"SL", b"FL", b"FD", b"OF", b"OD", b"OL", b"OV", b"SV", b"UV", b"AT", b"OW"))
_CODED = frozenset((b"DA", b"TM", b"DT", b"UI", b"DS", b"IS"))
# Kinds of attributes (confidentiality.csv) that count as soon as they hold anything, and the rule for each.
_BY_KIND = {
    "direct": "D05", "document": "D09", "staff": "D10", "order": "D11", "institution": "D12", "structured": "D16",
    "graphics": "D17", "comment": "D21", "former": "D23", "signature": "D24", "uid": "D40", "date": "D41",
    "descriptor": "D42", "device": "D43", "patient": "D44", "label": "D48",
}  # fmt: skip
# PS3.15 options by the word that a policy has for them; what is retained is a note.
_QUIET = frozenset(("D40", "D41", "D42", "D43", "D44", "D47", "D48", "D49"))
_PATTERNED = ("direct", "comment", "descriptor", "institution", "device", "label", "order", "staff", "patient")
# Where Siemens scanners write "Head^Routine" (region^programme): no caret means a person there.
_CARETS = frozenset(("00081030", "0008103E", "00081032", "00080104", "00180015", "00181030", "00321060", "00400007",
                     "00400254", "00080050", "00104000", "00324000", "001021B0"))  # fmt: skip
_ABOUT_SOFTWARE = frozenset(("00080070", "00081090", "00181020", "00189004", "00181019"))
_PATIENT_WORDS = re.compile(
    r"patient'?s?[ _]*(last |first |maiden |middle |full )?(name|id\b|identi|birth|address|phone|ssn|folder)"
    r"|birth ?(date|day)|person .*phone|global patient|\bmrn\b|medical record",
    re.IGNORECASE,
)
_STAFF_WORDS = re.compile(
    r"physician|operator'?s?[ _]*name|accession|institution|hospital|radiologist|technologist|referring|\bssn\b",
    re.IGNORECASE,
)
_PRIVATE_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]{5,}")
_INDEX = re.compile(r"\[\d+\]")
_TWIN = re.compile(r"#\d+")
_ODD = frozenset("13579BDF")
_REMEMBERED = 1 << 17


class Hit(NamedTuple):
    """One thing that an element breaks: the rule, the element in words, the shape of its value.

    ``text`` is the value in lower case where a label of the transfer there is harmless, else ""; it stays in memory.
    """

    rule: str
    element: str
    shape: str
    text: str = ""


class Judge:
    """Judges headers for one destination project.

    Parameters
    ----------
    retain : iterable of str
        Options of PS3.15 that the project is approved for: uids, dates, device, institution, patient, descriptors,
        structured, graphics, private.
    private_creators, harmless : iterable of str
        Patterns with * and ? of reviewed private creators, and of values that identify nobody.
    identifiers : Identifiers, optional
        Names and numbers to look for everywhere.
    """

    def __init__(
        self,
        *,
        retain: Iterable[str] = (),
        private_creators: Iterable[str] = (),
        harmless: Iterable[str] = (),
        identifiers: Identifiers | None = None,
    ) -> None:
        self.retain = frozenset(retain)
        self.creators = tuple(private_creators)
        self.harmless = tuple(pattern.casefold() for pattern in harmless)
        self.identifiers = identifiers
        self._known: dict[tuple[str, bytes, bytes], tuple[Hit, ...]] = {}
        self._present: dict[str, tuple[Hit, ...]] = {}

    def hits(self, values: Values, labels: frozenset[str] = frozenset()) -> list[Hit]:
        """What the elements of one file break.

        ``labels`` are texts in lower case that are harmless here: the labels of the session on both sides, and what the
        destination's script writes.
        """
        found: list[Hit] = []
        known, present = self._known, self._present
        charset = values.get("00080005", (b"", b""))[1]
        for path, (vr, raw) in values.items():
            if "#" in path:  # one that stands a second time says as much as the first
                path = once(path)
            hits = present.get(path)
            if hits is None or not raw:
                creator = b""
                if path[-5] in _ODD and path[-8] != "p":
                    creator = values.get(f"{path[:-4]}00{path[-4:-2]}", (b"", b""))[1]
                name = (path, raw, creator)
                hits = known.get(name)
                if hits is None:
                    hits = self._judged(path, vr, raw, creator, charset)
                    if len(known) >= _REMEMBERED:
                        known.clear()
                    known[name] = hits
            for hit in hits:
                if not hit.text or (hit.text not in labels and not self._is_harmless(hit.text)):
                    found.append(hit)
        return found

    def name_hits(self, name: str) -> list[Hit]:
        """What a label or the path of a file breaks by its words."""
        last = name.rsplit("/", 1)[-1]
        hits = [Hit("D27", "file name" if "." in last else "label", shape_of(last))] if reads_as_a_person(last) else []
        if self.identifiers:
            where = "file name" if "." in last else "label"
            hits += (Hit("D07", where, f"entry {one}") for one in sorted(self.identifiers.entries_in(name)))
        return hits

    def _is_harmless(self, text: str) -> bool:
        return any(fnmatchcase(text, pattern) for pattern in self.harmless)

    def _judged(self, path: str, vr: bytes, raw: bytes, creator: bytes, charset: bytes) -> tuple[Hit, ...]:
        if path == PREAMBLE:
            return self._preamble(raw)
        tag = path[-8:]
        if tag[3] in _ODD:
            return self._private(path, tag, vr, raw, creator, charset)
        row = attribute(tag)
        if len(vr) != 2 or vr == b"UN":
            vr = (row.vr if row and row.vr else _dictionary_vr(tag) or "UN").encode()
        element = element_words(path)
        if row is None:
            return self._plain(path, element, tag, vr, raw, charset)
        if not raw and row.kind not in ("document", "graphics"):
            return ()
        if row.kind in ("uid", "date") and (vr in _CODED or vr == b"SQ") and not self.identifiers:
            hits = self._weighed(row, element, "")
            if len(self._present) < _REMEMBERED:
                self._present[path] = hits
            return hits
        return self._of_profile(row, element, tag, vr, raw, charset)

    def _weighed(self, row, element: str, shape: str, text: str = "") -> tuple[Hit, ...]:
        """The hit of an attribute by its kind, a note where the policy retains one of its options."""
        rule = _BY_KIND.get(row.kind, "D42")
        if rule not in _QUIET and self._kept(row):
            rule = "D49"
        return (Hit(rule, element, shape, text),)

    def _kept(self, row) -> bool:
        return bool(self.retain & {*row.options, row.kind})

    def _of_profile(self, row, element: str, tag: str, vr: bytes, raw: bytes, charset: bytes) -> tuple[Hit, ...]:
        text, readable = _decoded(vr, raw, charset)
        shape = shape_of(text) if vr not in _NUMBERS and vr not in (b"SQ", b"OB") else ""
        plain = text.strip().casefold()
        hits: list[Hit] = []
        if not readable and vr in _TEXT_VR:
            hits.append(Hit("D29", element, shape))
        if row.kind in ("name", "id"):
            if not is_dummy(text):
                person = looks_like_a_person(text, is_name=row.kind == "name")
                hits.append(Hit("D01" if person else "D02", element, shape, plain))
        elif row.kind == "birth":
            hits += _birth(element, plain)
        elif row.kind == "age":
            years = re.fullmatch(r"(\d{3})y", plain)
            old = years is not None and int(years[1]) > 89
            hits.append(Hit("D13" if old else "D44", element, shape))
        elif row.kind == "padding":
            hits.append(Hit("D18" if _PRIVATE_TEXT.search(raw) else "D47", element, ""))
        elif vr in _TEXT_VR and is_dummy(text):
            return self._listed(element, text, raw)  # a word such as TEST may stand before a number that is known
        elif row.kind == "comment" and only_routing(text):
            hits.append(Hit("D42", element, shape))
        else:
            hits += self._weighed(row, element, shape, plain if vr in _TEXT_VR else "")
        if vr in _TEXT_VR or vr in (b"OB", b"UN"):
            caret = tag in _CARETS or row.kind in ("name", "staff") or vr == b"PN"
            hits += self._patterns(element, text, caret_is_fine=caret)
        return (*hits, *self._listed(element, text, raw))

    def _silent(self, path: str) -> tuple[Hit, ...]:
        """An element that can hold no text, so that its values need no look."""
        if len(self._present) < _REMEMBERED:
            self._present[path] = ()
        return ()

    def _plain(self, path: str, element: str, tag: str, vr: bytes, raw: bytes, charset: bytes) -> tuple[Hit, ...]:
        """An attribute that the profile leaves alone: only its text is searched."""
        if vr in _NUMBERS or vr == b"SQ" or not raw:
            return self._silent(path) if raw else ()
        special = _SELF_DESCRIPTION.get(tag)
        text, readable = _decoded(vr, raw, charset)
        shape = shape_of(text)
        if special:
            return tuple(Hit(rule, element, "") for rule in special(text))
        hits: list[Hit] = []
        if tag[:4] == "0002":
            return self._meta(element, tag, raw)
        if vr in _CODED:
            if vr in (b"UI", b"DA", b"TM", b"DT"):
                if vr != b"UI":
                    hits.append(Hit("D41", element, ""))
                return (*hits, *self._listed(element, text, raw))
            if not re.search(r"[A-Za-z]{3}", text):
                return self._listed(element, text, raw)
        if vr == b"PN" and not is_dummy(text):
            hits.append(Hit("D10", element, shape, text.strip().casefold()))
        if not readable:
            hits.append(Hit("D29", element, shape))
        if "CodingScheme" not in element and tag not in _ABOUT_SOFTWARE:
            caret = tag in _CARETS or vr == b"PN"
            hits += (hit for hit in self._patterns(element, text, caret_is_fine=caret) if hit.rule != "D22")
        return (*hits, *self._listed(element, text, raw))

    def _meta(self, element: str, tag: str, raw: bytes) -> tuple[Hit, ...]:
        hits = []
        if tag in ("00020102",) and _PRIVATE_TEXT.search(raw):
            hits.append(Hit("D18", element, ""))
        if tag in ("00020016", "00020017", "00020018", "00020026", "00020027", "00020028"):
            hits.append(Hit("D43", element, ""))
        return (*hits, *self._listed(element, raw.decode("latin-1"), raw))

    def _preamble(self, raw: bytes) -> tuple[Hit, ...]:
        text = raw.decode("latin-1")
        runs = [run.decode("latin-1") for run in _PRIVATE_TEXT.findall(raw)]
        # A TIFF header or research binaries are no text; five letters in a row are.
        hits = [Hit("D18", "preamble", "")] if any(re.search(r"[A-Za-z]{4}", run) for run in runs) else []
        return (*hits, *self._listed("preamble", text, raw))

    def _private(self, path: str, tag: str, vr: bytes, raw: bytes, creator: bytes, charset: bytes) -> tuple[Hit, ...]:
        if not raw:
            return ()
        where = _outside(path)
        number = int(tag[4:], 16)
        if number < 0x10:
            return ()
        if number < 0x100:
            name = raw.decode("latin-1").strip(" \0")
            allowed = "private" in self.retain or any(fnmatchcase(name, one) for one in self.creators)
            known = allowed or is_known_creator(name)
            shown = name if known else f"creator {shape_of(name)}"
            hit = Hit("D47" if known else "D14", f"{where}({tag[:4]},xx) {shown}", "" if known else shape_of(name))
            return (hit,) if known else (hit, *self._patterns(hit.element, name), *self._listed(shown, name, raw))
        name = creator.decode("latin-1").strip(" \0")
        known = bool(name) and is_known_creator(name)
        told = _private_entry(name, tag) if known else None
        shown = name if known or any(fnmatchcase(name, one) for one in self.creators) else "private"
        element = f"{where}({tag[:4]},xx{tag[6:]}) {shown}"
        if vr in (b"", b"UN") and told:
            vr = told[0].encode()
        hits: list[Hit] = []
        if not name:
            hits.append(Hit("D14", f"{where}({tag[:4]},{tag[4:]}) without creator", ""))
        text, _ = _decoded(vr, raw, charset) if vr in _TEXT_VR and vr != b"UN" else (_runs(raw), True)
        if vr in _NUMBERS - {b"OW"} or vr == b"SQ":
            return tuple(hits) or self._silent(path)
        if told and text and not is_dummy(text) and vr != b"SQ":
            plain = text.strip().casefold()
            if _PATIENT_WORDS.search(told[1]):
                hits.append(Hit("D25", element, shape_of(text), plain))
            elif _STAFF_WORDS.search(told[1]):
                hits.append(Hit("D26", element, shape_of(text), plain))
        if vr == b"PN" and not hits and not is_dummy(text):
            hits.append(Hit("D26", element, shape_of(text), text.strip().casefold()))
        binary = vr not in _TEXT_VR or vr == b"UN"
        hits += self._patterns(element, text, binary=binary, caret_is_fine=vr == b"PN" or len(text) > 64)
        return (*hits, *self._listed(element, text, raw))

    def _patterns(self, element: str, text: str, *, binary: bool = False, caret_is_fine: bool = False) -> Iterable[Hit]:
        if len(text) < 4:
            return
        for found in identity_in(text):
            if not is_dummy(found):
                yield Hit("D06", element, shape_of(found), found.strip().casefold())
        if not binary:
            for rule, found in suspicious(text, caret_is_fine=caret_is_fine):
                yield Hit(rule, element, shape_of(found), found.strip().casefold())

    def _listed(self, element: str, text: str, raw: bytes) -> tuple[Hit, ...]:
        """Entries of the list of known identifiers in a value, whatever its encoding."""
        if not self.identifiers or not raw:
            return ()
        entries = self.identifiers.entries_in(text) | self.identifiers.entries_in_bytes(raw)
        return tuple(Hit("D07", element, f"entry {number}") for number in sorted(entries))


def once(path: str) -> str:
    """The path of an element without the marks of those that stand a second time (``#2``)."""
    return _TWIN.sub("", path)


def image_hits(values: Values) -> list[Hit]:
    """What kind of object a file is: where pixels are likely to show text, or a face, or are reports and documents."""

    def text(tag: str) -> str:
        return values.get(tag, (b"", b""))[1].decode("latin-1").strip(" \0")

    place = f"{text('00180015')} {text('0008103E')} {text('00081030')}"[:160]
    about = (text("00080016"), text("00080060"), text("00080008"), text("00080064"))
    said = (text("00280301").upper(), text("00280302").upper())
    return list(_image_hits(*about, *said, place, "00280010" in values, "113102" in _codes(values)))


def _codes(values: Values) -> str:
    if "00120064" not in values:
        return ""
    return " ".join(
        raw.decode("latin-1")
        for path, (_, raw) in values.items()
        if path[:9] == "00120064[" and path[-8:] == "00080100"
    )


@functools.lru_cache(maxsize=4096)
def _image_hits(
    sop_class: str, modality: str, image_type: str, conversion: str, burned: str, visible: str, place: str, image: bool,
    defaced: bool,
) -> tuple[Hit, ...]:  # fmt: skip
    hits = []
    if burned == "YES":
        hits.append(Hit("D08", "BurnedInAnnotation", ""))
    captured = sop_class.startswith("1.2.840.10008.5.1.4.1.1.7") or bool(conversion)
    kinds = {"US", "IVUS", "ES", "XC", "OP", "SC", "OT", "DG", "GM", "DOC", "HC", "RG", "IO"}
    if image and burned != "YES" and (captured or modality in kinds or "SCREEN" in image_type.upper()):
        if burned == "NO":
            hits.append(Hit("D45", "BurnedInAnnotation", ""))
        else:
            hits.append(Hit("D15", "ImageType" if not captured else "SOPClassUID", ""))
    if visible == "YES":
        hits.append(Hit("D28", "RecognizableVisualFeatures", ""))
    # Structured reports 88.*, presentation states 11.*, key object selections.
    if sop_class.startswith(("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")) or modality in ("SR", "PR"):
        hits.append(Hit("D16", "SOPClassUID", ""))
    if sop_class.startswith("1.2.840.10008.5.1.4.1.1.104."):
        hits.append(Hit("D09", "SOPClassUID", ""))
    if (
        modality in ("MR", "CT", "PT")
        and not defaced
        and re.search(r"head|brain|skull|neuro|face|t1w?\b|mprage", place, re.I)
    ):
        hits.append(Hit("D46", "BodyPartExamined", ""))
    return tuple(hits)


def _birth(element: str, plain: str) -> Iterable[Hit]:
    digits = re.sub(r"\D", "", plain)
    if is_dummy(plain) or digits in ("", "19000101", "00010101", "11111111", "00000000"):
        return
    yield Hit("D04" if re.fullmatch(r"\d{4}(0101)?", digits) else "D03", element, shape_of(plain))


def _identity_removed(text: str) -> tuple[str, ...]:
    return ("D19",) if text.strip().upper() == "NO" else ("D45",)


_SELF_DESCRIPTION = {
    "00120062": _identity_removed,
    "00120063": lambda text: ("D45",),
    "00280301": lambda text: (),
    "00280302": lambda text: (),
}


@functools.lru_cache(maxsize=1 << 15)
def is_free_text(path: str, vr: bytes) -> bool:
    """Whether an element holds text that people may have written."""
    if len(vr) != 2:
        row = attribute(path[-8:])
        vr = (row.vr if row and row.vr else _dictionary_vr(path[-8:])).encode()
    return vr in (b"SH", b"LO", b"ST", b"LT", b"UT", b"UC", b"PN")


@functools.lru_cache(maxsize=1 << 14)
def _dictionary_vr(tag: str) -> str:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(int(tag, 16))[:2]
    except (KeyError, ValueError):  # the preamble is no tag
        return ""


@functools.lru_cache(maxsize=1)
def _private_tables() -> Mapping[str, Mapping[str, tuple]]:
    from pydicom._private_dict import private_dictionaries

    return private_dictionaries


@functools.lru_cache(maxsize=4096)
def is_known_creator(name: str) -> bool:
    """Whether pydicom's private dictionary knows this creator of private elements."""
    return name.strip() in _private_tables()


@functools.lru_cache(maxsize=1 << 14)
def _private_entry(creator: str, tag: str) -> tuple[str, str] | None:
    """VR and name of a private element in pydicom's dictionary."""
    table = _private_tables().get(creator, {})
    found = table.get(f"{tag[:4]}xx{tag[6:]}".upper()) or table.get(f"{tag[:4]}xx{tag[6:]}")
    return (found[0], found[2]) if found else None


@functools.lru_cache(maxsize=1 << 14)
def _word(tag: str) -> str:
    from pydicom.datadict import keyword_for_tag

    if tag[3] in _ODD:
        return f"({tag[:4]},{tag[4:]})"
    row = attribute(tag)
    found = keyword_for_tag(int(tag, 16))
    return found or (row.name.replace(" ", "") if row and "X" not in row.tag else "") or f"({tag[:4]},{tag[4:]})"


@functools.lru_cache(maxsize=1 << 15)
def element_words(path: str) -> str:
    """A path in keywords from the outside in, without item numbers.

    >>> element_words("00400275[1].00080050")
    'RequestAttributesSequence / AccessionNumber'
    """
    return " / ".join(_word(part[:8]) for part in path.split("."))


def _outside(path: str) -> str:
    """The sequences that an element stands in, in keywords, with a separator at the end."""
    around, dot, _ = path.rpartition(".")
    return f"{element_words(_INDEX.sub('', around))} / " if dot else ""


def _runs(raw: bytes) -> str:
    """The printable parts of a binary value, also where it is UTF-16."""
    runs = _PRIVATE_TEXT.findall(raw)
    if raw.count(b"\0") * 3 > len(raw) and not any(len(run) > 32 for run in runs):
        runs += _PRIVATE_TEXT.findall(raw.replace(b"\0", b""))
    return "\n".join(run.decode("latin-1") for run in runs)


def _decoded(vr: bytes, raw: bytes, charset: bytes) -> tuple[str, bool]:
    """The text of a value, and whether its character set could be used (PS3.5 6.1)."""
    if vr in _NUMBERS or vr == b"SQ":
        return "", True
    if vr == b"OB":
        return _runs(raw), True
    if vr == b"UN":
        return (_runs(raw) if b"\0" in raw else raw.decode("latin-1")), True
    if b"\x1b" not in raw:  # ISO 2022 writes Japanese, Korean and Chinese with seven bits behind an escape
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode("ascii"), True
    from pydicom.charset import convert_encodings, decode_bytes

    names = [part.strip(" \0") for part in charset.decode("latin-1").split("\\")] or [""]
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return decode_bytes(raw, convert_encodings(names), {ord("\\"), ord("^"), ord("="), 9, 10, 12, 13}), True
    except (LookupError, UnicodeError, ValueError, Warning):
        return raw.decode("latin-1"), False
