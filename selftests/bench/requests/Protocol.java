// SPDX-License-Identifier: GPL-2.0
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** The plainest protocol that client.c speaks: "put KEY LENGTH", "get KEY", a line each. */
final class Protocol {
	static final int LINE_MAX = 64;
	static final int HEAD_MAX = 16;

	private Protocol() { }

	static byte[] bytes(String text) {
		return text.getBytes(StandardCharsets.US_ASCII);
	}

	/** What comes before an object. */
	static byte[] head(int length) {
		return bytes(length + "\n");
	}

	/** The words of a line that is whole, or null; what was read of it is gone. */
	static String[] line(ByteBuffer from) {
		for (int at = from.position(); at < from.limit(); at++) {
			if (from.get(at) != '\n')
				continue;
			byte[] line = new byte[at - from.position()];

			from.get(line).get();
			return new String(line, StandardCharsets.US_ASCII).split(" ");
		}
		if (from.remaining() >= LINE_MAX)
			throw new IllegalArgumentException("a line without an end");
		return null;
	}
}
