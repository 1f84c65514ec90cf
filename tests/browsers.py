"""People at their browsers: logged in, sending forms, and looking what installers see."""

from __future__ import annotations

import re

import webtest
from conftest import USERS

TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Browser(webtest.TestApp):
    """A browser of a role's user; of nobody without a role."""

    def __init__(self, app, role: str = "", **environ: str) -> None:
        super().__init__(app, extra_environ={"REMOTE_ADDR": "127.0.0.1", **environ})
        self.form_token = ""
        if role:
            self.log_in(role)

    def log_in(self, username: str, password: str = "", **fields: str) -> webtest.TestResponse:
        """Logs in; the token of the session's forms is kept."""
        form = {"username": username, "password": password or USERS[username], **fields}
        answer = self.post("/dashboard/login", form, status=303)
        self.form_token = TOKEN.search(self.get("/dashboard/logout").text)[1]
        return answer

    def send(self, path: str, code: int = 303, /, **fields: str) -> webtest.TestResponse:
        """The answer to a form of this session."""
        return self.post(path, {"form_token": self.form_token, **fields}, status=code)

    def message(self, answer: webtest.TestResponse) -> str:
        """What the page says to which an answer leads."""
        return answer.follow().html.find("p", class_="success").text


def fault(answer: webtest.TestResponse, field: str) -> str:
    """What the page says beside a field, which refers to it."""
    control = answer.html.find(attrs={"name": field, "aria-invalid": "true"})
    ids = control["aria-describedby"].split()
    return " ".join(answer.html.find(id=each).text for each in ids if each.endswith("-fault"))


def offered(client, project: str = "demo-pkg") -> dict[str, object]:
    """What installers see: file name to yanked or not; {} when there is no such project."""
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    answer = client.get(f"/simple/{project}/", headers=headers, status="*")
    if answer.status_int == 404:
        return {}
    return {file["filename"]: file.get("yanked", False) for file in answer.json["files"]}
