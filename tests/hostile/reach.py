"""Tries everything that a session must not reach. A line for each attempt: its name, then REACHED or what
refused it. Arguments: folders of the host's, and the port of the daemon there."""

import ctypes
import glob
import os
import socket
import struct
import sys
import time

FOLDERS, PORT = sys.argv[1:-1], int(sys.argv[-1])
libc = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {
    "x86_64": {"ptrace": 101, "mount": 165, "unshare": 272, "bpf": 321, "reboot": 169, "by_handle": 304, "module": 175},
    "aarch64": {"ptrace": 117, "mount": 40, "unshare": 97, "bpf": 280, "reboot": 142, "by_handle": 265, "module": 105},
}[os.uname().machine]


def attempt(name, what):
    """In a process of its own, so that no attempt changes the next."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            outcome = what()
            print(f"{name}: REACHED {outcome!r}"[:200], flush=True)
        except (OSError, AssertionError) as error:
            print(f"{name}: {error}"[:200], flush=True)
        os._exit(0)
    os.waitpid(pid, 0)


def call(name, *arguments):
    if libc.syscall(SYSCALLS[name], *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return name


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def write(path, content=b"1"):
    with open(path, "r+b", buffering=0) as file:
        return file.write(content)


def unix(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(2)
        end.connect(path)
        return path


def tcp(host, port):
    with socket.create_connection((host, port), timeout=2) as end:
        return end.getpeername()


def datagram(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        return end.sendto(b"x" * 32, (host, 53))


def proxied(port, request):
    """What the proxy opens, or says with 200, is reached."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as end:
        end.sendall(request.encode())
        answer = end.recv(200)
    assert b" 200 " in answer.split(b"\r\n")[0], answer.split(b"\r\n")[0]
    return answer


def own_namespace(then):
    """Root in a user namespace of one's own, where the kernel gives it, is root of nothing else."""
    uid = os.getuid()
    call("unshare", 0x10000000 | 0x00020000)
    try:
        write("/proc/self/setgroups", b"deny")
        write("/proc/self/uid_map", b"0 %d 1" % uid)
    except OSError:
        pass
    return then()


def listing(path):
    return os.listdir(path)


def traced(pid):
    call("ptrace", 16, pid, 0, 0)
    os.waitpid(pid, 0)
    return pid


def spoken(path):
    """A connection that is answered: one that waits behind the guest's own for ever reaches nobody."""
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(2)
        end.connect(path)
        hello = b'{"protocol":1,"version":"x","started":false,"next":1}'
        end.sendall(struct.pack("<IIQQQB", len(hello), 0, 0, 0, 0, 64) + hello)
        got = end.recv(64)
        assert got, "hung up"
        return got


# The guest and its sockets.
attempt("folder", lambda: listing("/run/sandbox"))
attempt("control", lambda: spoken("/run/sandbox/control.sock"))
attempt("gateway", lambda: unix("/run/sandbox/gateway.sock"))
attempt("folder by root", lambda: listing("/proc/1/root/run/sandbox"))
attempt("folder by descriptor", lambda: [read(p) for p in glob.glob("/proc/1/fd/*")] or listing("/proc/1/fd"))
attempt("folder as own root", lambda: own_namespace(lambda: listing("/run/sandbox")))
attempt("guest binary", lambda: write("/usr/local/bin/sandbox-guest", b"\0"))
attempt("guest binary gone", lambda: os.unlink("/usr/local/bin/sandbox-guest"))
attempt("guest memory", lambda: read("/proc/1/mem"))
attempt("guest environment", lambda: read("/proc/1/environ"))
attempt("guest traced", lambda: traced(1))
attempt("settings", lambda: write("/etc/claude-code/managed-settings.json", b"{"))
attempt("settings gone", lambda: os.unlink("/etc/claude-code/managed-settings.json"))

# The host and its engine.
for folder in [*FOLDERS, "/var/lib/sandboxctl", "/var/lib/docker", "/run/sandboxctl", "/run/containerd"]:
    attempt(f"host {folder}", lambda: listing(folder))
for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "\0/containerd-shim"]:
    attempt(f"engine {path!r}", lambda: unix(path))
for path in ["/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/1/root/etc/shadow"]:
    attempt(f"kernel {path}", lambda: read(path))
for path in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/sys/kernel/uevent_helper",
             "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/memory.max"]:
    attempt(f"kernel {path}", lambda: write(path))
attempt("bpf", lambda: call("bpf", 0, 0, 0))
attempt("module", lambda: call("module", 0, 0, 0))
attempt("reboot", lambda: call("reboot", 0xFEE1DEAD, 672274793, 0x89ABCDEF, 0))
attempt("by handle", lambda: call("by_handle", -100, b"\x08\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0", 0))




def disk(path, major):
    os.mknod(path, 0o60600, os.makedev(major, 0))
    return read(path)


for place in ["/tmp", "/", "/dev", "/workspace"]:
    for major in [8, 252, 253, 254, 259]:
        attempt(f"disk {place} {major}", lambda: disk(f"{place}/.disk{major}", major))
attempt("mount", lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, 0))
attempt("mount as own root", lambda: own_namespace(lambda: call("mount", b"proc", b"/mnt", b"proc", 0, 0) and read("/mnt/kcore")))
attempt("remount", lambda: call("mount", b"none", b"/usr/local/bin/sandbox-guest", b"", 0x1020, 0) and write("/usr/local/bin/sandbox-guest", b"\0"))

# The network.
def others():
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    assert names, "lo alone"
    return names


attempt("interfaces", others)
for host, port in [("169.254.169.254", 80), ("1.1.1.1", 53), ("172.17.0.1", PORT), ("127.0.0.1", PORT), ("::1", PORT),
                   ("2606:4700:4700::1111", 53), ("metadata.google.internal", 80), ("host.docker.internal", PORT)]:
    attempt(f"net {host}", lambda: tcp(host, port))
attempt("datagram", lambda: datagram("8.8.8.8"))
attempt("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
for port in [3128, 8080, 4318, 4317]:
    for target in ["169.254.169.254:80", f"127.0.0.1:{PORT}", f"localhost:{PORT}", "[::1]:22", "0x7f.1:22", "example.org:443"]:
        attempt(f"proxy {port} {target}", lambda: proxied(port, f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"))
        attempt(f"fetch {port} {target}", lambda: proxied(port, f"GET http://{target}/healthz HTTP/1.1\r\nhost: {target}\r\n\r\n"))
attempt("become root", lambda: os.setuid(0) or os.getuid())
print("tried everything", flush=True)
time.sleep(1)
attempt("guest killed", lambda: os.kill(1, 9))
