/*
 * The WebSocket reader, case by case as the Autobahn test suite numbers them
 * (1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragments, 6 UTF-8,
 * 7 closing, 9 sizes; 10 and those that need a server are elsewhere).
 *
 * Each case is a list of frames, read in one piece, byte by byte, and in
 * pieces of seven bytes, which must tell the same.
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
#include "wire/websocket.h"

#define MESSAGE_MAX (1U << 20)

/* ---- What a client sends ---- */

static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

static void put(struct buffer *to, uint8_t first, const void *bytes,
		size_t length)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t head_length =
		websocket_head(head, WEBSOCKET_TEXT, false, length);
	const uint8_t *from = bytes;

	head[0] = first;
	head[1] |= 0x80;
	buffer_append(to, head, head_length);
	buffer_append(to, mask, 4);
	uint8_t *room = buffer_reserve(to, length);

	for (size_t i = 0; i < length; i++)
		room[i] = from[i] ^ mask[i % 4];
	buffer_extend(to, length);
}

static void put_text(struct buffer *to, uint8_t first, const char *text)
{
	put(to, first, text, strlen(text));
}

/* ---- What is read of it, as a line a word: "text:hello ping:x" ---- */

static void tell(struct buffer *told, struct websocket_reader *reader,
		 int answer, const struct websocket_payload *payload)
{
	static const char *const names[] = {
		[WEBSOCKET_GOT_PING] = "ping",
		[WEBSOCKET_GOT_PONG] = "pong",
	};
	const char *name = names[WEBSOCKET_GOT_PING];

	if (answer == WEBSOCKET_GOT_MESSAGE)
		name = payload->is_text ? "text" : "binary";
	else if (answer == WEBSOCKET_GOT_PONG)
		name = names[WEBSOCKET_GOT_PONG];
	if (answer == WEBSOCKET_GOT_CLOSE)
		buffer_append_format(told, "close:%u:", reader->close_code);
	else
		buffer_append_format(told, "%s:", name);
	if (payload->length > 200)
		buffer_append_format(told, "[%zu]", payload->length);
	else
		buffer_append(told, payload->bytes, payload->length);
	buffer_append(told, " ", 1);
}

/* True: there is no more to be read. */
static bool read_some(struct websocket_reader *reader, struct buffer *told,
		      const uint8_t *bytes, size_t length)
{
	/* Exactly as long as it is, for those who watch for reads beyond. */
	uint8_t *exact = mem_copy(bytes, length);
	const uint8_t *at = exact;
	bool is_over = false;
	int answer;

	do {
		struct websocket_payload payload;

		answer = websocket_read(reader, &at, &length, &payload);
		if (answer < 0)
			buffer_append_format(told, "fail:%u ", reader->code);
		else if (answer != WEBSOCKET_MORE)
			tell(told, reader, answer, &payload);
		is_over = answer < 0 || answer == WEBSOCKET_GOT_CLOSE;
	} while (answer != WEBSOCKET_MORE && !is_over);
	free(exact);
	return is_over;
}

static char *read_in_steps(const struct buffer *sent, size_t step, bool client)
{
	struct websocket_reader reader = websocket_reader(MESSAGE_MAX);
	struct buffer told = { 0 };
	const uint8_t *at = sent->data + sent->head;
	size_t left = buffer_length(sent);

	reader.is_client = client;
	while (left > 0) {
		size_t part = left < step ? left : step;

		if (read_some(&reader, &told, at, part))
			break;
		at += part;
		left -= part;
	}
	websocket_reader_fini(&reader);
	buffer_append(&told, "", 1);
	return (char *)told.data;
}

static void expect_bytes(struct buffer *sent, const char *told)
{
	const size_t steps[] = { buffer_length(sent), 1, 7 };

	for (size_t i = 0; i < 3; i++) {
		char *text = read_in_steps(sent, steps[i], false);

		assert_string_equal(text, told);
		free(text);
	}
	buffer_fini(sent);
}

/* One frame after the other: the first byte, then the payload. */
struct sent {
	uint8_t first;
	const char *text;
};

#define TEXT   0x81
#define BINARY 0x82
#define BEGIN  0x01
#define MORE   0x00
#define END    0x80
#define PING   0x89
#define PONG   0x8a
#define CLOSE  0x88

#define EXPECT(told, ...)                                                      \
	expect((const struct sent[]){ __VA_ARGS__, { 0, NULL } }, told)

static void expect(const struct sent *frames, const char *told)
{
	struct buffer sent = { 0 };

	for (; frames->text != NULL; frames++)
		put_text(&sent, frames->first, frames->text);
	expect_bytes(&sent, told);
}

static char *of_length(size_t length)
{
	char *text = mem_alloc(length + 1);

	memset(text, '*', length);
	text[length] = '\0';
	return text;
}

static void expect_length(uint8_t first, size_t length, const char *told)
{
	char *text = of_length(length);

	EXPECT(told, { first, text });
	free(text);
}

static void case_1_text_and_binary_of_every_length(void **state)
{
	static const struct {
		size_t length;
		const char *text, *binary;
	} lengths[] = {
		{ 0, "text: ", "binary: " },
		{ 201, "text:[201] ", "binary:[201] " },
		{ 65535, "text:[65535] ", "binary:[65535] " },
		{ 65536, "text:[65536] ", "binary:[65536] " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		expect_length(TEXT, lengths[i].length, lengths[i].text);
		expect_length(BINARY, lengths[i].length, lengths[i].binary);
	}
	for (size_t length = 125; length <= 128; length++) {
		char *text = of_length(length);
		char *told = mem_format("text:%s ", text);

		EXPECT(told, { TEXT, text });
		free(told);
		free(text);
	}
}

static void case_2_pings_and_pongs(void **state)
{
	char *longest = of_length(125);
	char *told = mem_format("ping:%s ", longest);

	(void)state;
	EXPECT("ping: ", { PING, "" });                         /* 2.1 */
	EXPECT("ping:Hello ", { PING, "Hello" });               /* 2.2 */
	EXPECT("ping:\xff\xfe ", { PING, "\xff\xfe" });         /* 2.3 */
	EXPECT(told, { PING, longest });                        /* 2.4, 2.6 */
	expect_length(PING, 126, "fail:1002 ");                 /* 2.5 */
	EXPECT("pong: ", { PONG, "" });                         /* 2.7 */
	EXPECT("pong:not asked ", { PONG, "not asked" });       /* 2.8 */
	EXPECT("pong:x ping:y ", { PONG, "x" }, { PING, "y" }); /* 2.9 */
	EXPECT("ping:1 ping:2 ping:3 ", { PING, "1" }, { PING, "2" },
	       { PING, "3" }); /* 2.10, 2.11 */
	free(told);
	free(longest);
}

static void case_3_reserved_bits(void **state)
{
	(void)state;
	EXPECT("fail:1002 ", { TEXT | 0x10, "x" }); /* 3.1 */
	EXPECT("text:a fail:1002 ", { TEXT, "a" }, { TEXT | 0x20, "x" },
	       { PING, "" }); /* 3.2 */
	EXPECT("text:a fail:1002 ", { TEXT, "a" }, { TEXT | 0x30, "x" });
	EXPECT("text:a fail:1002 ", { TEXT, "a" }, { TEXT | 0x40, "x" });
	EXPECT("fail:1002 ", { BINARY | 0x50, "x" }); /* 3.5 */
	EXPECT("fail:1002 ", { PING | 0x60, "x" });   /* 3.6 */
	EXPECT("fail:1002 ", { CLOSE | 0x70, "" });   /* 3.7 */
}

static void case_4_reserved_opcodes(void **state)
{
	(void)state;
	for (uint8_t opcode = 3; opcode <= 15; opcode++) {
		if (opcode >= 8 && opcode <= 10)
			continue;
		EXPECT("text:a fail:1002 ", { TEXT, "a" },
		       { (uint8_t)(0x80 | opcode), "" }, { PING, "" });
		EXPECT("fail:1002 ", { (uint8_t)(0x80 | opcode), "x" });
	}
}

static void case_5_fragments(void **state)
{
	(void)state;
	EXPECT("fail:1002 ", { 0x09, "a" }, { END, "b" }); /* 5.1 */
	EXPECT("fail:1002 ", { 0x0a, "a" }, { END, "b" }); /* 5.2 */
	EXPECT("text:ab ", { BEGIN, "a" }, { END, "b" });  /* 5.3-5 */
	EXPECT("ping:p text:ab ", { BEGIN, "a" }, { PING, "p" },
	       { END, "b" });                               /* 5.6-8 */
	EXPECT("fail:1002 ", { END, "a" }, { TEXT, "b" });  /* 5.9-11 */
	EXPECT("fail:1002 ", { MORE, "a" }, { TEXT, "b" }); /* 5.12-14 */
	EXPECT("text:ab fail:1002 ", { BEGIN, "a" }, { END, "b" },
	       { MORE, "c" }, { TEXT, "d" }); /* 5.15 */
	EXPECT("fail:1002 ", { MORE, "a" }, { TEXT, "b" }, { END, "c" });
	EXPECT("fail:1002 ", { BEGIN, "a" }, { TEXT, "b" }); /* 5.18 */
	EXPECT("ping:p ping:q text:abcde ", { BEGIN, "a" }, { MORE, "b" },
	       { PING, "p" }, { MORE, "c" }, { MORE, "d" }, { PING, "q" },
	       { END, "e" }); /* 5.19-20 */
	EXPECT("binary:ab ", { 0x02, "a" }, { END, "b" });
	EXPECT("text: ", { BEGIN, "" }, { MORE, "" }, { END, "" }); /* 6.1.2 */
	EXPECT("text:mid ", { BEGIN, "" }, { MORE, "mid" }, { END, "" });
}

static void case_6_utf8(void **state)
{
	(void)state;
	EXPECT("text:\xce\xba\xe1\xbd\xb9 ", { TEXT, "\xce\xba\xe1\xbd\xb9" });
	EXPECT("text:\xce\xba\xe1\xbd\xb9 ", { BEGIN, "\xce" },
	       { MORE, "\xba\xe1\xbd" }, { END, "\xb9" }); /* 6.2.4 */
	EXPECT("ping:p text:\xce\xba ", { BEGIN, "\xce" }, { PING, "p" },
	       { END, "\xba" });
	EXPECT("fail:1007 ", { TEXT, "\xce\xba\xed\xa0\x80"
				     "edited" });
	EXPECT("fail:1007 ", { BEGIN, "\xce\xba\xf4\x90\x80\x80" },
	       { END, "never read" });          /* 6.4.1 */
	EXPECT("fail:1007 ", { TEXT, "\xce" }); /* 6.6.1 */
	EXPECT("fail:1007 ", { BEGIN, "a" }, { END, "\xe1\xbd" });
	EXPECT("text:\xf4\x8f\xbf\xbf ", { TEXT, "\xf4\x8f\xbf\xbf" });
	EXPECT("fail:1007 ", { TEXT, "\xf4\x90\x80\x80" });     /* 6.10 */
	EXPECT("fail:1007 ", { TEXT, "\xf8\x88\x80\x80\x80" }); /* 6.11 */
	EXPECT("fail:1007 ", { TEXT, "\xc0\xaf" });             /* 6.18 */
	EXPECT("binary:\xc0\xaf ", { BINARY, "\xc0\xaf" });
	/* A character's half does not come from the message before. */
	EXPECT("text:a fail:1007 ", { TEXT, "a" }, { TEXT, "\xba" });
}

/* 6.4.3: in a frame whose rest never comes. */
static void wrong_text_is_told_before_its_frame_is_complete(void **state)
{
	struct buffer sent = { 0 };

	(void)state;
	put_text(&sent, TEXT, "\xce\xba\xf4\x90 and this is never sent");
	buffer_truncate(&sent, 6 + 4);
	expect_bytes(&sent, "fail:1007 ");
}

static void expect_close(uint16_t code, const char *reason, const char *told)
{
	uint8_t payload[WEBSOCKET_CONTROL_MAX];
	size_t length = websocket_close_payload(payload, code, reason);
	struct buffer sent = { 0 };

	put(&sent, CLOSE, payload, length);
	put_text(&sent, PING, "behind it");
	expect_bytes(&sent, told);
}

static void case_7_closing(void **state)
{
	static const uint16_t good[] = { 1000, 1001, 1002, 1003, 1007, 1008,
					 1009, 1010, 1011, 1012, 1013, 1014,
					 3000, 3999, 4000, 4999 };
	static const uint16_t bad[] = { 0,    999,  1004, 1006, 1015, 1016,
					1100, 2000, 2999, 5000, 65535 };
	char *longest = of_length(123);
	char *told = mem_format("close:1000:%s ", longest);

	(void)state;
	EXPECT("text:a close:1005: ", { TEXT, "a" }, { CLOSE, "" }); /* 7.1.1 */
	EXPECT("close:1005: ", { CLOSE, "" }, { CLOSE, "" });        /* 7.1.2 */
	EXPECT("close:1005: ", { BEGIN, "a" }, { CLOSE, "" }, { END, "b" });
	EXPECT("fail:1002 ", { CLOSE, "a" });   /* 7.3.2 */
	expect_close(1000, "", "close:1000: "); /* 7.3.3 */
	expect_close(1000, "Hello World!", "close:1000:Hello World! ");
	expect_close(1000, longest, told);                        /* 7.3.5 */
	expect_length(CLOSE, 126, "fail:1002 ");                  /* 7.3.6 */
	expect_close(1000, "\xce\xba\xed\xa0\x80", "fail:1007 "); /* 7.5.1 */
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char *close = mem_format("close:%u: ", good[i]);

		expect_close(good[i], NULL, close);
		free(close);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_close(bad[i], NULL, "fail:1002 ");
	free(told);
	free(longest);
}

static void case_9_sizes_up_to_the_limit(void **state)
{
	struct buffer sent = { 0 };
	char *half = of_length(MESSAGE_MAX / 2);

	(void)state;
	expect_length(TEXT, MESSAGE_MAX, "text:[1048576] ");
	expect_length(BINARY, MESSAGE_MAX + 1, "fail:1009 ");
	put_text(&sent, BEGIN, half);
	put_text(&sent, END, half);
	put_text(&sent, TEXT, half);
	expect_bytes(&sent, "text:[1048576] text:[524288] ");
	put_text(&sent, BEGIN, half);
	put_text(&sent, MORE, half);
	put_text(&sent, END, "x");
	expect_bytes(&sent, "fail:1009 ");
	free(half);
}

/* A length of 2^63 and more, and one that is not as short as it goes. */
static void lengths_that_must_not_be_are_refused(void **state)
{
	static const uint8_t heads[][14] = {
		{ 0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0 },
		{ 0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff },
		{ 0x82, 0xfe, 0, 125 },
	};
	struct buffer sent = { 0 };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		buffer_append(&sent, heads[i], sizeof(heads[i]));
		expect_bytes(&sent, "fail:1002 ");
	}
	/* No memory is taken for what is only announced. */
	buffer_append(&sent,
		      ((uint8_t[]){ 0x82, 0xff, 0x7f, 255, 255, 255, 255, 255,
				    255, 255, 1, 2, 3, 4 }),
		      14);
	expect_bytes(&sent, "fail:1009 ");
}

static void masks_are_a_clients_alone(void **state)
{
	struct buffer sent = { 0 };
	uint8_t head[WEBSOCKET_HEAD_MAX];

	(void)state;
	buffer_append(&sent, head,
		      websocket_head(head, WEBSOCKET_TEXT, false, 1));
	buffer_append(&sent, "x", 1);
	char *told = read_in_steps(&sent, 1, true);

	assert_string_equal(told, "text:x ");
	free(told);
	expect_bytes(&sent, "fail:1002 ");
	put_text(&sent, TEXT, "x");
	told = read_in_steps(&sent, 64, true);
	assert_string_equal(told, "fail:1002 ");
	free(told);
	buffer_fini(&sent);
}

static void the_key_is_answered_as_the_rfc_does(void **state)
{
	char accept[WEBSOCKET_ACCEPT_BYTES];

	(void)state;
	assert_true(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", accept));
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_false(websocket_accept("", accept));
	assert_false(websocket_accept("dGhlIHNhbXBsZSBub25jZQ", accept));
	assert_false(websocket_accept("dGhlIHNhbXBsZSBub25jZSEh", accept));
	assert_false(websocket_accept("!!hlIHNhbXBsZSBub25jZQ==", accept));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_1_text_and_binary_of_every_length),
		cmocka_unit_test(case_2_pings_and_pongs),
		cmocka_unit_test(case_3_reserved_bits),
		cmocka_unit_test(case_4_reserved_opcodes),
		cmocka_unit_test(case_5_fragments),
		cmocka_unit_test(case_6_utf8),
		cmocka_unit_test(
			wrong_text_is_told_before_its_frame_is_complete),
		cmocka_unit_test(case_7_closing),
		cmocka_unit_test(case_9_sizes_up_to_the_limit),
		cmocka_unit_test(lengths_that_must_not_be_are_refused),
		cmocka_unit_test(masks_are_a_clients_alone),
		cmocka_unit_test(the_key_is_answered_as_the_rfc_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
