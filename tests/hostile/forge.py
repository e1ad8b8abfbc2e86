"""Claims to be somebody else, in every way in: OTLP as JSON and as protobuf over HTTP, as gRPC, past the port
that is meant for it, and to the hooks. Argument: the session to speak for."""

import gzip
import json
import socket
import struct
import sys
import urllib.error
import urllib.request

VICTIM = sys.argv[1]
CLAIMS = {
    "sandbox.session.id": VICTIM,
    "sandbox.user": "Eve <evil@example.org>",
    "Sandbox_Session_Id": VICTIM,
    ".sandbox-profile": "evil",
    "user.name": "Eve",
    "user.email": "evil@example.org",
    "team": "evil",
}


def post(port, path, body, kind, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"content-type": kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def as_json(marker):
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in CLAIMS.items()]
    record = {"body": {"stringValue": marker}, "attributes": pairs[:4]}
    scope = {"scope": {"name": "s", "attributes": pairs[:4]}, "logRecords": [record]}
    return json.dumps({"resourceLogs": [{"resource": {"attributes": pairs}, "scopeLogs": [scope]}]}).encode()


def field(number, content):
    head, length = bytes([number << 3 | 2]), len(content)
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    return head + bytes([length]) + content


def as_protobuf(marker):
    pairs = [field(1, key.encode()) + field(2, field(1, value.encode())) for key, value in CLAIMS.items()]
    record = field(5, field(1, marker.encode())) + b"".join(field(6, pair) for pair in pairs[:4])
    resource = b"".join(field(1, pair) for pair in pairs + pairs)
    return field(1, field(1, resource) + field(2, field(2, record)))


def grpc(port, marker):
    """HTTP/2, as much of it as one call needs: RFC 9113, header fields as literals of RFC 7541."""

    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), ("content-type", "application/grpc"),
              (":path", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"), ("te", "trailers")]
    fields.sort(key=lambda pair: not pair[0].startswith(":"))
    block = b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields)
    message = as_protobuf(marker)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as end:
        end.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block)
                    + frame(0, 1, 1, struct.pack(">BI", 0, len(message)) + message))
        reader = end.makefile("rb")
        while head := reader.read(9):
            payload = reader.read(int.from_bytes(head[:3], "big"))
            if head[3] == 1 and head[4] & 1:
                return "answered"
    return "hung up"


JSON, PROTOBUF = "application/json", "application/x-protobuf"
print("json", post(4318, "/v1/logs", as_json("forged-json"), JSON))
print("gzip", post(4318, "/v1/logs", gzip.compress(as_json("forged-gzip")), JSON, content_encoding="gzip"))
print("protobuf", post(4318, "/v1/logs", as_protobuf("forged-protobuf"), PROTOBUF))
print("grpc", grpc(4317, "forged-grpc"))
print("elsewhere", post(8080, "/v1/logs", as_json("forged-elsewhere"), JSON, x_sandbox_session=VICTIM, host=VICTIM))
hook = {"hook_event_name": "Stop", "session_id": VICTIM, "sandbox": VICTIM, "note": "forged-hook"}
print("hook", post(8080, "/hooks", json.dumps(hook).encode(), JSON))
# The numbers by which the guest's requests count once: whoever could claim them could silence the client.
for port in (8080, 3128):
    for number in range(1, 40):
        post(port, "/v1/logs", as_json(f"number-{port}"), JSON, x_sandbox_request=str(number))
for number in range(5):
    print("after", post(4318, "/v1/logs", as_json(f"after-{number}"), JSON))
