"""Imports shared sessions as a plain script does: asyncio, httpx, SQLite, one commit an entry, retries on 429.

    python plain_import.py ENTRIES.ndjson LEDGER.db CONCURRENCY

It reads DIDIT_API_KEY and DIDIT_BASE_URL. What it lacks is what didit-sync is for; it is here to be measured against.
"""

import asyncio
import json
import os
import sqlite3
import sys

import httpx


async def import_one(client, gate, database, entry):
    body = {
        "share_token": entry["share_token"],
        "trust_review": False,
        "workflow_id": entry["workflow_id"],
        "vendor_data": entry["vendor_data"],
    }
    async with gate:
        while True:
            answer = await client.post("/v3/session/import-shared/", json=body)
            if answer.status_code != 429:
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", 5)))
    session = answer.json().get("session_id") if answer.is_success else None
    database.execute(
        "INSERT OR REPLACE INTO imports (vendor_data, status, session_id) VALUES (?, ?, ?)",
        (entry["vendor_data"], answer.status_code, session),
    )
    database.commit()
    return session is not None


async def main(entries_path, ledger_path, concurrency):
    database = sqlite3.connect(ledger_path)
    database.execute("CREATE TABLE IF NOT EXISTS imports (vendor_data TEXT PRIMARY KEY, status INTEGER, session_id TEXT)")
    with open(entries_path) as lines:
        entries = [json.loads(line) for line in lines]
    gate = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    headers = {"x-api-key": os.environ["DIDIT_API_KEY"]}
    async with httpx.AsyncClient(
        base_url=os.environ["DIDIT_BASE_URL"], headers=headers, limits=limits, timeout=30
    ) as client:
        imported = await asyncio.gather(*(import_one(client, gate, database, entry) for entry in entries))
    database.close()
    print(f"{sum(imported)} of {len(entries)} imported")
    return 0 if all(imported) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
