/*
 * actions - the API server that is measured: /api/randomNumber as a user writes
 * it, and "/" from the folder that it is started with.
 *
 *     actions --listen PORT --workers N --public FOLDER
 */
#include <stdint.h>
#include <stdlib.h>

#include <muster/muster.h>

static void random_number(struct muster_call *call)
{
	muster_set_number(call, "randomNumber", drand48());
}

int main(int argc, char **argv)
{
	static const struct muster_action actions[] = {
		{ .name = "randomNumber", .run = random_number },
		{ .name = "status", .run = random_number },
		{ 0 },
	};

	return muster_main(
		argc, argv,
		&(struct muster_app){ .name = "actions", .actions = actions });
}
