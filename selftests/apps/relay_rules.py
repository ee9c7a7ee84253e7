#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""relay_rules.py PORT [python|hiredis]: what clients of redis-py are told; by redis-server too."""

import sys

import redis  # pylint: disable=import-error
from redis.connection import HiredisParser, PythonParser  # pylint: disable=import-error

PORT = int(sys.argv[1])
PARSER = HiredisParser if sys.argv[2:] == ["hiredis"] else PythonParser
failed = []


def check(what, got, wanted):
    if got != wanted:
        print(f"{what}: {got!r}, not {wanted!r}", file=sys.stderr)
        failed.append(what)


def connect():
    pool = redis.ConnectionPool(host="127.0.0.1", port=PORT, parser_class=PARSER,
                                socket_timeout=60)
    return redis.Redis(connection_pool=pool)


def error_of(function, *args):
    try:
        return function(*args)
    except redis.ResponseError as error:
        return str(error).split(" ", maxsplit=1)[0]


def next_of(sub):
    got = sub.get_message(timeout=60)
    return got and (got["type"], got["pattern"], got["channel"], got["data"])


def commands():
    r = connect()
    check("PING", r.ping(), True)
    check("nobody", r.publish("none", b"x"), 0)
    check("NUMSUB", r.pubsub_numsub("a", "b"), [(b"a", 0), (b"b", 0)])
    check("NUMPAT", r.pubsub_numpat(), 0)
    check("CHANNELS", r.pubsub_channels(), [])
    check("no name", r.client_getname(), None)
    check("SETNAME", r.client_setname("me"), True)
    check("GETNAME", r.client_getname(), "me")
    check("ID", r.client_id() > 0, True)
    check("SELECT", r.execute_command("SELECT", "0"), True)
    check("unknown", error_of(r.execute_command, "NONSENSE"), "unknown")
    check("arguments", error_of(r.execute_command, "PUBLISH", "a"), "wrong")
    check("subcommand", error_of(r.execute_command, "PUBSUB", "NONSENSE"), "unknown")
    check("lower case", r.execute_command("ping"), True)


def messages():
    r, sub = connect(), connect().pubsub()
    sub.subscribe("a", b"b\0c")
    check("subscribed", next_of(sub), ("subscribe", None, b"a", 1))
    check("and", next_of(sub), ("subscribe", None, b"b\0c", 2))
    for data in (b"", b"x", b"a\r\nb\0c", b"-ERR", bytes(range(256)) * 256, b"\xff" * (3 << 20)):
        for channel in b"a", b"b\0c":
            check("PUBLISH", r.publish(channel, data), 1)
            got = next_of(sub)
            check(f"{len(data)} bytes", got == ("message", None, channel, data), True)
    sub.subscribe("a")
    check("twice", next_of(sub), ("subscribe", None, b"a", 2))
    check("once", r.publish("a", b"one"), 1)
    check("only", next_of(sub), ("message", None, b"a", b"one"))
    sub.ping()
    check("PING", next_of(sub)[0], "pong")
    sub.ping("word")
    check("PING with a word", next_of(sub)[3], b"word")
    sub.execute_command("PUBLISH", "a", "x")
    check("PUBLISH of one that is subscribed", error_of(next_of, sub), "Can't")
    sub.unsubscribe("a")
    check("unsubscribed", next_of(sub), ("unsubscribe", None, b"a", 1))
    check("then", r.publish("a", b"x"), 0)
    sub.unsubscribe()
    check("all", next_of(sub), ("unsubscribe", None, b"b\0c", 0))
    check("channels", r.pubsub_channels(), [])


def patterns():
    r, sub = connect(), connect().pubsub()
    for pattern in b"n*", b"n?w", b"[m-o]ew", b"n\\*w", b"[^n]*":
        sub.psubscribe(pattern)
        check("psubscribe", next_of(sub)[0], "psubscribe")
    sub.subscribe("new")
    next_of(sub)
    check("NUMPAT", r.pubsub_numpat(), 5)
    check("as channel and three patterns", r.publish("new", b"1" * 70000), 4)
    got = [next_of(sub) for _ in range(4)]
    check("each", sorted((kind, pattern or b"") for kind, pattern, _, _ in got),
          [("message", b""), ("pmessage", b"[m-o]ew"), ("pmessage", b"n*"), ("pmessage", b"n?w")])
    check("the same", {(channel, data) for _, _, channel, data in got}, {(b"new", b"1" * 70000)})
    for channel, count in (("n*w", 3), ("net", 1), ("other", 1), ("mew", 2), ("", 0)):
        check(f"PUBLISH {channel}", r.publish(channel, b"x"), count)
        for _ in range(count):
            check("it", next_of(sub)[2:], (channel.encode(), b"x"))
    check("channels", r.pubsub_channels("n?w"), [b"new"])
    check("others", r.pubsub_channels("x*"), [])
    sub.punsubscribe("n*")
    check("one less", next_of(sub), ("punsubscribe", None, b"n*", 5))
    sub.punsubscribe()
    for left in 4, 3, 2, 1:
        got = next_of(sub)
        check("less", (got[0], got[3]), ("punsubscribe", left))
    check("NUMPAT", r.pubsub_numpat(), 0)
    check("the channel is left", r.publish("new", b"x"), 1)


def many():
    """Subscribers that come and go; what is sent at once."""
    r = connect()
    subs = [connect().pubsub() for _ in range(50)]
    for i, sub in enumerate(subs):
        sub.subscribe("all", f"own{i}")
        for _ in range(2):
            next_of(sub)
    check("NUMSUB", r.pubsub_numsub("all", "own7"), [(b"all", 50), (b"own7", 1)])
    pipe = r.pipeline(transaction=False)
    for i in range(100):
        pipe.publish("all", b"%d" % i * 1000)
    check("all of them", pipe.execute(), [50] * 100)
    for sub in subs:
        for i in range(100):
            if next_of(sub)[3] != b"%d" % i * 1000:
                check("in order", False, True)
    for sub in subs[::2]:
        sub.close()
    while r.publish("all", b"left") != 25:
        pass
    check("QUIT", r.execute_command("QUIT"), True)


for part in commands, messages, patterns, many:
    part()
sys.exit(1 if failed else 0)
