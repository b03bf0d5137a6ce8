"""A pytest plugin for PyMongo's own test suite: logs in with MONGODB-AWS where the suite logs in with its password.

The suite itself stays unchanged. A client that names the user and the password of the suite gets the mechanism
MONGODB-AWS and the access key of the environment instead. All other clients stay as they are: those without a login, and
those of users that a test creates.
"""

import functools
import os
from urllib.parse import quote_plus

from pymongo.asynchronous.mongo_client import AsyncMongoClient
from pymongo.synchronous.mongo_client import MongoClient

PASSWORD_LOGIN = (os.environ["DB_USER"], os.environ["DB_PASSWORD"])
ACCESS_KEY = (os.environ["IAM_ACCESS_KEY_ID"], os.environ["IAM_SECRET_ACCESS_KEY"])
MECHANISM = {"authMechanism": "MONGODB-AWS", "authSource": "$external"}


def user_information(login):
    return "//{}:{}@".format(*map(quote_plus, login))


def with_access_key(host):
    if isinstance(host, (list, tuple)):
        return [with_access_key(item) for item in host]
    if not isinstance(host, str):
        return host
    return host.replace(user_information(PASSWORD_LOGIN), user_information(ACCESS_KEY))


def log_in_with_iam(client_class):
    original = client_class.__init__

    @functools.wraps(original)
    def __init__(self, host=None, *args, **options):
        changed = with_access_key(host)
        if changed != (list(host) if isinstance(host, tuple) else host):
            options = {**options, **MECHANISM}
        elif (options.get("username"), options.get("password")) == PASSWORD_LOGIN:
            options = {**options, "username": ACCESS_KEY[0], "password": ACCESS_KEY[1], **MECHANISM}
        original(self, changed, *args, **options)

    client_class.__init__ = __init__


for client_class in (MongoClient, AsyncMongoClient):
    log_in_with_iam(client_class)
