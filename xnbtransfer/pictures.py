"""Pictures of a transfer, as PNG with a title, units and a text that says the same to whoever cannot see them.

JupyterLab strips SVG from a notebook it does not trust, so a picture is a PNG. Colours can be told apart without colour
vision and in print, and every bar has its number.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .diff import Diff, Status
from .markup import Html, duration, escape, size
from .plan import Plan
from .values import Inventory, Result, Verdict

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#6e7781")
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--")
_OF_STATUS = {
    Status.SAME: "#009e73",
    Status.ONLY_SOURCE: "#0072b2",
    Status.ONLY_DESTINATION: "#6e7781",
    Status.DIFFERS: "#e69f00",
    Status.CONFLICT: "#d55e00",
    Status.CANNOT_TELL: "#cc79a7",
}
_OF_VERDICT = {
    Verdict.EQUAL: "#009e73",
    Verdict.EXPLAINED: "#0072b2",
    Verdict.DIFFERENT: "#d55e00",
    Verdict.NOT_PROVED: "#e69f00",
}
_MANY = 25


class Picture:
    """A PNG with its title and the text that tells the same.

    Attributes
    ----------
    name : str
        Of the file in the record, without ending.
    png : bytes
    title, alt : str
    """

    def __init__(self, name: str, png: bytes, title: str, alt: str) -> None:
        self.name, self.png, self.title, self.alt = name, png, title, alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": f"{self.title}: {self.alt}"}
        return data, {"image/png": {"alt": f"{self.title}: {self.alt}"}}

    def caption(self) -> Html:
        """The text below the picture."""
        return Html(f"<p><i>{escape(self.title)}.</i> {escape(self.alt)}</p>", f"{self.title}. {self.alt}")

    def save(self, folder: str | Path) -> Path:
        """Write the PNG into a folder."""
        path = Path(folder) / f"{self.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.png)
        return path


def months(inventory: Inventory) -> Picture | None:
    """Sessions and bytes of an inventory by month and modality; by year where there are many months."""
    rows = inventory.sessions
    if rows.empty:
        return None
    table = pd.DataFrame(
        {
            "when": rows["date"].str.slice(0, 7).replace("", "no date"),
            "modality": rows["modality"].replace("", "unknown"),
            "size_bytes": rows["size_bytes"],
        }
    )
    span = "month"
    if table["when"].nunique() > _MANY:
        span, table["when"] = "year", table["when"].str.slice(0, 4).replace("no d", "no date")
    kinds = list(table["modality"].value_counts().index)
    if len(kinds) > len(_COLOURS):
        rare = set(kinds[len(_COLOURS) - 1 :])
        table["modality"] = table["modality"].where(~table["modality"].isin(rare), "others")
        kinds = [*kinds[: len(_COLOURS) - 1], "others"]
    counts = table.pivot_table(index="when", columns="modality", values="size_bytes", aggfunc="count", fill_value=0)
    sums = table.pivot_table(index="when", columns="modality", values="size_bytes", aggfunc="sum", fill_value=0)
    unit, factor = _unit(int(sums.sum(axis=1).max()))
    title = f"{inventory.project}: sessions and data by {span} and modality"
    figure, (upper, lower) = _figure(title, 2)
    for axes, frame, scale in ((upper, counts, 1.0), (lower, sums, factor)):
        base = [0.0] * len(frame)
        for kind, colour, hatch in zip(kinds, _COLOURS, _HATCHES, strict=False):
            heights = [value / scale for value in frame[kind]]
            axes.bar(
                range(len(frame)),
                heights,
                bottom=base,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.5,
                label=kind,
                width=0.8,
            )
            base = [a + b for a, b in zip(base, heights, strict=True)]
        top = max(base) or 1
        axes.set_ylim(0, top * 1.18)
        if len(frame) <= _MANY:
            for at, height in enumerate(base):
                text = f"{height:.0f}" if scale == 1.0 else f"{height:.3g}"
                axes.text(at, height + top * 0.02, text, ha="center", va="bottom", fontsize=8)
        axes.set_xlim(-0.6, max(len(frame), 6) - 0.4)
        axes.set_xticks(range(len(frame)), list(frame.index), rotation=45, ha="right", fontsize=8)
    upper.set_ylabel("sessions")
    lower.set_ylabel(f"data ({unit})")
    upper.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, title="modality")
    upper.tick_params(labelbottom=False)
    lower.set_xlabel(span)
    told = ", ".join(
        f"{int(counts.loc[when].sum())} in {when} ({size(int(sums.loc[when].sum()))})" for when in counts.index[:_MANY]
    )
    of_kind = ", ".join(f"{int(counts[kind].sum())} {kind}" for kind in kinds)
    return _picture(figure, "months", title, f"{len(rows)} sessions: {of_kind}. By {span}: {told}.")


def sides(differences: Diff) -> Picture | None:
    """Both sides beside each other: how many sessions of each status the source and the destination hold."""
    rows = differences.sessions
    if rows.empty:
        return None
    found = []
    for status in Status:
        part = rows[rows["status"] == status]
        if part.empty:
            continue
        here = part[part["session"] != ""]
        there = part if status != Status.ONLY_SOURCE else part[part["files_destination"] > 0]
        there = there[there["scans_destination"] > 0]
        found.append(
            (
                status,
                len(here),
                len(there),
                int(here["size_bytes_source"].sum()),
                int(there["size_bytes_destination"].sum()),
            )
        )
    title = "Sessions on both sides, by how they compare"
    figure, (axes,) = _figure(title, 1, height=0.5 * len(found) + 1.3)
    most = max(max(here, there) for _, here, there, _, _ in found) or 1
    for at, (status, here, there, here_bytes, there_bytes) in enumerate(found):
        colour = _OF_STATUS[status]
        axes.barh(at, -here, color=colour, height=0.62)
        axes.barh(at, there, color=colour, height=0.62, hatch="//", edgecolor="white", linewidth=0.5)
        axes.text(-here - most * 0.03, at, f"{here} ({size(here_bytes)})", ha="right", va="center", fontsize=8)
        axes.text(there + most * 0.03, at, f"{there} ({size(there_bytes)})", ha="left", va="center", fontsize=8)
    axes.axvline(0, color="#1f2328", linewidth=0.8)
    axes.set_xlim(-most * 1.55, most * 1.55)
    axes.set_yticks(range(len(found)), [str(row[0]) for row in found], fontsize=9)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.set_xlabel("←  sessions at the source          sessions at the destination  →")
    told = "; ".join(
        f"{status}: {here} at the source ({size(a)}), {there} at the destination ({size(b)})"
        for status, here, there, a, b in found
    )
    return _picture(figure, "sides", title, f"{told}.")


def rate(timeline: Sequence[tuple[float, int]], total_bytes: int = 0) -> Picture | None:
    """How much was sent when, and how fast. ``timeline`` holds seconds since the start and bytes sent so far."""
    points = [(0.0, 0), *((float(at), int(count)) for at, count in timeline)]
    if len(points) < 2 or not points[-1][1]:
        return None
    end = max(points[-1][0], 0.001)
    time_unit, per = ("h", 3600.0) if end > 7200 else ("min", 60.0) if end > 120 else ("s", 1.0)
    unit, factor = _unit(max(points[-1][1], total_bytes))
    title = "Data sent over the run"
    figure, (upper, lower) = _figure(title, 2, height=3.6)
    upper.step([at / per for at, _ in points], [count / factor for _, count in points], where="post", color=_COLOURS[0])
    if total_bytes:
        upper.axhline(total_bytes / factor, color="#6e7781", linestyle="--", linewidth=1)
        upper.text(0, total_bytes / factor, " all of the plan", va="bottom", fontsize=8, color="#57606a")
        upper.set_ylim(0, total_bytes / factor * 1.2)
    bins = min(40, max(4, len(points) // 2))
    sums = [0] * bins
    for (_, before), (at, count) in zip(points, points[1:], strict=False):
        sums[min(bins - 1, int(at / end * bins))] += count - before
    wide = end / bins
    fast = [count / wide for count in sums]
    fast_unit, fast_factor = _unit(int(max(fast)))
    lower.bar(
        [(at + 0.5) * wide / per for at in range(bins)],
        [value / fast_factor for value in fast],
        width=wide / per * 0.9,
        color=_COLOURS[4],
    )
    upper.set_ylabel(f"sent ({unit})")
    lower.set_ylabel(f"rate ({fast_unit}/s)")
    lower.set_xlabel(f"time since the start ({time_unit})")
    upper.tick_params(labelbottom=False)
    upper.sharex(lower)
    mean = points[-1][1] / end
    alt = f"{size(points[-1][1])} were sent in {duration(end)}, {size(round(mean))} a second on average"
    return _picture(figure, "rate", title, f"{alt}; the fastest part at {size(round(max(fast)))} a second.")


def rate_of(plan: Plan, result: Result | None) -> Picture | None:
    """How much of a plan a run sent when; None where nothing was sent."""
    return rate(result.timeline, plan.totals["size_bytes"]) if result is not None else None


def verdicts(result: Result | None) -> Picture | None:
    """Files by verdict: as a whole, and by session where there are few; None where nothing was judged."""
    if result is None:
        return None
    total = sum(result.counts.values())
    if not total:
        return None
    sessions = result.sessions[result.sessions["files"] > 0]
    lines: list[tuple[str, dict[str, int]]] = [("all files", result.counts)]
    if 1 < len(sessions) <= _MANY:
        names = dict(zip(("equal", "explained", "different", "not_proved"), Verdict, strict=True))
        lines += [
            (f"{row['subject']}/{row['session']}", {str(word): int(row[name]) for name, word in names.items()})
            for row in sessions.to_dict("records")
        ]
    title = f"Verdicts on {total} files"
    figure, (axes,) = _figure(title, 1, height=0.34 * len(lines) + 1.5)
    for at, (_, counts) in enumerate(lines):
        whole, left = sum(counts.values()) or 1, 0.0
        for (word, colour), hatch in zip(_OF_VERDICT.items(), ("", "//", "xx", ".."), strict=True):
            share = 100 * counts.get(str(word), 0) / whole
            if share:
                axes.barh(at, share, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, height=0.7)
                left += share
        axes.text(101, at, f"{sum(counts.values())}", va="center", fontsize=8)
    from matplotlib.patches import Patch

    known = zip(_OF_VERDICT.items(), ("", "//", "xx", ".."), strict=True)
    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=f"{word}: {result.counts[word]}")
        for (word, colour), hatch in known
    ]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.06, 1.0), fontsize=8, frameon=False)
    axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=8)
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.set_xlabel("share of the files (%); the number of files stands at the end of each bar")
    told = ", ".join(f"{count} {word}" for word, count in result.counts.items())
    return _picture(figure, "verdicts", title, f"{told}, together {total}.")


def _unit(count: int) -> tuple[str, float]:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return unit, factor
    return "bytes", 1.0


def _figure(title: str, panels: int, height: float = 4.4) -> tuple[Any, Any]:
    """A figure that belongs to no window and to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, height), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
        one.xaxis.label.set_size(9)
        one.yaxis.label.set_size(9)
    return figure, axes


def _picture(figure: Any, name: str, title: str, alt: str) -> Picture:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Title": title, "Description": alt, "Software": None})
    return Picture(name, stream.getvalue(), title, alt)
