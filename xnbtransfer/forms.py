"""The register of request forms: everything that the client ever asks of an XNAT, and what each belief stands on.

Read by the edges, which build each request from a form and can build no other; by the check of a server before a first
transfer; and by the page ``docs/conformance.md``. It speaks to no server. An address of XNAT stands nowhere else in the
client: a form is added here, with its evidence, or not asked.

A form's ``number`` is the one that recorded exchanges carry (``tests/contract/recorded``): what a live XNAT answered to
it is found there. ``source`` names the class of XNAT's own source, or the test of its REST suite, that says the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

EVENT = ("event_reason?", "event_type?", "event_action?", "event_comment?")
"""What XNAT writes into its history; it reads a reason from the query alone (``SecureResource.getReason``)."""


def quoted(*parts: str) -> str:
    """Path segments, each quoted, joined by slashes. The only place where labels become parts of an address."""
    return "/".join(quote(part, safe="") for part in parts)


def encode(query: Mapping[str, str]) -> str:
    """A query string; blanks become %20 since not every handler of XNAT reads a plus as a blank."""
    return urlencode(query, quote_via=quote, safe=",:/")


_REFUSED = re.compile(r"%25|%3B|;|//|%2E|%2F|%5C|%00|%u|/\.\.?(?:/|$)", re.IGNORECASE).search


def refused_in_address(path: str) -> bool:
    """Whether XNAT's firewall, or its container, refuses this path as it is sent (1.7.6 and later).

    Recorded of 1.8.11, newer, "characters that are refused": GET and POST 500 with a web page, PUT and DELETE 405 with
    nothing, ``%2F``, ``%5C`` and ``%00`` 400. It is the name that is refused, no right and no passing failure.
    """
    return bool(_REFUSED(path))


def addressable(path: str) -> bool:
    """Whether a file of this name below a resource can be named in an address; it goes and comes in a zip else.

    A percent sign cannot: quoted it is refused, and as it stands it is decoded when a file is put (recorded of 1.8.11,
    surprises, "W11 names of files").
    """
    return not ("%" in path or path.startswith("/") or refused_in_address("/" + quote(path, safe="/")))


_KEEPS_LABEL = re.compile(r"(?!\d+$)(?:[A-Za-z0-9_.~+!$()*:@=-]|%[0-9A-Fa-f]{2})+").fullmatch
_KEEPS_SCAN = re.compile(r"[A-Za-z0-9_-]+").fullmatch
LONGEST_NAME = 255  # bytes of one part of a path: what the file systems below XNAT take


def label_can_be_made(label: str) -> bool:
    """Whether a request makes a resource of exactly this label.

    A label in an address is never decoded, one of digits is the number of any resource, and a comma makes a list (XNAT
    source, ``XNATCatalogTemplate`` line 52; recorded, "W10 labels of resources").
    """
    return bool(_KEEPS_LABEL(label)) and not refused_in_address(f"/{label}") and _short(label)


def scan_can_be_made(scan: str) -> bool:
    """Whether a request makes a scan of this number: others than letters, digits, ``_`` and ``-`` are 500.

    Recorded of 1.6.4 to 1.8.11 ("W15", fact 14 of the live servers).
    """
    return bool(_KEEPS_SCAN(scan)) and _short(scan)


def scan_can_be_asked(scan: str) -> bool:
    """Whether an address holds the number of a scan: a comma makes a list of it, and the firewall refuses signs."""
    return "," not in scan and not refused_in_address(f"/{quote(scan, safe='')}")


def file_can_be_put(path: str) -> bool:
    """Whether a file is kept below a resource under exactly this path, by address or in a zip.

    A zip keeps every name as it is (recorded, "W11 names of files"), but for what leads out of its folder, and a
    backslash, which no address holds (400 of the container) and a reader of zips may take for a slash.
    """
    parts = path.split("/")
    return not set(path) & {"\\", "\0"} and all(one not in ("", ".", "..") and _short(one) for one in parts)


def _short(name: str) -> bool:
    return len(name.encode()) <= LONGEST_NAME


class Request(NamedTuple):
    """One request of a form: path below the server, quoted; parameters, not quoted."""

    form: Form
    path: str
    query: dict[str, str]

    @property
    def method(self) -> str:
        return self.form.method

    @property
    def address(self) -> str:
        """Path and query as they are sent."""
        return self.path + (f"?{encode(self.query)}" if self.query else "")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of request.

    Attributes
    ----------
    number : str
        That of the recorded exchanges, ``F30``; ``client`` with a name where none was recorded under a number.
    asks : str
        What it is for, in a few words.
    method, path : str
        ``{project}`` and other names are one quoted segment; those of ``_PLACES`` are what it says.
    query : tuple of str
        ``name=value`` is always sent so, ``name`` always with some value, ``name?`` sometimes; ``*`` allows any field
        of XNAT's schema.
    columns : tuple of str
        What ``columns`` may name; a server that refuses one is asked for the rest.
    body, headers : str, tuple
        The kind of body, "" without one; headers that are always sent.
    relies : str
        What is relied on in the answer.
    source : str
        XNAT's class, or the test of its REST suite, that says so.
    changes : bool
        Whether it changes the server.
    page : bool
        Whether XNAT answers success with a page (a table in HTML), which is no log-in page then.
    unread : tuple
        What is sent though XNAT does not read it, ``query NAME``, each with the reason.
    """

    number: str
    asks: str
    method: str = "GET"
    path: str
    query: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    relies: str
    source: str
    changes: bool = False
    page: bool = False
    unread: tuple[tuple[str, str], ...] = ()

    def __call__(self, query: Mapping[str, str] | None = None, /, **places: str) -> Request:
        """A request of this form.

        Raises
        ------
        ValueError
            A place or parameter that the form has not, or one that is missing.
        """
        values = {**self._fixed, **(query or {})}
        if "columns" in self.query:
            values.setdefault("columns", ",".join(self.columns))
        if problem := self._wrong(values):
            raise ValueError(f"The form {self.asks!r} has another query: {problem}.")
        wanted = set(re.findall(r"{(\w+)}", self.path))
        if wanted != set(places):
            raise ValueError(f"The form {self.asks!r} has the places {sorted(wanted)}, not {sorted(places)}.")
        path = re.sub(r"{(\w+)}", lambda found: _written(found[1], places[found[1]]), self.path)
        return Request(self, path, values)

    @cached_property
    def _fixed(self) -> dict[str, str]:
        return dict(one.split("=", 1) for one in self.query if "=" in one)

    @cached_property
    def _pattern(self) -> re.Pattern:
        parts = re.split(r"{(\w+)}", self.path)
        told = [_PLACES.get(one, "[^/]+") if turn % 2 else re.escape(one) for turn, one in enumerate(parts)]
        return re.compile("".join(told))

    def _wrong(self, query: Mapping[str, str]) -> str:
        """What of a query does not fit; "" where all fits."""
        named = {one.rstrip("?").partition("=")[0] for one in self.query}
        if "*" not in named and (strange := sorted(set(query) - named)):
            return f"{', '.join(strange)} is not of it"
        needed = {one.partition("=")[0] for one in self.query if not one.endswith(("?", "*"))}
        if missing := sorted(needed - set(query)):
            return f"{', '.join(missing)} is missing"
        if other := [name for name, value in self._fixed.items() if query[name] != value]:
            return f"{', '.join(other)} has another value"
        if strange := sorted(set(query.get("columns", "").split(",")) - {""} - set(self.columns)):
            return f"no columns {', '.join(strange)}"
        return ""

    def fits(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Whether a request that was sent is of this form; ``path`` without the site's own prefix."""
        return method == self.method and bool(self._pattern.fullmatch(path)) and not self._wrong(query)


_ITEM = (
    r"/data/(?:projects/[^/]+(?:/subjects/[^/]+(?:/experiments/[^/]+)?)?|subjects/[^/]+|"
    r"experiments/[^/]+(?:/scans/[^/]+)?)"
)
_PLACES = {
    "item": _ITEM,  # the address of a project, a subject, a session or a scan, as the functions below write it
    "row": r"/data/prearchive/projects/[^/]+/[^/]+/[^/]+",  # the address of a row of the prearchive
    "owned": r"/data/archive/projects/[^/]+/subjects/[^/]+/experiments/[^/]+",  # what archiving answered
    "uri": r"/data/.+/files(?:/.+)?",  # the address of a file as a list gave it
    "file": r".+",  # a path below a resource
    "sessions": r"[^/]+",  # accession numbers, with commas between
}


def _written(place: str, value: str) -> str:
    if place in ("item", "row", "owned", "uri"):
        return value
    if place == "file":
        return quote(value, safe="/")
    if place == "scan":
        return scan_segment(value)
    if place == "resource":
        return quote(value, safe="%+!$()*:@=~")  # a label is stored as it is sent
    if place == "sessions":
        return ",".join(map(quoted, value.split(",")))
    return quoted(value)


# -- addresses of items ------------------------------------------------------------------------------------------


def project_path(project: str) -> str:
    """The address of a project."""
    return f"/data/projects/{quoted(project)}"


def subject_path(project: str, subject: str) -> str:
    """The address of a subject by its label, or by its accession, below a project."""
    return f"{project_path(project)}/subjects/{quoted(subject)}"


def item_path(project: str, subject_id: str, session_id: str = "") -> str:
    """The address of a session, or of a subject, below its project."""
    subject = subject_path(project, subject_id)
    return f"{subject}/experiments/{quoted(session_id)}" if session_id else subject


def archived_path(session_id: str, scan: str = "") -> str:
    """The address of an archived session by its accession, or of one of its scans."""
    path = f"/data/experiments/{quoted(session_id)}"
    return f"{path}/scans/{scan_segment(scan)}" if scan else path


def scan_at(path: str) -> tuple[str, str]:
    """The accession and the scan of the address of an archived scan; "" and "" where it is another item's."""
    found = re.fullmatch(r"/data/experiments/([^/]+)/scans/([^/]+)", path)
    return (unquote(found[1]), unquote(found[2])) if found else ("", "")


def scan_segment(scan: str) -> str:
    """A scan id in a path where XNAT takes lists: commas and slashes of the id itself have escapes of their own."""
    return quoted(scan.replace(",", "[COMMA]").replace("/", "[SLASH]"))


# -- the forms ---------------------------------------------------------------------------------------------------

_JSON = "format=json"
_CONFIG = ("contents=true", "accept-not-found=true")
_SET = (("query accept-not-found", "of interest only where nothing is set"),)
SITE_FILTER_NAMES = (
    "enableSitewideSeriesImportFilter",
    "sitewideSeriesImportFilterMode",
    "sitewideSeriesImportFilter",
)
SESSION_COLUMNS = ("label", "project", "subject_label", "date", "modality", "UID", "session_project")
SUBJECT_COLUMNS = ("subject_ID", "subject_project")
NAME_COLUMNS = ("ID", "label", "project", "subject_label", "xsiType", "date")
_SCAN = "xnat:imagescandata/"
SCAN_BASIS = (
    "project",
    "label",
    "subject_label",
    *(f"{_SCAN}{name}" for name in ("id", "uid", "type", "quality", "frames", "note", "series_description")),
    f"{_SCAN}file/label",
)
SCAN_FILES, SCAN_BYTES = f"{_SCAN}file/file_count", f"{_SCAN}file/file_size"
SCAN_FORMAT = "xnat:imageScanData/file[@xsi:type=xnat:resourceCatalog]/format"
SCAN_TYPE = "xnat:imageScanData/extension_item/element_name"
SCAN_MODALITY = f"{_SCAN}modality"
IMAGE_SESSION = "xnat:imageSessionData"

FRONT = Form(
    number="F01",
    asks="where redirects of the address lead",
    path="/",
    relies="the address at the end of the redirects; answers do not matter",
    source="xnatpy, detect_redirection; a redirect to another scheme, host or port is not followed",
)
LOGIN = Form(
    number="F02",
    asks="log in, log in again",
    method="PUT",
    path="/data/services/auth",
    body="form: username, password, provider where one is named",
    relies="200 with the id of the session as text or cookie; else refused (500 for a wrong password up to 1.7.6)",
    source="AuthenticationRestlet",
    changes=True,
)
WHO = Form(
    number="F03",
    asks="who is logged in; the heartbeat",
    path="/data/auth",
    relies="`User 'NAME' is logged in`; a guest is named guest, JSESSION would be 200 for anybody",
    source="UserAuth",
)
LOGOUT = Form(
    number="F06",
    asks="end the login",
    method="DELETE",
    path="/data/JSESSION",
    relies="nothing",
    source="UserSession",
    changes=True,
)
BUILD = Form(
    number="F08",
    asks="XNAT's version",
    path="/xapi/siteConfig/buildInfo",
    query=(_JSON,),
    relies="`version`; 404 up to 1.6",
    source="SiteConfigApi",
    unread=(("query format", "/xapi answers JSON whatever is asked"),),
)
VERSION = Form(
    number="F09",
    asks="XNAT's version, up to 1.6",
    path="/data/version",
    relies="text; 404 from 1.7",
    source="XNATApplication",
)
CHECKSUMS = Form(
    number="F10",
    asks="whether digests are made",
    path="/xapi/siteConfig/checksums",
    relies="true or false; 404 up to 1.6",
    source="SiteConfigApi",
)
RERUNS = Form(
    number="F11",
    asks="whether a move or rename anonymises again",
    path="/xapi/siteConfig/rerunProjectAnonOnRename",
    relies="true or false for administrators; 403 for others",
    source="SiteConfigApi",
)
SITE_FILTERS = Form(
    number="F12",
    asks="series filter of the site",
    path=f"/xapi/siteConfig/values/{','.join(SITE_FILTER_NAMES)}",
    relies="a JSON object by name; one unreadable name is 403 for all",
    source="SiteConfigApi, DicomFilterService",
)
SITE_SCRIPT_ON = Form(
    number="F13",
    asks="whether the script of the site is on",
    path="/xapi/anonymize/site/enabled",
    relies="true or false; 404 up to 1.6",
    source="AnonymizeApi",
)
SITE_SCRIPT = Form(
    number="F14",
    asks="the script of the site",
    path="/xapi/anonymize/site",
    relies="its text",
    source="AnonymizeApi",
)
SITE_SCRIPT_CONFIG = Form(
    number="F15",
    asks="the script of the site, up to 1.6",
    path="/data/config/anon/script",
    query=(_JSON,),
    relies="rows with contents and status",
    source="ConfigResource",
)
PROJECT_SCRIPT_ON = Form(
    number="F16",
    asks="whether the script of a project is on",
    path="/xapi/anonymize/projects/{project}/enabled",
    relies="true or false; not told before 1.8: 404 up to 1.6, 415 and 500 on 1.7",
    source="AnonymizeApi",
)
PROJECT_SCRIPT = Form(
    number="F17",
    asks="the script of a project",
    path="/xapi/anonymize/projects/{project}",
    relies="its text; 204 where there is none",
    source="AnonymizeApi",
)
PROJECT_SCRIPT_CONFIG = Form(
    number="F18",
    asks="the script of a project, before 1.8",
    path="/data/projects/{project}/config/anon/projects/{project}",
    query=(_JSON,),
    relies="rows with contents and status; 404 where there is none",
    source="ConfigResource",
)
PROJECT_FILTER = Form(
    number="F19",
    asks="series filter of a project",
    path="/data/projects/{project}/config/seriesImportFilter/config",
    query=_CONFIG,
    relies="its text; 204 where there is none",
    source="ConfigResource, DicomFilterService",
    unread=_SET,
)
CREATE_SUBJECTS = Form(
    number="F20",
    asks="whether uploads may make subjects",
    path="/data/projects/{project}/config/applet/allow-create-subject",
    query=_CONFIG,
    relies="true or false; 204 or 404 where nothing is set",
    source="ConfigResource",
    unread=_SET,
)
BULK_UPLOAD = Form(
    number="F21",
    asks="whether uploads in bulk are allowed",
    path="/data/projects/{project}/config/applet/allow-bulk-upload",
    query=_CONFIG,
    relies="true or false; 204 or 404 where nothing is set",
    source="ConfigResource",
    unread=_SET,
)
PREARCHIVE_CODE = Form(
    number="F22",
    asks="what a project does with what arrives",
    path="/data/projects/{project}/prearchive_code",
    relies="a number as text",
    source="ProjectResource",
)
QUARANTINE_CODE = Form(
    number="F23",
    asks="whether a project keeps sessions back",
    path="/data/projects/{project}/quarantine_code",
    relies="a number as text",
    source="ProjectResource",
)
PROJECT = Form(
    number="F24",
    asks="whether a project is seen; which it is",
    path="/data/projects/{project}",
    query=(_JSON,),
    relies="its item, also by an alias, with ID and start_date; 404 where this user does not see it",
    source="ProjectResource",
)
PROJECTS = Form(
    number="F25",
    asks="projects that may be read",
    path="/data/projects",
    query=(_JSON, "accessible=true"),
    relies="`id` or `ID`; 403 for a user without any project (1.6.4)",
    source="ProjectListResource",
)
RIGHTS = Form(
    number="F26",
    asks="projects in which such data may be read, created, edited, deleted",
    path="/data/projects",
    query=(_JSON, "permissions", "dataType"),
    relies="`id` rows; what access to all data gives is not listed, and an unknown type is 500 or everything",
    source="DefaultGroupsAndPermissionsCache",
)
SUBJECTS = Form(
    number="F30",
    asks="subjects of a project, shared ones too",
    path="/data/projects/{project}/subjects",
    query=(_JSON, "columns"),
    columns=("ID", "label", "project"),
    relies="the label of this project; `project` is the owner",
    source="ProjSubExptList; REST test TestSharing",
)
SESSIONS = Form(
    number="F31",
    asks="image sessions of a project",
    path="/data/projects/{project}/experiments",
    query=(_JSON, f"xsiType={IMAGE_SESSION}", "columns", "label?"),
    columns=(*SESSION_COLUMNS, *SUBJECT_COLUMNS),
    relies="labels of the OWNER, `session_project`, `subject_project`; 200 with nothing means that the server failed",
    source="ProjSubExptList line 381; XMLPathShortcuts lines 127 to 129; REST test TestDynamicSearch",
    unread=(("query label", "1.7.2 and before list all sessions; labels are compared with the rows, too"),),
)
NAMES = Form(
    number="F32",
    asks="labels of the sessions of a project",
    path="/data/projects/{project}/experiments",
    query=(_JSON, "columns"),
    columns=NAME_COLUMNS,
    relies="labels of this project, also of sessions shared in",
    source="ProjSubExptList",
)
OWNED = Form(
    number="F33",
    asks="sessions that a project owns",
    path="/data/experiments",
    query=(_JSON, "project", "columns=ID"),
    columns=("ID",),
    relies="accession numbers",
    source="ExperimentListResource",
)
SCANS = Form(
    number="F34",
    asks="scans of all image sessions of a project with their resources",
    path="/data/projects/{project}/experiments",
    query=(_JSON, f"xsiType={IMAGE_SESSION}", "columns"),
    columns=(*SCAN_BASIS, SCAN_FILES, SCAN_BYTES, SCAN_FORMAT, SCAN_TYPE, SCAN_MODALITY),
    relies="a row per scan and resource; an unknown column is 200 with nothing for the whole list",
    source="ProjSubExptList lines 420-427",
)
STUDIES = Form(
    number="F35",
    asks="image sessions of some studies in all projects",
    path="/data/experiments",
    query=(_JSON, f"xsiType={IMAGE_SESSION}", "columns", "UID?"),
    columns=SESSION_COLUMNS,
    relies="rows of exactly these StudyInstanceUIDs; without UID all that are seen",
    source="QueryOrganizerResource.populateQuery",
)
SCAN_LIST = Form(
    number="F39",
    asks="scans of one session",
    path="/data/experiments/{session}/scans",
    query=(_JSON, "columns"),
    columns=("ID", "xsiType", "type", "quality", "note", "series_description", "UID"),
    relies="keys as asked; none is an empty list",
    source="ScanList",
)
SESSION_ITEM = Form(
    number="F40",
    asks="one session with all that it holds",
    path="/data/experiments/{session}",
    query=(_JSON,),
    relies="the item that is not history: fields, scans and resources with `file_count`; 404 where none is",
    source="ExperimentResource",
)
SESSION_XML = Form(
    number="session-xml",
    asks="one session with all that it holds, to be kept before it is deleted",
    path="/data/experiments/{session}",
    query=("format=xml",),
    relies="its document as XNAT's schema has it, from `<?xml` on, with its ID",
    source="ItemXMLRepresentation",
)
SESSION_AT = Form(
    number="session-at",
    asks="the session that has a label in a project, owned or shared in",
    path="/data/projects/{project}/experiments/{label}",
    query=(_JSON,),
    relies="the item, found by its label here or by its accession; 404 where there is none",
    source="XnatExperimentdata.GetExptByProjectIdentifier",
)
SUBJECT_ITEM = Form(
    number="F41",
    asks="one subject with shares",
    path="/data/subjects/{subject}",
    query=(_JSON,),
    relies="the item that is not history; 404 where this user finds none",
    source="SubjectResource",
)
FIELDS = Form(
    number="F42",
    asks="the fields of a subject or session",
    path="{item}",
    query=(_JSON,),
    relies="data_fields and children, text as stored, that is with XML escapes; 404 where there is none",
    source="ItemResource",
)
EXPERIMENTS_BELOW = Form(
    number="F43",
    asks="how many experiments a subject has",
    path="{item}/experiments",
    query=(_JSON,),
    relies="the number of rows; empty is an empty list",
    source="SubjAssessmentListResource",
)
FILES_BELOW = Form(
    number="F44",
    asks="files of an item's own resources",
    path="{item}/files",
    query=(_JSON,),
    relies="rows with URI, Size, collection, cat_ID; names raw",
    source="FileList, CatalogUtils line 576",
)
SCAN_FILES_OF = Form(
    number="F45",
    asks="files of all scans of some sessions",
    path="/data/experiments/{sessions}/scans/ALL/files",
    query=(_JSON,),
    relies="rows whose URI names session, scan and resource, raw; 500 from 1.8 where no scan is",
    source="FileList line 526",
)
FILES_OF = Form(
    number="F46",
    asks="files of some sessions' own resources",
    path="/data/experiments/{sessions}/files",
    query=(_JSON,),
    relies="rows of the sessions that this user reads, others are left out; 500 from 1.8 where none is",
    source="FileList line 526",
)
ADDRESSED_FILES = Form(
    number="F47",
    asks="files of the session that archiving named",
    path="{owned}/scans/ALL/files",
    query=(_JSON,),
    relies="rows with /experiments/ in the URI; others are of the subject",
    source="XNATTemplate",
)
CATALOGS = Form(
    number="catalogs",
    asks="resources of an item with their numbers",
    path="{item}/resources",
    query=(_JSON,),
    relies="xnat_abstractresource_id, file_count, file_size and label, the label as it was sent when it was made",
    source="CatalogResourceList",
)
CATALOG = Form(
    number="catalog",
    asks="the MD5s of a resource whose list names none",
    path="{item}/resources/{resource}",
    query=("format=xml",),
    relies="entries with URI, the path as it is listed, and digest; one without a digest has none",
    source="CatalogResource, CatEntry",
    unread=(("query format", "a catalogue is XML whatever is asked (recorded from 1.6.4: files, resource catalogue)"),),
)
RESOURCE_FILES = Form(
    number="F50",
    asks="files of one resource of an item",
    path="{item}/resources/{resource}/files",
    query=(_JSON,),
    relies="rows, none where there is none; a label of digits is a number of any resource, a comma makes a list",
    source="XNATCatalogTemplate line 52",
)
SCAN_ZIP = Form(
    number="F51",
    asks="the files of a resource of a scan, zipped",
    path="/data/experiments/{session}/scans/{scan}/resources/{resource}/files",
    query=("format=zip",),
    relies="a zip with /files/ before each name; 404 where there is none",
    source="FileList",
)
SCAN_FILE = Form(
    number="F52",
    asks="one file of a scan",
    path="/data/experiments/{session}/scans/{scan}/resources/{resource}/files/{file}",
    relies="its bytes, 404 where there is none",
    source="FileList line 153",
)
SESSION_ZIP = Form(
    number="F53",
    asks="all scans of a session, zipped",
    path="/data/experiments/{session}/scans/ALL/files",
    query=("format=zip",),
    relies="a zip; 404, or 500 from 1.8, where no scan is",
    source="FileList",
)
RESOURCE_ZIP = Form(
    number="F54",
    asks="one resource of an item, zipped",
    path="{item}/resources/{resource}/files",
    query=("format=zip",),
    relies="a zip with the names as they are",
    source="FileList",
)
LISTED_FILE = Form(
    number="F55",
    asks="one file by the address that a list gave",
    path="{uri}",
    relies="its bytes",
    source="FileList line 153",
)
LISTED_ZIP = Form(
    number="F54",
    asks="the resource of a file whose name no address can hold, zipped",
    path="{uri}",
    query=("format=zip",),
    relies="a zip with the names as they are",
    source="FileList",
)
HEADER = Form(
    number="F56",
    asks="the header of a file of a scan",
    path="/data/services/dicomdump",
    query=(_JSON, "src"),
    relies="tag1, tag2, vr, value; UIDs are compared, since it may be another session's",
    source="DicomDump, DicomHeaderDump",
)
WAITING = Form(
    number="F57",
    asks="the prearchive of a project",
    path="/data/prearchive/projects/{project}",
    query=(_JSON,),
    relies="rows with url, status, tag, name, subject, project; with access to all data those of Unassigned, too",
    source="PrearcSessionListResource",
)
WAITING_ROW = Form(
    number="F58",
    asks="one row of the prearchive",
    path="{row}",
    query=(_JSON,),
    relies="one row, none when it is gone; always none up to 1.7.2",
    source="PrearcSessionResource.buildRows",
)
WAITING_RESOURCES = Form(
    number="F59",
    asks="scans of a row of the prearchive",
    path="{row}/resources",
    query=(_JSON,),
    relies="category, cat_id, label, file_count, file_size; 404 before it is built",
    source="PrearcSessionResourcesList",
)
WAITING_SCANS = Form(
    number="F60",
    asks="types of the scans of a row",
    path="{row}/scans",
    query=(_JSON,),
    relies="ID, xsiType; 404 before it is built",
    source="PrearcSessionScansList",
)
WAITING_FILES = Form(
    number="F62",
    asks="files of a scan of a row",
    path="{row}/scans/{scan}/resources/{resource}/files",
    query=(_JSON,),
    relies="Name, Size, URI; 404 before it is built",
    source="PrearcSessionResourceFiles",
)
WAITING_FILE = Form(
    number="F63",
    asks="one file of a row",
    path="{row}/scans/{scan}/resources/{resource}/files/{file}",
    relies="its bytes",
    source="PrearcSessionResourceFiles",
)
WAITING_ZIP = Form(
    number="F64",
    asks="a whole row, zipped",
    path="{row}",
    query=("format=zip",),
    relies="a zip; an empty one, or 500, of a row that is gone",
    source="PrearcSessionResource",
)
WAITING_LOG = Form(
    number="F65",
    asks="the last entry of a row's log",
    path="{row}/logs/last",
    relies="text, perhaps none",
    source="PrearcSessionResource",
)
BUILD_ROW = Form(
    number="F66",
    asks="build a row",
    method="POST",
    path="{row}",
    query=("action=build",),
    relies="2xx, and the state that is read after it; 409 while it is locked",
    source="PrearcSessionResource",
    changes=True,
)
VALIDATE = Form(
    number="F67",
    asks="what archiving would run into",
    method="POST",
    path="/data/services/validate-archive",
    query=(_JSON, "src"),
    relies="code, type (WARN, CONFLICT, FAIL), message",
    source="PrearcSessionValidator",
)
ARCHIVE = Form(
    number="F68",
    asks="archive a row",
    method="POST",
    path="/data/services/archive",
    query=("src", "auto-archive=false", "overwrite?", "project?", "subject?", "session?", *EVENT),
    relies="the address of the session as text or Location; never repeated unseen",
    source="Archiver, PrearcSessionArchiver",
    changes=True,
    unread=(("query event_action", "archiving writes a history entry under a name of its own"),),
)
MOVE_ROW = Form(
    number="F69",
    asks="move a row to another project",
    method="POST",
    path="/data/services/prearchive/move",
    query=(_JSON, "src", "newProject"),
    relies="2xx, and the state that is read after it",
    source="BatchPrearchiveMove",
    changes=True,
)
REBUILD_ROW = Form(
    number="F70",
    asks="rebuild a row",
    method="POST",
    path="/data/services/prearchive/rebuild",
    query=(_JSON, "src"),
    relies="2xx, and the state that is read after it",
    source="BatchPrearchiveRebuild",
    changes=True,
)
DELETE_ROW = Form(
    number="F71",
    asks="delete a row",
    method="POST",
    path="/data/services/prearchive/delete",
    query=(_JSON, "src"),
    relies="2xx, and the state that is read after it",
    source="BatchPrearchiveDelete",
    changes=True,
)
IMPORT = Form(
    number="F72",
    asks="send DICOM into the prearchive",
    method="POST",
    path="/data/services/import",
    query=(
        "import-handler=DICOM-zip",
        "PROJECT_ID",
        "SUBJECT_ID",
        "EXPT_LABEL",
        "inbody=true",
        "prevent_auto_commit=true",
        "SOURCE=uploader",
        *EVENT,
    ),
    body="a stored zip",
    headers=(("Content-Type", "application/zip"), ("Accept", "text/uri-list, text/plain, */*")),
    relies="addresses, a line each; none where nothing was stored",
    source="Importer, DicomZipImporter",
    changes=True,
    unread=tuple((f"query {one.rstrip('?')}", "an import writes no history; archiving does") for one in EVENT),
)
SHARE = Form(
    number="F73",
    asks="share an item",
    method="PUT",
    path="{item}/projects/{project}",
    query=("label", *EVENT),
    relies="2xx, and the item that is read after it; the answer is a table in HTML, an id, or nothing",
    source="SubjectResource line 79, SubjAssessmentResource line 118; REST test TestSharing",
    changes=True,
    page=True,
)
UNSHARE = Form(
    number="F74",
    asks="end a share",
    method="DELETE",
    path="{item}/projects/{project}",
    query=EVENT,
    relies="2xx, and the item that is read after it",
    source="SubjectResource, SubjAssessmentResource",
    changes=True,
)
MOVE = Form(
    number="F75",
    asks="give an item to another project",
    method="PUT",
    path="{item}/projects/{project}",
    query=("primary=true", *EVENT),
    relies="2xx, and the item that is read after it; the answer is a table in HTML, or nothing",
    source="SubjectResource line 141, SubjAssessmentResource line 277",
    changes=True,
    page=True,
)
RENAME = Form(
    number="F76",
    asks="give an item another label",
    method="PUT",
    path="{item}",
    query=("label", *EVENT),
    relies="2xx, and the item that is read after it",
    source="SecureResource line 1749",
    changes=True,
)
DELETE = Form(
    number="F77",
    asks="delete an item with its files",
    method="DELETE",
    path="{item}",
    query=("removeFiles=true", *EVENT),
    relies="2xx, and that it is no longer found below a project that is still seen",
    source="SubjectResource, SubjAssessmentResource",
    changes=True,
)
DELETE_RESOURCE = Form(
    number="delete resource",
    asks="delete a resource of an item with its files",
    method="DELETE",
    path="{item}/resources/{resource}",
    query=("removeFiles?", *EVENT),
    relies="2xx, also where there is none; a lease that stays runs out",
    source="CatalogResource.handleDelete",
    changes=True,
)
MAKE_SESSION = Form(
    number="F79",
    asks="make an empty session",
    method="PUT",
    path="/data/projects/{project}/subjects/{subject}/experiments/{session}",
    query=("xsiType", "*", *EVENT),
    relies="2xx, and the list that is read after it",
    source="SubjAssessmentResource",
    changes=True,
)
MAKE_SCAN = Form(
    number="F80",
    asks="make a scan, or give one fields",
    method="PUT",
    path="/data/experiments/{session}/scans/{scan}",
    query=("xsiType", "*", *EVENT),
    relies="2xx, and the list that is read after it",
    source="ScanResource",
    changes=True,
)
SET_FIELDS = Form(
    number="F81",
    asks="write fields of a subject or session",
    method="PUT",
    path="{item}",
    query=EVENT,
    body="form: fields by their paths",
    headers=(("Content-Type", "application/x-www-form-urlencoded"),),
    relies="the fields that are read after it; up to 1.6 a form is passed over",
    source="SecureResource.loadItem",
    changes=True,
)
SET_FIELDS_QUERY = Form(
    number="F78",
    asks="write fields of a subject or session, up to 1.6",
    method="PUT",
    path="{item}",
    query=("*", *EVENT),
    relies="the fields that are read after it",
    source="SubjectResource, SubjAssessmentResource",
    changes=True,
)
PULL_HEADERS = Form(
    number="F82",
    asks="let the server read the headers of a session",
    method="PUT",
    path="{item}",
    query=("pullDataFromHeaders=true", *EVENT),
    relies="2xx, and the list that is read after it",
    source="ExperimentResource",
    changes=True,
)
PUT_ZIP = Form(
    number="F83",
    asks="unpack a zip into a resource",
    method="POST",
    path="{item}/resources/{resource}/files",
    query=("extract=true", "format?", "content?", "overwrite?", *EVENT),
    body="multipart with one zip",
    relies="2xx, and the list that is read after it",
    source="FileList.doPost",
    changes=True,
)
PUT_FILE = Form(
    number="F84",
    asks="put one file into a resource",
    method="PUT",
    path="{item}/resources/{resource}/files/{file}",
    query=("inbody=true", "format?", "content?", "overwrite?", *EVENT),
    body="the file",
    headers=(("Content-Type", "application/octet-stream"),),
    relies="2xx, and the list that is read after it",
    source="FileList.doPut",
    changes=True,
)

FORMS: tuple[Form, ...] = tuple(one for one in list(globals().values()) if isinstance(one, Form))
"""All of them, by number."""


def form_of(method: str, address: str, among: Collection[Form] = FORMS) -> Form | None:
    """The form of a request that was sent; None where it is none.

    Of several that fit it is the one that names most of the address and of its query.

    Parameters
    ----------
    address : str
        Path and query as they were sent, without the address of the server.
    """
    path, _, query = address.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    found = [form for form in among if form.fits(method, path, asked)]

    def nearness(form: Form) -> tuple:
        return sum("=" in one for one in form.query), "*" not in form.query, len(re.sub(r"{\w+}", "", form.path))

    return max(found, key=nearness, default=None)
