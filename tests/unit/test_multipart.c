/* multipart/form-data, whole and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <stdio.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "wire/multipart.h"

#define TYPE "multipart/form-data; boundary=XYZ"

/* What was read, as text: name(filename,type)<content> */
struct told {
	struct buffer text;
	const char *reason;
	bool is_complete;
};

static void tell(struct told *told, struct multipart *reader,
		 enum multipart_answer answer)
{
	switch (answer) {
	case MULTIPART_PART:
		buffer_append_format(
			&told->text, "%s(%s,%s)<", reader->part.name,
			reader->part.filename ? reader->part.filename : "-",
			reader->part.type ? reader->part.type : "-");
		break;
	case MULTIPART_DATA:
		assert_true(reader->data_length > 0);
		buffer_append(&told->text, reader->data, reader->data_length);
		break;
	case MULTIPART_PART_END:
		buffer_append_text(&told->text, ">");
		break;
	case MULTIPART_REFUSED:
		told->reason = reader->reason;
		break;
	case MULTIPART_MORE:
		break;
	}
}

/* In pieces of `step` bytes. */
static void read_all(struct told *told, const char *body, size_t length,
		     size_t step)
{
	struct multipart reader;

	assert_true(multipart_init(&reader, TYPE, strlen(TYPE)));
	for (size_t at = 0; at < length && told->reason == NULL; at += step) {
		const char *piece = body + at;
		size_t left = length - at < step ? length - at : step;

		while (left > 0 && told->reason == NULL) {
			size_t used;

			tell(told, &reader,
			     multipart_read(&reader, piece, left, &used));
			piece += used;
			left -= used;
		}
	}
	told->is_complete = multipart_is_complete(&reader);
	buffer_append(&told->text, "", 1);
	multipart_fini(&reader);
}

static void expect(const char *body, const char *wanted, bool is_complete)
{
	for (size_t step = 1; step <= strlen(body); step++) {
		struct told told = { 0 };

		read_all(&told, body, strlen(body), step);
		assert_null(told.reason);
		assert_string_equal(buffer_bytes(&told.text), wanted);
		assert_int_equal(told.is_complete, is_complete);
		buffer_fini(&told.text);
	}
}

static void expect_refused(const char *body, const char *reason)
{
	for (size_t step = 1; step <= strlen(body); step++) {
		struct told told = { 0 };

		read_all(&told, body, strlen(body), step);
		assert_non_null(told.reason);
		assert_string_equal(told.reason, reason);
		assert_false(told.is_complete);
		buffer_fini(&told.text);
	}
}

#define PART(name, content)                                                    \
	"--XYZ\r\nContent-Disposition: form-data; name=" name                  \
	"\r\n\r\n" content "\r\n"

static void parts_are_read(void **state)
{
	(void)state;
	expect(PART("\"a\"", "1") PART("b", "two\r\nlines") "--XYZ--\r\n",
	       "a(-,-)<1>b(-,-)<two\r\nlines>", true);
	expect(PART("\"f\"; filename=\"x.txt\"\r\nContent-Type: text/plain",
		    "data") "--XYZ--",
	       "f(x.txt,text/plain)<data>", true);
	expect("--XYZ--", "", true);
}

static void what_is_around_the_parts_is_dropped(void **state)
{
	(void)state;
	expect("preamble\r\n--XY\r\n" PART("a", "1") "--XYZ--\r\nepilogue "
						     "--XYZ\r\n--XYZ\r\n",
	       "a(-,-)<1>", true);
	expect("--XYZ \t\r\nContent-Disposition: form-data; name=a\r\n\r\n1"
	       "\r\n--XYZ--",
	       "a(-,-)<1>", true);
}

static void an_empty_part_is_read(void **state)
{
	(void)state;
	expect(PART("a", "") "--XYZ--", "a(-,-)<>", true);
	expect("--XYZ\r\nContent-Disposition: form-data; name=a\r\n\r\n--XYZ--",
	       "a(-,-)<>", true);
}

static void what_looks_like_a_boundary_is_content(void **state)
{
	(void)state;
	expect(PART("a", "\r\n--XY\r\n--X\r\r\n\r\n-\r") "--XYZ--",
	       "a(-,-)<\r\n--XY\r\n--X\r\r\n\r\n-\r>", true);
	expect(PART("a", "-") "--XYZ--", "a(-,-)<->", true);
	expect(PART("a", "--X") "--XYZ--", "a(-,-)<--X>", true);
	expect(PART("a", "x--XYZ\n--XYZ") "--XYZ--", "a(-,-)<x--XYZ\n--XYZ>",
	       true);
}

static void what_breaks_off_is_not_complete(void **state)
{
	(void)state;
	expect("--XYZ\r\nContent-Disposition: form-data; name=a\r\n\r\nhal",
	       "a(-,-)<hal", false);
	expect(PART("a", "1") "--XYZ", "a(-,-)<1>", false);
	expect(PART("a", "1") "--XYZ-", "a(-,-)<1>", false);
	expect("no boundary at all", "", false);
}

static void names_of_files_are_decoded(void **state)
{
	(void)state;
	expect(PART("\"a\\\"b\"; filename=\"C:\\dir\\f\\\\.txt\"",
		    "1") "--XYZ--",
	       "a\"b(C:\\dir\\f\\.txt,-)<1>", true);
	expect(PART("a; filename=x; filename*=UTF-8''na%c3%afve%20x.txt",
		    "1") "--XYZ--",
	       "a(na\xc3\xafve x.txt,-)<1>", true);
	expect(PART("a; filename*=iso-8859-1'en'%e9; filename=x",
		    "1") "--XYZ--",
	       "a(\xc3\xa9,-)<1>", true);
	expect(PART("a; filename=x; filename*=koi8-r''%e9", "1") "--XYZ--",
	       "a(x,-)<1>", true);
	expect(PART("a; filename=x; filename*=UTF-8''%00", "1") "--XYZ--",
	       "a(x,-)<1>", true);
	expect(PART("a; filename=\"\"", "") "--XYZ--", "a(,-)<>", true);
}

static void what_is_malformed_is_refused(void **state)
{
	(void)state;
	expect_refused("--XYZ\r\n\r\n1\r\n--XYZ--", "a part without a name");
	expect_refused("--XYZ\r\nContent-Disposition: form-data\r\n\r\n",
		       "a part without a name");
	expect_refused("--XYZ\r\nContent-Disposition: attachment; name=a\r\n"
		       "\r\n",
		       "a malformed header of a part");
	expect_refused("--XYZ\r\nno colon\r\n\r\n",
		       "a malformed header of a part");
	expect_refused("--XYZ\r\nX: a\rb\r\n\r\n",
		       "a malformed header of a part");
	expect_refused("--XYZ\r\nX: a\nY: b\r\n\r\n",
		       "a malformed header of a part");
	expect_refused("--XYZ\r\nX: a\r\n folded\r\n\r\n",
		       "a malformed header of a part");
	expect_refused("--XYZA\r\n", "a malformed boundary");
	expect_refused("--XYZ\n", "a malformed boundary");
	expect_refused("--XYZ\rX", "a malformed boundary");
	expect_refused("--XYZ-X", "a malformed boundary");
}

static void headers_of_a_part_have_a_limit(void **state)
{
	(void)state;
	char *body = mem_alloc(20000);
	struct told told = { 0 };

	strcpy(body, "--XYZ\r\nX: ");
	memset(body + strlen(body), 'x', 19000);
	read_all(&told, body, 19000, 1000);
	assert_string_equal(told.reason, "the headers of a part are too large");
	buffer_fini(&told.text);
	free(body);
}

static void the_boundary_must_be_one(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"multipart/form-data",
		"multipart/form-data; boundary=",
		"multipart/form-data; boundary=\"\"",
		"multipart/form-data; boundary=\"a \"",
		"multipart/form-data; boundary=a*b",
		"multipart/mixed; boundary=a",
		"application/x-www-form-urlencoded",
		"",
		"multipart/form-data; boundary="
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct multipart reader;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(multipart_init(&reader, bad[i], strlen(bad[i])));
	static const char good[] = "Multipart/Form-Data; charset=x; "
				   "Boundary=\"a b:c\"";

	assert_true(multipart_init(&reader, good, strlen(good)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_read),
		cmocka_unit_test(what_is_around_the_parts_is_dropped),
		cmocka_unit_test(an_empty_part_is_read),
		cmocka_unit_test(what_looks_like_a_boundary_is_content),
		cmocka_unit_test(what_breaks_off_is_not_complete),
		cmocka_unit_test(names_of_files_are_decoded),
		cmocka_unit_test(what_is_malformed_is_refused),
		cmocka_unit_test(headers_of_a_part_have_a_limit),
		cmocka_unit_test(the_boundary_must_be_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
