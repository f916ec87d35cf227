/* Paths of URLs as those of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "wire/url_path.h"

static char room[URL_PATH_BYTES_MAX + 1];

static void expect(const char *path, const char *wanted)
{
	assert_true(url_path_read(room, path, strlen(path), false));
	assert_string_equal(room, wanted);
}

static void a_path_loses_its_slash_and_its_escapes(void **state)
{
	(void)state;
	expect("/", "");
	expect("/a/b.txt", "a/b.txt");
	expect("/a/", "a/");
	expect("/a%20b+c/%C3%A4", "a b+c/\xc3\xa4");
	expect("/%zz%", "%zz%");
	expect("/a..b/c../x", "a..b/c../x");
}

static void what_could_lead_out_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"a",
		"/..",
		"/../a",
		"/a/..",
		"/a/../b",
		"/%2e%2e/a",
		"/.%2e",
		"/%2E./a",
		"/.",
		"/a/./b",
		"//a",
		"/a//b",
		"/a%2f%2fb",
		"/%2fa",
		"/a%00",
		"/a/%2e%2e%2fb",
		"/a%2f..",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_false(
			url_path_read(room, bad[i], strlen(bad[i]), false));
		assert_false(url_path_read(room, bad[i], strlen(bad[i]), true));
	}
	assert_false(url_path_read(room, "/a\0b", 4, true));
}

static void a_path_without_escapes_is_taken_as_it_is(void **state)
{
	(void)state;
	static const char *const good[] = { "",         "a",   "a/b", "a/",
					    "%2e%2e/a", "a b", "..." };
	static const char *const bad[] = { "..",     "../a", "a/..",
					   "a/../b", "a//b", "/a",
					   ".",      "./a",  "a/./b" };

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(url_path_is_safe(good[i], strlen(good[i]), true));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(url_path_is_safe(bad[i], strlen(bad[i]), true));
	assert_false(url_path_is_safe("a\0b", 3, true));
	assert_false(url_path_is_safe(".git", 4, false));
}

static void hidden_files_are_hidden(void **state)
{
	(void)state;
	assert_false(url_path_read(room, "/.git/config", 12, false));
	assert_false(url_path_read(room, "/a/%2eb", 7, false));
	assert_true(url_path_read(room, "/.git/config", 12, true));
	expect("/.well-known/acme", ".well-known/acme");
	assert_false(url_path_read(room, "/.well-known2", 13, false));
}

static void what_no_file_can_be_called_is_refused(void **state)
{
	(void)state;
	char path[URL_PATH_BYTES_MAX + 2];

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	assert_true(url_path_read(room, path, 256, false));
	assert_false(url_path_read(room, path, 257, false));
	for (size_t i = 0; i < sizeof(path); i += 100)
		path[i] = '/';
	assert_true(url_path_read(room, path, URL_PATH_BYTES_MAX, false));
	assert_false(url_path_read(room, path, URL_PATH_BYTES_MAX + 1, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_loses_its_slash_and_its_escapes),
		cmocka_unit_test(what_could_lead_out_is_refused),
		cmocka_unit_test(a_path_without_escapes_is_taken_as_it_is),
		cmocka_unit_test(hidden_files_are_hidden),
		cmocka_unit_test(what_no_file_can_be_called_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
