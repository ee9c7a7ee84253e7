// SPDX-License-Identifier: GPL-2.0
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.ReadableByteChannel;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * NioServer PORT WAY DIRECTORY: keeps objects, and sends them, by blocking channels and a
 * thread for each client. An object is replaced where it is. WAY is how it is had and sent:
 *
 * direct, heap, mapped  write() of such a buffer
 * gather                write() of an array of direct buffers
 * transfer              transferTo() of a file
 * kafka                 a batch is read to the heap and appended to a log by
 *                       FileChannel.write(), and goes out of it by transferTo()
 * rocketmq              messages are put into a mapped log, with those of others between
 *                       them, and go out of it by one gathering write()
 * rocketmq-heap         the same, but copied to the heap and sent from there
 */
public final class NioServer extends Thread {
	private static final long LOG = 16 << 20;	/* begun anew when it is full */

	/** An object: who calls has its lock. */
	private abstract static class Stored {
		final int length;

		Stored(int length) {
			this.length = length;
		}

		/** Read the object from a channel. */
		abstract void fill(ReadableByteChannel from) throws IOException;

		/** Send the object, and its head before it. */
		abstract void send(SocketChannel to) throws IOException;
	}

	private static final Map<String, Stored> STORE = new ConcurrentHashMap<>();
	private static Way way;
	private final SocketChannel client;
	private final ByteBuffer input = ByteBuffer.allocateDirect(Protocol.LINE_MAX);

	private NioServer(SocketChannel client) {
		this.client = client;
		input.flip();
	}

	private static void readAll(ReadableByteChannel from, ByteBuffer to) throws IOException {
		while (to.hasRemaining())
			if (from.read(to) < 0)
				throw new EOFException();
	}

	private static void writeAll(SocketChannel to, ByteBuffer from) throws IOException {
		while (from.hasRemaining())
			to.write(from);
	}

	private static void gather(SocketChannel to, ByteBuffer... from) throws IOException {
		int first = 0;

		while (first < from.length) {
			to.write(from, first, from.length - first);
			while (first < from.length && !from[first].hasRemaining())
				first++;
		}
	}

	private static void transfer(FileChannel from, long at, long size, SocketChannel to)
		throws IOException {
		while (size > 0) {
			long sent = from.transferTo(at, size, to);

			if (sent <= 0)
				throw new IOException("transferTo() returned " + sent);
			at += sent;
			size -= sent;
		}
	}

	/** One buffer, which begins with the head. */
	private static final class Whole extends Stored {
		private final ByteBuffer buffer;
		private final int head;

		Whole(ByteBuffer buffer, int length) {
			super(length);
			this.buffer = buffer;
			head = buffer.put(Protocol.head(length)).position();
			buffer.limit(head + length);
		}

		@Override
		void fill(ReadableByteChannel from) throws IOException {
			readAll(from, buffer.position(head));
		}

		@Override
		void send(SocketChannel to) throws IOException {
			writeAll(to, buffer.position(0));
		}
	}

	/** The head, and pieces of equal length, each of memory of its own. */
	private static final class Gather extends Stored {
		private static final int PIECES = 16;
		private final ByteBuffer[] pieces = new ByteBuffer[1 + PIECES];

		Gather(int length) {
			super(length);
			byte[] head = Protocol.head(length);

			pieces[0] = ByteBuffer.allocateDirect(head.length).put(head);
			for (int i = 0; i < PIECES; i++)
				pieces[1 + i] = ByteBuffer.allocateDirect(
					(int)((long)length * (i + 1) / PIECES - (long)length * i / PIECES));
		}

		@Override
		void fill(ReadableByteChannel from) throws IOException {
			for (int i = 1; i < pieces.length; i++)
				readAll(from, pieces[i].position(0));
		}

		@Override
		void send(SocketChannel to) throws IOException {
			for (ByteBuffer piece : pieces)
				piece.position(0);
			gather(to, pieces);
		}
	}

	private static final class Transfer extends Stored {
		private final FileChannel file;

		Transfer(FileChannel file, int length) {
			super(length);
			this.file = file;
		}

		@Override
		void fill(ReadableByteChannel from) throws IOException {
			for (long at = 0; at < length;) {
				long moved = file.transferFrom(from, at, length - at);

				if (moved <= 0)
					throw new EOFException();
				at += moved;
			}
		}

		@Override
		void send(SocketChannel to) throws IOException {
			writeAll(to, ByteBuffer.wrap(Protocol.head(length)));
			transfer(file, 0, length, to);
		}
	}

	private static final class Kafka extends Stored {
		private final FileChannel log;
		private long at, end;

		Kafka(FileChannel log, int length) {
			super(length);
			this.log = log;
		}

		@Override
		void fill(ReadableByteChannel from) throws IOException {
			ByteBuffer batch = ByteBuffer.allocate(length);

			readAll(from, batch);
			if (end + length > LOG)
				end = 0;
			at = end;
			batch.flip();
			while (batch.hasRemaining())
				end += log.write(batch, end);
		}

		@Override
		void send(SocketChannel to) throws IOException {
			writeAll(to, ByteBuffer.wrap(Protocol.head(length)));
			transfer(log, at, length, to);
		}
	}

	private static final class RocketMq extends Stored {
		private static final int MESSAGES = 32, OTHERS = 256;
		private final MappedByteBuffer log;
		private final boolean heap;
		private final ByteBuffer[] found = new ByteBuffer[1 + MESSAGES];
		private int end;

		RocketMq(MappedByteBuffer log, int length, boolean heap) {
			super(length);
			this.log = log;
			this.heap = heap;
			found[0] = ByteBuffer.wrap(Protocol.head(length));
		}

		private ByteBuffer append(ByteBuffer from) {
			int start = end;

			log.duplicate().position(end).put(from);
			end = start + from.limit();
			return log.duplicate().limit(end).position(start).slice();
		}

		@Override
		void fill(ReadableByteChannel from) throws IOException {
			ByteBuffer message = ByteBuffer.allocateDirect(length / MESSAGES + MESSAGES);
			int rest = length;

			if (end + length + MESSAGES * OTHERS > LOG)
				end = 0;
			for (int i = MESSAGES; i > 0; i--) {
				message.clear().limit(rest / i);
				readAll(from, message);
				found[1 + MESSAGES - i] = append(message.flip());
				rest -= message.limit();
				// Of a queue whose consumer is another.
				append(message.position(0).limit(Math.min(OTHERS, message.limit())));
			}
		}

		@Override
		void send(SocketChannel to) throws IOException {
			for (ByteBuffer message : found)
				message.position(0);
			if (!heap) {
				gather(to, found);
				return;
			}
			ByteBuffer answer = ByteBuffer.allocate(found[0].limit() + length);

			for (ByteBuffer message : found)
				answer.put(message);
			writeAll(to, answer.flip());
		}
	}

	/** Make an object that is not there. */
	private interface Way {
		Stored make(int length) throws IOException;
	}

	private static FileChannel file(String directory, long size) throws IOException {
		File name = File.createTempFile("nio", null, new File(directory));
		RandomAccessFile file = new RandomAccessFile(name, "rw");

		if (!name.delete())
			throw new IOException("cannot delete " + name);
		file.setLength(size);
		return file.getChannel();
	}

	private static MappedByteBuffer mapped(String directory, long size) throws IOException {
		return file(directory, size).map(FileChannel.MapMode.READ_WRITE, 0, size);
	}

	private static Way way(String name, String in) {
		switch (name) {
		case "direct":
			return n -> new Whole(ByteBuffer.allocateDirect(Protocol.HEAD_MAX + n), n);
		case "heap":
			return n -> new Whole(ByteBuffer.allocate(Protocol.HEAD_MAX + n), n);
		case "mapped":
			return n -> new Whole(mapped(in, Protocol.HEAD_MAX + n), n);
		case "gather":
			return Gather::new;
		case "transfer":
			return n -> new Transfer(file(in, n), n);
		case "kafka":
			return n -> new Kafka(file(in, LOG), n);
		case "rocketmq":
			return n -> new RocketMq(mapped(in, LOG), n, false);
		case "rocketmq-heap":
			return n -> new RocketMq(mapped(in, LOG), n, true);
		default:
			throw new IllegalArgumentException("no way " + name);
		}
	}

	/** What was read behind a line, and then what is still to come. */
	private final class Rest implements ReadableByteChannel {
		public int read(ByteBuffer to) throws IOException {
			if (!input.hasRemaining())
				return client.read(to);
			int n = Math.min(input.remaining(), to.remaining());
			ByteBuffer part = input.duplicate().limit(input.position() + n);

			to.put(part);
			input.position(input.position() + n);
			return n;
		}

		public boolean isOpen() {
			return client.isOpen();
		}

		public void close() {
			// It is the client's.
		}
	}

	private String[] line() throws IOException {
		String[] words = Protocol.line(input);

		while (words == null) {
			input.compact();
			if (client.read(input) < 0)
				return null;
			input.flip();
			words = Protocol.line(input);
		}
		return words;
	}

	private void put(String key, int length) throws IOException {
		Stored object = STORE.get(key);

		if (object == null || object.length != length)
			object = way.make(length);
		synchronized (object) {
			object.fill(new Rest());
		}
		STORE.put(key, object);
		writeAll(client, ByteBuffer.wrap(Protocol.bytes("stored\n")));
	}

	private void get(String key) throws IOException {
		Stored object = STORE.get(key);

		if (object == null) {
			writeAll(client, ByteBuffer.wrap(Protocol.bytes("none\n")));
			return;
		}
		synchronized (object) {
			object.send(client);
		}
	}

	@Override
	public void run() {
		try (SocketChannel closed = client) {
			closed.setOption(StandardSocketOptions.TCP_NODELAY, true);
			for (String[] words = line(); words != null; words = line())
				if (words[0].equals("put"))
					put(words[1], Integer.parseInt(words[2]));
				else
					get(words[1]);
		} catch (IOException e) {
			System.err.println("NioServer: " + e);
		}
	}

	public static void main(String[] args) throws IOException {
		ServerSocketChannel server = ServerSocketChannel.open();

		way = way(args[1], args[2]);
		server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(),
						  Integer.parseInt(args[0])));
		for (;;)
			new NioServer(server.accept()).start();
	}
}
