#include "wire/websocket.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/base64.h"
#include "base/must.h"

#define KEY_LENGTH 24
#define SHA1_BYTES 20
#define FINAL      0x80
#define COMPRESSED 0x40
#define RESERVED   0x30
#define MASKED     0x80

/* ---- The handshake ---- */

bool websocket_accept(const char *key, char accept[WEBSOCKET_ACCEPT_BYTES])
{
	static const char salt[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char salted[KEY_LENGTH + sizeof(salt)];
	uint8_t bytes[18], digest[SHA1_BYTES];
	size_t length;
	unsigned digest_length;

	if (strlen(key) != KEY_LENGTH ||
	    !base64_decode(key, KEY_LENGTH, bytes, &length) || length != 16)
		return false;
	memcpy(salted, key, KEY_LENGTH);
	memcpy(salted + KEY_LENGTH, salt, sizeof(salt));
	MUST(EVP_Digest(salted, sizeof(salted) - 1, digest, &digest_length,
			EVP_sha1(), NULL) == 1);
	base64_encode(digest, sizeof(digest), accept);
	return true;
}

/* ---- Writing ---- */

static void put_big_endian(uint8_t *to, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

size_t websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX],
		      enum websocket_opcode opcode, bool is_compressed,
		      uint64_t length)
{
	head[0] = (uint8_t)(FINAL | (is_compressed ? COMPRESSED : 0) | opcode);
	if (length < 126) {
		head[1] = (uint8_t)length;
		return 2;
	}
	if (length <= UINT16_MAX) {
		head[1] = 126;
		put_big_endian(head + 2, length, 2);
		return 4;
	}
	head[1] = 127;
	put_big_endian(head + 2, length, 8);
	return 10;
}

size_t websocket_close_payload(uint8_t payload[WEBSOCKET_CONTROL_MAX],
			       uint16_t code, const char *reason)
{
	size_t length = reason == NULL ? 0 : strlen(reason);

	if (code == WEBSOCKET_NO_CODE)
		return 0;
	MUST(length <= WEBSOCKET_REASON_MAX);
	put_big_endian(payload, code, 2);
	if (length > 0)
		memcpy(payload + 2, reason, length);
	return length + 2;
}

/* ---- Reading ---- */

void websocket_reader_fini(struct websocket_reader *reader)
{
	buffer_fini(&reader->message);
}

static int fail(struct websocket_reader *reader, enum websocket_code code,
		const char *reason)
{
	reader->code = (uint16_t)code;
	reader->reason = reason;
	return -EPROTO;
}

static bool is_control(uint8_t opcode)
{
	return (opcode & 8) != 0;
}

/* The first two bytes, which say what may follow. */
static int check_start(struct websocket_reader *reader)
{
	uint8_t opcode = reader->head[0] & 15;
	uint8_t length = reader->head[1] & 127;
	bool is_final = (reader->head[0] & FINAL) != 0;
	bool is_compressed = (reader->head[0] & COMPRESSED) != 0;
	bool is_masked = (reader->head[1] & MASKED) != 0;

	if ((reader->head[0] & RESERVED) != 0)
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a reserved bit is set");
	if (is_compressed &&
	    (!reader->takes_compressed ||
	     (opcode != WEBSOCKET_TEXT && opcode != WEBSOCKET_BINARY)))
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a frame is compressed that must not be");
	if (opcode > WEBSOCKET_PONG ||
	    (opcode > WEBSOCKET_BINARY && opcode < WEBSOCKET_CLOSE))
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a reserved opcode");
	if (is_masked == reader->is_client)
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    is_masked ? "a server's frame is masked"
				      : "a client's frame is not masked");
	if (is_control(opcode) && (!is_final || length > WEBSOCKET_CONTROL_MAX))
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a control frame is fragmented or too long");
	if (opcode == WEBSOCKET_CONTINUATION && !reader->in_message)
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a continuation of nothing");
	if ((opcode == WEBSOCKET_TEXT || opcode == WEBSOCKET_BINARY) &&
	    reader->in_message)
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a message begins within another one");
	return 0;
}

static size_t head_bytes(const struct websocket_reader *reader)
{
	uint8_t length = reader->head[1] & 127;
	size_t bytes = length == 126 ? 4 : length == 127 ? 10 : 2;

	return (reader->head[1] & MASKED) != 0 ? bytes + 4 : bytes;
}

static int read_length(struct websocket_reader *reader)
{
	uint8_t length = reader->head[1] & 127;
	size_t bytes = length == 126 ? 2 : length == 127 ? 8 : 0;

	reader->left = length;
	if (bytes == 0)
		return 0;
	reader->left = 0;
	for (size_t i = 0; i < bytes; i++)
		reader->left = reader->left << 8 | reader->head[2 + i];
	if (reader->left < (bytes == 2 ? 126 : 65536) ||
	    reader->left > INT64_MAX)
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a length is not written as short as it goes");
	return 0;
}

static int begin_frame(struct websocket_reader *reader)
{
	int error = read_length(reader);
	size_t bytes = head_bytes(reader);

	if (error < 0)
		return error;
	reader->opcode = reader->head[0] & 15;
	reader->is_final = (reader->head[0] & FINAL) != 0;
	reader->masked = 0;
	if (!reader->is_client)
		memcpy(reader->mask, reader->head + bytes - 4, 4);
	reader->in_payload = true;
	reader->head_length = 0;
	reader->control_length = 0;
	if (is_control(reader->opcode))
		return 0;
	if (reader->left >
	    reader->message_max - buffer_length(&reader->message))
		return fail(reader, WEBSOCKET_TOO_BIG,
			    "a message is longer than it may be");
	if (!reader->in_message) {
		reader->message_opcode = reader->opcode;
		reader->is_compressed = (reader->head[0] & COMPRESSED) != 0;
		reader->in_message = true;
		reader->utf8 = (struct utf8){ 0 };
	}
	return 0;
}

/* 0 and in_payload where the head is complete. */
static int read_head(struct websocket_reader *reader, const uint8_t **bytes,
		     size_t *length)
{
	while (*length > 0) {
		reader->head[reader->head_length++] = **bytes;
		(*bytes)++;
		(*length)--;
		if (reader->head_length == 2) {
			int error = check_start(reader);

			if (error < 0)
				return error;
		}
		if (reader->head_length >= 2 &&
		    reader->head_length == head_bytes(reader))
			return begin_frame(reader);
	}
	return 0;
}

/* Eight bytes at a time: clients may send megabytes. */
static void unmask(struct websocket_reader *reader, uint8_t *to,
		   const uint8_t *from, size_t length)
{
	uint8_t mask[8];
	uint64_t wide, eight;
	size_t at = 0;

	for (size_t i = 0; i < sizeof(mask); i++)
		mask[i] = reader->mask[(reader->masked + i) % 4];
	memcpy(&wide, mask, sizeof(wide));
	for (; length - at >= sizeof(eight); at += sizeof(eight)) {
		memcpy(&eight, from + at, sizeof(eight));
		eight ^= wide;
		memcpy(to + at, &eight, sizeof(eight));
	}
	for (size_t i = 0; at < length; at++, i++)
		to[at] = from[at] ^ mask[i];
	reader->masked = (uint8_t)((reader->masked + length) % 4);
}

static void copy(struct websocket_reader *reader, uint8_t *to,
		 const uint8_t *from, size_t length)
{
	if (reader->is_client)
		memcpy(to, from, length);
	else
		unmask(reader, to, from, length);
}

static bool is_allowed_code(uint16_t code)
{
	if (code >= 3000)
		return code <= 4999;
	return code >= 1000 && code <= 1014 && code != 1004 &&
	       code != WEBSOCKET_NO_CODE && code != WEBSOCKET_CUT;
}

static int end_close(struct websocket_reader *reader,
		     struct websocket_payload *payload)
{
	struct utf8 utf8 = { 0 };

	reader->close_code = WEBSOCKET_NO_CODE;
	if (reader->control_length == 0)
		return WEBSOCKET_GOT_CLOSE;
	if (reader->control_length == 1)
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "half a close code");
	reader->close_code =
		(uint16_t)(reader->control[0] << 8 | reader->control[1]);
	payload->bytes += 2;
	payload->length -= 2;
	if (!is_allowed_code(reader->close_code))
		return fail(reader, WEBSOCKET_PROTOCOL_ERROR,
			    "a close code that must not be sent");
	if (!utf8_feed(&utf8, payload->bytes, payload->length) ||
	    !utf8_is_whole(&utf8))
		return fail(reader, WEBSOCKET_BAD_DATA,
			    "a close reason is not UTF-8");
	return WEBSOCKET_GOT_CLOSE;
}

static int end_control(struct websocket_reader *reader,
		       struct websocket_payload *payload)
{
	*payload =
		(struct websocket_payload){ .bytes = reader->control,
					    .length = reader->control_length };
	if (reader->opcode == WEBSOCKET_CLOSE)
		return end_close(reader, payload);
	return reader->opcode == WEBSOCKET_PING ? WEBSOCKET_GOT_PING
						: WEBSOCKET_GOT_PONG;
}

static int end_message(struct websocket_reader *reader,
		       struct websocket_payload *payload)
{
	bool is_text = reader->message_opcode == WEBSOCKET_TEXT;

	if (is_text && !reader->is_compressed && !utf8_is_whole(&reader->utf8))
		return fail(reader, WEBSOCKET_BAD_DATA,
			    "a text message is not UTF-8");
	reader->in_message = false;
	reader->was_told = true;
	*payload = (struct websocket_payload){
		.bytes = reader->message.data == NULL
				 ? reader->control
				 : buffer_bytes(&reader->message),
		.length = buffer_length(&reader->message),
		.is_text = is_text,
		.is_compressed = reader->is_compressed,
	};
	return WEBSOCKET_GOT_MESSAGE;
}

static int read_message_part(struct websocket_reader *reader,
			     const uint8_t *bytes, size_t length)
{
	uint8_t *to = buffer_reserve(&reader->message, length);

	copy(reader, to, bytes, length);
	buffer_extend(&reader->message, length);
	if (reader->message_opcode == WEBSOCKET_TEXT &&
	    !reader->is_compressed && !utf8_feed(&reader->utf8, to, length))
		return fail(reader, WEBSOCKET_BAD_DATA,
			    "a text message is not UTF-8");
	return 0;
}

static int read_payload(struct websocket_reader *reader, const uint8_t **bytes,
			size_t *length, struct websocket_payload *payload)
{
	size_t part = *length < reader->left ? *length : (size_t)reader->left;
	int error = 0;

	if (is_control(reader->opcode)) {
		copy(reader, reader->control + reader->control_length, *bytes,
		     part);
		reader->control_length =
			(uint8_t)(reader->control_length + part);
	} else if (part > 0) {
		error = read_message_part(reader, *bytes, part);
	}
	*bytes += part;
	*length -= part;
	reader->left -= part;
	if (error < 0 || reader->left > 0)
		return error;
	reader->in_payload = false;
	if (is_control(reader->opcode))
		return end_control(reader, payload);
	return reader->is_final ? end_message(reader, payload) : WEBSOCKET_MORE;
}

int websocket_read(struct websocket_reader *reader, const uint8_t **bytes,
		   size_t *length, struct websocket_payload *payload)
{
	if (reader->was_told) {
		buffer_truncate(&reader->message, 0);
		reader->was_told = false;
	}
	for (;;) {
		if (!reader->in_payload) {
			int error = read_head(reader, bytes, length);

			if (error < 0 || !reader->in_payload)
				return error;
		}
		/* A frame without a payload is complete already. */
		if (*length == 0 && reader->left > 0)
			return WEBSOCKET_MORE;
		int answer = read_payload(reader, bytes, length, payload);

		if (answer != WEBSOCKET_MORE || *length == 0)
			return answer;
	}
}
