/*
 * group - a primary, its replica, and a Sentinel that watches them.
 */
#pragma once
#include "fixture.h"

struct group {
	struct fixture fixture;
	pid_t primary;
	pid_t replica;
	pid_t sentinel;
	uint16_t primary_port;
	uint16_t replica_port;
	uint16_t sentinel_port;
};

/* For cmocka: *state is the group, with a store opened through its Sentinel. */
int group_set_up(void **state);
int group_tear_down(void **state);
void group_start_replica(struct group *group);
void group_start_sentinel(struct group *group);
/* Until the server there says what is wanted. */
void group_await(uint16_t port, const char *command, const char *wanted);
