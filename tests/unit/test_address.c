/* Where to listen, in every form that a person may write it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wire/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *text;
	enum address_kind kind;
	const char *host;
	int port;
} good[] = {
	{ "tcp://127.0.0.1:80", ADDRESS_TCP, "127.0.0.1", 80 },
	{ "http://127.0.0.1:80", ADDRESS_TCP, "127.0.0.1", 80 },
	{ "http://127.0.0.1:80/", ADDRESS_TCP, "127.0.0.1", 80 },
	{ "tcp://127.0.0.1:80/", ADDRESS_TCP, "127.0.0.1", 80 },
	{ "127.0.0.1:8080", ADDRESS_TCP, "127.0.0.1", 8080 },
	{ "localhost:8080", ADDRESS_TCP, "localhost", 8080 },
	{ ":8080", ADDRESS_TCP, "", 8080 },
	{ "8080", ADDRESS_TCP, "", 8080 },
	{ "tcp://8080", ADDRESS_TCP, "", 8080 },
	{ "tcp://:8080", ADDRESS_TCP, "", 8080 },
	{ "*:8080", ADDRESS_TCP, "", 8080 },
	{ "tcp://*:8080", ADDRESS_TCP, "", 8080 },
	{ "0", ADDRESS_TCP, "", 0 },
	{ "host:0", ADDRESS_TCP, "host", 0 },
	{ "host:65535", ADDRESS_TCP, "host", 65535 },
	{ "host:00080", ADDRESS_TCP, "host", 80 },
	{ "[::1]:80", ADDRESS_TCP, "::1", 80 },
	{ "tcp://[::]:80", ADDRESS_TCP, "::", 80 },
	{ "http://[fe80::1%eth0]:80/", ADDRESS_TCP, "fe80::1%eth0", 80 },
	{ "[]:80", ADDRESS_TCP, "", 80 },
	{ "udp://127.0.0.1:53", ADDRESS_UDP, "127.0.0.1", 53 },
	{ "udp://[::1]:53", ADDRESS_UDP, "::1", 53 },
	{ "udp://:53", ADDRESS_UDP, "", 53 },
	{ "unix:/run/app", ADDRESS_UNIX, "/run/app", 0 },
	{ "unix:///run/app", ADDRESS_UNIX, "/run/app", 0 },
	{ "unix://run/app", ADDRESS_UNIX, "run/app", 0 },
	{ "unix:app", ADDRESS_UNIX, "app", 0 },
	{ "unix:@app", ADDRESS_UNIX, "@app", 0 },
	{ "unix:/run/a b:80", ADDRESS_UNIX, "/run/a b:80", 0 },
	{ "/", ADDRESS_UNIX, "/", 0 }, /* only bind(2) can tell */
	{ "tcp:80", ADDRESS_TCP, "tcp", 80 },
	{ "/run/app", ADDRESS_UNIX, "/run/app", 0 },
	{ "./app", ADDRESS_UNIX, "./app", 0 },
	{ "run/app:80", ADDRESS_UNIX, "run/app:80", 0 },
	{ "fd://3", ADDRESS_DESCRIPTOR, "", 3 },
	{ "fd://0", ADDRESS_DESCRIPTOR, "", 0 },
	{ "systemd://0", ADDRESS_SYSTEMD, "0", 0 },
	{ "systemd://http", ADDRESS_SYSTEMD, "http", 0 },
};

static const struct {
	const char *text;
	const char *why;
} bad[] = {
	{ "", "the port is not a number" },
	{ "tcp://", "the port is not a number" },
	{ "host", "the port is not a number" },
	{ "host:", "the port is not a number" },
	{ ":", "the port is not a number" },
	{ "host:65536", "the port is not a number" },
	{ "host:99999", "the port is not a number" },
	{ "host:100000", "the port is not a number" },
	{ "host:000080", "the port is not a number" },
	{ "host:-1", "the port is not a number" },
	{ "host:+1", "the port is not a number" },
	{ "host: 80", "the port is not a number" },
	{ "host:80 ", "the port is not a number" },
	{ "host:0x50", "the port is not a number" },
	{ "host:80x", "the port is not a number" },
	{ "tcp://host:80//", "the port is not a number" },
	{ "tcp://host:80/path", "the port is not a number" },
	{ "::1", "[ADDRESS]:PORT" },
	{ "::1:80", "[ADDRESS]:PORT" },
	{ "[::1]", "[ADDRESS]:PORT" },
	{ "[::1]80", "[ADDRESS]:PORT" },
	{ "[::1:80", "[ADDRESS]:PORT" },
	{ "[[::1]:80", "[ADDRESS]:PORT" },
	{ "[::1]:", "the port is not a number" },
	{ "https://host:443", "unknown scheme" },
	{ "ftp://host:21", "unknown scheme" },
	{ "TCP://host:80", "unknown scheme" },
	{ "://host:80", "unknown scheme" },
	{ "udp://host", "the port is not a number" },
	{ "unix:", "the name is empty" },
	{ "unix://", "the name is empty" },
	{ "fd://", "no number of a descriptor" },
	{ "fd://x", "no number of a descriptor" },
	{ "fd://-1", "no number of a descriptor" },
	{ "fd://70000", "no number of a descriptor" },
	{ "systemd://", "the name is empty" },
};

static void every_form_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct address address;
		struct problem problem = { 0 };

		assert_int_equal(address_read(good[i].text, &address, &problem),
				 0);
		assert_int_equal(address.kind, good[i].kind);
		assert_string_equal(address.host, good[i].host);
		assert_int_equal(address.port, good[i].port);
		assert_int_equal(problem.code, 0);
	}
}

static void
what_is_no_address_is_refused_with_the_cause_and_a_way_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct address address;
		struct problem problem = { 0 };
		int error = address_read(bad[i].text, &address, &problem);

		if (error != -EINVAL ||
		    strstr(problem.text, bad[i].why) == NULL)
			fail_msg("'%s': %d %s", bad[i].text, error,
				 problem.text);
		assert_int_equal(problem.code, -EINVAL);
		assert_string_equal(problem.name, "ADDRESS_INVALID");
		assert_non_null(strstr(problem.text, "(write "));
	}
}

/* A text of `length` bytes 'h' between the two. */
static int read_long(const char *before, size_t length, const char *after,
		     struct address *address)
{
	struct problem problem = { 0 };
	char text[2048];

	snprintf(text, sizeof(text), "%s%.*s%s", before, (int)length,
		 "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
		 "hh"
		 "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
		 "hh"
		 "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
		 "hh"
		 "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
		 "hh"
		 "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
		 "hh",
		 after);
	int error = address_read(text, address, &problem);

	if (error < 0)
		assert_string_equal(problem.name, "ADDRESS_INVALID");
	return error;
}

static void a_name_at_the_limit_passes_and_one_beyond_does_not(void **state)
{
	(void)state;
	static const struct {
		const char *before;
		const char *after;
	} forms[] = { { "", ":80" },        { "tcp://", ":80" },
		      { "tcp://", ":80/" }, { "[", "]:80" },
		      { "udp://", ":1" },   { "unix:", "" },
		      { "systemd://", "" }, { "http://", ":65535/" } };

	for (size_t i = 0; i < COUNT(forms); i++) {
		struct address address;

		for (size_t length = 240; length < 315; length++) {
			int error = read_long(forms[i].before, length,
					      forms[i].after, &address);

			assert_int_equal(error, length < ADDRESS_HOST_BYTES
							? 0
							: -EINVAL);
			if (error == 0)
				assert_int_equal(strlen(address.host), length);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_is_read),
		cmocka_unit_test(
			what_is_no_address_is_refused_with_the_cause_and_a_way_out),
		cmocka_unit_test(
			a_name_at_the_limit_passes_and_one_beyond_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
