#include "cluster/settings.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

/* The view is const for its readers; what it points to is ours. */
#define FREE(pointer) free((void *)(uintptr_t)(pointer))

char **texts_copy(const char *const *list)
{
	size_t count = 0;

	while (list[count] != NULL)
		count++;
	char **copy = mem_alloc((count + 1) * sizeof(*copy));

	for (size_t i = 0; i < count; i++)
		copy[i] = mem_text(list[i]);
	copy[count] = NULL;
	return copy;
}

void texts_free(const char *const *list)
{
	for (size_t i = 0; list != NULL && list[i] != NULL; i++)
		FREE(list[i]);
	FREE(list);
}

static int check_stdio(const struct muster_settings *from,
		       struct problem *problem)
{
	size_t channels = 0;

	for (size_t i = 0; from->stdio != NULL && i < from->stdio_count; i++)
		if (from->stdio[i] == MUSTER_STDIO_CHANNEL)
			channels++;
	for (size_t i = 0;
	     from->descriptors != NULL && i < from->descriptor_count; i++)
		if (from->descriptors[i] == MUSTER_STDIO_CHANNEL)
			return problem_set(problem, -EINVAL, "SETTINGS_INVALID",
					   "the channel cannot be one of the "
					   "descriptors (it has its place "
					   "before them, or in stdio)");
	if (from->stdio != NULL && channels != 1)
		return problem_set(problem, -EINVAL, "SETTINGS_INVALID",
				   "the stdio table has %zu entries for the "
				   "channel (it needs exactly one "
				   "MUSTER_STDIO_CHANNEL)",
				   channels);
	if (from->stdio_count > SETTINGS_STDIO_MAX ||
	    from->descriptor_count > SETTINGS_STDIO_MAX)
		return problem_set(problem, -EINVAL, "SETTINGS_INVALID",
				   "a worker can be given %d descriptors at "
				   "most",
				   SETTINGS_STDIO_MAX);
	return 0;
}

static void set_text(const char **field, const char *value)
{
	if (value == NULL)
		return;
	char *copy = mem_text(value);

	FREE(*field);
	*field = copy;
}

static void set_texts(const char *const **field, const char *const *value)
{
	if (value == NULL)
		return;
	char **copy = texts_copy(value);

	texts_free(*field);
	*field = (const char *const *)copy;
}

static void set_numbers(const int **field, size_t *count, const int *value,
			size_t value_count)
{
	if (value == NULL)
		return;
	int *copy = mem_copy(value, value_count * sizeof(*value));

	FREE(*field);
	*field = copy;
	*count = value_count;
}

int settings_merge(struct settings *settings,
		   const struct muster_settings *from, struct problem *problem)
{
	struct muster_settings *view = &settings->view;
	int error = check_stdio(from, problem);

	if (error < 0)
		return error;
	if (from->serialization > MUSTER_BYTES ||
	    from->schedule > MUSTER_REUSEPORT)
		return problem_set(problem, -EINVAL, "SETTINGS_INVALID",
				   "unknown schedule or serialization (see "
				   "muster/cluster.h)");
	set_text(&view->exec, from->exec);
	set_texts(&view->args, from->args);
	set_texts(&view->env, from->env);
	set_text(&view->cwd, from->cwd);
	set_numbers(&view->stdio, &view->stdio_count, from->stdio,
		    from->stdio_count);
	set_numbers(&view->descriptors, &view->descriptor_count,
		    from->descriptors, from->descriptor_count);
	if (from->uid != 0)
		view->uid = from->uid;
	if (from->gid != 0)
		view->gid = from->gid;
	if (from->silent)
		view->silent = true;
	if (from->schedule != MUSTER_SCHEDULE_DEFAULT)
		view->schedule = from->schedule;
	if (from->serialization != MUSTER_JSON)
		view->serialization = from->serialization;
	return 0;
}

void settings_copy(struct settings *to, const struct settings *from)
{
	struct problem problem;

	*to = (struct settings){ 0 };
	if (settings_merge(to, &from->view, &problem) < 0)
		abort(); /* it was checked when it was set */
}

void settings_fini(struct settings *settings)
{
	struct muster_settings *view = &settings->view;

	FREE(view->exec);
	texts_free(view->args);
	texts_free(view->env);
	FREE(view->cwd);
	FREE(view->stdio);
	FREE(view->descriptors);
	*view = (struct muster_settings){ 0 };
}
