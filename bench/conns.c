/*
 * conns - a client that opens connections, and counts what became of them.
 *
 *     conns closed PORT [OPTION=VALUE...]   connections=64 seconds=1 keep=0
 *     conns open PORT [OPTION=VALUE...]     rate=1000 seconds=1 block_ms=0
 *     conns hold PORT [OPTION=VALUE...]     connections=400 rate=0
 *
 * closed: each connection asks, is answered and closed, and is replaced by the
 * next one; with keep=1 it asks again for as long as the server lets it.
 * open: `rate` new connections a second, however long the answers take. With
 * block_ms one more client keeps a worker blocked, on a new connection each
 * time; its own requests are counted apart.
 * hold: opens connections (rate=0: all at once) and keeps them all until each
 * has told which worker it reached.
 *
 * Every mode: path=/ over_ms=50 timeout_ms=5000. An answer counts when it is
 * complete, its status is 200 and, for "/", its body is the expected one. The
 * result is one line of JSON, also after an interrupt.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX  256
#define CLIENTS_MAX 8192
#define INPUT_BYTES 2048
#define WORKERS_MAX 64
#define SAMPLES_MAX (16u * 1024 * 1024)

enum mode { CLOSED, OPEN, HOLD };

enum outcome { REFUSED, RESET, CUT, WRONG, TIMEOUT, OVERRUN, OUTCOMES };

static const char *const outcome_names[OUTCOMES] = {
	[REFUSED] = "refused", /* no connection */
	[RESET] = "reset",     /* lost by an error */
	[CUT] = "cut",         /* closed before the answer was complete */
	[WRONG] = "wrong",     /* answered by something else */
	[TIMEOUT] = "timeout", /* no answer, or not closed after it */
	[OVERRUN] = "overrun", /* CLIENTS_MAX wait already: not even asked */
};

struct client {
	int fd; /* -1: unused */
	bool is_blocker;
	bool is_sent;
	bool is_answered;
	uint64_t asked_us;
	size_t used;
	char input[INPUT_BYTES];
};

/* What a worker calls itself, by the body of its answer. */
struct worker {
	char name[16];
	uint64_t count;
};

static struct {
	enum mode mode;
	int port;
	const char *path;
	uint64_t connections;
	uint64_t seconds;
	uint64_t rate;
	uint64_t keep;
	uint64_t block_ms;
	uint64_t over_ms;
	uint64_t timeout_ms;
} options = { .path = "/", .over_ms = 50, .timeout_ms = 5000 };

static struct client clients[CLIENTS_MAX];
static size_t idle[CLIENTS_MAX]; /* those that are unused */
static size_t idle_count;
static int epoll;
static uint64_t deadline_us; /* nothing is asked, and no answer counts, after */
static volatile sig_atomic_t is_interrupted; /* as if the deadline were past */

static char request[512], block_request[512];
static uint32_t *samples;
static size_t sample_count, sample_room;
static uint64_t over_count, blocked_count, late_us;
static uint64_t outcomes[OUTCOMES];
static struct worker workers[WORKERS_MAX];
static size_t worker_count;

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void count_sample(uint64_t us)
{
	if (us > options.over_ms * 1000)
		over_count++;
	if (sample_count == SAMPLES_MAX)
		return;
	if (sample_count == sample_room) {
		sample_room = sample_room > 0 ? sample_room * 2 : 65536;
		samples = reallocarray(samples, sample_room, sizeof(*samples));
		if (samples == NULL)
			err(1, "samples");
	}
	samples[sample_count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void count_worker(const char *name, size_t length)
{
	size_t i = 0;

	while (length > 0 && name[length - 1] == '\n')
		length--;
	if (length == 0 || length >= sizeof(workers[0].name)) {
		outcomes[WRONG]++;
		return;
	}
	while (i < worker_count && (strlen(workers[i].name) != length ||
				    memcmp(workers[i].name, name, length) != 0))
		i++;
	if (i == WORKERS_MAX)
		errx(1, "more than %d workers", WORKERS_MAX);
	if (i == worker_count) {
		memcpy(workers[i].name, name, length);
		worker_count++;
	}
	workers[i].count++;
}

static void drop(struct client *client)
{
	close(client->fd);
	client->fd = -1;
	idle[idle_count++] = (size_t)(client - clients);
}

static void fail(struct client *client, enum outcome outcome)
{
	outcomes[outcome]++;
	drop(client);
}

/* false: the connection is lost. */
static bool ask(struct client *client)
{
	const char *text = client->is_blocker ? block_request : request;
	ssize_t sent = send(client->fd, text, strlen(text), MSG_NOSIGNAL);

	if (sent < 0 && errno == EAGAIN)
		return true;
	if (sent < 0) {
		fail(client, errno == ECONNREFUSED ? REFUSED : RESET);
		return false;
	}
	client->is_sent = true;
	return true;
}

static void start(bool is_blocker)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)options.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	if (idle_count == 0) {
		outcomes[OVERRUN]++;
		return;
	}
	struct client *client = &clients[idle[--idle_count]];
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = client,
	};

	client->is_blocker = is_blocker;
	client->is_sent = client->is_answered = false;
	client->used = 0;
	client->asked_us = now_us();
	client->fd =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		err(1, "socket");
	if (connect(client->fd, (const struct sockaddr *)&address,
		    sizeof(address)) < 0 &&
	    errno != EINPROGRESS) {
		if (errno != ECONNREFUSED && errno != ECONNRESET)
			err(1, "connect");
		fail(client, REFUSED);
		return;
	}
	/* On loopback the connection is usually there by now. */
	if (ask(client) &&
	    epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
		err(1, "epoll_ctl");
}

/* The header's value in a head that ends with NUL; NULL. */
static const char *header(const char *head, const char *name)
{
	const char *line = strcasestr(head, name);

	return line != NULL ? line + strlen(name) : NULL;
}

enum progress { PARTIAL, ANSWERED, LOST };

/* Looks whether the answer is complete. */
static enum progress check(struct client *client, bool *closes)
{
	static const char hello[] = "hello, world\n";

	client->input[client->used] = '\0';
	char *end = strstr(client->input, "\r\n\r\n");

	if (end == NULL)
		return PARTIAL;
	*end = '\0';
	const char *length_text = header(client->input, "\r\nContent-Length: ");
	const char *connection = header(client->input, "\r\nConnection: ");
	size_t head = (size_t)(end + 4 - client->input);
	size_t length =
		length_text != NULL ? strtoul(length_text, NULL, 10) : SIZE_MAX;
	bool is_right = strncmp(client->input, "HTTP/1.1 200 ", 13) == 0;

	*closes =
		connection != NULL && strncasecmp(connection, "close", 5) == 0;
	*end = '\r';
	if (!is_right || length > INPUT_BYTES - 1 - head) {
		fail(client, WRONG);
		return LOST;
	}
	if (client->used < head + length)
		return PARTIAL;
	if (options.mode == HOLD) {
		count_worker(client->input + head, length);
	} else if (client->used != head + length ||
		   (!client->is_blocker && strcmp(options.path, "/") == 0 &&
		    strcmp(client->input + head, hello) != 0)) {
		fail(client, WRONG);
		return LOST;
	}
	return ANSWERED;
}

static void count_answer(const struct client *client)
{
	uint64_t now = now_us();

	if (client->is_blocker)
		blocked_count++;
	else if (now <= deadline_us || options.mode != CLOSED)
		count_sample(now - client->asked_us);
}

static void on_interrupt(int number)
{
	(void)number;
	is_interrupted = 1;
}

static bool is_over(void)
{
	return is_interrupted || now_us() >= deadline_us;
}

/* The server has closed the connection. */
static void on_closed(struct client *client)
{
	bool is_blocker = client->is_blocker;

	if (!client->is_answered) {
		fail(client, CUT);
	} else if (options.mode == HOLD) {
		fail(client, CUT); /* it was to be kept */
	} else {
		drop(client);
	}
	if ((is_blocker || options.mode == CLOSED) && !is_over())
		start(is_blocker);
}

/* false: the connection is not there any more. */
static bool on_answer(struct client *client, bool closes)
{
	count_answer(client);
	client->is_answered = true;
	if (options.mode != CLOSED || options.keep == 0 || closes)
		return true;
	if (is_over()) {
		drop(client);
		return false;
	}
	client->is_answered = client->is_sent = false;
	client->used = 0;
	client->asked_us = now_us();
	return ask(client);
}

static void restart_lost(bool is_blocker)
{
	if ((is_blocker || options.mode == CLOSED) && !is_over())
		start(is_blocker);
}

static void on_readable(struct client *client, uint32_t events)
{
	bool is_blocker = client->is_blocker;

	for (;;) {
		size_t room = sizeof(client->input) - 1 - client->used;
		ssize_t length =
			read(client->fd, client->input + client->used, room);
		bool closes = false;

		if (length < 0 && errno == EAGAIN)
			return;
		if (length < 0 && !client->is_answered) {
			fail(client, errno == ECONNREFUSED ? REFUSED : RESET);
			restart_lost(is_blocker);
			return;
		}
		if (length <= 0) {
			on_closed(client);
			return;
		}
		client->used += (size_t)length;
		enum progress progress =
			client->is_answered ? PARTIAL : check(client, &closes);

		if (progress == LOST ||
		    (progress == ANSWERED && !on_answer(client, closes))) {
			restart_lost(is_blocker);
			return;
		}
		if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0)
			return;
	}
}

static void on_event(struct client *client, uint32_t events)
{
	if (client->fd < 0)
		return;
	if (!client->is_sent) {
		bool is_blocker = client->is_blocker;

		if (!ask(client)) {
			restart_lost(is_blocker);
			return;
		}
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		on_readable(client, events);
}

static void wait_events(int timeout_ms)
{
	static uint64_t swept_us;
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(epoll, events, EVENTS_MAX, timeout_ms);

	for (int i = 0; i < count; i++)
		on_event(events[i].data.ptr, events[i].events);

	uint64_t now = now_us();

	if (now - swept_us < 100000)
		return;
	swept_us = now;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &clients[i];
		bool is_blocker = client->is_blocker;
		bool is_held = options.mode == HOLD && client->is_answered;

		if (client->fd < 0 || is_held ||
		    now - client->asked_us < options.timeout_ms * 1000)
			continue;
		fail(client, TIMEOUT);
		restart_lost(is_blocker);
	}
}

static void finish(void)
{
	while (idle_count < CLIENTS_MAX)
		wait_events(10);
}

static void run_closed(void)
{
	deadline_us = now_us() + options.seconds * 1000000;
	for (uint64_t i = 0; i < options.connections; i++)
		start(false);
	while (!is_over())
		wait_events(10);
	finish();
}

/* Starts `count` connections, `rate` a second. */
static void run_paced(uint64_t count)
{
	uint64_t first_us = now_us();

	for (uint64_t i = 0; i < count && !is_interrupted;) {
		uint64_t due_us = first_us + i * 1000000 / options.rate;
		uint64_t now = now_us();

		if (now >= due_us) {
			if (now - due_us > late_us)
				late_us = now - due_us;
			start(false);
			i++;
		} else {
			wait_events(due_us - now >= 1000 ? 1 : 0);
		}
	}
}

static void run_open(void)
{
	deadline_us = now_us() + options.seconds * 1000000;
	if (options.block_ms > 0)
		start(true);
	run_paced(options.rate * options.seconds);
	finish();
}

static void run_hold(void)
{
	uint64_t answered;

	deadline_us = UINT64_MAX;
	if (options.rate > 0)
		run_paced(options.connections);
	else
		for (uint64_t i = 0; i < options.connections; i++)
			start(false);
	do {
		wait_events(10);
		answered = idle_count; /* failed ones wait for nothing either */
		for (size_t i = 0; i < CLIENTS_MAX; i++)
			answered +=
				clients[i].fd >= 0 && clients[i].is_answered;
	} while (answered < CLIENTS_MAX);
}

static int compare(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static uint32_t percentile(double share)
{
	return sample_count > 0
		       ? samples[(size_t)((double)(sample_count - 1) * share)]
		       : 0;
}

static void report(void)
{
	uint64_t failed = 0;

	qsort(samples, sample_count, sizeof(*samples), compare);
	printf("{\"requests\": %zu, \"p50_us\": %u, \"p99_us\": %u, "
	       "\"max_us\": %u, \"over\": %llu, \"blocked\": %llu, "
	       "\"late_us\": %llu, \"failures\": {",
	       sample_count, percentile(0.5), percentile(0.99), percentile(1),
	       (unsigned long long)over_count,
	       (unsigned long long)blocked_count, (unsigned long long)late_us);
	for (size_t i = 0; i < OUTCOMES; i++) {
		failed += outcomes[i];
		printf("%s\"%s\": %llu", i > 0 ? ", " : "", outcome_names[i],
		       (unsigned long long)outcomes[i]);
	}
	printf("}, \"failed\": %llu, \"workers\": {",
	       (unsigned long long)failed);
	for (size_t i = 0; i < worker_count; i++)
		printf("%s\"%s\": %llu", i > 0 ? ", " : "", workers[i].name,
		       (unsigned long long)workers[i].count);
	printf("}}\n");
}

static void set_option(char *text)
{
	static const struct {
		const char *name;
		uint64_t *value;
	} numbers[] = {
		{ "connections", &options.connections },
		{ "seconds", &options.seconds },
		{ "rate", &options.rate },
		{ "keep", &options.keep },
		{ "block_ms", &options.block_ms },
		{ "over_ms", &options.over_ms },
		{ "timeout_ms", &options.timeout_ms },
	};
	char *value = strchr(text, '=');

	if (value == NULL)
		errx(2, "not an option: %s", text);
	*value++ = '\0';
	if (strcmp(text, "path") == 0) {
		options.path = value;
		return;
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(text, numbers[i].name) == 0) {
			*numbers[i].value = strtoull(value, NULL, 10);
			return;
		}
	errx(2, "no such option: %s", text);
}

static void read_options(int argc, char **argv)
{
	static const char *const modes[] = { "closed", "open", "hold" };
	size_t mode = 0;

	if (argc < 3)
		errx(2, "usage: conns closed|open|hold PORT [OPTION=VALUE...]");
	while (mode < 3 && strcmp(argv[1], modes[mode]) != 0)
		mode++;
	if (mode == 3)
		errx(2, "no such mode: %s", argv[1]);
	options.mode = (enum mode)mode;
	options.port = atoi(argv[2]);
	options.seconds = 1;
	options.rate = options.mode == OPEN ? 1000 : 0;
	options.connections = options.mode == HOLD ? 400 : 64;
	for (int i = 3; i < argc; i++)
		set_option(argv[i]);
	if (options.connections > CLIENTS_MAX ||
	    (options.mode == OPEN && options.rate == 0))
		errx(2, "connections and rate must be within reason");
}

int main(int argc, char **argv)
{
	bool is_kept;

	read_options(argc, argv);
	is_kept = options.mode == HOLD || options.keep > 0;
	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", options.path,
		 is_kept ? "" : "Connection: close\r\n");
	snprintf(block_request, sizeof(block_request),
		 "GET /block?ms=%llu HTTP/1.1\r\nHost: localhost\r\n"
		 "Connection: close\r\n\r\n",
		 (unsigned long long)options.block_ms);
	signal(SIGINT, on_interrupt);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		err(1, "epoll_create1");
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		clients[i].fd = -1;
		idle[idle_count++] = i;
	}
	switch (options.mode) {
	case CLOSED:
		run_closed();
		break;
	case OPEN:
		run_open();
		break;
	case HOLD:
		run_hold();
		break;
	}
	report();
	return 0;
}
