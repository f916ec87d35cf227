/* Networks, and what proxies say about clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire/forwarded.h"

static struct network_list read_list(const char *text)
{
	struct network_list networks;
	struct problem problem;

	assert_int_equal(network_list_read(&networks, text, &problem), 0);
	return networks;
}

static void expect_in(const char *list, const char *address, bool is_in)
{
	struct network_list networks = read_list(list);

	assert_int_equal(network_list_has(&networks, address), is_in);
	network_list_fini(&networks);
}

static void an_address_is_in_its_network(void **state)
{
	(void)state;
	expect_in("10.0.0.0/8", "10.255.0.1", true);
	expect_in("10.0.0.0/8", "11.0.0.1", false);
	expect_in("192.168.1.128/25", "192.168.1.129", true);
	expect_in("192.168.1.128/25", "192.168.1.127", false);
	expect_in("127.0.0.1", "127.0.0.1", true);
	expect_in("127.0.0.1", "127.0.0.2", false);
	expect_in("0.0.0.0/0", "203.0.113.9", true);
	expect_in("0.0.0.0/0", "2001:db8::1", false);
	expect_in("::/0", "203.0.113.9", true);
	expect_in("fe80::/10, ::1", "::1", true);
	expect_in("fe80::/10, ::1", "febf::1", true);
	expect_in("fe80::/10, ::1", "fec0::1", false);
	expect_in("10.0.0.0/8", "::ffff:10.1.1.1", true);
	expect_in("", "10.0.0.1", false);
	expect_in("10.0.0.0/8", "unknown", false);
	expect_in("10.0.0.0/8", "", false);
	expect_in("10.0.0.0/8 unix", "", true);
}

static void an_address_is_written_as_people_know_it(void **state)
{
	static const struct {
		int family;
		const char *text;
		const char *written;
	} addresses[] = {
		{ AF_INET, "10.0.0.1", "10.0.0.1" },
		{ AF_INET6, "2001:DB8::0:1", "2001:db8::1" },
		{ AF_INET6, "::ffff:10.0.0.1", "10.0.0.1" },
		{ AF_INET6, "::1", "::1" },
		{ AF_INET6, "::", "::" },
	};
	struct in6_addr address;
	char text[NETWORK_ADDRESS_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		assert_int_equal(inet_pton(addresses[i].family,
					   addresses[i].text, &address),
				 1);
		network_write(addresses[i].family, &address, text);
		assert_string_equal(text, addresses[i].written);
	}
}

static void what_is_no_network_is_refused_by_name(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"10.0.0.0/33", "10.0.0/8",   "::1/129",  "10.0.0.0/",
		"a.example",   "10.0.0.0/x", "::1/0128", "10.0.0.1/-1",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct network_list networks;
		struct problem problem = { 0 };

		assert_int_equal(network_list_read(&networks, bad[i], &problem),
				 -22);
		assert_string_equal(problem.name, "NETWORK_INVALID");
		assert_non_null(strstr(problem.text, bad[i]));
	}
}

static void expect(const char *peer, const char *value, bool is_standard,
		   const char *wanted)
{
	struct network_list trusted = read_list("10.0.0.0/8, ::1, unix");
	char client[NETWORK_ADDRESS_BYTES];

	strcpy(client, peer);
	forwarded_read(client, &trusted, value, strlen(value), is_standard);
	assert_string_equal(client, wanted);
	network_list_fini(&trusted);
}

static void a_trusted_proxy_is_believed(void **state)
{
	(void)state;
	expect("10.0.0.1", "203.0.113.9", false, "203.0.113.9");
	expect("", "203.0.113.9", false, "203.0.113.9");
	expect("10.0.0.1", "203.0.113.9:4711", false, "203.0.113.9");
	expect("10.0.0.1", "[2001:DB8::1]:80", false, "2001:db8::1");
	expect("10.0.0.1", "2001:db8::1", false, "2001:db8::1");
	expect("10.0.0.1", "::ffff:203.0.113.9", false, "203.0.113.9");
	expect("10.0.0.1", "for=203.0.113.9;proto=https", true, "203.0.113.9");
	expect("::1", "proto=http; For=\"[2001:db8::1]:47\"", true,
	       "2001:db8::1");
}

static void nobody_else_is(void **state)
{
	(void)state;
	expect("203.0.113.1", "203.0.113.9", false, "203.0.113.1");
	/* What the client put there itself is left of what a proxy added. */
	expect("10.0.0.1", "1.2.3.4, 203.0.113.9", false, "203.0.113.9");
	expect("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.7", false,
	       "203.0.113.9");
	expect("10.0.0.1", "for=\"1.2.3.4, for=203.0.113.9", true,
	       "203.0.113.9");
}

static void where_it_ends_the_last_one_known_stands(void **state)
{
	(void)state;
	expect("10.0.0.1", "10.0.0.9, 10.0.0.8", false, "10.0.0.9");
	expect("10.0.0.1", "1.2.3.4, unknown, 10.0.0.8", false, "10.0.0.8");
	expect("10.0.0.1", "for=_hidden, for=10.0.0.8", true, "10.0.0.8");
	expect("10.0.0.1", "proto=http", true, "10.0.0.1");
	expect("10.0.0.1", "", false, "10.0.0.1");
	expect("10.0.0.1", ", ,,", false, "10.0.0.1");
	expect("10.0.0.1", "[::1", false, "10.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_in_its_network),
		cmocka_unit_test(an_address_is_written_as_people_know_it),
		cmocka_unit_test(what_is_no_network_is_refused_by_name),
		cmocka_unit_test(a_trusted_proxy_is_believed),
		cmocka_unit_test(nobody_else_is),
		cmocka_unit_test(where_it_ends_the_last_one_known_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
