"""The recorded cases of XNAT's anonymisation engines: read, made into files, laid beside what an implementation gives.

Used for both implementations, the client's evaluator and the embedded server's engine; imports neither. The README in
``recorded/dicomedit`` says what a case holds.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
import zlib
from functools import cache
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded" / "dicomedit"
IMPLICIT, EXPLICIT_BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
OLDER = {"6.5": "6.5.0", "6.4": "6.4.0", "6.3": "6.3.1"}
"""A release that a server can have, and the program that was recorded for it."""
UNREADABLE = {("6.3", "vr-307")}
"""What an old engine writes that no reader takes: bytes where a sequence has its items."""
_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_UNDEFINED = 0xFFFFFFFF


@cache
def recorded(name: str) -> list[dict]:
    """The cases of ``cases-6``, ``cases-4`` or ``batches``."""
    return json.loads(lzma.decompress((RECORDED / f"{name}.json.xz").read_bytes()))


def subject(case: dict) -> str:
    """What a case is about: the first word of its id."""
    return case["id"].split("-")[0]


def part10(form: dict) -> bytes:
    """The file that a case's ``input`` or ``output`` describes."""
    syntax = form["transfer_syntax"]
    data = _elements(form["elements"], syntax)
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
        data += b"\0" * (len(data) % 2)
    if form.get("no_file_meta"):
        return data
    preamble = bytes.fromhex(form.get("preamble", "")).ljust(128, b"\0")
    return preamble + b"DICM" + _elements(form["meta"], "") + data


def _elements(elements: list, syntax: str) -> bytes:
    sign = ">" if syntax == EXPLICIT_BIG else "<"
    out = bytearray()
    for tag, vr, value in elements:
        raw, undefined = _value(vr, value, syntax)
        out += struct.pack(sign + "HH", int(tag[:4], 16), int(tag[4:], 16))
        length = _UNDEFINED if undefined else len(raw)
        if syntax == IMPLICIT:
            out += struct.pack("<L", length)
        elif vr in _LONG:
            out += vr.encode() + b"\0\0" + struct.pack(sign + "L", length)
        else:
            out += vr.encode() + struct.pack(sign + "H", length)
        out += raw
    return bytes(out)


def _value(vr: str, value, syntax: str) -> tuple[bytes, bool]:
    """The bytes of a value as it stands in the recording, and whether its length is undefined."""
    sign = ">" if syntax == EXPLICIT_BIG else "<"
    head = struct.Struct(sign + "HHL")
    if isinstance(value, str):
        raw = value.encode("ascii")
        return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2), False
    if isinstance(value, list):
        if vr == "AT":
            return b"".join(struct.pack(sign + "HH", int(tag[:4], 16), int(tag[4:], 16)) for tag in value), False
        return struct.pack(f"{sign}{len(value)}{_NUMBERS[vr]}", *value), False
    if "hex" in value:
        return bytes.fromhex(value["hex"]), False
    if "fragments" in value:
        parts = [bytes.fromhex(part) for part in value["fragments"]]
        return b"".join(head.pack(0xFFFE, 0xE000, len(p)) + p for p in parts) + head.pack(0xFFFE, 0xE0DD, 0), True
    out = bytearray()
    for item in value["items"]:
        raw = _elements(item, syntax)
        if value.get("items_undefined"):
            out += head.pack(0xFFFE, 0xE000, _UNDEFINED) + raw + head.pack(0xFFFE, 0xE00D, 0)
        else:
            out += head.pack(0xFFFE, 0xE000, len(raw)) + raw
    if value.get("undefined"):
        out += head.pack(0xFFFE, 0xE0DD, 0)
    return bytes(out), bool(value.get("undefined"))


def flat(elements: list, syntax: str = "", prefix: str = "") -> dict[str, tuple[str, bytes]]:
    """Path to VR and bytes of each element in the recorded form; of a sequence the number of its items."""
    found: dict[str, tuple[str, bytes]] = {}
    for tag, vr, value in elements:
        if isinstance(value, dict) and "items" in value:
            found[prefix + tag] = (vr, str(len(value["items"])).encode())
            for at, item in enumerate(value["items"]):
                found |= flat(item, syntax, f"{prefix}{tag}[{at}].")
        else:
            found[prefix + tag] = (vr, _value(vr, value, syntax)[0])
    return found


def read(data: bytes) -> dict:
    """A Part 10 file as a case describes one, each value as ``{"hex": ...}``; in implicit VR the VR is ``??``.

    Written for these tests alone, so that it shares no reader with what it judges.
    """
    at, meta = 132, []
    if data[128:132] != b"DICM":
        return {"no_file_meta": True, "meta": [], "transfer_syntax": "", "elements": _walk(data, 0, len(data), "")[0]}
    end = at
    while end + 8 <= len(data) and data[end : end + 2] == b"\x02\0":
        element, end = _element(data, end, len(data), "")
        meta.append(element)
    syntax = next((bytes.fromhex(v["hex"]).rstrip(b"\0").decode() for t, _, v in meta if t == "00020010"), "")
    body = zlib.decompressobj(-15).decompress(data[end:]) if syntax == DEFLATED else data[end:]
    return {
        "preamble": data[:128].hex(),
        "meta": meta,
        "transfer_syntax": syntax,
        "elements": _walk(body, 0, len(body), syntax)[0],
    }


def _walk(data: bytes, at: int, end: int, syntax: str) -> tuple[list, int]:
    elements = []
    sign = ">" if syntax == EXPLICIT_BIG else "<"
    while at < end:
        group, element = struct.unpack_from(sign + "HH", data, at)
        if (group, element) == (0xFFFE, 0xE00D):
            return elements, at + 8
        found, at = _element(data, at, end, syntax)
        elements.append(found)
    return elements, at


def _element(data: bytes, at: int, end: int, syntax: str) -> tuple[list, int]:
    sign = ">" if syntax == EXPLICIT_BIG else "<"
    tag = "{:04X}{:04X}".format(*struct.unpack_from(sign + "HH", data, at))
    if syntax == IMPLICIT:
        vr, length, at = "??", *struct.unpack_from("<L", data, at + 4), at + 8
        if data[at : at + 4] == b"\xfe\xff\0\xe0" and tag != "7FE00010":
            vr = "SQ"
    else:
        vr = data[at + 4 : at + 6].decode("latin-1")
        if vr in _LONG:
            length, at = *struct.unpack_from(sign + "L", data, at + 8), at + 12
        else:
            length, at = *struct.unpack_from(sign + "H", data, at + 6), at + 8
    if vr == "SQ" or (length == _UNDEFINED and vr not in ("OB", "OW")):
        items, at, item_undefined = _items(data, at, end if length == _UNDEFINED else at + length, syntax, length)
        form = {"items": items, "undefined": length == _UNDEFINED, "items_undefined": item_undefined}
        return [tag, "SQ", form], at
    if length == _UNDEFINED:
        fragments = []
        while True:
            group, element, size = struct.unpack_from(sign + "HHL", data, at)
            at += 8
            if element == 0xE0DD:
                return [tag, vr, {"fragments": fragments}], at
            fragments.append(data[at : at + size].hex())
            at += size
    if at + length > end:
        raise ValueError(f"{tag} is longer than what holds it")
    return [tag, vr, {"hex": data[at : at + length].hex()}], at + length


def _items(data: bytes, at: int, end: int, syntax: str, length: int) -> tuple[list, int, bool]:
    sign = ">" if syntax == EXPLICIT_BIG else "<"
    items, undefined = [], False
    while at < end:
        _, element, size = struct.unpack_from(sign + "HHL", data, at)
        at += 8
        if element == 0xE0DD and length == _UNDEFINED:
            break
        if element != 0xE000:
            raise ValueError("a sequence that holds something else than items")
        undefined = undefined or size == _UNDEFINED
        item, at = _walk(data, at, end if size == _UNDEFINED else at + size, syntax)
        items.append(item)
    return items, at, undefined


def differences(case: dict, data: bytes, *, meta: bool = True) -> list[str]:
    """What of a file is not as the case's ``output`` has it, a line each; what is ``random`` is looked at for presence.

    Values are compared to the byte, VRs where the file tells them, lengths of sequences (undefined or not), the order
    of elements and the preamble, too.
    """
    output, found, random = case["output"], read(data), set(case.get("random", ()))
    lines = []
    if found.get("preamble", "").strip("0") != output.get("preamble", "").strip("0"):
        lines.append("preamble")
    sides = [("elements", output["transfer_syntax"])] + ([("meta", "")] if meta else [])
    for part, syntax in sides:
        expected, got = flat(output[part], syntax), flat(found[part], syntax)
        for path in sorted(expected.keys() | got.keys()):
            here, there = expected.get(path), got.get(path)
            if path in random and here and there:
                continue
            if here and there and there[0] == "??":
                there = (here[0], there[1])
            if here != there:
                lines.append(f"{path}: {here} expected, {there} found")
        if not lines and list(expected) != list(got):
            lines.append(f"order of {part}")
        if not lines and _forms(output[part]) != _forms(found[part]):
            lines.append(f"lengths of sequences of {part}")
    return lines


def _forms(elements: list, prefix: str = "") -> list[tuple[str, bool, bool]]:
    forms = []
    for tag, _, value in elements:
        if isinstance(value, dict) and "items" in value:
            forms.append((prefix + tag, bool(value.get("undefined")), bool(value.get("items_undefined"))))
            for at, item in enumerate(value["items"]):
                forms += _forms(item, f"{prefix}{tag}[{at}].")
    return forms


def for_release(script: str, release: str) -> str:
    """The script as it was recorded for an older release: with that one's version line."""
    return re.sub(r'(?m)^version "6\.6"', f'version "{release}"', script)


def of_older(case: dict, release: str) -> dict:
    """What an older release did: ``outcome`` and ``changed``, as recorded; a failure is an exception before 6.6."""
    found = case.get("differs_in", {}).get(OLDER[release], case)
    return {"outcome": "refused" if found["outcome"] == "evaluation failed" else found["outcome"],
            "changed": found.get("changed")}  # fmt: skip


def changed(case: dict, recorded: list) -> dict[str, tuple[str, bytes]]:
    """The elements of a file in which an older release changed what is ``recorded``; what was cut short is missing."""
    syntax = (case.get("output") or case["input"])["transfer_syntax"]
    expected = flat(case["input"]["elements"], case["input"]["transfer_syntax"])
    for path, _, after in recorded:
        if after is None or "cut" in str(after):
            expected.pop(path, None)
        elif isinstance(after[1], str) and after[1].endswith("item(s)"):
            expected[path] = ("SQ", after[1].split()[0].encode())
        else:
            leaf = [path.rpartition(".")[2][:8], *after]
            expected[path] = next(iter(flat([leaf], syntax).values()))
    return expected


def differences_of_older(case: dict, release: str, data: bytes) -> list[str]:
    """What of a file is not as an older release left it, a line each; group 0002 and the stamp were not recorded."""
    if (release, case["id"]) in UNREADABLE:
        return []
    syntax = (case.get("output") or case["input"])["transfer_syntax"]
    recorded_changes = of_older(case, release)["changed"]
    expected, found = changed(case, recorded_changes), flat(read(data)["elements"], syntax)
    short = {path for path, _, after in recorded_changes if "cut" in str(after)}
    lines = []
    for path in sorted((expected.keys() | found.keys()) - set(case.get("random", ())) - short):
        here, there = expected.get(path), found.get(path)
        if here and there and there[0] == "??":
            there = (here[0], there[1])
        if here != there and not path.startswith("00120064["):
            lines.append(f"{path}: {here} expected, {there} found")
    return lines
