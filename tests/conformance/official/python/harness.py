"""What every feature of the Python suite needs: a connection, a worker, and a verdict."""

import os
import sys
import time
import traceback
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import grpc

from durabletask import client, worker
from durabletask.azuremanaged.client import DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker

Status = client.OrchestrationStatus

# How long anything may take before the feature counts as broken, in seconds.
DEADLINE = 60


def parse_connection_string(text):
    """The parts of `Endpoint=...;TaskHub=...;Authentication=None`, by lower-case key."""
    parts = dict(part.split("=", 1) for part in text.split(";") if part)
    return {key.lower(): value for key, value in parts.items()}


class Plain:
    """The package `durabletask` by itself: no task hub header."""

    name = "python"

    def __init__(self, connection):
        self.address = connection["endpoint"]

    def worker(self, **options):
        return worker.TaskHubGrpcWorker(host_address=self.address, **options)

    def client(self, **options):
        return client.TaskHubGrpcClient(host_address=self.address, **options)


class AzureManaged:
    """`durabletask.azuremanaged`, told what a connection string for the emulator says."""

    name = "python-azuremanaged"

    def __init__(self, connection):
        self.address = connection["endpoint"]
        self.hub = connection["taskhub"]
        self.secure = self.address.startswith("https://")

    def worker(self, hub=None, **options):
        return DurableTaskSchedulerWorker(
            host_address=self.address, taskhub=hub or self.hub, token_credential=None,
            secure_channel=self.secure, **options)

    def client(self, hub=None, **options):
        return DurableTaskSchedulerClient(
            host_address=self.address, taskhub=hub or self.hub, token_credential=None,
            secure_channel=self.secure, **options)


class Harness:
    """One feature's client, and workers that register what they are given."""

    def __init__(self, package):
        self.package = package
        self.client = package.client()

    @contextmanager
    def worker(self, orchestrators=(), activities=(), entities=(), setup=None, **options):
        w = self.package.worker(**options)
        for function in orchestrators:
            w.add_orchestrator(function)
        for function in activities:
            w.add_activity(function)
        for function in entities:
            w.add_entity(function)
        if setup is not None:
            setup(w)
        with w:
            w.start()
            yield w

    def start(self, orchestrator, **options):
        return self.client.schedule_new_orchestration(orchestrator, **options)

    def end(self, instance):
        """The state of an instance once it has ended."""
        return self.client.wait_for_orchestration_completion(instance, timeout=DEADLINE)

    def run(self, orchestrator, **options):
        return self.end(self.start(orchestrator, **options))

    def output(self, orchestrator, **options):
        """Runs an orchestration that has to complete, and gives its output."""
        state = self.run(orchestrator, **options)
        equal(state.runtime_status, Status.COMPLETED, state.failure_details)
        return state.get_output()

    def until_status(self, instance, status):
        return until(lambda: self.client.get_orchestration_state(instance),
                     lambda state: state is not None and state.runtime_status == status)


def equal(got, expected, note=None):
    if got != expected:
        raise AssertionError(f"expected {expected!r}, got {got!r}" + (f" ({note})" if note else ""))


def raises(call, *, containing=""):
    """Calls what has to fail and gives the error."""
    try:
        result = call()
    except Exception as error:
        if containing not in str(error):
            raise AssertionError(f"expected an error with {containing!r}, got {error!r}") from error
        return error
    raise AssertionError(f"expected an error, got {result!r}")


def until(get, holds):
    """Asks again until `holds` or the deadline, and gives what was asked for."""
    end = time.monotonic() + DEADLINE
    while True:
        value = get()
        if holds(value):
            return value
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {DEADLINE} s: {value!r}")
        time.sleep(0.05)


def fresh(prefix):
    """An id that nothing else uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def now():
    return datetime.now(timezone.utc)


def seconds(count):
    return timedelta(seconds=count)


FEATURES = {}


def feature(name):
    """Registers a function as the check of one row of features.tsv."""
    def register(function):
        FEATURES[name] = function
        return function
    return register


def main():
    """Runs the features, one verdict a line: package, feature, pass or fail, detail."""
    connection = parse_connection_string(os.environ["CONFORMANCE_CONNECTION_STRING"])
    only = set(sys.argv[1:])
    for package in (Plain(connection), AzureManaged(connection)):
        for name, check in FEATURES.items():
            if only and name not in only:
                continue
            begun = time.monotonic()
            try:
                check(Harness(package))
                verdict, detail = "pass", f"{time.monotonic() - begun:.1f}s"
            except Skip:
                continue
            except Exception as error:
                traceback.print_exc()
                verdict, detail = "fail", summary(error)
            print("RESULT", package.name, name, verdict, detail, sep="\t", flush=True)


def summary(error):
    """An error in one line."""
    text = error.details() if isinstance(error, grpc.RpcError) else str(error)
    return " ".join((text or repr(error)).split())[:200]


class Skip(Exception):
    """The feature is none of this package's; exclusions.tsv has to say why."""
