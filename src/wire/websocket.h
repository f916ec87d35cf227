/*
 * websocket - the bytes of RFC 6455 and back: the handshake's key, frames read
 * as they come, heads of frames to be sent.
 *
 * A reader is strict: what section 5 forbids ends the connection with the code
 * that section 7.4 names for it, at the first byte that shows it. Text is
 * checked as it comes, so that half a message that is no UTF-8 is not waited
 * out. A message is complete when it is told; its size is bounded before any
 * memory is taken for it. A reader between messages holds no memory.
 *
 * Compressed messages (RFC 7692) are for whoever has websocket_deflate.h.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/utf8.h"

#define WEBSOCKET_ACCEPT_BYTES 29 /* 28 characters and a NUL */
#define WEBSOCKET_HEAD_MAX     10 /* of what a server sends */
#define WEBSOCKET_CONTROL_MAX  125
#define WEBSOCKET_REASON_MAX   123

enum websocket_opcode {
	WEBSOCKET_CONTINUATION = 0,
	WEBSOCKET_TEXT = 1,
	WEBSOCKET_BINARY = 2,
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};

enum websocket_code {
	WEBSOCKET_NORMAL = 1000,
	WEBSOCKET_GOING_AWAY = 1001,
	WEBSOCKET_PROTOCOL_ERROR = 1002,
	WEBSOCKET_UNSUPPORTED = 1003,
	WEBSOCKET_NO_CODE = 1005, /* a close frame without one */
	WEBSOCKET_CUT = 1006,     /* no close frame came */
	WEBSOCKET_BAD_DATA = 1007,
	WEBSOCKET_POLICY = 1008,
	WEBSOCKET_TOO_BIG = 1009,
	WEBSOCKET_INTERNAL = 1011,
	WEBSOCKET_TRY_LATER = 1013,
};

/* What goes into Sec-WebSocket-Accept. False: the key is no base64 of 16
 * bytes. */
bool websocket_accept(const char *key, char accept[WEBSOCKET_ACCEPT_BYTES]);

/* The head of a frame that is not masked; answers its length. */
size_t websocket_head(uint8_t head[WEBSOCKET_HEAD_MAX],
		      enum websocket_opcode opcode, bool is_compressed,
		      uint64_t length);

/* The payload of a close frame; answers its length. WEBSOCKET_NO_CODE: none. */
size_t websocket_close_payload(uint8_t payload[WEBSOCKET_CONTROL_MAX],
			       uint16_t code, const char *reason);

struct websocket_reader {
	struct buffer message; /* what has come of one */
	uint64_t message_max;  /* bytes of one */
	uint64_t left;         /* of the frame's payload */
	uint16_t code;         /* after a failure: to close with */
	uint16_t close_code;   /* after WEBSOCKET_GOT_CLOSE: the peer's */
	uint8_t head[14];
	uint8_t head_length; /* of what has come of it */
	uint8_t mask[4];
	uint8_t masked; /* bytes of this frame, modulo 4 */
	uint8_t opcode; /* the frame's */
	uint8_t message_opcode;
	uint8_t control_length;
	bool is_final : 1;
	bool in_payload : 1;
	bool in_message : 1;
	bool is_compressed : 1; /* the message */
	bool takes_compressed : 1;
	bool is_client : 1; /* whose peer does not mask */
	bool was_told : 1;  /* `message` is to be emptied */
	struct utf8 utf8;
	uint8_t control[WEBSOCKET_CONTROL_MAX];
	const char *reason; /* after a failure */
};

/* `message_max` is in bytes, of the message as it comes. */
static inline struct websocket_reader websocket_reader(uint64_t message_max)
{
	return (struct websocket_reader){ .message_max = message_max };
}
void websocket_reader_fini(struct websocket_reader *reader);

enum websocket_answer {
	WEBSOCKET_MORE = 0, /* all was read */
	WEBSOCKET_GOT_MESSAGE,
	WEBSOCKET_GOT_PING,
	WEBSOCKET_GOT_PONG,
	WEBSOCKET_GOT_CLOSE, /* its last: nothing behind it is to be read */
};

/* Good until the next websocket_read(). A close frame's is its reason. */
struct websocket_payload {
	const uint8_t *bytes;
	size_t length;
	bool is_text;
	bool is_compressed; /* neither inflated nor checked */
};

/*
 * Reads up to the end of one frame or message, and moves `bytes` behind it.
 * -EPROTO: the connection is to be closed with reader->code and ->reason.
 */
__attribute__((warn_unused_result)) int
websocket_read(struct websocket_reader *reader, const uint8_t **bytes,
	       size_t *length, struct websocket_payload *payload);
