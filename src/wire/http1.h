/*
 * http1 - reads the head of an HTTP/1 request, and chunked bodies.
 *
 * Zero-copy: what is found are spans of the caller's bytes, as offsets, so
 * that the bytes may move between two calls. Strict: what two readers could
 * understand differently is refused (RFC 9112, 2.2, 3, 5, 6; RFC 9110, 5).
 * A line ends with CR LF alone: RFC 9112 lets a server take a bare LF too, but
 * proxies disagree about it, and requests are smuggled between the two.
 *
 * Incremental: a byte is looked at once, however the input was cut, and the
 * answer is that for the earliest byte that decides it. No state but what the
 * caller keeps; no I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http1_answer {
	HTTP1_DONE = 0,
	HTTP1_MORE,    /* needs more bytes */
	HTTP1_REFUSED, /* see status and reason */
	HTTP1_DATA,    /* of chunks only: some content, see there */
};

struct http1_span {
	uint32_t start; /* from the first byte given */
	uint32_t length;
};

struct http1_header {
	struct http1_span name;
	struct http1_span value; /* without the whitespace around it */
};

struct http1_limits {
	uint32_t head_bytes; /* request line and headers: 431 */
	uint32_t url_bytes;  /* 414 */
	uint32_t headers;    /* how many: 431 */
};

enum http1_form {
	HTTP1_ORIGIN,    /* /path?query */
	HTTP1_ABSOLUTE,  /* http://host/path?query */
	HTTP1_AUTHORITY, /* host:port, of CONNECT alone */
	HTTP1_ASTERISK,  /* *, of OPTIONS alone */
};

struct http1_head {
	/* After HTTP1_DONE. */
	struct http1_span method;
	struct http1_span target; /* all of it */
	struct http1_span path;   /* may be empty in absolute form: "/" */
	struct http1_span query;  /* after the "?" */
	struct http1_span host;   /* the target's, or else the header's */
	uint64_t content_length;  /* UINT64_MAX: that or more; 0: none */
	uint32_t length;          /* of the head; the body begins there */
	uint32_t header_count;
	uint8_t form;          /* enum http1_form */
	uint8_t minor_version; /* of HTTP/1; 0 or 1 */
	bool is_chunked;
	bool is_keep_alive;
	bool expects_continue;
	bool wants_upgrade; /* Upgrade, and Connection names it */

	/* The reader's own. */
	uint8_t state;
	uint8_t seen; /* headers that matter, enum seen */
	uint32_t at;  /* next byte to look at */
	uint32_t token;
	struct http1_span name;

	/* After HTTP1_REFUSED. */
	int status;
	const char *reason; /* static */
};

/* Before the first call for a head. */
static inline void http1_head_init(struct http1_head *head)
{
	*head = (struct http1_head){ 0 };
}

/*
 * `bytes` begin with the first byte of the head in each call, and have grown
 * since the last. `headers` has room for limits->headers, and is kept by the
 * caller between calls, as is `head`.
 */
__attribute__((warn_unused_result)) enum http1_answer
http1_head_read(struct http1_head *head, struct http1_header *headers,
		const struct http1_limits *limits, const char *bytes,
		size_t length);

/* One name, in any case? */
bool http1_is_name(const char *text, size_t length, const char *name,
		   size_t name_length);
/* What HTTP allows as a header's name (a token), and as its value. */
bool http1_is_token(const char *text, size_t length);
bool http1_is_value(const char *text, size_t length);

/* A chunked body. Zeroed at birth. */
struct http1_chunks {
	uint64_t left;      /* of the chunk; its size, until its data begins */
	uint32_t extension; /* bytes of chunk extensions so far */
	uint32_t trailer;   /* bytes of trailers so far */
	uint8_t state;
	uint8_t digits;
	int status; /* after HTTP1_REFUSED */
	const char *reason;
};

/*
 * Reads on in `bytes` and says in `used` how far it got. HTTP1_DATA: the
 * `data_length` bytes before `bytes + used` are content; call again with the
 * rest. HTTP1_MORE: all are used. HTTP1_DONE: the body is complete; trailers
 * were read and dropped.
 */
__attribute__((warn_unused_result)) enum http1_answer
http1_chunks_read(struct http1_chunks *chunks, const char *bytes, size_t length,
		  size_t *used, size_t *data_length);
