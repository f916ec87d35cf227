#include "wire/messages.h"

#include <errno.h>
#include <string.h>

#include "base/must.h"
#include "wire/bytes.h"

const char *message_name(unsigned type)
{
	switch (type) {
#define MSG(NAME, number, name, fields)                                        \
	case number:                                                           \
		return #NAME;
#include "wire/messages.def"
#undef MSG
	}
	return "unknown";
}

/* Reading: a cursor that stays short once it has run short. */
struct reader {
	const uint8_t *at;
	size_t left;
	int is_short;
};

static uint32_t read_u32(struct reader *reader)
{
	if (reader->left < 4) {
		reader->is_short = 1;
		return 0;
	}
	uint32_t value = bytes_u32(reader->at);

	reader->at += 4;
	reader->left -= 4;
	return value;
}

static struct message_text read_text(struct reader *reader)
{
	struct message_text text = { .length = read_u32(reader) };

	if (text.length > reader->left) {
		reader->is_short = 1;
		return (struct message_text){ "", 0 };
	}
	text.text = (const char *)reader->at;
	reader->at += text.length;
	reader->left -= text.length;
	return text;
}

static struct message_rest read_rest(struct reader *reader)
{
	struct message_rest rest = { reader->at, reader->left };

	reader->at += reader->left;
	reader->left = 0;
	return rest;
}

#define U32(field)  into->field = read_u32(reader);
#define TEXT(field) into->field = read_text(reader);
#define REST(field) into->field = read_rest(reader);
#define MSG(NAME, number, name, fields)                                        \
	static void read_##name(struct reader *reader,                         \
				struct message_##name *into)                   \
	{                                                                      \
		fields                                                         \
	}
#include "wire/messages.def"
#undef MSG
#undef U32
#undef TEXT
#undef REST

int message_decode(const struct frame *frame, struct message *message)
{
	struct reader reader = { frame->payload, frame->length, 0 };

	switch (frame->type) {
#define MSG(NAME, number, name, fields)                                        \
	case number:                                                           \
		message->type = MESSAGE_##NAME;                                \
		read_##name(&reader, &message->name);                          \
		break;
#include "wire/messages.def"
#undef MSG
	default:
		return -ENOMSG;
	}
	return reader.is_short || reader.left > 0 ? -EPROTO : 0;
}

#define U32(field)  +4
#define TEXT(field) +4 + from->field.length
#define REST(field) +from->field.length
#define MSG(NAME, number, name, fields)                                        \
	static size_t size_##name(const struct message_##name *from)           \
	{                                                                      \
		(void)from;                                                    \
		return (size_t)0 fields;                                       \
	}
#include "wire/messages.def"
#undef MSG
#undef U32
#undef TEXT
#undef REST

static size_t payload_bytes(const struct message *message)
{
	switch (message->type) {
#define MSG(NAME, number, name, fields)                                        \
	case MESSAGE_##NAME:                                                   \
		return size_##name(&message->name);
#include "wire/messages.def"
#undef MSG
	}
	must_fail("a message of no type", __FILE__, __LINE__);
}

size_t message_bytes(const struct message *message)
{
	return FRAME_HEAD_BYTES + payload_bytes(message);
}

static uint8_t *write_bytes(uint8_t *at, const void *bytes, size_t length)
{
	if (length > 0)
		memcpy(at, bytes, length);
	return at + length;
}

static uint8_t *write_u32(uint8_t *at, uint32_t value)
{
	bytes_put_u32(at, value);
	return at + 4;
}

#define U32(field) at = write_u32(at, from->field);
#define TEXT(field)                                                            \
	at = write_u32(at, (uint32_t)from->field.length);                      \
	at = write_bytes(at, from->field.text, from->field.length);
#define REST(field) at = write_bytes(at, from->field.bytes, from->field.length);
#define MSG(NAME, number, name, fields)                                        \
	static uint8_t *write_##name(uint8_t *at,                              \
				     const struct message_##name *from)        \
	{                                                                      \
		fields return at;                                              \
	}
#include "wire/messages.def"
#undef MSG
#undef U32
#undef TEXT
#undef REST

void message_encode(const struct message *message, uint16_t descriptors,
		    uint8_t *room)
{
	size_t length = payload_bytes(message);
	uint8_t *at = room + FRAME_HEAD_BYTES;

	frame_write_head(room, (uint16_t)message->type, descriptors,
			 (uint32_t)length);
	switch (message->type) {
#define MSG(NAME, number, name, fields)                                        \
	case MESSAGE_##NAME:                                                   \
		at = write_##name(at, &message->name);                         \
		break;
#include "wire/messages.def"
#undef MSG
	}
	MUST(at == room + FRAME_HEAD_BYTES + length);
}
