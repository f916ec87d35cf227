/* A server that shows what its configuration came to. */
#include <muster/muster.h>

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
		  .blocked = MUSTER_TCP | MUSTER_INTERNAL,
		  .run = wait },
		{ 0 },
	};

	return muster_main(argc, argv,
			   &(struct muster_app){
				   .name = "configured",
				   .version = "3",
				   .actions = actions,
				   .limits.headers = 50,
			   });
}
