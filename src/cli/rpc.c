#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <muster/rpc.h>

#include "base/json.h"
#include "base/quantity.h"
#include "cli/guest.h"
#include "cli/print.h"

enum {
	NODE = GUEST_OPTIONS,
	CONNECTION,
	ALL,
	TIMEOUT,
	OPTIONS,
};

static const struct command_option options[OPTIONS + 1] = {
	GUEST_ROWS,
	[NODE] = { 'n', "node", NULL, "ID", "that server alone" },
	[CONNECTION] = { 'c', "connection", NULL, "ID",
			 "the server that holds it alone" },
	[ALL] = { 'a', "all", NULL, NULL, "the answer of every server" },
	[TIMEOUT] = { 't', "timeout", NULL, "TIME", "to wait (5s)" },
};

struct request {
	struct muster_do options;
	bool is_all;
};

static int take(void *context, int option, const char *value)
{
	struct request *request = context;

	switch (option) {
	case NODE:
		request->options.node = value;
		return COMMAND_DONE;
	case CONNECTION:
		request->options.connection = value;
		return COMMAND_DONE;
	case TIMEOUT:
		if (quantity_read_time_ms(value, &request->options.timeout_ms))
			return COMMAND_DONE;
		return guest_wants(&rpc_command, option,
				   "a time as in 500 (ms), 10s or 1m", value);
	default: /* ALL */
		request->is_all = true;
		return COMMAND_DONE;
	}
}

static int check(const struct guest *guest)
{
	const struct request *request = guest->context;
	const char *args = guest->operands[1];

	if (args != NULL && !json_is_value(args, strlen(args)))
		return command_misused(guest->command,
				       "rpc: the arguments are JSON, and "
				       "'%.60s' is none (a text has quotes: "
				       "'\"x\"')",
				       args);
	if (request->is_all && (request->options.node != NULL ||
				request->options.connection != NULL))
		return command_misused(guest->command,
				       "rpc: --all asks every server, so "
				       "neither --node nor --connection");
	return COMMAND_DONE;
}

/* ---- answers ---- */

static json_t *json_of(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	return value != NULL ? value : json_null();
}

static json_t *describe(const struct muster_reply *reply)
{
	json_t *object = json_object();

	json_object_set_new(object, "from", json_string(reply->from));
	if (reply->error[0] == '\0') {
		json_object_set_new(object, "value", json_of(reply->value));
		return object;
	}
	json_object_set_new(object, "error", json_string(reply->error));
	json_object_set_new(object, "text", json_string(reply->text));
	return object;
}

static void print_reply(const struct muster_reply *reply, int width)
{
	if (reply->error[0] == '\0')
		printf("%-*s  %s\n", width, reply->from, reply->value);
	else
		printf("%-*s  %s: %s\n", width, reply->from, reply->error,
		       reply->text);
}

static int width_of(const struct muster_gathered *all)
{
	size_t width = 0;

	for (size_t i = 0; i < all->count; i++)
		if (strlen(all->replies[i].from) > width)
			width = strlen(all->replies[i].from);
	for (size_t i = 0; i < all->silent_count; i++)
		if (strlen(all->silent[i]) > width)
			width = strlen(all->silent[i]);
	return (int)width;
}

static int ask_all(struct guest *guest)
{
	const struct request *request = guest->context;
	struct muster_gathered all;
	bool has_failed = false;

	if (muster_gather(guest->muster, guest->operands[0], guest->operands[1],
			  request->options.timeout_ms, &all) < 0)
		return guest_failed(guest);
	if (all.count + all.silent_count == 0)
		return command_failed("no server is there to ask (muster peers "
				      "shows who is)");
	for (size_t i = 0; i < all.count; i++) {
		has_failed = has_failed || all.replies[i].error[0] != '\0';
		if (guest->is_json)
			print_json(describe(&all.replies[i]));
		else
			print_reply(&all.replies[i], width_of(&all));
	}
	for (size_t i = 0; i < all.silent_count; i++) {
		struct muster_reply silent = {
			.from = all.silent[i],
			.error = "TIMEOUT",
			.text = "it has not answered in time",
		};

		has_failed = true;
		if (guest->is_json)
			print_json(describe(&silent));
		else
			print_reply(&silent, width_of(&all));
	}
	return has_failed ? COMMAND_FAILED : COMMAND_DONE;
}

static int ask(struct guest *guest)
{
	const struct request *request = guest->context;
	struct muster_reply reply;

	if (request->is_all)
		return ask_all(guest);
	int error = muster_do_cluster(guest->muster, guest->operands[0],
				      guest->operands[1], &request->options,
				      &reply);

	if (guest->is_json && (error == 0 || reply.error[0] != '\0'))
		print_json(describe(&reply));
	if (error < 0)
		return guest_failed(guest);
	if (!guest->is_json)
		printf("%s\n", reply.value);
	return COMMAND_DONE;
}

static int run(struct arguments *arguments)
{
	struct request request = { 0 };

	return guest_run(arguments, &(struct guest_plan){
					    .take = take,
					    .check = check,
					    .run = ask,
					    .least = 1,
					    .most = 2,
					    .context = &request,
				    });
}

const struct command rpc_command = {
	.name = "rpc",
	.operands = "METHOD [ARGS-JSON]",
	.summary = "call a method of the cluster's servers",
	.details = "  muster rpc log '{\"message\": \"hello\"}'\n"
		   "  muster rpc status --all\n"
		   "The first server that succeeds answers, unless an option "
		   "says otherwise.",
	.options = options,
	.run = run,
};
