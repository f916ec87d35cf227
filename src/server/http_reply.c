#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digits.h"
#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"
#include "wire/http_date.h"

/* A body of more is not copied before it is sent. */
#define COPIED_BODY_BYTES 8192

#define TEXT(literal)                                                          \
	((struct http_text){ .bytes = (literal),                               \
			     .length = sizeof(literal) - 1 })

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
static struct http_text status_line(int status, char room[16])
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
	return (struct http_text){ room, 15 };
}

/* ---- Headers of every reply ---- */

static void make_common(struct http_server *server, time_t now)
{
	char date[HTTP_DATE_BYTES];

	server->common_s = now;
	http_date_write(date, now);
	buffer_truncate(&server->common, 0);
	buffer_append_text(&server->common, "Date: ");
	buffer_append(&server->common, date, sizeof(date));
	buffer_append_text(&server->common, "\r\n");
	if (server->server_header != NULL)
		buffer_append_text(&server->common, server->server_header);
}

struct http_text http_reply_common(struct http_server *server)
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
	return (struct http_text){ (const char *)buffer_bytes(&server->common),
				   buffer_length(&server->common) };
}

/* ---- Putting a reply together ---- */

static char *put(char *to, struct http_text text)
{
	if (text.bytes != NULL)
		memcpy(to, text.bytes, text.length);
	return to + text.length;
}

/* Room for all that is not counted one by one. */
#define FIXED_BYTES 256

static size_t room_for(const struct http_reply *reply, struct http_text always)
{
	return FIXED_BYTES + always.length + reply->type.length +
	       reply->fields.length;
}

static inline char *put_head(char *to, const struct http_reply *reply,
			     struct http_text always)
{
	char room[16];

	to = put(to, status_line(reply->status, room));
	to = put(to, always);
	if (reply->type.bytes != NULL) {
		to = put(to, TEXT("Content-Type: "));
		to = put(to, reply->type);
		to = put(to, TEXT("\r\n"));
	}
	if (reply->has_length) {
		to = put(to, TEXT("Content-Length: "));
		to += digits_put(to, reply->length);
		to = put(to, TEXT("\r\n"));
	} else if (reply->says_chunked) {
		to = put(to, TEXT("Transfer-Encoding: chunked\r\n"));
	}
	if (reply->says_close)
		to = put(to, TEXT("Connection: close\r\n"));
	else if (reply->says_keep_alive)
		to = put(to, TEXT("Connection: keep-alive\r\n"));
	if (reply->fields.length > 0)
		to = put(to, reply->fields);
	return put(to, TEXT("\r\n"));
}

void http_reply_head(struct http_server *server, const struct http_reply *reply,
		     struct buffer *to)
{
	struct http_text always = http_reply_common(server);
	char *start = (char *)buffer_reserve(to, room_for(reply, always));

	buffer_extend(to, (size_t)(put_head(start, reply, always) - start));
}

static void put_reply(struct connection *connection,
		      const struct http_reply *reply)
{
	struct http_server *server = connection->server;

	if (connection->carrier != NULL) {
		connection->carrier->put_reply(connection, reply);
		return;
	}
	struct http_text always = http_reply_common(server);
	size_t length = (size_t)reply->length;
	bool is_copied = reply->sends_body && length <= COPIED_BODY_BYTES;
	char *start = (char *)buffer_reserve(&server->output,
					     room_for(reply, always) +
						     (is_copied ? length : 0));
	char *to = put_head(start, reply, always);

	if (is_copied && length > 0)
		to = put(to, (struct http_text){ reply->body, length });
	buffer_extend(&server->output, (size_t)(to - start));
	if (reply->sends_body && !is_copied)
		http_connection_flush(connection, reply->body, length);
}

static void put_refusal(struct connection *connection, int status,
			const struct http_reply *reply)
{
	struct http_reply whole = *reply;

	whole.status = status;
	whole.has_length = true;
	whole.says_close = true;
	put_reply(connection, &whole);
}

void http_reply_refusal(struct connection *connection, int status,
			const char *reason, bool is_head)
{
	struct http_server *server = connection->server;
	struct buffer body = { 0 };
	struct http_reply reply = { .type = TEXT("text/plain"),
				    .sends_body = !is_head };

	if (server->refuse != NULL) {
		reply.type = TEXT("application/json");
		server->refuse(connection->request, status, reason, &body,
			       server->arg);
	} else {
		buffer_append_text(&body, reason);
		buffer_append(&body, "\n", 1);
	}
	reply.body = buffer_bytes(&body);
	reply.length = buffer_length(&body);
	put_refusal(connection, status, &reply);
	buffer_fini(&body);
}

void http_reply_continue(struct connection *connection)
{
	if (connection->carrier != NULL)
		connection->carrier->put_continue(connection);
	else
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

void http_offer_upgrade(struct muster_http *http, const char *protocol)
{
	if (http->connection->carrier != NULL)
		return;
	buffer_append_text(&http->fields, "Connection: Upgrade\r\nUpgrade: ");
	buffer_append_text(&http->fields, protocol);
	buffer_append_text(&http->fields, "\r\n");
}

static bool may_have_content(int status)
{
	return status != 204 && status != 304;
}

bool http_reply_is_good(int status, const char *type)
{
	return status >= 200 && status <= 599 &&
	       (type == NULL || http1_is_value(type, strlen(type)));
}

struct http_reply http_reply_of(const struct muster_http *http, int status,
				const char *type, const void *body,
				uint64_t length)
{
	struct http_reply reply = {
		.status = status,
		.fields = { (const char *)buffer_bytes(&http->fields),
			    buffer_length(&http->fields) },
		.body = body,
		.length = length,
		.has_length = may_have_content(status),
	};

	if (type != NULL)
		reply.type = (struct http_text){ type, strlen(type) };
	if (status == 205) /* RFC 9110, 15.3.6: has none, and says so */
		reply.length = 0;
	reply.sends_body = reply.has_length && !http->is_head;
	return reply;
}

bool http_reply_is_last(const struct muster_http *http)
{
	const struct connection *connection = http->connection;
	const struct http_server *server = connection->server;

	return !http->head.is_keep_alive || connection->has_ended ||
	       http->is_deciding || (http->is_body_open && !http->owes_end) ||
	       connection->requests >= server->limits.requests ||
	       (server->is_draining && !http_connection_has_more(connection));
}

/* Puts the reply into the output and lets the connection go on. */
static void reply_to(struct muster_http *http, struct http_reply *reply)
{
	struct connection *connection = http->connection;
	struct http_server *server = connection->server;
	bool lingers = http->head.is_keep_alive ||
		       http_connection_has_more(connection);
	bool is_last = http_reply_is_last(http);
	size_t mark = http_output_begin(connection);

	reply->says_close = is_last;
	reply->says_keep_alive = http->head.minor_version == 0;
	put_reply(connection, reply);
	http_output_end(connection, mark);
	if (server->access_log != NULL)
		http_log_request(http, reply->status,
				 reply->sends_body ? reply->length : 0);
	http_request_give_back(server, http);
	http_connection_replied(connection, is_last, lingers);
}

static void reply_packed(struct muster_http *http, struct http_reply *reply)
{
	struct buffer packed = { 0 };

	http_pack_reply(http, reply, &packed);
	reply_to(http, reply);
	buffer_fini(&packed);
}

void muster_http_reply(struct muster_http *http, int status, const char *type,
		       const void *body, size_t length)
{
	if (http->connection == NULL) {
		http_request_free(http);
		return;
	}
	if (http->is_begun) {
		muster_http_end(http);
		return;
	}
	MUST(http->connection->request == http);

	struct http_reply reply =
		http_reply_of(http, status, type, body, length);

	/* The application's mistakes: nothing of it is sent. */
	if (!http_reply_is_good(status, type) || (body == NULL && length > 0))
		reply = http_reply_of(http, 500, NULL, NULL, 0);
	if (http->connection->server->gzip_bytes > 0 &&
	    reply.length > http->connection->server->gzip_bytes)
		reply_packed(http, &reply);
	else
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
