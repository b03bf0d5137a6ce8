"""The real PyMongo, for the tests: a line of JSON on stdin asks for a step, a line on stdout answers it.
test/interop/README.md has the steps. Credentials come from the environment."""

import json
import sys
import threading
import time

from pymongo import MongoClient, monitoring
from pymongo.errors import PyMongoError

client = None
seen = {"ready": 0, "getMores": 0}


class Pool(monitoring.ConnectionPoolListener):
    """Counts the connections that came to be ready."""

    def connection_ready(self, event):
        seen["ready"] += 1

    def ignore(self, event):
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = ignore
    connection_created = connection_closed = connection_check_out_started = ignore
    connection_check_out_failed = connection_checked_out = connection_checked_in = ignore


class Commands(monitoring.CommandListener):
    """Counts getMores."""

    def started(self, event):
        seen["getMores"] += event.command_name == "getMore"

    def succeeded(self, event):
        pass

    failed = succeeded


def open_(asked):
    global client
    client = MongoClient(asked["uri"], event_listeners=[Pool(), Commands()])
    return {}


def ping(asked):
    client.admin.command("ping")
    return {}


def status(asked):
    info = client.admin.command("connectionStatus")["authInfo"]
    return {
        "users": [{"user": one["user"], "db": one["db"]} for one in info["authenticatedUsers"]],
        "roles": [{"role": one["role"], "db": one["db"]} for one in info["authenticatedUserRoles"]],
    }


def crud(asked):
    collection = client.app[asked["in"]]
    collection.delete_many({})
    inserted = collection.insert_many([{"_id": n, "n": n} for n in (1, 2, 3)])
    modified = collection.update_one({"_id": 2}, {"$set": {"n": 20}}).modified_count
    upserted = collection.update_one({"_id": 4}, {"$set": {"n": 4}}, upsert=True).upserted_id
    deleted = collection.delete_one({"_id": 1}).deleted_count
    found = [[one["_id"], one["n"]] for one in collection.find({"n": {"$gte": 3}}).sort("n", 1)]
    return {
        "inserted": len(inserted.inserted_ids),
        "modified": modified,
        "upserted": int(upserted is not None),
        "deleted": deleted,
        "found": found,
        "left": collection.count_documents({}),
    }


def insert(asked):
    identity = {"_id": asked["id"]} if "id" in asked else {}
    client.app[asked["in"]].insert_one({**identity, "by": "python"})
    return {}


def inserts(asked):
    """All at once; what failed of them, as the application sees it."""
    failed = []

    def one(identity):
        try:
            client.app[asked["in"]].insert_one({"_id": identity, "by": "python"})
        except PyMongoError as error:
            failed.append({"id": identity, **shape_of(error)})

    all_ = [threading.Thread(target=one, args=(identity,)) for identity in asked["ids"]]
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join()
    return {"failed": failed}


def cursor(asked):
    """Writes so many documents and reads all of them in batches."""
    collection = client.app[asked["in"]]
    collection.delete_many({})
    collection.insert_many([{"n": n, "text": f"{n:0100d}"} for n in range(asked["count"])])
    seen["getMores"] = 0
    found = [one["n"] for one in collection.find({}, batch_size=asked["batchSize"])]
    return {"count": len(found), "different": len(set(found)), "getMores": seen["getMores"]}


def pool(asked):
    """As many operations at once as the pool holds, ten rounds, once the pool is full."""
    ping(asked)
    deadline = time.monotonic() + 60
    while seen["ready"] < asked["count"]:
        if time.monotonic() > deadline:
            raise PyMongoError(f"only {seen['ready']} connections are ready")
        time.sleep(0.01)
    answered = []

    def rounds():
        for _ in range(10):
            ping(asked)
            answered.append(1)

    all_ = [threading.Thread(target=rounds) for _ in range(asked["count"])]
    for one in all_:
        one.start()
    for one in all_:
        one.join()
    return {"ready": seen["ready"], "answered": len(answered)}


steps = {
    "open": open_,
    "ping": ping,
    "status": status,
    "crud": crud,
    "insert": insert,
    "inserts": inserts,
    "cursor": cursor,
    "pool": pool,
}


def shape_of(error):
    """What an application can see of an error. A list of labels has no reader of its own."""
    known = ("RetryableError", "RetryableWriteError", "SystemOverloadedError", "TransientTransactionError")
    labels = [label for label in known if error.has_error_label(label)]
    return {"code": getattr(error, "code", None), "message": str(error), "labels": labels}


for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"value": steps[asked["do"]](asked)}
    except PyMongoError as error:
        answer = {"error": shape_of(error)}
    print(json.dumps(answer), flush=True)
if client:
    client.close()
