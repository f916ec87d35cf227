/* tasks_print - tasks as a person, or a program, reads them. */
#pragma once
#include <muster/task.h>

#include "cli/guest.h"

void tasks_print_one(const struct guest *guest,
		     const struct muster_task_info *info);

/* A table, or an array: begun, any number of tasks, ended. */
void tasks_print_begin(const struct guest *guest);
void tasks_print_row(const struct guest *guest,
		     const struct muster_task_info *info, bool is_first);
void tasks_print_end(const struct guest *guest);

void tasks_print_counts(const struct guest *guest,
			const struct muster_task_counts *counts);
void tasks_print_queue(const struct guest *guest,
		       const struct muster_queue_info *queue);
/* {"NAME": count} */
void tasks_print_done(const struct guest *guest, const char *name,
		      unsigned long long count);
