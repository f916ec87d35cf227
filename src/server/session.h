/*
 * session - a client that stays connected, and what it asks: the protocol of
 * WebSocket (session_frames.c) and of TCP (session_lines.c).
 *
 * A session belongs to its connection until session_leave(); requests that
 * still run are abandoned then, and the session is gone with the last of them.
 * What was asked of rooms by then is still done (session_rooms.c).
 * It calls its connection only through its struct session_kind.
 */
#pragma once
#include "api/api.h"
#include "base/list.h"
#include "service/rooms.h"

struct session;

/* How a connection is spoken to. */
struct session_kind {
	enum muster_transport transport;
	/* One message: a JSON text, without anything around it. */
	void (*send)(void *connection, const void *text, size_t length);
	/* Bytes as they are; NULL where there are none but in messages. */
	void (*send_bytes)(void *connection, const void *bytes, size_t length);
	/* Closes it, after a goodbye. `is_asked`: by the client. */
	void (*quit)(void *connection, bool is_asked);
};

struct sessions_settings {
	struct api *api;
	const char *welcome; /* a sentence */
	struct files *files; /* NULL: none */
	uint32_t file_bytes; /* of one; 0: 1 MiB */
	/* Whose pages may connect, besides those of the host itself. NULL:
	 * anybody's, as nobody's: without what their cookie says. */
	const char *const *origins;
};

/* What the sessions of a process share. */
struct sessions {
	struct api *api;
	char *welcome;
	struct files
		*files; /* its owner closes it: see sessions_close_files() */
	uint32_t file_bytes;
	const char *const *origins;
	size_t count;
	struct list spares; /* requests that nobody makes */
	size_t spare_count;
	bool is_over;
	struct buffer scratch; /* for an answer that is written at once */
};

/* A client's address, and what it says of itself. Texts are copied. */
struct session_client {
	const char *fingerprint; /* NULL: none */
	const char *address;
	uint16_t port;
};

struct session {
	struct sessions *sessions;
	const struct session_kind *kind;
	void *connection; /* NULL: it has left */
	struct client client;
	struct list requests;
	struct list reads; /* of files */
	struct rooms_client rooms;
	struct list asks; /* of rooms, that wait for their turn */
	size_t ask_count;
	size_t ask_bytes;     /* of what they carry */
	struct buffer params; /* sticky ones: a JSON object, or empty */
	int64_t connected_at_ms;
	uint64_t messages;
	uint16_t port;
	bool is_leaving; /* when its requests are done, or at once */
	bool is_abandoning;
	bool is_asking;    /* there is a fiber for the asks */
	bool is_behind;    /* and what had to wait for them is looked at */
	bool has_spoken;   /* in a room */
	char *fingerprint; /* NULL: none */
	char *address;
};

struct sessions *sessions_new(const struct sessions_settings *settings);
/* No more files: they are to be closed. */
void sessions_close_files(struct sessions *sessions);
/* Every connection has left. Where actions still run it goes with the last of
 * them, until when the api has to last. NULL is fine. */
void sessions_free(struct sessions *sessions);

/* Sends the welcome. */
struct session *session_open(struct sessions *sessions,
			     const struct session_kind *kind, void *connection,
			     const struct session_client *client);
/* The connection is no more. */
void session_leave(struct session *session);
/* Is something asked that has not been answered? */
bool session_is_busy(const struct session *session);
/* Says goodbye once nothing of it runs. */
void session_drain(struct session *session);

/* session_frames.c: a WebSocket's text. */
void session_take_frame(struct session *session, const void *text,
			size_t length);

/* session_lines.c: a line of TCP, without its end. */
void session_take_line(struct session *session, const char *line,
		       size_t length);
/* A line that is too long to be one; the connection is closed next. */
void session_refuse_line(struct session *session, size_t length_max);
