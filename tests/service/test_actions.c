/* Actions without a server: requests are handed to the api as servers do. */
#include <errno.h>
#include <muster/action.h>
#include <muster/node.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/must.h"

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/muster-api-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : setenv("MUSTER_HOME", folder, 1);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", folder);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	return system(command) == 0 ? 0 : -1;
}

/* ---- an application ---- */

static void greet(struct muster_call *call)
{
	muster_set_text(call, "greeting", muster_param_text(call, "name"));
	muster_set_int(call, "age", muster_param_int(call, "age"));
	muster_set_bool(call, "loud", muster_param_bool(call, "loud"));
	muster_set_json(call, "extra", muster_param_json(call, "extra"));
}

static void greet_again(struct muster_call *call)
{
	muster_set_text(call, "greeting", "second");
	muster_set_status(call, 201);
}

static void nap(struct muster_call *call)
{
	int error = muster_sleep(muster_call_server(call), 60000);

	if (error == -ECANCELED)
		muster_fail(call, 499, "the client has gone");
}

static void outer(struct muster_call *call)
{
	const char *answer;

	assert_int_equal(muster_run_action(call, "greet", 1,
					   "{\"name\":\"in\\\"ner\"}", &answer),
			 0);
	muster_set_json(call, "inner", answer);
	assert_int_equal(muster_run_action(call, "nothing", 0, NULL, &answer),
			 MUSTER_NOT_FOUND);
	assert_int_equal(muster_run_action(call, "greet", 1, NULL, &answer),
			 -EINVAL);
	muster_set_json(call, "refused", answer);
}

static void shout(struct muster_call *call, const char *name)
{
	char *text = strdup(muster_param_text(call, name));

	assert_non_null(text);
	for (char *at = text; *at != '\0'; at++)
		if (*at >= 'a' && *at <= 'z')
			*at = (char)(*at - 32);
	muster_param_set(call, name, text);
	free(text);
}

static int not_bob(struct muster_call *call, const char *name)
{
	if (strcmp(muster_param_text(call, name), "BOB") != 0)
		return 0;
	return muster_refuse(call, "not you, Bob");
}

static char trace[64];

static void mark(struct muster_call *call)
{
	strcat(trace, muster_call_arg(call));
}

static void forbid(struct muster_call *call)
{
	if (strcmp(muster_param_text(call, "name"), "eve") == 0)
		muster_fail(call, 403, "not %s", "you");
}

static char early_mark[] = "E", late_mark[] = "L";
static const struct muster_middleware middleware[] = {
	{ .name = "late",
	  .global = true,
	  .priority = 200,
	  .before = mark,
	  .after = mark,
	  .arg = late_mark },
	{ .name = "early",
	  .global = true,
	  .priority = 1,
	  .before = mark,
	  .after = mark,
	  .arg = early_mark },
	{ .name = "guard", .before = forbid },
	{ 0 },
};

static const struct muster_input name_input = { .name = "name",
						.required = true,
						.length_max = 8 };
static const struct muster_input age_input = { .name = "age",
					       .type = MUSTER_INTEGER,
					       .fallback = "18" };
static const struct muster_input loud_input = { .name = "loud",
						.type = MUSTER_BOOLEAN };
static const struct muster_input city = { .name = "city", .required = true };
static const struct muster_input zip = { .name = "zip",
					 .pattern = "^[0-9]{4}$" };
static const struct muster_input *const members[] = { &city, &zip, NULL };
static const struct muster_input extra_input = { .name = "extra",
						 .type = MUSTER_OBJECT,
						 .schema = members };
static const struct muster_input shouted = {
	.name = "name", .required = true, .format = shout, .validate = not_bob
};
static const struct muster_action actions[] = {
	{ .name = "greet",
	  .inputs = { &name_input, &age_input, &loud_input, &extra_input },
	  .middleware = { "guard" },
	  .run = greet },
	{ .name = "greet", .version = 2, .run = greet_again },
	{ .name = "greet", .version = 10, .run = greet_again },
	{ .name = "nap", .timeout_ms = 30, .run = nap },
	{ .name = "longNap", .run = nap },
	{ .name = "outer", .run = outer },
	{ .name = "shout",
	  .inputs = { &shouted },
	  .run = greet,
	  .strict = true },
	{ .name = "hidden", .run = greet, .blocked = MUSTER_WEB },
	{ 0 },
};

/* ---- asking ---- */

struct asked {
	struct api_request request;
	struct client client;
	struct buffer output;
	int status;
	bool is_answered;
};

static void on_answer(struct api_request *request, int status,
		      struct json_writer *writer)
{
	struct asked *asked = (struct asked *)(void *)request;

	json_write_object_end(writer);
	buffer_append(&asked->output, "", 1);
	asked->status = status;
	asked->is_answered = true;
}

static struct client web_client(void)
{
	return (struct client){ .transport = MUSTER_WEB,
				.id = "c1",
				.fingerprint = "f1",
				.address = "127.0.0.1" };
}

static void begin_for(struct api *api, struct asked *asked,
		      struct client *client, const char *action,
		      uint32_t version, const char *params)
{
	asked->request.client = client;
	asked->request.params = params_in(&asked->request.arena);
	asked->request.action = action;
	asked->request.action_length = strlen(action);
	asked->request.version = version;
	asked->request.on_answer = on_answer;
	asked->request.output = &asked->output;
	if (params != NULL)
		assert_int_equal(params_set_object(
					 &asked->request.params,
					 json_value_of(params, strlen(params))),
				 0);
	api_run(api, &asked->request);
}

static void begin(struct api *api, struct asked *asked, const char *action,
		  uint32_t version, const char *params)
{
	*asked = (struct asked){ .client = web_client() };
	begin_for(api, asked, &asked->client, action, version, params);
}

static void finish(struct asked *asked)
{
	buffer_fini(&asked->output);
	arena_fini(&asked->request.arena);
}

static void expect(struct api *api, const char *action, const char *params,
		   int status, const char *answer)
{
	struct asked asked;

	begin(api, &asked, action, strcmp(action, "greet") == 0 ? 1 : 0,
	      params);
	assert_true(asked.is_answered);
	assert_string_equal((char *)buffer_bytes(&asked.output), answer);
	assert_int_equal(asked.status, status);
	assert_int_equal(asked.client.pending, 0);
	finish(&asked);
}

static struct api *open_api(struct muster *muster)
{
	struct problem problem = { 0 };
	struct api *api =
		api_new(muster,
			&(struct api_settings){ .actions = actions,
						.middleware = middleware },
			&problem);

	if (api == NULL)
		fail_msg("%s", problem.text);
	return api;
}

static int run_guest(muster_start_fn fn)
{
	struct muster *muster = muster_open(NULL, &(struct muster_node_options){
							  .name = "test",
							  .is_guest = true,
							  .on_start = fn,
						  });

	assert_non_null(muster);
	return muster_run(muster);
}

/* ---- parameters ---- */

static int parameters(struct muster *muster, void *arg)
{
	struct api *api = open_api(muster);

	(void)arg;
	expect(api, "greet", "{\"name\":\"x\",\"other\":1}", 200,
	       "{\"greeting\":\"x\",\"age\":18,\"loud\":false,\"extra\":null}");
	expect(api, "greet",
	       "{\"name\":\"q\\\"\",\"age\":\"7\",\"loud\":\"1\",\"extra\":"
	       "{\"city\":\"B\",\"zip\":\"1234\"}}",
	       200,
	       "{\"greeting\":\"q\\\"\",\"age\":7,\"loud\":true,\"extra\":"
	       "{\"city\":\"B\",\"zip\":\"1234\"}}");
	/* All that is wrong at once. */
	expect(api, "greet",
	       "{\"name\":\"\",\"age\":\"1.5\",\"loud\":\"maybe\",\"extra\":{"
	       "\"zip\":\"x\"}}",
	       422,
	       "{\"error\":\"name is a required parameter for this action; "
	       "age has to be an integer; loud has to be true or false; "
	       "extra.city is a required parameter for this action; "
	       "extra.zip does not match ^[0-9]{4}$\"}");
	expect(api, "greet", "{\"name\":\"too long a name\"}", 422,
	       "{\"error\":\"name is longer than 8\"}");
	expect(api, "greet", "{\"name\":[1]}", 422,
	       "{\"error\":\"name has to be a text\"}");
	expect(api, "greet", "{\"name\":\"x\",\"extra\":3}", 422,
	       "{\"error\":\"extra has to be an object\"}");
	api_free(api);
	return 0;
}

static void parameters_are_what_the_inputs_say(void **state)
{
	(void)state;
	assert_int_equal(run_guest(parameters), 0);
}

static int formats(struct muster *muster, void *arg)
{
	struct api *api = open_api(muster);

	(void)arg;
	expect(api, "shout", "{\"name\":\"ann\"}", 200,
	       "{\"greeting\":\"ANN\",\"age\":0,\"loud\":false,\"extra\":"
	       "null}");
	expect(api, "shout", "{\"name\":\"bob\"}", 422,
	       "{\"error\":\"not you, Bob\"}");
	expect(api, "shout", "{\"name\":\"ann\",\"x\":1}", 422,
	       "{\"error\":\"x is no parameter of this action\"}");
	api_free(api);
	return 0;
}

static void formats_and_validators_run_in_that_order(void **state)
{
	(void)state;
	assert_int_equal(run_guest(formats), 0);
}

/* ---- running ---- */

static int around(struct muster *muster, void *arg)
{
	struct api *api = open_api(muster);

	(void)arg;
	trace[0] = '\0';
	expect(api, "outer", NULL, 200,
	       "{\"inner\":{\"greeting\":\"in\\\"ner\",\"age\":18,\"loud\":"
	       "false,\"extra\":null},\"refused\":{\"error\":\"name is a "
	       "required parameter for this action\"}}");
	assert_string_equal(trace, "ELELLEELLELE");
	expect(api, "greet", "{\"name\":\"eve\"}", 403,
	       "{\"error\":\"not you\"}");
	expect(api, "hidden", NULL, 400,
	       "{\"error\":\"this action does not support the connection "
	       "type\"}");
	expect(api, "nothing", NULL, 404,
	       "{\"error\":\"unknown action or invalid apiVersion\"}");
	expect(api, "gree", NULL, 404,
	       "{\"error\":\"unknown action or invalid apiVersion\"}");
	api_free(api);
	return 0;
}

static void middleware_stands_around_actions(void **state)
{
	(void)state;
	assert_int_equal(run_guest(around), 0);
}

static int versions(struct muster *muster, void *arg)
{
	struct api *api = open_api(muster);
	static const struct {
		uint32_t version;
		int status;
	} cases[] = {
		{ 0, 201 }, { 1, 422 }, { 2, 201 }, { 10, 201 }, { 3, 404 }
	};

	(void)arg;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked asked;

		begin(api, &asked, "greet", cases[i].version, NULL);
		assert_int_equal(asked.status, cases[i].status);
		finish(&asked);
	}
	assert_int_equal(actions_find(api->actions, "greet", 5, 0)->version,
			 10);
	api_free(api);
	return 0;
}

static void the_highest_version_is_by_number(void **state)
{
	(void)state;
	assert_int_equal(run_guest(versions), 0);
}

static int waiting(struct muster *muster, void *arg)
{
	struct api *api = open_api(muster);
	struct asked late, gone;

	(void)arg;
	begin(api, &late, "nap", 0, NULL);
	begin(api, &gone, "longNap", 0, NULL);
	assert_false(late.is_answered);
	assert_int_equal(late.client.pending, 1);
	api_abandon(&gone.request);
	assert_true(gone.is_answered);
	assert_string_equal((char *)buffer_bytes(&gone.output),
			    "{\"error\":\"the client has gone\"}");
	while (!late.is_answered)
		assert_int_equal(muster_sleep(muster, 5), 0);
	assert_int_equal(late.status, 504);
	assert_string_equal((char *)buffer_bytes(&late.output),
			    "{\"error\":\"the action took too long\"}");
	finish(&late);
	finish(&gone);
	api_free(api);
	return 0;
}

static void time_and_the_client_end_a_wait(void **state)
{
	(void)state;
	assert_int_equal(run_guest(waiting), 0);
}

static int crowd(struct muster *muster, void *arg)
{
	struct api *api = open_api(muster);
	struct client client = web_client();
	struct asked asked[6] = { 0 };

	(void)arg;
	for (size_t i = 0; i < 6; i++)
		begin_for(api, &asked[i], &client, "longNap", 0, NULL);
	assert_int_equal(client.pending, 5);
	assert_true(asked[5].is_answered);
	assert_int_equal(asked[5].status, 429);
	for (size_t i = 0; i < 6; i++) {
		api_abandon(&asked[i].request);
		assert_true(asked[i].is_answered);
		finish(&asked[i]);
	}
	assert_int_equal(client.pending, 0);
	api->is_draining = true;
	expect(api, "outer", NULL, 503,
	       "{\"error\":\"the server is shutting down\"}");
	api_free(api);
	return 0;
}

static void one_connection_cannot_ask_without_end(void **state)
{
	(void)state;
	assert_int_equal(run_guest(crowd), 0);
}

/* ---- the table ---- */

static void nothing(struct muster_call *call)
{
	(void)call;
}

static void what_cannot_work_is_refused_at_the_start(void **state)
{
	static const struct muster_input bad_name = { .name = "a b" };
	static const struct muster_input taken = { .name = "apiVersion" };
	static const struct muster_input no_json = { .name = "a",
						     .fallback = "x" };
	static const struct muster_input no_pattern = { .name = "a",
							.pattern = "(" };
	static const struct muster_input no_object = { .name = "a",
						       .schema = members };
	static const struct {
		struct muster_action list[3];
		const char *word;
	} cases[] = {
		{ { { .name = "say", .run = nothing } }, "ACTION_RESERVED" },
		{ { { .name = "a/b", .run = nothing } }, "ACTION_INVALID" },
		{ { { .name = "a" } }, "ACTION_INVALID" },
		{ { { .name = "a", .run = nothing },
		    { .name = "a", .version = 1, .run = nothing } },
		  "ACTION_DOUBLED" },
		{ { { .name = "a", .run = nothing, .output_example = "{" } },
		  "ACTION_INVALID" },
		{ { { .name = "a", .run = nothing, .middleware = { "x" } } },
		  "MIDDLEWARE_UNKNOWN" },
		{ { { .name = "a", .run = nothing, .inputs = { &bad_name } } },
		  "INPUT_INVALID" },
		{ { { .name = "a", .run = nothing, .inputs = { &taken } } },
		  "INPUT_RESERVED" },
		{ { { .name = "a", .run = nothing, .inputs = { &no_json } } },
		  "INPUT_INVALID" },
		{ { { .name = "a",
		      .run = nothing,
		      .inputs = { &no_pattern } } },
		  "INPUT_INVALID" },
		{ { { .name = "a", .run = nothing, .inputs = { &no_object } } },
		  "INPUT_INVALID" },
		{ { { .name = "a",
		      .run = nothing,
		      .inputs = { &name_input, &name_input } } },
		  "INPUT_INVALID" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct problem problem = { 0 };

		assert_null(actions_new(cases[i].list, NULL, &problem));
		assert_string_equal(problem.name, cases[i].word);
		assert_true(strlen(problem.text) > 10);
	}
}

static void a_name_that_is_there_twice_is_refused(void **state)
{
	static const char text[] = "{\"a\":1,\"b\":2,\"\\u0061\":3}";
	struct arena arena = { 0 };
	struct params params = params_in(&arena);
	struct param old = {
		.name = "b", .name_length = 1, .text = "x", .length = 1
	};

	(void)state;
	assert_int_equal(params_set(&params, &old), 0);
	assert_int_equal(
		params_set_object(&params,
				  json_value_of(text, sizeof(text) - 1)),
		-EINVAL);
	arena_fini(&arena);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_are_what_the_inputs_say),
		cmocka_unit_test(formats_and_validators_run_in_that_order),
		cmocka_unit_test(middleware_stands_around_actions),
		cmocka_unit_test(the_highest_version_is_by_number),
		cmocka_unit_test(time_and_the_client_end_a_wait),
		cmocka_unit_test(one_connection_cannot_ask_without_end),
		cmocka_unit_test(what_cannot_work_is_refused_at_the_start),
		cmocka_unit_test(a_name_that_is_there_twice_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
