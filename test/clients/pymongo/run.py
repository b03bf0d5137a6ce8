"""Runs steps with PyMongo for the tests. Each line of JSON on stdin is a step; each line on stdout is its result.
test/interop/README.md describes the steps. Credentials come from the environment."""

import json
import random
import sys
import threading
import time

from pymongo import MongoClient, monitoring
from pymongo.errors import PyMongoError

client = None
counts = {"ready": 0, "cleared": 0, "getMores": 0}


class PoolListener(monitoring.ConnectionPoolListener):
    """Counts connections that became ready, and how often the pool was cleared."""

    def connection_ready(self, event):
        counts["ready"] += 1

    def pool_cleared(self, event):
        counts["cleared"] += 1

    def ignore(self, event):
        pass

    pool_created = pool_ready = pool_closed = ignore
    connection_created = connection_closed = connection_check_out_started = ignore
    connection_check_out_failed = connection_checked_out = connection_checked_in = ignore


class CommandListener(monitoring.CommandListener):
    """Counts getMores."""

    def started(self, event):
        counts["getMores"] += event.command_name == "getMore"

    def succeeded(self, event):
        pass

    failed = succeeded


def open_(step):
    global client
    client = MongoClient(step["uri"], event_listeners=[PoolListener(), CommandListener()])
    return {}


def ping(step):
    client.admin.command("ping")
    return {}


def status(step):
    info = client.admin.command("connectionStatus")["authInfo"]
    return {
        "users": [{"user": user["user"], "db": user["db"]} for user in info["authenticatedUsers"]],
        "roles": [{"role": role["role"], "db": role["db"]} for role in info["authenticatedUserRoles"]],
    }


def crud(step):
    collection = client.app[step["in"]]
    collection.delete_many({})
    inserted = collection.insert_many([{"_id": n, "n": n} for n in (1, 2, 3)])
    modified = collection.update_one({"_id": 2}, {"$set": {"n": 20}}).modified_count
    upserted = collection.update_one({"_id": 4}, {"$set": {"n": 4}}, upsert=True).upserted_id
    deleted = collection.delete_one({"_id": 1}).deleted_count
    found = [[document["_id"], document["n"]] for document in collection.find({"n": {"$gte": 3}}).sort("n", 1)]
    return {
        "inserted": len(inserted.inserted_ids),
        "modified": modified,
        "upserted": int(upserted is not None),
        "deleted": deleted,
        "found": found,
        "remaining": collection.count_documents({}),
    }


def read(step):
    client.app[step["in"]].find_one()
    return {}


def insert(step):
    identity = {"_id": step["id"]} if "id" in step else {}
    client.app[step["in"]].insert_one({**identity, "by": "python"})
    return {}


def inserts(step):
    """Inserts documents concurrently and returns the errors that the application sees."""
    failed = []

    def insert_one(identity):
        try:
            client.app[step["in"]].insert_one({"_id": identity, "by": "python"})
        except PyMongoError as error:
            failed.append({"id": identity, **describe(error)})

    threads = [threading.Thread(target=insert_one, args=(identity,)) for identity in step["ids"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"failed": failed}


def cursor(step):
    """Writes `count` documents and reads all of them in batches."""
    collection = client.app[step["in"]]
    collection.delete_many({})
    collection.insert_many([{"n": n, "text": f"{n:0100d}"} for n in range(step["count"])])
    counts["getMores"] = 0
    found = [document["n"] for document in collection.find({}, batch_size=step["batchSize"])]
    return {"count": len(found), "distinct": len(set(found)), "getMores": counts["getMores"]}


def pool(step):
    """Waits until the pool has `count` connections, then runs as many workers with ten pings each."""
    ping(step)
    deadline = time.monotonic() + 60
    while counts["ready"] < step["count"]:
        if time.monotonic() > deadline:
            raise PyMongoError(f"only {counts['ready']} connections are ready")
        time.sleep(0.01)
    answered = []

    def ping_ten_times():
        for _ in range(10):
            ping(step)
            answered.append(1)

    threads = [threading.Thread(target=ping_ten_times) for _ in range(step["count"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"ready": counts["ready"], "answered": len(answered)}


def events(_):
    return {"cleared": counts["cleared"]}


def shorten_backoff(_):
    """Makes the jitter of the backoff almost zero, so that retries of a rejected login come at once."""
    random.random = lambda: 0.001
    return {}


steps = {
    "open": open_,
    "ping": ping,
    "status": status,
    "crud": crud,
    "read": read,
    "insert": insert,
    "inserts": inserts,
    "cursor": cursor,
    "pool": pool,
    "events": events,
    "shortenBackoff": shorten_backoff,
}


def describe(error):
    """An error as the application sees it. PyMongo can check single labels but cannot list them."""
    known = ("RetryableError", "RetryableWriteError", "SystemOverloadedError", "TransientTransactionError")
    labels = [label for label in known if error.has_error_label(label)]
    return {"code": getattr(error, "code", None), "message": str(error), "labels": labels}


for line in sys.stdin:
    step = json.loads(line)
    try:
        result = {"value": steps[step["do"]](step)}
    except PyMongoError as error:
        result = {"error": describe(error)}
    print(json.dumps(result), flush=True)
if client:
    client.close()
