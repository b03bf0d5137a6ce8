"""A pytest plugin: writes the outcome of each test, and the type of its error, as lines of JSON to RESULTS_FILE."""

import json
import os

import pytest

results = open(os.environ["RESULTS_FILE"], "a", buffering=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" or report.outcome != "passed":
        error = call.excinfo.typename if report.outcome == "failed" and call.excinfo else None
        text = str(call.excinfo.value)[:300] if call.excinfo else None
        line = {"test": item.nodeid, "outcome": report.outcome, "error": error, "text": text}
        results.write(json.dumps(line) + "\n")
    return report
