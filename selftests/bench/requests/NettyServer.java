// SPDX-License-Identifier: GPL-2.0
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.CompositeByteBuf;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.DefaultFileRegion;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * NettyServer PORT WAY DIRECTORY: keeps objects, and sends them, by Netty. WAY is how:
 *
 * direct     a buffer of the pooled allocator
 * heap       a wrapped array
 * wrapped    a wrapped direct ByteBuffer
 * sliced     slices of a pooled buffer, written one after another
 * composite  a composite of four pooled buffers
 * region     a file region
 *
 * A new version is in new buffers, and the old one stays until it is sent.
 */
public final class NettyServer extends ChannelInboundHandlerAdapter {
	private static final int PIECES = 4;
	private static final PooledByteBufAllocator POOL = PooledByteBufAllocator.DEFAULT;
	private static final Map<String, Stored> STORE = new HashMap<>();	// one thread

	private static String way;
	private static String directory;

	private ByteBuf input = Unpooled.EMPTY_BUFFER;
	private Stored coming;		// an object that is not whole yet
	private int missing;
	private String key;

	/** An object in pieces, or in a file. */
	private static final class Stored {
		final int length;
		final ByteBuf[] pieces;
		final File file;

		/** Of as many bytes, of which none is there. */
		Stored(int length) throws IOException {
			this.length = length;
			file = way.equals("region") ? File.createTempFile("netty", null, new File(directory)) : null;
			pieces = new ByteBuf[way.equals("composite") ? PIECES : 1];
			for (int i = 0; i < pieces.length; i++)
				pieces[i] = piece((int)((long)length * (i + 1) / pieces.length -
							(long)length * i / pieces.length));
		}

		private static ByteBuf piece(int length) {
			switch (way) {
			case "heap":
			case "region":
				return Unpooled.wrappedBuffer(new byte[length]).clear();
			case "wrapped":
				return Unpooled.wrappedBuffer(ByteBuffer.allocateDirect(length)).clear();
			case "direct":
			case "sliced":
			case "composite":
				return POOL.directBuffer(length, length);
			default:
				throw new IllegalArgumentException("no way " + way);
			}
		}

		/** Take what there is of it, but not more; how much that was. */
		int take(ByteBuf from) {
			int start = from.readerIndex();

			for (ByteBuf piece : pieces)
				piece.writeBytes(from, Math.min(from.readableBytes(), piece.writableBytes()));
			return from.readerIndex() - start;
		}

		void done() throws IOException {
			if (file == null)
				return;
			try (FileOutputStream to = new FileOutputStream(file)) {
				pieces[0].getBytes(0, to, length);
			}
		}

		void send(ChannelHandlerContext to) {
			// On the heap it would have Netty copy a composite as a whole.
			ByteBuf head = POOL.directBuffer(Protocol.HEAD_MAX)
				.writeBytes(Protocol.head(length));

			if (way.equals("composite")) {
				CompositeByteBuf all = POOL.compositeDirectBuffer(1 + pieces.length);

				all.addComponent(true, head);
				for (ByteBuf piece : pieces)
					all.addComponent(true, piece.retainedDuplicate());
				to.write(all);
				return;
			}
			to.write(head);
			if (file != null) {
				to.write(new DefaultFileRegion(file, 0, length));
			} else if (way.equals("sliced")) {
				for (int i = 0; i < PIECES; i++) {
					int at = (int)((long)length * i / PIECES);

					to.write(pieces[0].retainedSlice(at, (int)((long)length * (i + 1) / PIECES) - at));
				}
			} else {
				to.write(pieces[0].retainedDuplicate());
			}
		}

		void release() {
			for (ByteBuf piece : pieces)
				piece.release();
			if (file != null && !file.delete())
				System.err.println("NettyServer: cannot delete " + file);
		}
	}

	private static ByteBuf text(String text) {
		return Unpooled.wrappedBuffer(Protocol.bytes(text));
	}

	private void command(ChannelHandlerContext context, String[] words) throws IOException {
		key = words[1];
		if (words[0].equals("put")) {
			missing = Integer.parseInt(words[2]);
			coming = new Stored(missing);
			return;
		}
		Stored object = STORE.get(key);

		if (object == null)
			context.write(text("none\n"));
		else
			object.send(context);
	}

	/** Go on with what is coming; whether there is more to be done. */
	private boolean step(ChannelHandlerContext context) throws IOException {
		if (coming == null) {
			int length = input.bytesBefore((byte)'\n');

			if (length < 0)
				return false;
			command(context, input.readCharSequence(length, StandardCharsets.US_ASCII)
				.toString().split(" "));
			input.skipBytes(1);
			return true;
		}
		missing -= coming.take(input);
		if (missing > 0)
			return false;
		coming.done();

		Stored old = STORE.put(key, coming);

		if (old != null)
			old.release();
		coming = null;
		context.write(text("stored\n"));
		return true;
	}

	@Override
	public void channelRead(ChannelHandlerContext context, Object message) throws IOException {
		ByteBuf read = (ByteBuf)message;

		if (input.isReadable()) {
			ByteBuf both = context.alloc().buffer(input.readableBytes() + read.readableBytes());

			both.writeBytes(input).writeBytes(read);
			read.release();
			read = both;
		}
		input.release();
		input = read;
		while (step(context))
			continue;
	}

	@Override
	public void channelReadComplete(ChannelHandlerContext context) {
		context.flush();
	}

	@Override
	public void channelInactive(ChannelHandlerContext context) {
		input.release();
		if (coming != null)
			coming.release();
	}

	@Override
	public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
		System.err.println("NettyServer: " + cause);
		context.close();
	}

	public static void main(String[] args) throws InterruptedException {
		NioEventLoopGroup loop = new NioEventLoopGroup(1);

		way = args[1];
		directory = args[2];
		new ServerBootstrap().group(loop).channel(NioServerSocketChannel.class)
			.childOption(ChannelOption.TCP_NODELAY, true)
			.childHandler(new ChannelInitializer<SocketChannel>() {
				@Override
				protected void initChannel(SocketChannel channel) {
					channel.pipeline().addLast(new NettyServer());
				}
			})
			.bind("127.0.0.1", Integer.parseInt(args[0])).sync()
			.channel().closeFuture().sync();
	}
}
