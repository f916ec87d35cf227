#include "cli/tasks_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/print.h"

#define TIME_BYTES 32

/* ---- as JSON ---- */

static json_t *text(const char *bytes)
{
	return print_bytes(bytes, strlen(bytes));
}

/* JSON within JSON; what is none stays a text. */
static json_t *value(const char *bytes)
{
	json_t *read;

	if (bytes[0] == '\0')
		return json_null();
	read = json_loads(bytes, JSON_DECODE_ANY, NULL);
	return read != NULL ? read : text(bytes);
}

static json_t *task_object(const struct muster_task_info *info)
{
	return json_pack(
		"{s:o,s:o,s:s,s:o,s:i,s:i,s:i,s:o,s:o,s:I,s:o,s:o,s:o,s:o,"
		"s:I,s:I}",
		"id", text(info->id), "task", text(info->task), "state",
		muster_task_state_text(info->state), "queue", text(info->queue),
		"priority", (int)info->priority, "attempt", (int)info->attempt,
		"attempts", (int)info->attempts, "params", value(info->params),
		"server", text(info->server), "token", (json_int_t)info->token,
		"unique", text(info->unique), "error", text(info->error),
		"result", value(info->result), "progress",
		value(info->progress), "enqueuedAt",
		(json_int_t)info->enqueued_ms, "inMs", (json_int_t)info->in_ms);
}

static json_t *queue_object(const struct muster_queue_info *queue)
{
	return json_pack("{s:o,s:I,s:I,s:b,s:I,s:I,s:I}", "queue",
			 text(queue->name), "queued", (json_int_t)queue->queued,
			 "running", (json_int_t)queue->running, "paused",
			 (int)queue->is_paused, "depth",
			 (json_int_t)queue->depth, "runningMax",
			 (json_int_t)queue->running_max, "perSecond",
			 (json_int_t)queue->per_second);
}

/* ---- as text ---- */

static const char *queue_name(const char *name)
{
	return name[0] == '\0' ? "global" : name;
}

/* "in 5s", "3m ago" */
static void write_time(char *room, int64_t in_ms)
{
	static const struct {
		int64_t ms;
		const char *unit;
	} units[] = { { 86400000, "d" },
		      { 3600000, "h" },
		      { 60000, "m" },
		      { 1000, "s" },
		      { 1, "ms" } };
	int64_t size_ms = in_ms < 0 ? -in_ms : in_ms;
	size_t i = 0;

	while (units[i].ms > 1 && size_ms < units[i].ms)
		i++;
	snprintf(room, TIME_BYTES,
		 in_ms < 0 ? "%" PRId64 "%s ago" : "in %" PRId64 "%s",
		 size_ms / units[i].ms, units[i].unit);
}

/* What follows a task's state. */
static void write_note(const struct muster_task_info *info, char *room,
		       size_t size)
{
	char when[TIME_BYTES] = "";

	write_time(when, info->in_ms);
	if (info->state == MUSTER_TASK_ACTIVE ||
	    info->state == MUSTER_TASK_CANCELLED)
		snprintf(room, size, "on %s", info->server);
	else if (info->state == MUSTER_TASK_DEAD)
		snprintf(room, size, "%s: %s", when, info->error);
	else if (info->state == MUSTER_TASK_QUEUED)
		snprintf(room, size, "%s", info->error);
	else
		snprintf(room, size, "%s %s", when, info->error);
}

/* Nothing that was stored may speak to the terminal. */
static void print_plain(const char *format, const char *bytes)
{
	char line[256];
	size_t length = 0;

	for (; bytes[length] != '\0' && length < sizeof(line) - 1; length++)
		line[length] = (unsigned char)bytes[length] < ' ' ||
					       bytes[length] == 0x7f
				       ? '?'
				       : bytes[length];
	line[length] = '\0';
	/* One of ours, all with one %s. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	printf(format, line);
#pragma GCC diagnostic pop
}

void tasks_print_begin(const struct guest *guest)
{
	if (guest->is_json)
		putchar('[');
	else
		printf("%-36s  %-16s  %-9s  %-10s  %s\n", "ID", "TASK", "STATE",
		       "QUEUE", "ATTEMPT");
}

void tasks_print_row(const struct guest *guest,
		     const struct muster_task_info *info, bool is_first)
{
	char attempts[32];
	char rest[256];

	if (guest->is_json) {
		if (!is_first)
			putchar(',');
		print_json_part(task_object(info));
		return;
	}
	snprintf(attempts, sizeof(attempts), "%" PRIu32 "/%" PRIu32,
		 info->attempt, info->attempts);
	write_note(info, rest, sizeof(rest));
	print_plain("%-36s", info->id);
	print_plain("  %-16s", info->task);
	print_plain("  %-9s", muster_task_state_text(info->state));
	print_plain("  %-10s", queue_name(info->queue));
	print_plain("  %-7s", attempts);
	print_plain("  %s\n", rest);
}

void tasks_print_end(const struct guest *guest)
{
	if (guest->is_json)
		puts("]");
}

static void print_line(const char *name, const char *bytes)
{
	if (bytes[0] == '\0')
		return;
	printf("%-10s ", name);
	print_plain("%s\n", bytes);
}

void tasks_print_one(const struct guest *guest,
		     const struct muster_task_info *info)
{
	char attempts[32];
	char when[TIME_BYTES];

	if (guest->is_json) {
		print_json(task_object(info));
		return;
	}
	snprintf(attempts, sizeof(attempts), "%" PRIu32 " of %" PRIu32,
		 info->attempt, info->attempts);
	write_time(when, info->in_ms);
	print_line("id", info->id);
	print_line("task", info->task);
	print_line("state", muster_task_state_text(info->state));
	if (info->state != MUSTER_TASK_QUEUED)
		print_line("when", when);
	print_line("queue", queue_name(info->queue));
	print_line("attempt", attempts);
	print_line("server", info->server);
	print_line("params", info->params);
	print_line("unique", info->unique);
	print_line("progress", info->progress);
	print_line("result", info->result);
	print_line("error", info->error);
}

void tasks_print_counts(const struct guest *guest,
			const struct muster_task_counts *counts)
{
	if (guest->is_json) {
		json_t *queues = json_array();

		for (size_t i = 0; i < counts->queue_count; i++)
			json_array_append_new(queues,
					      queue_object(&counts->queues[i]));
		print_json(json_pack("{s:I,s:I,s:I,s:I,s:I,s:o}", "queued",
				     (json_int_t)counts->queued, "delayed",
				     (json_int_t)counts->delayed, "active",
				     (json_int_t)counts->active, "dead",
				     (json_int_t)counts->dead, "done",
				     (json_int_t)counts->done, "queues",
				     queues));
		return;
	}
	printf("queued %" PRIu64 "  delayed %" PRIu64 "  active %" PRIu64
	       "  dead %" PRIu64 "  done %" PRIu64 "\n",
	       counts->queued, counts->delayed, counts->active, counts->dead,
	       counts->done);
	for (size_t i = 0; i < counts->queue_count; i++)
		tasks_print_queue(guest, &counts->queues[i]);
}

static void print_limit(const char *name, uint64_t limit)
{
	if (limit != 0)
		printf("  %s %" PRIu64, name, limit);
}

void tasks_print_queue(const struct guest *guest,
		       const struct muster_queue_info *queue)
{
	if (guest->is_json) {
		print_json(queue_object(queue));
		return;
	}
	print_plain("%-20s", queue_name(queue->name));
	printf("  queued %" PRIu64 "  running %" PRIu64 "%s", queue->queued,
	       queue->running, queue->is_paused ? "  paused" : "");
	print_limit("depth", queue->depth);
	print_limit("running-max", queue->running_max);
	print_limit("per-second", queue->per_second);
	putchar('\n');
}

void tasks_print_done(const struct guest *guest, const char *name,
		      unsigned long long count)
{
	if (guest->is_json)
		print_json(json_pack("{s:I}", name, (json_int_t)count));
	else
		printf("%s %llu\n", name, count);
}
