/*
 * What the bus does: bus MODE [N]
 *
 *   hmac      to sign a message, and to check it, 200 B
 *   stream    messages from one process to another, 100 B, embedded
 *   fanout    from one to eight servers, deliveries in all, embedded
 *   round     a round trip between two cores, embedded, and that of a bare
 *             socket pair
 *   redis     messages published through Redis, and PUBLISH of as many bytes,
 *             pipelined as deeply, over a bare socket
 *
 * Prints one JSON object. A directory and, for redis, a server of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/loop.h"
#include "service/bus.h"

#define WINDOW 16384 /* messages that are under way */
#define ACK    1024  /* a message back for so many */
#define DEPTH  1000  /* of the pipeline */
#define FANOUT 8
#define BODY   100

#define CHANNEL "/some/room"
#define LANE    "4" /* that this channel is on */

struct node {
	struct loop *loop;
	struct store *store;
	struct bus *bus;
	uint64_t wanted;
	uint64_t sent;
	uint64_t seen;
	uint64_t acked; /* by the slowest: acks of all, summed */
	uint64_t receivers;
	char body[BODY + 1];
	uint64_t *samples;
	uint64_t since_ns;
};

static char directory[64];

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct envelope_text text(const char *at)
{
	return (struct envelope_text){ at, strlen(at) };
}

static void pin(size_t core)
{
	cpu_set_t cores;

	CPU_ZERO(&cores);
	CPU_SET(core, &cores);
	/* On a machine with one core both are there. */
	DISCARD(sched_setaffinity(0, sizeof(cores), &cores));
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static void report_times(const char *name, uint64_t *samples, uint64_t count)
{
	qsort(samples, count, sizeof(*samples), by_value);
	uint64_t p50_ns = samples[count / 2];
	uint64_t p99_ns = samples[count * 99 / 100];

	printf("\"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f", name,
	       (double)p50_ns / 1e3, name, (double)p99_ns / 1e3);
}

/* CPU of this process, or of those of its children that have ended: hardly
 * disturbed by whoever else is on the machine. */
static double cpu_us(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	long seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec;
	long rest_us = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;

	return (double)seconds * 1e6 + (double)rest_us;
}

/* ---- nodes ---- */

static void open_node(struct node *node, const char *url, const char *id)
{
	static struct log log = { LOG_ERROR, "bench" };
	struct problem problem = { 0 };
	const struct store_options options = { .volatile_path = directory,
					       .map_bytes = 1 << 28,
					       .cache_bytes = 1 << 24 };

	signal(SIGPIPE, SIG_IGN);
	node->loop = loop_new(&log);
	node->store = store_open(node->loop, url, &options, &problem);
	if (node->store != NULL)
		node->bus = bus_open(
			node->loop, node->store,
			&(struct bus_options){ .id = id,
					       .nonce = id,
					       .token = "a token for benches" },
			&problem);
	if (node->bus == NULL) {
		fprintf(stderr, "bus: %s\n", problem.text);
		exit(1);
	}
	memset(node->body, '1', BODY);
}

/* To one server, or on the channel. */
static void publish(struct node *node, const char *type, const char *to)
{
	const struct bus_outgoing message = { .type = text(type),
					      .to = text(to),
					      .channel =
						      text(*to ? "" : CHANNEL),
					      .body = text(node->body) };
	int error = bus_publish(node->bus, &message, NULL, NULL);

	if (error < 0) {
		fprintf(stderr, "bus: %s\n", strerror(-error));
		exit(1);
	}
}

static void stop(void *owner)
{
	const struct node *node = owner;

	loop_stop(node->loop);
}

static void await_ready(struct node *node, struct bus_handler *handler)
{
	bus_handler_ready(handler, stop, node);
	loop_run(node->loop);
}

/* ---- processes ---- */

static pid_t start(void (*run)(int number, int ready), int number)
{
	int ends[2];
	char byte;

	MUST(pipe2(ends, O_CLOEXEC) == 0);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		run(number, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	MUST(read(ends[0], &byte, 1) == 1);
	close(ends[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	MUST(waitpid(pid, NULL, 0) == pid);
}

static char *embedded(void)
{
	return mem_format("lmdb:%s/tasks", directory);
}

/* ---- stream, fanout ---- */

static void on_taken(void *owner, const struct bus_message *message)
{
	struct node *node = owner;

	(void)message;
	if (++node->seen % ACK == 0)
		publish(node, "ack", "source");
}

static void run_sink(int number, int ready)
{
	struct node node = { 0 };
	char *id = mem_format("sink-%d", number);

	pin(1);
	open_node(&node, embedded(), id);
	await_ready(&node,
		    bus_on_channel(node.bus, text(CHANNEL), on_taken, &node));
	MUST(write(ready, "", 1) == 1);
	loop_run(node.loop);
}

static bool has_room(const struct node *node)
{
	return node->sent < node->acked * ACK / node->receivers + WINDOW;
}

/* A turn at a time, as an application does. */
static void send_more(struct node *node)
{
	for (int i = 0; i < 128 && node->sent < node->wanted && has_room(node);
	     i++, node->sent++)
		publish(node, "data", "");
	if (node->sent < node->wanted && has_room(node))
		loop_turn(node->loop);
	else
		loop_run(node->loop); /* until somebody says how far he is */
}

static void on_ack(void *owner, const struct bus_message *message)
{
	struct node *node = owner;

	(void)message;
	node->acked++;
	loop_stop(node->loop);
}

static void stream_to(uint64_t receivers, uint64_t wanted, const char *name)
{
	struct node node = { .wanted = wanted / ACK * ACK,
			     .receivers = receivers };
	pid_t sinks[FANOUT];

	for (uint64_t i = 0; i < receivers; i++)
		sinks[i] = start(run_sink, (int)i);
	pin(0);
	open_node(&node, embedded(), "source");
	await_ready(&node, bus_on_type(node.bus, text("ack"), on_ack, &node));
	double used = cpu_us(RUSAGE_SELF);
	uint64_t started = now_ns();

	while (node.acked * ACK < node.wanted * node.receivers)
		send_more(&node);
	uint64_t took = now_ns() - started;
	struct bus_counters counters;

	used = cpu_us(RUSAGE_SELF) - used;
	for (uint64_t i = 0; i < receivers; i++)
		end(sinks[i]);
	bus_counters(node.bus, &counters);
	printf("\"%s_per_second\": %.0f, \"sender_cpu_us\": %.2f, "
	       "\"receiver_cpu_us\": %.2f, \"dropped\": %" PRIu64,
	       name, (double)(node.wanted * receivers) * 1e9 / (double)took,
	       used / (double)node.wanted,
	       cpu_us(RUSAGE_CHILDREN) / (double)(node.wanted * receivers),
	       counters.transport.dropped);
}

/* ---- round ---- */

static void on_ping(void *owner, const struct bus_message *message)
{
	(void)message;
	publish(owner, "pong", "source");
}

static void run_echo(int number, int ready)
{
	struct node node = { 0 };

	(void)number;
	pin(1);
	open_node(&node, embedded(), "echo");
	await_ready(&node, bus_on_type(node.bus, text("ping"), on_ping, &node));
	MUST(write(ready, "", 1) == 1);
	loop_run(node.loop);
}

static void ping(struct node *node)
{
	node->since_ns = now_ns();
	publish(node, "ping", "echo");
}

static void on_pong(void *owner, const struct bus_message *message)
{
	struct node *node = owner;

	(void)message;
	node->samples[node->seen++] = now_ns() - node->since_ns;
	if (node->seen == node->wanted)
		loop_stop(node->loop);
	else
		ping(node);
}

static void bus_round(uint64_t wanted)
{
	struct node node = { .wanted = wanted };
	pid_t echo = start(run_echo, 0);

	pin(0);
	node.samples = mem_alloc(wanted * sizeof(*node.samples));
	open_node(&node, embedded(), "source");
	await_ready(&node, bus_on_type(node.bus, text("pong"), on_pong, &node));
	ping(&node);
	loop_run(node.loop);
	report_times("bus", node.samples, wanted);
	end(echo);
}

static int bare[2];

static void run_bare_echo(int number, int ready)
{
	char bytes[400];
	ssize_t length;

	(void)number;
	pin(1);
	MUST(write(ready, "", 1) == 1);
	while ((length = recv(bare[1], bytes, sizeof(bytes), 0)) > 0)
		MUST(send(bare[1], bytes, (size_t)length, 0) == length);
}

static void bare_round(uint64_t wanted)
{
	uint64_t *samples = mem_alloc(wanted * sizeof(*samples));
	char bytes[350] = "";

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, bare) == 0);
	pid_t echo = start(run_bare_echo, 0);

	pin(0);
	for (uint64_t i = 0; i < wanted; i++) {
		uint64_t since = now_ns();

		MUST(send(bare[0], bytes, sizeof(bytes), 0) > 0 &&
		     recv(bare[0], bytes, sizeof(bytes), 0) > 0);
		samples[i] = now_ns() - since;
	}
	report_times("bare", samples, wanted);
	end(echo);
}

/* ---- redis ---- */

static int connect_to_redis(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/redis.sock",
		 directory);
	while (connect(descriptor, (const struct sockaddr *)&address,
		       sizeof(address)) < 0)
		; /* until it listens */
	return descriptor;
}

static pid_t start_redis(void)
{
	char *path = mem_format("%s/redis.sock", directory);
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(nowhere, STDOUT_FILENO);
		pin(1);
		execlp("redis-server", "redis-server", "--port", "0",
		       "--unixsocket", path, "--save", "", (char *)NULL);
		_exit(127);
	}
	while (access(path, F_OK) < 0)
		MUST(waitpid(pid, NULL, WNOHANG) == 0);
	return pid;
}

static void on_published(void *owner, int error, int64_t receivers)
{
	struct node *node = owner;

	MUST(error == 0 && receivers == 1);
	if (++node->seen % DEPTH == 0)
		loop_stop(node->loop);
}

/* As deep as the bare one, and refilled as it is: all at once. */
static void publish_some(struct node *node)
{
	/* A lane that the subscriber alone is on. */
	const struct bus_outgoing message = { .type = text("data"),
					      .channel = text(CHANNEL),
					      .body = text(node->body) };

	for (int i = 0; i < DEPTH; i++)
		MUST(bus_publish(node->bus, &message, on_published, node) == 0);
	loop_run(node->loop);
}

/* Reads what comes, and looks at none of it: the same for both. */
static void run_subscriber(int number, int ready)
{
	static const char words[] = "SUBSCRIBE muster:bus/" LANE "\r\n";
	static char bytes[1 << 20];
	int descriptor = connect_to_redis();

	(void)number;
	pin(0);
	MUST(send(descriptor, words, sizeof(words) - 1, 0) > 0 &&
	     recv(descriptor, bytes, sizeof(bytes), 0) > 0);
	MUST(write(ready, "", 1) == 1);
	while (recv(descriptor, bytes, sizeof(bytes), 0) > 0)
		;
}

static uint64_t bus_publishes(uint64_t wanted)
{
	struct node node = { .wanted = wanted };
	char *url = mem_format("unix:%s/redis.sock", directory);

	open_node(&node, url, "source");
	await_ready(&node, bus_on_type(node.bus, text("x"), on_pong, &node));
	uint64_t started = now_ns();

	while (node.seen < wanted)
		publish_some(&node);
	return now_ns() - started;
}

static uint64_t bare_publishes(uint64_t wanted, size_t bytes)
{
	char *body = mem_zalloc(bytes + 1);
	char *one;
	size_t length;
	int descriptor = connect_to_redis();
	char replies[65536];

	memset(body, '1', bytes);
	one = mem_format("*3\r\n$7\r\nPUBLISH\r\n$%zu\r\nmuster:bus/" LANE
			 "\r\n"
			 "$%zu\r\n%s\r\n",
			 strlen("muster:bus/" LANE), bytes, body);
	length = strlen(one);
	char *all = mem_alloc(length * DEPTH);

	for (size_t i = 0; i < DEPTH; i++)
		memcpy(all + i * length, one, length);
	uint64_t started = now_ns();

	for (uint64_t i = 0; i < wanted; i += DEPTH) {
		size_t sent = 0;
		size_t got = 0;

		/* ":1\r\n" for each. */
		while (got < (size_t)DEPTH * 4) {
			if (sent < length * DEPTH) {
				ssize_t some = send(descriptor, all + sent,
						    length * DEPTH - sent,
						    MSG_DONTWAIT);

				sent += some > 0 ? (size_t)some : 0;
			}
			ssize_t some =
				recv(descriptor, replies, sizeof(replies),
				     sent < length * DEPTH ? MSG_DONTWAIT : 0);

			got += some > 0 ? (size_t)some : 0;
		}
	}
	return now_ns() - started;
}

static void through_redis(uint64_t wanted)
{
	pid_t server = start_redis();
	pid_t subscriber = start(run_subscriber, 0);

	pin(0);
	wanted = wanted / DEPTH * DEPTH;
	uint64_t bare_ns = bare_publishes(wanted, 300);
	double used = cpu_us(RUSAGE_SELF);
	uint64_t ours_ns = bus_publishes(wanted);

	printf("\"publisher_cpu_us\": %.2f, ",
	       (cpu_us(RUSAGE_SELF) - used) / (double)wanted);
	printf("\"bus_per_second\": %.0f, \"bare_per_second\": %.0f, "
	       "\"ratio\": %.2f",
	       (double)wanted * 1e9 / (double)ours_ns,
	       (double)wanted * 1e9 / (double)bare_ns,
	       (double)bare_ns / (double)ours_ns);
	end(subscriber);
	end(server);
}

/* ---- hmac ---- */

static void sign_and_check(uint64_t wanted)
{
	char body[201];
	size_t room = ENVELOPE_HEAD_MAX + sizeof(body);
	char *rooms = mem_alloc(wanted * room);
	size_t *lengths = mem_alloc(wanted * sizeof(*lengths));
	struct envelope_keys *keys = envelope_keys_new(
		"muster", text("a token for benches"), text(""));
	struct envelope_book *book = envelope_book_new(keys, 0);
	struct envelope message = { .type = text("data"),
				    .from = text("api-worker-1"),
				    .nonce = text("0123456789abcdef"),
				    .ts_ms = 1700000000000 };
	struct envelope opened;

	memset(body, '1', 200);
	body[200] = '\0';
	memset(rooms, 0, wanted * room); /* that it is there */
	message.body = text(body);
	uint64_t started = now_ns();

	for (uint64_t i = 0; i < wanted; i++) {
		message.seq = i + 1;
		lengths[i] = (size_t)envelope_seal(keys, &message,
						   rooms + i * room, room);
	}
	uint64_t sealed = now_ns();

	for (uint64_t i = 0; i < wanted; i++)
		MUST(envelope_open(book,
				   (struct envelope_text){ rooms + i * room,
							   lengths[i] },
				   text(""), 1700000000000,
				   &opened) == ENVELOPE_TAKEN);
	uint64_t ended = now_ns();

	printf("\"sign_ns\": %.0f, \"check_ns\": %.0f, \"bytes\": %zu",
	       (double)(sealed - started) / (double)wanted,
	       (double)(ended - sealed) / (double)wanted, lengths[0]);
}

static int remove_one(const char *path, const struct stat *status, int kind,
		      struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	uint64_t wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	snprintf(directory, sizeof(directory), "/tmp/muster-bench-XXXXXX");
	MUST(mkdtemp(directory) != NULL);
	printf("{");
	if (strcmp(mode, "hmac") == 0)
		sign_and_check(wanted == 0 ? 20000 : wanted);
	else if (strcmp(mode, "stream") == 0)
		stream_to(1, wanted == 0 ? 300000 : wanted, "messages");
	else if (strcmp(mode, "fanout") == 0)
		stream_to(FANOUT, wanted == 0 ? 50000 : wanted, "deliveries");
	else if (strcmp(mode, "redis") == 0)
		through_redis(wanted == 0 ? 200000 : wanted);
	else if (strcmp(mode, "round") == 0) {
		bare_round(wanted == 0 ? 5000 : wanted);
		printf(", ");
		bus_round(wanted == 0 ? 5000 : wanted);
	} else {
		fprintf(stderr, "bus hmac|stream|fanout|round|redis [N]\n");
		return 2;
	}
	printf("}\n");
	fflush(stdout);
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	/* What it has open goes with the process. */
	_exit(0);
}
