/*
 * messages - what a primary and its workers say to each other.
 *
 * messages.def is the only list; structs, encoders and decoders come from it.
 * No state, no I/O.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

/* Raised when an old reader would misread a new writer. */
#define MESSAGES_PROTOCOL 1

/* Not NUL-ended; points into the frame that was decoded. */
struct message_text {
	const char *text;
	size_t length;
};

struct message_rest {
	const uint8_t *bytes;
	size_t length;
};

#define U32(field)  uint32_t field;
#define TEXT(field) struct message_text field;
#define REST(field) struct message_rest field;

#define MSG(NAME, number, name, fields)                                        \
	struct message_##name {                                                \
		fields                                                         \
	};
#include "wire/messages.def"
#undef MSG

enum message_type {
#define MSG(NAME, number, name, fields) MESSAGE_##NAME = (number),
#include "wire/messages.def"
#undef MSG
};

struct message {
	enum message_type type;
	union {
#define MSG(NAME, number, name, fields) struct message_##name name;
#include "wire/messages.def"
#undef MSG
	};
};

/* "LISTEN"; "unknown" for a number that is none. */
const char *message_name(unsigned type);

/*
 * Decodes exactly the frame's bytes; texts point into them. Fails with
 * -ENOMSG (unknown type) and -EPROTO (short, or longer than its fields).
 */
int message_decode(const struct frame *frame, struct message *message);

/* The bytes of the frame that encodes it, and the frame itself, written to
 * that much room. */
size_t message_bytes(const struct message *message);
void message_encode(const struct message *message, uint16_t descriptors,
		    uint8_t *room);

#undef U32
#undef TEXT
#undef REST
