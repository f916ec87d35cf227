#include "cluster/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/bind.h"
#include "cluster/cluster.h"
#include "loop/timer.h"
#include "loop/watch.h"

/* After a failure that only time can cure (no descriptors left). */
#define PAUSE_MS 100
/* A worker waits for an answer before it asks again. One that asks and asks,
 * and reads nothing, would have us keep them all. */
#define ANSWERS_QUEUED_MAX 256
/* Rounds of accepting that are closer than this are a crowd... */
#define CROWD_NS 300000
/* ...which is given so long, plus what the kernel's timer adds. */
#define GATHER_NS 50000

/* A socket of a listener. */
struct socket {
	struct list link;
	struct listener *listener;
	struct bound bound;
	int slot;            /* reuseport: whose it is; else 0 */
	struct watch *watch; /* NULL: never accepted on by the primary */
	bool is_watched;
};

/* A worker that has joined. */
struct member {
	struct list link;
	struct muster_worker *worker;
	uint32_t lane;
	uint32_t limit; /* of connections; 0: none */
	bool is_serving;
};

struct listener {
	struct list link;
	struct listeners *listeners;
	uint32_t id;
	struct address asked; /* with `index`, what it is found by */
	uint32_t index;
	uint32_t flags;
	enum muster_schedule schedule;
	int backlog;
	struct list sockets; /* the first is the one that was bound first */
	struct list members;
	struct handover_line *line;
	struct timer *pause;
	char url[BOUND_URL_BYTES];
};

struct listeners {
	struct muster_cluster *cluster;
	struct handover *handover;
	struct list list;
	uint32_t next_id;
	size_t count;
	uint64_t accepted_ns; /* when the last round ended */
};

/* There is one as long as the listener is. */
static struct socket *first_socket(const struct listener *listener)
{
	struct list *first = list_first(&listener->sockets);

	MUST(first != NULL);
	return LIST_ENTRY(first, struct socket, link);
}

static bool is_udp(const struct listener *listener)
{
	const struct bound *bound = &first_socket(listener)->bound;

	return bound->type == BOUND_UDP4 || bound->type == BOUND_UDP6;
}

/* ---- accepting ---- */

/* Does the primary accept here now? */
static bool is_ours(const struct socket *socket)
{
	const struct listener *listener = socket->listener;

	if (socket->watch == NULL)
		return false;
	if (listener->schedule != MUSTER_REUSEPORT)
		return true;
	LIST_EACH (&listener->members, link) {
		struct member *member = LIST_ENTRY(link, struct member, link);

		if (member->is_serving && member->worker->id == socket->slot)
			return false;
	}
	return true;
}

static void set_watched(struct socket *socket, bool is_watched)
{
	if (socket->watch == NULL || socket->is_watched == is_watched)
		return;
	socket->is_watched = is_watched;
	if (is_watched)
		watch_start(socket->watch);
	else
		watch_stop(socket->watch);
}

static void resume(struct listener *listener)
{
	bool has_room = handover_has_room(listener->line);

	LIST_EACH (&listener->sockets, link) {
		struct socket *socket = LIST_ENTRY(link, struct socket, link);

		set_watched(socket, has_room && is_ours(socket));
	}
}

static void on_room(void *owner)
{
	struct listener *listener = owner;

	if (!timer_is_started(listener->pause))
		resume(listener);
}

static void on_pause_over(void *owner)
{
	resume(owner);
}

static void pause_for(struct listener *listener, int error)
{
	log_warn(&listener->listeners->cluster->log,
		 "accept failed address=%s error=\"%s\" pause_ms=%d",
		 listener->url, strerror(error), PAUSE_MS);
	LIST_EACH (&listener->sockets, link) {
		set_watched(LIST_ENTRY(link, struct socket, link), false);
	}
	timer_start(listener->pause, PAUSE_MS, 0);
}

/* Errors of the connection, not of the listener: accept(2). */
static bool concerns_one_connection(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case EPERM:
		return true;
	default:
		return false;
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * When connections come in a crowd, the primary waits for a moment: then there
 * are several, their requests have come as well, and they are handed over in
 * one piece. It halves what a connection costs, which otherwise is mostly the
 * waking of one process after another (as a network card holds its interrupts
 * back, and for the same reason). Where connections are few nobody waits.
 */
static void let_crowd_gather(const struct listeners *listeners)
{
	const struct timespec moment = { .tv_nsec = GATHER_NS };

	if (now_ns() - listeners->accepted_ns < CROWD_NS)
		DISCARD(nanosleep(&moment, NULL)); /* a signal: fine */
}

static void on_acceptable(void *owner)
{
	struct socket *socket = owner;
	struct listener *listener = socket->listener;

	let_crowd_gather(listener->listeners);
	handover_refresh(listener->line);
	for (int round = 0; round < HANDOVER_ROUND; round++) {
		if (!handover_has_room(listener->line)) {
			resume(listener); /* which stops */
			break;
		}
		int descriptor = accept4(socket->bound.descriptor, NULL, NULL,
					 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (descriptor >= 0) {
			handover_give_take(listener->line, descriptor);
		} else if (errno == EAGAIN) {
			break;
		} else if (!concerns_one_connection(errno)) {
			pause_for(listener, errno);
			break;
		}
	}
	handover_send(listener->line);
	listener->listeners->accepted_ns = now_ns();
}

/* ---- making and closing ---- */

static struct socket *add_socket(struct listener *listener,
				 const struct bound *bound, int slot)
{
	struct socket *socket = mem_zalloc(sizeof(*socket));
	struct loop *loop = listener->listeners->cluster->loop;

	socket->listener = listener;
	socket->bound = *bound;
	socket->slot = slot;
	list_add_last(&listener->sockets, &socket->link);
	if (!is_udp(listener) && listener->schedule != MUSTER_SHARED) {
		MUST(watch_open(loop, bound->descriptor, on_acceptable, socket,
				&socket->watch) == 0);
		watch_set_keeps_alive(socket->watch, false);
	}
	return socket;
}

static void remove_socket(struct socket *socket)
{
	watch_close(socket->watch);
	close(socket->bound.descriptor);
	list_remove(&socket->link);
	free(socket);
}

static void listener_close(struct listener *listener)
{
	struct list *link;

	bind_unlink(&first_socket(listener)->bound);
	log_debug(&listener->listeners->cluster->log,
		  "listener closed address=%s", listener->url);
	while ((link = list_first(&listener->sockets)) != NULL)
		remove_socket(LIST_ENTRY(link, struct socket, link));
	MUST(list_is_empty(&listener->members));
	handover_line_close(listener->line);
	timer_close(listener->pause);
	list_remove(&listener->link);
	listener->listeners->count--;
	free(listener);
}

static struct listener *find(struct listeners *listeners, uint32_t id)
{
	LIST_EACH (&listeners->list, link) {
		struct listener *listener =
			LIST_ENTRY(link, struct listener, link);

		if (listener->id == id)
			return listener;
	}
	return NULL;
}

static struct listener *find_asked(struct listeners *listeners,
				   const struct address *asked, uint32_t index)
{
	LIST_EACH (&listeners->list, link) {
		struct listener *listener =
			LIST_ENTRY(link, struct listener, link);

		if (listener->asked.kind == asked->kind &&
		    (listener->asked.port == asked->port ||
		     first_socket(listener)->bound.port == asked->port) &&
		    listener->index == index &&
		    strcmp(listener->asked.host, asked->host) == 0)
			return listener;
	}
	return NULL;
}

static struct bind_options bind_options_of(uint32_t flags, int backlog)
{
	return (struct bind_options){
		.backlog = backlog,
		.ipv6_only = (flags & LISTEN_IPV6_ONLY) != 0,
		.reuse_address = (flags & LISTEN_REUSE_ADDRESS) != 0,
		.readable_all = (flags & LISTEN_READABLE_ALL) != 0,
		.writable_all = (flags & LISTEN_WRITABLE_ALL) != 0,
	};
}

/* The schedule that can be had: only TCP has a socket a worker. */
static enum muster_schedule schedule_for(const struct address *address,
					 enum muster_schedule wanted)
{
	if (address->kind == ADDRESS_UDP)
		return MUSTER_SHARED;
	if (wanted == MUSTER_REUSEPORT && address->kind != ADDRESS_TCP)
		return MUSTER_SHARED;
	return wanted;
}

struct wish {
	struct address address;
	uint32_t index;
	uint32_t flags;
	enum muster_schedule schedule;
	int backlog;
	uint32_t limit;
	int slot;
};

static struct listener *make(struct listeners *listeners,
			     const struct wish *wish, struct problem *problem)
{
	struct bind_options options =
		bind_options_of(wish->flags, wish->backlog);
	struct bound bound;

	options.reuse_port = wish->schedule == MUSTER_REUSEPORT;
	if (bind_open(&wish->address, &options, &bound, problem) < 0)
		return NULL;

	struct listener *listener = mem_zalloc(sizeof(*listener));

	listener->listeners = listeners;
	listener->id = ++listeners->next_id;
	listener->asked = wish->address;
	listener->index = wish->index;
	listener->flags = wish->flags;
	listener->schedule = wish->schedule;
	listener->backlog = wish->backlog;
	list_init(&listener->sockets);
	list_init(&listener->members);
	list_add_last(&listeners->list, &listener->link);
	listeners->count++;
	listener->pause = timer_open(listeners->cluster->loop, on_pause_over,
				     listener, false);
	listener->line =
		handover_line_open(listeners->handover, listener->id,
				   listener->schedule, on_room, listener);
	add_socket(listener, &bound,
		   wish->schedule == MUSTER_REUSEPORT ? wish->slot : 0);
	bind_write_url(&bound, listener->url);
	return listener;
}

static int check_conflict(const struct listener *listener,
			  const struct wish *wish, struct problem *problem)
{
	const char *what = NULL;

	if (listener->schedule != wish->schedule)
		what = "another schedule";
	else if (((listener->flags ^ wish->flags) & LISTEN_IPV6_ONLY) != 0)
		what = "another ipv6_only";
	if (what == NULL)
		return 0;
	return problem_set(problem, -EINVAL, "LISTEN_CONFLICT",
			   "cannot listen on %.60s:%u: a worker listens there "
			   "with %s (ask for the same)",
			   wish->address.host, wish->address.port, what);
}

/* reuseport: the socket of this slot, which its last worker may have left. */
static struct socket *socket_of_slot(struct listener *listener, int slot,
				     struct problem *problem)
{
	LIST_EACH (&listener->sockets, link) {
		struct socket *socket = LIST_ENTRY(link, struct socket, link);

		if (socket->slot == slot)
			return socket;
	}
	struct address address = listener->asked;
	struct bind_options options =
		bind_options_of(listener->flags, listener->backlog);
	struct bound bound;

	address.port = first_socket(listener)->bound.port;
	options.reuse_port = true;
	if (bind_open(&address, &options, &bound, problem) < 0)
		return NULL;
	return add_socket(listener, &bound, slot);
}

/* ---- what workers ask for ---- */

static struct member *find_member(const struct listener *listener,
				  const struct muster_worker *worker)
{
	LIST_EACH (&listener->members, link) {
		struct member *member = LIST_ENTRY(link, struct member, link);

		if (member->worker == worker)
			return member;
	}
	return NULL;
}

static struct message_text text_of(const char *text)
{
	return (struct message_text){ text, strlen(text) };
}

static void answer(struct muster_worker *worker,
		   struct message_listen_result *result, int descriptor)
{
	struct message message = { .type = MESSAGE_LISTEN_RESULT,
				   .listen_result = *result };

	channel_send(worker->channel, &message, descriptor);
	/* The worker waits for it. */
	DISCARD(channel_flush(worker->channel)); /* the end will be told */
}

static int take_lane(struct muster_worker *worker, uint32_t *lane)
{
	for (*lane = 0; *lane < BOARD_LANES; (*lane)++) {
		if ((worker->lanes & 1u << *lane) == 0) {
			worker->lanes |= 1u << *lane;
			return 0;
		}
	}
	return -ENOSPC;
}

static struct listener *join(struct listeners *listeners,
			     struct muster_worker *worker,
			     const struct wish *wish, struct problem *problem)
{
	struct listener *listener =
		find_asked(listeners, &wish->address, wish->index);
	uint32_t lane;

	if (listener != NULL && check_conflict(listener, wish, problem) < 0)
		return NULL;
	if (listener != NULL && find_member(listener, worker) != NULL) {
		problem_set(problem, -EADDRINUSE, "LISTEN_IN_USE",
			    "cannot listen on %.60s:%u: this worker does "
			    "already (close the first listener)",
			    wish->address.host, wish->address.port);
		return NULL;
	}
	if (take_lane(worker, &lane) < 0) {
		problem_set(problem, -ENOSPC, "LISTEN_TOO_MANY",
			    "a worker can have %d listeners at most",
			    BOARD_LANES);
		return NULL;
	}
	if (listener == NULL) {
		listener = make(listeners, wish, problem);
		if (listener == NULL) {
			worker->lanes &= ~(1u << lane);
			return NULL;
		}
	}
	if (wish->backlog > listener->backlog) {
		listener->backlog = wish->backlog;
		LIST_EACH (&listener->sockets, link) {
			bind_set_backlog(LIST_ENTRY(link, struct socket, link)
						 ->bound.descriptor,
					 listener->backlog);
		}
	}
	struct member *member = mem_zalloc(sizeof(*member));

	member->worker = worker;
	member->lane = lane;
	member->limit = wish->limit;
	list_add_last(&listener->members, &member->link);
	return listener;
}

static int read_wish(const struct message_listen *ask,
		     enum muster_schedule otherwise, int slot,
		     struct wish *wish)
{
	if (ask->host.length >= sizeof(wish->address.host) ||
	    ask->port > UINT16_MAX || ask->kind < ADDRESS_TCP ||
	    ask->kind > ADDRESS_SYSTEMD || ask->schedule > MUSTER_REUSEPORT ||
	    memchr(ask->host.text, '\0', ask->host.length) != NULL)
		return -EPROTO;
	*wish = (struct wish){
		.address = { .kind = (enum address_kind)ask->kind,
			     .port = (uint16_t)ask->port },
		.index = ask->index,
		.flags = ask->flags,
		.schedule = (enum muster_schedule)ask->schedule,
		.backlog = ask->backlog > INT32_MAX ? INT32_MAX
						    : (int)ask->backlog,
		.limit = ask->max_connections,
		.slot = slot,
	};
	memcpy(wish->address.host, ask->host.text, ask->host.length);
	if (wish->schedule == MUSTER_SCHEDULE_DEFAULT)
		wish->schedule = otherwise;
	wish->schedule = schedule_for(&wish->address, wish->schedule);
	return 0;
}

static bool reads_answers(struct muster_worker *worker)
{
	if (channel_queued_bytes(worker->channel) == 0)
		worker->answers_queued = 0;
	return worker->answers_queued++ < ANSWERS_QUEUED_MAX;
}

void listeners_ask(struct listeners *listeners, struct muster_worker *worker,
		   const struct message_listen *ask)
{
	struct message_listen_result result = { .request = ask->request };
	struct problem problem = { 0 };
	struct wish wish;
	struct socket *socket = NULL;
	int descriptor = -1;

	if (read_wish(ask, listeners->cluster->options.settings.schedule,
		      worker->id, &wish) < 0) {
		problem_set(&problem, -EPROTO, "FRAME_MALFORMED",
			    "a LISTEN of worker %d makes no sense", worker->id);
		worker_break(worker, &problem);
		return;
	}
	if (!reads_answers(worker)) {
		problem_set(&problem, -ENOBUFS, "ANSWERS_UNREAD",
			    "worker %d asks to listen again and again, and "
			    "does not read the answers",
			    worker->id);
		worker_break(worker, &problem);
		return;
	}
	struct listener *listener = NULL;

	if (worker->was_asked)
		problem_set(&problem, -EPIPE, "LEAVING",
			    "cannot listen: this worker was told to go");
	else
		listener = join(listeners, worker, &wish, &problem);
	if (listener != NULL)
		socket =
			listener->schedule == MUSTER_REUSEPORT
				? socket_of_slot(listener, worker->id, &problem)
				: first_socket(listener);
	if (socket == NULL) {
		result.status = (uint32_t)-problem.code;
		result.host = text_of("");
		result.problem = text_of(problem.text);
		if (listener != NULL)
			DISCARD(listeners_unlisten(listeners, worker,
						   listener->id)); /* joined */
		answer(worker, &result, -1);
		return;
	}
	if (socket->watch == NULL || listener->schedule == MUSTER_REUSEPORT)
		descriptor =
			fcntl(socket->bound.descriptor, F_DUPFD_CLOEXEC, 3);
	result.listener = listener->id;
	result.lane = find_member(listener, worker)->lane;
	result.schedule = listener->schedule;
	result.type = (uint32_t)socket->bound.type;
	result.port = socket->bound.port;
	result.descriptor = (uint32_t)socket->bound.descriptor;
	result.host = text_of(socket->bound.host);
	result.problem = text_of("");
	answer(worker, &result, descriptor);
}

static void detach(struct listener *listener, struct member *member)
{
	member->worker->lanes &= ~(1u << member->lane);
	handover_line_leave(listener->line, member->worker->berth);
	list_remove(&member->link);
	free(member);
	resume(listener);
}

int listeners_serve(struct listeners *listeners, struct muster_worker *worker,
		    uint32_t id, struct muster_address *address)
{
	struct listener *listener = find(listeners, id);
	struct member *member =
		listener == NULL ? NULL : find_member(listener, worker);

	if (member == NULL)
		return -ENOENT;
	if (!member->is_serving) {
		member->is_serving = true;
		if (first_socket(listener)->watch != NULL)
			handover_line_join(listener->line, worker->berth,
					   member->lane, member->limit);
		resume(listener);
	}
	struct bound *bound = &first_socket(listener)->bound;

	*address = (struct muster_address){
		.url = listener->url,
		.host = bound->host,
		.port = bound->port,
		.type = (int)bound->type,
		.descriptor = bound->descriptor,
	};
	return 0;
}

int listeners_unlisten(struct listeners *listeners,
		       struct muster_worker *worker, uint32_t id)
{
	struct listener *listener = find(listeners, id);
	struct member *member =
		listener == NULL ? NULL : find_member(listener, worker);

	if (member == NULL)
		return -ENOENT;
	detach(listener, member);
	if (list_is_empty(&listener->members))
		listener_close(listener);
	return 0;
}

void listeners_detach(struct listeners *listeners, struct muster_worker *worker)
{
	LIST_EACH (&listeners->list, link) {
		struct listener *listener =
			LIST_ENTRY(link, struct listener, link);
		struct member *member = find_member(listener, worker);

		if (member != NULL)
			detach(listener, member);
	}
}

static bool has_serving_member(const struct listener *listener)
{
	LIST_EACH (&listener->members, link) {
		if (LIST_ENTRY(link, struct member, link)->is_serving)
			return true;
	}
	return false;
}

static bool has_queued(const struct socket *socket)
{
	struct pollfd look = { .fd = socket->bound.descriptor,
			       .events = POLLIN };

	return poll(&look, 1, 0) > 0;
}

/* reuseport: the sockets of slots that have no worker any more. What is queued
 * there is handed over to others before they go. */
static void sweep_sockets(struct listener *listener)
{
	if (listener->schedule != MUSTER_REUSEPORT ||
	    !has_serving_member(listener))
		return;
	LIST_EACH (&listener->sockets, link) {
		struct socket *socket = LIST_ENTRY(link, struct socket, link);

		if (socket == first_socket(listener) || !is_ours(socket))
			continue;
		on_acceptable(socket);
		/* What nobody had room for is watched, and swept later. */
		if (!has_queued(socket))
			remove_socket(socket);
	}
}

void listeners_sweep(struct listeners *listeners)
{
	LIST_EACH (&listeners->list, link) {
		struct listener *listener =
			LIST_ENTRY(link, struct listener, link);

		if (list_is_empty(&listener->members))
			listener_close(listener);
		else
			sweep_sockets(listener);
	}
}

size_t listeners_count(const struct listeners *listeners)
{
	return listeners->count;
}

struct listeners *listeners_new(struct muster_cluster *cluster,
				struct handover *handover)
{
	struct listeners *listeners = mem_zalloc(sizeof(*listeners));

	listeners->cluster = cluster;
	listeners->handover = handover;
	list_init(&listeners->list);
	return listeners;
}

void listeners_free(struct listeners *listeners)
{
	if (listeners == NULL)
		return;
	LIST_EACH (&listeners->list, link) {
		struct listener *listener =
			LIST_ENTRY(link, struct listener, link);
		struct list *first;

		while ((first = list_take_first(&listener->members)) != NULL)
			free(LIST_ENTRY(first, struct member, link));
		listener_close(listener);
	}
	free(listeners);
}
