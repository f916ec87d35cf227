#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <muster/stats.h>

#include "cli/guest.h"
#include "cli/print.h"

enum {
	SERVER = GUEST_OPTIONS,
	OPTIONS,
};

static const struct command_option options[OPTIONS + 1] = {
	GUEST_ROWS,
	[SERVER] = { 0, "server", NULL, "NAME",
		     "those of one server (all of them together)" },
};

static int take(void *context, int option, const char *value)
{
	const char **server = context;

	(void)option; /* there is one */
	*server = value;
	return COMMAND_DONE;
}

static int show(struct guest *guest)
{
	const char **server = guest->context;
	struct muster_stat_list list;

	if (muster_stats(guest->muster, *server, guest->operands[0], &list) < 0)
		return guest_failed(guest);
	json_t *object = json_object();

	for (size_t i = 0; i < list.count; i++) {
		const struct muster_stat *stat = &list.stats[i];

		if (guest->is_json)
			json_object_set_new(
				object, stat->name,
				json_integer((json_int_t)stat->value));
		else
			printf("%20" PRId64 "  %s\n", stat->value, stat->name);
	}
	if (guest->is_json)
		print_json(object);
	else
		json_decref(object);
	return COMMAND_DONE;
}

static int run(struct arguments *arguments)
{
	const char *server = NULL;

	return guest_run(arguments, &(struct guest_plan){
					    .take = take,
					    .run = show,
					    .most = 1,
					    .context = &server,
				    });
}

const struct command stats_command = {
	.name = "stats",
	.operands = "[PREFIX]",
	.summary = "Shows the counters and gauges of a cluster",
	.options = options,
	.run = run,
};
