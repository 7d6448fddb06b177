"""The OpenAPI and AsyncAPI documents as one page for people: plain HTML, no script, nothing loaded from elsewhere.

Every text of the documents is escaped where it enters the page; the little Markdown that descriptions use (paragraphs,
tables, bold, code) is applied after that.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final

from chatserver.errors import ERROR_MEANINGS, HTTP_STATUS
from policies.refusals import REFUSALS

Document = Mapping[str, Any]

STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--accent:#0a66c2}
@media(prefers-color-scheme:dark){:root{--accent:#7ab8ff}}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem 1rem 6rem}
h1{font-size:1.7rem}h2{margin-top:3rem;border-bottom:2px solid var(--line)}h3{margin-top:2.2rem}
a{color:var(--accent)}code,pre{font:0.87em ui-monospace,monospace;background:var(--soft);border-radius:4px}
code{padding:.1em .3em;overflow-wrap:anywhere}pre{padding:.8rem;overflow-x:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid var(--line);padding:.35rem .5rem;text-align:left;vertical-align:top}
nav ul{columns:2;list-style:none;padding:0}nav a{overflow-wrap:anywhere}
.method{font-weight:700;margin-right:.5rem}:target{background:var(--soft)}
"""
CSP: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
_METHODS: Final = ("get", "put", "post", "delete", "patch")


def page(openapi: Document, asyncapi: Document) -> str:
    """The whole page."""
    title = escape(str(openapi["info"]["title"]))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><h1>{title}</h1>"
        f"{markdown(openapi['info'].get('description', ''))}"
        '<p>For machines: <a href="/openapi.json">OpenAPI</a>, <a href="/asyncapi.json">AsyncAPI</a>.</p>'
        f"{_contents(openapi, asyncapi)}{_http(openapi)}{_webhooks(openapi)}{_websocket(asyncapi)}{_errors()}"
        f"{_schemas('HTTP', openapi)}{_schemas('WebSocket', asyncapi)}</main></body></html>"
    )


def markdown(text: str) -> str:
    """Paragraphs, tables, ``**bold**`` and ``code`` of a description, as HTML."""
    return "".join(_block(block) for block in text.strip().split("\n\n") if block.strip())


def _block(block: str) -> str:
    lines = block.strip().splitlines()
    if len(lines) > 1 and lines[0].startswith("|") and set(lines[1]) <= set("|-: "):
        head, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in (lines[0], *lines[2:]))
        return _table(map(_inline, head), ([_inline(cell) for cell in row] for row in rows))
    return f"<p>{_inline(' '.join(lines))}</p>"


def _inline(text: str) -> str:
    parts = re.split(r"`([^`]+)`", text)
    return "".join(f"<code>{escape(part)}</code>" if odd % 2 else _bold(escape(part)) for odd, part in enumerate(parts))


def _bold(escaped: str) -> str:
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _anchor(*parts: str) -> str:
    return escape(re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts)).strip("-"))


def _routes(openapi: Document) -> Iterator[tuple[str, str, Document]]:
    for path, item in openapi["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def _contents(openapi: Document, asyncapi: Document) -> str:
    http = (
        f'<li><a href="#{_anchor(method, path)}">{escape(method)} {escape(path)}</a></li>'
        for method, path, _ in _routes(openapi)
    )
    frames = (
        f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name in sorted(asyncapi["components"]["messages"])
    )
    told = '<ul><li><a href="#webhooks">Webhooks</a></li></ul>' if openapi.get("webhooks") else ""
    return f"<nav><h2>Contents</h2><ul>{''.join(http)}</ul>{told}<ul>{''.join(frames)}</ul></nav>"


def _http(openapi: Document) -> str:
    return '<h2 id="http">HTTP</h2>' + "".join(_operation(*route) for route in _routes(openapi))


def _operation(method: str, path: str, operation: Document) -> str:
    address = f'<span class="method">{escape(method)}</span><code>{escape(path)}</code>'
    parts = [
        f'<h3 id="{_anchor(method, path)}">{address}</h3>',
        f"<p><strong>{_inline(operation.get('summary', ''))}</strong></p>",
        markdown(operation.get("description", "")),
    ]
    if parameters := operation.get("parameters"):
        rows = (
            (
                f"<code>{escape(each['name'])}</code>",
                escape(each["in"]),
                _type(each.get("schema", {}), "HTTP"),
                _inline(each.get("description", "")),
            )
            for each in parameters
        )
        parts.append(_table(("parameter", "in", "type", "meaning"), rows))
    if body := operation.get("requestBody"):
        parts.append(f"<p>Body: {_content(body)}</p>")
    answers = (
        (escape(str(status)), _content(response), _inline(response.get("description", "")))
        for status, response in operation.get("responses", {}).items()
    )
    parts.append(_table(("status", "body", "meaning"), answers))
    return "".join(parts)


def _webhooks(openapi: Document) -> str:
    """What the server sends: each type with its data."""
    parts = []
    for name, item in openapi.get("webhooks", {}).items():
        (operation,) = item.values()
        ((_, media),) = operation["requestBody"]["content"].items()
        data = media["schema"]["properties"]["data"]
        parts.append(f'<h3 id="{_anchor("webhook", name)}"><code>{escape(name)}</code></h3>')
        parts.append(f"{markdown(operation['description'])}<p>Data: {_type(data, 'HTTP')}</p>")
    return '<h2 id="webhooks">Webhooks</h2>' + "".join(parts) if parts else ""


def _content(holder: Document) -> str:
    return ", ".join(
        f"{_type(media.get('schema', {}), 'HTTP')} <code>{escape(kind)}</code>"
        for kind, media in holder.get("content", {}).items()
    )


def _websocket(asyncapi: Document) -> str:
    parts = ['<h2 id="websocket">WebSocket</h2>', markdown(asyncapi["info"]["description"])]
    addresses = (channel["address"] for channel in asyncapi["channels"].values())
    parts.extend(f"<p>Address: <code>{escape(address)}</code></p>" for address in addresses)
    replies = {
        operation["messages"][0]["$ref"].rpartition("/")[2]: operation.get("reply", {}).get("messages", ())
        for operation in asyncapi["operations"].values()
    }
    for name, message in asyncapi["components"]["messages"].items():
        parts.append(f'<h3 id="{_anchor(name)}"><code>{escape(name)}</code></h3>{markdown(message.get("summary", ""))}')
        parts.append(f"<p>Payload: {_type(message['payload'], 'WebSocket')}</p>")
        if answered := replies.get(name):
            links = (each["$ref"].rpartition("/")[2] for each in answered)
            parts.append(
                "<p>Answers: " + ", ".join(f'<a href="#{_anchor(to)}">{escape(to)}</a>' for to in links) + "</p>"
            )
        parts.extend(f"<pre>{_json(example['payload'])}</pre>" for example in message.get("examples", ()))
    parts.append('<h3 id="entry-bodies">What the body of an entry holds</h3>')
    bodies = asyncapi.get("x-entry-bodies", {})
    parts.append(
        _table(("kind", "body"), ((_inline(f"`{kind}`"), _type(body, "WebSocket")) for kind, body in bodies.items()))
    )
    return "".join(parts)


def _errors() -> str:
    rows = (
        (f'<code id="{_anchor(code)}">{escape(code)}</code>', str(int(HTTP_STATUS[code])), _inline(meaning))
        for code, meaning in ERROR_MEANINGS.items()
    )
    rules = (
        (f'<code id="{_anchor("rule", rule)}">{escape(rule)}</code>', _inline(meaning))
        for rule, meaning in REFUSALS.items()
    )
    return (
        '<h2 id="errors">Errors</h2>'
        + _table(("code", "HTTP status", "meaning"), rows)
        + '<h3 id="rules">Rules of <code>refused</code></h3>'
        + _table(("<code>details.rule</code>", "meaning, and what else <code>details</code> say"), rules)
    )


def _schemas(family: str, document: Document) -> str:
    schemas = document.get("components", {}).get("schemas", {})
    return f"<h2>{escape(family)} schemas</h2>" + "".join(
        _schema(family, name, schemas[name]) for name in sorted(schemas)
    )


def _schema(family: str, name: str, schema: Document) -> str:
    parts = [
        f'<h3 id="{_anchor(family, name)}"><code>{escape(name)}</code></h3>',
        markdown(schema.get("description", "")),
    ]
    if "properties" not in schema:
        parts.append(f"<p>{_type(schema, family)}</p>")
        return "".join(parts)
    required = schema.get("required", ())
    rows = (
        (
            f"<code>{escape(field)}</code>" + ("" if field in required else " <em>optional</em>"),
            _type(inner, family),
            _inline(inner.get("description", "")),
        )
        for field, inner in schema["properties"].items()
    )
    parts.append(_table(("field", "type", "meaning"), rows))
    return "".join(parts)


def _type(schema: Any, family: str) -> str:
    """A schema in a few words, as HTML."""
    if not isinstance(schema, Mapping):
        return "anything"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(family, name)}">{escape(name)}</a>'
    if "const" in schema:
        return f"<code>{_json(schema['const'])}</code>"
    if "enum" in schema:
        return ", ".join(f"<code>{_json(value)}</code>" for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_type(each, family) for each in schema[union])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items'), family)}"
    return escape(str(schema.get("type", "anything"))) + _bounds(schema)


def _bounds(schema: Document) -> str:
    known = (
        "format",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
    )
    found = [f"{name} <code>{escape(str(schema[name]))}</code>" for name in known if name in schema]
    return f" ({', '.join(found)})" if found else ""


def _json(value: object) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False))
