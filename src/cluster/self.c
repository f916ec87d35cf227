#include "cluster/self.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "cluster/listeners.h"
#include "cluster/message.h"
#include "loop/timer.h"

/* The primary answers at once, unless it is stopped or gone. */
#define ANSWER_MS 10000

struct self {
	struct muster_cluster *cluster;
	struct muster_worker
		worker; /* stands for itself, towards the primary */
	struct board *board;
	bool was_welcomed;
	bool is_draining;
	bool may_leave;  /* the primary knows, or is gone */
	bool holds_loop; /* messages may come */
	uint32_t requests;
	uint32_t drain_ms;
	uint32_t drain_idle_ms;
	struct timer *deadline;
	struct loop_task leave;
	/* While LISTEN is being answered. */
	struct message_listen_result result;
	char result_host[ADDRESS_HOST_BYTES];
	char result_problem[256];
	int result_descriptor;
};

static void tell_primary(struct self *self, const struct message *message)
{
	if (self->worker.is_connected)
		channel_send(self->worker.channel, message, -1);
}

/* ---- leaving ---- */

static void update_hold(struct self *self)
{
	bool wants = self->worker.is_connected &&
		     handlers_have(&self->cluster->handlers, EVENT_MESSAGE);

	wants = wants || (self->worker.is_connected &&
			  handlers_have(&self->worker.handlers, EVENT_MESSAGE));
	if (wants == self->holds_loop)
		return;
	self->holds_loop = wants;
	if (wants)
		loop_hold(self->cluster->loop);
	else
		loop_release(self->cluster->loop);
}

static void disconnect(struct self *self)
{
	if (!self->worker.is_connected)
		return;
	self->worker.is_connected = false;
	channel_close(self->worker.channel);
	self->worker.channel = NULL;
	update_hold(self);
	events_tell(&self->worker, EVENT_DISCONNECT);
}

static void run_leave(struct loop_task *task)
{
	struct self *self = LIST_ENTRY(task, struct self, leave);

	if (self->is_draining && self->may_leave && self->cluster->holds == 0)
		disconnect(self);
}

void self_on_idle(struct self *self)
{
	if (self->is_draining)
		loop_defer(self->cluster->loop, &self->leave);
}

static void on_deadline(void *owner)
{
	struct self *self = owner;

	log_warn(&self->cluster->log,
		 "not finished in time, leaving connections=%u drain_ms=%u",
		 self->cluster->holds, self->drain_ms);
	disconnect(self);
	muster_cluster_stop(self->cluster, self->cluster->exit_code);
}

static void drain(struct self *self)
{
	if (self->is_draining)
		return;
	self->is_draining = true;
	self->worker.state = WORKER_DRAINING;
	timer_start(self->deadline, self->drain_ms, 0);
	LIST_EACH (&self->cluster->listeners, link) {
		muster_listener_close(
			LIST_ENTRY(link, struct muster_listener, link));
	}
	cluster_drain_parts(self->cluster);
	loop_defer(self->cluster->loop, &self->leave);
}

static void on_leave(struct self *self, bool at_once)
{
	self->worker.is_voluntary = true;
	self->may_leave = true;
	drain(self);
	loop_defer(self->cluster->loop, &self->leave);
	if (at_once) {
		disconnect(self);
		muster_cluster_stop(self->cluster, self->cluster->exit_code);
	}
}

void self_leave(struct self *self, bool at_once)
{
	if (self->is_draining && !at_once)
		return;
	self->worker.is_voluntary = true;
	tell_primary(self, &(struct message){ .type = MESSAGE_LEAVING,
					      .leaving = { at_once } });
	if (at_once && !self->worker.is_connected)
		muster_cluster_stop(self->cluster, self->cluster->exit_code);
	drain(self);
}

/* ---- connections ---- */

void self_wake_primary(struct self *self)
{
	struct board_berth *berth = self_berth(self);

	if (atomic_load(&berth->wants_wake) == 0)
		return;
	atomic_store(&berth->wants_wake, 0);
	tell_primary(self, &(struct message){ .type = MESSAGE_WAKE,
					      .wake = { self->worker.berth } });
}

static struct muster_listener *find(const struct self *self, uint32_t id)
{
	LIST_EACH (&self->cluster->listeners, link) {
		struct muster_listener *listener =
			LIST_ENTRY(link, struct muster_listener, link);

		if (listener->id == id)
			return listener;
	}
	return NULL;
}

static bool is_full(const struct muster_listener *listener)
{
	return listener->options.max_connections > 0 &&
	       listener->open >= listener->options.max_connections;
}

static void on_connection(struct self *self,
			  const struct message_connection *message,
			  struct channel_descriptors *descriptors)
{
	struct muster_listener *listener = find(self, message->listener);

	if (message->seat >= BOARD_SEATS || descriptors->count != 1)
		return;
	_Atomic uint32_t *seat = &self_berth(self)->seats[message->seat];

	/* Too late: it took us too long, somebody else has it. */
	if (!seat_move(seat, message->turn, SEAT_HELD)) {
		self_wake_primary(self);
		return;
	}
	bool is_taken = listener != NULL && !is_full(listener);

	if (is_taken) {
		int descriptor = descriptors->list[0];

		descriptors->list[0] = -1;
		is_taken = listener_take(listener, descriptor);
	}
	atomic_store(seat, seat_word(message->turn,
				     is_taken ? SEAT_TAKEN : SEAT_REFUSED));
	if (!is_taken)
		atomic_store(&self_berth(self)->wants_wake, 1);
	self_wake_primary(self);
}

/* ---- the channel ---- */

static bool on_welcome(void *owner, const struct message *message,
		       struct channel_descriptors *descriptors)
{
	struct self *self = owner;
	const struct message_welcome *welcome = &message->welcome;
	struct problem *problem = &self->cluster->problem;

	if (welcome->protocol != MESSAGES_PROTOCOL) {
		problem_set(problem, -EPROTO, "PROTOCOL_VERSION",
			    "the primary speaks version %u of the channel, "
			    "this program %u (build both with the same muster)",
			    welcome->protocol, MESSAGES_PROTOCOL);
		return true;
	}
	if (descriptors->count == 1)
		self->board = board_map(descriptors->list[0]);
	if (self->board == NULL || welcome->berth >= BOARD_BERTHS) {
		problem_set(problem, -EPROTO, "PROTOCOL_VERSION",
			    "the primary's board cannot be used (build both "
			    "with the same muster)");
		return true;
	}
	self->worker.id = (int)welcome->worker_id;
	self->worker.berth = welcome->berth;
	self->worker.serialization = welcome->serialization == MUSTER_BYTES
					     ? MUSTER_BYTES
					     : MUSTER_JSON;
	self->drain_ms = welcome->drain_ms;
	self->drain_idle_ms = welcome->drain_idle_ms;
	self->was_welcomed = true;
	return true;
}

static void copy_text(char *room, size_t size, const struct message_text *text)
{
	size_t length = text->length < size ? text->length : size - 1;

	memcpy(room, text->text, length);
	room[length] = '\0';
}

/* It came after its deadline: the primary must not count on this worker. */
static void forget_late_answer(struct self *self,
			       const struct message_listen_result *late)
{
	if (late->status == 0)
		tell_primary(self, &(struct message){
					   .type = MESSAGE_UNLISTEN,
					   .unlisten = { late->listener } });
}

static bool on_listen_result(void *owner, const struct message *message,
			     struct channel_descriptors *descriptors)
{
	struct self *self = owner;

	if (message->listen_result.request != self->requests) {
		forget_late_answer(self, &message->listen_result);
		return false;
	}
	self->result = message->listen_result;
	copy_text(self->result_host, sizeof(self->result_host),
		  &self->result.host);
	copy_text(self->result_problem, sizeof(self->result_problem),
		  &self->result.problem);
	if (descriptors->count == 1) {
		self->result_descriptor = descriptors->list[0];
		descriptors->list[0] = -1;
	}
	return true;
}

static void on_message(void *owner, const struct message *message,
		       struct channel_descriptors *descriptors)
{
	struct self *self = owner;

	switch (message->type) {
	case MESSAGE_CONNECTION:
		on_connection(self, &message->connection, descriptors);
		break;
	case MESSAGE_LEAVE:
		on_leave(self, message->leave.at_once != 0);
		break;
	case MESSAGE_DIED:
		cluster_tell_died(self->cluster, (int)message->died.pid);
		break;
	case MESSAGE_PING:
		tell_primary(self, &(struct message){
					   .type = MESSAGE_PONG,
					   .pong = { message->ping.number } });
		self_wake_primary(self);
		break;
	case MESSAGE_MESSAGE:
		message_tell(&self->worker, &message->message.content,
			     descriptors);
		break;
	case MESSAGE_LISTEN_RESULT:
		forget_late_answer(self, &message->listen_result);
		break;
	case MESSAGE_WELCOME:
		break;
	case MESSAGE_HELLO:
	case MESSAGE_LISTEN:
	case MESSAGE_LISTENING:
	case MESSAGE_UNLISTEN:
	case MESSAGE_WAKE:
	case MESSAGE_READY:
	case MESSAGE_RUNNING:
	case MESSAGE_LEAVING:
	case MESSAGE_PONG:
		log_warn(&self->cluster->log,
			 "the primary sent what only a worker may type=%s",
			 message_name(message->type));
		break;
	}
}

static void on_end(void *owner, const struct problem *problem)
{
	struct self *self = owner;

	if (problem->code < 0)
		log_error(&self->cluster->log, "channel broken text=\"%s\"",
			  problem->text);
	else if (!self->worker.is_voluntary)
		log_warn(&self->cluster->log,
			 "the primary is gone, finishing connections=%u",
			 self->cluster->holds);
	self->may_leave = true;
	disconnect(self);
	drain(self);
}

static void on_drained(void *owner, bool was_busy)
{
	struct self *self = owner;

	if (was_busy)
		events_tell(&self->worker, EVENT_DRAIN);
}

static const struct channel_events channel_events = {
	.on_message = on_message,
	.on_end = on_end,
	.on_drained = on_drained,
};

/* ---- listening ---- */

static uint32_t next_index(const struct self *self,
			   const struct address *address)
{
	uint32_t index = 0;
	bool is_used = true;

	while (is_used) {
		is_used = false;
		LIST_EACH (&self->cluster->listeners, link) {
			struct muster_listener *other =
				LIST_ENTRY(link, struct muster_listener, link);

			if (other->id != 0 && other->index == index &&
			    other->asked.kind == address->kind &&
			    other->asked.port == address->port &&
			    strcmp(other->asked.host, address->host) == 0)
				is_used = true;
		}
		if (is_used)
			index++;
	}
	return index;
}

static uint32_t flags_of(const struct muster_listen_options *options)
{
	return (options->ipv6_only ? LISTEN_IPV6_ONLY : 0) |
	       (options->reuse_address ? LISTEN_REUSE_ADDRESS : 0) |
	       (options->readable_all ? LISTEN_READABLE_ALL : 0) |
	       (options->writable_all ? LISTEN_WRITABLE_ALL : 0);
}

static int ask(struct self *self, const struct self_wish *wish, uint32_t index)
{
	const struct muster_listen_options *options = wish->options;
	struct problem *problem = &self->cluster->problem;
	struct message message = {
		.type = MESSAGE_LISTEN,
		.listen = { .request = ++self->requests,
			    .kind = wish->address.kind,
			    .port = wish->address.port,
			    .flags = flags_of(options),
			    .index = index,
			    .schedule = options->schedule,
			    .backlog = (uint32_t)options->backlog,
			    .max_connections = options->max_connections,
			    .host = { wish->address.host,
				      strlen(wish->address.host) } },
	};

	self->result_descriptor = -1;
	if (!self->worker.is_connected || self->is_draining)
		return problem_set(problem, -EPIPE, "LEAVING",
				   "cannot listen: this worker is leaving, or "
				   "its primary is gone");
	tell_primary(self, &message);
	int error = channel_await(self->worker.channel, MESSAGE_LISTEN_RESULT,
				  ANSWER_MS, on_listen_result);

	if (error < 0)
		return problem_set(problem, error, "PRIMARY_SILENT",
				   "cannot listen: the primary did not answer "
				   "within %d s (is it stopped?)",
				   ANSWER_MS / 1000);
	if (self->result.status != 0)
		return problem_set(
			problem, -(int)self->result.status,
			self->result.status == EADDRINUSE ? "LISTEN_IN_USE"
			: self->result.status == EACCES   ? "LISTEN_DENIED"
			: self->result.status == EINVAL   ? "LISTEN_CONFLICT"
							  : "LISTEN_FAILED",
			"%s", self->result_problem);
	return 0;
}

int self_listen(struct self *self, const struct self_wish *wish,
		struct muster_listener **listener_out)
{
	uint32_t index = next_index(self, &wish->address);
	int error = ask(self, wish, index);

	if (error < 0)
		return error;

	struct bound bound = {
		.descriptor = self->result_descriptor,
		.type = (enum bound_type)self->result.type,
		.port = (uint16_t)self->result.port,
	};

	memcpy(bound.host, self->result_host, sizeof(bound.host));
	struct muster_listener *listener =
		listener_open(self->cluster, &bound, wish->options);

	listener->asked = wish->address;
	listener->index = index;
	listener->id = self->result.listener;
	listener->lane = self->result.lane;
	listener->schedule = (enum muster_schedule)self->result.schedule;
	listener->address.descriptor = (int)self->result.descriptor;
	listener_start(listener);
	tell_primary(self, &(struct message){ .type = MESSAGE_LISTENING,
					      .listening = { listener->id } });
	*listener_out = listener;
	return 0;
}

void self_unlisten(struct self *self, const struct muster_listener *listener)
{
	if (!self->is_draining)
		tell_primary(self,
			     &(struct message){ .type = MESSAGE_UNLISTEN,
						.unlisten = { listener->id } });
}

/* ---- birth and death ---- */

int self_ready(struct self *self)
{
	if (!self->worker.is_connected)
		return -EPIPE;
	if (self->worker.state < WORKER_READY)
		self->worker.state = WORKER_READY;
	tell_primary(self, &(struct message){
				   .type = MESSAGE_READY,
				   .ready = { (uint32_t)self->worker.id } });
	return 0;
}

void self_start(struct self *self)
{
	tell_primary(self, &(struct message){
				   .type = MESSAGE_RUNNING,
				   .running = { (uint32_t)self->worker.id } });
}

struct muster_worker *self_worker(struct self *self)
{
	return &self->worker;
}

struct board *self_board(struct self *self)
{
	return self->board;
}

meter_value *self_meters(struct self *self)
{
	return self->board->meters[self->worker.berth];
}

struct board_berth *self_berth(struct self *self)
{
	return &self->board->berths[self->worker.berth];
}

bool self_is_draining(const struct self *self)
{
	return self->is_draining;
}

uint32_t self_drain_ms(const struct self *self)
{
	return self->drain_ms;
}

uint32_t self_drain_idle_ms(const struct self *self)
{
	return self->drain_idle_ms;
}

void self_on_handler(struct self *self)
{
	update_hold(self);
}

/* Is it one, and ready for use as ours? */
static bool is_socket(int descriptor)
{
	int type = 0;
	socklen_t length = sizeof(type);

	return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) ==
		       0 &&
	       type == SOCK_STREAM &&
	       fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 &&
	       fcntl(descriptor, F_SETFL,
		     fcntl(descriptor, F_GETFL) | O_NONBLOCK) == 0;
}

struct self *self_new(struct muster_cluster *cluster, int channel)
{
	struct problem *problem = &cluster->problem;

	if (!is_socket(channel)) {
		problem_set(
			problem, -EBADF, "CHANNEL_UNUSABLE",
			"MUSTER_CHANNEL_FD=%d is no stream socket (leave it "
			"to the primary to set)",
			channel);
		return NULL;
	}
	struct self *self = mem_zalloc(sizeof(*self));
	struct muster_worker *worker = &self->worker;

	self->cluster = cluster;
	self->leave.run = run_leave;
	self->deadline = timer_open(cluster->loop, on_deadline, self, false);
	worker->cluster = cluster;
	worker->pid = getpid();
	worker->state = WORKER_ONLINE;
	worker->is_connected = true;
	worker->said_hello = true;
	worker->channel =
		channel_open(cluster->loop, channel, &channel_events, self);
	int error = channel_await(worker->channel, MESSAGE_WELCOME, ANSWER_MS,
				  on_welcome);

	if (error < 0)
		problem_set(problem, error, "PRIMARY_SILENT",
			    "the primary did not speak on MUSTER_CHANNEL_FD=%d "
			    "(is it one that muster started?)",
			    channel);
	if (!self->was_welcomed) {
		self_free(self);
		return NULL;
	}
	worker->name = mem_text(cluster->name);
	tell_primary(self,
		     &(struct message){ .type = MESSAGE_HELLO,
					.hello = { MESSAGES_PROTOCOL,
						   (uint32_t)getpid() } });
	DISCARD(channel_flush(worker->channel)); /* the end will be told */
	channel_start(worker->channel);
	/* Only what somebody waits for keeps the process going. */
	channel_set_keeps_alive(worker->channel, false);
	return self;
}

void self_free(struct self *self)
{
	if (self == NULL)
		return;
	if (self->holds_loop)
		loop_release(self->cluster->loop);
	channel_close(self->worker.channel);
	loop_undefer(&self->leave);
	timer_close(self->deadline);
	handlers_fini(&self->worker.handlers);
	board_free(self->board);
	free(self->worker.name);
	free(self);
}
