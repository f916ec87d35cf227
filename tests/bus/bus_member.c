/*
 * A process that has joined the bus, told what to do by lines:
 *   on TYPE        answers "on" once everything of that type arrives
 *   send N BYTES   publishes N messages of type "x", answers "sent N"
 *   counts         answers "counts SEEN MISSED GAPS REFUSED DROPPED"
 *   quit
 * Says "up" first. Arguments: the store's URL, its volatile path, an id.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "service/bus.h"

#define AT_ONCE 200

struct member {
	struct loop *loop;
	struct store *store;
	struct bus *bus;
	struct stream *input;
	struct buffer line;
	struct timer *sending;
	unsigned long left;
	unsigned long total;
	char *body;
	uint64_t seen;
	uint64_t missed;
	uint64_t gaps;
};

static struct envelope_text text(const char *at)
{
	return (struct envelope_text){ at, strlen(at) };
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

static void on_message(void *owner, const struct bus_message *message)
{
	struct member *member = owner;

	(void)message;
	member->seen++;
}

static void on_ready(void *owner)
{
	(void)owner;
	say("on");
}

static void on_gap(void *owner, const struct bus_gap *gap)
{
	struct member *member = owner;

	member->gaps++;
	member->missed += gap->missed;
}

static void on_up(void *owner)
{
	(void)owner;
	say("up");
}

static const struct bus_events events = { .on_gap = on_gap, .on_up = on_up };

static void on_sending(void *owner)
{
	struct member *member = owner;
	const struct bus_outgoing message = { .type = text("x"),
					      .body = text(member->body) };

	/* A megabyte at most, or it would do nothing but send. */
	unsigned long some = (1 << 20) / (message.body.length + 1);

	if (some > AT_ONCE)
		some = AT_ONCE;
	for (; some > 0 && member->left > 0; some--, member->left--)
		MUST(bus_publish(member->bus, &message, NULL, NULL) == 0);
	if (member->left > 0)
		timer_start(member->sending, 1, 0);
	else
		say("sent %lu", member->total);
}

static void start_sending(struct member *member, const char *arguments)
{
	char *end;
	unsigned long bytes;

	member->left = member->total = strtoul(arguments, &end, 10);
	bytes = strtoul(end, NULL, 10);
	free(member->body);
	member->body = mem_alloc(bytes + 1);
	memset(member->body, '1', bytes);
	member->body[bytes] = '\0';
	timer_start(member->sending, 0, 0);
}

static void say_counts(const struct member *member)
{
	struct bus_counters counters;
	uint64_t refused = 0;

	bus_counters(member->bus, &counters);
	for (size_t i = 1; i < ENVELOPE_ANSWERS; i++)
		refused += counters.envelopes.answers[i];
	say("counts %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
	    member->seen, member->missed, member->gaps, refused,
	    counters.transport.dropped);
}

static void obey(struct member *member, const char *line)
{
	if (strncmp(line, "on ", 3) == 0) {
		struct bus_handler *handler = bus_on_type(
			member->bus, text(line + 3), on_message, member);

		bus_handler_ready(handler, on_ready, member);
	} else if (strncmp(line, "send ", 5) == 0) {
		start_sending(member, line + 5);
	} else if (strcmp(line, "counts") == 0) {
		say_counts(member);
	} else {
		loop_stop(member->loop);
	}
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct member *member = owner;
	char *end;

	buffer_append(&member->line, bytes, length);
	while (buffer_length(&member->line) > 0 &&
	       (end = memchr(buffer_bytes(&member->line), '\n',
			     buffer_length(&member->line))) != NULL) {
		char *line = (char *)buffer_bytes(&member->line);

		*end = '\0';
		obey(member, line);
		buffer_consume(&member->line, (size_t)(end - line) + 1);
	}
}

static void on_end(void *owner, int error)
{
	struct member *member = owner;

	(void)error;
	loop_stop(member->loop);
}

static void on_written(void *owner)
{
	(void)owner;
}

static const struct stream_events input_events = { on_bytes, on_end,
						   on_written };

static void on_closed(void *owner)
{
	loop_stop(owner);
}

int main(int argc, char **argv)
{
	static struct log log = { LOG_OFF, "member" };
	struct problem problem = { 0 };
	struct member member = { .loop = loop_new(&log) };
	const struct store_options options = { .volatile_path = argv[2],
					       .map_bytes = 1 << 28,
					       .cache_bytes = 1 << 24 };
	char nonce[24];

	MUST(argc == 4);
	signal(SIGPIPE, SIG_IGN);
	snprintf(nonce, sizeof(nonce), "pid%d", (int)getpid());
	member.store = store_open(member.loop, argv[1], &options, &problem);
	if (member.store != NULL)
		member.bus = bus_open(
			member.loop, member.store,
			&(struct bus_options){ .id = argv[3], .nonce = nonce },
			&problem);
	if (member.bus == NULL) {
		say("failed %s", problem.text);
		return 1;
	}
	bus_watch(member.bus, &events, &member);
	member.sending = timer_open(member.loop, on_sending, &member, true);
	member.input =
		stream_open(member.loop, STDIN_FILENO, &input_events, &member);
	stream_start_reading(member.input);
	loop_run(member.loop);
	stream_close(member.input);
	timer_close(member.sending);
	bus_close(member.bus);
	store_close(member.store, on_closed, member.loop);
	loop_run(member.loop);
	buffer_fini(&member.line);
	free(member.body);
	loop_free(member.loop);
	return 0;
}
