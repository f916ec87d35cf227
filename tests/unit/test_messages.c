/*
 * Every message, from the list itself: what is encoded is decoded again, what
 * is too short, too long or unknown is refused, and the bytes are those that
 * the other side has always understood.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/messages.h"

static uint32_t seed = 1;

static uint32_t draw(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8 | seed << 24;
}

/* ---- Filling a message, comparing two ----------------------------------- */

/* How a field gets its value. */
enum filling {
	FILL_ZEROES, /* and empty texts */
	FILL_ONES,   /* all bits, and long texts */
	FILL_RANDOM,
	FILL_GOLDEN, /* 0x04030201, 0x08070605...; "a", "bb", "ccc"... */
};

static enum filling filling;
static uint32_t filled; /* fields of this message so far */
static uint8_t content[8192];

static uint32_t fill_u32(void)
{
	static const uint32_t edges[] = { 0, 1, 0x7fffffff, 0x80000000,
					  0xffffffff };
	uint32_t from = filled++ * 4;

	switch (filling) {
	case FILL_ZEROES:
		return 0;
	case FILL_ONES:
		return UINT32_MAX;
	case FILL_GOLDEN:
		return from + 1 + (from + 2) * 256 + (from + 3) * 65536 +
		       (from + 4) * 16777216;
	case FILL_RANDOM:
		break;
	}
	return draw() % 4 == 0 ? edges[draw() % 5] : draw();
}

static size_t fill_length(void)
{
	uint32_t field = filled++;

	switch (filling) {
	case FILL_ZEROES:
		return 0;
	case FILL_ONES:
		return sizeof(content) - 1;
	case FILL_GOLDEN:
		return field + 1;
	case FILL_RANDOM:
		break;
	}
	return draw() % 3 == 0 ? 0 : draw() % 300;
}

static struct message_text fill_text(void)
{
	return (struct message_text){ (const char *)content, fill_length() };
}

static struct message_rest fill_rest(void)
{
	return (struct message_rest){ content, fill_length() };
}

static void assert_same_bytes(const void *one, const void *other,
			      size_t one_length, size_t other_length)
{
	assert_int_equal(one_length, other_length);
	if (one_length > 0)
		assert_memory_equal(one, other, one_length);
}

#define U32(field)  into->field = fill_u32();
#define TEXT(field) into->field = fill_text();
#define REST(field) into->field = fill_rest();
#define MSG(NAME, number, name, fields)                                        \
	static void fill_##name(struct message_##name *into)                   \
	{                                                                      \
		fields                                                         \
	}
#include "wire/messages.def"
#undef MSG
#undef U32
#undef TEXT
#undef REST

#define U32(field) assert_int_equal(one->field, other->field);
#define TEXT(field)                                                            \
	assert_same_bytes(one->field.text, other->field.text,                  \
			  one->field.length, other->field.length);
#define REST(field)                                                            \
	assert_same_bytes(one->field.bytes, other->field.bytes,                \
			  one->field.length, other->field.length);
#define MSG(NAME, number, name, fields)                                        \
	static void same_##name(const struct message_##name *one,              \
				const struct message_##name *other)            \
	{                                                                      \
		fields                                                         \
	}
#include "wire/messages.def"
#undef MSG
#undef U32
#undef TEXT
#undef REST

/* Does it end with bytes of any number? Then it cannot be too long. */
#define U32(field)
#define TEXT(field)
#define REST(field) +1
static const struct {
	unsigned number;
	const char *name;
	int has_rest;
} list[] = {
#define MSG(NAME, number, name, fields) { number, #NAME, 0 fields },
#include "wire/messages.def"
#undef MSG
};
#undef U32
#undef TEXT
#undef REST
#define COUNT (sizeof(list) / sizeof(list[0]))

static struct message fill(unsigned number, enum filling how)
{
	struct message message;

	memset(&message, 0x5a, sizeof(message));
	message.type = (enum message_type)number;
	filling = how;
	filled = 0;
	switch (message.type) {
#define MSG(NAME, number, name, fields)                                        \
	case MESSAGE_##NAME:                                                   \
		fill_##name(&message.name);                                    \
		break;
#include "wire/messages.def"
#undef MSG
	}
	return message;
}

static void assert_same(const struct message *one, const struct message *other)
{
	assert_int_equal(one->type, other->type);
	switch (one->type) {
#define MSG(NAME, number, name, fields)                                        \
	case MESSAGE_##NAME:                                                   \
		same_##name(&one->name, &other->name);                         \
		break;
#include "wire/messages.def"
#undef MSG
	}
}

/* To be freed. */
static uint8_t *encode(const struct message *message, size_t *length)
{
	uint8_t *bytes;

	*length = message_bytes(message);
	bytes = mem_alloc(*length);
	message_encode(message, 1, bytes);
	return bytes;
}

/* Decodes a payload that lies alone in its block. */
static int decode(unsigned type, const uint8_t *payload, size_t length,
		  struct message *message)
{
	uint8_t *copy = mem_copy(payload, length);
	struct frame frame = { .type = (uint16_t)type,
			       .length = (uint32_t)length,
			       .payload = copy };
	int error = message_decode(&frame, message);

	free(copy);
	return error;
}

/* ---- Tests --------------------------------------------------------------- */

static void check_round_trip(unsigned number, enum filling how)
{
	struct message sent = fill(number, how);
	struct message received;
	struct frame frame;
	size_t length;
	uint8_t *bytes = encode(&sent, &length);

	assert_int_equal(frame_read(bytes, length, &frame), FRAME_OK);
	assert_int_equal(frame_bytes(&frame), length);
	assert_int_equal(frame.type, number);
	assert_int_equal(frame.descriptors, 1);
	memset(&received, 0xa5, sizeof(received));
	assert_int_equal(message_decode(&frame, &received), 0);
	assert_same(&sent, &received);
	free(bytes);
}

static void what_is_encoded_is_decoded_again(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		check_round_trip(list[i].number, FILL_ZEROES);
		check_round_trip(list[i].number, FILL_ONES);
		for (int round = 0; round < 2000; round++)
			check_round_trip(list[i].number, FILL_RANDOM);
	}
}

static void a_payload_cut_anywhere_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		struct message sent = fill(list[i].number, FILL_GOLDEN);
		struct message received;
		size_t length;
		uint8_t *bytes = encode(&sent, &length);

		for (size_t cut = FRAME_HEAD_BYTES; cut < length; cut++)
			assert_int_equal(
				decode(list[i].number, bytes + FRAME_HEAD_BYTES,
				       cut - FRAME_HEAD_BYTES, &received),
				list[i].has_rest ? 0 : -EPROTO);
		free(bytes);
	}
}

static void a_payload_with_a_byte_too_many_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		struct message sent = fill(list[i].number, FILL_GOLDEN);
		struct message received;
		size_t length;
		uint8_t *bytes = encode(&sent, &length);

		bytes = mem_resize(bytes, length + 1, 1);
		bytes[length] = 0;
		assert_int_equal(
			decode(list[i].number, bytes + FRAME_HEAD_BYTES,
			       length + 1 - FRAME_HEAD_BYTES, &received),
			list[i].has_rest ? 0 : -EPROTO);
		free(bytes);
	}
}

static void a_text_that_claims_more_than_there_is_is_refused(void **state)
{
	(void)state;
	struct message sent = fill(MESSAGE_LISTEN, FILL_ZEROES);
	struct message received;
	size_t length;
	uint8_t *bytes = encode(&sent, &length);
	static const uint32_t claims[] = { 1, 0x7fffffff, 0x80000000,
					   0xfffffffc, 0xffffffff };

	for (size_t i = 0; i < 5; i++) {
		for (int byte = 0; byte < 4; byte++)
			bytes[length - 4 + (size_t)byte] =
				(uint8_t)(claims[i] >> (8 * byte));
		assert_int_equal(decode(MESSAGE_LISTEN,
					bytes + FRAME_HEAD_BYTES,
					length - FRAME_HEAD_BYTES, &received),
				 -EPROTO);
	}
	free(bytes);
}

static void a_type_that_nobody_knows_is_refused(void **state)
{
	(void)state;
	for (unsigned type = 0; type <= UINT16_MAX; type++) {
		struct message message;
		int is_known = 0;

		for (size_t i = 0; i < COUNT; i++)
			is_known |= list[i].number == type;
		if (is_known)
			continue;
		assert_int_equal(decode(type, content, 0, &message), -ENOMSG);
		assert_string_equal(message_name(type), "unknown");
	}
}

static void any_payload_is_decoded_or_refused(void **state)
{
	(void)state;
	uint8_t payload[64];
	struct message message;

	for (int round = 0; round < 200000; round++) {
		size_t length = draw() % (sizeof(payload) + 1);
		unsigned type = list[draw() % COUNT].number;

		for (size_t i = 0; i < length; i++)
			payload[i] = draw() % 3 == 0 ? 0 : (uint8_t)draw();
		int error = decode(type, payload, length, &message);

		assert_true(error == 0 || error == -EPROTO);
	}
}

static void numbers_and_names_are_each_given_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		assert_string_equal(message_name(list[i].number), list[i].name);
		assert_in_range(list[i].number, 1, UINT16_MAX);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(list[i].number, list[j].number);
	}
}

/* A line here may be added. One that changes is another MESSAGES_PROTOCOL. */
static const char *const golden[] = {
	"HELLO 0800000001000100 0102030405060708",
	"WELCOME 1800000002000100 0102030405060708090a0b0c0d0e0f10111"
	"2131415161718",
	"LISTEN 2d00000003000100 0102030405060708090a0b0c0d0e0f101112"
	"131415161718191a1b1c1d1e1f2009000000616263646566676869",
	"LISTEN_RESULT 3b00000004000100 0102030405060708090a0b0c0d0e0"
	"f101112131415161718191a1b1c1d1e1f200900000061626364656667686"
	"90a0000006162636465666768696a",
	"LISTENING 0400000005000100 01020304",
	"UNLISTEN 0400000006000100 01020304",
	"CONNECTION 0c00000007000100 0102030405060708090a0b0c",
	"WAKE 0400000008000100 01020304",
	"READY 0400000009000100 01020304",
	"LEAVING 040000000a000100 01020304",
	"LEAVE 040000000b000100 01020304",
	"PING 040000000c000100 01020304",
	"PONG 040000000d000100 01020304",
	"RUNNING 040000000f000100 01020304",
	"DIED 0800000010000100 0102030405060708",
	"MESSAGE 010000000e000100 61",
};

static void the_wire_does_not_change_unnoticed(void **state)
{
	(void)state;
	assert_int_equal(MESSAGES_PROTOCOL, 1);
	assert_int_equal(sizeof(golden) / sizeof(golden[0]), COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		struct message message = fill(list[i].number, FILL_GOLDEN);
		char text[512];
		size_t length;
		uint8_t *bytes = encode(&message, &length);
		int used = snprintf(text, sizeof(text), "%s", list[i].name);

		for (size_t at = 0; at < length; at++)
			used += snprintf(text + used,
					 sizeof(text) - (size_t)used, "%s%02x",
					 at == FRAME_HEAD_BYTES || at == 0 ? " "
									   : "",
					 bytes[at]);
		free(bytes);
		assert_string_equal(text, golden[i]);
	}
}

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)('a' + i % 26);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_is_decoded_again),
		cmocka_unit_test(a_payload_cut_anywhere_is_refused),
		cmocka_unit_test(a_payload_with_a_byte_too_many_is_refused),
		cmocka_unit_test(
			a_text_that_claims_more_than_there_is_is_refused),
		cmocka_unit_test(a_type_that_nobody_knows_is_refused),
		cmocka_unit_test(any_payload_is_decoded_or_refused),
		cmocka_unit_test(numbers_and_names_are_each_given_once),
		cmocka_unit_test(the_wire_does_not_change_unnoticed),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
