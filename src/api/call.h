/*
 * call - one run of an action, on a fiber: its parameters checked, what stands
 * around it run, its answer written.
 */
#pragma once
#include "api/api.h"
#include "base/arena.h"

#define CALL_TEXT_BYTES 512

struct muster_call {
	struct api *api;
	struct api_request *request; /* NULL: of an action, not of a client */
	struct client *client;
	const struct action *action;
	struct params params;
	struct arena *arena;
	struct json_writer writer;
	void *arg;
	int status; /* 0: 200, or of the failure */
	bool has_failed;
	char error[CALL_TEXT_BYTES];      /* "" where it has not failed */
	const char *input;                /* that is being looked at; NULL */
	const struct muster_call *caller; /* that runs it; NULL */
	struct buffer problems;           /* of its parameters */
};

/* Runs the call's action, all of it. On a fiber. */
void call_run(struct muster_call *call);

/* Parameters to what the inputs say: drops, fallbacks, types, formats, checks;
 * all that is wrong is told at once. */
void call_check(struct muster_call *call);
