// SPDX-License-Identifier: GPL-2.0
// Nio PORT: keeps objects in buffers of each kind and sends them by channels, one thread
// for all connections. "put KEY LENGTH" and the object, "get KEY": the client's "tcp".
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

public class Nio {
	static final int LINE = 100;

	// What is kept of an object, one kind for each key.
	interface Kept {
		// What is left to send of it, by one call; false when all was sent.
		Sender sender() throws IOException;
	}

	interface Sender {
		boolean send(SocketChannel to) throws IOException;
	}

	static Sender buffers(ByteBuffer... parts) {
		return to -> {
			to.write(parts);
			for (ByteBuffer part : parts)
				if (part.hasRemaining())
					return true;
			return false;
		};
	}

	static Sender buffer(ByteBuffer all) {
		return to -> {
			to.write(all);
			return all.hasRemaining();
		};
	}

	static ByteBuffer direct(ByteBuffer from) {
		ByteBuffer to = ByteBuffer.allocateDirect(from.remaining());
		to.put(from.duplicate()).flip();
		return to;
	}

	static FileChannel file(ByteBuffer from) throws IOException {
		java.io.File path = java.io.File.createTempFile("nio", null);
		FileChannel file = new RandomAccessFile(path, "rw").getChannel();
		path.delete();
		ByteBuffer left = from.duplicate();
		while (left.hasRemaining())
			file.write(left);
		return file;
	}

	static Kept keep(int key, ByteBuffer from) throws IOException {
		switch (key / 4 % 5) {
		case 0: {		// outside the heap
			ByteBuffer kept = direct(from);
			return () -> buffer(kept.duplicate());
		}
		case 1: {		// in the heap
			ByteBuffer kept = ByteBuffer.allocate(from.remaining());
			kept.put(from.duplicate()).flip();
			return () -> buffer(kept.duplicate());
		}
		case 2: {		// in pieces that are gathered
			int third = from.remaining() / 3;
			ByteBuffer a = direct(from.duplicate().limit(from.position() + third));
			ByteBuffer b = direct(from.duplicate().position(from.position() + third)
					      .limit(from.position() + 2 * third));
			ByteBuffer c = ByteBuffer.allocate(from.remaining() - 2 * third);
			c.put(from.duplicate().position(from.position() + 2 * third)).flip();
			return () -> buffers(a.duplicate(), b.duplicate(), c.duplicate());
		}
		case 3: {		// a file that is mapped
			FileChannel file = file(from);
			ByteBuffer kept = file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
			file.close();
			return () -> buffer(kept.duplicate());
		}
		default: {		// a file that the kernel sends
			FileChannel file = file(from);
			return () -> {
				long[] at = { 0 };
				return to -> {
					at[0] += file.transferTo(at[0], file.size() - at[0], to);
					return at[0] < file.size();
				};
			};
		}
		}
	}

	static final Map<Integer, Kept> objects = new HashMap<>();

	// A connection: what came, and what is to be sent.
	static class Connection {
		final SocketChannel channel;
		ByteBuffer in = ByteBuffer.allocateDirect(1 << 16);
		int key, missing = -1;		// bytes of an object that are to come
		ByteBuffer object;
		ByteBuffer head;
		Sender body;

		Connection(SocketChannel channel) {
			this.channel = channel;
		}

		void answer(String line, Sender sender) {
			head = ByteBuffer.wrap(line.getBytes(StandardCharsets.US_ASCII));
			body = sender;
		}

		// Take a line; false if it is not all there.
		boolean line() throws IOException {
			for (int i = in.position(); i < in.limit(); i++) {
				if (in.get(i) != '\n')
					continue;
				byte[] bytes = new byte[i - in.position()];
				in.get(bytes).get();
				String[] words = new String(bytes, StandardCharsets.US_ASCII).split(" ");
				key = Integer.parseInt(words[1]);
				if (words[0].equals("put")) {
					object = ByteBuffer.allocate(Integer.parseInt(words[2]));
				} else {
					Kept kept = objects.get(key);
					if (kept == null)
						answer("none\n", null);
					else
						answer(sizes.get(key) + "\n", kept.sender());
				}
				return true;
			}
			return false;
		}

		void take() throws IOException {
			in.flip();
			while (in.hasRemaining()) {
				if (object == null) {
					if (!line())
						break;
					continue;
				}
				int n = Math.min(in.remaining(), object.remaining());
				ByteBuffer piece = in.duplicate().limit(in.position() + n);
				object.put(piece);
				in.position(in.position() + n);
				if (!object.hasRemaining()) {
					object.flip();
					sizes.put(key, object.remaining());
					objects.put(key, keep(key, object));
					object = null;
					answer("stored\n", null);
				}
			}
			in.compact();
		}

		// True if more is to be sent once there is room.
		boolean send() throws IOException {
			if (head != null) {
				channel.write(head);
				if (head.hasRemaining())
					return true;
				head = null;
			}
			if (body != null && body.send(channel))
				return true;
			body = null;
			return false;
		}
	}

	static final Map<Integer, Integer> sizes = new HashMap<>();

	public static void main(String[] args) throws IOException {
		Selector selector = Selector.open();
		ServerSocketChannel listener = ServerSocketChannel.open();
		listener.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 100);
		listener.configureBlocking(false);
		listener.register(selector, SelectionKey.OP_ACCEPT);
		for (;;) {
			selector.select();
			for (SelectionKey key : selector.selectedKeys()) {
				if (key.isAcceptable()) {
					SocketChannel channel = listener.accept();
					channel.configureBlocking(false);
					channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
					channel.register(selector, SelectionKey.OP_READ,
							 new Connection(channel));
					continue;
				}
				Connection connection = (Connection)key.attachment();
				try {
					if (key.isReadable() && connection.channel.read(connection.in) < 0) {
						connection.channel.close();
						continue;
					}
					connection.take();
					key.interestOps(connection.send() ? SelectionKey.OP_WRITE :
							SelectionKey.OP_READ);
				} catch (IOException error) {
					System.err.println(error);
					connection.channel.close();
				}
			}
			selector.selectedKeys().clear();
		}
	}
}
