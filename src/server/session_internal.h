/* What the files of session share: requests, and the parts of answers. */
#pragma once
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

/* By session_frames.c and session_lines.c. */
void session_finish_frame(struct session_request *request,
			  struct json_writer *writer);
void session_finish_line(struct session_request *request, int status,
			 struct json_writer *writer);
