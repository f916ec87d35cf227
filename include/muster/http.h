/*
 * muster/http.h - a worker's server of HTTP/1.1 and HTTP/2.
 *
 *     static void hello(struct muster_http *http, void *arg)
 *     {
 *             muster_http_reply(http, 200, "text/plain", "hello\n", 6);
 *     }
 *     ...
 *     muster_http_listen(cluster, "0.0.0.0:8000", hello, NULL);
 *
 * RFC 9110 and RFC 9112: keep-alive, pipelining, chunked request bodies,
 * Expect: 100-continue, HEAD, HTTP/1.0. What is malformed or over a limit is
 * answered (400, 408, 413, 414, 431, 501, 505) and the connection closed; the
 * handler never sees it. A body is complete when the handler is called, unless
 * it is asked for as it comes; so is a reply that is not begun.
 *
 * When the worker is told to go, replies carry "Connection: close", and idle
 * connections get drain_idle_ms for one more request.
 *
 * HTTP/2 (RFC 9113) is spoken to whoever begins with its preface: "prior
 * knowledge", or what was agreed on over TLS. To a handler such a request is
 * like any other; up to 100 of a connection are handled at once, and replies
 * leave as they are ready. What is said here of a connection that is closed or
 * cut is then said of the request's stream; those limits that are not for a
 * request are for the connection. Going, the server says GOAWAY, and finishes
 * what it has taken.
 */
#ifndef MUSTER_HTTP_H
#define MUSTER_HTTP_H

#include <muster/cluster.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A request and its reply. */
struct muster_http;

/*
 * Answers with muster_http_reply(), now or later: a handler may return before
 * it has, and keep `http` until then. The client may leave in the meantime; a
 * reply to it is then dropped. Each request must be replied to exactly once,
 * and `http` is gone when muster_http_reply() returns.
 */
typedef void (*muster_http_fn)(struct muster_http *http, void *arg);

/* 0 is the default named beside each. */
struct muster_http_limits {
	uint32_t head_bytes; /* request line and headers; 16 KiB: 431 */
	uint32_t url_bytes;  /* 8 KiB: 414 */
	uint32_t headers;    /* how many; 100: 431 */
	uint32_t body_bytes; /* 1 MiB: 413 */
	uint32_t head_ms;    /* to the full header; 10,000: 408 */
	uint32_t body_ms;    /* without a byte of the body; 10,000: 408 */
	uint32_t body_rate;  /* bytes a second that a body comes at on average,
			      * body_ms after it began; 500: 408 */
	uint32_t idle_ms;    /* between requests; 60,000 */
	uint32_t requests;   /* per connection; 0: no limit */
};

enum muster_http_log_format {
	MUSTER_HTTP_LOG_COMBINED, /* as Apache and nginx write it */
	MUSTER_HTTP_LOG_JSON,     /* an object a line */
};

/* PEM files: a certificate, with what links it to its root behind it, and its
 * key, without a passphrase. */
struct muster_certificate {
	const char *certificate;
	const char *key; /* NULL: it is in the same file */
};

struct muster_http_options {
	muster_http_fn handler;
	/* Called for a request with a body, before that is read: see "Bodies
	 * that are not waited for". May be NULL. */
	muster_http_fn on_head;
	void *arg;
	struct muster_http_limits limits;
	struct muster_listen_options listen; /* on_connection is not used */
	const char *server;                  /* the Server header; NULL: none */
	/* Replies that are made in one piece and are longer than this are sent
	 * as gzip to clients that take it, where the type is one that pays and
	 * no ETag, Content-Encoding or Content-Range was set. 0: none are. What
	 * mixes secrets with a stranger's text should not be (BREACH). */
	uint32_t gzip_bytes;
	/* "10.0.0.0/8, ::1, unix": whose X-Forwarded-For is believed. NULL:
	 * nobody's. -EINVAL where it is no such list. */
	const char *trusted_proxies;
	bool trusts_forwarded; /* "Forwarded" (RFC 7239) instead of that */
	/* A line a request is appended to that file, which is opened anew when
	 * it was moved away. NULL: none is. Nobody waits for the disk: lines
	 * without room are dropped, and counted in the log. */
	const char *access_log;
	enum muster_http_log_format access_log_format;
	/* Of https://, which needs one, and of muster_http_serve(), which then
	 * speaks TLS. The files are read when a worker listens, so a reload
	 * brings new ones. `others` are for clients that ask for a name which
	 * is in one of them, and not in this; they end with one without a
	 * certificate. May be NULL. */
	struct muster_certificate certificate;
	const struct muster_certificate *others;
};

/*
 * http://HOST:PORT, HOST:PORT, unix:PATH and the rest of muster_listen(), with
 * its failures.
 *
 * https://HOST:PORT is the same over TLS 1.2 or 1.3, with a certificate of the
 * options. Sessions are resumed by any worker of the cluster. Hands are to be
 * shaken, and the first request to be complete, within head_ms of each other;
 * who speaks HTTP there without TLS is told so with 400. -EINVAL, too: a file
 * cannot be used (TLS_CERTIFICATE, TLS_KEY), or there is a certificate, and the
 * URL does not say whether it is http:// or https://.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_listen(struct muster_cluster *cluster, const char *url,
		   muster_http_fn handler, void *arg);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_listen_with(struct muster_cluster *cluster, const char *url,
			const struct muster_http_options *options,
			struct muster_listener **listener);

/*
 * Serves a connection that came another way, by a message for example, as if
 * it had been accepted at a listener: takes `descriptor` over.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_serve(struct muster_cluster *cluster, int descriptor,
		  const struct muster_http_options *options);

/* All good until muster_http_reply(). Text ends with NUL. */
MUSTER_PUBLIC const char *muster_http_method(const struct muster_http *http);
/* As sent, without the query; "/" at least. */
MUSTER_PUBLIC const char *muster_http_path(const struct muster_http *http);
/* As sent, after the "?"; "" where there is none. */
MUSTER_PUBLIC const char *muster_http_query(const struct muster_http *http);
/* One parameter of the query, the first of that name, percent-decoded; NULL
 * where there is none. A "%" that begins no escape, and "%00", stay as sent. */
MUSTER_PUBLIC const char *muster_http_parameter(struct muster_http *http,
						const char *name);
/* The parameter at that place, from 0; false: there are no more. */
MUSTER_PUBLIC bool muster_http_parameter_at(struct muster_http *http,
					    size_t index, const char **name,
					    const char **value);
/* A header's value, the first of that name, in any case; NULL. */
MUSTER_PUBLIC const char *muster_http_header(const struct muster_http *http,
					     const char *name);
/* Followed by a NUL that does not count. */
MUSTER_PUBLIC const void *muster_http_body(const struct muster_http *http,
					   size_t *length);
/* A cookie's value, without quotes, the first of that name; NULL. */
MUSTER_PUBLIC const char *muster_http_cookie(struct muster_http *http,
					     const char *name);
/* Numeric: the peer's, or what trusted proxies say. "" for a unix socket, or
 * where the client had left before this was first asked. */
MUSTER_PUBLIC const char *muster_http_client(const struct muster_http *http);

/* Did it come over TLS, from the peer? What a proxy says does not count. */
MUSTER_PUBLIC bool muster_http_is_secure(const struct muster_http *http);

/*
 * ---- Bodies that are not waited for ----
 *
 * on_head() sees a request when its head has come and nothing of its body has
 * been read. There it may be answered with muster_http_reply(), which ends it;
 * or one of the next three may be called. A client that waits for "100
 * Continue" is told to go on only after that.
 */

/* Of this request alone: a longer body is refused with 413, at once where its
 * length is known. In on_head() only. */
MUSTER_PUBLIC void muster_http_limit_body(struct muster_http *http,
					  uint64_t bytes);

/* The handler is called at once, without the body, and is to call
 * muster_http_read_body(). In on_head() only. */
MUSTER_PUBLIC void muster_http_stream_body(struct muster_http *http);

/* Some of the body: `bytes` are good until it returns. NULL: it is complete
 * (error 0), or never will be: the client has left (-ECONNRESET), is too slow
 * (-ETIMEDOUT), sends too much (-EMSGSIZE) or nonsense (-EPROTO). The request
 * is still to be replied to, though in those cases nobody hears it. */
typedef void (*muster_http_body_fn)(struct muster_http *http, const void *bytes,
				    size_t length, int error, void *arg);

/* Begins to read a streamed body; on_body() is called from the loop, not before
 * this returns. -EINVAL: it is not streamed, or read already; -EPIPE: the
 * client has left. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_read_body(struct muster_http *http, muster_http_body_fn on_body,
		      void *arg);
/* While paused no more is read than fits into 64 KiB and the system's own
 * buffers, so that the client waits. */
MUSTER_PUBLIC void muster_http_pause_body(struct muster_http *http);
MUSTER_PUBLIC void muster_http_resume_body(struct muster_http *http);

/*
 * ---- Forms ----
 *
 * application/x-www-form-urlencoded and multipart/form-data (RFC 7578). Their
 * fields are apart from the parameters of the query.
 */

/* 0 is the default named beside each. */
struct muster_http_form_options {
	const char *directory; /* of temporary files; TMPDIR, or /tmp */
	uint64_t file_bytes;   /* a file; as much as the body may have: 413 */
	uint64_t memory_bytes; /* names and fields together; 1 MiB: 413 */
	uint32_t parts;        /* how many; 1000: 413 */
};

/* Of a multipart form: its files are written to temporary files as they come,
 * and the handler is called when all is there. They have no name, so that
 * nothing is left of them whatever happens. In on_head() only. -EINVAL: it is
 * no multipart form. What is malformed is refused with 400, and what cannot be
 * stored with 507. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_stream_form(struct muster_http *http,
			const struct muster_http_form_options *options);

/* Reads the form of a request, as those below do where it has not been. 0.
 * -EINVAL: there is none, by its Content-Type, or its body was streamed;
 * -EPROTO: it is malformed; -EMSGSIZE: it has more than 1000 parts. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_read_form(struct muster_http *http);
/* The first field of that name that is no file; NULL. */
MUSTER_PUBLIC const char *muster_http_field(struct muster_http *http,
					    const char *name);

/* A field, or a file. Good until the reply. */
struct muster_http_part {
	const char *name;
	const char
		*filename; /* as sent: no path to be trusted; NULL: a field */
	const char *type;  /* NULL: none was sent */
	const void *bytes; /* followed by a NUL; NULL: in `descriptor` */
	int descriptor;    /* at its start, not to be closed; or -1 */
	uint64_t length;
};
/* The one at that place, from 0; false: there are no more. */
MUSTER_PUBLIC bool muster_http_part(struct muster_http *http, size_t index,
				    struct muster_http_part *part);
/* Keeps it as a file of that name, which must not exist (-EEXIST); mode 0600.
 * On the temporary file's file system that costs nothing. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_save_part(struct muster_http *http, size_t index, const char *path);

/* Adds a header to the reply. -EINVAL: a name or value that HTTP does not
 * allow, or one of those that the server sets itself. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_set_header(struct muster_http *http, const char *name,
		       const char *value);

enum muster_http_same_site {
	MUSTER_HTTP_SAME_SITE_UNSAID,
	MUSTER_HTTP_SAME_SITE_LAX,
	MUSTER_HTTP_SAME_SITE_STRICT,
	MUSTER_HTTP_SAME_SITE_NONE,
};

struct muster_http_cookie {
	const char *name;
	const char *value;
	const char *path;   /* NULL: left out */
	const char *domain; /* NULL: left out */
	int64_t max_age_s;  /* 0: until the browser closes; less: ends it now */
	bool secure;
	bool http_only;
	enum muster_http_same_site same_site;
};

/* -EINVAL: a browser would drop it without a word, for a byte that may not be
 * in it, its length, or an attribute that it needs (RFC 6265bis). */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_set_cookie(struct muster_http *http,
		       const struct muster_http_cookie *cookie);

/* Whom pages of other origins may read replies by, and ask with what. */
struct muster_http_cors {
	const char *const *origins; /* "https://a.example", ..., NULL. NULL:
				     * anybody, without credentials */
	const char *methods;        /* NULL: all that are usual */
	const char *headers;        /* "X-A, X-B"; NULL: whichever is asked */
	const char *exposed;        /* headers of replies; NULL: none */
	uint32_t max_age_s;         /* of what a preflight said; 0: unsaid */
	bool credentials;           /* cookies; for listed origins alone */
};

/* Sets the headers for the Origin of the request. 0: go on; or
 * MUSTER_HTTP_ANSWERED, and `http` is gone: it was OPTIONS. `cors` may be
 * NULL: anybody. */
#define MUSTER_HTTP_ANSWERED 1
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_cors(struct muster_http *http, const struct muster_http_cors *cors);

/* May that stand in a script as the name of a function to call (JSONP)? */
MUSTER_PUBLIC bool muster_http_is_callback(const char *name);

/* Replies and is done with the request. Status 200 to 599; the body is copied.
 * `type` may be NULL where there is no body. Another status, or a type that is
 * no header's value, is replied to with 500. */
MUSTER_PUBLIC void muster_http_reply(struct muster_http *http, int status,
				     const char *type, const void *body,
				     size_t length);
MUSTER_PUBLIC __attribute__((format(printf, 4, 5))) void
muster_http_reply_format(struct muster_http *http, int status, const char *type,
			 const char *format, ...);

/*
 * ---- Replies in pieces ----
 *
 * muster_http_begin(), muster_http_write() as often as need be, and
 * muster_http_end() instead of muster_http_reply(). What is written in one turn
 * of the loop leaves together at its end.
 */

/* `length` of the body, or MUSTER_HTTP_UNKNOWN: it is then chunked, or, for
 * HTTP/1.0, ends with the connection. -EINVAL: begun already, a status that is
 * none or has no body, or a type that is no header's value. -EPIPE: the client
 * has left. `http` is as it was in either case, and owes its reply. */
#define MUSTER_HTTP_UNKNOWN UINT64_MAX
MUSTER_PUBLIC MUSTER_MUST_READ int muster_http_begin(struct muster_http *http,
						     int status,
						     const char *type,
						     uint64_t length);
/* Copies. -EAGAIN: nothing was taken, as 256 KiB (HTTP/2: 64) wait for the
 * client: on_drain will be called. -EPIPE: the client has left. -EMSGSIZE: that
 * is more than the length. -EINVAL: not begun. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_write(struct muster_http *http, const void *bytes, size_t length);
/* The same without a copy: release(arg) is called once the bytes are needed no
 * more, perhaps before this returns; never where it fails. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_write_owned(struct muster_http *http, const void *bytes,
			size_t length, void (*release)(void *arg), void *arg);
/* `http` is gone. A reply that is shorter than its length, or was not begun,
 * ends with the connection cut. */
MUSTER_PUBLIC void muster_http_end(struct muster_http *http);
/* What has been written and not been taken by the system. */
MUSTER_PUBLIC uint64_t muster_http_unsent(const struct muster_http *http);
/* Called when all has left, each time that something had to wait. */
MUSTER_PUBLIC void muster_http_on_drain(struct muster_http *http,
					muster_http_fn on_drain, void *arg);

/*
 * Called at once when the client leaves before its reply is complete, at most
 * once: -ECONNRESET or another -errno, and all that is written from then on is
 * dropped; or 0 where it has sent its end, as most do who leave, but a reply is
 * still sent. Not while a body is being read, whose on_body() tells. The
 * request is to be replied to or ended as ever, here or later. While a body is
 * paused, or 64 KiB wait behind the request, it shows no earlier than at the
 * next write. -EPIPE: the client has left, and on_gone() is not called.
 */
typedef void (*muster_http_gone_fn)(struct muster_http *http, int error,
				    void *arg);
MUSTER_PUBLIC int muster_http_on_gone(struct muster_http *http,
				      muster_http_gone_fn on_gone, void *arg);

/*
 * Server-Sent Events (HTML standard, 9.2): begin, any number of events, end.
 * Parts of an event that are NULL or 0 are left out. -EINVAL also for an id or
 * name that holds a line's end; data may hold them.
 */
struct muster_http_event {
	const char *name; /* "event:" */
	const char *data;
	const char *id;
	uint32_t retry_ms;
};
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_begin_events(struct muster_http *http);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_send_event(struct muster_http *http,
		       const struct muster_http_event *event);
/* A line that clients pass over, so that nobody on the way thinks the
 * connection idle. `text` may be NULL. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_send_comment(struct muster_http *http, const char *text);

/*
 * ---- Files ----
 */

struct muster_http_files;

/* 0, false or NULL: the default beside each. Not copied: `root`. */
struct muster_http_files_options {
	const char *root;          /* the folder; must be set */
	const char *index;         /* of a folder; "index.html"; "": none */
	const char *cache_control; /* "public, max-age=60, must-revalidate";
				    * "": no such header */
	bool weak_etags;           /* else strong, unless just written */
	bool dot_files;            /* are names like ".git" served? */
	bool no_gzip;              /* nor is "x.js.gz" sent for "x.js" */
	uint32_t fresh_ms;         /* trusted before it is looked at; 1000 */
	uint32_t open_files;       /* kept at most; 1024 */
	uint64_t memory_bytes;     /* of contents, kept at most; 16 MiB */
};

/* -errno, and muster_problem(): the folder cannot be opened. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_files_open(struct muster_cluster *cluster,
		       const struct muster_http_files_options *options,
		       struct muster_http_files **files);
/* Before the cluster is closed. Replies on their way still go out. */
MUSTER_PUBLIC void muster_http_files_close(struct muster_http_files *files);

/*
 * Replies with a file below the folder: 200, 206, 304, 301 to a folder's path
 * with its slash, 405, 412 or 416, as the request asks. `path` begins with "/"
 * and may be escaped, as in a URL; NULL: the request's. Headers that were set
 * are sent as well.
 *
 * 0, and `http` is gone; or MUSTER_HTTP_NO_FILE, and it is still to be replied
 * to: there is none, or it may not be seen. Symbolic links are followed within
 * the folder alone, and never on kernels before 5.6.
 */
#define MUSTER_HTTP_NO_FILE 1
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_http_reply_file(struct muster_http *http,
		       struct muster_http_files *files, const char *path);

#ifdef __cplusplus
}
#endif

#endif
