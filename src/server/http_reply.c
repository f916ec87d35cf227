#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"

/* A body of more is not copied before it is sent. */
#define COPIED_BODY_BYTES 8192

struct text {
	const char *bytes;
	size_t length;
};

#define TEXT(literal)                                                          \
	((struct text){ .bytes = (literal), .length = sizeof(literal) - 1 })

#define STATUSES(STATUS)                                                       \
	STATUS(200, "OK")                                                      \
	STATUS(201, "Created")                                                 \
	STATUS(202, "Accepted")                                                \
	STATUS(203, "Non-Authoritative Information")                           \
	STATUS(204, "No Content")                                              \
	STATUS(205, "Reset Content")                                           \
	STATUS(206, "Partial Content")                                         \
	STATUS(300, "Multiple Choices")                                        \
	STATUS(301, "Moved Permanently")                                       \
	STATUS(302, "Found")                                                   \
	STATUS(303, "See Other")                                               \
	STATUS(304, "Not Modified")                                            \
	STATUS(307, "Temporary Redirect")                                      \
	STATUS(308, "Permanent Redirect")                                      \
	STATUS(400, "Bad Request")                                             \
	STATUS(401, "Unauthorized")                                            \
	STATUS(402, "Payment Required")                                        \
	STATUS(403, "Forbidden")                                               \
	STATUS(404, "Not Found")                                               \
	STATUS(405, "Method Not Allowed")                                      \
	STATUS(406, "Not Acceptable")                                          \
	STATUS(407, "Proxy Authentication Required")                           \
	STATUS(408, "Request Timeout")                                         \
	STATUS(409, "Conflict")                                                \
	STATUS(410, "Gone")                                                    \
	STATUS(411, "Length Required")                                         \
	STATUS(412, "Precondition Failed")                                     \
	STATUS(413, "Content Too Large")                                       \
	STATUS(414, "URI Too Long")                                            \
	STATUS(415, "Unsupported Media Type")                                  \
	STATUS(416, "Range Not Satisfiable")                                   \
	STATUS(417, "Expectation Failed")                                      \
	STATUS(421, "Misdirected Request")                                     \
	STATUS(422, "Unprocessable Content")                                   \
	STATUS(423, "Locked")                                                  \
	STATUS(424, "Failed Dependency")                                       \
	STATUS(425, "Too Early")                                               \
	STATUS(426, "Upgrade Required")                                        \
	STATUS(428, "Precondition Required")                                   \
	STATUS(429, "Too Many Requests")                                       \
	STATUS(431, "Request Header Fields Too Large")                         \
	STATUS(451, "Unavailable For Legal Reasons")                           \
	STATUS(500, "Internal Server Error")                                   \
	STATUS(501, "Not Implemented")                                         \
	STATUS(502, "Bad Gateway")                                             \
	STATUS(503, "Service Unavailable")                                     \
	STATUS(504, "Gateway Timeout")                                         \
	STATUS(505, "HTTP Version Not Supported")                              \
	STATUS(507, "Insufficient Storage")                                    \
	STATUS(511, "Network Authentication Required")

#define AS_CASE(code, name)                                                    \
	case code:                                                             \
		return TEXT("HTTP/1.1 " #code " " name "\r\n");

/* `room` serves for those that have no name. */
static struct text status_line(int status, char room[16])
{
	switch (status) {
		STATUSES(AS_CASE)
	default:
		break;
	}
	memcpy(room, "HTTP/1.1 ", 9);
	room[9] = (char)('0' + status / 100);
	room[10] = (char)('0' + status / 10 % 10);
	room[11] = (char)('0' + status % 10);
	memcpy(room + 12, " \r\n", 3);
	return (struct text){ room, 15 };
}

/* ---- Headers of every reply ---- */

static void make_common(struct http_server *server, time_t now)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm utc;

	gmtime_r(&now, &utc);
	server->common_s = now;
	buffer_truncate(&server->common, 0);
	/* Not strftime(), which speaks the user's language. */
	buffer_append_format(&server->common,
			     "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
			     days + 3 * utc.tm_wday, utc.tm_mday,
			     months + 3 * utc.tm_mon, utc.tm_year + 1900,
			     utc.tm_hour, utc.tm_min, utc.tm_sec);
	if (server->server_header != NULL)
		buffer_append_text(&server->common, server->server_header);
}

static struct text common(struct http_server *server)
{
	uint64_t now_ms = loop_now_ms(server->loop);

	if (now_ms != server->common_ms ||
	    buffer_length(&server->common) == 0) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME_COARSE, &now);
		server->common_ms = now_ms;
		if (now.tv_sec != server->common_s ||
		    buffer_length(&server->common) == 0)
			make_common(server, now.tv_sec);
	}
	MUST(buffer_length(&server->common) > 0);
	return (struct text){ (const char *)buffer_bytes(&server->common),
			      buffer_length(&server->common) };
}

/* ---- Putting a reply together ---- */

struct reply {
	int status;
	struct text type;   /* NULL: no header */
	struct text fields; /* complete lines */
	const void *body;
	size_t length;
	bool has_content; /* may it have a body, and a length? */
	bool sends_body;  /* not for HEAD */
	bool says_close;
	bool says_keep_alive;
};

static char *put(char *to, struct text text)
{
	memcpy(to, text.bytes, text.length);
	return to + text.length;
}

static char *put_number(char *to, size_t number)
{
	char digits[20];
	size_t count = 0;

	do {
		digits[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	while (count > 0)
		*to++ = digits[--count];
	return to;
}

/* Room for all that is not counted one by one. */
#define FIXED_BYTES 256

static void put_reply(struct connection *connection, const struct reply *reply)
{
	struct http_server *server = connection->server;
	struct text always = common(server);
	bool is_copied =
		reply->sends_body && reply->length <= COPIED_BODY_BYTES;
	char room[16];
	char *start = (char *)buffer_reserve(
		&server->output,
		FIXED_BYTES + always.length + reply->type.length +
			reply->fields.length + (is_copied ? reply->length : 0));
	char *to = put(start, status_line(reply->status, room));

	to = put(to, always);
	if (reply->type.bytes != NULL) {
		to = put(to, TEXT("Content-Type: "));
		to = put(to, reply->type);
		to = put(to, TEXT("\r\n"));
	}
	if (reply->has_content) {
		to = put(to, TEXT("Content-Length: "));
		to = put_number(to, reply->length);
		to = put(to, TEXT("\r\n"));
	}
	if (reply->says_close)
		to = put(to, TEXT("Connection: close\r\n"));
	else if (reply->says_keep_alive)
		to = put(to, TEXT("Connection: keep-alive\r\n"));
	if (reply->fields.length > 0)
		to = put(to, reply->fields);
	to = put(to, TEXT("\r\n"));
	if (is_copied && reply->length > 0)
		to = put(to, (struct text){ reply->body, reply->length });
	buffer_extend(&server->output, (size_t)(to - start));
	if (reply->sends_body && !is_copied)
		http_connection_flush(connection, reply->body, reply->length);
}

void http_reply_refusal(struct connection *connection, int status,
			const char *reason)
{
	char body[128];
	size_t length = strlen(reason);

	MUST(length < sizeof(body));
	memcpy(body, reason, length);
	body[length++] = '\n';
	put_reply(connection,
		  &(struct reply){
			  .status = status,
			  .type = TEXT("text/plain"),
			  .body = body,
			  .length = length,
			  .has_content = true,
			  .sends_body = !connection->request->is_head,
			  .says_close = true,
		  });
}

void http_reply_continue(struct connection *connection)
{
	buffer_append_text(&connection->server->output,
			   "HTTP/1.1 100 Continue\r\n\r\n");
}

/* ---- The application's side ---- */

/* Set by the server, or about this one connection. */
static const char *const reserved[] = {
	"Connection", "Content-Length",    "Content-Type", "Date",
	"Keep-Alive", "Transfer-Encoding", "Upgrade",      "Trailer",
};

int muster_http_set_header(struct muster_http *http, const char *name,
			   const char *value)
{
	size_t length = strlen(name);

	if (!http1_is_token(name, length) ||
	    !http1_is_value(value, strlen(value)))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
		if (strcasecmp(name, reserved[i]) == 0)
			return -EINVAL;
	buffer_append(&http->fields, name, length);
	buffer_append_text(&http->fields, ": ");
	buffer_append_text(&http->fields, value);
	buffer_append_text(&http->fields, "\r\n");
	return 0;
}

static bool may_have_content(int status)
{
	return status != 204 && status != 304;
}

static struct reply reply_of(const struct muster_http *http, int status,
			     const char *type, const void *body, size_t length)
{
	struct reply reply = {
		.status = status,
		.fields = { (const char *)buffer_bytes(&http->fields),
			    buffer_length(&http->fields) },
		.body = body,
		.length = length,
		.has_content = may_have_content(status),
	};

	if (type != NULL)
		reply.type = (struct text){ type, strlen(type) };
	if (status == 205) /* RFC 9110, 15.3.6: has none, and says so */
		reply.length = 0;
	reply.sends_body = reply.has_content && !http->is_head;
	return reply;
}

/* Puts the reply into the output and lets the connection go on. */
static void reply_to(struct muster_http *http, struct reply *reply)
{
	struct connection *connection = http->connection;
	struct http_server *server = connection->server;
	bool has_more = http_connection_has_more(connection);
	bool keeps = http->head.is_keep_alive;
	bool is_last = !keeps || connection->has_ended ||
		       connection->requests >= server->limits.requests ||
		       (server->is_draining && !has_more);
	size_t mark = server->mark;

	reply->says_close = is_last;
	reply->says_keep_alive = http->head.minor_version == 0;
	if (connection->is_processing) {
		put_reply(connection, reply);
	} else {
		/* Another connection's replies may be gathering. */
		server->mark = buffer_length(&server->output);
		put_reply(connection, reply);
		http_connection_flush(connection, NULL, 0);
		server->mark = mark;
	}
	http_request_give_back(server, http);
	http_connection_replied(connection, is_last, keeps || has_more);
}

void muster_http_reply(struct muster_http *http, int status, const char *type,
		       const void *body, size_t length)
{
	if (http->connection == NULL) {
		http_request_free(http);
		return;
	}
	MUST(http->connection->request == http);

	struct reply reply = reply_of(http, status, type, body, length);

	/* The application's mistakes: nothing of it is sent. */
	if (status < 200 || status > 599 || (body == NULL && length > 0) ||
	    (type != NULL && !http1_is_value(type, reply.type.length)))
		reply = reply_of(http, 500, NULL, NULL, 0);
	reply_to(http, &reply);
}

void muster_http_reply_format(struct muster_http *http, int status,
			      const char *type, const char *format, ...)
{
	char room[1024];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(room, sizeof(room), format, arguments);

	va_end(arguments);
	MUST(length >= 0);
	if ((size_t)length < sizeof(room)) {
		muster_http_reply(http, status, type, room, (size_t)length);
		return;
	}

	char *body = mem_alloc((size_t)length + 1);

	va_start(arguments, format);
	MUST(vsnprintf(body, (size_t)length + 1, format, arguments) == length);
	va_end(arguments);
	muster_http_reply(http, status, type, body, (size_t)length);
	free(body);
}
