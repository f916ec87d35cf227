/*
 * muster/room.h - rooms: what one member says all others hear, on whichever
 * server they are connected.
 *
 *     static const struct muster_room rooms[] = {
 *             { .name = "lobby" },
 *             { .name = "team:*", .no_echo = true, .on_join = may_join },
 *             { 0 },
 *     };
 *     ...
 *     muster_room_join(muster, "lobby", connection, NULL);
 *     muster_room_say(muster, "lobby", NULL, "\"good morning\"");
 *
 * Members are connections (WebSocket, TCP, or the application's own: see
 * muster_connection_receive()) and web clients, who come now and then over
 * HTTP and find what was said meanwhile. A member hears
 *
 *     {"message":M,"room":R,"from":ID,"context":"user","sentAt":MS}
 *
 * with M as it was said, each at most once, those of one speaker in their
 * order. Members go with their connection, with their server, and with the
 * room.
 *
 * A name, of a room or a web client, has 1 to 128 bytes without control bytes
 * and '|'; one of a client is without '"' and '\' as well. All calls that wait
 * are made on a fiber; beside what stands at each they fail as those of
 * muster/node.h do.
 */
#ifndef MUSTER_ROOM_H
#define MUSTER_ROOM_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster;

/* ---- What an application says of its rooms ------------------------------- */

/* What is about to happen. Texts are good until the handler returns. */
struct muster_room_event {
	const char *room;
	/* Who joins, leaves or speaks ("0": a server); of on_receive: who is
	 * about to hear. */
	const char *member;
	const char *from; /* of on_receive: who has spoken */
	/* The message; of on_join: the member's data ("null": none). To be set
	 * to another text by a handler that answers MUSTER_ROOM_CHANGE, one
	 * that lasts as long as the fiber: muster_json(), muster_text(). */
	const char *json;
	bool is_web; /* the member is a web client */
};

enum muster_room_verdict {
	MUSTER_ROOM_PASS = 0,
	MUSTER_ROOM_CHANGE, /* goes on with what event->json is now */
	MUSTER_ROOM_DROP,   /* does not happen. Nobody is kept from leaving by
			     * going away */
};

/* On a fiber: it may wait. */
typedef enum muster_room_verdict (*muster_room_fn)(
	struct muster *muster, struct muster_room_event *event, void *arg);

/*
 * In muster_app.rooms and muster_node_options.rooms, which end with one that
 * has no name. A room whose whole name is given is there from the start; where
 * the name ends with '*' it is about all rooms that begin so. The first that is
 * about a room counts.
 */
struct muster_room {
	const char *name;
	bool no_echo;              /* the speaker does not hear itself */
	muster_room_fn on_join;    /* where the member is connected */
	muster_room_fn on_leave;   /* the same */
	muster_room_fn on_say;     /* where it is said, once */
	muster_room_fn on_receive; /* for each member that hears it, there; not
				    * for web clients */
	void *arg;                 /* of these */
};

/* ---- Rooms --------------------------------------------------------------- */

/* MUSTER_KNOWN: there is one. -EINVAL: it cannot be called that. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_room_create(struct muster *muster,
						      const char *room);
/* Its members are told ("this room has been deleted"), and are none any more.
 * MUSTER_NOT_FOUND. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_room_destroy(struct muster *muster,
						       const char *room);
/* 0, or MUSTER_NOT_FOUND. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_room_exists(struct muster *muster,
						      const char *room);

struct muster_room_info {
	const char *name;
	uint64_t created_ms; /* since 1970 */
	uint64_t members;
};

struct muster_room_list {
	const struct muster_room_info *rooms; /* by name */
	size_t count;
};

MUSTER_PUBLIC MUSTER_MUST_READ int
muster_room_list(struct muster *muster, struct muster_room_list *list);

/* ---- Members ------------------------------------------------------------- */

/*
 * Makes a connection a member, on whichever server it is: what is said from now
 * on reaches it. `data` is one JSON value of the application's own, up to 3
 * KiB, which others see among the members; NULL: none.
 *
 * MUSTER_KNOWN: it is one. MUSTER_NOT_FOUND: there is no such room.
 * MUSTER_DROPPED: on_join said so. -ENOTCONN: there is no such connection;
 * -EINVAL: the data is no JSON; -EMSGSIZE: it is too long.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_room_join(struct muster *muster,
						    const char *room,
						    const char *connection,
						    const char *data);
/* MUSTER_NOT_FOUND: it is no member. MUSTER_DROPPED: on_leave said so. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_room_leave(struct muster *muster,
						     const char *room,
						     const char *connection);

struct muster_member {
	const char *id;     /* a connection's; of a web client what others may
			     * know it by, which is not its own name */
	uint64_t joined_ms; /* since 1970 */
	const char *server; /* that it joined on */
	const char *host;   /* of that */
	const char *data;   /* JSON; "null": none */
	bool is_web;
};

struct muster_member_list {
	const struct muster_member *members; /* in the order they joined */
	size_t count;
};

/* MUSTER_NOT_FOUND: there is no such room. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_room_members(struct muster *muster, const char *room,
		    struct muster_member_list *list);

/*
 * Says something, one JSON value, to all members. `from` is a connection; NULL:
 * this server. 0: it is on its way to all, and with the web clients.
 *
 * MUSTER_NOT_FOUND: there is no such room. MUSTER_LOST: `from` is a connection
 * of this server, and no member. MUSTER_DROPPED: on_say said so. -EINVAL: it is
 * no JSON; -EMSGSIZE: over 1 MiB.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_room_say(struct muster *muster,
						   const char *room,
						   const char *from,
						   const char *message);

/* A connection of the application's own (muster_connection_hold()) hears what
 * is said: fn gets each message, which is one JSON text and is good until it
 * returns; it must not wait. Ends with muster_connection_drop(). From anywhere.
 * -ENOTCONN: this node does not hold it. */
typedef void (*muster_heard_fn)(struct muster *muster, const char *connection,
				const char *json, void *arg);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_connection_receive(struct muster *muster, const char *connection,
			  muster_heard_fn fn, void *arg);

/* ---- Web clients --------------------------------------------------------- */

/*
 * A client that comes over HTTP, to whichever server, under a name that only it
 * knows: its fingerprint. From its first room on it is there until it has not
 * asked for anything for web_ms (see muster/node.h); then it leaves its rooms,
 * and what was left for it goes. At most web_messages are kept: the oldest make
 * room.
 */

/* As muster_room_join(), muster_room_leave(), muster_room_say(). */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_web_join(struct muster *muster,
						   const char *room,
						   const char *client,
						   const char *data);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_web_leave(struct muster *muster, const char *room, const char *client);
MUSTER_PUBLIC MUSTER_MUST_READ int muster_web_say(struct muster *muster,
						  const char *room,
						  const char *client,
						  const char *message);

struct muster_texts {
	const char *const *texts;
	size_t count;
};

/* Takes what was left for the client, up to `most` (0: all): JSON texts, the
 * oldest first, each given once. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_web_messages(struct muster *muster, const char *client, size_t most,
		    struct muster_texts *messages);
/* The names of the client's rooms. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_web_rooms(struct muster *muster,
						    const char *client,
						    struct muster_texts *rooms);
/* Leaves one JSON value for a client, whether it is in any room or not. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_web_message(struct muster *muster, const char *client, const char *json);
/* What others know the client by: "from" and the members' ids. On the fiber. */
MUSTER_PUBLIC const char *muster_web_id(struct muster *muster,
					const char *client);

#ifdef __cplusplus
}
#endif

#endif
