#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define CONNECTIONS_MAX 64
#define REPLY_MAX       8192

enum state {
	IDLE,       /* not connected */
	CONNECTING, /* then sends */
	AWAITING,   /* has asked */
	DONE,       /* and will not again */
};

struct connection {
	enum state state;
	int descriptor;
	int64_t asked_us;
	char reply[REPLY_MAX];
	size_t used;
};

struct load {
	char request[512];
	struct load_options options;
	struct sockaddr_in address;
	struct connection connections[CONNECTIONS_MAX];
	pthread_t thread;
	struct load *next;
	int wake[2];

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t changed;
	struct load_result result;
	bool is_stopping;
	bool has_ended;
};

static struct load *loads;

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void count(struct load *load, uint64_t *counter)
{
	pthread_mutex_lock(&load->mutex);
	(*counter)++;
	pthread_cond_broadcast(&load->changed);
	pthread_mutex_unlock(&load->mutex);
}

static bool is_stopping(struct load *load)
{
	pthread_mutex_lock(&load->mutex);
	bool answer = load->is_stopping;

	pthread_mutex_unlock(&load->mutex);
	return answer;
}

static void leave(struct connection *connection)
{
	if (connection->descriptor >= 0)
		close(connection->descriptor);
	connection->descriptor = -1;
	connection->state = IDLE;
}

static void fail_request(struct load *load, struct connection *connection,
			 uint64_t *counter)
{
	leave(connection);
	count(load, counter);
}

static void ask(struct load *load, struct connection *connection)
{
	size_t length = strlen(load->request);

	connection->used = 0;
	connection->state = AWAITING;
	connection->asked_us = now_us();
	if (send(connection->descriptor, load->request, length, MSG_NOSIGNAL) !=
	    (ssize_t)length)
		fail_request(load, connection, &load->result.reset);
}

static void dial_again(struct load *load, struct connection *connection)
{
	connection->descriptor =
		socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	connection->state = CONNECTING;
	if (connect(connection->descriptor, (struct sockaddr *)&load->address,
		    sizeof(load->address)) == 0)
		ask(load, connection);
	else if (errno != EINPROGRESS)
		fail_request(load, connection, &load->result.refused);
}

static void on_connected(struct load *load, struct connection *connection)
{
	int code = 0;
	socklen_t length = sizeof(code);

	getsockopt(connection->descriptor, SOL_SOCKET, SO_ERROR, &code,
		   &length);
	if (code != 0)
		fail_request(load, connection, &load->result.refused);
	else
		ask(load, connection);
}

static const char *header(const char *reply, const char *end, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = reply; at < end; at++) {
		at = memchr(at, '\n', (size_t)(end - at));
		if (at == NULL)
			return NULL;
		if (strncasecmp(at + 1, name, length) == 0)
			return at + 1 + length;
	}
	return NULL;
}

/* The length of the reply that is at the beginning; 0: not all is there, -1:
 * that is no reply. */
static ssize_t reply_length(const struct connection *connection, bool *closes)
{
	const char *reply = connection->reply;
	const char *end = memmem(reply, connection->used, "\r\n\r\n", 4);

	if (end == NULL)
		return connection->used == REPLY_MAX ? -1 : 0;
	const char *length = header(reply, end, "content-length:");
	const char *closing = header(reply, end, "connection: close");

	if (strncmp(reply, "HTTP/1.1 200 ", 13) != 0 || length == NULL)
		return -1;
	*closes = closing != NULL;
	size_t whole = (size_t)(end + 4 - reply) + strtoul(length, NULL, 10);

	return connection->used >= whole ? (ssize_t)whole : 0;
}

static void on_answered(struct load *load, struct connection *connection)
{
	uint64_t took_us = (uint64_t)(now_us() - connection->asked_us);

	pthread_mutex_lock(&load->mutex);
	load->result.answered++;
	if (took_us > load->result.slowest_us)
		load->result.slowest_us = took_us;
	pthread_cond_broadcast(&load->changed);
	pthread_mutex_unlock(&load->mutex);
}

static void on_end(struct load *load, struct connection *connection)
{
	fail_request(load, connection,
		     connection->used > 0 ? &load->result.cut
					  : &load->result.reset);
}

static void on_readable(struct load *load, struct connection *connection)
{
	ssize_t length = recv(connection->descriptor,
			      connection->reply + connection->used,
			      REPLY_MAX - connection->used, 0);

	if (length < 0 && errno == EAGAIN)
		return;
	if (length <= 0) {
		on_end(load, connection);
		return;
	}
	connection->used += (size_t)length;

	bool closes = false;
	ssize_t whole = reply_length(connection, &closes);

	if (whole == 0)
		return;
	if (whole < 0 || (size_t)whole != connection->used) {
		fail_request(load, connection, &load->result.wrong);
		return;
	}
	on_answered(load, connection);
	if (closes || !load->options.keep_alive || is_stopping(load))
		leave(connection);
	else
		ask(load, connection);
}

static void on_event(struct load *load, struct connection *connection)
{
	if (connection->state == CONNECTING)
		on_connected(load, connection);
	else if (connection->state == AWAITING)
		on_readable(load, connection);
}

/* False: all are done. */
static bool turn(struct load *load)
{
	struct pollfd polled[CONNECTIONS_MAX + 1];
	int count_open = 0;
	int size = load->options.connections;
	bool stopping = is_stopping(load);

	for (int i = 0; i < size; i++) {
		struct connection *c = &load->connections[i];

		if (c->state == IDLE && stopping)
			c->state = DONE;
		if (c->state == IDLE)
			dial_again(load, c);
		polled[i] = (struct pollfd){
			.fd = c->descriptor,
			.events = c->state == CONNECTING ? POLLOUT : POLLIN,
		};
		count_open += c->state != DONE;
	}
	polled[size] = (struct pollfd){ .fd = load->wake[0], .events = POLLIN };
	if (stopping)
		polled[size].fd = -1;
	if (count_open == 0)
		return false;
	poll(polled, (nfds_t)size + 1, 1000);
	for (int i = 0; i < size; i++)
		if (polled[i].revents != 0)
			on_event(load, &load->connections[i]);
	return true;
}

static void *run(void *arg)
{
	struct load *load = arg;
	int64_t stop_by = 0;

	while (turn(load)) {
		if (!is_stopping(load))
			continue;
		if (stop_by == 0)
			stop_by = now_us() + DEADLINE_MS * 1000LL;
		if (now_us() > stop_by) /* an answer that never came */
			break;
	}
	for (int i = 0; i < load->options.connections; i++)
		if (load->connections[i].state == AWAITING)
			fail_request(load, &load->connections[i],
				     &load->result.reset);
		else
			leave(&load->connections[i]);
	pthread_mutex_lock(&load->mutex);
	load->has_ended = true;
	pthread_cond_broadcast(&load->changed);
	pthread_mutex_unlock(&load->mutex);
	return NULL;
}

struct load *load_start(const struct load_options *options)
{
	struct load *load = calloc(1, sizeof(*load));
	pthread_condattr_t clock;

	if (load == NULL || options->connections > CONNECTIONS_MAX ||
	    pipe(load->wake) != 0)
		give_up("cannot start the load");
	load->options = *options;
	load->address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)options->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	snprintf(load->request, sizeof(load->request),
		 "GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n", options->path,
		 options->keep_alive ? "" : "Connection: close\r\n");
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		load->connections[i].descriptor = -1;
	pthread_mutex_init(&load->mutex, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&load->changed, &clock);
	if (pthread_create(&load->thread, NULL, run, load) != 0)
		give_up("cannot start the load");
	load->next = loads;
	loads = load;
	return load;
}

void load_wait(struct load *load, uint64_t more)
{
	struct timespec by;
	int code = 0;

	clock_gettime(CLOCK_MONOTONIC, &by);
	by.tv_sec += DEADLINE_MS / 1000;
	pthread_mutex_lock(&load->mutex);
	uint64_t wanted = load->result.answered + more;

	while (code == 0 && load->result.answered < wanted)
		code = pthread_cond_timedwait(&load->changed, &load->mutex,
					      &by);
	struct load_result result = load->result;

	pthread_mutex_unlock(&load->mutex);
	if (result.answered < wanted)
		give_up("awaited %llu answers for %d s: %llu answered, "
			"%llu refused, %llu reset, %llu cut, %llu wrong",
			(unsigned long long)wanted, DEADLINE_MS / 1000,
			(unsigned long long)result.answered,
			(unsigned long long)result.refused,
			(unsigned long long)result.reset,
			(unsigned long long)result.cut,
			(unsigned long long)result.wrong);
}

struct load_result load_stop(struct load *load)
{
	struct load **link = &loads;

	while (*link != load)
		link = &(*link)->next;
	*link = load->next;

	pthread_mutex_lock(&load->mutex);
	load->is_stopping = true;
	pthread_mutex_unlock(&load->mutex);
	if (write(load->wake[1], "", 1) != 1)
		abort();
	pthread_join(load->thread, NULL);
	struct load_result result = load->result;

	close(load->wake[0]);
	close(load->wake[1]);
	pthread_mutex_destroy(&load->mutex);
	pthread_cond_destroy(&load->changed);
	free(load);
	return result;
}

void load_expect_no_failure(struct load *load)
{
	struct load_result result = load_stop(load);

	if (result.refused + result.reset + result.cut + result.wrong > 0)
		give_up("of %llu requests %llu were refused, %llu reset, "
			"%llu cut short, %llu answered wrong",
			(unsigned long long)result.answered,
			(unsigned long long)result.refused,
			(unsigned long long)result.reset,
			(unsigned long long)result.cut,
			(unsigned long long)result.wrong);
}

void load_stop_all(void)
{
	while (loads != NULL)
		load_stop(loads);
}
