"""Makes AWS calls with botocore. Each line of JSON on stdin is a call; each line on stdout is its result.

    {"operation": "get_caller_identity", "keys": ["AKIA…", "secret", null], "args": {…}, "service": "sts", "region": "us-east-1"}
    {"value": {…}} or {"error": {"code": "…", "status": 403, "message": "…"}}

The first argument is the endpoint. No configuration comes from files or from the environment of the machine.
"""

import json
import sys

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

session = botocore.session.get_session()
config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
for line in sys.stdin:
    call = json.loads(line)
    access_key_id, secret_access_key, session_token = call["keys"]
    client = session.create_client(
        call.get("service", "sts"),
        region_name=call.get("region", "us-east-1"),
        endpoint_url=sys.argv[1],
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=session_token,
        config=config,
    )
    try:
        response = getattr(client, call["operation"])(**call.get("args", {}))
        response.pop("ResponseMetadata")
        result = {"value": response}
    except ClientError as error:
        response = error.response
        result = {
            "error": {
                "code": response["Error"]["Code"],
                "message": response["Error"]["Message"],
                "status": response["ResponseMetadata"]["HTTPStatusCode"],
            }
        }
    print(json.dumps(result, default=str), flush=True)
