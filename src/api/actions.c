#include "api/actions.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

#define NAME_BYTES_MAX   128
#define PRIORITY_DEFAULT 100

struct actions {
	struct action *list; /* by name, then by version */
	size_t count;
	const struct muster_middleware **middleware; /* by priority */
	size_t middleware_count;
};

/* What a client says that is no action: contract 5 and 6. */
static const char *const verbs[] = {
	"quit",       "exit",        "documentation", "paramAdd", "paramView",
	"paramsView", "paramDelete", "paramsDelete",  "roomAdd",  "roomLeave",
	"roomView",   "detailsView", "say",           "file",     "action",
};

/* Parameters that mean something to whoever carries the request. */
static const char *const reserved[] = { "action", "apiVersion", "callback",
					"file", "messageId" };

static bool is_among(const char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

/* ---- checks ---- */

static bool is_name(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= NAME_BYTES_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			    "YZ0123456789.:_-") == length;
}

static int check_pattern(const char *action, const struct muster_input *input,
			 struct problem *problem)
{
	regex_t pattern;

	if (input->pattern == NULL)
		return 0;
	if (regcomp(&pattern, input->pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return problem_set(problem, -EINVAL, "INPUT_INVALID",
				   "input '%.40s' of action '%.40s': its "
				   "pattern is no regular expression",
				   input->name, action);
	regfree(&pattern);
	return 0;
}

static int check_input(const char *action, const struct muster_input *input,
		       size_t depth, struct problem *problem)
{
	if (depth > 16)
		return problem_set(problem, -EINVAL, "INPUT_INVALID",
				   "action '%.40s': its inputs are nested too "
				   "deep",
				   action);
	if (input->name == NULL || !is_name(input->name))
		return problem_set(problem, -EINVAL, "INPUT_INVALID",
				   "action '%.40s' has an input whose name "
				   "cannot be one",
				   action);
	if (depth == 0 &&
	    is_among(reserved, sizeof(reserved) / sizeof(reserved[0]),
		     input->name))
		return problem_set(problem, -EINVAL, "INPUT_RESERVED",
				   "action '%.40s' cannot have an input '%s': "
				   "that name means something to the protocols",
				   action, input->name);
	if (input->fallback != NULL &&
	    !json_is_value(input->fallback, strlen(input->fallback)))
		return problem_set(problem, -EINVAL, "INPUT_INVALID",
				   "input '%.40s' of action '%.40s': its "
				   "fallback is no JSON (a text has quotes)",
				   input->name, action);
	if (input->type == MUSTER_FILE &&
	    (depth > 0 || input->fallback != NULL || input->format != NULL ||
	     input->pattern != NULL))
		return problem_set(problem, -EINVAL, "INPUT_INVALID",
				   "input '%.40s' of action '%.40s' is a file, "
				   "which has no fallback, format or pattern "
				   "and is no member of another",
				   input->name, action);
	if (input->schema != NULL && input->type != MUSTER_OBJECT)
		return problem_set(problem, -EINVAL, "INPUT_INVALID",
				   "input '%.40s' of action '%.40s' has a "
				   "schema but is no MUSTER_OBJECT",
				   input->name, action);
	for (size_t i = 0; input->schema != NULL && input->schema[i] != NULL;
	     i++) {
		int error = check_input(action, input->schema[i], depth + 1,
					problem);

		if (error < 0)
			return error;
	}
	return check_pattern(action, input, problem);
}

static int check_inputs(struct action *action, struct problem *problem)
{
	const struct muster_action *given = action->given;

	for (size_t i = 0; i < MUSTER_INPUTS_MAX && given->inputs[i] != NULL;
	     i++) {
		int error =
			check_input(given->name, given->inputs[i], 0, problem);

		if (error < 0)
			return error;
		for (size_t j = 0; j < i; j++)
			if (strcmp(given->inputs[j]->name,
				   given->inputs[i]->name) == 0)
				return problem_set(
					problem, -EINVAL, "INPUT_INVALID",
					"action '%.40s' has two inputs '%.40s'",
					given->name, given->inputs[i]->name);
		action->input_count++;
	}
	return 0;
}

static int check_action(struct action *action, struct problem *problem)
{
	const struct muster_action *given = action->given;

	if (!is_name(given->name))
		return problem_set(problem, -EINVAL, "ACTION_INVALID",
				   "'%.64s' cannot be the name of an action",
				   given->name);
	if (is_among(verbs, sizeof(verbs) / sizeof(verbs[0]), given->name))
		return problem_set(problem, -EINVAL, "ACTION_RESERVED",
				   "an action cannot be called '%s': that is a "
				   "verb of the WebSocket and TCP protocols",
				   given->name);
	if (given->run == NULL)
		return problem_set(problem, -EINVAL, "ACTION_INVALID",
				   "action '%.64s' has no function to run "
				   "(set .run)",
				   given->name);
	if (given->output_example != NULL &&
	    !json_is_value(given->output_example,
			   strlen(given->output_example)))
		return problem_set(problem, -EINVAL, "ACTION_INVALID",
				   "action '%.64s': its output example is no "
				   "JSON",
				   given->name);
	return check_inputs(action, problem);
}

/* ---- middleware ---- */

static int compare_priority(const void *a, const void *b)
{
	const struct muster_middleware *one =
		*(const struct muster_middleware *const *)a;
	const struct muster_middleware *other =
		*(const struct muster_middleware *const *)b;
	int first = one->priority == 0 ? PRIORITY_DEFAULT : one->priority;
	int second = other->priority == 0 ? PRIORITY_DEFAULT : other->priority;

	if (first != second)
		return first < second ? -1 : 1;
	return one < other ? -1 : one > other; /* as they are listed */
}

static void take_middleware(struct actions *actions,
			    const struct muster_middleware *list)
{
	while (list != NULL && list[actions->middleware_count].name != NULL)
		actions->middleware_count++;
	/* NOLINTBEGIN(bugprone-sizeof-expression): pointers it is */
	actions->middleware = mem_resize(NULL, actions->middleware_count + 1,
					 sizeof(*actions->middleware));
	for (size_t i = 0; i < actions->middleware_count; i++)
		actions->middleware[i] = &list[i];
	qsort(actions->middleware, actions->middleware_count,
	      sizeof(*actions->middleware), compare_priority);
	/* NOLINTEND(bugprone-sizeof-expression) */
}

static bool is_wanted(const struct muster_action *action,
		      const struct muster_middleware *middleware)
{
	if (middleware->global)
		return true;
	for (size_t i = 0;
	     i < MUSTER_MIDDLEWARE_MAX && action->middleware[i] != NULL; i++)
		if (strcmp(action->middleware[i], middleware->name) == 0)
			return true;
	return false;
}

static bool is_known(const struct actions *actions, const char *name)
{
	for (size_t i = 0; i < actions->middleware_count; i++)
		if (strcmp(actions->middleware[i]->name, name) == 0)
			return true;
	return false;
}

static int gather_middleware(const struct actions *actions,
			     struct action *action, struct problem *problem)
{
	const char *const *names = action->given->middleware;

	for (size_t i = 0; i < MUSTER_MIDDLEWARE_MAX && names[i] != NULL; i++)
		if (!is_known(actions, names[i]))
			return problem_set(problem, -EINVAL,
					   "MIDDLEWARE_UNKNOWN",
					   "action '%.40s' wants middleware "
					   "'%.40s', which there is not",
					   action->given->name, names[i]);
	action->middleware = mem_resize(
		NULL, actions->middleware_count + 1,
		/* NOLINTNEXTLINE(bugprone-sizeof-expression): as above */
		sizeof(*action->middleware));
	for (size_t i = 0; i < actions->middleware_count; i++)
		if (is_wanted(action->given, actions->middleware[i]))
			action->middleware[action->middleware_count++] =
				actions->middleware[i];
	return 0;
}

/* ---- the table ---- */

static int compare_actions(const void *a, const void *b)
{
	const struct action *one = a;
	const struct action *other = b;
	int order = strcmp(one->given->name, other->given->name);

	if (order != 0)
		return order;
	return one->version < other->version ? -1
					     : one->version > other->version;
}

static int check_doubles(const struct actions *actions, struct problem *problem)
{
	for (size_t i = 1; i < actions->count; i++)
		if (compare_actions(&actions->list[i - 1], &actions->list[i]) ==
		    0)
			return problem_set(
				problem, -EEXIST, "ACTION_DOUBLED",
				"action '%.64s' version %u is there twice",
				actions->list[i].given->name,
				actions->list[i].version);
	return 0;
}

static int fill(struct actions *actions, const struct muster_action *list,
		struct problem *problem)
{
	size_t count = 0;

	while (list != NULL && list[count].name != NULL)
		count++;
	actions->list = mem_zalloc((count + 1) * sizeof(*actions->list));
	for (size_t i = 0; i < count; i++) {
		struct action *action = &actions->list[actions->count++];

		action->given = &list[i];
		action->version = list[i].version == 0 ? 1 : list[i].version;
		int error = check_action(action, problem);

		if (error == 0)
			error = gather_middleware(actions, action, problem);
		if (error < 0)
			return error;
	}
	qsort(actions->list, actions->count, sizeof(*actions->list),
	      compare_actions);
	return check_doubles(actions, problem);
}

struct actions *actions_new(const struct muster_action *list,
			    const struct muster_middleware *middleware,
			    struct problem *problem)
{
	struct actions *actions = mem_zalloc(sizeof(*actions));

	take_middleware(actions, middleware);
	if (fill(actions, list, problem) == 0)
		return actions;
	actions_free(actions);
	return NULL;
}

void actions_free(struct actions *actions)
{
	if (actions == NULL)
		return;
	for (size_t i = 0; i < actions->count; i++)
		free(actions->list[i].middleware);
	free(actions->list);
	free(actions->middleware);
	free(actions);
}

static int compare_name(const struct action *action, const char *name,
			size_t length)
{
	int order = strncmp(action->given->name, name, length);

	return order == 0 && action->given->name[length] != '\0' ? 1 : order;
}

/* Where those that sort after the name begin. */
static size_t find_end(const struct actions *actions, const char *name,
		       size_t length)
{
	size_t low = 0, high = actions->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_name(&actions->list[middle], name, length) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct action *actions_find(const struct actions *actions,
				  const char *name, size_t length,
				  uint32_t version)
{
	for (size_t i = find_end(actions, name, length); i-- > 0;) {
		const struct action *action = &actions->list[i];

		if (compare_name(action, name, length) != 0)
			return NULL;
		if (version == 0 || action->version == version)
			return action;
	}
	return NULL;
}

const struct action *actions_at(const struct actions *actions, size_t index)
{
	return &actions->list[index];
}

size_t actions_count(const struct actions *actions)
{
	return actions->count;
}
