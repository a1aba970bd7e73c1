"""R25: each recorded output of XNAT's engines, changed further at each of its paths: nothing of that is explained.

At each element of the file meta information, the data set and every item: another first and last sign, a longer and
an empty value, another VR, gone, there twice; of sequences an item gone, added, in another place; of fragments a bit
turned and one gone; in each data set a private and a public element more. A seeded share of all is tried;
``XNBTRANSFER_TRIES=1000000`` tries all of them, some minutes long.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "contract"))

from adversity_kit import chance, told, tries
from dicomedit_kit import IMPLICIT, flat, part10
from test_tampered_scripts import KEY, done, explained

from xnbtransfer.dicom import read_header
from xnbtransfer.errors import DicomError
from xnbtransfer.foretell import compare

# What of a file is in no digest, or explained without a script (xnbtransfer.dicom): group lengths, padding of a data
# set, name and version of the program that wrote it; and what an import leaves out of the file meta information.
HARMLESS = {"00020012", "00020013", "FFFCFFFC"}
LEFT_OUT = {"00020016", "00020017", "00020018", "00020026", "00020027", "00020028", "00020100", "00020102"}
OTHER_VR = {"LO": "SH", "UI": "LO", "OB": "OW", "OW": "OB", "UN": "OB", "US": "SS", "SS": "US", "UL": "SL", "FL": "UL"}
_MORE = ["00990010", "LO", "ADDED"]
_COMMENT = ["00104000", "LT", "Quistelhausen"]


def lists(form: dict) -> Iterator[tuple[tuple, list, str]]:
    """Each list of elements in a form: how to get there, itself, the path before its tags."""
    waiting: list[tuple[tuple, list, str]] = [(("meta",), form["meta"], ""), (("elements",), form["elements"], "")]
    while waiting:
        way, elements, prefix = waiting.pop()
        yield way, elements, prefix
        for at, (tag, _, value) in enumerate(elements):
            for number, item in enumerate(value.get("items", ()) if isinstance(value, dict) else ()):
                waiting.append(((*way, at, 2, "items", number), item, f"{prefix}{tag.upper()}[{number}]."))


def changes(form: dict) -> Iterator[tuple[tuple, int, str, str]]:
    """All further changes of a form: way to the list, place in it, what is done there, the path."""
    for way, elements, prefix in lists(form):
        for at, (tag, vr, value) in enumerate(elements):
            path = f"{prefix}{tag.upper()}"
            if path in HARMLESS or tag.endswith("0000"):
                continue
            kinds = ["gone", "twice"] if path not in LEFT_OUT else ["twice"]
            if isinstance(value, dict) and "items" in value:
                kinds += ["item added", *(f"item {n} gone" for n in range(len(value["items"])))]
                kinds += ["items turned"] if len(value["items"]) > 1 and value["items"][0] != value["items"][-1] else []
            elif isinstance(value, dict) and "fragments" in value:
                kinds += [f"fragment {n} gone" for n in range(len(value["fragments"]))]
                kinds += [f"fragment {n} turned" for n, one in enumerate(value["fragments"]) if one]
            elif raw(vr, value).strip(b" \0"):
                kinds += ["first", "last", "longer", "empty"]
            if form["transfer_syntax"] != IMPLICIT or way == ("meta",):
                kinds += ["vr"] if vr != "SQ" else []
            yield from ((way, at, kind, path) for kind in kinds)
        if way != ("meta",):
            for number, more in enumerate((_MORE, _COMMENT)):
                if not any(one[0].upper() >= more[0] for one in elements if number == 0 or one[0] == more[0]):
                    yield way, -1, f"added {number}", f"{prefix}{more[0]}"


def raw(vr: str, value) -> bytes:
    """The bytes of a value in little endian; the part that is changed."""
    if isinstance(value, str):
        return value.encode("ascii")
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return repr(value).encode() if value else b""


def changed(form: dict, way: tuple, at: int, kind: str) -> None:
    elements = form
    for step in way:
        elements = elements[step]
    if kind.startswith("added"):
        more = (_MORE, _COMMENT)[int(kind[-1])]
        elements.insert(sum(one[0].upper() < more[0] for one in elements), list(more))
        return
    tag, vr, value = elements[at]
    if kind == "gone":
        del elements[at]
    elif kind == "twice":
        elements.insert(at, [tag, vr, value])
    elif kind == "vr":
        where = form["transfer_syntax"] if way[0] == "elements" else ""
        if isinstance(value, list):
            elements[at][2] = {"hex": flat([elements[at]], where)[tag][1].hex()}
        elements[at][1] = OTHER_VR.get(vr, "LO")
    elif kind.startswith("item"):
        items = value["items"]
        if kind == "item added":
            items.append([])
        elif kind == "items turned":
            items.reverse()
        else:
            del items[int(kind.split()[1])]
    elif kind.startswith("fragment"):
        number = int(kind.split()[1])
        if kind.endswith("gone"):
            del value["fragments"][number]
        else:
            data = bytearray.fromhex(value["fragments"][number])
            data[0] ^= 1
            value["fragments"][number] = data.hex()
    elif isinstance(value, list):
        at_number = -1 if kind == "last" else 0
        if kind == "longer":
            value.append(value[0])
        elif kind == "empty":
            value.clear()
        elif isinstance(value[at_number], int):
            value[at_number] ^= 1
        elif isinstance(value[at_number], float):
            value[at_number] += 1.0
        else:
            value[at_number] = value[at_number][:-1] + ("1" if value[at_number][-1] != "1" else "2")
    else:
        data = bytearray(raw(vr, value))
        if kind == "longer":
            data += b"77"
        elif kind == "empty":
            data.clear()
        else:
            signs = [n for n, sign in enumerate(data) if sign not in b" \0"]
            place = signs[0 if kind == "first" else -1]
            data[place] = ord("1") if data[place] != ord("1") else ord("2")
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
        elements[at][2] = {"hex": data.hex()}


def is_seen(source, foreseen, form: dict) -> bool | None:
    """Whether a changed form is told; None where it is as at the source again, and equal whatever a script does."""
    try:
        there = read_header(part10(form), key=KEY)
    except DicomError:
        return True
    if not compare(source, there, None, key=KEY)[1]:
        return None
    same, found = compare(source, there, foreseen, key=KEY)
    return not same or any(not one.explained and one.foretold for one in found)


def test_no_further_change_at_any_path_is_explained():
    rng, wanted = chance(), tries(2000)
    missed, tried, places = [], 0, 0
    cases = rng.sample(done(), len(done()))
    for case in cases:
        if tried >= wanted:
            break
        if (found := explained(case)) is None:
            continue
        source, foreseen = found
        not_told = foreseen.drawn | foreseen.numbered
        every = [one for one in changes(case["output"]) if not any(path.startswith(one[3]) for path in not_told)]
        every = [one for one in every if not any(one[3].startswith(f"{path}[") for path in not_told)]
        places += len({one[3] for one in every})
        blob = pickle.dumps(case["output"])
        for one in every if wanted >= 100_000 else rng.sample(every, min(len(every), 60)):
            form = pickle.loads(blob)
            changed(form, *one[:3])
            seen = is_seen(source, foreseen, form)
            tried += seen is not None
            if seen is False:
                missed.append((case["id"], one[3], one[2]))
    print(f"R25 over {places} paths of {len(cases)} recorded outputs")
    told("R25, further changes at each path", tried, missed)
