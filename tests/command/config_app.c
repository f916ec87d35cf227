/* A server that shows what its configuration came to. */
#include <muster/muster.h>
#include <stdlib.h>
#include <string.h>

static void settings(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);

	muster_set_text(call, "host",
			muster_config_text(muster, "mailer.host", "nowhere"));
	muster_set_int(call, "port",
		       muster_config_int(muster, "mailer.port", 587));
	muster_set_bool(call, "tls",
			muster_config_bool(muster, "mailer.tls", true));
}

static void wait(struct muster_call *call)
{
	if (muster_sleep(muster_call_server(call), 60000) < 0)
		muster_fail(call, 504, "it took too long");
}

static int work(struct muster_job *job)
{
	(void)job;
	return 0;
}

/* What --check has to find. */
static const struct muster_task *tasks_of(const char *kind)
{
	static const struct muster_task cron[] = {
		{ .name = "a", .run = work, .cron = "61 * * * *" }, { 0 }
	};
	static const struct muster_task zone[] = {
		{ .name = "a",
		  .run = work,
		  .cron = "@daily",
		  .zone = "No/Zone" },
		{ 0 },
	};
	static const struct muster_task twice[] = {
		{ .name = "a", .run = work },
		{ .name = "a", .run = work },
		{ 0 }
	};

	if (kind == NULL)
		return NULL;
	if (strcmp(kind, "cron") == 0)
		return cron;
	return strcmp(kind, "zone") == 0 ? zone : twice;
}

int main(int argc, char **argv)
{
	static const struct muster_input text = { .name = "text",
						  .required = true,
						  .pattern = "^[a-z]+$" };
	static const struct muster_input secret = { .name = "secret",
						    .secret = true };
	static const struct muster_action actions[] = {
		{ .name = "settings",
		  .description = "what is below app",
		  .run = settings },
		{ .name = "wait",
		  .version = 2,
		  .inputs = { &text, &secret },
		  .blocked = MUSTER_WEBSOCKET | MUSTER_INTERNAL,
		  .run = wait },
		{ 0 },
	};

	return muster_main(argc, argv,
			   &(struct muster_app){
				   .name = "configured",
				   .version = "3",
				   .actions = actions,
				   .tasks = tasks_of(getenv("TASKS")),
				   .limits.headers = 50,
			   });
}
