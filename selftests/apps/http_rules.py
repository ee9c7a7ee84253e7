#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""http_rules.py PORT: what httpd answers to requests that are right, odd and wrong."""

import http.client
import socket
import sys

PORT = int(sys.argv[1])
DATA = bytes(range(256)) * 40       # 10240 bytes
failed = []


def check(what, got, wanted):
    if got != wanted:
        print(f"{what}: {got!r}, not {wanted!r}", file=sys.stderr)
        failed.append(what)


def ask(method, path, body=None, connection=None, **headers):
    conn = connection or http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    conn.request(method, path, body, {name.replace("_", "-"): value
                                      for name, value in headers.items()})
    answer = conn.getresponse()
    answer.data = answer.read()
    if not connection:
        conn.close()
    return answer


def raw(data, pieces=0):
    """All that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as sock:
        if pieces:
            for i in range(0, len(data), pieces):
                sock.sendall(data[i:i + pieces])
        else:
            sock.sendall(data)
        got = b""
        while True:
            more = sock.recv(1 << 16)
            if not more:
                return got
            got += more


def objects():
    check("GET of nothing", ask("GET", "/none").status, 404)
    check("DELETE of nothing", ask("DELETE", "/none").status, 404)
    check("PUT", ask("PUT", "/a", DATA, Content_Type="image/odd").status, 201)
    got = ask("GET", "/a")
    check("GET", (got.status, got.data), (200, DATA))
    check("its type", got.getheader("Content-Type"), "image/odd")
    check("its date ends with", got.getheader("Date")[-4:], " GMT")
    tag = got.getheader("ETag")
    head = ask("HEAD", "/a")
    check("HEAD", (head.status, head.data, head.getheader("Content-Length")),
          (200, b"", str(len(DATA))))
    check("PUT again", ask("PUT", "/a", DATA[1:]).status, 204)
    got = ask("GET", "/a?what=ever")
    check("what is there then", got.data, DATA[1:])
    check("another ETag", got.getheader("ETag") != tag, True)
    check("no type any more", got.getheader("Content-Type"), "application/octet-stream")
    check("DELETE", ask("DELETE", "/a").status, 204)
    check("then", ask("GET", "/a").status, 404)
    check("PUT of no bytes", ask("PUT", "/empty", b"").status, 201)
    got = ask("GET", "/empty")
    check("GET of no bytes", (got.status, got.data), (200, b""))
    check("a range of them", ask("GET", "/empty", Range="bytes=0-").status, 416)
    check("a long path", ask("PUT", "/" + "x" * 1000, b"long").status, 201)
    check("it", ask("GET", "/" + "x" * 1000).data, b"long")
    check("one that is too long", ask("PUT", "/" + "x" * 2000, b"long").status, 414)


def ranges():
    ask("PUT", "/r", DATA)
    size = len(DATA)
    for text, begin, end in (("0-0", 0, 1), ("0-", 0, size), ("5-9", 5, 10),
                             (f"{size - 1}-", size - 1, size), ("-1", size - 1, size),
                             ("-5000", size - 5000, size), (f"-{size * 2}", 0, size),
                             (f"10-{size * 9}", 10, size), ("4096-8191", 4096, 8192)):
        got = ask("GET", "/r", Range=f"bytes={text}")
        check(f"range {text}", (got.status, got.data, got.getheader("Content-Range")),
              (206, DATA[begin:end], f"bytes {begin}-{end - 1}/{size}"))
    for text in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
        got = ask("GET", "/r", Range=f"bytes={text}")
        check(f"range {text}", (got.status, got.getheader("Content-Range")),
              (416, f"bytes */{size}"))
    # What is not understood, or of several, may be ignored.
    for text in ("bytes=5-4", "bytes=a-b", "bytes=", "bytes=1-2,5-9", "pages=1-2", "bytes=-",
                 "bytes=3-x"):
        got = ask("GET", "/r", Range=text)
        check(f"range {text}", (got.status, got.data), (200, DATA))
    check("of HEAD", ask("HEAD", "/r", Range="bytes=5-9").status, 200)


def conditions():
    ask("PUT", "/c", DATA)
    tag = ask("GET", "/c").getheader("ETag")
    for text in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        got = ask("GET", "/c", If_None_Match=text)
        check(f"If-None-Match {text}", (got.status, got.data, got.getheader("ETag")),
              (304, b"", tag))
    got = ask("GET", "/c", If_None_Match='"other"')
    check("of another", (got.status, got.data), (200, DATA))
    ask("PUT", "/c", DATA)
    check("after PUT", ask("GET", "/c", If_None_Match=tag).status, 200)


def changes():
    ask("PUT", "/p", DATA, Content_Type="a/b")
    tag = ask("GET", "/p").getheader("ETag")
    for begin, new in ((0, b"x"), (5000, b"y" * 3000), (len(DATA) - 1, b"z")):
        before = ask("GET", "/p").data
        end = begin + len(new)
        got = ask("PUT", "/p", new, Content_Range=f"bytes {begin}-{end - 1}/{len(DATA)}")
        check(f"PUT of {begin}-{end - 1}", got.status, 204)
        check("what is there then", ask("GET", "/p").data, before[:begin] + new + before[end:])
    got = ask("GET", "/p")
    check("its ETag is another", got.getheader("ETag") != tag, True)
    check("its type is not", got.getheader("Content-Type"), "a/b")
    for text in (f"bytes 0-{len(DATA)}/*", "bytes 0-5/*", "bytes 5-4/*", "bytes x", "bytes -1-2/*"):
        check(f"PUT of {text}", ask("PUT", "/p", b"abc", Content_Range=text).status, 416)
    check("to nothing", ask("PUT", "/q", b"a", Content_Range="bytes 0-0/1").status, 404)


def refusals():
    check("a method", ask("OPTIONS", "/a").status, 405)
    check("which are", "PUT" in ask("PATCH", "/a", b"x").getheader("Allow"), True)
    got = raw(b"PUT /t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
              b"GET /t HTTP/1.1\r\nConnection: close\r\n\r\n")
    check("chunks", (got[:12], b"HTTP/1.1 404" in got), (b"HTTP/1.1 411", True))
    check("no HTTP", raw(b"hello\r\n\r\n")[:12], b"HTTP/1.1 400")
    check("a length that is none", raw(b"PUT /t HTTP/1.1\r\nContent-Length: x\r\n\r\n")[:12],
          b"HTTP/1.1 400")
    check("a log", ask("POST", "/log", b"one").status, 204)
    check("is no object", ask("PUT", "/log", b"one").status, 409)
    check("and an object no log", ask("POST", "/c", b"one").status, 409)


def connections():
    conn = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    ask("PUT", "/k", b"kept", conn)
    sock = conn.sock
    for _ in range(20):
        check("one connection", ask("GET", "/k", connection=conn).data, b"kept")
    check("is the same", conn.sock is sock, True)
    check("close", b"Connection: close" in raw(b"GET /k HTTP/1.1\r\nConnection: close\r\n\r\n"),
          True)
    check("HTTP/1.0 closes", raw(b"GET /k HTTP/1.0\r\n\r\n")[-4:], b"kept")
    got = raw(b"GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /k HTTP/1.0\r\n\r\n")
    check("unless it is asked to be kept", got.count(b"kept"), 2)
    check("which it says", got.count(b"Connection: keep-alive"), 1)
    check("upgrades are not had", raw(b"GET /k HTTP/1.1\r\nConnection: Upgrade, close\r\n"
                                      b"Upgrade: h2c\r\n\r\n")[-4:], b"kept")
    check("a whole URL", raw(b"GET http://host/k HTTP/1.1\r\nConnection: close\r\n\r\n")[-4:],
          b"kept")


def pipelines():
    """Requests at once, and byte by byte: the answers come in their order."""
    parts, wanted = [], []
    for i in range(200):
        data = bytes([i]) * (1 + 97 * i)
        parts.append(b"PUT /n%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (i % 7, len(data)) + data)
        parts.append(b"GET /n%d HTTP/1.1\r\nHost: x\r\n\r\n" % (i % 7))
        wanted.append(data)
    parts.append(b"DELETE /n0 HTTP/1.1\r\nConnection: close\r\n\r\n")
    got = raw(b"".join(parts))
    for data in wanted:
        at = got.find(b"HTTP/1.1 200 OK")
        end = got.find(b"\r\n\r\n", at) + 4
        check("in order", got[end:end + len(data)] == data, True)
        got = got[end + len(data):]
    check("the last", got[:12], b"HTTP/1.1 204")
    slowly = (b"PUT /slow HTTP/1.1\r\nContent-Type: x/y\r\nContent-Length: 5\r\n\r\nslow!"
              b"GET /slow HTTP/1.1\r\nRange: bytes=1-3\r\nConnection: close\r\n\r\n")
    for pieces in 1, 2, 3, 7:
        check(f"by {pieces} bytes", raw(slowly, pieces)[-3:], b"low")


def expectations():
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as sock:
        sock.sendall(b"PUT /e HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        check("go on", sock.recv(4096), b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b"abc")
        check("done", sock.recv(4096)[:12], b"HTTP/1.1 201")


def exhaustion(limit):
    """What does not fit is refused, and all else goes on."""
    conn = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    check("too much", ask("PUT", "/big", b"x" * limit, conn).status, 507)
    check("and then", ask("PUT", "/small", b"fits", conn).status, 201)
    check("it", ask("GET", "/small", connection=conn).data, b"fits")
    for _ in range(20):
        if ask("PUT", "/half", bytes(limit // 3)).status not in (201, 204):
            check("what was replaced is free again", False, True)


for part in objects, ranges, conditions, changes, refusals, connections, pipelines, expectations:
    part()
exhaustion((64 << 20) + 1)
sys.exit(1 if failed else 0)
