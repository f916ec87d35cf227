/* How workers are started: changed bit by bit, and what cannot work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cluster/settings.h"

static struct settings settings;
static struct problem problem;

static int tear_down(void **state)
{
	(void)state;
	settings_fini(&settings);
	memset(&problem, 0, sizeof(problem));
	return 0;
}

static void merge(const struct muster_settings *from)
{
	assert_int_equal(settings_merge(&settings, from, &problem), 0);
}

static void assert_refused(const struct muster_settings *from)
{
	struct settings before;

	settings_copy(&before, &settings);
	memset(&problem, 0, sizeof(problem));
	assert_int_equal(settings_merge(&settings, from, &problem), -EINVAL);
	assert_string_equal(problem.name, "SETTINGS_INVALID");
	assert_int_not_equal(problem.text[0], 0);
	assert_int_equal(settings.view.uid, before.view.uid);
	assert_int_equal(settings.view.stdio_count, before.view.stdio_count);
	assert_ptr_equal(settings.view.exec == NULL, before.view.exec == NULL);
	settings_fini(&before);
}

static const int stdio[] = { 0, MUSTER_STDIO_PIPE, MUSTER_STDIO_NULL,
			     MUSTER_STDIO_CHANNEL };

static void nothing_is_set_at_first(void **state)
{
	(void)state;
	merge(&(struct muster_settings){ 0 });
	assert_null(settings.view.exec);
	assert_null(settings.view.args);
	assert_null(settings.view.stdio);
	assert_int_equal(settings.view.stdio_count, 0);
}

static void what_is_set_stays_until_it_is_set_again(void **state)
{
	(void)state;
	merge(&(struct muster_settings){ .exec = "a", .cwd = "/", .uid = 5 });
	merge(&(struct muster_settings){ .exec = "b", .silent = true });
	merge(&(struct muster_settings){ .gid = 6,
					 .schedule = MUSTER_SHARED,
					 .serialization = MUSTER_BYTES });
	merge(&(struct muster_settings){ 0 });
	assert_string_equal(settings.view.exec, "b");
	assert_string_equal(settings.view.cwd, "/");
	assert_int_equal(settings.view.uid, 5);
	assert_int_equal(settings.view.gid, 6);
	assert_true(settings.view.silent);
	assert_int_equal(settings.view.schedule, MUSTER_SHARED);
	assert_int_equal(settings.view.serialization, MUSTER_BYTES);
}

static void texts_and_tables_are_copied(void **state)
{
	(void)state;
	char exec[] = "program";
	char first[] = "first";
	const char *args[] = { first, "second", NULL };
	const char *env[] = { "A=1", NULL };
	int table[] = { 0, 1, 2, MUSTER_STDIO_CHANNEL };

	merge(&(struct muster_settings){ .exec = exec,
					 .args = args,
					 .env = env,
					 .stdio = table,
					 .stdio_count = 4,
					 .descriptors = table,
					 .descriptor_count = 2 });
	exec[0] = first[0] = 'X';
	args[1] = NULL;
	table[0] = 9;
	assert_string_equal(settings.view.exec, "program");
	assert_string_equal(settings.view.args[0], "first");
	assert_string_equal(settings.view.args[1], "second");
	assert_null(settings.view.args[2]);
	assert_string_equal(settings.view.env[0], "A=1");
	assert_int_equal(settings.view.stdio[0], 0);
	assert_int_equal(settings.view.stdio_count, 4);
	assert_int_equal(settings.view.descriptors[0], 0);
	assert_int_equal(settings.view.descriptor_count, 2);
}

static void a_list_is_replaced_as_a_whole(void **state)
{
	(void)state;
	static const char *const two[] = { "a", "b", NULL };
	static const char *const none[] = { NULL };

	merge(&(struct muster_settings){ .args = two });
	merge(&(struct muster_settings){ .args = none });
	assert_non_null(settings.view.args);
	assert_null(settings.view.args[0]);
}

static void settings_may_be_merged_with_themselves(void **state)
{
	(void)state;
	static const char *const args[] = { "a", "b", NULL };

	merge(&(struct muster_settings){
		.exec = "x", .args = args, .stdio = stdio, .stdio_count = 4 });
	struct muster_settings view = settings.view;

	merge(&view);
	assert_string_equal(settings.view.exec, "x");
	assert_string_equal(settings.view.args[1], "b");
	assert_int_equal(settings.view.stdio[3], MUSTER_STDIO_CHANNEL);
}

static void a_copy_lives_by_itself(void **state)
{
	(void)state;
	struct settings copy;

	merge(&(struct muster_settings){
		.exec = "x", .stdio = stdio, .stdio_count = 4 });
	settings_copy(&copy, &settings);
	settings_fini(&settings);
	assert_null(settings.view.exec);
	assert_string_equal(copy.view.exec, "x");
	assert_int_equal(copy.view.stdio_count, 4);
	settings_fini(&copy);
}

static void a_stdio_table_has_exactly_one_channel(void **state)
{
	(void)state;
	static const int none[] = { 0, 1, 2 };
	static const int two[] = { MUSTER_STDIO_CHANNEL, 1, 2,
				   MUSTER_STDIO_CHANNEL };

	merge(&(struct muster_settings){ .exec = "kept", .uid = 3 });
	assert_refused(&(struct muster_settings){
		.stdio = none, .stdio_count = 3, .uid = 4 });
	assert_refused(&(struct muster_settings){
		.stdio = two, .stdio_count = 4, .exec = "other" });
	assert_refused(
		&(struct muster_settings){ .stdio = two, .stdio_count = 0 });
	assert_string_equal(settings.view.exec, "kept");
	merge(&(struct muster_settings){ .stdio = two, .stdio_count = 1 });
}

static void there_is_no_second_channel_among_the_descriptors(void **state)
{
	(void)state;
	static const int list[] = { 0, MUSTER_STDIO_CHANNEL };

	assert_refused(&(struct muster_settings){ .descriptors = list,
						  .descriptor_count = 2 });
}

static void tables_have_a_limit(void **state)
{
	(void)state;
	int table[SETTINGS_STDIO_MAX + 1] = { MUSTER_STDIO_CHANNEL };

	merge(&(struct muster_settings){ .stdio = table,
					 .stdio_count = SETTINGS_STDIO_MAX,
					 .descriptors = table + 1,
					 .descriptor_count =
						 SETTINGS_STDIO_MAX });
	assert_refused(&(struct muster_settings){
		.stdio = table, .stdio_count = SETTINGS_STDIO_MAX + 1 });
	assert_refused(&(struct muster_settings){
		.descriptors = table + 1,
		.descriptor_count = SETTINGS_STDIO_MAX + 1 });
}

static void a_count_without_a_table_changes_nothing(void **state)
{
	(void)state;
	merge(&(struct muster_settings){ .stdio = stdio, .stdio_count = 4 });
	merge(&(struct muster_settings){ .stdio_count = 3,
					 .descriptor_count = 2 });
	assert_int_equal(settings.view.stdio_count, 4);
	assert_int_equal(settings.view.descriptor_count, 0);
}

static void what_is_no_schedule_or_serialization_is_refused(void **state)
{
	(void)state;
	assert_refused(&(struct muster_settings){
		.schedule = (enum muster_schedule)(MUSTER_REUSEPORT + 1) });
	assert_refused(&(struct muster_settings){
		.serialization =
			(enum muster_serialization)(MUSTER_BYTES + 1) });
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_set_at_first),
		TEST(what_is_set_stays_until_it_is_set_again),
		TEST(texts_and_tables_are_copied),
		TEST(a_list_is_replaced_as_a_whole),
		TEST(settings_may_be_merged_with_themselves),
		TEST(a_copy_lives_by_itself),
		TEST(a_stdio_table_has_exactly_one_channel),
		TEST(there_is_no_second_channel_among_the_descriptors),
		TEST(tables_have_a_limit),
		TEST(a_count_without_a_table_changes_nothing),
		TEST(what_is_no_schedule_or_serialization_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
