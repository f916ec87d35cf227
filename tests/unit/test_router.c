#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/router.h"

static void run(struct muster_call *call)
{
	(void)call;
}

static const struct muster_action list[] = {
	{ .name = "show", .run = run },
	{ .name = "show", .version = 2, .run = run },
	{ .name = "edit", .run = run },
	{ 0 },
};

struct found {
	struct arena arena;
	struct params params;
	struct router *router;
	enum router_answer answer;
	const struct muster_route *route;
	unsigned methods;
};

static struct router *make(const struct muster_route *routes,
			   struct problem *problem)
{
	struct actions *actions = actions_new(list, NULL, problem);
	struct router *router = router_new(routes, actions, problem);

	actions_free(actions);
	return router;
}

static void find(struct found *found, const struct muster_route *routes,
		 unsigned method, const char *path)
{
	struct problem problem = { 0 };

	*found = (struct found){ .router = make(routes, &problem) };
	assert_non_null(found->router);
	found->params = params_in(&found->arena);
	found->answer =
		router_find(found->router, method, path, strlen(path),
			    &found->params, &found->route, &found->methods);
}

static void forget(struct found *found)
{
	router_free(found->router);
	arena_fini(&found->arena);
}

static void answers(const struct muster_route *routes, unsigned method,
		    const char *path, enum router_answer answer)
{
	struct found found;

	find(&found, routes, method, path);
	assert_int_equal(found.answer, answer);
	forget(&found);
}

static void captures(const struct muster_route *routes, const char *path,
		     const char *name, const char *value)
{
	struct found found;

	find(&found, routes, ROUTER_GET, path);
	assert_int_equal(found.answer, ROUTER_FOUND);
	const struct param *param =
		params_find(&found.params, name, strlen(name));

	assert_non_null(param);
	assert_int_equal(param->length, strlen(value));
	assert_memory_equal(param->text, value, param->length);
	forget(&found);
}

static void refuses(const char *method, const char *path, const char *action,
		    const char *word)
{
	struct problem problem = { 0 };
	const struct muster_route routes[] = {
		{ method, path, action, 0 },
		{ 0 },
	};

	assert_null(make(routes, &problem));
	assert_string_equal(problem.name, "ROUTE_INVALID");
	if (strstr(problem.text, word) == NULL)
		fail_msg("'%s' has no '%s'", problem.text, word);
}

static void a_literal_fits_whatever_its_case(void **state)
{
	static const struct muster_route routes[] = {
		{ "GET", "/a/bc", "show", 0 },
		{ 0 },
	};

	(void)state;
	answers(routes, ROUTER_GET, "/a/bc", ROUTER_FOUND);
	answers(routes, ROUTER_GET, "/A/Bc/", ROUTER_FOUND);
	answers(routes, ROUTER_GET, "/a/%62c", ROUTER_FOUND);
	answers(routes, ROUTER_HEAD, "/a/bc", ROUTER_FOUND);
	answers(routes, ROUTER_GET, "/a", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "/a/bc/d", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "/a/bcd", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "/a//bc", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "/a%2fbc", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "*", ROUTER_NO_PATH);
}

static void the_root_is_a_path(void **state)
{
	static const struct muster_route routes[] = {
		{ NULL, "/", "show", 0 },
		{ 0 },
	};

	(void)state;
	answers(routes, ROUTER_GET, "/", ROUTER_FOUND);
	answers(routes, ROUTER_DELETE, "/", ROUTER_FOUND);
	answers(routes, ROUTER_GET, "/a", ROUTER_NO_PATH);
}

static void a_segment_is_captured_decoded(void **state)
{
	static const struct muster_route routes[] = {
		{ "GET", "/u/:id/x", "show", 0 },
		{ 0 },
	};

	(void)state;
	captures(routes, "/u/1/x", "id", "1");
	captures(routes, "/u/a%20+%2Fb/x", "id", "a +/b");
	captures(routes, "/u/50%/x", "id", "50%");
	answers(routes, ROUTER_GET, "/u//x", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "/u/a%00b/x", ROUTER_NO_PATH);
}

static void a_pattern_has_to_fit_the_whole_segment(void **state)
{
	static const struct muster_route routes[] = {
		{ "GET", "/u/:id([0-9]{2}|x)", "show", 0 },
		{ "GET", "/p/:path(a/b)", "show", 0 },
		{ 0 },
	};

	(void)state;
	captures(routes, "/u/12", "id", "12");
	captures(routes, "/u/x", "id", "x");
	answers(routes, ROUTER_GET, "/u/123", ROUTER_NO_PATH);
	answers(routes, ROUTER_GET, "/u/ax", ROUTER_NO_PATH);
	captures(routes, "/p/a%2fb", "path", "a/b");
}

static void a_star_is_whatever_follows(void **state)
{
	static const struct muster_route routes[] = {
		{ "GET", "/f/*rest", "show", 0 },
		{ "GET", "/g/*", "edit", 0 },
		{ 0 },
	};

	(void)state;
	captures(routes, "/f/a/b%20c", "rest", "a/b c");
	captures(routes, "/f", "rest", "");
	captures(routes, "/f/", "rest", "");
	answers(routes, ROUTER_GET, "/g/a/b", ROUTER_FOUND);
	answers(routes, ROUTER_GET, "/h", ROUTER_NO_PATH);
}

static void the_first_that_fits_counts(void **state)
{
	static const struct muster_route routes[] = {
		{ "POST", "/u/:id", "edit", 0 },
		{ "GET", "/u/:id", "show", 2 },
		{ "GET", "/u/:name", "edit", 0 },
		{ 0 },
	};
	struct found found;

	(void)state;
	find(&found, routes, ROUTER_GET, "/u/1");
	assert_ptr_equal(found.route, &routes[1]);
	assert_int_equal(found.params.count, 1);
	forget(&found);
}

static void another_method_is_told_which_there_are(void **state)
{
	static const struct muster_route routes[] = {
		{ "POST", "/u/:id", "edit", 0 },
		{ "GET", "/u/1", "show", 0 },
		{ 0 },
	};
	char text[64];
	struct found found;

	(void)state;
	find(&found, routes, ROUTER_PUT, "/u/1");
	assert_int_equal(found.answer, ROUTER_NO_METHOD);
	router_methods_write(found.methods, text, sizeof(text));
	assert_string_equal(text, "GET, HEAD, POST");
	forget(&found);
	find(&found, routes, 0, "/u/2");
	assert_int_equal(found.methods, ROUTER_POST);
	forget(&found);
}

static void methods_are_known_by_their_names(void **state)
{
	(void)state;
	assert_int_equal(router_method_of("GET", 3), ROUTER_GET);
	assert_int_equal(router_method_of("PATCH", 5), ROUTER_PATCH);
	assert_int_equal(router_method_of("PAT", 3), 0);
	assert_int_equal(router_method_of("PATCHES", 7), 0);
	assert_int_equal(router_method_of("get", 3), 0);
	assert_int_equal(router_method_of("", 0), 0);
}

static void a_route_that_cannot_be_one_is_refused(void **state)
{
	(void)state;
	refuses("GET", "a", "show", "begin");
	refuses("GET", "/a//b", "show", "empty");
	refuses("GET", "/:", "show", "name");
	refuses("GET", "/:(a)", "show", "name");
	refuses("GET", "/:a(b", "show", ")");
	refuses("GET", "/:a([)", "show", "regular");
	refuses("GET", "/*a/b", "show", "end");
	refuses("GET", "/*a b", "show", "name");
	refuses("FETCH", "/a", "show", "method");
	refuses("GET", "/a", "nope", "nope");
	refuses("GET", "/a", NULL, "no action");
}

static void a_path_of_many_segments_fits_none(void **state)
{
	static const struct muster_route routes[] = {
		{ "GET", "/*", "show", 0 },
		{ 0 },
	};
	char path[200] = "";

	(void)state;
	for (size_t i = 0; i < 64; i++)
		strcat(path, "/a");
	answers(routes, ROUTER_GET, path, ROUTER_FOUND);
	strcat(path, "/a");
	answers(routes, ROUTER_GET, path, ROUTER_NO_PATH);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_literal_fits_whatever_its_case),
		cmocka_unit_test(the_root_is_a_path),
		cmocka_unit_test(a_segment_is_captured_decoded),
		cmocka_unit_test(a_pattern_has_to_fit_the_whole_segment),
		cmocka_unit_test(a_star_is_whatever_follows),
		cmocka_unit_test(the_first_that_fits_counts),
		cmocka_unit_test(another_method_is_told_which_there_are),
		cmocka_unit_test(methods_are_known_by_their_names),
		cmocka_unit_test(a_route_that_cannot_be_one_is_refused),
		cmocka_unit_test(a_path_of_many_segments_fits_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
