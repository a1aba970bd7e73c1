"""Write xnbtransfer/confidentiality.csv anew:  python docs/tables/confidentiality.py PUBLIC_DICOM

DICOM PS3.15 table E.1-1, edition 2026c. Attributes and actions come from `dicom-anonymizer` 2.1.0 (BSD-3-Clause, of the
test extra), which keeps them by edition, without the columns of the options. Those are the standard's as published on
2025-06-24, the newest that a package has: PUBLIC_DICOM is the file `idiscore/_public_dicom.py` in the wheel of
`idiscore` 1.6.0 (`pip download --no-deps --python-version 3.12 --only-binary=:all: idiscore==1.6.0`), which is read as
a listing of the standard's table; nothing of that package is kept or needed. The few attributes that are newer have the
options that their value representation and name tell: dates, UIDs and descriptions. The column `options_from` says
which. An X in a tag stands for any digit.

The column `kind` is ours: what an attribute that still has a value means to a reviewer, and so which rule applies.
"""

from __future__ import annotations

import csv
import re
import sys
from importlib import import_module
from pathlib import Path

from pydicom.datadict import dictionary_VR

TABLE = Path(__file__).parents[2] / "xnbtransfer" / "confidentiality.csv"
EDITION = "2026c"
COLUMNS = ("tag", "name", "vr", "action", "kind", "options", "options_from")
ACTIONS = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z", "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip
OPTIONS = {
    "retain_uid": "uids", "retain_device_id": "device", "retain_institution_id": "institution",
    "retain_patient_characteristics": "patient", "retain_full_dates": "dates", "clean_descriptors": "descriptors",
    "clean_structured_content": "structured", "clean_graphics": "graphics",
}  # fmt: skip
LISTED = "2025-06-24"
DESCRIPTIVE = re.compile(r"Description|Comment|Label|Template Name|ROI Name|Structure Set Name|Treatment Sites")

NAMED = {
    "00100010": "name", "00100020": "id",
    "00080201": "date",
    "00340007": "date",
 "00100030": "birth", "00101010": "age", "00420011": "document",
    "FFFCFFFC": "padding", "00400275": "descriptor", "00400555": "descriptor", "00200010": "label", "00401001": "label",
    "00400009": "label", "00400253": "label",
}  # fmt: skip
# The first that fits counts. VR and name of the attribute, and what it is.
KINDS = (
    ("uid", r"^UI$", r"."),
    ("uid", r"^SQ$", r"^(Referenced (Study|Perf|Image|Patient Seq)|Source Image)"),
    ("date", r"^(DA|TM|DT)$", r"^(?!Patient)"),
    ("graphics", r"", r"^(Curve Data|Overlay|Graphic Annotation|Icon Image|Unformatted Text Value|Text String)"),
    (
        "direct",
        r"",
        r"^(Other Patient|Patient's (Birth Name|Birth Time|Mother|Address|Tele|Insurance|Religious|Institution)"
        r"|Medical Record|Insurance Plan|Military|Branch of Service|Responsible|Person Names? to Use"
        r"|Names? to Use|Person's (Address|Tele)|Country of|Region of|Referenced Patient (Alias|Photo)"
        r"|Current Patient Location|Scheduled Patient Institution|Patient's? (Birth|Death) Date in"
        r"|Address \(Trial|Telephone Number \(Trial|GPS|Camera Owner|Confidentiality Constraint"
        r"|Patient's Primary Language|Maker Note)",
    ),
    ("former", r"", r"^(Modified Attributes|Nonconforming|Original Attributes|Source of Previous|Modifying System)"),
    (
        "signature",
        r"",
        r"^(Digital Signature|Referenced Digital|Referenced SOP Instance MAC|MAC$|Certificat|Certified)",
    ),
    ("structured", r"", r"^(Content Sequence|Waveform Annotation Sequence)"),
    ("staff", r"^PN$", r"."),
    (
        "staff",
        r"",
        r"Physician.*(Ident|Address|Tele)|Operator Ident|Performers|Observer|Participant Seq|Topic Author"
        r"|Person Identification|Intended Recipients|Creator|Interpreter|Approver|Distribution|Verbal Source"
        r"|Order Callback|Human Performer",
    ),
    (
        "order",
        r"",
        r"Accession|Admission ID|Episode ID|Order Number|Requested Procedure ID|Procedure Step ID|Study ID"
        r"|Results ID|Interpretation ID|Specimen Identifier|Container Id|Slide Id|Issuer of|Barcode"
        r"|Container Component ID|Label Text",
    ),
    (
        "institution",
        r"",
        r"Institution|Department|Organization|Requesting Service|Enterer's Location|Clinical Trial"
        r" (Site|Coordinating)|Procedure Location|Performed Location|Transport|Ethics Committee",
    ),
    (
        "comment",
        r"",
        r"Comment|History|^Reason for|Diagnos|Allerg|Alerts|Special Needs|Occupation|Narrative|Notes"
        r"|Impressions|Interpretation Text|Arbitrary|Topic|Annotation Group Desc|Pronoun|Gender|Sex Param"
        r"|Pre-Medication|Patient Treatment|Patient Setup Photo",
    ),
    ("label", r"", r"Clinical Trial"),
    ("patient", r"", r"^(Patient's (Sex|Size|Weight)|Ethnic|Smoking|Pregnancy|Patient State)"),
    (
        "device",
        r"",
        r"AE Title|AE$|Network ID|Station|Serial Number|Device|Detector|Plate ID|Generator ID|Cassette"
        r"|Gantry|Lens|Transducer|Source ID|UDI|Manufacturer|Machine Name|Study Location|Step Location"
        r"|Originator|Slot ID|Source Identifier|Flow Identifier|Camera|Instance Origin",
    ),
    ("descriptor", r"", r"."),
)


def kind(tag: str, vr: str, name: str) -> str:
    """What an attribute means to a reviewer."""
    if tag in NAMED:
        return NAMED[tag]
    return next(word for word, of_vr, of_name in KINDS if re.search(of_vr, vr) and re.search(of_name, name))


def actions() -> dict[str, tuple[str, str]]:
    """Tag (an X for any digit) to action and name, as the package has them."""
    module = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    found = {}
    for group, action in ACTIONS.items():
        for tag in getattr(module, group):
            number, mask = (tag[0] << 16 | tag[1]), 0xFFFFFFFF
            if len(tag) == 4:
                mask = tag[2] << 16 | tag[3]
            text = "".join(digit if mask >> 4 * (7 - at) & 15 else "X" for at, digit in enumerate(f"{number:08X}"))
            found[text] = action
    return found


def names() -> dict[str, str]:
    """Tag to the name that stands beside it in the package."""
    module = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    text = Path(module.__file__).read_text(encoding="utf-8")
    return {
        (group + element).upper(): name.strip()
        for group, element, name in re.findall(r"\(0x([0-9A-Fa-f]{4}), 0x([0-9A-Fa-f]{4})\),\s*# (.*)", text)
    }


def options(text: str) -> dict[str, list[str]]:
    """Tag to its options, as the table of 2025-06-24 has them; every attribute that it lists is there."""
    found: dict[str, list[str]] = {}
    for name, rules in re.findall(r"^(\w+) = RawNemaRuleSet\((.*?)^\)", text, re.DOTALL | re.MULTILINE):
        for tag in re.findall(r'(?:SingleTag|RepeatingGroup)\(\s*"([0-9a-fA-FxX]{8})"', rules):
            of_tag = found.setdefault(tag.upper(), [])
            if name in OPTIONS:
                of_tag.append(OPTIONS[name])
    return found


def rows(listed: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """The table, sorted by tag."""
    known = names()
    found = []
    with TABLE.open(encoding="utf-8", newline="") as file:
        old_names = {row["tag"]: row["name"] for row in csv.DictReader(file)}
    for tag, action in sorted(actions().items()):
        try:
            vr = dictionary_VR(int(tag, 16))
        except (KeyError, ValueError):
            vr = ""
        name = known.get(tag) or old_names.get(tag, "")
        if not vr and name.endswith("Sequence"):
            vr = "SQ"
        elif not vr and name.endswith("DateTime"):
            vr = "DT"
        if tag in listed:
            of_tag, source = [word for word in OPTIONS.values() if word in listed[tag]], LISTED
        else:
            of_tag, source = [], "value representation and name"
            if vr[:2] in ("DA", "TM", "DT"):
                of_tag.append("dates")
            if vr == "UI":
                of_tag.append("uids")
            if DESCRIPTIVE.search(name):
                of_tag.append("descriptors")
        name = name.removesuffix("(see Note 11)").strip()
        found.append((tag, name, vr[:2], action, kind(tag, vr[:2], name), " ".join(of_tag), source))
    return found


def main() -> None:
    made = rows(options(Path(sys.argv[1]).read_text(encoding="utf-8")))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(made)


if __name__ == "__main__":
    main()
