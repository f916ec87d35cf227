#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "wire/document.h"

struct scene {
	struct arena arena;
	struct document_node *root;
	struct problem problem;
};

static int set_up(void **state)
{
	static struct scene scene;

	scene = (struct scene){ 0 };
	*state = &scene;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;

	arena_fini(&scene->arena);
	return 0;
}

static int read_text(struct scene *scene, const char *text)
{
	return document_read(&scene->arena, "it.yml", text, strlen(text),
			     &scene->root, &scene->problem);
}

static void refused(struct scene *scene, const char *text, const char *why)
{
	assert_int_not_equal(read_text(scene, text), 0);
	if (strstr(scene->problem.text, why) == NULL)
		fail_msg("'%s' does not say '%s'", scene->problem.text, why);
}

static const char *text_at(const struct scene *scene, const char *path)
{
	const struct document_node *node =
		document_find_path(scene->root, path);

	assert_non_null(node);
	assert_int_equal(node->kind, DOCUMENT_VALUE);
	return node->text;
}

static void a_tree_knows_its_lines(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, "# first\n"
					  "one: 1\n"
					  "map:\n"
					  "  two: \"2\"\n"
					  "  list: [a, 'b', {c: d}]\n"),
			 0);
	assert_string_equal(text_at(scene, "one"), "1");
	assert_string_equal(text_at(scene, "map.two"), "2");
	const struct document_node *map = document_find(scene->root, "map");

	assert_int_equal(map->line, 3);
	assert_int_equal(document_find(map, "two")->line, 4);
	assert_true(document_find(map, "two")->is_quoted);
	const struct document_node *list = document_find(map, "list");

	assert_int_equal(list->kind, DOCUMENT_LIST);
	assert_string_equal(list->first->text, "a");
	assert_string_equal(list->first->next->text, "b");
	assert_string_equal(list->first->next->next->first->name, "c");
	assert_null(list->first->next->next->next);
}

static void paths_end_where_there_is_nothing(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, "a: {b: {c: x}}\n"), 0);
	assert_string_equal(text_at(scene, "a.b.c"), "x");
	assert_null(document_find_path(scene->root, "a.b.d"));
	assert_null(document_find_path(scene->root, "a.b.c.d"));
	assert_null(document_find_path(scene->root, ""));
	assert_null(document_find_path(scene->root, "a..b"));
	assert_null(document_find_path(scene->root, "."));
}

static void json_is_a_part_of_it(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, " {\n\t\"a\": [1, true, null],\n"
					  "\t\"b\": \"\\u00e9\\/\\n\" }\n"),
			 0);
	assert_string_equal(text_at(scene, "b"), "\xc3\xa9/\n");
	assert_true(document_is_null(
		document_find(scene->root, "a")->first->next->next));
}

static void json_is_read_as_such(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, "{\"a\": \"\\ud83d\\ude00\",\n"
					  "\"n\": null, \"s\": \"null\",\n"
					  "\"l\": [1e3,\n {\"<<\": true}]}"),
			 0);
	assert_string_equal(text_at(scene, "a"), "\xf0\x9f\x98\x80");
	assert_true(document_is_null(document_find(scene->root, "n")));
	assert_false(document_is_null(document_find(scene->root, "s")));
	const struct document_node *list = document_find(scene->root, "l");

	assert_int_equal(list->line, 3);
	assert_string_equal(list->first->text, "1e3");
	assert_int_equal(list->first->next->line, 4);
	assert_string_equal(list->first->next->first->name, "<<");
	refused(scene, "{\"a\": 1,\n\"\\u0061\": 2}",
		"it.yml:2: 'a' is here a second time (line 1 has the first)");
	refused(scene, "[1,\n\"\\u0000\"]",
		"it.yml:2: a text has a NUL within");
	refused(scene, "{\"\\u0000\": 1}", "it.yml:1: a text has a NUL");
}

static void nothing_is_an_empty_map(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, ""), 0);
	assert_int_equal(scene->root->kind, DOCUMENT_MAP);
	assert_null(scene->root->first);
	assert_int_equal(read_text(scene, "# nothing\n---\n"), 0);
	assert_true(document_is_null(scene->root));
}

static void null_is_not_text(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, "a:\nb: ~\nc: null\nd: 'null'\n"
					  "e: ''\n"),
			 0);
	assert_true(document_is_null(document_find(scene->root, "a")));
	assert_true(document_is_null(document_find(scene->root, "b")));
	assert_true(document_is_null(document_find(scene->root, "c")));
	assert_false(document_is_null(document_find(scene->root, "d")));
	assert_false(document_is_null(document_find(scene->root, "e")));
}

static void what_is_malformed_is_told_with_its_line(void **state)
{
	struct scene *scene = *state;

	refused(scene, "a: 1\nb: [1,\nc: 2\n", "begins in line 2");
	refused(scene, "a: 1\na: 2\n",
		"it.yml:2: 'a' is here a second time (line 1 has the first)");
	refused(scene, "a:\n\tb: 1\n", "it.yml:2: ");
	refused(scene, "a: \xff\n", "it.yml:1: it is not UTF-8");
	refused(scene, "a: 1\nb: \xc3", "it.yml:2: it ends within a character");
	refused(scene, "a: 1\nb: \x07\n", "it.yml:2: there is a control");
	refused(scene, "a: \"\\0\"\n", "it.yml:1: a text has a NUL within");
	refused(scene, "a: !!int 1\n", "it.yml:1: the tag");
	refused(scene, "a: 1\n---\nb: 2\n", "it.yml:2: another document");
	refused(scene, "{}\n? [a]\n: 1\n", "it.yml:");
	refused(scene, "? [a]\n: 1\n", "it.yml:1: a name has to be a text");
	refused(scene, "a: *b\n", "it.yml:1: nothing above is called &b");
	refused(scene, "a: &a [*a]\n", "nothing above is called &a");
}

static void what_is_merged_does_not_replace(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene, "base: &base {x: 1, y: 2}\n"
					  "more: &more {y: 3, z: 4}\n"
					  "one: {<<: *base, x: 9}\n"
					  "all: {<<: [*base, *more]}\n"),
			 0);
	assert_string_equal(text_at(scene, "one.x"), "9");
	assert_string_equal(text_at(scene, "one.y"), "2");
	assert_string_equal(text_at(scene, "all.y"), "2");
	assert_string_equal(text_at(scene, "all.z"), "4");
	refused(scene, "one: {<<: 1}\n", "'<<' wants a map");
}

/* Nine lines that stand for a billion values. */
static void aliases_are_counted(void **state)
{
	struct scene *scene = *state;
	struct buffer text = { 0 };

	buffer_append_text(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 9; i++) {
		buffer_append_format(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buffer_append_format(&text, "%s*a%d", k > 0 ? "," : "",
					     i - 1);
		buffer_append_text(&text, "]\n");
	}
	buffer_append(&text, "", 1);
	refused(scene, (const char *)buffer_bytes(&text),
		"more than 10000 values");
	buffer_fini(&text);
}

static void nest(struct buffer *text, int depth)
{
	buffer_append_text(text, "a: ");
	for (int i = 0; i < depth; i++)
		buffer_append_text(text, "[");
	for (int i = 0; i < depth; i++)
		buffer_append_text(text, "]");
	buffer_append(text, "", 1);
}

static void depth_is_bounded(void **state)
{
	struct scene *scene = *state;
	struct buffer text = { 0 };
	struct buffer json = { 0 };

	nest(&text, DOCUMENT_DEPTH_MAX - 1);
	assert_int_equal(read_text(scene, (const char *)buffer_bytes(&text)),
			 0);
	buffer_truncate(&text, 0);
	nest(&text, DOCUMENT_DEPTH_MAX);
	refused(scene, (const char *)buffer_bytes(&text), "more than 32 deep");
	/* As JSON as well. */
	nest(&json, DOCUMENT_DEPTH_MAX + 1);
	refused(scene, (const char *)buffer_bytes(&json) + strlen("a: "),
		"more than 32 deep");
	buffer_fini(&json);
	buffer_truncate(&text, 0);
	/* By way of an alias as well. */
	buffer_append_text(&text, "b: &b ");
	for (int i = 0; i < 20; i++)
		buffer_append_text(&text, "[");
	for (int i = 0; i < 20; i++)
		buffer_append_text(&text, "]");
	buffer_append_text(&text, "\nc: ");
	for (int i = 0; i < 20; i++)
		buffer_append_text(&text, "[");
	buffer_append_text(&text, "*b");
	for (int i = 0; i < 20; i++)
		buffer_append_text(&text, "]");
	buffer_append(&text, "", 1);
	refused(scene, (const char *)buffer_bytes(&text), "more than 32 deep");
	buffer_fini(&text);
}

static void size_is_bounded(void **state)
{
	struct scene *scene = *state;
	struct buffer text = { 0 };

	memset(buffer_reserve(&text, DOCUMENT_BYTES_MAX + 1), '#',
	       DOCUMENT_BYTES_MAX + 1);
	buffer_extend(&text, DOCUMENT_BYTES_MAX + 1);
	assert_int_not_equal(document_read(&scene->arena, "it.yml",
					   (const char *)buffer_bytes(&text),
					   buffer_length(&text), &scene->root,
					   &scene->problem),
			     0);
	assert_non_null(strstr(scene->problem.text, "are more than"));
	assert_int_equal(document_read(&scene->arena, "it.yml",
				       (const char *)buffer_bytes(&text),
				       buffer_length(&text) - 1, &scene->root,
				       &scene->problem),
			 0);
	buffer_fini(&text);
}

static void one_map_is_laid_over_another(void **state)
{
	struct scene *scene = *state;

	assert_int_equal(read_text(scene,
				   "under: {a: 1, b: {c: 2, d: 3}, l: [1, 2]}\n"
				   "over: {b: {d: 4, e: 5}, l: [3], z: 6}\n"),
			 0);
	scene->root = document_merge(&scene->arena,
				     document_find(scene->root, "under"),
				     document_find(scene->root, "over"));
	assert_string_equal(text_at(scene, "a"), "1");
	assert_string_equal(text_at(scene, "b.c"), "2");
	assert_string_equal(text_at(scene, "b.d"), "4");
	assert_string_equal(text_at(scene, "b.e"), "5");
	assert_string_equal(text_at(scene, "z"), "6");
	const struct document_node *list = document_find(scene->root, "l");

	assert_string_equal(list->first->text, "3");
	assert_null(list->first->next);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tree_knows_its_lines),
		TEST(paths_end_where_there_is_nothing),
		TEST(json_is_a_part_of_it),
		TEST(json_is_read_as_such),
		TEST(nothing_is_an_empty_map),
		TEST(null_is_not_text),
		TEST(what_is_malformed_is_told_with_its_line),
		TEST(what_is_merged_does_not_replace),
		TEST(aliases_are_counted),
		TEST(depth_is_bounded),
		TEST(size_is_bounded),
		TEST(one_map_is_laid_over_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
