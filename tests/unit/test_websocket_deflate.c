/* permessage-deflate: terms, and messages there and back (Autobahn 12, 13). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/websocket_deflate.h"

static void expect_terms(const char *offers, bool may_keep, const char *answer)
{
	struct websocket_terms terms;
	char text[WEBSOCKET_TERMS_BYTES];

	if (answer == NULL) {
		assert_false(websocket_terms_choose(offers, may_keep, &terms));
		return;
	}
	assert_true(websocket_terms_choose(offers, may_keep, &terms));
	websocket_terms_write(&terms, text);
	assert_string_equal(text, answer);
}

static void the_first_good_offer_is_taken(void **state)
{
	(void)state;
	expect_terms("permessage-deflate", true, "permessage-deflate");
	expect_terms("permessage-deflate; client_max_window_bits", true,
		     "permessage-deflate");
	expect_terms("permessage-deflate", false,
		     "permessage-deflate; server_no_context_takeover; "
		     "client_no_context_takeover");
	expect_terms("permessage-deflate;server_no_context_takeover ; "
		     "client_max_window_bits=\"10\"",
		     true, "permessage-deflate; server_no_context_takeover");
	expect_terms("permessage-deflate; server_max_window_bits=9", true,
		     "permessage-deflate; server_max_window_bits=9");
	/* zlib cannot do 8, so the second offer is taken. */
	expect_terms("permessage-deflate; server_max_window_bits=8, "
		     "permessage-deflate; client_no_context_takeover",
		     true, "permessage-deflate; client_no_context_takeover");
	expect_terms("x-webkit-deflate-frame, bla; x=\"y\", permessage-deflate",
		     true, "permessage-deflate");
}

static void offers_that_make_no_sense_are_not_taken(void **state)
{
	static const char *const offers[] = {
		"",
		"x-webkit-deflate-frame",
		"permessage-deflate; unknown",
		"permessage-deflate; server_no_context_takeover=1",
		"permessage-deflate; server_max_window_bits",
		"permessage-deflate; server_max_window_bits=16",
		"permessage-deflate; server_max_window_bits=09",
		"permessage-deflate; client_max_window_bits=7",
		("permessage-deflate; client_max_window_bits; "
		 "client_max_window_bits"),
		"permessage-deflate; server_max_window_bits=\"10",
		"permessage-deflate;",
		"permessage-deflate; =",
		", permessage-deflate",
		"permessage-deflate permessage-deflate",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++)
		expect_terms(offers[i], true, NULL);
}

static char *json_of(size_t length)
{
	char *text = mem_alloc(length + 1);
	unsigned seed = 1;

	for (size_t i = 0; i < length; i++) {
		seed = seed * 1103515245 + 12345;
		text[i] = "{}[]:,\"abcde 0123"[seed >> 16 & 15];
	}
	text[length] = '\0';
	return text;
}

static void go_round(bool keeps, unsigned bits)
{
	static const size_t lengths[] = { 0,    16,    64,     256,   0,
					  1024, 16384, 131072, 16384, 5 };
	struct websocket_deflater *deflater = websocket_deflater_new(bits);
	struct websocket_inflater *inflater = websocket_inflater_new();

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct buffer small = { 0 }, back = { 0 };
		char *text = json_of(lengths[i]);

		websocket_deflate(deflater, text, lengths[i], keeps, &small);
		assert_int_equal(websocket_inflate(inflater,
						   buffer_bytes(&small),
						   buffer_length(&small),
						   lengths[i], keeps, &back),
				 0);
		assert_int_equal(buffer_length(&back), lengths[i]);
		assert_memory_equal(back.data, text, lengths[i]);
		if (lengths[i] >= 1024)
			assert_true(buffer_length(&small) < lengths[i]);
		buffer_fini(&small);
		buffer_fini(&back);
		free(text);
	}
	websocket_deflater_free(deflater);
	websocket_inflater_free(inflater);
}

static void messages_come_back_as_they_were(void **state)
{
	(void)state;
	for (unsigned bits = 9; bits <= 15; bits++) {
		go_round(true, bits);
		go_round(false, bits);
	}
}

/* RFC 7692, 7.2.3: what others send. */
static void the_examples_of_the_rfc_are_read(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} hello[] = {
		{ "\xf2\x48\xcd\xc9\xc9\x07\x00", 7 }, /* 7.2.3.1 */
		{ "\xf2\x00\x11\x00\x00", 5 },         /* 7.2.3.2 */
		{ "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11 },
		{ "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8 }, /* 7.2.3.4 */
		{ "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13 },
	};
	struct websocket_inflater *inflater = websocket_inflater_new();

	(void)state;
	for (size_t i = 0; i < sizeof(hello) / sizeof(hello[0]); i++) {
		struct buffer to = { 0 };
		bool keeps = i == 0; /* the second one refers to the first */

		assert_int_equal(websocket_inflate(inflater, hello[i].bytes,
						   hello[i].length, 100, keeps,
						   &to),
				 0);
		assert_int_equal(buffer_length(&to), 5);
		assert_memory_equal(to.data, "Hello", 5);
		buffer_fini(&to);
	}
	websocket_inflater_free(inflater);
}

/* 100 MiB of zeroes are 100 KiB: read no further than the limit. */
static void a_bomb_is_refused_at_the_limit(void **state)
{
	struct websocket_deflater *deflater = websocket_deflater_new(15);
	struct websocket_inflater *inflater = websocket_inflater_new();
	struct buffer bomb = { 0 }, to = { 0 };
	const size_t length = 100 << 20;
	uint8_t *zeroes = mem_zalloc(length);

	(void)state;
	websocket_deflate(deflater, zeroes, length, false, &bomb);
	free(zeroes);
	assert_true(buffer_length(&bomb) < length / 100);
	assert_int_equal(websocket_inflate(inflater, bomb.data,
					   buffer_length(&bomb), 65536, false,
					   &to),
			 -EMSGSIZE);
	assert_true(to.capacity < 1 << 18);
	/* It goes on with the next one. */
	buffer_truncate(&to, 0);
	assert_int_equal(websocket_inflate(inflater,
					   "\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 5,
					   false, &to),
			 0);
	assert_memory_equal(to.data, "Hello", 5);
	buffer_fini(&bomb);
	buffer_fini(&to);
	websocket_deflater_free(deflater);
	websocket_inflater_free(inflater);
}

static void what_is_not_deflated_is_refused(void **state)
{
	struct websocket_inflater *inflater = websocket_inflater_new();
	struct buffer to = { 0 };

	(void)state;
	assert_int_equal(
		websocket_inflate(inflater, "\xff\xff\xff", 3, 100, true, &to),
		-EPROTO);
	/* A reference to what was never there. */
	assert_int_equal(websocket_inflate(inflater, "\xf2\x00\x11\x00\x00", 5,
					   100, true, &to),
			 -EPROTO);
	buffer_fini(&to);
	websocket_inflater_free(inflater);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_good_offer_is_taken),
		cmocka_unit_test(offers_that_make_no_sense_are_not_taken),
		cmocka_unit_test(messages_come_back_as_they_were),
		cmocka_unit_test(the_examples_of_the_rfc_are_read),
		cmocka_unit_test(a_bomb_is_refused_at_the_limit),
		cmocka_unit_test(what_is_not_deflated_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
