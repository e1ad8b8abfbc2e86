"""Asks the daemon for more memory than there is. Argument: what to flood it with."""

import gzip
import os
import resource
import socket
import struct
import sys
import threading
import time

MIB = 1 << 20
# How an endless sequence begins, and what it goes on with for ever.
SEQUENCES = {
    "line": (b"", b"x"),
    "wide": (b"", "\u0301\u200d\U0001f9d1".encode()),
    "osc": (b"\x1b]2;", b"t"),
    "hyperlink": (b"\x1b]8;;http://", b"u"),
    "dcs": (b"\x1bPq", b"#1~"),
    "csi": (b"\x1b[", b"1;"),
    "apc": (b"\x1b_", b"G"),
    "synchronised": (b"\x1b[?2026h", b"s"),
}


def output(name, size):
    begin, piece = SEQUENCES[name]
    piece = piece * (65536 // len(piece))
    os.write(1, begin)
    sent = 0
    while sent < size:
        sent += os.write(1, piece[: size - sent])
    # What was begun is called off, and what was printed is cleared away.
    os.write(1, b"\x18\x1b[?2026l\r\x1b[2K")


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=120)


def answer(end):
    """The status, or how the connection ended."""
    try:
        return end.recv(100).split(b"\r\n")[0]
    except OSError as error:
        return str(error)


def push(port, head, pieces):
    """Sends until the other side has had enough."""
    sent = 0
    with connect(port) as end:
        try:
            end.sendall(head)
            for piece in pieces:
                end.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        print(port, head.split(b" ")[1], "took", sent // MIB, "MiB:", answer(end), flush=True)


def head(path, fields):
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}\r\n\r\n".encode()


def ten_gigabytes(piece):
    return (piece for _ in range(10240 * MIB // len(piece)))


def bodies():
    piece = b" " * MIB
    chunk = b"%x\r\n" % MIB + piece + b"\r\n"
    bomb = gzip.compress(b" " * (256 * MIB), 9)
    for port, paths in [(4318, ["/v1/logs", "/mcp"]), (8080, ["/v1/logs", "/hooks", "/mcp", "/v1/messages"])]:
        for path in paths:
            push(port, head(path, f"content-length: {10 << 30}"), ten_gigabytes(piece))
            push(port, head(path, "transfer-encoding: chunked"), ten_gigabytes(chunk))
            bombs = head(path, f"content-encoding: gzip\r\ncontent-length: {len(bomb)}")
            # Four are taken in at a time.
            together = [threading.Thread(target=push, args=(port, bombs, [bomb])) for _ in range(5 if path == "/v1/logs" else 1)]
            for one in together:
                one.start()
            for one in together:
                one.join()
    # As many as one can have, all but their last byte sent.
    ends = []
    for number in range(60):
        end = connect([4318, 8080][number % 2])
        try:
            end.sendall(head("/v1/logs", f"content-length: {15 * MIB}"))
            end.settimeout(0.05)
            for _ in range(14):
                end.sendall(piece)
        except OSError:
            pass
        ends.append(end)
    # gRPC: a message that says it has four gigabytes.
    with connect(4317) as end:
        end.sendall(PREFACE + call(1) + frame(0, 0, 1, struct.pack(">BI", 0, 0xFFFFFFFF)))
        print("grpc", len(answer(end)))
    print("held", len(ends))


# What is JSON and says little: as a tree it takes a hundred times its length.
SWARM = b'{"":0},'
MOST = 8 * MIB - 4096


def json_bodies():
    """JSON of the longest length that is read, which as a tree would take a gigabyte; and one that never ends
    going deeper."""
    swarm = b"[" + SWARM * (MOST // len(SWARM)) + b"0]"
    deep = b"[" * (MOST // 2) + b"]" * (MOST // 2)
    for value in (swarm, deep):
        hook = b'{"hook_event_name":"PreToolUse","tool_input":{"command":"true","x":' + value + b"}}"
        message = b'{"server":"s","direction":"to_server","message":' + value + b"}\n"
        for path, body in [("/hooks", value), ("/hooks", hook), ("/mcp", message), ("/v1/logs", value)]:
            together = [
                threading.Thread(target=push, args=(8080, head(path, f"content-length: {len(body)}"), [body]))
                for _ in range(4)
            ]
            for one in together:
                one.start()
            for one in together:
                one.join()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def call(stream, more=()):
    """The head of a gRPC request, as HTTP/2 has it."""
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "x"),
              (":path", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"), ("content-type", "application/grpc")]
    block = b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in [*fields, *more])
    return frame(1, 4, stream, block)


def streams():
    """HTTP/2: as many streams as one likes, each with a long head and a body that waits to be read."""
    more = [(f"x-{n}", "v" * 120) for n in range(70)]
    ends = []
    for _ in range(500):
        try:
            end = connect(4317)
            end.settimeout(0.2)
            ends.append(end)
            end.sendall(PREFACE)
            for stream in range(1, 129, 2):
                end.sendall(call(stream, more) + frame(0, 0, stream, b"\0\xff\xff\xff\xff" + b"x" * 16000))
        except OSError:
            pass
    print("streams of", len(ends), flush=True)


def connections():
    """Ten thousand to each port, as far as the limit of open files goes, each with half a request."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = []

    def crowd(port):
        for _ in range(10000):
            try:
                end = socket.socket()
                end.setblocking(False)
                end.connect_ex(("127.0.0.1", port))
                held.append(end)
            except OSError:
                break

    crowds = [threading.Thread(target=crowd, args=(port,)) for port in (4318, 4317, 8080, 3128)]
    for one in crowds:
        one.start()
    for one in crowds:
        one.join()
    for end in held:
        try:
            end.send(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\n")
        except OSError:
            pass
    print("holds", len(held), flush=True)
    time.sleep(1000)


what = sys.argv[1]
if what == "output":
    for name, size in zip(sys.argv[2::2], sys.argv[3::2]):
        output(name, int(size) * MIB)
else:
    {"bodies": bodies, "json": json_bodies, "streams": streams, "connections": connections}[what]()
print("flooded")
