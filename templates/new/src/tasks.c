/*
 * Tasks: work for whichever server is free. One that fails, or whose server
 * dies, runs again, so that what it does elsewhere may happen twice.
 */
#include "app.h"

#include <stdio.h>

int send_reminder(struct muster_job *job)
{
	struct muster *muster = muster_job_node(job);
	const char *text = muster_job_text(job, "text");

	if (text == NULL)
		return muster_job_fail(job, "there is no text");
	if (muster_cache_save_text(muster, "lastReminder", text, NULL) < 0 ||
	    muster_cache_add(muster, "reminders", 1, 0, NULL) < 0)
		return -1; /* tried again, after a pause that grows */
	printf("%s: remember %s\n", muster_id(muster), text);
	return 0;
}
