"""A workflow as the page saves it, to the prompt the server runs."""

from __future__ import annotations

from typing import Any

_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_NOT_RUN = ("Note", "MarkdownNote")
_MUTED, _BYPASSED = 2, 4


def widget_names(info: dict[str, Any]) -> list[str | None]:
    """Names of a node's widgets in the order their values are saved; None is the seed's own control."""
    names: list[str | None] = []
    for section in ("required", "optional"):
        for name, spec in info["input"].get(section, {}).items():
            kind, options = spec[0], spec[1] if len(spec) > 1 else {}
            if options.get("forceInput") or not (isinstance(kind, list) or kind in _WIDGETS):
                continue
            names.append(name)
            if options.get("control_after_generate"):
                names.append(None)
    return names


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the API form of a workflow. Raises KeyError for a node the server does not know."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: dict[str, Any] = {}
    for node in workflow["nodes"]:
        if node["type"] in _NOT_RUN or node.get("mode") in (_MUTED, _BYPASSED):
            continue
        info, values = object_info[node["type"]], node.get("widgets_values", [])
        names = widget_names(info)
        # a workflow saved before an optional widget came has no value for it, and the page takes its default
        if all(name in info["input"].get("optional", {}) for name in names[len(values) :]):
            names = names[: len(values)]
        inputs = {name: value for name, value in zip(names, values, strict=True) if name is not None}
        for slot in node.get("inputs", []):
            if slot.get("link") is not None:
                inputs[slot["name"]] = links[slot["link"]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
