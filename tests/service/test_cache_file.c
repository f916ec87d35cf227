/* The cache to and from a file, on each back end. */
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <muster/cache.h>

#include "base/mem.h"
#include "base/must.h"
#include "nodes.h"

/* ---- to and from a file ---- */

static char *file_of(const struct fixture *fixture, const char *name)
{
	return mem_format("%s/%s", fixture->directory, name);
}

static void fill_for_dump(struct muster *muster)
{
	assert_int_equal(
		muster_cache_save(muster, "value", "a\0\xff", 3,
				  &(struct muster_cache_options){
					  .ttl_ms = LONG_MS, .type = "x/y" }),
		0);
	assert_int_equal(muster_cache_save_text(muster, "for ever", "", NULL),
			 0);
	assert_int_equal(muster_cache_add(muster, "counter", 7, 0, NULL), 0);
	for (int i = 0; i < 3000; i++) {
		const char *text = muster_text(muster, "%d", i);

		assert_int_equal(muster_cache_push(muster, "list", text,
						   strlen(text), 0),
				 0);
		if (i % 100 == 0)
			muster_clear_answers(muster);
	}
	assert_int_equal(muster_cache_save_text(muster, "brief", "x",
						&(struct muster_cache_options){
							.ttl_ms = 1000 }),
			 0);
}

static void see_restored(struct muster *muster)
{
	struct muster_cached cached;
	uint64_t length;
	int64_t sum;

	assert_int_equal(muster_cache_load(muster, "value", &cached), 0);
	assert_int_equal(cached.length, 3);
	assert_memory_equal(cached.data, "a\0\xff", 3);
	assert_string_equal(cached.type, "x/y");
	assert_in_range(cached.expires_ms, cached.created_ms + LONG_MS - 1000,
			cached.created_ms + LONG_MS + 1000);
	assert_int_equal(muster_cache_load(muster, "for ever", &cached), 0);
	assert_int_equal(cached.length, 0);
	assert_int_equal(cached.expires_ms, 0);
	assert_int_equal(muster_cache_load(muster, "brief", &cached),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_cache_add(muster, "counter", 1, 0, &sum), 0);
	assert_int_equal(sum, 8);
	assert_int_equal(muster_cache_length(muster, "list", &length), 0);
	assert_int_equal(length, 3000);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(muster_cache_pop(muster, "list", &cached), 0);
		assert_int_equal(atoi(cached.data), i);
		if (i % 100 == 0)
			muster_clear_answers(muster);
	}
}

static int dump_and_restore(struct muster *muster, void *arg)
{
	char *path = file_of(arg, "dump");
	char *beside = file_of(arg, "dump.*");
	glob_t found = { 0 };
	struct muster_cache_restored restored;
	uint64_t total = 0;

	fill_for_dump(muster);
	assert_int_equal(muster_cache_dump(muster, path, &total), 0);
	assert_int_equal(total, 5);
	assert_int_equal(muster_cache_clear(muster, "", NULL), 0);
	assert_int_equal(muster_cache_save_text(muster, "other", "x", NULL), 0);
	assert_int_equal(
		muster_cache_save_text(muster, "for ever", "until now", NULL),
		0);
	assert_int_equal(muster_sleep(muster, 1100), 0);
	assert_int_equal(muster_cache_restore(muster, path, &restored), 0);
	assert_int_equal(restored.count, 4);
	assert_int_equal(restored.expired, 1);
	see_restored(muster);
	/* Again, in the place of the file; and nothing lies beside it. */
	assert_int_equal(muster_cache_dump(muster, path, &total), 0);
	assert_int_equal(total, 4);
	assert_int_equal(muster_cache_restore(muster, path, NULL), 0);
	assert_int_equal(glob(beside, 0, NULL, &found), GLOB_NOMATCH);
	globfree(&found);
	free(beside);
	free(path);
	return 0;
}

static void a_dump_can_be_restored(void **state)
{
	on_node(state, dump_and_restore);
}

static void put_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	MUST(file != NULL);
	MUST(fputs(text, file) >= 0);
	MUST(fclose(file) == 0);
}

static int restore_what_is_none(struct muster *muster, void *arg)
{
#define HEAD "{\"muster\":\"cache\",\"version\":1,\"created\":1}\n"
#define GOOD "{\"key\":\"new\",\"value\":\"x\"}\n"
	static const struct {
		const char *text;
		const char *word;
	} cases[] = {
		{ "", "DUMP_TORN" },
		{ "hello\n", "DUMP_FOREIGN" },
		{ "{\"muster\":\"tasks\",\"version\":1}\n", "DUMP_FOREIGN" },
		{ "{\"muster\":\"cache\",\"version\":2}\n", "DUMP_VERSION" },
		{ HEAD, "DUMP_TORN" },
		{ HEAD GOOD, "DUMP_TORN" },
		{ HEAD GOOD "{\"end\":", "DUMP_TORN" },
		{ HEAD GOOD "{\"end\":2}\n", "DUMP_TORN" },
		{ HEAD GOOD "{\"end\":1}\n" GOOD, "DUMP_DAMAGED" },
		{ HEAD GOOD "[]\n{\"end\":1}\n", "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"k\"}\n{\"end\":2}\n", "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"k\",\"value\":\"\",\"a\":1}\n",
		  "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"k\",\"value\":{\"base64\":\"A\"}}\n",
		  "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"l\",\"more\":[\"x\"]}\n",
		  "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"l\",\"list\":[\"x\"],\"type\":\"t\"}\n",
		  "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"n\",\"counter\":\"x\"}\n",
		  "DUMP_DAMAGED" },
		{ HEAD GOOD "{\"key\":\"a\\nb\",\"value\":\"x\"}\n",
		  "KEY_INVALID" },
		{ HEAD GOOD "{\"key\":\"\",\"value\":\"x\"}\n", "KEY_INVALID" },
	};
	char *path = file_of(arg, "foreign");
	struct muster_cached cached;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_file(path, cases[i].text);
		assert_true(muster_cache_restore(muster, path, NULL) < 0);
		assert_string_equal(muster_problem_word(muster), cases[i].word);
		assert_int_equal(muster_cache_load(muster, "new", &cached),
				 MUSTER_NOT_FOUND);
	}
	put_file(path, HEAD GOOD "{\"end\":1}\n");
	assert_int_equal(muster_cache_restore(muster, path, NULL), 0);
	assert_int_equal(muster_cache_load(muster, "new", &cached), 0);
	free(path);
	return 0;
}

static void what_is_no_dump_changes_nothing(void **state)
{
	on_node(state, restore_what_is_none);
}

static int restore_what_is_too_large(struct muster *muster, void *arg)
{
	char *path = file_of(arg, "large");
	FILE *file = fopen(path, "w");

	MUST(file != NULL);
	fputs(HEAD GOOD "{\"key\":\"k\",\"value\":\"", file);
	for (int i = 0; i < 100001; i++)
		fputc('x', file);
	fputs("\"}\n{\"end\":2}\n", file);
	MUST(fclose(file) == 0);
	assert_int_equal(muster_cache_restore(muster, path, NULL), -EMSGSIZE);
	assert_string_equal(muster_problem_word(muster), "VALUE_TOO_LARGE");
	/* A file without end or newline is not read to its end. */
	assert_int_equal(truncate(path, (off_t)1 << 33), 0);
	assert_true(muster_cache_restore(muster, path, NULL) < 0);
	put_file(path, "");
	assert_int_equal(truncate(path, (off_t)1 << 33), 0);
	assert_int_equal(muster_cache_restore(muster, path, NULL), -EBADMSG);
	assert_string_equal(muster_problem_word(muster), "DUMP_FOREIGN");
	free(path);
	return 0;
}

static void a_dump_is_held_to_the_limits(void **state)
{
	on_node(state, restore_what_is_too_large);
}

static int use_what_is_no_file(struct muster *muster, void *arg)
{
	const struct fixture *fixture = arg;
	const char *folder = fixture->directory;
	char *missing = file_of(fixture, "none/dump");

	assert_int_equal(muster_cache_dump(muster, missing, NULL), -ENOENT);
	assert_string_equal(muster_problem_word(muster), "FILE_UNUSABLE");
	assert_int_equal(muster_cache_restore(muster, missing, NULL), -ENOENT);
	assert_int_equal(muster_cache_dump(muster, folder, NULL), -EISDIR);
	assert_int_equal(muster_cache_restore(muster, folder, NULL), -EISDIR);
	assert_int_equal(muster_cache_dump(muster, "/dev/null", NULL), -EINVAL);
	assert_int_equal(muster_cache_restore(muster, "/dev/null", NULL),
			 -EINVAL);
	free(missing);
	return 0;
}

static void what_is_no_file_is_refused(void **state)
{
	on_node(state, use_what_is_no_file);
}

/* ---- main ---- */

int main(int count, char **arguments)
{
	static const struct role roles[] = {
		{ 0 },
	};
	const struct CMUnitTest tests[] = {
		NODE_TEST(a_dump_can_be_restored),
		NODE_TEST(what_is_no_dump_changes_nothing),
		NODE_TEST(a_dump_is_held_to_the_limits),
		NODE_TEST(what_is_no_file_is_refused),
	};

	return nodes_test(count, arguments, tests, roles);
}
