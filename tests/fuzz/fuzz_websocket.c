/*
 * Any bytes as what a WebSocket client sends. Read whole and in two pieces,
 * the same is told. Messages stay within their limit, text is UTF-8, and what
 * is compressed is inflated.
 *
 * The first byte says where it is cut, and its lowest bit whether messages may
 * be compressed.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/must.h"
#include "wire/websocket.h"
#include "wire/websocket_deflate.h"

#define MESSAGE_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct told {
	size_t count;
	uint32_t sum;
	int code;
	bool is_over;
};

static void add(struct told *told, const uint8_t *bytes, size_t length)
{
	told->count++;
	for (size_t i = 0; i < length; i++)
		told->sum = told->sum * 31 + bytes[i];
}

static void inflate_message(const struct websocket_payload *payload)
{
	static struct websocket_inflater *inflater;
	struct buffer to = { 0 };

	if (inflater == NULL)
		inflater = websocket_inflater_new();
	int error = websocket_inflate(inflater, payload->bytes, payload->length,
				      MESSAGE_MAX, false, &to);

	MUST(error == 0 || error == -EMSGSIZE || error == -EPROTO);
	MUST(buffer_length(&to) <= MESSAGE_MAX);
	buffer_fini(&to);
}

static void check_message(const struct websocket_payload *payload)
{
	struct utf8 utf8 = { 0 };

	MUST(payload->length <= MESSAGE_MAX);
	if (payload->is_compressed)
		inflate_message(payload);
	else if (payload->is_text)
		MUST(utf8_feed(&utf8, payload->bytes, payload->length) &&
		     utf8_is_whole(&utf8));
}

static void feed(struct websocket_reader *reader, struct told *told,
		 const uint8_t *bytes, size_t length)
{
	struct websocket_payload payload;
	int answer;

	while (!told->is_over) {
		answer = websocket_read(reader, &bytes, &length, &payload);
		if (answer == WEBSOCKET_MORE) {
			MUST(length == 0);
			return;
		}
		told->is_over = answer < 0 || answer == WEBSOCKET_GOT_CLOSE;
		if (answer < 0) {
			told->code = reader->code;
			return;
		}
		told->sum += (uint32_t)answer;
		add(told, payload.bytes, payload.length);
		if (answer == WEBSOCKET_GOT_MESSAGE)
			check_message(&payload);
		else
			MUST(payload.length <= WEBSOCKET_CONTROL_MAX);
	}
}

static struct told read_all(const uint8_t *bytes, size_t length, size_t cut,
			    bool takes_compressed)
{
	struct websocket_reader reader = websocket_reader(MESSAGE_MAX);
	struct told told = { 0 };

	reader.takes_compressed = takes_compressed;
	feed(&reader, &told, bytes, cut);
	feed(&reader, &told, bytes + cut, length - cut);
	websocket_reader_fini(&reader);
	return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct websocket_terms terms;
	char offer[256];

	if (length == 0)
		return 0;
	size_t text_length =
		length < sizeof(offer) ? length : sizeof(offer) - 1;

	memcpy(offer, bytes, text_length);
	offer[text_length] = '\0';
	if (websocket_terms_choose(offer, true, &terms))
		MUST(terms.server_bits >= 9 && terms.server_bits <= 15);

	bool takes_compressed = (bytes[0] & 1) != 0;
	size_t cut = (length - 1) * bytes[0] / 255;
	struct told whole =
		read_all(bytes + 1, length - 1, length - 1, takes_compressed);
	struct told parts =
		read_all(bytes + 1, length - 1, cut, takes_compressed);

	MUST(whole.count == parts.count && whole.sum == parts.sum);
	MUST(whole.code == parts.code && whole.is_over == parts.is_over);
	return 0;
}
