/* What the files of session share: requests, and the parts of answers. */
#pragma once
#include "base/json_walk.h"
#include "base/json_write.h"
#include "server/session.h"

/* An action that runs for a session. */
struct session_request {
	struct api_request request; /* first */
	struct list link;
	struct session *session;
	struct buffer output;
	const char *message; /* JSON of a frame's messageId; in the arena */
	size_t message_length;
	uint64_t count; /* a line's */
};

struct session_request *session_request_take(struct session *session);
/* With request.action and params. It may be answered, and gone, after. */
void session_run(struct session_request *request);
/* Sets params from an object in the request's arena; takes action and
 * apiVersion out of them. NULL, or what is wrong with it. */
const char *session_read_params(struct session_request *request,
				struct json_value object);
/* The answer is sent; the object was closed. */
void session_request_done(struct session_request *request);

/* An answer that needs no request: the sessions' scratch, emptied. */
struct json_writer session_answer(struct session *session);
void session_send_answer(struct session *session);

void session_write_details(struct session *session, struct json_writer *writer);
void session_write_documentation(struct session *session,
				 struct json_writer *writer);

/* session_file.c: answers {"event":"file"} and "file NAME", soon. */
void session_file_frame(struct session *session, struct json_value whole,
			struct json_value message);
void session_file_line(struct session *session, const char *name,
		       size_t length);
/* The session leaves: nobody waits for what is read for it. */
void session_files_abandon(struct session *session);
/* Says goodbye where that was to wait for something. To be called last. */
void session_settle(struct session *session);

/* ---- session_rooms.c ---- */

enum session_room_verb {
	SESSION_ROOM_ADD,
	SESSION_ROOM_LEAVE,
	SESSION_ROOM_VIEW,
	SESSION_ROOM_SAY,
	SESSION_OTHER, /* a message that is about no room, and waits for one */
};

/* What is asked of a room; all it points to is in its arena. */
struct session_ask {
	struct list link;
	struct session *session;
	enum session_room_verb verb;
	const char *room;
	const char *message;     /* JSON; NULL: there is none, or no room */
	struct json_value whole; /* a frame, and its messageId */
	struct json_value id;
	const char *text; /* of SESSION_OTHER: all of it */
	size_t length;
	uint64_t count; /* a line's */
	struct arena arena;

	/* What came of it: as muster/room.h says, with MUSTER_LOST where the
	 * client is no member. */
	int result;
	const char *problem; /* of a negative one */
	struct muster_member_list members;
};

struct session_ask *session_ask_new(struct session *session,
				    enum session_room_verb verb);
/* A copy; what has a NUL in it is no name, and not the part before that. */
const char *session_room_name(struct arena *arena, const char *name,
			      size_t length);
/* It is answered in its turn, maybe at once; and gone. */
void session_ask_run(struct session_ask *ask);
/* A message that is about no room: is it to wait until what was asked before of
 * rooms is answered? Then it comes again. */
bool session_defer(struct session *session, const void *text, size_t length);
void session_hear(struct rooms_client *client, const char *text, size_t length);
void session_write_rooms(struct session *session, struct json_writer *writer);
void session_write_view(const struct session_ask *ask,
			struct json_writer *writer);

/* By session_frames.c and session_lines.c. */
void session_finish_room_frame(const struct session_ask *ask);
void session_finish_room_line(const struct session_ask *ask);
void session_finish_frame(struct session_request *request,
			  struct json_writer *writer);
void session_finish_line(struct session_request *request, int status,
			 struct json_writer *writer);
