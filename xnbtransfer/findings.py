"""Findings: what is worth knowing before, during and after a transfer, one frame for all of it.

Every rule has a code, a severity and a remedy, once, here; ``docs/findings.md`` says the same in print. No finding
holds a value: an element by its keyword, a count, a place, and the shape of what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict

from .markup import Html, Shown, pairs
from .values import FINDING_COLUMNS, frame

Severity = Literal["blocking", "warning", "note"]
SEVERITIES: tuple[str, ...] = ("blocking", "warning", "note")


class Rule(NamedTuple):
    """One rule: its default severity, what it is about, and what to do where it is broken."""

    severity: Severity
    title: str
    about: str
    remedy: str = ""


FAMILIES = {
    "A": "Access",
    "S": "Settings",
    "P": "Plan",
    "C": "Consistency of the DICOM files",
    "R": "Routing",
    "D": "De-identification",
    "L": "Limits of a review",
    "M": "Moving, sharing and deleting",
}
_MASK = "De-identify at the source, or waive the rule for this scope with a reason."
_OWNER = "Ask an owner of the project."
RULES: dict[str, Rule] = {
    "A01": Rule("blocking", "No right to read at the source", "The user may not read sessions of the source project.",
                "Ask an owner of the project to add you."),
    "A02": Rule("blocking", "No right to create at the destination",
                "The user may not create sessions in the destination project.",
                "Ask an owner of the project to make you a member."),
    "A03": Rule("warning", "Right to create not told",
                "The destination does not tell whether the user may create sessions there; the first upload will."),
    "A04": Rule("blocking", "No right to edit at the destination",
                "Sessions that are there are merged or replaced, or the project archives them, and that needs the "
                "right to edit.", "Ask an owner of the project to make you a member."),
    "A05": Rule("note", "No right to delete at the source",
                "Copying needs none; the data could not be deleted at the source afterwards.", _OWNER),
    "A06": Rule("blocking", "Data type missing at the destination",
                "The destination does not let the user create sessions of a type that the source holds: the type is "
                "not set up there, or not open to this user.",
                "Ask an administrator of the destination to set the data type up."),
    "S01": Rule("note", "Site-wide anonymisation runs",
                "The destination's site script runs on every file that arrives. The finding names the elements that it "
                "sets, removes or changes."),
    "S02": Rule("note", "Project anonymisation runs",
                "The script of the destination project runs when a session is archived, and again when it is "
                "relabelled or moved. The finding names its elements."),
    "S03": Rule("warning", "No anonymisation runs",
                "No script runs at the destination: what the headers hold arrives as it is.",
                "Review with review=all, or ask for the scripts to be switched on."),
    "S04": Rule("note", "The project archives by itself",
                "Its prearchive code is 4 or 5. This transfer keeps its sessions out of that until they are compared."),
    "S05": Rule("note", "New sessions are quarantined",
                "They are visible after somebody with the right to do so activates them.", _OWNER),
    "S06": Rule("note", "No checksums at the destination",
                "Archived files have no MD5 there, so the proof reads them back a second time."),
    "S07": Rule("warning", "No MD5 at the source",
                "Damage on the way from the source to here cannot be seen for these files.",
                "Ask the administrator of the source to refresh the catalogues with checksums."),
    "S08": Rule("blocking", "A series import filter drops scans",
                "The destination's filter on SeriesDescription would drop scans of this plan, silently and with status "
                "200.", "Leave those scans out with scan_types, or ask an owner to change the filter."),
    "S09": Rule("blocking", "Subjects may not be created",
                "The destination is set up so that upload clients create no subjects, and these do not exist there. "
                "The server itself would create them.",
                "Have them registered first, or map the sessions to subjects that are there."),
    "S10": Rule("warning", "Bulk upload is not wanted",
                "The destination tells upload clients not to upload many sessions at once.",
                "Ask an owner before a large transfer."),
    "S11": Rule("note", "A series import filter is on",
                "It drops no scan of this plan by the descriptions and modalities that the source lists, or what it "
                "drops cannot be told.",
                "Where it cannot be told, ask an owner what the filter is for, and send one session first (pilot=1)."),
    "S12": Rule("note", "Settings that the server does not tell",
                "They decide how the destination takes data, and this user may not read them; XNAT has no quota that "
                "it would tell."),
    "P01": Rule("blocking", "The session exists", "The destination has the label or the study, and existing=stop, or "
                "merging and replacing are for a session of the same study, label and subject.",
                "Give it another label, leave it out, or have what exists skipped (existing=skip)."),
    "P02": Rule("warning", "Labels", "A label that differs from another one by case only, or a line of the label map "
                "that no session has."),
    "P03": Rule("warning", "Not everything is proved",
                "Files that are not read back stay 'cannot be proved' (exit code 4)."),
    "P04": Rule("warning", "The inventory has gaps", "A server left something out, or may not show it."),
    "P05": Rule("warning", "Decisions that nothing needs", "The decisions name sessions that are not selected."),
    "P06": Rule("blocking", "Labels that do not match", "The destination wants labels of another form.",
                "Give them other labels, by map or by rule, or leave the sessions out."),
    "P07": Rule("note", "Resources stay behind",
                "Resources that are not DICOM scans are not carried unless their labels are named.",
                "Run the pipelines again at the destination, or name the labels of what to carry (resources)."),
    "P08": Rule("warning", "Resources are carried as they are",
                "Resources go byte for byte: no anonymisation script runs on them, outputs of pipelines name the "
                "project and the labels they were made for, and what texts and file names say of a person arrives as "
                "it is.",
                "Look into them before the run, or run the pipelines again at the destination."),
    "P09": Rule("blocking", "Resources and fields have no place in the prearchive",
                "Resources of sessions and scans, or fields, were chosen, and XNAT takes none for a session that waits "
                "in the prearchive.", "Choose archive, or leave them out."),
    "P10": Rule("warning", "Resources that nothing has", "A label named in resources is on nothing that was selected."),
    "P11": Rule("warning", "Fields are carried as they are",
                "Fields of subjects and sessions were chosen. Their values are neither judged nor kept in the record.",
                "Make sure that none of them says who somebody is."),
    "P12": Rule("warning", "A waiver that fits nothing",
                "A waiver of this transfer, or one of the policy that is nearly right, names labels that nothing "
                "selected has. What it was to waive still counts.",
                "Correct the labels: they are those at the source, compared to the letter."),
    "P13": Rule("note", "Waivers for other labels",
                "A waiver of the policy names labels that nothing selected has, as those for other transfers do."),
    "P14": Rule("warning", "A policy for other projects",
                "The policy file names other destination projects, and no '*': none of its rules counts here.",
                "Check the project's ID in the file, or leave the policy out."),
    "P15": Rule("warning", "Two places would become one",
                "Files or fields from several places of the source would be written to one place at the destination: "
                "scans of one series, which the import joins, or subjects that the label map joins. Only the first is "
                "carried.",
                "Leave one of them out (resources, fields, selection), or give them different labels; method=files "
                "keeps the scans of a series apart."),
    "P16": Rule("blocking", "What no request can carry",
                "A resource label, a scan number or a file name that XNAT, or the firewall before it, refuses or reads "
                "otherwise, and that no zip can bring either.",
                "Have it renamed at the source, leave it out, or waive this rule for it with a reason: it stays behind "
                "then, and the rest is carried."),
    "P17": Rule("note", "What people wrote stays behind",
                "Quality, type and note of scans were edited at the source, or sessions and subjects have fields that "
                "no header fills. An import makes scans and sessions anew from the headers and carries none of that.",
                "Name fields in fields; enter the rest at the destination. Before the source is deleted (finish-move) "
                "what still lacks is named."),
    "P18": Rule("note", "Assessors and other data stay behind",
                "Assessors and reconstructions of sessions, and data of subjects without images, are carried by no "
                "copy.", "Bring what is needed there by hand; left-behind.csv names each."),
    "P19": Rule("warning", "What stays behind is not known",
                "The source did not tell what a subject, a session or the project holds beside images, so the plan "
                "cannot name it.", "Plan again; if it stays so, ask an owner of the project for the right to read."),
    "P20": Rule("blocking", "A list is not whole",
                "The server's list of scans names sessions that its list of sessions lacks, or a chosen resource of a "
                "subject or the project has fewer files in the file list than its server counts. What a project holds "
                "is not known then, and nothing is left out unseen.",
                "Plan again; if it stays so, show it to the administrator of the server, who can have the catalogue of "
                "a resource refreshed."),
    "S13": Rule("blocking", "Files go in without anonymisation",
                "method=files puts files into the archive byte for byte: neither the site's nor the project's script "
                "runs on them, no series filter, and no prearchive stands between. What the headers hold is there to "
                "see.",
                "Waive this rule with a reason in waivers, after the headers were reviewed; or choose method=import."),
    "S14": Rule("blocking", "The project archives what a receiver takes",
                "method=receiver, and the prearchive code of the project is 4 or 5: what arrives is archived by itself "
                "after some quiet minutes, compared or not.",
                "Ask an owner to set the code to 0 for the time of the transfer, or choose method=import."),
    "S15": Rule("blocking", "A setting that the server failed to tell",
                "A question that guards something (prearchive code, quarantine, scripts, series filter) was answered "
                "by a failure of the server, three times over ten seconds. What the project does is not known.",
                "Plan again in some minutes; if it stays so, show the table of 'xnbtransfer doctor' to the "
                "administrator."),
    "S16": Rule("blocking", "A script that its engine refuses",
                "The text of a script of the destination cannot be carried out: a version that no engine takes, a "
                "statement that cannot be read, a function or a word that does not exist. XNAT takes any text for a "
                "script, and then imports (site's script) or archiving (project's script) fail for every file.",
                "Send the sentence to the destination's administrator; plan again when the script is mended."),
    "S17": Rule("blocking", "A script that ends in silence",
                "A script without a version line that is recognised is run by DicomEdit 4. That ends at the first "
                "statement that it cannot read, and says nothing: what the script was to remove from there on stays "
                "in the files.",
                "Send the sentence to the destination's administrator; waive the rule if the files may arrive so."),
    "S18": Rule("blocking", "A script fails on these sessions",
                "Carried out over the header of a file of each scan, a script of the destination does not come to its "
                "end: a function asks for an element that is missing, a text is written where a number has to be. "
                "Since DicomEdit 6.6 (XNAT 1.8.10) such a file is left with 0 bytes; in any version the import or the "
                "archiving of its session fails.",
                "Send the sentence to the destination's administrator, or leave these sessions out; plan again when "
                "the script is mended."),
    "S19": Rule("warning", "A script that can fail",
                "No header was read (review=none, or a move), and a script of the destination holds statements that "
                "fail for files without some element, or that reject files; or it is not known which engine the "
                "destination has, and not every one that it may have takes the script.",
                "Plan with review=sample: the scripts are then carried out over a header of each scan."),
    "S20": Rule("blocking", "A script rejects these sessions",
                "Carried out over the header of a file of each scan, a script of the destination rejects it. XNAT "
                "drops such a file, and answers 200 where others of its session remain.",
                "Leave these sessions out, or ask the destination's administrator what the project takes."),
    "S21": Rule("warning", "An element that nobody can foretell",
                "A script of the destination draws a value at random (newUID, mapUID, mapReferencedUIDs, new UID): "
                "what should stand there cannot be computed, and its files end as 'cannot be proved' (exit code 4).",
                "Waive the rule for that element, by its keyword or tag, and say why: then its change counts as "
                "explained, and no other."),
    "R05": Rule("blocking", "The routing string is too long",
                "xnat://project/subject/session does not fit into the 64 characters of a StudyDescription.",
                "Map these sessions to shorter labels, or choose method=import."),
    "M01": Rule("blocking", "Something is in the way",
                "A label, a study, a share or a row of the prearchive stands against it, and existing=stop.",
                "Leave it out, give it another label, or choose existing=skip."),
    "M02": Rule("blocking", "A right is missing",
                "Sharing needs the right to create in the other project; moving that, and to delete in the first one; "
                "taking back or deleting the right to delete.", _OWNER),
    "M03": Rule("warning", "A right is not told",
                "The server does not tell whether the user has a right that is needed."),
    "M04": Rule("note", "Others will see it",
                "Who may read the other project sees what is shared into it, now and after every change at home."),
    "M05": Rule("warning", "A script runs over what is moved",
                "XNAT runs the other project's script over sessions that are moved into it, and on some sites over "
                "those that are relabelled; the MD5s that it lists stay those of before."),
    "M06": Rule("note", "Assessors stay",
                "Assessors stay with the project that owns them when their session is moved."),
    "M07": Rule("blocking", "Too early",
                "The days that were wished between a copy and the deletion of its source have not passed.",
                "Wait until they have passed."),
    "M08": Rule("note", "No backup",
                "XNAT keeps no copy of what is deleted unless its administrator switched that on.",
                "Name a folder with 'backup' to keep each session as a BagIt bag."),
    "M09": Rule("note", "Fields go with their session",
                "Fields and custom variables of a session are deleted with it; the proof of a copy is about files."),
    "M10": Rule("note", "Labels come with archiving",
                "XNAT offers no way to relabel a session that waits in the prearchive; it gets its other labels at the "
                "moment it is archived."),
    "C01": Rule("blocking", "Several studies in one session",
                "The files of a session name more than one StudyInstanceUID; XNAT takes one per session, and the "
                "others would be refused or split off.",
                "Take the session apart at the source."),
    "C02": Rule("warning", "One series in several scans",
                "A SeriesInstanceUID occurs in more than one scan of a session; the import joins them into one scan.",
                "Look at the scans; the second may be a copy of the first."),
    "C03": Rule("warning", "An instance occurs twice",
                "Two files have one SOPInstanceUID, and XNAT keeps one file of an instance: the last one wins.",
                "Remove the copy at the source."),
    "C04": Rule("warning", "Several PatientIDs or names in one session",
                "PatientID or PatientName is not the same in all files of a session.",
                "Make sure that no file of another person is in it."),
    "C05": Rule("warning", "One PatientID on several subjects",
                "The same PatientID stands in sessions of different subjects of the destination, or one subject has "
                "several.", "Check the label map: two people may have been joined, or one split."),
    "C06": Rule("warning", "Series numbers clash",
                "Two series of a session have one SeriesNumber; XNAT gives one of them another scan ID.",
                "Expect a scan such as 2-MR1 at the destination."),
    "C07": Rule("warning", "Instances are missing",
                "InstanceNumber has gaps, or a header announces more images than are there.",
                "Compare with the scanner or the PACS, and complete the source first."),
    "C08": Rule("note", "Transfer syntaxes", "The encodings of the pixels that were seen."),
    "C09": Rule("warning", "Deflated files",
                "XNAT's importer may break files in Deflated Explicit VR (1.2.840.10008.1.2.1.99).",
                "Read them back (proof=all), or decompress them at the source."),
    "C10": Rule("blocking", "A syntax that the receiver refuses",
                "XNAT's DICOM receiver takes neither deflated nor HTJ2K files.", "Use the import instead."),
    "C11": Rule("blocking", "A file is cut short or damaged", "A DICOM file ends too early or cannot be parsed.",
                "Ask the administrator of the source to check the file against a backup, or leave the scan out."),
    "C12": Rule("warning", "Files that are not DICOM", "A DICOM resource holds something else; an import drops it.",
                "Remove it at the source, or keep it as a resource of its own."),
    "C13": Rule("warning", "Empty files", "Files of no bytes; they cannot be imported.", "Remove them at the source."),
    "C14": Rule("note", "Files with equal bytes", "Some files of a session are the same to the byte."),
    "R01": Rule("warning", "Routing text names another project",
                "Text such as 'Project: X' or xnat://X/... in a field where XNAT looks for its routing names another "
                "project than the destination. A DICOM receiver would follow it, and the rule is blocking there, save "
                "for the two elements that are rewritten on the way; an import with named labels does not look.",
                "Have the field emptied at the source, or use the import."),
    "R02": Rule("warning", "Routing text names other labels",
                "Routing text names another subject or session than the label map.",
                "A receiver would follow it; the import does not."),
    "R03": Rule("note", "Routing text", "Routing text is there and names the destination, or asks for archiving."),
    "R04": Rule("warning", "StudyDescription is too long",
                "It has more than 64 characters, and senders cut it.", "Shorten it at the source."),
    "D01": Rule("blocking", "A person's name or identity",
                "PatientName or PatientID is no label of this transfer and no dummy, and reads as a person.", _MASK),
    "D02": Rule("warning", "A name or ID that is no known label",
                "PatientName or PatientID is none of the labels at the source or the destination. It may be another "
                "pseudonym.", "Check that it is a pseudonym, and add it to 'harmless' in the policy."),
    "D03": Rule("blocking", "A full birth date", "PatientBirthDate holds a day; the profile empties it (PS3.15, Z).",
                "Empty it, or keep the year only."),
    "D04": Rule("warning", "A birth year", "PatientBirthDate is the first of January, which keeps the year.",
                "Empty it, or declare patient characteristics as retained."),
    "D05": Rule("blocking", "Direct identifiers",
                "Other names and IDs, addresses, telephone, insurance, religion, military rank, responsible persons, "
                "positions of a camera: the profile removes them.", _MASK),
    "D06": Rule("blocking", "An identity in text",
                "An e-mail address, a national number, or text such as 'MRN: ...' or 'Patient Name: ...', at any depth "
                "and in private elements, too.", _MASK),
    "D07": Rule("blocking", "A known identifier",
                "An entry of the list of known identifiers stands in a header, a private element, a label or a file "
                "name. The number of the entry is told, never the entry.", _MASK),
    "D08": Rule("blocking", "Burned-in annotation", "BurnedInAnnotation is YES: the pixels may show who it is.",
                "Have the pixels cleaned (PS3.15 option 113101)."),
    "D09": Rule("blocking", "An encapsulated document",
                "A PDF or another document in a DICOM file; its text is not read here.",
                "Leave the scan out, or have somebody read it and waive the rule."),
    "D10": Rule("warning", "Staff", "Names, numbers or addresses of physicians, operators and others.", _MASK),
    "D11": Rule("warning", "Numbers of orders and visits",
                "Accession, admission, order or specimen numbers, which a hospital can trace.", _MASK),
    "D12": Rule("warning", "The institution", "Name, address or department of the institution.",
                "Declare 'institution' as retained in the policy, or empty it."),
    "D13": Rule("warning", "An age above 89", "PatientAge is 90 years or more; few people are.",
                "Replace it by 90 or empty it."),
    "D14": Rule("warning", "Private elements that nobody has reviewed",
                "Their creator is neither in the private dictionary of pydicom nor in the policy.",
                "Have them removed, or add the creator to 'private_creators' in the policy."),
    "D15": Rule("warning", "Pixels that are likely to show text",
                "Secondary captures, ultrasound, endoscopy, photographs, screen saves, where BurnedInAnnotation is not "
                "NO.", "Look at the images."),
    "D16": Rule("warning", "Reports", "A structured report, presentation state or annotation, whose text people wrote.",
                "Have the content cleaned (PS3.15 option 113104), or leave the scan out."),
    "D17": Rule("warning", "Graphics", "Overlays, curves, icons or drawn text, which may show who it is.",
                "Have them removed (PS3.15 option 113103)."),
    "D18": Rule("warning", "Text before the header",
                "The 128 bytes before the header or the private part of the file meta information hold text. XNAT's "
                "importer writes them anew, and they would arrive only if files are copied as they are.",
                "Nothing to do with the import; else have them cleared."),
    "D19": Rule("warning", "Said not to be de-identified", "PatientIdentityRemoved is NO.",
                "Ask whoever sent the data; some scanners write it by themselves."),
    "D20": Rule("warning", "Text that looks like a person, a telephone or an address",
                "A title before a name, a telephone number, a street, or a name with a caret, in text or in a private "
                "element.", _MASK),
    "D21": Rule("warning", "Comments", "Text that people type: comments, history, reasons, diagnoses, gender identity.",
                "Read it (xnbtransfer review --show-values), and have it emptied or waive the rule."),
    "D22": Rule("warning", "A date in text", "A full date stands in a text element.", _MASK),
    "D23": Rule("warning", "Former values", "Attributes that keep what was there before a change.",
                "Have the sequence removed."),
    "D24": Rule("warning", "Signatures", "Digital signatures and certificates name who signed.",
                "Have them removed; they do not fit the changed file anyway."),
    "D25": Rule("blocking", "An identity in a private element",
                "The private dictionary of pydicom says that this element holds the name, number or birth date of a "
                "patient.", _MASK),
    "D26": Rule("warning", "Names in private elements",
                "The private dictionary of pydicom says that this element holds staff, institution or order numbers.",
                _MASK),
    "D27": Rule("warning", "A label or file name that reads as a person",
                "A subject, session or file is called like somebody.", "Give it another label."),
    "D28": Rule("warning", "Recognisable features", "RecognizableVisualFeatures is YES.",
                "Have the face removed (PS3.15 option 113102)."),
    "D29": Rule("warning", "Unreadable text",
                "Text in a character set that cannot be decoded was searched for patterns byte by byte only.",
                "Look at it at the source."),
    "D40": Rule("note", "UIDs are kept", "The profile replaces them (U); option 113110 keeps them."),
    "D41": Rule("note", "Dates and times are kept",
                "The profile removes them; options 113106 and 113107 keep or shift them."),
    "D42": Rule("note", "Descriptions are kept",
                "The profile removes them; option 113105 cleans them. Their text was searched, not understood."),
    "D43": Rule("note", "The device is told", "Serial numbers, stations and names; option 113109 keeps them."),
    "D44": Rule("note", "Patient characteristics are kept", "Sex, age, size, weight; option 113108 keeps them."),
    "D45": Rule("note", "What the headers say of themselves",
                "PatientIdentityRemoved, DeidentificationMethod and its codes. They are read, and not believed."),
    "D46": Rule("note", "A face may be recognisable",
                "Head images without code 113102: a face can be rendered from them."),
    "D47": Rule("note", "Private elements are kept", "Their creators are known or allowed; option 113111 keeps them."),
    "D48": Rule("note", "Labels of studies and trials are kept", "Study, step and trial numbers."),
    "D49": Rule("note", "Kept as declared", "The policy of the project declares these as retained."),
    "D50": Rule("note", "Distinct values were not read",
                "Whether free text names somebody only a reader can tell. After reading them, sign off by a waiver of "
                "this rule.", "xnbtransfer review --show-values lists each value once, on the screen only."),
    "L01": Rule("note", "What this review could not see", "Said for the depth that was chosen."),
    "L02": Rule("warning", "No header was read", "review=none: nothing is known of what the files hold.",
                "Choose review=sample or review=all."),
    "L03": Rule("warning", "A scan could not be reviewed", "Its header could not be read for the sample.",
                "Choose review=all."),
    "L04": Rule("note", "Known identifiers", "A list was searched for: how many entries, how many were too short "
                "or too common, and a salted digest (scrypt) by which somebody with the list can prove which it was."),
}  # fmt: skip


class Finding(Shown, BaseModel):
    """One row: a rule, how serious, where, how many files, a sentence and what to do. Values are never in it.

    Attributes
    ----------
    project, subject, session, scan : str
        Where; "" for what is not limited to one. Labels are those at the source.
    element : str
        Keywords from the outside in, as ``RequestAttributesSequence / AccessionNumber``.
    shape : str
        What the value looks like: X and x for letters, 9 for digits, each run cut at three.
    files : int
        How many files of that place; 0 where it is not about files.
    waived : str
        The reason of the waiver that made a note of it, else "".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rule: str
    severity: Severity
    project: str = ""
    subject: str = ""
    session: str = ""
    scan: str = ""
    element: str = ""
    shape: str = ""
    files: int = 0
    sentence: str
    remedy: str = ""
    waived: str = ""

    @property
    def where(self) -> str:
        """The place in words."""
        place = "/".join(part for part in (self.subject, self.session) if part) or self.project
        return f"{place} scan {self.scan}" if self.scan else place

    def line(self) -> str:
        return f"Finding {self.rule}, {self.severity}, {self.where or 'everywhere'}: {self.sentence}"

    def card(self) -> Html:
        """The rule, how serious, where, and what to do."""
        told = {"severity": self.severity, "where": self.where, "what": self.sentence}
        told |= {"element": self.element} if self.element else {}
        told |= {"waived": self.waived} if self.waived else {"remedy": self.remedy}
        return pairs(told, f"{self.rule} {RULES[self.rule].title}")


def finding(rule: str, sentence: str, **more) -> Finding:
    """A finding with the severity and the remedy of its rule, unless ``more`` says otherwise."""
    about = RULES[rule]
    return Finding(**{"rule": rule, "severity": about.severity, "remedy": about.remedy, "sentence": sentence, **more})


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The most serious first, then by rule and place."""
    return tuple(
        sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.rule, one.subject, one.session, one.scan))
    )


def findings_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row per finding, with FINDING_COLUMNS."""
    return frame((one.model_dump() for one in findings), FINDING_COLUMNS)


def recorded_findings(planned: Iterable[BaseModel], run: pd.DataFrame | None) -> pd.DataFrame:
    """What a record keeps: the findings of a plan, and in place of its sample what a run saw in every file."""
    rows = [one.model_dump() for one in planned]
    if run is not None:
        rows = [row for row in rows if row["rule"][:1] not in ("C", "D", "R")] + run.to_dict("records")
    return frame(({"project": row.get("where", ""), **row} for row in rows), FINDING_COLUMNS)


_LETTERS = re.compile(r"[^\W\d_]+")


def shape_of(text: str) -> str:
    """What a value looks like, without the value.

    >>> shape_of("Mustermann^Erika 1947-03-11")
    'Xxx^Xxx 999-99-99'
    """
    shape = re.sub(r"\d{1,}", lambda run: "9" * min(3, len(run[0])), text[:200])
    shape = _LETTERS.sub(lambda run: ("X" if run[0][0].isupper() else "x") + "x" * min(2, len(run[0]) - 1)
                         if not run[0].isupper() else "X" * min(3, len(run[0])), shape)  # fmt: skip
    shape = re.sub(r"[^\x20-\x7e]+", "?", shape)
    return shape if len(shape) <= 32 else f"{shape[:31]}~"
