#include "service/tasks_internal.h"

#define BACKOFF_MS     1000
#define BACKOFF_MAX_MS (3600 * 1000)

static uint64_t from_list(const uint32_t *list, uint32_t attempt)
{
	uint64_t delay_ms = 0;

	for (uint32_t i = 0; i < attempt && list[i] != 0; i++)
		delay_ms = list[i];
	return delay_ms;
}

uint64_t task_backoff_ms(const struct muster_task *task, uint32_t attempt,
			 uint64_t random)
{
	uint64_t delay_ms = BACKOFF_MS;
	uint64_t most_ms = BACKOFF_MAX_MS;

	if (task != NULL && task->backoff_list_ms != NULL)
		return from_list(task->backoff_list_ms, attempt);
	if (task != NULL && task->backoff_ms != 0)
		delay_ms = task->backoff_ms;
	if (task != NULL && task->backoff_max_ms != 0)
		most_ms = task->backoff_max_ms;
	for (uint32_t i = 1; i < attempt && delay_ms < most_ms; i++)
		delay_ms *= 2;
	if (delay_ms > most_ms)
		delay_ms = most_ms;
	return random % (delay_ms + 1);
}
