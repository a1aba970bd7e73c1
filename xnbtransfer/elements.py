"""One DICOM element as a digest: its value without padding, and the letters of its value representation (VR).

Called by the walk over a file (``dicom``) and by what foretells an element, so that both make the same digest of the
same element. Holds no value, and reads no file.
"""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

# PS3.5 7.1.2: these value representations have a length of 32 bits behind two reserved bytes.
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
# PS3.5 6.2: text, whose value may be padded at its end.
TEXT = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
# PS3.5 6.2: how many bytes of a value swap together when its bytes are in big endian order (7.3).
WORDS = {b"US": 2, b"SS": 2, b"OW": 2, b"AT": 2}
WORDS |= dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4)
WORDS |= dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), 8)
ITEM_BYTES = b"\xfe\xff\x00\xe0"
_PADDING = b" \0"
_ZERO_COUNTS = (b"AE", b"UR")
_HEX = 16
# VRs that the library XNAT writes DICOM with (dcm4che 2) does not know: it writes them as UN, and OL as OF.
_NEWER = frozenset(("UC", "UR", "OD", "OL", "OV", "SV", "UV"))


class Digest(NamedTuple):
    """The parts of an element digest.

    ``value`` is the digest of the value as its VR reads it; ``vr`` two letters, "" in implicit VR. Where the VR does
    not tell what the value is (UN, and private elements in implicit VR), ``value`` is that of all bytes and ``other``
    that of the same bytes read as text ("t" before it) or as a sequence ("s"), which another encoding may show.
    """

    value: str
    vr: str
    other: str


def value_digest(value: str | bytes, *, key: bytes = b"") -> str:
    """The digest of a text value: BLAKE2b under ``key``, 8 bytes, hexadecimal.

    Padding at the end is no part of a value (PS3.5 6.2), and is stripped.

    >>> value_digest("S1") == value_digest(b"S1 ")
    True
    """
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return _hashed(raw.rstrip(_PADDING), key)


def element_digest(vr: str | bytes, value: bytes, *, key: bytes = b"", told: bool = True) -> str:
    """The digest that an element has in :attr:`xnbtransfer.dicom.Content.elements`.

    Parameters
    ----------
    vr : str or bytes
        Two letters; "" where nobody knows. Of text the padding at the end is left out, of anything else nothing.
    value : bytes
        As it stands in a file in little endian order.
    key : bytes, optional
        The key of the run.
    told : bool
        Whether the file itself says the VR; False in implicit VR, where the dictionary says it.

    Notes
    -----
    A sequence has the digest of :func:`sequence_digest`, its elements have digests of their own. Compare digests with
    :func:`difference`, not letter by letter.

    >>> element_digest("LO", b"S1 ") == element_digest("LO", b"S1")
    True
    >>> element_digest("US", b"S ") == element_digest("US", b"S\\0")
    False
    """
    letters = vr.encode() if isinstance(vr, str) else vr
    shown = letters.decode() if told else ""
    if letters in TEXT:
        # Readers keep a zero behind the text of these two, and blanks behind none.
        return _hashed(value.rstrip(b" " if letters in _ZERO_COUNTS else _PADDING), key) + shown
    found = _hashed(value, key) + shown
    if letters not in (b"UN", b"") or value[-1:] not in (b" ", b"\0"):
        return found
    return f"{found}t{_hashed(value.rstrip(_PADDING), key)}"


def sequence_digest(items: int, *, vr: str = "SQ", key: bytes = b"", more: bytes = b"") -> str:
    """The digest of a sequence itself: how many items it has. ``more`` is what stands where nothing should.

    That of no items is the digest of an empty value: an empty private sequence in implicit VR is just that.
    """
    return _hashed((ITEM_BYTES + str(items).encode() if items else b"") + more, key) + vr


def _hashed(value: bytes, key: bytes) -> str:
    return hashlib.blake2b(value, digest_size=8, key=key).hexdigest()


def parts(digest: str) -> Digest:
    """The parts of an element digest."""
    value, rest = digest[:_HEX], digest[_HEX:]
    return Digest(value, rest[:2], rest[2:]) if rest[:1].isupper() else Digest(value, "", rest)


def difference(path: str, before: str, after: str) -> str | None:
    """How two digests of one element differ.

    Returns
    -------
    str or None
        "" where value and VR are the same; a sentence where the value is the same and the VR another one that XNAT's
        importer writes; None where the element is another one.

    Notes
    -----
    VRs of two explicit files are held to each other. An implicit file has no VR: the explicit one is held to the
    dictionary there (PS3.6), where that has one.
    """
    if before == after:
        return ""
    one, other = parts(before), parts(after)
    if not _same_value(one, other):
        return None
    if one.vr == other.vr:
        return ""
    known = _dictionary(path.rsplit(".", 1)[-1][:8])
    if not one.vr or not other.vr:
        return "" if not known or (one.vr or other.vr) in (*known, "UN") else None
    # dcm4che 2, seen on a live XNAT 1.8.11: UR becomes UN without any script, OL becomes OF with one, UN of a known
    # tag gets its VR.
    if (one.vr in _NEWER and other.vr == "UN") or (one.vr, other.vr) == ("OL", "OF"):
        return f"the import writes {one.vr} as {other.vr}"
    if one.vr == "UN" and known == (other.vr,):
        return "the import writes UN as the dictionary has it"
    return None


def _same_value(one: Digest, other: Digest) -> bool:
    if one.value == other.value:
        return True
    if one.vr == other.vr or {one.vr, other.vr} == {"", "UN"}:
        # both show their bytes, unless one of them is a sequence of undefined length
        return "s" + one.value == other.other or "s" + other.value == one.other
    return (
        other.other[1:] == one.value or one.other[1:] == other.value or (one.other != "" and one.other == other.other)
    )


@functools.lru_cache(maxsize=1 << 14)
def _dictionary(tag: str) -> tuple[str, ...]:
    """The VRs that PS3.6 has for a tag, and LO for private creators (PS3.5 7.8); none for other private and unknown."""
    from pydicom.datadict import dictionary_VR

    number = int(tag, 16)
    if (number >> 16) % 2:
        return ("LO",) if 0x10 <= number & 0xFFFF <= 0xFF else ()
    try:
        return tuple(dictionary_VR(number).split(" or "))
    except KeyError:
        return ()
