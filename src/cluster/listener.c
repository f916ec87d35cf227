#include "cluster/listener.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/cluster.h"
#include "cluster/self.h"
#include "loop/timer.h"
#include "loop/watch.h"

/* Accepted in one turn, where nobody else wants them. */
#define ACCEPTS_ALONE 64
#define GATE_MS       5
/* Datagrams received in one turn. */
#define DATAGRAMS_MAX 32

struct muster_connection {
	struct muster_listener *listener;
	int descriptor;          /* -1: refused */
	bool is_handed;          /* the primary may still have a copy */
	struct verdict *verdict; /* while its callback runs; else NULL */
};

/* What became of a connection within its callback. */
struct verdict {
	bool is_gone;
	bool is_refused;
};

struct muster_datagram {
	struct muster_listener *listener;
	const uint8_t *content;
	size_t length;
	struct sockaddr_storage from;
	socklen_t from_length;
};

static bool is_datagram(const struct muster_listener *listener)
{
	return listener->bound.type == BOUND_UDP4 ||
	       listener->bound.type == BOUND_UDP6;
}

/* NULL in a primary. */
static struct board_berth *berth_of(const struct muster_listener *listener)
{
	return listener->cluster->self == NULL
		       ? NULL
		       : self_berth(listener->cluster->self);
}

/* ---- connections ---- */

static void free_if_done(struct muster_listener *listener)
{
	if (!listener->is_closed || listener->open > 0)
		return;
	if (listener->on_freed != NULL)
		listener->on_freed(listener->owner);
	free(listener);
}

static bool is_at_limit(const struct muster_listener *listener)
{
	return listener->options.max_connections > 0 &&
	       listener->open >= listener->options.max_connections;
}

static void update_watch(struct muster_listener *listener)
{
	if (listener->watch == NULL)
		return;
	if (listener->is_closed || listener->is_gated || is_at_limit(listener))
		watch_stop(listener->watch);
	else
		watch_start(listener->watch);
}

static void count_in(struct muster_listener *listener, bool is_handed)
{
	struct board_berth *berth = berth_of(listener);

	listener->open++;
	if (!is_handed && berth != NULL)
		atomic_fetch_add_explicit(&berth->accepted, 1,
					  memory_order_relaxed);
	cluster_hold(listener->cluster);
}

/* On the board, before the peer can see the end and come again: the next
 * connection should find this one gone. */
static void tell_board(const struct muster_listener *listener, bool is_handed)
{
	struct board_berth *berth = berth_of(listener);

	if (berth != NULL && is_handed)
		/* Ordered before the look at wants_wake. */
		atomic_fetch_add(&berth->closed[listener->lane], 1);
	else if (berth != NULL)
		atomic_fetch_sub_explicit(&berth->accepted, 1,
					  memory_order_relaxed);
}

static void count_out(struct muster_listener *listener)
{
	struct muster_cluster *cluster = listener->cluster;

	MUST(listener->open > 0);
	listener->open--;
	update_watch(listener);
	free_if_done(listener);
	if (cluster->self != NULL)
		self_wake_primary(cluster->self);
	cluster_release(cluster);
}

/* False: refused. */
static bool serve(struct muster_listener *listener, int descriptor,
		  bool is_handed)
{
	struct muster_connection *connection = mem_alloc(sizeof(*connection));
	struct verdict verdict = { false, false };

	*connection = (struct muster_connection){
		.listener = listener,
		.descriptor = descriptor,
		.is_handed = is_handed,
		.verdict = &verdict,
	};
	count_in(listener, is_handed);
	listener->options.on_connection(connection, listener->options.arg);
	if (!verdict.is_gone)
		connection->verdict = NULL;
	return !verdict.is_refused;
}

bool listener_take(struct muster_listener *listener, int descriptor)
{
	return serve(listener, descriptor, true);
}

static void forget(struct muster_connection *connection)
{
	close(connection->descriptor);
	if (connection->verdict != NULL)
		connection->verdict->is_gone = true;
	free(connection);
}

void connection_finish(struct muster_connection *connection)
{
	struct muster_listener *listener = connection->listener;

	tell_board(listener, connection->is_handed);
	forget(connection);
	count_out(listener);
}

void muster_connection_close(struct muster_connection *connection)
{
	struct muster_listener *listener = connection->listener;

	tell_board(listener, connection->is_handed);
	/* The peer must see the end even if the primary has not yet closed its
	 * copy. */
	if (connection->is_handed)
		DISCARD(shutdown(connection->descriptor, SHUT_RDWR));
	forget(connection);
	count_out(listener);
}

void muster_connection_refuse(struct muster_connection *connection)
{
	struct muster_listener *listener = connection->listener;
	struct muster_cluster *cluster = listener->cluster;
	bool is_handed = connection->is_handed;

	MUST(connection->verdict != NULL); /* only within the callback */
	if (!is_handed) {
		muster_connection_close(connection); /* nobody to hand it to */
		return;
	}
	connection->verdict->is_refused = true;
	forget(connection);
	/* The primary counts it out when it reads the board. */
	MUST(listener->open > 0);
	listener->open--;
	free_if_done(listener);
	cluster_release(cluster);
}

int muster_connection_descriptor(const struct muster_connection *connection)
{
	return connection->descriptor;
}

struct muster_listener *
muster_connection_listener(const struct muster_connection *connection)
{
	return connection->listener;
}

/* ---- the gate of a shared socket ---- */

/* Has this worker more than the mean and an eighth? */
static bool is_ahead(const struct muster_listener *listener)
{
	struct board *board = self_board(listener->cluster->self);
	uint32_t used = atomic_load(&board->berths_used);
	uint64_t sum = 0;
	uint64_t count = 0;

	if (used > BOARD_BERTHS)
		used = BOARD_BERTHS;
	for (uint32_t i = 0; i < used; i++) {
		struct board_berth *berth = &board->berths[i];

		if (atomic_load_explicit(&berth->is_accepting,
					 memory_order_relaxed) == 0)
			continue;
		sum += atomic_load_explicit(&berth->accepted,
					    memory_order_relaxed);
		count++;
	}
	uint64_t own = atomic_load_explicit(&berth_of(listener)->accepted,
					    memory_order_relaxed);

	return count > 1 && own * count * 8 > sum * 9 + count * 8;
}

static bool has_queued(const struct muster_listener *listener)
{
	struct pollfd look = { .fd = listener->bound.descriptor,
			       .events = POLLIN };

	return poll(&look, 1, 0) > 0;
}

static void on_gate_time(void *owner)
{
	struct muster_listener *listener = owner;
	bool is_queued = has_queued(listener);

	/* Those who are behind should have taken it by now. */
	if (is_ahead(listener) && !(is_queued && listener->was_left)) {
		listener->was_left = is_queued;
		return;
	}
	timer_stop(listener->gate);
	listener->is_gated = false;
	listener->was_left = false;
	update_watch(listener);
}

static void close_gate(struct muster_listener *listener)
{
	listener->is_gated = true;
	listener->was_left = false;
	timer_start(listener->gate, GATE_MS, GATE_MS);
	update_watch(listener);
}

static bool is_shared(const struct muster_listener *listener)
{
	return listener->schedule == MUSTER_SHARED &&
	       listener->cluster->self != NULL && listener->id != 0;
}

/* ---- accepting ---- */

static void on_acceptable(void *owner)
{
	struct muster_listener *listener = owner;
	int rounds = is_shared(listener) ? 1 : ACCEPTS_ALONE;

	listener->open++; /* it stays while it is being used here */
	while (rounds-- > 0 && !listener->is_closed && !is_at_limit(listener)) {
		int descriptor = accept4(listener->bound.descriptor, NULL, NULL,
					 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (descriptor >= 0) {
			serve(listener, descriptor, false);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
		    errno == ENOMEM) {
			log_warn(&listener->cluster->log,
				 "accept failed address=%s error=\"%s\"",
				 listener->url, strerror(errno));
			close_gate(listener);
		}
		break;
	}
	listener->open--;
	if (!listener->is_closed && is_shared(listener) && is_ahead(listener))
		close_gate(listener);
	update_watch(listener);
	free_if_done(listener);
}

static void on_datagram(void *owner)
{
	struct muster_listener *listener = owner;
	uint8_t *room = loop_scratch(listener->cluster->loop);

	listener->open++;
	for (int i = 0; i < DATAGRAMS_MAX && !listener->is_closed; i++) {
		struct muster_datagram datagram = {
			.listener = listener,
			.content = room,
			.from_length = sizeof(datagram.from),
		};
		ssize_t length = recvfrom(listener->bound.descriptor, room,
					  LOOP_SCRATCH_BYTES, MSG_DONTWAIT,
					  (struct sockaddr *)&datagram.from,
					  &datagram.from_length);

		if (length < 0)
			break;
		datagram.length = (size_t)length;
		if (listener->options.on_datagram != NULL)
			listener->options.on_datagram(&datagram,
						      listener->options.arg);
	}
	listener->open--;
	free_if_done(listener);
}

const void *muster_datagram_content(const struct muster_datagram *datagram)
{
	return datagram->content;
}

size_t muster_datagram_length(const struct muster_datagram *datagram)
{
	return datagram->length;
}

int muster_datagram_reply(struct muster_datagram *datagram, const void *content,
			  size_t length)
{
	ssize_t sent = sendto(datagram->listener->bound.descriptor, content,
			      length, MSG_DONTWAIT | MSG_NOSIGNAL,
			      (const struct sockaddr *)&datagram->from,
			      datagram->from_length);

	return sent < 0 ? -errno : 0;
}

/* ---- birth and death ---- */

struct muster_listener *
listener_open(struct muster_cluster *cluster, const struct bound *bound,
	      const struct muster_listen_options *options)
{
	struct muster_listener *listener = mem_zalloc(sizeof(*listener));

	listener->cluster = cluster;
	listener->options = *options;
	listener->bound = *bound;
	bind_write_url(bound, listener->url);
	listener->address = (struct muster_address){
		.url = listener->url,
		.host = listener->bound.host,
		.port = bound->port,
		.type = (int)bound->type,
		.descriptor = bound->descriptor,
	};
	list_add_last(&cluster->listeners, &listener->link);
	loop_hold(cluster->loop);
	return listener;
}

void listener_start(struct muster_listener *listener)
{
	struct loop *loop = listener->cluster->loop;

	if (listener->bound.descriptor < 0)
		return; /* the primary hands over */
	MUST(watch_open(loop, listener->bound.descriptor,
			is_datagram(listener) ? on_datagram : on_acceptable,
			listener, &listener->watch) == 0);
	watch_set_keeps_alive(listener->watch, false);
	if (listener->id != 0)
		watch_set_exclusive(listener->watch);
	listener->gate = timer_open(loop, on_gate_time, listener, false);
	if (is_shared(listener) && !is_datagram(listener))
		atomic_store(&berth_of(listener)->is_accepting, 1);
	update_watch(listener);
}

const struct muster_address *
muster_listener_address(const struct muster_listener *listener)
{
	return &listener->address;
}

void muster_listener_unref(struct muster_listener *listener)
{
	if (listener->is_unref || listener->is_closed)
		return;
	listener->is_unref = true;
	loop_release(listener->cluster->loop);
}

void muster_listener_close(struct muster_listener *listener)
{
	struct muster_cluster *cluster = listener->cluster;

	if (listener->is_closed)
		return;
	muster_listener_unref(listener);
	listener->is_closed = true;
	list_remove(&listener->link);
	watch_close(listener->watch);
	listener->watch = NULL;
	timer_close(listener->gate);
	if (listener->bound.descriptor >= 0)
		close(listener->bound.descriptor);
	/* The primary keeps the file of a socket it shares. */
	if (listener->id != 0)
		self_unlisten(cluster->self, listener);
	else
		bind_unlink(&listener->bound);
	free_if_done(listener);
}
