#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_fbuf.py [CLASS[.TEST]...]: the Python module, with the backend that the library
takes. TAP out. Give Python the paths of module and library."""

# pylint: disable=protected-access # it looks inside

import array
import errno
import gc
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import fbuf
import tap

SIZE = 16384


def pattern(size, seed=1):
    return bytes((seed + i * 7) & 0xff for i in range(251)) * (size // 251 + 1)


def pair():
    """A TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def receive(sock, size):
    data = bytearray()
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            break
        data += more
    return bytes(data)


def maps():
    with open("/proc/self/maps", encoding="utf-8") as file:
        return file.read()


def another(script):
    """What another Python says, which has our module."""
    env = {**os.environ, "PYTHONPATH": os.path.dirname(fbuf.__file__)}
    return subprocess.run([sys.executable, "-B", "-c", script], env=env, text=True, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def address(view):
    return fbuf._Pin(view).address


class Test(unittest.TestCase):
    def fails(self, code, call, *args, **named):
        with self.assertRaises(OSError) as caught:
            call(*args, **named)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[code])
        return caught.exception

    def pair(self):
        near, far = pair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def sockets(self, family=socket.AF_UNIX, kind=socket.SOCK_STREAM):
        near, far = socket.socketpair(family, kind)
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def pool(self, nr_bufs=8, **options):
        pool = fbuf.Pool(SIZE, nr_bufs, **options)
        self.addCleanup(pool.close)
        return pool


class Pools(Test):
    def test_pool_is_as_asked(self):
        with fbuf.Pool(SIZE, 3, flags=fbuf.POOL_SNAPSHOT) as pool:
            self.assertEqual((pool.buf_size, pool.nr_bufs), (SIZE, 3))
            self.assertEqual(pool.rights, fbuf.RIGHT_READ | fbuf.RIGHT_WRITE | fbuf.RIGHT_ALLOC
                             | fbuf.RIGHT_SEND)
            info = pool.info()
            self.assertEqual((info.pool_size, info.buf_size, info.nr_bufs),
                             (3 * SIZE, SIZE, 3))
            self.assertEqual(info.pool_flags, fbuf.POOL_SNAPSHOT)
            self.assertIn("nr_bufs=3", repr(info))
            os.fstat(pool.fileno())

    def test_pool_errors_are_oserrors(self):
        self.fails(errno.EINVAL, fbuf.Pool, 3, 1)
        self.fails(errno.EINVAL, fbuf.Pool, SIZE, 0)
        self.fails(errno.EINVAL, fbuf.Pool, SIZE, 1,
                   flags=fbuf.POOL_SECURED | fbuf.POOL_SNAPSHOT)
        self.fails(errno.EBADF, fbuf.Pool.open, 12345)
        with open("/dev/null", "rb") as null:
            self.fails(errno.ENOTTY, fbuf.Pool.open, null.fileno())

    def test_pool_ends_with_its_context(self):
        with fbuf.Pool(SIZE, 1) as pool:
            fd = pool.fileno()
        self.assertTrue(pool.closed)
        self.fails(errno.EBADF, os.fstat, fd)
        pool.close()

    def test_pool_is_not_used_after_close(self):
        pool = self.pool()
        buf, gather = pool.alloc(), pool.gather()
        near, _ = self.sockets()
        pool.close()
        for call in (pool.fileno, pool.info, pool.alloc, pool.gather, pool.heap, pool.ring_next,
                     pool.ring_wait, pool.ring_overflow, lambda: pool.rights,
                     lambda: pool.handle, lambda: pool.buf_size, lambda: pool.nr_bufs,
                     lambda: pool.share(fbuf.RIGHT_READ), lambda: pool.hold([1]),
                     lambda: pool.take(1), lambda: pool.wait([buf]), lambda: pool.secure([buf]),
                     lambda: pool.drop([buf]),
                     lambda: pool.pass_to(1, [buf]), lambda: pool.ring_setup(8),
                     lambda: pool.send_batch([(gather, near)]), pool.__enter__):
            self.assertRaises(ValueError, call)

    def test_buffer_and_gather_outlive_pool(self):
        pool = self.pool()
        buf, gather = pool.alloc(), pool.gather()
        near, far = self.sockets()
        pool.close()
        buf.view[:3] = b"abc"
        gather.append(buf, 0, 3).send_all(near)
        self.assertEqual(receive(far, 3), b"abc")


class Backends(Test):
    def test_backend_is_named(self):
        backend = fbuf.backend()
        self.assertIn(backend, (fbuf.BACKEND_MODULE, fbuf.BACKEND_USER))
        self.assertEqual(self.pool().backend, backend)
        self.assertEqual(fbuf.backend_name(backend),
                         "module" if backend == fbuf.BACKEND_MODULE else "user")
        wanted = os.environ.get("FBUF_BACKEND")
        self.assertIn(wanted, (None, fbuf.backend_name(backend)))

    def test_backend_of_new_pools_can_be_set(self):
        self.addCleanup(fbuf.set_backend, 0)
        fbuf.set_backend(fbuf.BACKEND_USER)
        self.assertEqual(self.pool().backend, fbuf.BACKEND_USER)
        self.fails(errno.EINVAL, fbuf.set_backend, 77)

    def test_features(self):
        user = fbuf.features(fbuf.BACKEND_USER)
        self.assertTrue(user & fbuf.FEATURE_HEAP)
        self.assertFalse(user & fbuf.FEATURE_REFERENCE)
        self.assertEqual(fbuf.features(), fbuf.features(fbuf.backend()))


class Buffers(Test):
    def test_buffer_is_memory(self):
        buf = self.pool().alloc()
        view = buf.view
        self.assertEqual((len(buf), len(view), view.format, view.readonly),
                         (SIZE, SIZE, "B", False))
        view[:] = pattern(SIZE)[:SIZE]
        self.assertEqual(bytes(buf.view), pattern(SIZE)[:SIZE])

    def test_buffers_do_not_overlap(self):
        bufs = self.pool().alloc_many(8)
        for i, buf in enumerate(bufs):
            buf.view[:] = bytes([i]) * SIZE
        for i, buf in enumerate(bufs):
            self.assertEqual(bytes(buf.view), bytes([i]) * SIZE)
        self.assertEqual(len({buf.name for buf in bufs}), 8)

    def test_buffer_is_free_after_its_context(self):
        pool = self.pool(1)
        with pool.alloc() as buf:
            self.fails(errno.ENOBUFS, pool.alloc)
        with pool.alloc():
            pass
        self.assertRaises(ValueError, lambda: buf.view)
        self.assertRaises(ValueError, lambda: buf.name)
        self.assertRaises(ValueError, lambda: buf.idle)
        self.assertRaises(ValueError, buf.wait)
        self.assertRaises(ValueError, buf.fill, 0)
        self.assertRaises(ValueError, len, buf)
        buf.free()

    def test_buffer_is_free_when_nobody_has_it(self):
        pool = self.pool(1)
        pool.alloc()
        gc.collect()
        pool.alloc(0).free()

    def test_alloc_many(self):
        pool = self.pool(4)
        some = pool.alloc_many(3)
        self.assertEqual(len(some), 3)
        self.assertEqual(pool.info().holds, 3)
        self.fails(errno.ENOBUFS, pool.alloc_many, 2, flags=fbuf.ALLOC_ALL)
        self.assertEqual(len(pool.alloc_many(9)), 1)
        self.fails(errno.EINVAL, pool.alloc_many, 0)

    def test_alloc_waits_as_long_as_asked(self):
        pool = self.pool(1)
        buf = pool.alloc()
        start = time.monotonic()
        self.fails(errno.ETIMEDOUT, pool.alloc_many, 1, 0.2, fbuf.ALLOC_WAIT)
        self.assertGreaterEqual(time.monotonic() - start, 0.19)
        self.assertRaises(ValueError, pool.alloc_many, 1, -1)
        buf.free()

    def test_alloc_is_woken_by_another_thread(self):
        pool = self.pool(1)
        bufs = [pool.alloc()]
        timer = threading.Timer(0.1, lambda: bufs.pop().free())
        timer.start()
        self.assertEqual(len(pool.alloc_many(1, 30, fbuf.ALLOC_WAIT)), 1)
        timer.join()

    def test_idle_buffer_is_idle(self):
        pool = self.pool()
        bufs = pool.alloc_many(2)
        self.assertTrue(bufs[0].idle)
        bufs[0].wait(0)
        self.assertEqual(pool.wait(bufs, 0), 2)

    def test_readonly_handle_has_readonly_views(self):
        pool = self.pool()
        buf = pool.alloc()
        buf.view[:2] = b"ro"
        fd, _ = pool.share(fbuf.RIGHT_READ)
        with fbuf.Pool.open(fd) as reader:
            with reader.hold([buf.name])[0] as same:
                self.assertEqual(bytes(same.view[:2]), b"ro")
                with self.assertRaises(TypeError):
                    same.view[0] = 1

    def test_handle_without_read_has_no_views(self):
        pool = self.pool()
        buf = pool.alloc()
        fd, _ = pool.share(fbuf.RIGHT_SEND)
        with fbuf.Pool.open(fd) as sender:
            with sender.hold([buf.name])[0] as same:
                self.fails(errno.EACCES, lambda: same.view)

    def test_secure(self):
        pool = self.pool(flags=fbuf.POOL_SNAPSHOT)
        buf = pool.alloc()
        pool.secure([buf])
        self.fails(errno.EOPNOTSUPP, self.pool().secure, [buf])


class Views(Test):
    """A memoryview keeps what it shows."""

    def test_view_outlives_buffer(self):
        pool = self.pool(1)
        buf = pool.alloc()
        view = buf.view
        buf.free()
        self.fails(errno.ENOBUFS, pool.alloc)
        view[:4] = b"mine"
        part = view[1:3]
        del view
        self.fails(errno.ENOBUFS, pool.alloc)
        self.assertEqual(bytes(part), b"in")
        part.release()
        pool.alloc(0)

    def test_view_outlives_pool(self):
        pool = fbuf.Pool(SIZE, 1)
        buf = pool.alloc()
        view = buf.view
        start = f"{address(view):x}-"
        pool.close()
        buf.free()
        del pool, buf
        gc.collect()
        view[:] = pattern(SIZE)[:SIZE]
        self.assertEqual(bytes(view), pattern(SIZE)[:SIZE])
        self.assertIn(start, maps())
        del view
        self.assertNotIn(start, maps())

    def test_view_of_others_outlives_pool(self):
        """What others make of a view: numpy's arrays are such a thing."""
        with fbuf.Pool(SIZE, 1) as pool, pool.alloc() as buf:
            numbers = buf.view.cast("I")
            slow = iter(buf.view)
        numbers[0] = 0x01010101
        self.assertEqual(next(slow), 1)

    def test_view_outlives_heap(self):
        with self.pool() as pool, pool.heap() as heap, heap.alloc(100) as memory:
            view = memory.view
        view[:] = b"x" * 100
        self.assertEqual(bytes(view), b"x" * 100)

    def test_cycles_end_in_order(self):
        """The collector ends the objects of a cycle in any order."""
        script = """if True:
            import fbuf, gc
            gc.disable()
            for i in range(200):
                pool = fbuf.Pool(16384, 8)
                first = pool.alloc()
                first.free()
                heap = pool.heap()
                memory = heap.alloc(100)
                objects = [pool, heap, memory, memory.view, pool.gather().append(memory.view)]
                objects = objects[i % 5:] + objects[:i % 5]
                objects.append(objects)
                del pool, heap, memory, first, objects
                gc.collect()
            import os
            print(len(os.listdir("/proc/self/fd")))
            """
        self.assertLess(int(another(script)), 20)

    def test_all_ends_with_the_program(self):
        """Whatever is left, and in whatever order Python ends it."""
        script = """if True:
            import fbuf
            pool = fbuf.Pool(16384, 8)
            heap = pool.heap()
            memory = [heap.alloc(i) for i in range(1, 100)]
            views = [m.view for m in memory]
            other = fbuf.Pool(16384, 8)
            bufs = other.alloc_many(4)
            gather = other.gather().append(bufs[0])
            counted = [fbuf.View.wrap(views[0]), heap.view(10), fbuf.View.wrap(bytearray(10))]
            """
        self.assertEqual(another(script), "")

    def test_child_frees_nothing_of_its_parents(self):
        pool = self.pool(1)
        buf = pool.alloc()
        child = os.fork()
        if not child:
            status = 1
            try:
                buf.free()
                pool.close()
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.fails(errno.ENOBUFS, pool.alloc, 0)
        self.assertEqual(pool.info().holds, 1)
        buf.free()
        self.assertEqual(pool.info().holds, 0)

    def test_pool_closed_while_a_thread_waits(self):
        pool = self.pool(1)
        pool.ring_setup(8)
        start = threading.Barrier(2)
        got = []

        def wait():
            start.wait()
            try:
                got.append(pool.ring_wait(0.5))
            except ValueError:
                got.append(None)    # it came late

        thread = threading.Thread(target=wait)
        thread.start()
        start.wait()
        time.sleep(0.1)
        pool.close()
        thread.join()
        self.assertEqual(got, [None])


class Sends(Test):
    def test_gather_is_sent(self):
        pool = self.pool()
        near, far = self.pair()
        buf, other = pool.alloc_many(2)
        buf.view[:] = pattern(SIZE, 1)[:SIZE]
        other.view[:] = pattern(SIZE, 2)[:SIZE]
        frozen = memoryview(b"frozen")
        numbers = array.array("I", [1, 2, 3])
        with mmap.mmap(-1, 4096) as mapped, pool.gather() as g:
            mapped[:6] = b"mapped"
            g.append(buf).append(b"-").append(other, 10, 100).append(bytearray(b"grows"))
            g.append(frozen, 2).append(numbers).append(mapped, 0, 6)
            g.append(other.view[20:30]).append("é".encode()).append(b"")
            g.prepend(buf.view[5:7]).prepend(b"head")
            want = (b"head" + pattern(SIZE, 1)[5:7] + pattern(SIZE, 1)[:SIZE] + b"-"
                    + pattern(SIZE, 2)[10:110] + b"growsozen" + numbers.tobytes() + b"mapped"
                    + pattern(SIZE, 2)[20:30] + "é".encode())
            self.assertEqual(len(g), len(want))
            self.assertEqual(g.send_all(near), len(want))
            self.assertEqual(receive(far, len(want)), want)

    def test_buffers_go_by_reference_and_bytes_inline(self):
        pool, stranger = self.pool(), self.pool()
        buf = pool.alloc()
        with pool.gather() as g:
            g.append(buf, 3, 7).append(b"inline").append(buf.view[64:96])
            g.append(stranger.alloc(), 0, 5)
            kinds = [(s.len, bool(s.flags & fbuf.SEG_INLINE)) for s in g.segments]
        self.assertEqual(kinds, [(7, False), (6, True), (32, False), (5, True)])

    def test_gather_keeps_what_is_in_it(self):
        pool = self.pool(1)
        near, far = self.sockets()
        growing = bytearray(b"bytes")
        with pool.gather() as g:
            with pool.alloc() as buf:
                buf.view[:4] = b"kept"
                g.append(buf, 0, 4)
            g.append(bytes([65, 66]) * 2).append(growing)
            gc.collect()
            self.fails(errno.ENOBUFS, pool.alloc)
            with self.assertRaises(BufferError):
                growing.append(1)
            g.send_all(near)
            self.assertEqual(receive(far, 13), b"keptABABbytes")
            g.reset()
            growing.append(1)
            pool.alloc(5).free()
            self.assertEqual(len(g), 0)

    def test_gather_of_a_part_that_is_not_there(self):
        pool = self.pool()
        buf = pool.alloc()
        with pool.gather() as g:
            for args in ((buf, SIZE + 1), (buf, 0, SIZE + 1), (buf, -1), (buf, 1, -1),
                         (b"abc", 4), (b"abc", 1, 3), (b"abc", -1, 1)):
                self.assertRaises(ValueError, g.append, *args)
                self.assertRaises(ValueError, g.prepend, *args)
            self.assertRaises(BufferError, g.append, memoryview(b"abcd")[::2])
            self.assertRaises(TypeError, g.append, "text")
            self.assertEqual(len(g), 0)

    def test_gather_that_is_too_long(self):
        with self.pool().gather() as g:
            for _ in range(fbuf.SEGS_MAX // 2):
                g.append(b"x" * (fbuf.INLINE_MAX + 1))
            self.fails(errno.EMSGSIZE, g.append, b"one more")

    def test_slice(self):
        pool = self.pool()
        near, far = self.sockets()
        buf = pool.alloc()
        buf.view[:10] = b"0123456789"
        with pool.gather() as whole, pool.gather() as part:
            whole.append(buf, 0, 10).append(b"abc")
            part.slice(whole, 8, 4)
            part.slice(part, 0, 2)
            whole.close()
            buf.free()
            part.send_all(near)
            self.assertEqual(receive(far, 6), b"89ab89")
            self.fails(errno.EINVAL, part.slice, part, 5, 2)

    def test_gather_is_not_used_after_close(self):
        g = self.pool().gather()
        near, _ = self.sockets()
        g.close()
        g.close()
        for call in (lambda: g.append(b"x"), lambda: g.prepend(b"x"), lambda: len(g), g.reset,
                     lambda: g.segments, lambda: g.send(near), lambda: g.send_all(near),
                     lambda: g.fanout([near]), lambda: g.slice(g, 0, 0), g.__enter__):
            self.assertRaises(ValueError, call)

    def test_send_tells_what_it_did(self):
        pool = self.pool()
        near, far = self.pair()
        buf = pool.alloc()
        with pool.gather() as g:
            g.append(buf)
            self.assertEqual(g.send(near, engines=fbuf.ENGINE_COPY), SIZE)
            self.assertEqual((g.engine, g.copied), (fbuf.ENGINE_COPY, SIZE))
        self.assertEqual(receive(far, SIZE), bytes(SIZE))
        self.assertEqual(fbuf.engine_name(fbuf.ENGINE_COPY), "copy")

    def test_errors_of_sockets(self):
        pool = self.pool()
        buf = pool.alloc()
        near, far = self.pair()
        near.setblocking(False)
        with pool.gather() as g:
            self.fails(errno.EINVAL, g.send, near)
            g.append(buf)
            with self.assertRaises(BlockingIOError):
                for _ in range(10000):
                    g.send(near)
            with open("/dev/null", "wb") as null:
                self.fails(errno.ENOTSOCK, g.send, null)
            self.fails(errno.EBADF, g.send, 12345)
            self.fails(errno.EINVAL, g.send, near, 1 << 31)
            lone = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self.addCleanup(lone.close)
            self.assertRaises(BrokenPipeError, g.send, lone)
            far.close()
            with self.assertRaises((ConnectionResetError, BrokenPipeError)) as caught:
                g.send_all(near)
            self.assertEqual(caught.exception.sent, 0)

    def test_send_all_of_more_than_there_is_room_for(self):
        pool = self.pool(64)
        near, far = self.pair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        near.setblocking(False)
        got = []
        thread = threading.Thread(target=lambda: got.append(receive(far, 64 * SIZE)))
        with pool.gather() as g:
            for i, buf in enumerate(pool.alloc_many(64)):
                buf.view[:] = bytes([i]) * SIZE
                g.append(buf)
            thread.start()
            self.assertEqual(g.send_all(near), 64 * SIZE)
        thread.join()
        self.assertEqual(got[0], b"".join(bytes([i]) * SIZE for i in range(64)))

    def test_send_all_tells_how_much_went_out(self):
        pool = self.pool(64)
        near, far = self.sockets()
        near.settimeout(None)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, b"\0" * 8 + (200000).to_bytes(8, "little"))
        with pool.gather() as g:
            for buf in pool.alloc_many(64):
                g.append(buf)
            error = self.fails(errno.EAGAIN, g.send_all, near)
        far.setblocking(False)
        count = 0
        try:
            while True:
                count += len(far.recv(1 << 20))
        except BlockingIOError:
            pass
        self.assertEqual(error.sent, count)
        self.assertGreater(count, 0)

    def test_fanout(self):
        pool = self.pool()
        pairs = [self.pair() for _ in range(5)]
        buf = pool.alloc()
        buf.view[:] = pattern(SIZE)[:SIZE]
        pairs[2][0].shutdown(socket.SHUT_WR)
        with pool.gather() as g:
            results = g.append(buf).fanout([near for near, _ in pairs])
        self.assertEqual([r.result for r in results], [SIZE, SIZE, -errno.EPIPE, SIZE, SIZE])
        for i, (_, far) in enumerate(pairs):
            if i != 2:
                self.assertEqual(receive(far, SIZE), pattern(SIZE)[:SIZE])

    def test_send_batch(self):
        pool = self.pool()
        pairs = [self.pair() for _ in range(3)]
        with pool.gather() as one, pool.gather() as two:
            one.append(b"one")
            two.append(pool.alloc(), 0, 100)
            results = pool.send_batch([(one, pairs[0][0]), (two, pairs[1][0]), (one, pairs[2][0]),
                                       (one, 12345)])
        self.assertEqual([r.result for r in results], [3, 100, 3, -errno.EBADF])
        self.assertEqual(receive(pairs[1][1], 100), bytes(100))
        self.assertEqual(receive(pairs[2][1], 3), b"one")

    def test_datagrams_to_addresses(self):
        pool = self.pool()
        buf = pool.alloc()
        buf.view[:4] = b"data"
        with tempfile.TemporaryDirectory() as folder, pool.gather() as g:
            g.append(buf, 0, 4).append(b"gram")
            for family, where in ((socket.AF_INET, ("127.0.0.1", 0)),
                                  (socket.AF_INET6, ("::1", 0)),
                                  (socket.AF_UNIX, folder + "/socket")):
                with socket.socket(family, socket.SOCK_DGRAM) as far, \
                        socket.socket(family, socket.SOCK_DGRAM) as near:
                    far.bind(where)
                    self.assertEqual(g.send(near, address=far.getsockname()), 8)
                    self.assertEqual(far.recv(100), b"datagram")
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as other:
                self.assertRaises(ValueError, g.send, other, address=(0, 0))

    def test_datagrams_cut_by_the_kernel(self):
        pool = self.pool()
        buf = pool.alloc()
        buf.view[:] = pattern(SIZE)[:SIZE]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near, pool.gather() as g:
            far.bind(("127.0.0.1", 0))
            g.append(buf, 0, 2500)
            self.assertEqual(g.send(near, address=far.getsockname(), segment=1000), 2500)
            self.assertEqual([len(far.recv(9999)) for _ in range(3)], [1000, 1000, 500])

    def test_send_waits_and_others_run(self):
        """The library is called without Python's lock."""
        pool = self.pool(64)
        near, far = self.pair()
        with pool.gather() as g:
            for buf in pool.alloc_many(64):
                g.append(buf)
            rounds = 16
            thread = threading.Thread(target=lambda: [g.send_all(near) for _ in range(rounds)])
            thread.start()
            self.assertEqual(len(receive(far, rounds * 64 * SIZE)), rounds * 64 * SIZE)
            thread.join()

    def test_gather_stays_while_it_is_sent(self):
        pool = self.pool(64)
        bufs = pool.alloc_many(64)
        for name in ("send", "send_all"):
            near, far = self.sockets()
            g = pool.gather()
            for buf in bufs:
                g.append(buf)
            sent = []
            sender = threading.Thread(target=lambda g=g, near=near, name=name, sent=sent:
                                      sent.append(getattr(g, name)(near)))
            other = threading.Thread(target=g.reset)
            sender.start()
            select.select([far], [], [], 30)
            other.start()
            other.join(0.2)
            self.assertTrue(other.is_alive())
            got = receive(far, 64 * SIZE)
            sender.join()
            other.join()
            self.assertEqual((sent, len(got), len(g)), ([64 * SIZE], 64 * SIZE, 0))

    def test_gather_of_two_threads(self):
        """One waits for the other, and all goes out whole."""
        pool = self.pool(2)
        near, far = self.sockets()
        bufs = pool.alloc_many(2)
        bufs[0].view[:] = b"a" * SIZE
        bufs[1].view[:] = b"b" * SIZE
        g = pool.gather()

        def send(buf):
            for _ in range(100):
                with g._lock:
                    g.reset().append(buf).send_all(near)

        threads = [threading.Thread(target=send, args=(buf,)) for buf in bufs]
        for thread in threads:
            thread.start()
        seen = [receive(far, SIZE) for _ in range(200)]
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(set(seen)), [b"a" * SIZE, b"b" * SIZE])
        self.assertEqual(seen.count(b"a" * SIZE), 100)


class Messages(Test):
    def test_sendmsg(self):
        pool = self.pool()
        near, far = self.pair()
        buf = pool.alloc()
        buf.view[:] = pattern(SIZE)[:SIZE]
        parts = [b"head", buf, bytearray(b"mid"), buf.view[7:99], b"", b"x" * 10000]
        want = b"".join(bytes(p.view if p is buf else p) for p in parts)
        self.assertEqual(pool.sendmsg(near, parts), len(want))
        self.assertEqual(receive(far, len(want)), want)
        self.assertEqual(pool.writev(near, parts), len(want))
        self.assertEqual(receive(far, len(want)), want)

    def test_sendmsg_errors(self):
        pool = self.pool()
        near, far = self.pair()
        far.close()
        with self.assertRaises(OSError):
            for _ in range(100):
                pool.sendmsg(near, [b"x"], flags=socket.MSG_NOSIGNAL)
        self.fails(errno.EBADF, pool.sendmsg, 12345, [b"x"])
        self.fails(errno.EBADF, pool.writev, 12345, [b"x"])
        pool.close()
        self.assertRaises(ValueError, pool.sendmsg, near, [b"x"])
        self.assertRaises(ValueError, pool.writev, near, [b"x"])

    def test_sendmsg_with_an_address_and_control_data(self):
        pool = self.pool()
        buf = pool.alloc()
        buf.view[:4] = b"data"
        near, far = self.sockets()
        with tempfile.TemporaryFile() as file:
            fds = array.array("i", [file.fileno()])
            pool.sendmsg(near, [buf.view[:4]],
                         [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] * 2)
            data, got, *_ = socket.recv_fds(far, 10, 2)
            self.assertEqual(data, b"data")
            for fd in got:
                self.assertEqual(os.fstat(fd).st_ino, os.fstat(file.fileno()).st_ino)
                os.close(fd)
            self.assertEqual(len(got), 2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
            two.bind(("127.0.0.1", 0))
            self.assertEqual(pool.sendmsg(one, [buf.view[:4], b"!"], address=two.getsockname()),
                             5)
            self.assertEqual(two.recv(10), b"data!")


class CountedViews(Test):
    def test_bytes_and_cursors(self):
        for view in (fbuf.View.alloc(16), self.pool().heap().view(16)):
            self.assertEqual((len(view), view.reader, view.writer, view.count), (0, 0, 0, 1))
            self.assertGreaterEqual(view.capacity, 16)
            view.write(b"hello world")
            self.assertEqual((len(view), bytes(view)), (11, b"hello world"))
            self.assertEqual(view.read(6), b"hello ")
            view.skip(1)
            self.assertEqual(bytes(view), b"orld")
            view.set(0, b"HE")
            self.assertEqual(view.get(0, 5), b"HEllo")
            view.set_cursors(0, 4)
            self.assertEqual(bytes(view), b"HEll")
            view.truncate(2)
            self.assertEqual(view.read(), b"HE")
            view.clear()
            view.write(b"x" * 1000)
            self.assertEqual(bytes(view), b"x" * 1000)
            view.skip(990)
            view.discard()
            self.assertEqual(bytes(view), b"x" * 10)
            view.ensure(5000)
            view.set_capacity(10)
            self.assertEqual(view.capacity, 10)
            self.fails(errno.ERANGE, view.skip, 11)
            self.fails(errno.ERANGE, view.read, 11)
            self.fails(errno.ERANGE, view.get, 8, 3)
            self.fails(errno.ERANGE, view.set_cursors, 3, 2)

    def test_view_is_not_used_after_close(self):
        view = fbuf.View.alloc(10)
        view.close()
        for call in (lambda: len(view), lambda: bytes(view), view.read, view.duplicate,
                     view.pieces, view.space, view.clear, lambda: view.count,
                     lambda: view.slice(0, 1), view.components, lambda: view.add(view)):
            self.assertRaises(ValueError, call)

    def test_parts_keep_the_whole(self):
        with self.pool().heap() as heap:
            whole = heap.view(100)
            whole.write(b"0123456789")
            part, same, frozen = whole.slice(2, 5), whole.duplicate(), whole.read_only()
            self.assertEqual(bytes(whole.read_slice(3)), b"012")
            self.assertEqual(bytes(same), b"0123456789")
            self.assertRaises(MemoryError, whole.slice, 99999, 1)
            self.assertTrue(frozen.readonly)
            self.fails(errno.EACCES, frozen.set, 0, b"x")
            self.fails(errno.EBUSY, whole.ensure, 100000)
            whole.close()
            same.close()
            part.set(0, b"X")
            self.assertEqual((bytes(part), bytes(frozen)), (b"X3456", b"01X3456789"))
            self.assertEqual(heap.stats().frees, 0)
            part.close()
            frozen.close()
            self.assertEqual(heap.stats().allocs, heap.stats().frees)

    def test_pieces_are_memory(self):
        view = fbuf.View.alloc(100)
        view.write(b"0123456789")
        piece, = view.pieces(2, 5)
        piece[0] = ord("X")
        self.assertEqual((bytes(piece), bytes(view)), (b"X3456", b"01X3456789"))
        self.fails(errno.EBUSY, view.ensure, 1 << 20)
        view.close()
        gc.collect()
        self.assertEqual(bytes(piece), b"X3456")

    def test_space_is_received_into(self):
        near, far = self.sockets()
        view = fbuf.View.alloc(100)
        near.sendall(b"received")
        view.wrote(far.recv_into(view.space()))
        self.assertEqual(bytes(view), b"received")
        view.ensure(1 << 20)

    def test_wrapped_bytes_stay(self):
        growing = bytearray(b"growing")
        views = [fbuf.View.wrap(growing), fbuf.View.wrap(b"constant", 1, 5)]
        self.assertEqual([bytes(v) for v in views], [b"growing", b"onsta"])
        self.assertEqual([v.readonly for v in views], [False, True])
        views[0].set(0, b"G")
        self.assertEqual(growing, b"Growing")
        self.assertRaises(BufferError, growing.append, 1)
        part = views[0].slice(1, 2)
        views[0].close()
        self.assertRaises(BufferError, growing.append, 1)
        part.close()
        growing.append(1)
        views[1].close()
        self.assertEqual(fbuf._kept, {})

    def test_wrapped_buffer_is_held(self):
        pool = self.pool(1)
        with pool.alloc() as buf:
            buf.view[:4] = b"kept"
            view = fbuf.View.wrap(buf, 0, 4)
        self.fails(errno.ENOBUFS, pool.alloc)
        self.assertEqual(bytes(view), b"kept")
        view.close()
        pool.alloc(0).free()

    def test_composites(self):
        a, b, c = (fbuf.View.wrap(x) for x in (b"one", b"two", b"three"))
        with fbuf.View.composite() as all_of_them:
            all_of_them.add(a)
            all_of_them.add(c)
            all_of_them.insert(1, b)
            self.assertEqual(bytes(all_of_them), b"onetwothree")
            self.assertEqual(all_of_them.components(), 3)
            self.assertEqual(bytes(all_of_them.component(2)), b"three")
            self.assertEqual([bytes(p) for p in all_of_them.pieces(1, 8)], [b"ne", b"two", b"thr"])
            self.assertEqual(a.count, 2)
            many = fbuf.View.composite()
            for _ in range(50):
                many.add(b)
            self.assertEqual(b"".join(many.pieces()), b"two" * 50)
            many.add(all_of_them, flat=True)
            self.assertEqual(many.components(), 53)
            many.remove(0, 49)
            many.consolidate(0, 2)
            self.assertEqual((many.components(), bytes(many)), (3, b"two" + b"onetwothree"))
            many.skip(6)
            many.discard_components()
            self.assertEqual(bytes(many), b"twothree")
            self.fails(errno.EINVAL, a.add, b)
            self.fails(errno.EINVAL, a.components)
            other = all_of_them.aggregate()
            other.concat(a)
            other.replace(0, 3, c)
            other.replace(5, 3)
            self.assertEqual(bytes(other), b"threethreeone")
            self.assertEqual(bytes(other.copy(0, 5)), b"three")
        many.close()
        other.close()
        self.assertEqual((a.count, b.count, c.count), (1, 1, 1))

    def test_view_of_views(self):
        one, two = fbuf.View.wrap(b"source"), fbuf.View.alloc(10)
        two.write_view(one, 4)
        self.assertEqual((bytes(one), bytes(two)), (b"ce", b"sour"))


class Queues(Test):
    def queue(self, heap, **options):
        near, far = self.pair()
        near.setblocking(False)
        queue = fbuf.Queue(heap, near, **options)
        self.addCleanup(queue.close)
        return queue, far

    def until_idle(self, heap, calls, count):
        end = time.monotonic() + 30
        while len(calls) < count and time.monotonic() < end:
            select.select([heap.notices_fd()], [], [], 0.1)
            heap.notices()
        self.assertEqual(len(calls), count)

    def test_all_kinds_are_sent_in_order(self):
        with self.pool(64).heap() as heap:
            queue, far = self.queue(heap)
            memory = heap.copy(pattern(50000)[:50000])
            view = heap.view(100)
            view.write(b"view")
            queue.send(b"bytes")
            queue.send(memory)
            queue.send(view)
            queue.send(memory.view[10:20])
            queue.send(bytearray(b"array"))
            view.skip(2)
            self.assertEqual((len(queue), queue.events), (50024, select.EPOLLOUT))
            before = heap.stats().frees
            memory.free()
            self.assertEqual(heap.stats().frees, before)
            view.close()
            want = b"bytes" + pattern(50000)[:50000] + b"view" + pattern(50000)[10:20] + b"array"
            self.assertTrue(queue.flush())
            self.assertEqual((len(queue), queue.events), (0, 0))
            self.assertEqual(receive(far, len(want)), want)
            self.assertEqual(heap.stats().frees, before + 2)
            self.assertEqual(fbuf._kept, {})

    def test_slow_peer_and_limit(self):
        with self.pool(256).heap() as heap:
            queue, far = self.queue(heap, limit=1 << 20)
            queue.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
            memory = heap.copy(pattern(1 << 19)[:1 << 19])
            count = 0
            with self.assertRaises(BlockingIOError):
                while count < 100:
                    queue.send(memory)
                    queue.flush()
                    count += 1
            self.assertLessEqual(len(queue), 1 << 20)
            self.assertEqual(queue.room, (1 << 20) - len(queue))
            got = []
            thread = threading.Thread(target=lambda: got.append(receive(far, count << 19)))
            thread.start()
            while not queue.flush():
                select.select([], [queue.sock], [], 30)
            thread.join()
            self.assertEqual(got[0], pattern(1 << 19)[:1 << 19] * count)

    def test_functions_are_called(self):
        with self.pool(64).heap() as heap:
            queue, far = self.queue(heap)
            calls = []
            memory, view = heap.copy(b"m" * 100), heap.view(10)
            view.write(b"v" * 10)
            for name, what in (("memory", memory), ("view", view), ("bytes", b"b" * 10)):
                queue.send(what, lambda error, name=name: calls.append((name, error)),
                           lambda name=name: calls.append((name, "idle")))
            self.assertEqual(calls, [])
            queue.flush()
            self.assertEqual(receive(far, 120), b"m" * 100 + b"v" * 10 + b"b" * 10)
            self.until_idle(heap, calls, 6)
            self.assertEqual([c for c in calls if c[1] == 0],
                             [("memory", 0), ("view", 0), ("bytes", 0)])
            self.assertEqual(len([c for c in calls if c[1] == "idle"]), 3)
            self.assertEqual(fbuf._kept, {})

    def test_functions_of_a_queue_that_is_closed(self):
        with self.pool(64).heap() as heap:
            queue, _ = self.queue(heap)
            calls = []
            queue.send(heap.copy(b"never"), calls.append, lambda: calls.append("idle"))
            queue.close()
            self.until_idle(heap, calls, 2)
            self.assertEqual(calls, [-errno.ECANCELED, "idle"])
            self.assertRaises(ValueError, queue.send, b"x")
            self.assertRaises(ValueError, queue.flush)
            self.assertRaises(ValueError, len, queue)
            self.assertEqual(fbuf._kept, {})

    def test_connection_that_is_over(self):
        with self.pool().heap() as heap:
            queue, far = self.queue(heap)
            far.close()
            with self.assertRaises((ConnectionResetError, BrokenPipeError)):
                for _ in range(100):
                    queue.send(b"x")
                    queue.flush()
                    time.sleep(0.01)

    def test_fanout(self):
        with self.pool(64).heap() as heap:
            ends = [self.queue(heap) for _ in range(4)]
            view = heap.view(50000)
            view.write(pattern(50000)[:50000])
            results = fbuf.Queue.fanout([queue for queue, _ in ends], view)
            self.assertEqual(results, [1] * 4)
            view.close()
            for _, far in ends:
                self.assertEqual(receive(far, 50000), pattern(50000)[:50000])
            self.assertEqual(fbuf.Queue.fanout([], fbuf.View.alloc(1)), [])
            with self.pool(64).heap() as other:
                stranger, _ = self.queue(other)
                self.assertRaises(ValueError, fbuf.Queue.fanout, [ends[0][0], stranger],
                                  fbuf.View.wrap(b"x"))

    def test_entries_of_a_ring_of_ones_own(self):
        pool = self.pool(64)
        pool.ring_setup(64)
        with pool.heap() as heap:
            self.assertFalse(heap.notice(fbuf.Entry(1, 2, fbuf.RING_PASSED, 0)))


class Leaks(Test):
    def test_view_that_is_forgotten_is_reported(self):
        said = another("""if True:
            import fbuf
            fbuf.view_leaks(fbuf.VIEW_LEAKS_PARANOID)
            kept, given = fbuf.View.alloc(10), fbuf.View.alloc(10)
            kept.touch("kept here")
            given.close()
            print("reported:", fbuf.view_leaks_report())
            """)
        self.assertIn("reported: 1", said)
        self.assertIn("kept here", said)
        self.fails(errno.EINVAL, fbuf.view_leaks, 99)

    def test_memory_of_check_mode_is_poisoned(self):
        said = another("""if True:
            import fbuf
            with fbuf.Pool(16384, 64) as pool, pool.heap() as heap:
                print(fbuf.view_check(True))
                view = heap.view(4096)
                view.write(b"x" * 4096)
                view.close()
                print(fbuf.view_check_look() >= 4096, fbuf.view_check(False))
            """)
        self.assertEqual(said.split(), ["False", "True", "True"])


class Channels(Test):
    def file(self, size):
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(pattern(size)[:size])
        file.flush()
        return file

    def test_transfers(self):
        file, other = self.file(100000), self.file(10)
        near, far = self.pair()
        with self.pool(64).heap() as heap:
            for memory in (None, heap):
                self.assertEqual(fbuf.transfer_to(file, 7, 50000, near, memory), 50000)
                self.assertEqual(receive(far, 50000), pattern(100000)[7:50007])
                near.sendall(b"to a file")
                self.assertEqual(fbuf.transfer_from(other, 5, 9, far, memory), 9)
                self.assertEqual(os.pread(other.fileno(), 99, 0), pattern(10)[:5] + b"to a file")
        self.assertEqual(fbuf.transfer_to(file, 100000, 5, near), 0)
        self.fails(errno.EBADF, fbuf.transfer_to, 12345, 0, 1, near)
        self.fails(errno.EINVAL, fbuf.transfer_from, file, -1, 1, far)

    def test_maps(self):
        file = self.file(100000)
        with fbuf.Map(file, fbuf.MAP_READ_WRITE, 5, 90000) as mapped:
            self.assertEqual((len(mapped), mapped.mode), (90000, fbuf.MAP_READ_WRITE))
            self.assertEqual(bytes(mapped.view), pattern(100000)[5:90005])
            self.assertEqual(mapped.read(10, 20), pattern(100000)[15:35])
            mapped.view[:3] = b"new"
            mapped.force()
            mapped.force(0, 3)
            mapped.load()
            self.assertTrue(mapped.loaded)
            self.assertEqual(os.pread(file.fileno(), 3, 5), b"new")
            view = mapped.view
            os.ftruncate(file.fileno(), 4096)
            self.assertEqual(mapped.read(3), pattern(4096)[8:4096])
        self.assertEqual(bytes(view[:3]), b"new")
        for call in (mapped.read, mapped.load, mapped.force, lambda: mapped.view,
                     lambda: mapped.loaded, lambda: mapped.mode, lambda: len(mapped)):
            self.assertRaises(ValueError, call)
        with fbuf.Map(file, fbuf.MAP_READ_ONLY, 0, 10) as frozen, \
                fbuf.Map(file, fbuf.MAP_PRIVATE, 0, 10) as private:
            with self.assertRaises(TypeError):
                frozen.view[0] = 1
            private.view[0] = private.view[0] ^ 1
            self.assertNotEqual(private.view[0], frozen.view[0])
        with fbuf.Map(file, fbuf.MAP_READ_ONLY, 0, 0) as nothing:
            self.assertEqual(bytes(nothing.view), b"")
        self.fails(errno.EINVAL, fbuf.Map, file, 9, 0, 1)


class Fills(Test):
    def test_fill_from_a_file(self):
        buf = self.pool().alloc()
        with tempfile.TemporaryFile() as file:
            file.write(pattern(SIZE * 2)[:SIZE + 100])
            file.flush()
            self.assertEqual(buf.fill(file, position=100), SIZE)
            self.assertEqual(bytes(buf.view), pattern(SIZE * 2)[100:SIZE + 100])
            os.lseek(file.fileno(), 1, os.SEEK_SET)
            self.assertEqual(buf.fill(file, 10, 5), 10)
            self.assertEqual(bytes(buf.view[5:15]), pattern(SIZE)[1:11])
            self.assertEqual(os.lseek(file.fileno(), 0, os.SEEK_CUR), 11)
            self.assertEqual(buf.fill(file, position=SIZE + 100), 0)
            self.assertEqual(buf.fill(file, position=SIZE, flags=fbuf.FILL_POS), 100)
            self.fails(errno.EINVAL, buf.fill, file, SIZE + 1)
        self.fails(errno.EBADF, buf.fill, 12345)

    def test_fill_from_a_socket(self):
        buf = self.pool().alloc()
        near, far = self.pair()
        near.sendall(b"from the network")
        self.assertEqual(buf.fill(far, 16, 0, flags=fbuf.FILL_ALL), 16)
        self.assertEqual(bytes(buf.view[:16]), b"from the network")
        far.setblocking(False)
        self.assertRaises(BlockingIOError, buf.fill, far)


class Parcels(Test):
    def test_parcel_is_read_and_sent(self):
        pool, (near, far) = self.pool(), self.pair()
        near.sendall(pattern(5000)[:5000])
        with pool.recv(far, 5000, fbuf.RECV_ALL, head=7) as parcel, pool.gather() as g:
            self.assertEqual((len(parcel), parcel.head), (5000, pattern(7)[:7]))
            self.assertTrue(parcel.name & fbuf.NAME_PARCEL)
            self.assertEqual(parcel.read(), pattern(5000)[:5000])
            self.assertEqual(parcel.read(100, 10), pattern(5000)[100:110])
            self.assertEqual((parcel.read(5000), parcel.read(9, 0)), (b"", b""))
            self.assertRaises(ValueError, parcel.read, 4999, 2)
            self.assertRaises(ValueError, parcel.read, -1, 2)
            g.append(b"head").append(parcel, 10, 300).prepend(parcel, 0, 5)
            self.assertEqual(g.send(far), 309)
            self.assertEqual(receive(near, 309), pattern(5)[:5] + b"head" + pattern(310)[10:310])
            self.assertRaises(ValueError, g.append, parcel, 4999, 2)
            self.assertEqual(pool.info().nr_parcels, 1)
        self.assertEqual(pool.info().nr_parcels, 0)
        self.assertRaises(ValueError, parcel.read)

    def test_gather_keeps_its_parcels(self):
        pool, (near, far) = self.pool(), self.sockets()
        near.sendall(b"kept")
        g = pool.gather().append(pool.recv(far, 10))
        gc.collect()
        self.assertEqual((g.send(far), receive(near, 4)), (4, b"kept"))
        g.close()
        self.assertEqual(pool.info().nr_parcels, 0)

    def test_recv_that_drops(self):
        pool, (near, far) = self.pool(), self.sockets()
        near.sendall(b"first")
        first = pool.recv(far, 10)
        near.sendall(b"second")
        with tempfile.TemporaryFile() as file:
            self.fails(errno.ENOTSOCK, pool.recv, file, 10, drop=first)
        second = pool.recv(far, 10, drop=first)
        self.assertEqual((first.closed, second.read(), second.head), (True, b"second", b""))
        far.setblocking(False)
        self.assertRaises(BlockingIOError, pool.recv, far, 10, drop=second)
        self.assertTrue(second.closed)
        self.assertEqual(pool.info().nr_parcels, 0)
        near.shutdown(socket.SHUT_WR)
        self.assertIsNone(pool.recv(far, 10))

    def test_recv_errors(self):
        pool, (near, far) = self.pool(), self.sockets()
        self.fails(errno.EINVAL, pool.recv, far, 0)
        self.fails(errno.EINVAL, pool.recv, far, fbuf.PARCEL_MAX + 1)
        self.fails(errno.EBADF, pool.recv, 12345, 1)
        near.sendall(b"other")
        other = self.pool()
        with other.recv(far, 10) as parcel, pool.gather() as g:
            self.assertRaises(ValueError, g.append, parcel)
            self.assertRaises(TypeError, fbuf.View.wrap, parcel)

    def test_view_of_a_parcel(self):
        pool, (near, far) = self.pool(), self.sockets()
        near.sendall(pattern(5000)[:5000])
        parcel = pool.recv(far, 5000, fbuf.RECV_ALL)
        view = parcel.view()
        self.assertEqual((parcel.closed, len(view), view.readonly), (True, 5000, True))
        self.assertEqual(view.get(10, 20), pattern(30)[10:30])
        pieces = view.pieces(1000)
        self.assertEqual(b"".join(pieces), pattern(5000)[1000:5000])
        with pool.heap() as heap, fbuf.Queue(heap, far) as queue:
            queue.send(view)
            view.close()
            self.assertTrue(queue.flush())
        self.assertEqual(receive(near, 5000), pattern(5000)[:5000])
        self.assertEqual(pool.info().nr_parcels, 1)
        del pieces
        gc.collect()
        self.assertEqual(pool.info().nr_parcels, 0)


class Rings(Test):
    def test_ring_that_is_not_there(self):
        pool = self.pool()
        self.fails(errno.EINVAL, pool.ring_next)
        self.fails(errno.EINVAL, pool.ring_wait, 0)
        self.fails(errno.EINVAL, pool.ring_overflow)
        self.fails(errno.EINVAL, pool.ring_setup, 3)

    def test_notices(self):
        pool = self.pool()
        near, far = self.pair()
        pool.ring_setup(64)
        self.assertIsNone(pool.ring_next())
        self.assertIsNone(pool.ring_wait(0.01))
        bufs = pool.alloc_many(2)
        with pool.gather() as g:
            g.append(bufs[0]).append(bufs[1])
            self.assertEqual(g.send(near, fbuf.SEND_NOTIFY), 2 * SIZE)
        self.assertEqual(len(receive(far, 2 * SIZE)), 2 * SIZE)
        entries = [pool.ring_wait(30), pool.ring_wait(30)]
        self.assertEqual({e.type for e in entries}, {fbuf.RING_IDLE})
        self.assertEqual({e.name for e in entries}, {buf.name for buf in bufs})
        self.assertTrue(bufs[0].idle)
        self.assertEqual(pool.ring_overflow(), 0)

    def test_pool_can_be_polled(self):
        pool = self.pool()
        near, far = self.sockets()
        pool.ring_setup(64)
        with pool.gather() as g:
            g.append(pool.alloc(), 0, 9).send(near, fbuf.SEND_NOTIFY)
        receive(far, 9)
        self.assertEqual(select.select([pool], [], [], 30)[0], [pool])

    def test_eventfd(self):
        pool = self.pool()
        near, far = self.sockets()
        event = os.eventfd(0)
        self.addCleanup(os.close, event)
        pool.ring_setup(64, fbuf.RING_EVENTFD, event)
        with pool.gather() as g:
            g.append(pool.alloc(), 0, 9).send(near, fbuf.SEND_NOTIFY)
        receive(far, 9)
        self.assertGreater(os.eventfd_read(event), 0)


class Shares(Test):
    def receiver(self, pool, rights=fbuf.RIGHT_READ | fbuf.RIGHT_WRITE | fbuf.RIGHT_SEND, **named):
        fd, handle = pool.share(rights, **named)
        other = fbuf.Pool.open(fd)
        self.addCleanup(other.close)
        self.assertEqual((other.handle, other.rights), (handle, rights))
        other.ring_setup(64, fbuf.RING_ACCEPT)
        return other

    def test_pass(self):
        pool = self.pool()
        other = self.receiver(pool)
        buf, kept = pool.alloc_many(2)
        buf.view[:6] = b"passed"
        pool.pass_to(other.handle, [(buf, 6)])
        self.assertTrue(buf.closed)
        entry = other.ring_wait(30)
        self.assertEqual((entry.type, entry.data, entry.sender),
                         (fbuf.RING_PASSED, 6, pool.handle))
        with other.take(entry.name) as mine:
            self.assertEqual(bytes(mine.view[:6]), b"passed")
            self.assertEqual((pool.info().holds, other.info().holds), (1, 1))
        pool.pass_to(other.handle, [kept], keep=True)
        self.assertFalse(kept.closed)
        other.take(other.ring_wait(30).name).free()
        self.assertEqual((pool.info().holds, other.info().holds), (1, 0))

    def test_pass_there_and_back(self):
        """What comes back is held, whatever is left of what went."""
        pool = self.pool()
        pool.ring_setup(8, fbuf.RING_ACCEPT)
        other = self.receiver(pool)
        buf = pool.alloc()
        view = buf.view
        pool.pass_to(other.handle, [buf])
        with other.take(other.ring_wait(30).name) as theirs:
            other.pass_to(pool.handle, [theirs])
        with pool.take(pool.ring_wait(30).name) as mine:
            view.release()
            gc.collect()
            self.assertEqual((pool.info().holds, other.info().holds), (1, 0))
            mine.view[0] = 1

    def test_pass_that_fails_passes_nothing(self):
        pool = self.pool()
        buf = pool.alloc()
        error = self.assertRaises(OSError, pool.pass_to, 4711, [buf])
        self.assertIsNone(error)
        self.assertFalse(buf.closed)
        buf.view[0] = 1

    def test_limit_of_holds(self):
        pool = self.pool()
        fd, _ = pool.share(fbuf.RIGHT_READ | fbuf.RIGHT_WRITE | fbuf.RIGHT_ALLOC, 2)
        with fbuf.Pool.open(fd) as other:
            self.assertEqual(len(other.alloc_many(8)), 2)
            bufs = other.alloc_many(2)
            self.fails(errno.EDQUOT, other.alloc)
            del bufs
        self.fails(errno.EINVAL, pool.share, 1 << 30)

    def test_another_process(self):
        if not fbuf.features() & fbuf.FEATURE_PROCESSES:
            self.skipTest("not with this backend")
        pool = self.pool()
        near, far = self.sockets()
        buf = pool.alloc()
        child = os.fork()
        if not child:
            status = 1
            try:
                with fbuf.Pool.open(fbuf.recv_fd(far)) as mine:
                    with mine.hold([int.from_bytes(far.recv(8), "little")])[0] as same:
                        same.view[:5] = b"child"
                far.send(b"!")
                status = 0
            finally:
                os._exit(status)
        far.close()
        fd, _ = pool.share(fbuf.RIGHT_READ | fbuf.RIGHT_WRITE)
        fbuf.send_fd(near, fd)
        os.close(fd)
        near.send(buf.name.to_bytes(8, "little"))
        self.assertEqual(near.recv(1), b"!")
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(bytes(buf.view[:5]), b"child")


class Heaps(Test):
    def test_memory_of_any_size(self):
        with self.pool(64).heap() as heap:
            for size in (1, 16, 100, 4096, 5000, SIZE, 3 * SIZE + 1):
                with heap.alloc(size) as memory:
                    self.assertEqual((len(memory), len(memory.view)), (size, size))
                    self.assertGreaterEqual(memory.usable_size, size)
                    memory.view[:] = pattern(size)[:size]
                    self.assertEqual(bytes(memory.view), pattern(size)[:size])
                self.assertTrue(memory.closed)
            self.assertRaises(ValueError, lambda: memory.view)
            self.assertEqual(address(heap.alloc(100, 4096).view) % 4096, 0)
            first = heap.alloc(300)
            first.view[:] = b"x" * 300
            first.free()
            self.assertEqual(bytes(heap.calloc(300).view), bytes(300))
            self.assertEqual(bytes(heap.copy(b"these").view), b"these")

    def test_memory_that_is_not_there(self):
        with self.pool(8).heap() as heap:
            self.assertRaises(MemoryError, heap.alloc, 9 * SIZE)
            self.assertRaises(MemoryError, heap.calloc, 9 * SIZE)
            self.assertRaises(MemoryError, heap.alloc, 16, 3)
            self.assertFalse(heap.wait(0))
            self.assertGreater(heap.stats().failed, 0)

    def test_memory_is_sent_by_reference(self):
        pool = self.pool(64)
        near, far = self.pair()
        with pool.heap() as heap, pool.gather() as g:
            memory = heap.alloc(50000)
            memory.view[:] = pattern(50000)[:50000]
            g.append(memory, 1, 49998).append(memory.view[:1]).prepend(memory.view[5:9])
            inline = [s.len for s in g.segments if s.flags & fbuf.SEG_INLINE]
            self.assertEqual(inline, [4])
            memory.free()
            self.assertEqual(heap.stats().frees, 0)
            g.send_all(near)
            g.reset()
            self.assertEqual(heap.stats().frees, 1)
        want = pattern(50000)[5:9] + pattern(50000)[1:49999] + pattern(1)[:1]
        self.assertEqual(receive(far, len(want)), want)

    def test_heap_with_a_pool_of_its_own(self):
        near, far = self.pair()
        heap = fbuf.Heap(limit=8 << 20, pool_flags=fbuf.POOL_SNAPSHOT)
        pool = heap.pool
        self.assertEqual(pool.info().pool_flags, fbuf.POOL_SNAPSHOT | fbuf.POOL_LAZY)
        self.assertGreaterEqual(pool.info().pool_size, 8 << 20)
        memory = heap.copy(pattern(100000)[:100000])
        heap.close()
        with pool.gather() as g:
            g.append(memory)
            self.assertFalse(any(s.flags & fbuf.SEG_INLINE for s in g.segments))
            g.send_all(near)
        self.assertEqual(receive(far, 100000), pattern(100000)[:100000])
        pool.close()
        self.assertEqual(bytes(memory.view), pattern(100000)[:100000])

    def test_heap_gives_memory_back(self):
        with fbuf.Heap(limit=8 << 20, keep=(1 << 64) - 1) as heap:
            memory = heap.alloc(4 << 20)
            memory.view[:] = bytes(4 << 20)
            resident = heap.stats().resident
            self.assertGreaterEqual(resident, 4 << 20)
            memory.free()
            self.assertGreater(heap.trim(), 0)
            self.assertLess(heap.stats().resident, resident)
        with self.pool().heap() as heap:
            self.fails(errno.EOPNOTSUPP, heap.trim)

    def test_buffers_that_lose_their_memory(self):
        pool = self.pool(flags=fbuf.POOL_LAZY)
        buf = pool.alloc()
        buf.view[:] = b"x" * SIZE
        pool.drop([buf])
        self.assertEqual(bytes(buf.view), bytes(SIZE))
        stale = self.pool(flags=fbuf.POOL_LAZY).alloc_many(2)[1]
        self.fails(errno.ESTALE, pool.drop, [stale])

    def test_where_memory_is(self):
        pool = self.pool(8)
        with pool.heap() as heap:
            memory = heap.alloc(2 * SIZE)
            name, offset, count = memory.ref(100, 50)
            self.assertEqual(count, min(50, SIZE - offset))
            self.assertLess(name & 0xffffffff, 8)
            self.assertEqual(memory.ref()[2] + offset - 100, SIZE)
            self.fails(errno.EINVAL, memory.ref, 2 * SIZE, 0)

    def test_heap_is_not_used_after_close(self):
        pool = self.pool()
        heap = pool.heap()
        memory = heap.alloc(10)
        heap.close()
        for call in (lambda: heap.alloc(1), lambda: heap.calloc(1), lambda: heap.copy(b"x"),
                     heap.stats, lambda: heap.wait(0), heap.trim, lambda: heap.pool):
            self.assertRaises(ValueError, call)
        memory.view[:] = b"still here"
        self.fails(errno.ENOBUFS, pool.alloc)
        memory.free()
        pool.alloc(5)

    def test_heap_of_a_pool_in_use(self):
        pool = self.pool()
        with pool.alloc():
            self.fails(errno.ENOBUFS, pool.heap)
        pool.heap().close()

    def test_many_threads(self):
        with self.pool(64).heap() as heap:
            wrong = []

            def work(seed):
                kept = []
                for i in range(500):
                    size = (seed * 37 + i * 101) % 3000 + 1
                    memory = heap.alloc(size)
                    memory.view[:] = bytes([seed]) * size
                    kept.append(memory)
                    if len(kept) > 20:
                        old = kept.pop(0)
                        if bytes(old.view) != bytes([seed]) * len(old):
                            wrong.append(seed)
                        old.free()

            threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])
            self.assertEqual(heap.stats().allocs, heap.stats().frees)


class Signals(Test):
    def after(self, seconds, handler):
        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def test_wait_goes_on_after_a_signal(self):
        pool = self.pool(1)
        pool.ring_setup(8)
        seen = []

        def handler(*_):
            seen.append(1)
            if len(seen) > 200:
                raise KeyError("it begins anew each time")

        self.after(0.1, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        start = time.monotonic()
        self.assertIsNone(pool.ring_wait(0.4))
        self.assertGreaterEqual(time.monotonic() - start, 0.39)
        self.assertGreater(len(seen), 0)

    def test_handler_that_raises_ends_a_wait(self):
        pool = self.pool(1)
        pool.ring_setup(8)

        def handler(*_):
            raise KeyError("enough")

        self.after(0.1, handler)
        self.assertRaises(KeyError, pool.ring_wait, 30)

    def test_send_goes_on_after_a_signal(self):
        pool = self.pool(64)
        near, far = self.pair()
        seen = []
        with pool.gather() as g:
            for buf in pool.alloc_many(64):
                g.append(buf)
            self.after(0.1, lambda *_: seen.append(1))
            thread = threading.Thread(target=lambda: (time.sleep(0.3),
                                                      receive(far, 16 * 64 * SIZE)))
            thread.start()
            for _ in range(16):
                self.assertEqual(g.send_all(near), 64 * SIZE)
            thread.join()
        self.assertEqual(seen, [1])


if __name__ == "__main__":
    tap.main("python")
