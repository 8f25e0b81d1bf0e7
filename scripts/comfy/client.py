"""Talk to a ComfyUI server as its page does: `/prompt`, the websocket, `/view`."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .graph import to_prompt


class PromptRefused(RuntimeError):
    """The server refused a prompt; `details` is what it answered."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(json.dumps(details, indent=1)[:3000])
        self.details = details

    @property
    def message(self) -> str:
        """What is wrong with the first input that was refused, in the shape of the pack's own errors."""
        found = [error for node in self.details.get("node_errors", {}).values() for error in node["errors"]]
        if not found:
            return json.dumps(self.details)
        about = found[0].get("extra_info", {})
        return f"{about.get('input_name')}: {found[0]['message']}. Found: {about.get('received_value')!r}."


@dataclass
class RunResult:
    """What came over the websocket for one prompt.

    Attributes:
        status: `"success"`, `"error"` or `"interrupted"`.
        outputs: node id to its `ui` values.
        cached: ids of nodes that were not run again.
        error: the `execution_error` message.
        previews: number of preview pictures received.
        progress: (value, maximum) of every progress message.
        refused: node id to what the server has against it, of nodes it did not run while it ran others.
    """

    status: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)
    error: dict[str, Any] = field(default_factory=dict)
    previews: int = 0
    progress: list[tuple[float, float]] = field(default_factory=list)
    refused: dict[str, Any] = field(default_factory=dict)


# Save LoRA Weights, and what ComfyUI 0.3.64 calls it
SAVE_LORA = ("SaveLoRA", "SaveLoRANode")


class ComfyClient:
    """A client of one server."""

    def __init__(self, address: str) -> None:
        self.address, self.id = address, uuid.uuid4().hex

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, content: Any) -> Any:
        data = json.dumps(content).encode()
        request = urllib.request.Request(f"{self.address}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
        except urllib.error.HTTPError as e:
            raise PromptRefused(json.loads(e.read() or b"{}")) from e
        return json.loads(body) if body else None

    def file(self, entry: dict[str, str]) -> bytes:
        """Return the contents of a file that a node's `ui` names."""
        query = urllib.parse.urlencode(entry)
        with urllib.request.urlopen(f"{self.address}/view?{query}", timeout=60) as answer:
            return answer.read()

    def run_workflow(self, workflow: dict[str, Any], **options: Any) -> RunResult:
        """Run a workflow as saved by the page."""
        return self.run(to_prompt(workflow, self.get("/object_info")), workflow=workflow, **options)

    def run(
        self,
        prompt: dict[str, Any],
        *,
        workflow: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        on_message: Callable[[str, dict[str, Any]], None] | None = None,
        seconds: float = 300,
    ) -> RunResult:
        """Submit a prompt in the API format and follow it to its end. Raises PromptRefused.

        `workflow` or `extra`, in its place, goes with it as the page's `extra_data`.
        """
        if workflow is not None:
            extra = {"extra_pnginfo": {"workflow": workflow}}
        return asyncio.run(asyncio.wait_for(self._run(prompt, extra, on_message), seconds))

    async def _run(
        self,
        prompt: dict[str, Any],
        extra: dict[str, Any] | None,
        on_message: Callable[[str, dict[str, Any]], None] | None,
    ) -> RunResult:
        import aiohttp

        result = RunResult()
        url = f"{self.address.replace('http', 'ws')}/ws?clientId={self.id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
            body: dict[str, Any] = {"prompt": prompt, "client_id": self.id}
            if extra is not None:
                body["extra_data"] = extra
            answer = await asyncio.to_thread(self.post, "/prompt", body)
            prompt_id, result.refused = answer["prompt_id"], answer.get("node_errors") or {}
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    result.previews += 1
                    continue
                event = json.loads(message.data)
                kind, data = event["type"], event["data"]
                if data.get("prompt_id", prompt_id) != prompt_id:
                    continue
                if on_message is not None:
                    await asyncio.to_thread(on_message, kind, data)
                if _record(result, kind, data):
                    return result
        raise RuntimeError("The server closed the connection.")

    def refusal(self, prompt: dict[str, Any]) -> str:
        """Why a prompt fails, `input: ... Found: value`: said by its node, or by a host that checks the value first.

        ComfyUI checks lists of nodes like ours since 0.8. Raises RuntimeError when it does not fail.
        """
        try:
            result = self.run(prompt)
        except PromptRefused as refused:
            return refused.message
        if result.status != "error":
            raise RuntimeError(f"The prompt should have failed; it ended with {result.status}.")
        return result.error["exception_message"]

    def node_id(self, *names: str) -> str:
        """Return the first of these nodes that the host has: some were renamed. Raises RuntimeError for none."""
        known = self.get("/object_info")
        for name in names:
            if name in known:
                return name
        raise RuntimeError(f"The host has none of {', '.join(names)}.")

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def free(self) -> None:
        """Ask the server to unload models and forget cached outputs, as its button does, and wait until it has.

        Its worker looks at such requests after each prompt and when one wakes it, but it sleeps through one that comes
        between its last look and its sleep. So a prompt of nothing follows: after that it has looked.
        """
        self.post("/free", {"unload_models": True, "free_memory": True})
        self.run({"1": {"class_type": "PreviewAny", "inputs": {"source": "nothing"}}})


def _record(result: RunResult, kind: str, data: dict[str, Any]) -> bool:
    """Note one message; True when the run has ended."""
    if kind == "execution_cached":
        result.cached = data["nodes"]
    elif kind == "progress":
        result.progress.append((data["value"], data["max"]))
    elif kind == "executed":
        result.outputs[data["node"]] = data["output"]
    elif kind in ("execution_success", "execution_error", "execution_interrupted"):
        result.status = kind.removeprefix("execution_")
        result.error = data if kind == "execution_error" else {}
        return True
    return False
