"""PyMongo over the budget of STS: it reads, and counts how often its pool is cleared. The protocol is that of run.py.
With `hurry` it comes back after next to none of the pause that it is told to make."""

import json
import random
import sys

from pymongo import MongoClient, monitoring
from pymongo.errors import PyMongoError

client = None
seen = {"cleared": 0}


class Pool(monitoring.ConnectionPoolListener):
    def pool_cleared(self, event):
        seen["cleared"] += 1

    def ignore(self, event):
        pass

    pool_created = pool_ready = pool_closed = connection_created = connection_ready = connection_closed = ignore
    connection_check_out_started = connection_check_out_failed = connection_checked_out = ignore
    connection_checked_in = ignore


def watch(asked):
    global client
    client = MongoClient(asked["uri"], event_listeners=[Pool()])
    return {}


def read(asked):
    client.app[asked["in"]].find_one()
    return {}


def hurry(_):
    random.random = lambda: 0.001
    return {}


steps = {"open": lambda _: {}, "watch": watch, "read": read, "hurry": hurry, "events": lambda _: seen}


def shape_of(error):
    known = ("RetryableError", "RetryableWriteError", "SystemOverloadedError")
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
