/* What the table in main.c refers to. */
#pragma once
#include <muster/muster.h>

/* actions.c */
void greet(struct muster_call *call);
void remind(struct muster_call *call);
void reminders(struct muster_call *call);

/* tasks.c */
int send_reminder(struct muster_job *job);
