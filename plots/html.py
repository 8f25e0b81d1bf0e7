"""HTML files that hold everything they show and reach for nothing: one template engine, one content security policy.

Texts come from strangers: the engine escapes whatever a template puts in, unless it is marked as markup of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from ..core.assets import asset_folder

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(asset_folder("page"))
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, *, style: str, script: str = "", data: Any = None, **values: Any) -> str:
    """Fill a template of `assets/page`; names of files there for `style` and `script`, which alone may act in it.

    `data` becomes JSON that no HTML parser can leave. Everything else is escaped.
    """
    from markupsafe import Markup

    parts = {kind: part(name) for kind, name in (("style", style), ("script", script)) if name}
    allowed = "; ".join(f"{kind}-src {policy_hash(text)}" for kind, text in parts.items())
    policy = f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"
    values |= {kind: Markup(text) for kind, text in {**parts, "policy": policy}.items()}
    if data is not None:
        values["data"] = Markup(_json(data))
    return _environment().get_template(template).render(values)


def part(name: str) -> str:
    """Read a style or script of `assets/page`."""
    return (asset_folder("page") / name).read_text(encoding="utf-8")


def policy_hash(text: str) -> str:
    """Return how a content security policy names a script or style that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(content: Any) -> str:
    """JSON that can stand in a script element: no character of it means anything to an HTML parser."""
    text = json.dumps(content, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
