/*
 * api - requests from end to end, whatever they came over.
 *
 * A server reads a request, fills a struct api_request and gives it to
 * api_run(). Its action runs on a fiber of the node; on_answer comes exactly
 * once, within api_run() or later. A server whose client goes before calls
 * api_abandon(): then on_answer comes still, when the action has ended.
 */
#pragma once
#include <muster/action.h>

#include "api/actions.h"
#include "api/params.h"
#include "base/json_write.h"
#include "service/node.h"

struct routine;

/* Who asks: embedded in the server's connection, lasts as long as it. */
struct client {
	enum muster_transport transport;
	const char *id; /* names its server: see client_id_new() */
	const char *fingerprint;
	const char *address;
	uint32_t pending; /* requests of this connection */
	uint64_t total;
};

struct api_request;
struct muster_event;

/* An answer in pieces, where the server can send one. What fails with -EPIPE
 * has no client any more. */
struct api_stream {
	int (*begin)(struct api_request *request, int status, const char *type,
		     uint64_t length);
	/* -ESHUTDOWN: nothing without an end is begun any more. */
	int (*begin_events)(struct api_request *request);
	/* -EAGAIN: nothing was taken; api_has_room() will be called. */
	int (*write)(struct api_request *request, const void *bytes,
		     size_t length);
	int (*event)(struct api_request *request,
		     const struct muster_event *event);
	/* Of the request; NULL: it has none. */
	const char *(*header)(struct api_request *request, const char *name);
	/* Of the answer. */
	int (*set_header)(struct api_request *request, const char *name,
			  const char *value);
};

struct api_request {
	struct client *client;
	/* In `arena`, with what they point to. In an answer: as the action saw
	 * them. */
	struct params params;
	struct arena arena;
	const char *action;
	size_t action_length;
	uint32_t version; /* 0: the highest */
	const char *message;
	/*
	 * The answer's members; the object they are in is the server's to
	 * close. `status` is HTTP's. The last that is heard of the request.
	 */
	void (*on_answer)(struct api_request *request, int status,
			  struct json_writer *writer);
	struct buffer *output;           /* where the answer is written to */
	struct routine *routine;         /* while it runs */
	const struct action *chosen;     /* NULL: there is none */
	const struct api_stream *stream; /* NULL: it cannot */
	bool is_streamed;       /* `output` is of no use, `status` below 400
				 * where it has not failed */
	struct fiber_wait room; /* its answer waits for that */
	uint64_t began_us;      /* of the monotonic clock; 0: now */
};

struct api_settings {
	const struct muster_action *actions;
	const struct muster_middleware *middleware;
	uint32_t timeout_ms;  /* of actions that have none; 0: 30,000 */
	uint32_t pending_max; /* of one connection; 0: 5. HTTP's pipelining
			       * does not count */
};

struct api {
	struct muster *muster;
	struct actions *actions;
	struct api_settings settings;
	uint32_t running;
	bool is_draining;
};

/* NULL with *problem filled. */
struct api *api_new(struct muster *muster, const struct api_settings *settings,
		    struct problem *problem);
void api_free(struct api *api); /* nothing runs; NULL is fine */

void api_run(struct api *api, struct api_request *request);
/* Of an answer in pieces. */
void api_has_room(struct api_request *request);
void api_abandon(struct api_request *request);
