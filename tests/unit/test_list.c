/* Lists whose links are members of what is listed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int number;
	struct list link;
};

static struct item items[4];
static struct list list;

static int set_up(void **state)
{
	(void)state;
	list_init(&list);
	for (int i = 0; i < 4; i++) {
		items[i] = (struct item){ .number = i };
		list_add_last(&list, &items[i].link);
	}
	return 0;
}

static void assert_items(const int *numbers, size_t count)
{
	size_t seen = 0;

	LIST_EACH (&list, link) {
		assert_true(seen < count);
		assert_int_equal(LIST_ENTRY(link, struct item, link)->number,
				 numbers[seen++]);
	}
	assert_int_equal(seen, count);
}

static void an_empty_list_has_no_first(void **state)
{
	(void)state;
	list_init(&list);
	assert_true(list_is_empty(&list));
	assert_null(list_first(&list));
	assert_null(list_take_first(&list));
	assert_items(NULL, 0);
}

static void items_stay_in_the_order_they_were_added(void **state)
{
	(void)state;
	assert_false(list_is_empty(&list));
	assert_ptr_equal(list_first(&list), &items[0].link);
	assert_items((int[]){ 0, 1, 2, 3 }, 4);
}

static void a_link_knows_whether_it_is_in_a_list(void **state)
{
	(void)state;
	struct item other = { 0 };

	assert_false(list_is_linked(&other.link));
	assert_true(list_is_linked(&items[1].link));
	list_remove(&items[1].link);
	assert_false(list_is_linked(&items[1].link));
	assert_items((int[]){ 0, 2, 3 }, 3);
}

static void a_removed_link_can_be_added_again(void **state)
{
	(void)state;
	list_remove(&items[0].link);
	list_add_last(&list, &items[0].link);
	assert_items((int[]){ 1, 2, 3, 0 }, 4);
}

static void taking_the_first_empties_the_list_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_ptr_equal(list_take_first(&list), &items[i].link);
		assert_false(list_is_linked(&items[i].link));
	}
	assert_true(list_is_empty(&list));
}

static void a_walk_survives_the_removal_of_where_it_is(void **state)
{
	(void)state;
	int seen = 0;

	LIST_EACH (&list, link) {
		assert_int_equal(LIST_ENTRY(link, struct item, link)->number,
				 seen++);
		list_remove(link);
	}
	assert_int_equal(seen, 4);
	assert_true(list_is_empty(&list));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_list_has_no_first),
		TEST(items_stay_in_the_order_they_were_added),
		TEST(a_link_knows_whether_it_is_in_a_list),
		TEST(a_removed_link_can_be_added_again),
		TEST(taking_the_first_empties_the_list_in_order),
		TEST(a_walk_survives_the_removal_of_where_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
