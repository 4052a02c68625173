"""Calls for tenants over HTTP, with FastAPI: each tenant has a token and gets only the calls of its own group.

    python3 examples/tenants_app.py --sandbox

serves generated calls on http://127.0.0.1:8001 and prints a token for each of two
groups. Without `--sandbox` it serves those of the account in AIOSIPCDR_BASE_URL,
AIOSIPCDR_API_KEY and AIOSIPCDR_API_SECRET, and TENANTS names the groups, as JSON:
{"GROUP": "SHA-256 of its token, in hexadecimal digits", ...}.

Needs: pip install "aiosipcdr[fastapi]" uvicorn
"""

import argparse
import hmac
import json
import os
import secrets
from hashlib import sha256
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sandboxed import sandbox_in_environment

from aiosipcdr.integrations.fastapi import (
    ClientDep,
    CsvResponse,
    NdjsonResponse,
    RangeParams,
    RangeQuery,
    client_lifespan,
    install_error_handlers,
)

app = FastAPI(title="Calls of tenants", lifespan=client_lifespan(allowed_hosts=["127.0.0.1", "localhost"]))
install_error_handlers(app)

Token = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


async def group_of(token: Token) -> str:
    """Return the group of the caller, or 401. Tokens are stored as digests and compared in constant time."""
    digest = sha256(token.credentials.encode() if token else b"").hexdigest()
    tenants: dict[str, str] = json.loads(os.environ.get("TENANTS", "{}"))
    for group, known in tenants.items():
        if hmac.compare_digest(digest, known.lower()):
            return group
    raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})


async def tenant_range(group: Annotated[str, Depends(group_of)], query: RangeParams) -> RangeQuery:
    """Return the range with the group of the caller; a URL with another group is 403."""
    if query["sip_group_name"] not in (None, group):
        raise HTTPException(403)
    return {**query, "sip_group_name": group}


TenantRange = Annotated[RangeQuery, Depends(tenant_range)]


@app.get("/calls.ndjson", response_class=NdjsonResponse)
async def calls_as_ndjson(client: ClientDep, query: TenantRange) -> NdjsonResponse:
    """Send the tenant's calls, one on each line."""
    return NdjsonResponse(client.stream(**query), timeout=600)


@app.get("/calls.csv", response_class=CsvResponse)
async def calls_as_csv(client: ClientDep, query: TenantRange) -> CsvResponse:
    """Send the tenant's calls as a table for Excel."""
    return CsvResponse(client.stream(**query), timeout=600, spreadsheet=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Calls for tenants over HTTP, with FastAPI.")
    parser.add_argument("--sandbox", action="store_true", help="serve generated calls")
    parser.add_argument("--port", type=int, default=8001, help="port on 127.0.0.1; 0 selects a free one")
    options = parser.parse_args()
    with sandbox_in_environment(wanted=options.sandbox):
        if options.sandbox:
            tokens = {group: secrets.token_urlsafe() for group in ("sales-us", "support-uk")}
            os.environ["TENANTS"] = json.dumps({group: sha256(tokens[group].encode()).hexdigest() for group in tokens})
            for group, token in tokens.items():
                print(f"{group}: Authorization: Bearer {token}", flush=True)
        uvicorn.run(app, host="127.0.0.1", port=options.port, timeout_graceful_shutdown=5)
