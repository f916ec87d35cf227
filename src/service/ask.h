/*
 * ask - a question to the store by code on a fiber, which waits for the answer.
 *
 *	struct ask ask;
 *	int error = ask_begin(&ask, muster);
 *
 *	if (error < 0)
 *		return error;
 *	store_cache_size(muster->store, &request, ask_on_answer, &ask);
 *	error = ask_end(&ask);
 *	if (error == 0)
 *		*size = ask.answer->number.value;
 */
#pragma once
#include "base/fiber.h"
#include "service/node.h"
#include "store/store.h"

struct ask {
	struct muster *muster;
	struct fiber_wait wait;
	/* Good until the fiber next waits or ends: copy what is to last. */
	const struct store_answer *answer;
};

/* -EPERM off a fiber, -ENOTCONN where the store is closed. */
__attribute__((warn_unused_result)) int ask_begin(struct ask *ask,
						  struct muster *muster);
void ask_on_answer(void *owner, const struct store_answer *answer);
/* 0 with ask->answer; or a negative code, and the fiber's problem says why. */
__attribute__((warn_unused_result)) int ask_end(struct ask *ask);
