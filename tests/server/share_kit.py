"""Two projects between which items are shared and moved."""

from __future__ import annotations


class Pair:
    """SRC, a study, and DST, owned by SRC's owner and by ``there``, who has no role in SRC. SRC's member is DST's, too.

    ``far`` is a project of ``there`` alone in which SRC's owner may only read.
    """

    def __init__(self, study) -> None:
        person = study.person
        self.study, self.person, self.owner, self.there = study, person, person("owner"), person("outsider")
        self.src, self.dst, self.far = study.name, f"{study.name}_DST", f"{study.name}_FAR"
        self.allow(self.owner, self.dst, there="Owners", member="Members")
        self.allow(self.there, self.far, owner="Collaborators")
        self.ids = self.study.ids
        self.subject = f"/data/projects/{self.src}/subjects/S01"
        self.session = f"{self.subject}/experiments/S01_MR1"
        self.below = f"/data/projects/{self.dst}"

    def allow(self, maker, project: str, **groups: str) -> None:
        assert maker.put(f"/data/projects/{project}").status_code == 200
        for role, group in groups.items():
            login = self.person("outsider" if role == "there" else role).login
            assert maker.put(f"/data/projects/{project}/users/{group}/{login}").status_code == 200

    def share(self, item: str, label: str = "", who=None) -> int:
        return (
            (who or self.owner).put(f"{item}/projects/{self.dst}", params={"label": label} if label else {}).status_code
        )

    def projects(self, item: str) -> dict[str, str]:
        """Project to label, of an item."""
        return {row["ID"]: row["label"] for row in self.owner.rows(f"{item}/projects")}

    def status(self, path: str, who=None) -> int:
        return (who or self.there).get(path, params={"format": "json"}).status_code

    def whole(self) -> list[str]:
        """What the checker of the server finds wrong."""
        return self.owner.get("/_check", params={"contents": "true"}).json()
