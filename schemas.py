"""JSON Schemas of what the API answers and takes, as the OpenAPI description has them.

They are of JSON Schema 2020-12, as in OpenAPI 3.1. Sources: the simple repository API 1.4 (PEP 691,
700, 714, 792), PyPI's JSON API, and its upload form.
"""

from __future__ import annotations

from typing import Any

from extrapypi.distributions import DIGEST_FIELDS
from extrapypi.listing import API_VERSION
from extrapypi.models import STATUSES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
NOTHING: Schema = {"type": "null"}
TEXTS: Schema = {"type": "array", "items": TEXT}
MAYBE_TEXTS: Schema = {"type": ["array", "null"], "items": TEXT}
NUMBER: Schema = {"type": "integer", "minimum": 0}
TRUTH: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
URL: Schema = {"type": "string", "format": "uri-reference"}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"}


def digest(length: int) -> Schema:
    """A digest of so many hex digits."""
    return {"type": "string", "pattern": f"^[0-9a-f]{{{length}}}$"}


def record(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object with these keys and no other ones; an underscore of the latter is a dash."""
    more = {name.replace("_", "-"): schema for name, schema in optional.items()}
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **more},
        "additionalProperties": False,
    }


def listed(name: str) -> Schema:
    """An array of what the schema of this name describes."""
    return {"type": "array", "items": ref(name)}


def ref(name: str) -> Schema:
    """The schema of this name, in its place in the description."""
    return {"$ref": f"#/components/schemas/{name}"}


SHA256 = digest(64)
METADATA = record({"sha256": SHA256})
META = record({"api-version": {"const": API_VERSION}, "_last-serial": NUMBER})
MAINTAINER = record({"role": {"const": "Maintainer"}, "user": TEXT})
DOWNLOADS = record({period: {"const": -1} for period in ("last_day", "last_month", "last_week")})

SCHEMAS: dict[str, Schema] = {
    "Error": record({"code": TEXT, "message": TEXT, "title": TEXT}),
    "ProjectList": record({"meta": META, "projects": listed("ListedProject")}),
    "ListedProject": record({"name": NAME, "_last-serial": NUMBER}),
    "Project": record(
        {
            "meta": META,
            "name": NAME,
            "project-status": record({"status": {"enum": list(STATUSES)}}, reason=TEXT),
            "versions": TEXTS,
            "files": listed("File"),
        }
    ),
    "File": record(
        {
            "filename": TEXT,
            "url": URL,
            "hashes": record({"sha256": SHA256}),
            "size": NUMBER,
            "upload-time": MOMENT,
            "yanked": {"type": ["boolean", "string"]},
        },
        requires_python=TEXT,
        core_metadata=METADATA,
    ),
    "Release": record(
        {
            "info": ref("ReleaseInfo"),
            "last_serial": NUMBER,
            "urls": listed("ReleaseFile"),
            "vulnerabilities": {"type": "array", "maxItems": 0},
            "ownership": record(
                {
                    "roles": {"type": "array", "items": MAINTAINER},
                    "organization": NOTHING,
                }
            ),
        },
        releases={"type": "object", "additionalProperties": listed("ReleaseFile")},
    ),
    "ReleaseInfo": record(
        {
            **dict.fromkeys(("author", "author_email", "maintainer", "maintainer_email"), TEXT),
            **dict.fromkeys(("name", "summary", "version", "description"), TEXT),
            **dict.fromkeys(("package_url", "project_url", "release_url"), URL),
            **dict.fromkeys(("bugtrack_url", "docs_url"), NOTHING),
            **dict.fromkeys(("description_content_type", "download_url"), MAYBE_TEXT),
            **dict.fromkeys(("home_page", "keywords", "license"), MAYBE_TEXT),
            **dict.fromkeys(("license_expression", "platform"), MAYBE_TEXT),
            **dict.fromkeys(("requires_python", "yanked_reason"), MAYBE_TEXT),
            **dict.fromkeys(("classifiers", "dynamic", "license_files"), TEXTS),
            "provides_extra": TEXTS,
            "requires_dist": MAYBE_TEXTS,
            "project_urls": {"type": ["object", "null"], "additionalProperties": TEXT},
            "downloads": DOWNLOADS,
            "yanked": TRUTH,
        }
    ),
    "ReleaseFile": record(
        {
            **dict.fromkeys(("comment_text", "filename", "python_version"), TEXT),
            "digests": record({"blake2b_256": SHA256, "md5": digest(32), "sha256": SHA256}),
            "downloads": {"const": -1},
            "has_sig": {"const": False},
            "md5_digest": digest(32),
            "packagetype": {"enum": ["bdist_wheel", "sdist"]},
            "requires_python": MAYBE_TEXT,
            "size": NUMBER,
            "upload_time": TEXT,
            "upload_time_iso_8601": MOMENT,
            "url": URL,
            "yanked": TRUTH,
            "yanked_reason": MAYBE_TEXT,
        },
        core_metadata=METADATA,
    ),
    "Upload": {
        "type": "object",
        "description": "The form of twine. It may have all fields of the core metadata besides; "
        "what it says has to agree with what the file says. One digest at least is needed.",
        "required": [
            *(":action", "metadata_version", "name", "version", "filetype", "content"),
        ],
        "anyOf": [{"required": [name]} for name in DIGEST_FIELDS],
        "properties": {
            ":action": {"const": "file_upload"},
            "protocol_version": {"const": "1"},
            "metadata_version": {"type": "string", "examples": ["2.4"]},
            "name": {"type": "string", "examples": ["my-project"]},
            "version": {"type": "string", "examples": ["0.1.0"]},
            "filetype": {"enum": ["bdist_wheel", "sdist"]},
            "pyversion": {"type": "string", "examples": ["py3", "source"]},
            "sha256_digest": SHA256,
            "blake2_256_digest": SHA256,
            "md5_digest": digest(32),
            "content": {
                "type": "string",
                "contentMediaType": "application/octet-stream",
                "description": "The wheel or sdist, with its file name",
            },
        },
    },
}
