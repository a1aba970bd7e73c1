"""What is put into an archive without an import: subjects, sessions, scans, their fields, resources and files.

Each write is sent once; what became of it is for the caller to look up. XNAT answers 200 and stores nothing where the
right to edit is missing (seen on a live server), so only a listing tells.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from . import forms
from ._http import Http, SizedBody
from ._rows import cell, event, file_row, is_json, item_fields, json_of, plain
from .errors import NotDataError, NotFoundError, RefusedError, ServerError, XnbTransferError
from .forms import encode
from .zips import ZipMember, read_zip, write_zip, zip_length

_UPLOAD_TIMEOUT_S = 3600.0
_HEADERS_TIMEOUT_S = 900.0  # reading the headers of a large session takes the server a while
_PLAIN_LABEL = re.compile(r"(?!\d+$)[A-Za-z0-9_-]+").fullmatch
_MD5 = re.compile(r"[0-9a-f]{32}").fullmatch
_KEEPS_NAME = re.compile(r"[A-Za-z0-9._~/-]+").fullmatch
_SPOOL_BYTES = 16 << 20


class Store:
    """The part of a connection that makes items and puts files below them."""

    _http: Http
    _table: Callable
    before: Callable

    def files_below(self, path: str, resource: str = "") -> list[dict]:
        """The files of the item's own resources, or of one of them; empty where there is none. Rows as of ``files``.

        Raises
        ------
        NotFoundError, ServerError
            The item is not found, or does not give the files of a resource that it lists: that is no empty one.
        """
        if not resource:
            return self._apart([file_row(row, "") for row in self._listed(path, forms.FILES_BELOW(item=path))])
        number = self._catalog(path, resource)
        if number is None:
            return []
        rows = self._listed(path, forms.RESOURCE_FILES(item=path, resource=number))
        return self._apart([{**row, "resource": resource} for row in (file_row(one, "") for one in rows)])

    def _apart(self, rows: list[dict]) -> list[dict]:
        """The rows, where each file has a place of its own; two under one name would be taken for one by their path."""
        places = {(row["session_id"], row["scan"], row["resource"], row["path"]) for row in rows}
        if len(places) < len(rows):
            raise ServerError(
                f"{self._http.host} lists {len(rows) - len(places)} files of one resource under the name of another.",
                "Have the resource looked at by the server's administrator: its catalogue names a file twice.",
            )
        return rows

    def _listed(self, path: str, request: forms.Request) -> list[dict]:
        """Rows of a list below an item; none where another list says so: that has no such scan, or no such resource.

        From 1.8 a list of the files of a scan that is not there is 500 (XNAT source, ``FileList`` line 526; recorded),
        and elsewhere 404. Neither alone says that there is nothing, and of an item that is not found nothing is known.
        """
        try:
            return self._table(request)
        except (NotFoundError, ServerError) as problem:
            if isinstance(problem, ServerError) and problem.status != 500:
                raise
            if self._lacks(path, request, isinstance(problem, NotFoundError)):
                return []
            raise

    def _lacks(self, path: str, request: forms.Request, missing: bool) -> bool:
        """Whether a list that is answered says that the scan, or the resource, of a request is not there."""
        session_id, scan = forms.scan_at(path)
        if scan and scan not in {row["scan"] for row in self.scan_list(session_id)}:
            return True
        if not missing or request.form is not forms.RESOURCE_FILES:
            return False
        asked = unquote(request.path.rpartition("/resources/")[2].removesuffix("/files"))
        rows = self._table(forms.CATALOGS(item=path))
        return not any(asked in (cell(row, "label"), cell(row, "xnat_abstractresource_id")) for row in rows)

    def _catalog(self, path: str, resource: str) -> str | None:
        """What names a resource in an address: its label, or its number where XNAT reads the label otherwise.

        None where there is none. What XNAT reads otherwise: ``forms.label_can_be_made``.
        """
        if _PLAIN_LABEL(resource):
            return resource
        rows = self._listed(path, forms.CATALOGS(item=path))
        found = [cell(row, "xnat_abstractresource_id") for row in rows if cell(row, "label") == resource]
        return found[0] if found else None

    def catalog_md5s(self, path: str, resource: str) -> dict[str, str]:
        """Path to MD5 as the catalogue of a resource has them, where it has any; one request.

        Lists of files name none up to 1.6, and the catalogue does (recorded from 1.6.4). A path that stands there twice
        is left out, and so is all of what cannot be read: it says nothing.
        """
        number = self._catalog(path, resource)
        if number is None:
            return {}
        try:
            text = self._http.read(forms.CATALOG(item=path, resource=number)).content
            entries = [] if b"<!DOCTYPE" in text else list(ElementTree.fromstring(text).iter())
        except ElementTree.ParseError:
            return {}
        except XnbTransferError as problem:
            if problem.retry:
                raise
            return {}
        found: dict[str, set[str]] = {}
        for entry in entries:
            if entry.tag.rpartition("}")[2] == "entry":
                found.setdefault(entry.get("URI", ""), set()).add(entry.get("digest", "").lower())
        return {name: md5 for name, (md5, *more) in found.items() if not more and _MD5(md5)}

    def _target(self, path: str, resource: str) -> str:
        """What names a resource that is written to; one that is not there yet is made under exactly this label.

        Raises
        ------
        RefusedError
            No request over REST makes a resource of this label.
        """
        number = self._catalog(path, resource)
        if number is not None:
            return number
        if forms.label_can_be_made(resource):
            return resource
        raise RefusedError(
            f"No request makes a resource called {resource!r} at {self._http.host}: XNAT reads this label otherwise.",
            "Make the resource on the web page of the destination, or rename it at the source, then plan again.",
        )

    def _in_zip_only(self, path: str, resource: str, name: str) -> bool:
        """Whether a file has to be read out of a zip: no address holds its name, or the address is another's, too.

        XNAT looks for what stands in the address before it decodes that: ``a%20b.txt`` is the file of this very name
        where there is one, else ``a b.txt``.
        """
        if not forms.addressable(name):
            return True
        asked = quote(name, safe="/")
        if asked == name:
            return False
        rows = self._listed(path, forms.RESOURCE_FILES(item=path, resource=resource))
        return any(file_row(row, "")["path"] == asked for row in rows)

    def open_resource(self, path: str, resource: str):
        """A zip of one resource of the item at ``path``, as a context manager that yields its pieces."""
        return self._http.stream(forms.RESOURCE_ZIP(item=path, resource=self._catalog(path, resource) or resource))

    @contextlib.contextmanager
    def _out_of_zip(self, request: forms.Request, end: str) -> Iterator[Iterator[bytes]]:
        """The file of a zip whose name ends so, for one that no address can hold; what stands before it is read over.

        Raises
        ------
        NotFoundError
            The zip holds no file of this name.
        """
        with self._http.stream(request) as pieces:
            for name, data in read_zip(pieces):
                if name.endswith(end):
                    yield data
                    return
                for _ in data:
                    pass
        raise NotFoundError(f"{self._http.host} holds no file of this name in {request.path}.")

    def put_zip(
        self,
        path: str,
        resource: str,
        *,
        size_bytes: int,
        body: Iterable[bytes],
        about: Mapping[str, str] | None = None,
        overwrite: bool = False,
        reason: str = "",
    ) -> None:
        """Unpack a zip into a resource, once; the resource is made where it is missing. Byte for byte, no script runs.

        ``about`` may hold ``format`` and ``content``, which the catalogue keeps of each file.
        """
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="files.zip"\r\n'
            "Content-Type: application/zip\r\n\r\n"
        ).encode()
        foot = f"\r\n--{boundary}--\r\n".encode()

        def parts() -> Iterator[bytes]:
            yield head
            yield from body
            yield foot

        query = {**_marks(about, overwrite), **event(reason)}
        self._http.write(
            forms.PUT_ZIP(query, item=path, resource=self._target(path, resource)),
            data=SizedBody(parts(), len(head) + size_bytes + len(foot)),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
            read_timeout_s=_UPLOAD_TIMEOUT_S,
        )

    def put_file(
        self,
        path: str,
        resource: str,
        name: str,
        *,
        size_bytes: int,
        body: Iterable[bytes],
        about: Mapping[str, str] | None = None,
        overwrite: bool = False,
        reason: str = "",
    ) -> None:
        """Put one file into a resource under exactly this name, once; in a zip where an address would change the name.

        What is quoted in the address is stored so, or decoded, as the rest of it pleases (recorded, "W11 names of
        files": ``a%231.txt`` stays, ``d%C3%BC%231%20x.txt`` is decoded); names in a zip are kept.
        """
        if not _KEEPS_NAME(name) or not forms.addressable(name):
            with _zip_of_one(name, body) as (size, zipped):
                more = {"about": about, "overwrite": overwrite, "reason": reason}
                self.put_zip(path, resource, size_bytes=size, body=zipped, **more)
            return
        query = {**_marks(about, overwrite), **event(reason)}
        self._http.write(
            forms.PUT_FILE(query, item=path, resource=self._target(path, resource), file=name),
            data=SizedBody(body, size_bytes),
            read_timeout_s=_UPLOAD_TIMEOUT_S,
        )

    def resource_labels(self, path: str) -> list[str]:
        """The labels of the own resources of the item at ``path``, as they were sent when they were made."""
        return [cell(row, "label") for row in self._table(forms.CATALOGS(item=path))]

    def small_file(self, path: str, resource: str, name: str) -> bytes:
        """One file of an own resource of the item at ``path``, whole; of a resource whose label is a plain one.

        Raises
        ------
        NotFoundError
            There is none.
        """
        uri = f"{path}/resources/{resource}/files/{forms.quoted(name)}"
        return self._http.read(forms.LISTED_FILE(uri=uri)).content

    def delete_resource(self, path: str, resource: str, reason: str = "") -> None:
        """Delete an own resource of the item at ``path`` with its files, once; of one whose label is a plain one."""
        self._http.write(forms.DELETE_RESOURCE(event(reason), item=path, resource=resource))

    def make_session(
        self, project: str, subject: str, session: str, xsi_type: str, fields: Mapping[str, str], reason: str = ""
    ) -> str:
        """Make an empty session, in the archive; its accession, as the server answers it, or ""."""
        request = forms.MAKE_SESSION(
            {"xsiType": xsi_type, **fields, **event(reason)}, project=project, subject=subject, session=session
        )
        told = self._http.write(request).text.strip()
        return told if re.fullmatch(r"[A-Za-z0-9_.-]+", told) else ""

    def set_fields(self, path: str, fields: Mapping[str, str], reason: str = "") -> None:
        """Give the item at ``path`` these fields; others stay.

        They go in the body, since addresses end up in logs, but to a server up to 1.6, which answers 200 to a form and
        passes it over (recorded). A reason is read from the query alone.
        """
        if self.before(1, 7):
            self._http.write(forms.SET_FIELDS_QUERY({**fields, **event(reason)}, item=path))
            return
        self._http.write(forms.SET_FIELDS(event(reason), item=path), data=encode(fields).encode())

    def fields_of(self, path: str) -> tuple[str, dict[str, str]]:
        """The xsiType and the fields of the item at ``path``.

        Raises
        ------
        NotFoundError, NotDataError
            The item is not found, or what came is none: that is no item without fields.
        """
        request = forms.FIELDS(item=path)
        answer = self._http.read(request)
        kind, fields = item_fields(json_of(answer)) if is_json(answer) else ("", {})
        if not kind:
            raise NotDataError(f"{self._http.host} answered {request.path} with something that is no item.", status=200)
        return kind, fields

    def make_scan(self, session_id: str, scan: str, xsi_type: str, fields: Mapping[str, str], reason: str = "") -> None:
        """Make a scan of an archived session, or give one that is there these fields."""
        request = forms.MAKE_SCAN({"xsiType": xsi_type, **fields, **event(reason)}, session=session_id, scan=scan)
        self._http.write(request)

    def pull_headers(self, path: str, reason: str = "") -> None:
        """Let the server read the DICOM headers of the session at ``path`` into its fields and those of its scans."""
        self._http.write(forms.PULL_HEADERS(event(reason), item=path), read_timeout_s=_HEADERS_TIMEOUT_S)

    def scan_list(self, session_id: str) -> list[dict]:
        """The scans of one session: scan, xsi_type, type, quality, note, series_description, SeriesInstanceUID."""
        names = {"scan": "ID", "xsi_type": "xsiType", "type": "type", "quality": "quality", "note": "note"}
        names |= {"series_description": "series_description", "SeriesInstanceUID": "UID"}
        rows = self._table(forms.SCAN_LIST({"columns": ",".join(names.values())}, session=session_id))
        return [{name: plain(cell(row, key)) for name, key in names.items()} for row in rows]


@contextlib.contextmanager
def _zip_of_one(name: str, body: Iterable[bytes]) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The length in bytes and the pieces of a zip with one file; large ones wait on temporary disk."""
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        crc = 0
        for piece in body:
            crc = zlib.crc32(piece, crc)
            spool.write(piece)
        member = ZipMember(name, spool.tell(), crc)
        spool.seek(0)
        yield zip_length([member]), write_zip([member], lambda _: iter(lambda: spool.read(1 << 18), b""))


def _marks(about: Mapping[str, str] | None, overwrite: bool) -> dict[str, str]:
    found = {name: value for name, value in (about or {}).items() if value}
    return found | ({"overwrite": "true"} if overwrite else {})
