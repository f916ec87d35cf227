/* What the reader of chunked bodies takes, and what it refuses: in one piece,
 * and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "wire/http1.h"

struct result {
	enum http1_answer answer;
	struct http1_chunks chunks;
	struct buffer content;
	size_t used;
};

static void read_piece(struct result *result, const char *text, size_t length)
{
	size_t at = 0;

	do {
		size_t used;
		size_t data;

		result->answer = http1_chunks_read(&result->chunks, text + at,
						   length - at, &used, &data);
		buffer_append(&result->content, text + at + used - data, data);
		at += used;
	} while (result->answer == HTTP1_DATA ||
		 (result->answer == HTTP1_MORE && at < length));
	result->used += at;
}

static struct result read_in_pieces(const char *text, size_t length,
				    size_t piece)
{
	struct result result = { .answer = HTTP1_MORE };

	for (size_t at = 0; at < length && result.answer == HTTP1_MORE;
	     at += piece)
		read_piece(&result, text + at,
			   length - at < piece ? length - at : piece);
	return result;
}

/* The caller frees the content. */
static struct result read_bytes(const char *text, size_t length)
{
	struct result whole = read_in_pieces(text, length, length);
	struct result bytes = read_in_pieces(text, length, 1);

	assert_int_equal(whole.answer, bytes.answer);
	assert_int_equal(whole.used, bytes.used);
	assert_int_equal(whole.chunks.status, bytes.chunks.status);
	assert_int_equal(buffer_length(&whole.content),
			 buffer_length(&bytes.content));
	if (buffer_length(&whole.content) > 0)
		assert_memory_equal(buffer_bytes(&whole.content),
				    buffer_bytes(&bytes.content),
				    buffer_length(&whole.content));
	buffer_fini(&bytes.content);
	return whole;
}

static void assert_body(const char *text, const char *expected)
{
	struct result result = read_bytes(text, strlen(text));

	assert_int_equal(result.answer, HTTP1_DONE);
	assert_int_equal(result.used, strlen(text));
	assert_int_equal(buffer_length(&result.content), strlen(expected));
	if (*expected != 0)
		assert_memory_equal(buffer_bytes(&result.content), expected,
				    strlen(expected));
	buffer_fini(&result.content);
}

static void assert_refused_bytes(int status, const char *text, size_t length)
{
	struct result result = read_bytes(text, length);

	assert_int_equal(result.answer, HTTP1_REFUSED);
	assert_int_equal(result.chunks.status, status);
	assert_non_null(result.chunks.reason);
	buffer_fini(&result.content);
}

#define assert_refused(literal)                                                \
	assert_refused_bytes(400, literal, sizeof(literal) - 1)

static void chunks_are_put_together(void **state)
{
	(void)state;
	assert_body("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world");
	assert_body("0\r\n\r\n", "");
	assert_body("2\r\n\r\n\r\n0\r\n\r\n", "\r\n");
}

static void sizes_are_hexadecimal_in_either_case(void **state)
{
	(void)state;
	assert_body("a\r\n0123456789\r\n0\r\n\r\n", "0123456789");
	assert_body("A\r\n0123456789\r\n0\r\n\r\n", "0123456789");
	assert_body("00000000000000a\r\n0123456789\r\n000\r\n\r\n",
		    "0123456789");
	assert_body("1B\r\nabcdefghijklmnopqrstuvwxyz!\r\n0\r\n\r\n",
		    "abcdefghijklmnopqrstuvwxyz!");
}

static void what_follows_the_body_is_left(void **state)
{
	(void)state;
	struct result result = read_bytes("1\r\na\r\n0\r\n\r\nGET /", 16);

	assert_int_equal(result.answer, HTTP1_DONE);
	assert_int_equal(result.used, 11);
	buffer_fini(&result.content);
}

static void an_unfinished_body_needs_more(void **state)
{
	(void)state;
	static const char text[] = "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n";

	for (size_t length = 0; length < sizeof(text) - 1; length++) {
		struct result result = read_bytes(text, length);

		assert_int_equal(result.answer, HTTP1_MORE);
		assert_int_equal(result.used, length);
		buffer_fini(&result.content);
	}
}

static void extensions_are_passed_over(void **state)
{
	(void)state;
	assert_body("5;a;b=c;d=\"e f\"\r\nhello\r\n0;z\r\n\r\n", "hello");
}

static void trailers_are_passed_over(void **state)
{
	(void)state;
	assert_body("1\r\na\r\n0\r\nVary: *\r\nX:\r\n\r\n", "a");
	assert_body("1\r\na\r\n0\r\nContent-Length: 9\r\n\r\n", "a");
}

static void a_malformed_size_is_refused(void **state)
{
	(void)state;
	assert_refused("\r\n");
	assert_refused("g\r\n");
	assert_refused("0x5\r\n");
	assert_refused("-5\r\n");
	assert_refused("+5\r\n");
	assert_refused(" 5\r\n");
	assert_refused("5 \r\n");
	assert_refused("5\t;a\r\n");
	assert_refused(";a\r\n");
	assert_refused("5_0\r\n");
	assert_refused("5\0\r\n");
}

static void a_size_beyond_counting_is_refused(void **state)
{
	(void)state;
	assert_refused("10000000000000000\r\n");
	assert_refused("00000000000000005\r\n");
}

static void the_largest_size_does_not_wrap(void **state)
{
	(void)state;
	struct result result = read_bytes("ffffffffffffffff\r\nab", 20);

	assert_int_equal(result.answer, HTTP1_MORE);
	assert_true(result.chunks.left == UINT64_MAX - 2);
	buffer_fini(&result.content);
}

static void a_line_must_end_with_cr_lf(void **state)
{
	(void)state;
	assert_refused("5\nhello\r\n0\r\n\r\n");
	assert_refused("5\rhello");
	assert_refused("5;a\nhello\r\n");
	assert_refused("5;a\rhello\r\n");
	assert_refused("5\r\nhello\n0\r\n\r\n");
	assert_refused("5\r\nhello\r0");
	assert_refused("0\r\n\n");
	assert_refused("0\r\n\rX");
	assert_refused("0\r\nX: y\n\r\n");
	assert_refused("0\r\nX: y\rZ: z\r\n\r\n");
}

static void a_chunk_longer_than_its_size_is_refused(void **state)
{
	(void)state;
	assert_refused("5\r\nhello!\r\n");
	assert_refused("5\r\nhello0\r\n\r\n");
}

static void a_chunk_shorter_than_its_size_is_refused(void **state)
{
	(void)state;
	assert_refused("5\r\nhel\r\n0\r\n\r\n");
}

static void a_control_byte_in_an_extension_is_refused(void **state)
{
	(void)state;
	assert_refused("5;a\0\r\n");
	assert_refused("5;a\x7f\r\n");
}

static void a_malformed_trailer_is_refused(void **state)
{
	(void)state;
	assert_refused("0\r\n: x\r\n\r\n");
	assert_refused("0\r\nX : y\r\n\r\n");
	assert_refused("0\r\nX\r\n\r\n");
	assert_refused("0\r\nX: y\r\n z\r\n\r\n");
	assert_refused("0\r\nX: \0\r\n\r\n");
	assert_refused("0\r\nGET / HTTP/1.1\r\n\r\n");
}

static void extensions_without_end_are_refused(void **state)
{
	(void)state;
	char text[8192] = "5;";

	memset(text + 2, 'x', sizeof(text) - 2);
	assert_refused_bytes(400, text, sizeof(text));
}

static void many_small_extensions_add_up(void **state)
{
	(void)state;
	static const char chunk[] = "1;aaaaaaaa\r\nb\r\n";
	size_t length = sizeof(chunk) - 1;
	size_t count = 1000;
	struct result result = { .answer = HTTP1_MORE };

	for (size_t i = 0; i < count && result.answer == HTTP1_MORE; i++)
		read_piece(&result, chunk, length);
	assert_int_equal(result.answer, HTTP1_REFUSED);
	buffer_fini(&result.content);
}

static void trailers_without_end_are_refused(void **state)
{
	(void)state;
	char text[16384] = "0\r\nX:";

	memset(text + 5, 'x', sizeof(text) - 5);
	assert_refused_bytes(431, text, sizeof(text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_are_put_together),
		cmocka_unit_test(sizes_are_hexadecimal_in_either_case),
		cmocka_unit_test(what_follows_the_body_is_left),
		cmocka_unit_test(an_unfinished_body_needs_more),
		cmocka_unit_test(extensions_are_passed_over),
		cmocka_unit_test(trailers_are_passed_over),
		cmocka_unit_test(a_malformed_size_is_refused),
		cmocka_unit_test(a_size_beyond_counting_is_refused),
		cmocka_unit_test(the_largest_size_does_not_wrap),
		cmocka_unit_test(a_line_must_end_with_cr_lf),
		cmocka_unit_test(a_chunk_longer_than_its_size_is_refused),
		cmocka_unit_test(a_chunk_shorter_than_its_size_is_refused),
		cmocka_unit_test(a_control_byte_in_an_extension_is_refused),
		cmocka_unit_test(a_malformed_trailer_is_refused),
		cmocka_unit_test(extensions_without_end_are_refused),
		cmocka_unit_test(many_small_extensions_add_up),
		cmocka_unit_test(trailers_without_end_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
