/* How often a client may ask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "server/limiter.h"

static void a_burst_is_let_through_and_then_the_rate(void **state)
{
	(void)state;
	struct limiter *limiter = limiter_new(10, 3);

	for (int i = 0; i < 3; i++)
		assert_int_equal(limiter_take(limiter, "10.0.0.1", 1000), 0);
	assert_int_equal(limiter_take(limiter, "10.0.0.1", 1000), 100);
	assert_int_equal(limiter_take(limiter, "10.0.0.1", 1040), 60);
	assert_int_equal(limiter_take(limiter, "10.0.0.1", 1100), 0);
	assert_int_equal(limiter_take(limiter, "10.0.0.1", 1100), 100);
	/* It does not gather more than the burst. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(limiter_take(limiter, "10.0.0.1", 99000), 0);
	assert_int_not_equal(limiter_take(limiter, "10.0.0.1", 99000), 0);
	limiter_free(limiter);
}

static void clients_are_told_apart(void **state)
{
	(void)state;
	static const char *const clients[] = { "10.0.0.1", "10.0.0.2",
					       "::1",      "2001:db8:0:1::1",
					       "",         "2001:db8:0:2::1" };
	struct limiter *limiter = limiter_new(1, 0);

	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		assert_int_equal(limiter_take(limiter, clients[i], 5), 0);
		assert_int_equal(limiter_take(limiter, clients[i], 5), 1000);
	}
	/* But not by what one subscriber has plenty of. */
	assert_int_equal(limiter_take(limiter, "2001:db8:0:1:a::2", 5), 1000);
	limiter_free(limiter);
}

static void many_clients_do_not_free_one_that_asks_too_much(void **state)
{
	(void)state;
	struct limiter *limiter = limiter_new(1, 0);
	char address[32];

	assert_int_equal(limiter_take(limiter, "10.0.0.1", 0), 0);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(address, sizeof(address), "11.%u.%u.%u", i >> 16,
			 i >> 8 & 255, i & 255);
		limiter_take(limiter, address, 2 * i);
		if (i < 400)
			assert_int_not_equal(
				limiter_take(limiter, "10.0.0.1", 2 * i), 0);
	}
	assert_int_equal(limiter_take(limiter, "10.0.0.1", 200000), 0);
	limiter_free(limiter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_is_let_through_and_then_the_rate),
		cmocka_unit_test(clients_are_told_apart),
		cmocka_unit_test(
			many_clients_do_not_free_one_that_asks_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
