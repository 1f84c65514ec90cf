"""GET below the upload URL: what tools print after publishing, and people try in a browser."""

from __future__ import annotations

from bottle import HTTPResponse

from extrapypi.views import normalized, redirect, render, root


def help_page(site, actor):
    """GET /legacy/"""
    body = render(site, "legacy/help_page.html", root=root(), username=actor.username or "USER")
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return HTTPResponse(body, 200, headers)


def project(site, actor, project, version=None):
    """GET /legacy/<project>/, /legacy/<project>/<version>/ and (flit) /project/<project>/"""
    name = normalized(project)
    if not site.config.DASHBOARD:
        return redirect(f"/simple/{name}/")
    return redirect(f"/dashboard/packages/{name}/{f'{version}/' if version else ''}")
