/* How many cores this process may use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <muster/cluster.h>
#include <sched.h>
#include <unistd.h>

static void there_is_at_least_one(void **state)
{
	(void)state;
	assert_in_range(muster_available_cores(), 1,
			sysconf(_SC_NPROCESSORS_CONF));
}

static void affinity_counts(void **state)
{
	(void)state;
	cpu_set_t all;
	cpu_set_t some;
	int before = muster_available_cores();
	int taken = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&some);
	for (size_t core = 0; core < CPU_SETSIZE; core++) {
		if (!CPU_ISSET(core, &all))
			continue;
		CPU_SET(core, &some);
		taken++;
		assert_int_equal(sched_setaffinity(0, sizeof(some), &some), 0);
		assert_int_equal(muster_available_cores(),
				 taken < before ? taken : before);
	}
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(muster_available_cores(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_is_at_least_one),
		cmocka_unit_test(affinity_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
