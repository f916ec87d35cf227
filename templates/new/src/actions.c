/*
 * Actions: straight-line code, one run for each request. What waits (for the
 * store, say) lets others run meanwhile.
 */
#include "app.h"

#include <inttypes.h>

void greet(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	const char *name = muster_param_text(call, "name");
	const char *greeting = muster_config_text(muster, "greeting", "hello");
	int64_t visits = 0;

	if (muster_cache_add(muster, muster_text(muster, "visits:%s", name), 1,
			     0, &visits) < 0) {
		muster_fail(call, 503, "%s", muster_problem(muster));
		return;
	}
	muster_set_text(call, "greeting",
			muster_text(muster, "%s, %s", greeting, name));
	muster_set_int(call, "visits", visits);
	muster_set_text(call, "server", muster_id(muster));
}

void remind(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	int64_t delay_ms = muster_param_int(call, "delay");
	const char *id = NULL;

	if (delay_ms < 0) {
		muster_fail(call, 422, "delay cannot be in the past");
		return;
	}
	int error = muster_task_enqueue(
		muster, "sendReminder",
		&(struct muster_enqueue){
			.params = muster_json(muster, "{s:s}", "text",
					      muster_param_text(call, "text")),
			.delay_ms = (uint64_t)delay_ms,
			.made_id = &id,
		});

	if (error < 0) {
		muster_fail(call, 503, "%s", muster_problem(muster));
		return;
	}
	muster_set_text(call, "task", id);
}

void reminders(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	struct muster_cached last = { 0 };
	int64_t sent = 0;
	int error = muster_cache_load(muster, "lastReminder", &last);

	if (error < 0 ||
	    muster_cache_add(muster, "reminders", 0, 0, &sent) < 0) {
		muster_fail(call, 503, "%s", muster_problem(muster));
		return;
	}
	muster_set_int(call, "sent", sent);
	muster_set_text(call, "last", error == 0 ? last.data : "");
}
