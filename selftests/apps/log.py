#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""log.py PORT PID LIMIT: a log of httpd, bounded to LIMIT bytes; the server is PID."""

import hashlib
import http.client
import random
import re
import socket
import sys
import threading
import time

PORT, PID, LIMIT = (int(word) for word in sys.argv[1:4])
failed = []


def check(what, got, wanted):
    if got != wanted:
        print(f"{what}: {got!r}, not {wanted!r}", file=sys.stderr)
        failed.append(what)


def connect():
    return http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)


def ask(conn, method, path, body=None):
    conn.request(method, path, body)
    answer = conn.getresponse()
    answer.data = answer.read()
    return answer


def where(answer):
    return int(answer.getheader("Log-First")), int(answer.getheader("Log-Next"))


def memory():
    with open(f"/proc/{PID}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s*(\d+)", file.read())[1]) << 10


def rules():
    conn = connect()
    check("GET of no log", ask(conn, "GET", "/l?offset=0&wait=9").status, 404)
    check("POST", ask(conn, "POST", "/l", b"one ").status, 204)
    check("POST of nothing", ask(conn, "POST", "/l", b"").status, 204)
    check("POST", ask(conn, "POST", "/l", b"two ").status, 204)
    got = ask(conn, "GET", "/l?offset=0")
    check("all", (got.status, got.data, where(got)), (200, b"one two ", (0, 8)))
    check("without an offset", ask(conn, "GET", "/l").data, b"one two ")
    got = ask(conn, "GET", "/l?wait=5&offset=3")
    check("some", (got.data, where(got)), (b" two ", (0, 8)))
    head = ask(conn, "HEAD", "/l?offset=3")
    check("HEAD", (head.getheader("Content-Length"), head.data), ("5", b""))
    got = ask(conn, "GET", "/l?offset=8")
    check("nothing yet", (got.status, where(got)), (204, (0, 8)))
    got = ask(conn, "GET", "/l?offset=9")
    check("beyond", (got.status, where(got)), (416, (0, 8)))
    start = time.monotonic()
    check("in vain", ask(conn, "GET", "/l?offset=8&wait=2").status, 204)
    check("it waited", 1 <= time.monotonic() - start < 30, True)
    check("DELETE", ask(conn, "DELETE", "/l").status, 204)
    check("then", ask(conn, "GET", "/l?offset=0").status, 404)


def waits():
    """Until somebody appends; what was asked behind it comes behind it."""
    conn = connect()
    ask(conn, "POST", "/w", b"first")
    with socket.create_connection(("127.0.0.1", PORT), timeout=60) as sock:
        sock.sendall(b"GET /w?offset=5&wait=50 HTTP/1.1\r\n\r\n"
                     b"GET /w?offset=0 HTTP/1.1\r\nConnection: close\r\n\r\n")
        sock.settimeout(1)
        try:
            check("too early", sock.recv(4096), None)
        except TimeoutError:
            pass
        sock.settimeout(60)
        ask(conn, "POST", "/w", b"second")
        got = b""
        while True:
            more = sock.recv(4096)
            if not more:
                break
            got += more
        parts = got.split(b"\r\n\r\n")
        check("both", (parts[1][:6], parts[2]), (b"second", b"firstsecond"))
    # Whoever goes while he waits is forgotten; whose log goes is told.
    gone = socket.create_connection(("127.0.0.1", PORT), timeout=60)
    gone.sendall(b"GET /w?offset=11&wait=50 HTTP/1.1\r\n\r\n")
    with socket.create_connection(("127.0.0.1", PORT), timeout=60) as sock:
        sock.sendall(b"GET /w?offset=11&wait=50 HTTP/1.1\r\n\r\n")
        time.sleep(0.3)
        gone.close()
        ask(conn, "DELETE", "/w")
        check("no log any more", sock.recv(4096)[:12], b"HTTP/1.1 404")


def follow(path, total, digests, number):
    """From the start to the end, as it grows."""
    conn, offset, digest = connect(), 0, hashlib.sha256()
    while offset < total:
        got = ask(conn, "GET", f"{path}?offset={offset}&wait=30")
        if got.status != 200:
            break
        digest.update(got.data)
        check("where to go on", where(got)[1], offset + len(got.data))
        offset += len(got.data)
    digests[number] = digest.hexdigest()


def followers():
    """Records of all sizes, and 40 that follow: the same bytes at each."""
    rng = random.Random(1)
    sizes = [rng.choice((1, 100, 3000, 16383, 16384, 70000, 200000)) for _ in range(200)]
    total = sum(sizes)
    if total > LIMIT // 2:
        raise SystemExit("the log is too small for this")
    digest, digests = hashlib.sha256(), [None] * 40
    conn = connect()
    data = rng.randbytes(sizes[0])
    digest.update(data)
    ask(conn, "POST", "/f", data)
    threads = [threading.Thread(target=follow, args=("/f", total, digests, i)) for i in range(40)]
    for thread in threads:
        thread.start()
    for size in sizes[1:]:
        data = rng.randbytes(size)
        digest.update(data)
        ask(conn, "POST", "/f", data)
    for thread in threads:
        thread.join()
    check("all the same", set(digests), {digest.hexdigest()})


def bound():
    """Old records go; what a consumer was promised comes all the same."""
    conn = connect()
    data = bytes(range(256)) * 400
    ask(conn, "POST", "/b", data)
    slow = socket.create_connection(("127.0.0.1", PORT), timeout=60)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    for _ in range(9):
        ask(conn, "POST", "/b", data)
    slow.sendall(b"GET /b?offset=0 HTTP/1.1\r\nConnection: close\r\n\r\n")
    time.sleep(0.2)
    for _ in range(2 * LIMIT // len(data)):
        check("POST", ask(conn, "POST", "/b", data).status, 204)
    got = ask(conn, "GET", "/b?offset=0")
    first, end = where(got)
    check("too old", (got.status, end - first <= LIMIT, end - first >= LIMIT - 2 * len(data)),
          (416, True, True))
    check("the oldest", ask(conn, "GET", f"/b?offset={first}").data[:256], data[:256])
    got = b""
    while True:
        more = slow.recv(65536)
        if not more:
            break
        got += more
    body = got[got.find(b"\r\n\r\n") + 4:]
    check("what was promised", body == (data * 10)[:1 << 20], True)


def one_copy():
    """500 consumers that do not read, a MiB each: the server has no more memory for it."""
    conn = connect()
    data = bytes(1 << 18)
    for _ in range(4):
        ask(conn, "POST", "/o", data)
    ask(conn, "GET", "/o")
    before = memory()
    socks = []
    for _ in range(500):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", PORT))
        sock.sendall(b"GET /o?offset=0 HTTP/1.1\r\nConnection: close\r\n\r\n")
        socks.append(sock)
    for sock in socks:
        check("an answer", sock.recv(12), b"HTTP/1.1 200")
    grown = memory() - before
    print(f"# 500 consumers: {grown >> 10} KiB more")
    check("memory for 500 times a MiB is less than 32 MiB", grown < 32 << 20, True)
    for sock in socks[::100]:
        got = 0
        while True:
            more = sock.recv(1 << 16)
            if not more:
                break
            got += len(more)
        check("whole", got > 1 << 20, True)


for part in rules, waits, followers, one_copy, bound:
    part()
sys.exit(1 if failed else 0)
