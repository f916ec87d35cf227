#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "loop/watch.h"
#include "store/lmdb_bus_board.h"
#include "store/lmdb_internal.h"
#include "store/store_bus_internal.h"

#define HEAD_BYTES  8    /* u32 length of the message, u32 of the channel */
#define GATHERED    8192 /* bytes that leave before the turn ends */
#define KEPT        (1 << 18) /* bytes of an empty queue */
#define INCOMING    1024
#define TRY_MS      20
#define BACKLOG     512
#define SECRET_SIZE (STORE_BUS_SECRET_BYTES - 1)

/*
 * Everyone listens on a unix socket and sends over a connection of its own to
 * each of the others, made with the first message. A process is a receiver of
 * its own, too, like any other: so it has the same order, the same bounds, and
 * goes back to its loop in between.
 *
 * Frames are packed by turns of the loop, one write for each receiver, so the
 * sockets are streams: boundaries that the kernel keeps would be of no use.
 */
struct receiver {
	struct mesh *mesh;
	unsigned slot;
	uint64_t life; /* of the holder that this is about; 0: none */
	struct stream *stream;
	struct list link;    /* of those with something to flush */
	struct buffer queue; /* whole frames, the first maybe sent in part */
	bool is_behind;      /* has lost something, and is not told yet */
};

struct sender {
	struct list link;
	struct mesh *mesh;
	struct stream *stream;
	struct buffer rest; /* of a frame that has come in part */
};

struct published {
	store_bus_published_fn on_published;
	void *owner;
	int64_t receivers;
};

struct mesh {
	struct store_bus *bus;
	struct bus_board *board;
	int directory;
	int socket;
	struct watch *watch;
	struct list senders;
	size_t sender_count;
	uint32_t changes; /* of the board, when it was looked at last */
	struct receiver *receivers[BUS_SLOTS];
	unsigned present[BUS_SLOTS]; /* slots with a life */
	size_t present_count;
	struct list to_flush;
	struct loop_task flush;
	struct timer *again; /* for who could not be connected to */
	struct loop_task tell;
	struct buffer published; /* struct published, to be told */
	bool has_subscribed;     /* a channel that is not up yet */
	bool owes_mark;          /* on_publishing */
};

static struct loop *loop_of(const struct mesh *mesh)
{
	return mesh->bus->store->loop;
}

static struct sockaddr_un address_of(const struct mesh *mesh, unsigned slot)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	/* A directory's own path may be longer than an address can be. */
	snprintf(address.sun_path, sizeof(address.sun_path),
		 "/proc/self/fd/%d/bus-%u", mesh->directory, slot);
	return address;
}

static bool is_same_user(int descriptor)
{
	struct ucred who;
	socklen_t length = sizeof(who);

	return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &who, &length) ==
		       0 &&
	       who.uid == geteuid();
}

static void put_u32(uint8_t *room, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		room[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 |
	       (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void tell_later(struct mesh *mesh)
{
	loop_defer(loop_of(mesh), &mesh->tell);
}

/* ---- sending ---- */

static void drop_receiver(struct receiver *receiver)
{
	if (receiver->stream != NULL)
		stream_close(receiver->stream);
	receiver->stream = NULL;
	buffer_fini(&receiver->queue);
	if (list_is_linked(&receiver->link))
		list_remove(&receiver->link);
	receiver->is_behind = false;
}

static void nothing_comes(void *owner, const uint8_t *bytes, size_t length)
{
	(void)owner;
	(void)bytes;
	(void)length;
}

/* It died, or it left. */
static void on_receiver_end(void *owner, int error)
{
	struct receiver *receiver = owner;

	(void)error;
	drop_receiver(receiver);
	if (bus_board_bury(receiver->mesh->board, receiver->slot))
		return;
	/* It lives, and has not received what was under way. */
	receiver->mesh->owes_mark = true;
	tell_later(receiver->mesh);
}

static void flush_later(struct receiver *receiver)
{
	if (!list_is_linked(&receiver->link))
		list_add_last(&receiver->mesh->to_flush, &receiver->link);
	loop_defer(loop_of(receiver->mesh), &receiver->mesh->flush);
}

/* All that waited for it has gone, so there is room to say what did not. */
static void on_caught_up(struct receiver *receiver)
{
	if (!receiver->is_behind)
		return;
	receiver->is_behind = false;
	receiver->mesh->owes_mark = true;
	tell_later(receiver->mesh);
}

static void on_receiver_written(void *owner)
{
	struct receiver *receiver = owner;

	if (buffer_length(&receiver->queue) > 0)
		flush_later(receiver);
	else
		on_caught_up(receiver);
}

static const struct stream_events receiver_events = {
	.on_bytes = nothing_comes,
	.on_end = on_receiver_end,
	.on_written = on_receiver_written,
};

/* False: nobody is there, or not now. */
static bool connect_to(struct receiver *receiver)
{
	struct mesh *mesh = receiver->mesh;
	struct sockaddr_un address = address_of(mesh, receiver->slot);
	int descriptor =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (descriptor < 0) {
		timer_start(mesh->again, TRY_MS, 0);
		return false;
	}
	if (connect(descriptor, (const struct sockaddr *)&address,
		    sizeof(address)) < 0 ||
	    !is_same_user(descriptor)) {
		bool is_full = errno == EAGAIN;

		close(descriptor);
		if (is_full) /* of those who wait to be accepted */
			timer_start(mesh->again, TRY_MS, 0);
		else
			on_receiver_end(receiver, 0);
		return false;
	}
	receiver->stream = stream_open(loop_of(mesh), descriptor,
				       &receiver_events, receiver);
	stream_start_reading(receiver->stream); /* to be told its end */
	return true;
}

/* All that has gathered, in one write, so that whoever receives it works on it
 * while the next gathers; what does not go stays here rather than
 * in the stream, so that there is one bound. */
static void flush(struct receiver *receiver)
{
	struct iovec part;

	if (receiver->stream == NULL && !connect_to(receiver))
		return;
	if (stream_queued_bytes(receiver->stream) > 0 ||
	    buffer_length(&receiver->queue) == 0)
		return; /* on_written goes on */
	part = (struct iovec){ buffer_bytes(&receiver->queue),
			       buffer_length(&receiver->queue) };
	bool has_gone = stream_write(receiver->stream, &part, 1);

	buffer_consume(&receiver->queue, buffer_length(&receiver->queue));
	buffer_trim(&receiver->queue, KEPT);
	if (has_gone)
		on_caught_up(receiver);
}

static void run_flush(struct loop_task *task)
{
	struct mesh *mesh = LIST_ENTRY(task, struct mesh, flush);
	struct list *link;

	while ((link = list_take_first(&mesh->to_flush)) != NULL)
		flush(LIST_ENTRY(link, struct receiver, link));
}

static void on_again(void *owner)
{
	struct mesh *mesh = owner;

	watch_start(mesh->watch);
	for (size_t i = 0; i < mesh->present_count; i++) {
		struct receiver *receiver = mesh->receivers[mesh->present[i]];

		if (receiver->stream == NULL &&
		    buffer_length(&receiver->queue) > 0)
			flush_later(receiver);
	}
}

/* Who is there; those who went are forgotten with what was for them. */
static void look_around(struct mesh *mesh)
{
	mesh->changes = bus_board_changes(mesh->board);
	mesh->present_count = 0;
	for (unsigned i = 0; i < BUS_SLOTS; i++) {
		uint64_t life = bus_board_life(mesh->board, i);
		struct receiver *receiver = mesh->receivers[i];

		if (receiver != NULL && receiver->life != life)
			drop_receiver(receiver);
		if (life == 0)
			continue;
		if (receiver == NULL) {
			receiver = mem_zalloc(sizeof(*receiver));
			receiver->mesh = mesh;
			receiver->slot = i;
			mesh->receivers[i] = receiver;
		}
		receiver->life = life;
		mesh->present[mesh->present_count++] = i;
	}
}

static size_t waiting_bytes(const struct receiver *receiver)
{
	return buffer_length(&receiver->queue) +
	       (receiver->stream == NULL
			? 0
			: stream_queued_bytes(receiver->stream));
}

static void give(struct receiver *receiver, struct store_bytes channel,
		 struct store_bytes bytes)
{
	size_t length = HEAD_BYTES + channel.length + bytes.length;

	if (waiting_bytes(receiver) + length > STORE_BUS_WAITING_BYTES) {
		receiver->is_behind = true;
		receiver->mesh->bus->counters.dropped++;
		return;
	}
	uint8_t *room = buffer_reserve(&receiver->queue, length);

	put_u32(room, (uint32_t)bytes.length);
	put_u32(room + 4, (uint32_t)channel.length);
	if (channel.length > 0)
		memcpy(room + HEAD_BYTES, channel.data, channel.length);
	if (bytes.length > 0)
		memcpy(room + HEAD_BYTES + channel.length, bytes.data,
		       bytes.length);
	buffer_extend(&receiver->queue, length);
	flush_later(receiver);
	if (buffer_length(&receiver->queue) >= GATHERED)
		flush(receiver);
}

static int publish(struct store_bus *bus, struct store_bytes channel,
		   struct store_bytes bytes, const struct store_bus_log *log,
		   store_bus_published_fn on_published, void *owner)
{
	struct mesh *mesh = bus->back_end;
	uint64_t hash = store_bus_hash(channel);
	int64_t receivers = 0;

	if (mesh->changes != bus_board_changes(mesh->board))
		look_around(mesh);
	if (log != NULL)
		lmdb_log_append(bus->store, log, bytes);
	for (size_t i = 0; i < mesh->present_count; i++) {
		struct receiver *receiver = mesh->receivers[mesh->present[i]];

		if (!bus_board_is_subscribed(mesh->board, receiver->slot, hash))
			continue;
		give(receiver, channel, bytes);
		receivers++;
	}
	if (on_published != NULL) {
		const struct published published = { on_published, owner,
						     receivers };

		buffer_append(&mesh->published, &published, sizeof(published));
		tell_later(mesh);
	}
	return 0;
}

static void forget(struct store_bus *bus, const void *owner)
{
	struct mesh *mesh = bus->back_end;
	struct published *list = (void *)buffer_bytes(&mesh->published);
	size_t count = buffer_length(&mesh->published) / sizeof(*list);

	for (size_t i = 0; i < count; i++)
		if (list[i].owner == owner)
			list[i].on_published = NULL;
}

/* ---- receiving ---- */

static void close_sender(struct sender *sender)
{
	list_remove(&sender->link);
	sender->mesh->sender_count--;
	stream_close(sender->stream);
	buffer_fini(&sender->rest);
	free(sender);
}

/* How much was used up; -1: what comes is nothing of ours. */
static ssize_t read_frames(struct store_bus *bus, const uint8_t *bytes,
			   size_t length)
{
	size_t used = 0;

	while (length - used >= HEAD_BYTES) {
		const uint8_t *at = bytes + used;
		uint32_t message = get_u32(at);
		uint32_t channel = get_u32(at + 4);

		if (message > STORE_BUS_MESSAGE_MAX ||
		    channel > STORE_BUS_CHANNEL_MAX)
			return -1;
		if (length - used < (size_t)HEAD_BYTES + channel + message)
			break;
		const struct store_bytes name =
			store_bytes(at + HEAD_BYTES, channel);

		used += (size_t)HEAD_BYTES + channel + message;
		/* A slot that takes all, or whose hash meets another's. */
		if (store_bus_find(bus, name) != NULL)
			store_bus_deliver(bus, name,
					  store_bytes(at + HEAD_BYTES + channel,
						      message));
	}
	return (ssize_t)used;
}

static void on_sender_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct sender *sender = owner;
	bool has_rest = buffer_length(&sender->rest) > 0;

	if (has_rest) {
		buffer_append(&sender->rest, bytes, length);
		bytes = buffer_bytes(&sender->rest);
		length = buffer_length(&sender->rest);
	}
	ssize_t used = read_frames(sender->mesh->bus, bytes, length);

	if (used < 0) {
		close_sender(sender);
		return;
	}
	if (has_rest) {
		buffer_consume(&sender->rest, (size_t)used);
		buffer_trim(&sender->rest, LOOP_SCRATCH_BYTES);
	} else if ((size_t)used < length) {
		buffer_append(&sender->rest, bytes + used,
			      length - (size_t)used);
	}
}

static void on_sender_end(void *owner, int error)
{
	(void)error;
	close_sender(owner);
}

static void nothing_goes(void *owner)
{
	(void)owner;
}

static const struct stream_events sender_events = {
	.on_bytes = on_sender_bytes,
	.on_end = on_sender_end,
	.on_written = nothing_goes,
};

static void on_connection(void *owner)
{
	struct mesh *mesh = owner;
	int descriptor;

	while ((descriptor = accept4(mesh->socket, NULL, NULL,
				     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (mesh->sender_count == INCOMING ||
		    !is_same_user(descriptor)) {
			close(descriptor);
			continue;
		}
		struct sender *sender = mem_zalloc(sizeof(*sender));

		sender->mesh = mesh;
		sender->stream = stream_open(loop_of(mesh), descriptor,
					     &sender_events, sender);
		list_add_last(&mesh->senders, &sender->link);
		mesh->sender_count++;
		stream_start_reading(sender->stream);
	}
	if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
		/* No descriptor is free: they wait until one may be. */
		watch_stop(mesh->watch);
		timer_start(mesh->again, TRY_MS, 0);
	}
}

/* ---- what is told from the loop ---- */

static struct store_bus_channel *first_untold(const struct store_bus *bus)
{
	LIST_EACH (&bus->channels, link) {
		struct store_bus_channel *channel =
			LIST_ENTRY(link, struct store_bus_channel, link);

		if (!channel->is_up)
			return channel;
	}
	return NULL;
}

/* The callback may subscribe and unsubscribe: look anew after each. */
static void tell_subscribed(struct mesh *mesh)
{
	struct store_bus_channel *channel;

	mesh->has_subscribed = false;
	while ((channel = first_untold(mesh->bus)) != NULL)
		store_bus_set_up(mesh->bus, channel, true);
}

static void tell_published(struct mesh *mesh)
{
	struct buffer published = mesh->published;
	struct published *list = (void *)buffer_bytes(&published);
	size_t count = buffer_length(&published) / sizeof(*list);

	mesh->published = (struct buffer){ 0 };
	for (size_t i = 0; i < count; i++)
		if (list[i].on_published != NULL)
			list[i].on_published(list[i].owner, 0,
					     list[i].receivers);
	buffer_fini(&published);
}

static void run_tell(struct loop_task *task)
{
	struct mesh *mesh = LIST_ENTRY(task, struct mesh, tell);

	if (mesh->owes_mark) {
		mesh->owes_mark = false;
		mesh->bus->events->on_publishing(mesh->bus->owner);
	}
	tell_published(mesh);
	if (mesh->has_subscribed)
		tell_subscribed(mesh);
}

static void subscribe(struct store_bus *bus, struct store_bus_channel *channel)
{
	struct mesh *mesh = bus->back_end;

	bus_board_subscribe(mesh->board, channel->hash);
	mesh->has_subscribed = true;
	tell_later(mesh);
}

static void unsubscribe(struct store_bus *bus,
			struct store_bus_channel *channel)
{
	const struct mesh *mesh = bus->back_end;

	bus_board_unsubscribe(mesh->board, channel->hash);
}

/* ---- joining and leaving ---- */

static int listen_here(struct mesh *mesh)
{
	struct sockaddr_un address;
	const struct lmdb *lmdb = lmdb_of(mesh->bus->store);

	mesh->directory =
		open(lmdb->shared_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (mesh->directory < 0)
		return -errno;
	address = address_of(mesh, bus_board_own(mesh->board));
	DISCARD(unlink(address.sun_path)); /* of one who died, if any */
	mesh->socket =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (mesh->socket < 0 ||
	    bind(mesh->socket, (const struct sockaddr *)&address,
		 sizeof(address)) < 0 ||
	    listen(mesh->socket, BACKLOG) < 0)
		return -errno;
	int error = watch_open(loop_of(mesh), mesh->socket, on_connection, mesh,
			       &mesh->watch);

	if (error == 0)
		watch_start(mesh->watch);
	return error;
}

static void leave(struct store_bus *bus)
{
	struct mesh *mesh = bus->back_end;

	for (size_t i = 0; i < BUS_SLOTS; i++) {
		if (mesh->receivers[i] == NULL)
			continue;
		flush(mesh->receivers[i]); /* the last words */
		drop_receiver(mesh->receivers[i]);
		free(mesh->receivers[i]);
	}
	bus->back_end = NULL;
	watch_close(mesh->watch);
	if (mesh->socket >= 0) {
		struct sockaddr_un address =
			address_of(mesh, bus_board_own(mesh->board));

		DISCARD(unlink(address.sun_path)); /* may not be there yet */
		close(mesh->socket);
	}
	bus_board_close(mesh->board);
	LIST_EACH (&mesh->senders, link)
		close_sender(LIST_ENTRY(link, struct sender, link));
	if (mesh->directory >= 0)
		close(mesh->directory);
	timer_close(mesh->again);
	loop_undefer(&mesh->flush);
	loop_undefer(&mesh->tell);
	buffer_fini(&mesh->published);
	free(mesh);
}

static int join(struct store_bus *bus, struct problem *problem)
{
	const struct lmdb *lmdb = lmdb_of(bus->store);
	struct mesh *mesh = mem_zalloc(sizeof(*mesh));

	bus->back_end = mesh;
	bus->is_clock_known = true; /* one host, one clock */
	mesh->bus = bus;
	mesh->directory = mesh->socket = -1;
	mesh->flush.run = run_flush;
	mesh->tell.run = run_tell;
	list_init(&mesh->senders);
	list_init(&mesh->to_flush);
	mesh->again = timer_open(bus->store->loop, on_again, mesh, false);
	mesh->board =
		bus_board_open(lmdb->shared_path, bus->id, bus->nonce, problem);
	if (mesh->board == NULL) {
		leave(bus);
		return problem->code;
	}
	int error = listen_here(mesh);

	if (error < 0) {
		problem_set(problem, error, "BUS_FAILED",
			    "cannot join the bus in %s: %s", lmdb->shared_path,
			    strerror(-error));
		leave(bus);
		return error;
	}
	bus_board_appear(mesh->board);
	return 0;
}

/* ---- the secret ---- */

static bool read_secret(const char *path, char secret[STORE_BUS_SECRET_BYTES])
{
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (descriptor < 0)
		return false;
	ssize_t length = read(descriptor, secret, SECRET_SIZE);

	close(descriptor);
	if (length == SECRET_SIZE)
		secret[SECRET_SIZE] = '\0';
	else
		errno = EINVAL;
	return length == SECRET_SIZE;
}

/* Whole or not at all: written beside, then given its name. Where another has
 * been faster it is his. */
static int write_secret(const char *path)
{
	uint8_t bytes[SECRET_SIZE / 2];
	char text[STORE_BUS_SECRET_BYTES];
	uint64_t number;
	int error = 0;

	MUST(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
	MUST(getrandom(&number, sizeof(number), 0) == sizeof(number));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	char *beside = mem_format("%s.%jx", path, (uintmax_t)number);
	int descriptor =
		open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (descriptor < 0 ||
	    write(descriptor, text, SECRET_SIZE) != SECRET_SIZE ||
	    fsync(descriptor) < 0 ||
	    (link(beside, path) < 0 && errno != EEXIST))
		error = -errno;
	if (descriptor >= 0)
		close(descriptor);
	DISCARD(unlink(beside)); /* may not be there */
	free(beside);
	return error;
}

static int get_secret(struct store *store, char secret[STORE_BUS_SECRET_BYTES],
		      struct problem *problem)
{
	const struct lmdb *lmdb = lmdb_of(store);
	char *path = mem_format("%s/token", lmdb->tasks_path);
	int error = 0;

	if (!read_secret(path, secret)) {
		error = errno == ENOENT ? write_secret(path) : -errno;
		if (error == 0 && !read_secret(path, secret))
			error = -errno;
	}
	if (error < 0)
		problem_set(problem, error, "TOKEN_UNREADABLE",
			    "cannot read or make the token in %s: %s (correct "
			    "the file, or remove it and start all anew)",
			    path, strerror(-error));
	free(path);
	return error;
}

const struct store_bus_ops lmdb_bus_ops = {
	.join = join,
	.leave = leave,
	.subscribe = subscribe,
	.unsubscribe = unsubscribe,
	.publish = publish,
	.forget = forget,
	.secret = get_secret,
};
