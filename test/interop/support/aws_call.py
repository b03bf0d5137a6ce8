"""botocore at an STS: a line of JSON on stdin is one call, a line on stdout is what it came to.

    {"call": "get_caller_identity", "keys": ["AKIA…", "secret", null], "with": {…}, "service": "sts", "region": "us-east-1"}
    {"value": {…}} or {"error": {"code": "…", "status": 403, "message": "…"}}

The endpoint is the first argument. Nothing is read from files or from the environment of the machine.
"""

import json
import sys

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

session = botocore.session.get_session()
config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
for line in sys.stdin:
    asked = json.loads(line)
    key, secret, token = asked["keys"]
    client = session.create_client(
        asked.get("service", "sts"),
        region_name=asked.get("region", "us-east-1"),
        endpoint_url=sys.argv[1],
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=config,
    )
    try:
        reply = getattr(client, asked["call"])(**asked.get("with", {}))
        reply.pop("ResponseMetadata")
        answer = {"value": reply}
    except ClientError as error:
        told = error.response
        answer = {
            "error": {
                "code": told["Error"]["Code"],
                "message": told["Error"]["Message"],
                "status": told["ResponseMetadata"]["HTTPStatusCode"],
            }
        }
    print(json.dumps(answer, default=str), flush=True)
