"""Start ComfyUI with this pack for people: `make studio`. Ctrl+C stops it."""

from __future__ import annotations

import argparse

from .comfy.locate import ROOT
from .comfy.server import ComfyServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188)
    port = parser.parse_args().port
    server = ComfyServer(ROOT / ".cache" / "studio", port=port)
    print("[tastemaker] starting ComfyUI ...", flush=True)
    try:
        server.start()
    except RuntimeError as e:
        raise SystemExit(f"[tastemaker] {e}\nIs another ComfyUI using port {port}? Try: make studio PORT=8189") from e
    print(f"[tastemaker] open {server.address}", flush=True)
    print(
        "[tastemaker] then Templates > tastemaker > best_of_batch, and press Run",
        flush=True,
    )
    print(f"[tastemaker] pictures go to {server.output}; Ctrl+C stops the server", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        print("\n[tastemaker] stopping")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
