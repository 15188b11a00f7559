"""/docs: the API's description as one plain page, without scripts and without the internet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; } h3 { margin: 2rem 0 .25rem; font-size: 1rem; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8884; border-radius: 4px; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }
.role { font-weight: normal; opacity: .8; } .method { text-transform: uppercase; }
"""


def docs_page(openapi: Mapping[str, Any], style: str = "/docs.css") -> str:
    """The page.

    Args:
        openapi: what ``FastAPI.openapi()`` gives.
        style: address of the style sheet.

    Example:
        >>> info = {"title": "T", "version": "1"}
        >>> page = docs_page({"info": info, "paths": {"/x": {"get": {"summary": "Read <x>"}}}})
        >>> "Read &lt;x&gt;" in page, "<script" in page
        (True, False)
    """
    return "\n".join(_page(openapi, style))


def _page(openapi: Mapping[str, Any], style: str) -> Iterator[str]:
    info, schemas = openapi["info"], openapi.get("components", {}).get("schemas", {})
    title = f"{escape(info['title'])} {escape(info['version'])}: HTTP API"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<link rel="stylesheet" href="{escape(style)}"></head><body><h1>{title}</h1>'
    yield f"<p>{escape(info.get('description', ''))}</p>"
    yield '<p>For programs: <a href="/openapi.json">openapi.json</a>. With a token, which'
    yield " <code>python -m schwabot.server.tokens add NAME --role viewer</code> makes:</p>"
    yield '<pre>curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/api/v1/status</pre>'
    last = None
    for tag, path, method, operation in operations(openapi):
        if tag != last:
            yield f"<h2>{escape(tag)}</h2>"
            last = tag
        yield from _operation(path, method, operation, schemas)
    yield "<h2>Shapes</h2>"
    for name, schema in sorted(schemas.items()):
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
        yield from _fields(schema)
    yield "</body></html>"


def operations(openapi: Mapping[str, Any]) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """By tag, in the order in which tags come first."""
    found = [
        ((operation.get("tags") or ["other"])[0], path, method, operation)
        for path, item in openapi["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    order = list(dict.fromkeys(one[0] for one in found))
    return sorted(found, key=lambda one: order.index(one[0]))


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    roles = [role for one in operation.get("security", ()) for role in next(iter(one.values()), [])]
    who = f' <span class="role">role {escape(roles[-1])}</span>' if roles else ""
    yield f'<h3><code><span class="method">{escape(method)}</span> {escape(path)}</code>{who}</h3>'
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    asked = [
        (one["name"], f"{one['in']}{', needed' if one.get('required') else ''}", _kind(one.get("schema", {})),
         one.get("description", ""))
        for one in operation.get("parameters", ())
    ]  # fmt: skip
    if asked:
        yield _table(("parameter", "in", "type", ""), asked)
    body = operation.get("requestBody", {}).get("content", {})
    for kind, one in body.items():
        yield f"<p>Body, {escape(kind)}: {_linked(_kind(one.get('schema', {})), schemas)}</p>"
    answers = [
        (str(status), _linked(_kinds(answer.get("content", {})), schemas), escape(answer.get("description", "")))
        for status, answer in operation.get("responses", {}).items()
    ]
    if answers:
        yield _table(("status", "answer", ""), answers, is_html=True)


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    needed = schema.get("required", ())
    rows = [
        (name, _kind(one), "needed" if name in needed else _default(one), _described(one))
        for name, one in schema.get("properties", {}).items()
    ]
    if rows:
        yield _table(("field", "type", "", ""), rows)
    elif "enum" in schema:
        yield f"<p>{escape(_kind(schema))}</p>"


def _described(schema: Mapping[str, Any]) -> str:
    examples = ", ".join(str(one) for one in schema.get("examples", ()))
    return " ".join([str(schema.get("description", "")), *([f"e.g. {examples}"] if examples else [])])


def _default(schema: Mapping[str, Any]) -> str:
    return f"default {json.dumps(schema['default'])}" if "default" in schema else ""


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_kind(one) for one in schema[word]))
    if "enum" in schema:
        return " or ".join(json.dumps(one) for one in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    limits = [f"{sign} {schema[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    return " ".join([kind, *limits])


def _kinds(content: Mapping[str, Any]) -> str:
    return ", ".join(_kind(one.get("schema", {})) for one in content.values())


def _linked(kind: str, schemas: Mapping[str, Any]) -> str:
    last = kind.rpartition(" ")[2]
    if last not in schemas:
        return escape(kind)
    return f'{escape(kind[: len(kind) - len(last)])}<a href="#{escape(last)}">{escape(last)}</a>'


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], is_html: bool = False) -> str:
    def row(cells: tuple[str, ...], tag: str, ready: bool) -> str:
        return f"<tr>{''.join(f'<{tag}>{cell if ready else escape(cell)}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{row(head, 'th', False)}{''.join(row(one, 'td', is_html) for one in rows)}</table>"
