#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/nearest.h"

static const char *best_of(const char *word, const char *const *candidates)
{
	struct nearest nearest = nearest_to(word);

	for (; *candidates != NULL; candidates++)
		nearest_offer(&nearest, *candidates);
	return nearest.best;
}

static const char *const commands[] = { "start", "start-cluster",
					"stop",  "restart",
					"ls",    NULL };

static void a_slip_of_the_finger_is_understood(void **state)
{
	(void)state;
	assert_string_equal(best_of("strat", commands), "start");
	assert_string_equal(best_of("stopp", commands), "stop");
	assert_string_equal(best_of("restrt", commands), "restart");
	assert_string_equal(best_of("start-clutser", commands),
			    "start-cluster");
}

static void a_beginning_is_understood(void **state)
{
	(void)state;
	assert_string_equal(best_of("start-c", commands), "start-cluster");
	assert_string_equal(best_of("res", commands), "restart");
}

static void another_word_is_not(void **state)
{
	(void)state;
	assert_null(best_of("monitor", commands));
	assert_null(best_of("x", commands));
	assert_null(best_of("", commands));
	assert_null(best_of("a-word-that-is-far-longer-than-any-of-the-others",
			    commands));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slip_of_the_finger_is_understood),
		cmocka_unit_test(a_beginning_is_understood),
		cmocka_unit_test(another_word_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
