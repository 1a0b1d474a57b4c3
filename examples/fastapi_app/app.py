"""Torchgate around a FastAPI application: every route has a proven caller, and asks models under that caller.

    uvicorn app:app --no-proxy-headers       in this folder; workers are children of that process
    python app.py                            on Torchgate's own server, which IIS can start

Then, in another terminal, in the folder mounted_project:

    curl -H "Authorization: Bearer $(cat .torchgate/development/analyst.token)" "localhost:8000/double?x=21"

(8080 with the second: there gate.bind of mounted_project/torchgate.toml says where.)
"""

import sys
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI

import torchgate

gate = torchgate.Gate(Path(__file__).parents[1] / "mounted_project", public=["/"])
app = FastAPI()
app.add_middleware(gate.guard)

Caller = Annotated[torchgate.Caller, Depends(torchgate.caller)]


@app.get("/")
async def home() -> str:
    """Named public above: nobody is asked who they are."""
    return "Ask /double?x=21 with a credential."


@app.get("/me")
async def me(caller: Caller) -> dict[str, str]:
    """Any proven caller may know this."""
    return {"name": caller.principal.name, "key": caller.principal.key}


@app.get("/double")
async def double(x: float, caller: Caller) -> dict[str, float]:
    """The model decides nothing: policy, quotas and audit are asked first, and a refusal is this route's answer."""
    answer = await caller.infer("doubler", {"x": [[x]]})
    return {"y": float(answer["y"][0, 0])}


@app.get("/double-on-a-thread")
def double_on_a_thread(x: float) -> dict[str, float]:
    """FastAPI runs `def` routes on threads; they ask by the blocking caller."""
    answer = torchgate.blocking_caller().infer("doubler", {"x": [[x]]})
    return {"y": float(answer["y"][0, 0])}


@app.get("/report")
async def report(caller: Caller) -> dict[str, str]:
    """One question to the policy, without running anything."""
    await caller.authorise("read", "doubler")
    return {"report": "What only those may see who may read the model."}


if __name__ == "__main__":
    sys.exit(gate.serve(app))
