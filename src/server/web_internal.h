/* What the files of web share: a request on its way. */
#pragma once
#include "server/http_internal.h"
#include "server/limiter.h"
#include "server/web.h"

#define WEB_FINGERPRINT_MAX 128
#define WEB_MESSAGE_BYTES   37 /* a UUID and a NUL */
#define WEB_STATUS_MAX      599

/* Parameters that mean something to us, not to the action. */
enum web_word {
	WEB_ACTION,
	WEB_API_VERSION,
	WEB_CALLBACK,
	WEB_MESSAGE_ID,
	WEB_FILE,
};
#define WEB_WORDS (WEB_FILE + 1)

struct web_request {
	struct api_request api;
	struct client client;
	struct web *web;
	struct muster_http *http;
	struct web_request *next;      /* of those to use again */
	struct list endless;           /* while it streams events */
	int status;                    /* of an answer in pieces */
	struct param words[WEB_WORDS]; /* text NULL: was not sent */
	struct buffer output;
	bool is_new;     /* it brought no session */
	bool is_running; /* api_run() has not returned */
	bool is_answered;
	bool is_counted;  /* among those with actions */
	unsigned allowed; /* methods, of a 405 */
	char message[WEB_MESSAGE_BYTES];
	size_t fingerprint_length;
	char fingerprint[WEB_FINGERPRINT_MAX + 1];
	char id[WEB_FINGERPRINT_MAX + 1 + WEB_MESSAGE_BYTES];
};

struct web {
	struct web_settings settings;
	struct router *router;
	struct limiter *limiter;          /* NULL: none */
	struct buffer server_information; /* up to its durations */
	struct web_request *spare;
	uint32_t spares;
	meter_value *meters; /* the node's */
	uint8_t meter_of[WEB_STATUS_MAX + 1];
	uint8_t random[4096];
	size_t random_left;
	uint64_t now_us; /* by the monotonic clock, when last looked at; 0 */
	uint64_t turn;   /* of the loop, at that time */
	uint64_t wall_read_ms;
	int64_t wall_ahead_us;
	bool is_closed;
	bool is_draining;
	struct list endless; /* requests whose answers have no end */
	bool has_body_rules; /* an action takes not every body */
};

/* web.c */

/* By path, route and query alone, as the body has not come; NULL. */
const struct action *web_find_early(struct web *web, struct muster_http *http);
void web_refuse_now(struct web *web, struct muster_http *http, int status,
		    const char *why);

uint64_t web_now_us(struct web *web); /* by the monotonic clock */
uint64_t web_took_us(const struct web_request *request); /* until now */
int64_t web_wall_ms(struct web *web); /* when web_now_us() was last called */

/* web_params.c: 0, or the status to refuse it with, and why. */

int web_params_read(struct web_request *request, const char **why);

/* web_body.c: likewise. */

/* An enum muster_body; 0: none that is known, and why. */
unsigned web_body_kind(const struct muster_http *http, const char **why);
/* Does the method have one that means something? */
bool web_body_is_read(const struct muster_http *http);
bool web_body_has_rules(const struct actions *actions);
/* A body that has come, for an action that is known by now. */
int web_body_check(const struct web_request *request,
		   const struct action *action, const char **why);
int web_body_read_form(struct web_request *request, const char **why);

/* web_session.c */

/* Who asks: the fingerprint that was brought, or a new one. */
void web_session_begin(struct web_request *request);
/* A new one, whatever was brought. */
void web_session_make(struct web_request *request);
void web_random(struct web *web, void *bytes, size_t length);

/* web_reply.c */

/* Ends the object, adds what is known, replies. The request is gone. */
void web_reply(struct web_request *request, int status,
	       struct json_writer *writer);
void web_reply_error(struct web_request *request, int status, const char *why);
void web_reply_text(struct web_request *request, int status, const char *type,
		    const void *body, size_t length);
void web_write_information(struct web_request *request,
			   struct json_writer *writer, uint64_t took_us);

/* Of every answer of an action: the session, who may read it. */
void web_put_headers(struct web_request *request);

/* web_stream.c */

extern const struct api_stream web_stream;
/* The action has ended, and its answer in pieces with it. */
void web_end_stream(struct web_request *request, bool has_failed);

/* web_metrics.c */

void web_metrics_open(struct web *web);
void web_count(struct web *web, int status, uint64_t took_us);
void web_metrics_write(struct web *web, struct buffer *to);
