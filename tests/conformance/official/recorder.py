"""Records what an official client sends where its optional fields are left alone.

    recorder.py SDK UPSTREAM OUT       a proxy in front of the scheduler at UPSTREAM, until SIGTERM;
                                       then OUT has what went through, one field a line
    recorder.py --compare SDK OUT      compares OUT with recorded.tsv, and gives a verdict;
                                       with CONFORMANCE_RECORD=1 puts it there instead

A line is: SDK, RPC, field, value. Of a client's calls the first one of each RPC counts. What workers
answer is put together: a field has the first value that was seen in it. Values that differ from run
to run are replaced by what they are, such as ID or TIME.
"""

import os
import re
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
from google.protobuf import message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

from durabletask.internal import orchestrator_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["TaskHubSidecarService"]
RECORDED = Path(__file__).with_name("recorded.tsv")
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

# Of these all messages count: each has a part of what a worker can say.
PUT_TOGETHER = {"CompleteOrchestratorTask", "CompleteActivityTask", "CompleteEntityTask"}

# What gRPC itself sends, and what says nothing about the protocol.
TRANSPORT = re.compile(r"^(user-agent|te|content-type|grpc-.*|:.*)$")

# Made up by the client or the scheduler, or worded by an exception.
CHANGING = {
    "completionToken": "TOKEN", "executionId": "ID", "requestId": "ID", "criticalSectionId": "ID",
    "traceParent": "ID", "traceState": "ID", "spanID": "ID", "stackTrace": "TEXT",
    "errorMessage": "TEXT", "errorType": "TEXT", "eventId": "NUMBER", "id": "NUMBER",
    "taskId": "NUMBER", "timerId": "NUMBER", "numEventsProcessed": "NUMBER",
    # How operations are batched is the scheduler's business.
    "entityState": "STATE", "result": "RESULT", "orchestrationStatus": "STATUS",
}
MADE_UP = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.I)


def fields(message, path=""):
    """Each field that is there, by its path, with its value as text."""
    found = message.ListFields()
    for field, value in found:
        name = f"{path}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield name, ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "{}"
        elif field.message_type is None:
            repeated = not isinstance(value, (str, bytes)) and hasattr(value, "__len__")
            yield name, "[" + ", ".join(text(field, each) for each in value) + "]" if repeated \
                else text(field, value)
        else:
            repeated = hasattr(value, "__len__") and hasattr(value, "add")
            for each in value if repeated else [value]:
                yield from nested(field, each, name)
    for unknown in UnknownFieldSet(message):
        yield f"{path}(unknown {unknown.field_number})", "present"


def nested(field, message, name):
    kind = field.message_type.full_name
    if field.name == "newHistory":
        # The scheduler's own history, sent back.
        yield name, "HISTORY"
        return
    if kind == "google.protobuf.Timestamp":
        yield name, "TIME"
    elif kind == "google.protobuf.Duration":
        yield name, "DURATION"
    elif kind.startswith("google.protobuf.") and "value" in field.message_type.fields_by_name:
        yield name, text(field, message.value)
    else:
        inner = list(fields(message, f"{name}."))
        yield from inner or [(name, "{}")]


def text(field, value):
    if field.name in CHANGING:
        return CHANGING[field.name]
    if field.enum_type is not None:
        number = field.enum_type.values_by_number.get(value)
        return number.name if number else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, bytes)):
        shown = value if isinstance(value, str) else value.hex()
        shown = MADE_UP.sub("ID", shown)
        return '"' + " ".join(shown.split()) + '"'
    return str(value)


class Recorder(grpc.GenericRpcHandler):
    """Hands each call on to the scheduler as it is, and keeps what it said."""

    def __init__(self, upstream):
        self.channel = grpc.insecure_channel(upstream, options=OPTIONS)
        self.lock = threading.Lock()
        self.seen = {}
        self.headers = set()

    def service(self, details):
        method = details.method.rsplit("/", 1)[-1]
        known = SERVICE.methods_by_name.get(method)
        streams = known is not None and known.server_streaming
        make = self.channel.unary_stream if streams else self.channel.unary_unary
        call = make(details.method)

        def options(context):
            metadata = [(key, value) for key, value in context.invocation_metadata()
                        if not TRANSPORT.match(key)]
            left = context.time_remaining()
            return {"metadata": metadata, "timeout": left if left and left < 1e6 else None}

        def one(request, context):
            self.keep(method, known, request, options(context))
            answer = call.future(request, **options(context))
            context.add_callback(answer.cancel)
            try:
                return answer.result()
            except grpc.RpcError as error:
                context.set_trailing_metadata(
                    tuple(error.trailing_metadata() or ()))
                context.abort(error.code(), error.details())
            except grpc.FutureCancelledError:
                context.abort(grpc.StatusCode.CANCELLED, "the caller is gone")

        def many(request, context):
            self.keep(method, known, request, options(context))
            answers = call(request, **options(context))
            context.add_callback(answers.cancel)
            try:
                yield from answers
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

        if streams:
            return grpc.unary_stream_rpc_method_handler(many)
        return grpc.unary_unary_rpc_method_handler(one)

    def keep(self, method, known, request, options):
        with self.lock:
            self.headers.update(key for key, _ in options["metadata"])
            first = method not in self.seen
            record = self.seen.setdefault(method, {})
            if not first and method not in PUT_TOGETHER:
                return
            if first:
                record["(deadline)"] = "none" if options["timeout"] is None else "set"
            if known is None:
                record["(message)"] = "of an RPC that is not known here"
                return
            kind = message_factory.GetMessageClass(known.input_type)
            for name, value in fields(kind.FromString(request)):
                # Whether an operation fails is no default of its client.
                if not name.startswith("results.failure"):
                    record.setdefault(name, value)

    def write(self, sdk, out):
        lines = [(sdk, "(all)", "(headers)", ", ".join(sorted(self.headers)) or "none")]
        for method, record in sorted(self.seen.items()):
            lines += [(sdk, method, name, value) for name, value in sorted(record.items())]
        Path(out).write_text("".join("\t".join(line) + "\n" for line in lines))


def record(sdk, upstream, out):
    recorder = Recorder(upstream)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=OPTIONS)
    server.add_generic_rpc_handlers((recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server.start()
    print(f"listens on http://127.0.0.1:{port}", flush=True)
    stop.wait()
    recorder.write(sdk, out)
    os._exit(0)


def compare(sdk, out):
    seen = Path(out).read_text().splitlines()
    known = RECORDED.read_text().splitlines() if RECORDED.exists() else []
    if os.environ.get("CONFORMANCE_RECORD"):
        rest = [line for line in known if line.split("\t")[0] != sdk]
        RECORDED.write_text("".join(line + "\n" for line in sorted(rest + seen)))
        known = rest + seen
    known = [line for line in known if line.split("\t")[0] == sdk]
    changes = [f"+ {line}" for line in seen if line not in known]
    changes += [f"- {line}" for line in known if line not in seen]
    for change in changes:
        print(f"recorded, {change}", file=sys.stderr)
    detail = " ".join(changes[0].split()) if changes else f"{len(seen)} fields"
    print("RESULT", sdk, "defaults", "fail" if changes else "pass", detail[:200], sep="\t")


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        compare(*sys.argv[2:])
    else:
        record(*sys.argv[1:])
