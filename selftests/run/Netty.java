// SPDX-License-Identifier: GPL-2.0
// Netty PORT: keeps objects in buffers of each kind that Netty has, and sends
// them. "put KEY LENGTH" and the object, "get KEY": the client's "tcp".
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.CompositeByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.DefaultFileRegion;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.util.CharsetUtil;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

public class Netty {
	static class Kept {
		int size;
		Supplier<Object> message;	// to be written, and released by that
		ByteBuf held;			// goes when a new version comes
	}

	static final Map<Integer, Kept> objects = new ConcurrentHashMap<>();

	static Kept keep(ChannelHandlerContext context, int key, ByteBuf from) throws IOException {
		Kept kept = new Kept();
		int size = from.readableBytes(), part = size / 3;
		kept.size = size;
		switch (key / 4 % 5) {
		case 0: 	// of the pool of the channel
			kept.held = context.alloc().directBuffer(size).writeBytes(from);
			kept.message = kept.held::retainedDuplicate;
			break;
		case 1: {	// an array, wrapped
			byte[] bytes = new byte[size];
			from.readBytes(bytes);
			kept.message = () -> Unpooled.wrappedBuffer(bytes);
			break;
		}
		case 2:		// a slice of more
			kept.held = context.alloc().directBuffer(size + 77).writeZero(77).writeBytes(from);
			kept.message = () -> kept.held.retainedSlice(77, size);
			break;
		case 3: {	// put together of three
			CompositeByteBuf all = context.alloc().compositeBuffer();
			for (int at = 0; at < size; at += part + 1) {
				int n = Math.min(part + 1, size - at);
				all.addComponent(true, context.alloc().directBuffer(n).writeBytes(from, n));
			}
			kept.held = all;
			kept.message = kept.held::retainedDuplicate;
			break;
		}
		default: {	// a file
			File file = File.createTempFile("netty", null);
			file.deleteOnExit();
			try (FileOutputStream out = new FileOutputStream(file)) {
				from.readBytes(out, size);
			}
			kept.message = () -> new DefaultFileRegion(file, 0, size);
			break;
		}
		}
		return kept;
	}

	// One at a time takes a buffer or lets go of it: else it could go between.
	static Object message(Kept kept) {
		synchronized (kept) {
			return kept.held != null && kept.held.refCnt() == 0 ? null : kept.message.get();
		}
	}

	static class Handler extends ByteToMessageDecoder {
		private int key, missing = -1;

		@Override
		protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out)
				throws IOException {
			if (missing >= 0) {
				if (in.readableBytes() < missing)
					return;
				ByteBuf object = in.readSlice(missing);
				Kept before = objects.put(key, keep(context, key, object));
				if (before != null && before.held != null)
					synchronized (before) {
						before.held.release();
					}
				missing = -1;
				say(context, "stored\n");
				return;
			}
			int end = in.indexOf(in.readerIndex(), in.writerIndex(), (byte)'\n');
			if (end < 0)
				return;
			String[] words = in.readCharSequence(end - in.readerIndex(), CharsetUtil.US_ASCII)
				.toString().split(" ");
			in.skipBytes(1);
			key = Integer.parseInt(words[1]);
			if (words[0].equals("put")) {
				missing = Integer.parseInt(words[2]);
				return;
			}
			get(context);
		}

		private void get(ChannelHandlerContext context) {
			for (;;) {
				Kept kept = objects.get(key);
				if (kept == null) {
					say(context, "none\n");
					return;
				}
				Object message = message(kept);
				if (message == null)
					continue;
				context.write(Unpooled.copiedBuffer(kept.size + "\n", CharsetUtil.US_ASCII));
				context.writeAndFlush(message);
				return;
			}
		}

		private void say(ChannelHandlerContext context, String line) {
			context.writeAndFlush(Unpooled.copiedBuffer(line, CharsetUtil.US_ASCII));
		}

		@Override
		public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
			System.err.println(error);
			context.close();
		}
	}

	public static void main(String[] args) throws Exception {
		// Debian's package has no native part, and so no channels of epoll.
		EventLoopGroup group = new NioEventLoopGroup(2);
		new ServerBootstrap().group(group).channel(NioServerSocketChannel.class)
			.option(ChannelOption.SO_BACKLOG, 100)
			.childOption(ChannelOption.TCP_NODELAY, true)
			.childHandler(new ChannelInitializer<SocketChannel>() {
				@Override
				public void initChannel(SocketChannel channel) {
					channel.pipeline().addLast(new Handler());
				}
			}).bind("127.0.0.1", Integer.parseInt(args[0])).sync().channel().closeFuture().sync();
	}
}
