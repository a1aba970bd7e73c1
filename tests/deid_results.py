"""Plant identities, look for them, and write what was found to docs/deidentification-results.md:

    python tests/deid_results.py

Every attribute of the confidentiality profile is planted at the top of a header, in an item of a sequence and in an
item three sequences deep; each value representation in a private element; every class of identities once.
"""

from __future__ import annotations

from pathlib import Path

from planted import BY_VR, SURNAME, clean, found_in, in_files, planted, tag_of, written
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from xnbtransfer.confidentiality import EDITION, attributes
from xnbtransfer.deid import Judge, element_words
from xnbtransfer.findings import RULES, SEVERITIES
from xnbtransfer.identities import Identifiers

PAGE = Path(__file__).parent.parent / "docs" / "deidentification-results.md"
DEPTHS = {0: "top", 1: "item", 3: "3 deep"}
ENCODINGS = {"explicit": False, "implicit": True}
CREATOR = "NOBODY KNOWS 1.0"
# What stands at the end of a data set, and in no item.
AT_THE_TOP = ("FFFA", "FFFC")

CLASSES = {
    "a full name": ({"PatientName": "Mustermann^Erika"}, "blocking"),
    "a surname as PatientName": ({"PatientName": "Mustermann"}, "blocking"),
    "a birth date": ({"PatientBirthDate": "19470311"}, "blocking"),
    "other IDs": ({"OtherPatientIDs": "4711"}, "blocking"),
    "an address": ({"PatientAddress": "12 Long Lane"}, "blocking"),
    "an e-mail address in a description": ({"SeriesDescription": "send to e.m@example.org"}, "blocking"),
    "a labelled number in a comment": ({"ImageComments": "MRN: 0047113"}, "blocking"),
    "a national number": ({"StudyDescription": "T1 078-05-1120"}, "blocking"),
    "burned-in annotation": ({"BurnedInAnnotation": "YES"}, "blocking"),
    "an unknown PatientID": ({"PatientID": "P4711"}, "warning"),
    "staff": ({"OperatorsName": "Nurse^Joy"}, "warning"),
    "a telephone number": ({"SeriesDescription": "call +49 30 1234567"}, "warning"),
    "a title": ({"SeriesDescription": "for Dr. Winter"}, "warning"),
    "an address in a description": ({"ProtocolName": "Hauptstrasse 12"}, "warning"),
    "an age above 89": ({"PatientAge": "091Y"}, "warning"),
    "a date in text": ({"SeriesDescription": "repeat of 11.03.2019"}, "warning"),
    "a birth year": ({"PatientBirthDate": "19470101"}, "warning"),
    "said not to be de-identified": ({"PatientIdentityRemoved": "NO"}, "warning"),
    "a recognisable face": ({"RecognizableVisualFeatures": "YES"}, "warning"),
    "a secondary capture": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "warning"),
    "an ultrasound": ({"Modality": "US"}, "warning"),
    "a screen save": ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "warning"),
    "a structured report": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"}, "warning"),
    "a document": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "blocking"),
}
"""Elements that make a clean header one of a class, and the severity that is due."""


def worst(hits) -> str:
    """The most serious severity among some hits, "" where there is none."""
    return min((RULES[hit.rule].severity for hit in hits), key=SEVERITIES.index, default="")


def keyword_of(row) -> str:
    return element_words(f"{tag_of(row):08X}")


def hits_by_element(rows, depth: int, implicit: bool, judge: Judge) -> dict[str, set]:
    """Keyword of each planted element to what was found of it."""
    found: dict[str, set] = {}
    for hit in found_in(written(planted(rows, depth), implicit=implicit), judge):
        parts = hit.element.split(" / ")
        if len(parts) >= depth + 1:
            found.setdefault(parts[depth], set()).add(hit)
    return found


def planted_in(depth: int) -> list:
    """The attributes that can be planted so deep."""
    return [row for row in in_files() if not (depth and row.tag[:4] in AT_THE_TOP)]


def in_private(judge: Judge) -> dict[str, str]:
    """Value representation to the severity of what is found of its planted value in a private element."""
    found = {}
    for vr in sorted({row.vr or "LO" for row in in_files()} - {"UN"}):
        ds = clean()
        ds.add_new(0x00110010, "LO", CREATOR)
        value = BY_VR.get(vr)
        if vr == "SQ":
            inner = Dataset()
            inner.CodeMeaning = SURNAME
            value = Sequence([inner])
        ds.add_new(0x00111001, vr, value)
        before = {(hit.rule, hit.element) for hit in found_in(written(clean()), judge)}
        found[vr] = worst(hit for hit in found_in(written(ds), judge) if (hit.rule, hit.element) not in before)
    return found


def missed_by_the_prototype() -> dict[str, tuple[str, str]]:
    """The classes that a first checker missed: without and with a list of known identifiers."""
    known = Judge(identifiers=Identifiers([SURNAME]))
    text = clean(SeriesDescription=f"seen by {SURNAME} today")
    blob = clean()
    blob.add_new(0x00291020, "OB", b"SV10\4\3\2\1" + bytes(range(256)) + SURNAME.encode() + bytes(65))
    labelled = clean()
    labelled.add_new(0x00291020, "OB", b'\0<ParamString."PatientName"> { "Mustermann, Erika" }\n\0\0')
    nested = clean()
    inner, outer = Dataset(), Dataset()
    inner.PatientName = f"{SURNAME}^Ada"
    outer.add_new(0x00082218, "SQ", Sequence([inner]))
    nested.add_new(0x00082218, "SQ", Sequence([outer]))
    headers = {
        "a surname alone in free text": text,
        "a name inside an allow-listed private blob": blob,
        "a name that a protocol in such a blob labels": labelled,
        "a name in a sequence in a sequence": nested,
    }

    def loud(header, judge: Judge) -> str:
        severity = worst(found_in(written(header), judge))
        return severity if severity != "note" else ""

    return {name: (loud(header, Judge()), loud(header, known)) for name, header in headers.items()}


def page() -> str:
    """The page; every cell is what a run of the checks says."""
    judge = Judge()
    found = {
        (depth, word): hits_by_element(planted_in(depth), depth, implicit, judge)
        for depth in DEPTHS
        for word, implicit in ENCODINGS.items()
    }
    count = missed = 0
    rows = []
    for row in attributes():
        cells = []
        for depth in DEPTHS:
            if row not in planted_in(depth):
                cells.append("")
                continue
            said = []
            for word in ENCODINGS:
                severity = worst(found[(depth, word)].get(keyword_of(row), ()))
                count, missed = count + 1, missed + (not severity)
                said.append(severity or "MISSED")
            cells.append(said[0] if len(set(said)) == 1 else " / ".join(said))
        tag = f"({row.tag[:4]},{row.tag[4:]})"
        rows.append(f"| {tag} | {row.name} | {row.vr} | {row.action} | {' | '.join(cells)} |")
    classes = {name: worst(found_in(written(clean(**values)), judge)) for name, (values, _) in CLASSES.items()}
    clean_ones = {worst(found_in(written(clean(), implicit=implicit))) for implicit in ENCODINGS.values()}
    lines = [
        "# What the review finds of planted identities",
        "",
        "Made by `python tests/deid_results.py`, which plants, looks, and writes this page; a test holds it true.",
        f"The profile is table E.1-1 of DICOM PS3.15, edition {EDITION}: {len(attributes())} attributes.",
        "`blocking`, `warning` and `note` are what the planted value is called by the [rules](findings.md) as they are",
        "without a policy; a note is what other rules and options have to weigh (dates, UIDs, technical descriptions).",
        "",
        f"**{count} planted, {count - missed} found, {missed} missed**, in explicit and implicit value representation.",
        f"A clean de-identified header has nothing worse than: {', '.join(sorted(clean_ones))}.",
        "",
        "## Classes of identities",
        "| class | due | found |",
        "|---|---|---|",
        *(f"| {name} | {due} | {classes[name] or 'MISSED'} |" for name, (_, due) in CLASSES.items()),
        "",
        "## Classes that a first checker missed",
        "| class | without a list | with a list of known identifiers |",
        "|---|---|---|",
        *(f"| {name} | {a or 'no'} | {b or 'MISSED'} |" for name, (a, b) in missed_by_the_prototype().items()),
        "",
        "## Private elements of a creator that nobody knows",
        "Whatever such an element holds, it is a warning until the policy names its creator as reviewed.",
        "",
        "| value representation | found |",
        "|---|---|",
        *(f"| {vr} | {severity or 'MISSED'} |" for vr, severity in in_private(judge).items()),
        "",
        "## Every attribute of the profile",
        "Planted at the top, in an item of a sequence, and in an item three sequences deep. An empty cell is a place",
        "where the attribute is not planted: commands are in no file, a file always has its own UID in its meta",
        "information, and signatures and padding at the end of a data set are in no item.",
        "",
        f"| tag | attribute | VR | action | {' | '.join(DEPTHS.values())} |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
