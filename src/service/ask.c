#include "service/ask.h"

#include <errno.h>

#include "service/routine.h"

int ask_begin(struct ask *ask, struct muster *muster)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	if (muster->store == NULL)
		return problem_set(routine_problem(muster), -ENOTCONN,
				   "STORE_CLOSED",
				   "the store is closed, as this node ends");
	ask->muster = muster;
	ask->answer = NULL;
	ask->wait = fiber_wait_begin();
	return 0;
}

/* The fiber runs on within this, so the answer is still there for it. */
void ask_on_answer(void *owner, const struct store_answer *answer)
{
	struct ask *ask = owner;

	ask->answer = answer;
	fiber_wake(ask->wait, 0);
}

int ask_end(struct ask *ask)
{
	int error = routine_park(ask->muster, ask->wait, 0);

	if (error < 0) {
		store_forget(ask->muster->store, ask);
		return error;
	}
	error = ask->answer->error;
	if (error < 0)
		*routine_problem(ask->muster) = *ask->answer->problem;
	return error;
}
