/* @NAME@: what it can do. ./@NAME@ --help says how it is run. */
#include "app.h"

static const struct muster_input name = {
	.name = "name",
	.description = "who is greeted: letters",
	.required = true,
	.pattern = "^[A-Za-z]+$",
	.length_max = 40,
};
static const struct muster_input text = {
	.name = "text",
	.description = "what to be reminded of",
	.required = true,
	.length_max = 200,
};
static const struct muster_input delay = {
	.name = "delay",
	.description = "milliseconds from now",
	.type = MUSTER_INTEGER,
	.fallback = "1000",
};

static const struct muster_action actions[] = {
	{ .name = "greet",
	  .description = "greets, and counts how often",
	  .inputs = { &name },
	  .output_example = "{\"greeting\": \"hello, Ann\", \"visits\": 1}",
	  .run = greet },
	{ .name = "remind",
	  .description = "has a reminder sent later",
	  .inputs = { &text, &delay },
	  .run = remind },
	{ .name = "reminders",
	  .description = "how many were sent, and the last one",
	  .run = reminders },
	{ 0 },
};

static const struct muster_task tasks[] = {
	{ .name = "sendReminder", .run = send_reminder, .attempts = 5 },
	{ 0 },
};

int main(int argc, char **argv)
{
	static const char *const examples[] = { "greet?name=Ann", NULL };

	return muster_main(argc, argv,
			   &(struct muster_app){
				   .name = "@NAME@",
				   .version = "0.1.0",
				   .actions = actions,
				   .tasks = tasks,
				   .examples = examples,
			   });
}
