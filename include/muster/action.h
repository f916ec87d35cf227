/*
 * muster/action.h - what an API server does: named actions with inputs, run for
 * a client over HTTP, WebSocket or TCP, or for another action.
 *
 *     static void greet(struct muster_call *call)
 *     {
 *             muster_set_text(call, "greeting", muster_text(
 *                     muster_call_server(call), "hello, %s",
 *                     muster_param_text(call, "name")));
 *     }
 *
 *     static const struct muster_input name = { .name = "name",
 *                                               .required = true };
 *     static const struct muster_action actions[] = {
 *             { .name = "greet", .inputs = { &name }, .run = greet },
 *             { 0 },
 *     };
 *
 * An action runs on a fiber: see muster/node.h for what that means. It fills
 * its answer field by field; whatever it has not done when it returns is not
 * in it. A client that goes, and the action's time, end the wait that it is in.
 */
#ifndef MUSTER_ACTION_H
#define MUSTER_ACTION_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster;

#define MUSTER_INPUTS_MAX     32
#define MUSTER_MIDDLEWARE_MAX 8

/* One run of an action; gone when it has returned. */
struct muster_call;

/* What a parameter has to be; what comes as text is read as that. */
enum muster_type {
	MUSTER_TEXT = 0,
	MUSTER_INTEGER,
	MUSTER_NUMBER,
	MUSTER_BOOLEAN, /* true false 1 0 */
	MUSTER_OBJECT,
	MUSTER_ARRAY,
	MUSTER_ANY,
	MUSTER_FILE, /* of a multipart form: see muster_param_file() */
};

/* Who may not run an action: bits of muster_action.blocked. */
enum muster_transport {
	MUSTER_WEB = 1,
	MUSTER_WEBSOCKET = 2,
	MUSTER_TCP = 4,
	MUSTER_INTERNAL = 8, /* another action, a test */
};

/* What the body of an HTTP request may be: bits of muster_action.bodies. */
enum muster_body {
	MUSTER_BODY_JSON = 1,
	MUSTER_BODY_URLENCODED = 2,
	MUSTER_BODY_MULTIPART = 4, /* with files, where there are inputs */
};

/*
 * Looks at one parameter, which is there and of its type. 0: it is good; else
 * it is refused with what muster_refuse() was given. May wait.
 */
typedef int (*muster_validate_fn)(struct muster_call *call, const char *name);
/* Puts another text in the place of what was sent (muster_param_set()). */
typedef void (*muster_format_fn)(struct muster_call *call, const char *name);

struct muster_input {
	const char *name;
	const char *description;
	enum muster_type type;
	bool required;
	bool secret;          /* shown as [FILTERED] in answers and logs */
	const char *fallback; /* JSON, in place of what was not sent */
	muster_format_fn format;
	muster_validate_fn validate;
	const char *pattern; /* a text matches it: POSIX extended */
	/* Bytes of a text or of a file (which is refused with 413), elements of
	 * an array; 0: any. */
	uint32_t length_max;
	/* An object's members, ends with NULL. */
	const struct muster_input *const *schema;
};

struct muster_action {
	const char *name;
	uint32_t version; /* 0: 1 */
	const char *description;
	const struct muster_input *inputs[MUSTER_INPUTS_MAX];
	const char *output_example; /* JSON */
	/* Names, beside those that are for all. */
	const char *middleware[MUSTER_MIDDLEWARE_MAX];
	unsigned blocked;    /* enum muster_transport */
	uint32_t timeout_ms; /* 0: the server's; 30,000 */
	bool strict;         /* refuses parameters that are no inputs */
	/* Bytes of an HTTP body, files included: 413, before it is read where
	 * its length is known; 0: as the server's limits say. Good for an
	 * action that is named by path or query, not by the body itself. */
	uint64_t body_max;
	unsigned bodies; /* enum muster_body: 415; 0: any */
	void (*run)(struct muster_call *call);
	void *arg; /* see muster_call_arg() */
};

/*
 * Around actions, in the order of their priority (0: 100), the same backwards
 * after. `before` may refuse with muster_fail(): the action does not run, those
 * after it neither.
 */
struct muster_middleware {
	const char *name;
	bool global; /* for every action */
	int priority;
	void (*before)(struct muster_call *call);
	void (*after)(struct muster_call *call);
	void *arg;
};

/*
 * Another path to an action over HTTP than /api/ACTION. The first one of a list
 * that fits counts, and what its path captures are parameters:
 *
 *     { "GET", "/users/:id([0-9]+)", "userShow" },
 *     { "PUT", "/users/:id", "userEdit" },
 *     { NULL, "/files/" "*path", "fileShow" },
 *
 * ("*" is whatever follows, also nothing.)
 */
struct muster_route {
	const char *method; /* "GET" (HEAD as well), "POST", "PUT", "PATCH",
			     * "DELETE", "HEAD"; NULL: any of them */
	const char *path;
	const char *action;
	uint32_t version; /* 0: the one that is asked for, or the highest */
};

/* ---- Who asks ------------------------------------------------------------ */

MUSTER_PUBLIC struct muster *muster_call_server(const struct muster_call *call);
MUSTER_PUBLIC const struct muster_action *
muster_call_action(const struct muster_call *call);
/* That of the action; while a middleware runs, that of the middleware. */
MUSTER_PUBLIC void *muster_call_arg(const struct muster_call *call);
MUSTER_PUBLIC enum muster_transport
muster_call_transport(const struct muster_call *call);
/* The connection's: good as long as the call. */
MUSTER_PUBLIC const char *
muster_call_connection(const struct muster_call *call);
MUSTER_PUBLIC const char *
muster_call_fingerprint(const struct muster_call *call);
MUSTER_PUBLIC const char *muster_call_address(const struct muster_call *call);
MUSTER_PUBLIC const char *muster_call_message(const struct muster_call *call);

/* ---- Parameters ---------------------------------------------------------- */

/* As sent, or the input's fallback; "" (0, false) where there is neither. All
 * good as long as the call. */
MUSTER_PUBLIC bool muster_param_is_given(const struct muster_call *call,
					 const char *name);
MUSTER_PUBLIC const char *muster_param_text(struct muster_call *call,
					    const char *name);
MUSTER_PUBLIC int64_t muster_param_int(struct muster_call *call,
				       const char *name);
MUSTER_PUBLIC double muster_param_number(struct muster_call *call,
					 const char *name);
MUSTER_PUBLIC bool muster_param_bool(struct muster_call *call,
				     const char *name);
/* As JSON, whatever it was sent as; "null" where there is none. */
MUSTER_PUBLIC const char *muster_param_json(struct muster_call *call,
					    const char *name);
/*
 * An input of type MUSTER_FILE: what came with a multipart form, in a temporary
 * file without a name, which is gone with the call whatever becomes of it. Of
 * several files of one name the last one counts. As JSON, also in the answer's
 * receivedParams, it is {"size", "mimetype", "originalFilename"}.
 */
struct muster_file {
	const char *filename; /* as sent: no path to be trusted; "" */
	const char *type;     /* as sent; "" */
	uint64_t size;        /* bytes */
	int descriptor;       /* at the file's start; not to be closed */
};
/* False: it was not sent. Good as long as the call. */
MUSTER_PUBLIC bool muster_param_file(const struct muster_call *call,
				     const char *name,
				     struct muster_file *file);
/* Keeps it as a file of that path, which must not exist (-EEXIST); mode 0600.
 * Waits, as it is copied where the temporary file is on another file system.
 * -ENOENT: it was not sent, or a folder of the path is missing. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_param_file_save(struct muster_call *call, const char *name,
		       const char *path);
/* For format and middleware. */
MUSTER_PUBLIC void muster_param_set(struct muster_call *call, const char *name,
				    const char *text);

/* ---- The answer ---------------------------------------------------------- */

/* Fields in the order they are set; one that is set again is there twice. */
MUSTER_PUBLIC void muster_set_text(struct muster_call *call, const char *name,
				   const char *text);
MUSTER_PUBLIC void muster_set_int(struct muster_call *call, const char *name,
				  int64_t value);
MUSTER_PUBLIC void muster_set_number(struct muster_call *call, const char *name,
				     double value);
MUSTER_PUBLIC void muster_set_bool(struct muster_call *call, const char *name,
				   bool value);
/* A JSON text; null where it is none. */
MUSTER_PUBLIC void muster_set_json(struct muster_call *call, const char *name,
				   const char *json);

/* The action has failed: `error` in the answer, and the status (HTTP's; 400 to
 * 599). The first one counts. */
MUSTER_PUBLIC MUSTER_FORMAT(3, 4) void muster_fail(struct muster_call *call,
						   int status,
						   const char *format, ...);
/* The same for the parameter that a muster_validate_fn looks at; answers
 * -EINVAL for it to return. */
MUSTER_PUBLIC MUSTER_FORMAT(2, 3) int muster_refuse(struct muster_call *call,
						    const char *format, ...);
MUSTER_PUBLIC bool muster_has_failed(const struct muster_call *call);
/* Of an answer that is no failure: 200 to 399. */
MUSTER_PUBLIC void muster_set_status(struct muster_call *call, int status);

/*
 * ---- Answers in pieces ----
 *
 * Over HTTP an action can send what it likes instead of an object of fields,
 * piece by piece: begin, write, return. Each call waits while 256 KiB wait for
 * the client. Once that has begun, fields are dropped, the action's time has no
 * end but that of muster_set_deadline(), and an action that fails cuts the
 * connection, so that half of an answer is not taken for all of it.
 *
 * All of them: 0; -ECANCELED: the client has gone, takes nothing for
 * limits.idle_ms, or has asked for the head alone; -ENOTSUP: not over HTTP, or
 * for another action; -EINVAL: it was begun already, was not yet, or has
 * failed.
 */

/* `length` of what will be written, or MUSTER_CALL_UNKNOWN. -EINVAL also: a
 * status that is none or has no body, a type that is no header's value. */
#define MUSTER_CALL_UNKNOWN UINT64_MAX
MUSTER_PUBLIC MUSTER_MUST_READ int muster_call_begin(struct muster_call *call,
						     int status,
						     const char *type,
						     uint64_t length);
/* Copies. -EMSGSIZE: that is more than the length. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_call_write(struct muster_call *call, const void *bytes, size_t length);

/*
 * Server-Sent Events (HTML standard, 9.2), for clients that stay. As they have
 * no end, the calls, and any wait, end with -ECANCELED when the server is told
 * to go: the client's EventSource then comes back, to another worker. Where the
 * server is going already, beginning is refused with 503.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_call_begin_events(struct muster_call *call);

/* Parts that are NULL or 0 are left out. */
struct muster_event {
	const char *name;  /* one line */
	const char *data;  /* any lines */
	const char *id;    /* one line; comes back as Last-Event-ID */
	uint32_t retry_ms; /* before the client comes back */
};
/* NULL: a line that clients pass over, so that nobody on the way thinks the
 * connection idle. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_call_event(struct muster_call *call, const struct muster_event *event);

/* A header of an HTTP request, the first of that name, in any case; NULL. Good
 * as long as the call. */
MUSTER_PUBLIC const char *muster_call_header(const struct muster_call *call,
					     const char *name);
/* Adds one to the answer. -EINVAL: one that HTTP does not allow, or that the
 * server sets itself; -ENOTSUP: not over HTTP. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_set_header(struct muster_call *call,
						     const char *name,
						     const char *value);

/*
 * Runs another action for the same client, with these parameters (a JSON
 * object; NULL: none), and waits for it. 0: `*answer` is its answer, a JSON
 * object that is good as long as this call. MUSTER_NOT_FOUND: no such action;
 * -EINVAL: it failed, and *answer has its `error`.
 */
MUSTER_PUBLIC int muster_run_action(struct muster_call *call, const char *name,
				    uint32_t version, const char *params,
				    const char **answer);

/* All actions of this server as a JSON object, for people and tools: {"NAME":
 * {"VERSION": {name, version, description, inputs, outputExample}}}. Good as
 * long as the call. */
MUSTER_PUBLIC const char *muster_actions_json(struct muster_call *call);

#ifdef __cplusplus
}
#endif

#endif
