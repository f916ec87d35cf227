/* rooms_internal - what the files of rooms have in common. */
#pragma once
#include "base/buffer.h"
#include "base/fiber.h"
#include "base/json_write.h"
#include "service/bus.h"
#include "service/rooms.h"
#include "service/routine.h"

#define ROOMS_SAY     "_room:say"
#define ROOMS_GONE    "_room:gone:" /* and the room's number */
#define ROOMS_NOBODY  "0"           /* speaks where no member does */
#define ROOMS_WEB     "web:"
#define ROOMS_DELETED "\"this room has been deleted\""

struct rooms_here;

struct rooms {
	struct muster *muster;
	struct rooms_here **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
	struct list owed; /* rows that the store is to remove */
	struct timer *timer;
	struct bus_watcher *watcher;
	bool is_stale;    /* the store may have lost rows */
	bool is_doubtful; /* or rooms may have been destroyed unheard */
	bool is_syncing;
	bool has_rows; /* the store may have some of this life */
	bool was_down;
};

/* A room that has members here, or is about to. */
struct rooms_here {
	struct rooms_here *next; /* in its bucket */
	struct rooms *rooms;
	char *name;
	uint64_t hash;
	const struct muster_room *given; /* NULL: nothing is said of it */
	struct bus_handler *handler;
	struct list members;
	struct list walks;   /* over the members */
	struct list waiting; /* fibers, for the handler to be ready */
	unsigned users;      /* who need it though it has no members */
	bool is_ready;
	bool is_awaited;

	/* Of on_receive: messages that wait for the fiber that hands them out.
	 */
	struct list heard;
	size_t heard_count;
	bool is_hearing;
};

struct rooms_member {
	struct list room_link;
	struct list client_link;
	struct rooms_here *here;
	struct rooms_client *client; /* NULL: it has left, while it joined */
	char *record;                /* as the store has it */
	uint64_t number;             /* of the room it joined */
	uint64_t gone_number;        /* of one that was destroyed meanwhile */
	bool is_joined;              /* else a fiber is at it, and frees it */
};

/* Goes over members, any of which may go meanwhile. */
struct rooms_walk {
	struct list link;
	struct rooms_here *here;
	struct list *next;
};

/* ---- rooms.c ---- */

__attribute__((warn_unused_result)) int rooms_check(struct muster *muster,
						    const char *room);
const struct muster_room *rooms_given(const struct rooms *rooms,
				      const char *room);
struct rooms_here *rooms_find(const struct rooms *rooms, const char *room);
/* Made where there is none; one rooms_release() is owed. NULL: there is no bus,
 * and the fiber's problem says so. */
struct rooms_here *rooms_hold(struct rooms *rooms, const char *room);
void rooms_release(struct rooms_here *here);

struct rooms_member *rooms_member_new(struct rooms_here *here,
				      struct rooms_client *client);
/* Takes it out of all lists. */
void rooms_member_free(struct rooms_member *member);
struct rooms_member *rooms_member_of(const struct rooms_client *client,
				     const char *room);

void rooms_walk_begin(struct rooms_walk *walk, struct rooms_here *here);
struct rooms_member *rooms_walk_next(struct rooms_walk *walk);
void rooms_walk_end(struct rooms_walk *walk);

/* Has the store remove a row, now or when it can. */
void rooms_owe(struct rooms *rooms, const char *room, const char *member);

/* What members hear. The buffer is the caller's. */
void rooms_write(struct muster *muster, struct buffer *buffer,
		 const char *message, const char *room, const char *from);
void rooms_write_text(struct json_writer *writer, const char *name,
		      const char *text);
uint64_t rooms_now_ms(const struct muster *muster);

/* Asks a handler of the application. A negative answer: it changed to what is
 * no JSON. */
int rooms_ask(struct muster *muster, muster_room_fn fn,
	      const struct muster_room *given, struct muster_room_event *event);

/* ---- rooms_hear.c: from the bus to the members ---- */

struct envelope_text rooms_channel(const char *room, struct buffer *buffer);
void rooms_on_message(void *owner, const struct bus_message *message);
/* The room with that number, and all before, is no more. */
void rooms_vanish(struct rooms_here *here, const char *text, size_t length,
		  uint64_t number);
void rooms_forget_heard(struct rooms_here *here);

/* ---- rooms_sync.c: after the store was away ---- */

/* The rows of all members are to be written again; or where not all are, those
 * of rooms that the store does not have. */
void rooms_sync(struct rooms *rooms, bool is_all);

/* ---- rooms_members.c ---- */

/* Asks the store; 0, MUSTER_KNOWN or MUSTER_NOT_FOUND. */
struct rooms_row {
	const char *room;
	const char *member;
	const char *owner;
	const char *record;
	uint64_t number; /* in, and out */
};
__attribute__((warn_unused_result)) int rooms_put_row(struct muster *muster,
						      struct rooms_row *row);
/* Asks the store; 0 or MUSTER_NOT_FOUND. */
__attribute__((warn_unused_result)) int rooms_row_gone(struct muster *muster,
						       const char *room,
						       const char *member,
						       const char *owner);
const char *rooms_record(struct muster *muster, const char *member,
			 const char *data, bool is_web);

/* ---- rooms_say.c ---- */

struct rooms_saying {
	const char *room;
	const char *from;   /* that members see */
	const char *client; /* a web client; NULL: it is none */
	const char *message;
};
__attribute__((warn_unused_result)) int
rooms_say(struct muster *muster, const struct rooms_saying *saying);
