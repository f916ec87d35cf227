#include "server/websocket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/http.h"
#include "server/socket.h"
#include "wire/websocket_deflate.h"

#define MAGIC         0x77656273
#define MESSAGE_BYTES (1U << 20)
#define BEAT_MS       30000
#define IDLE_MS       90000
#define CLOSE_MS      5000
#define DEFLATE_FROM  1024

enum state {
	STATE_OPEN,
	STATE_CLOSING, /* our goodbye is sent, theirs is waited for */
	STATE_ENDED,   /* both, or what was said makes no sense */
	STATE_BROKEN,  /* to be closed at once */
};

struct websocket {
	unsigned magic;
	uint8_t state;
	bool is_deflated;
	bool was_told; /* the owner, that it is over */
	struct websocket_terms terms;
	uint16_t code; /* what the owner is told */
	struct websocket_server *server;
	struct socket socket;
	struct websocket_reader reader;
	const struct websocket_events *events;
	void *owner;
	uint64_t beat_ms;                    /* when the next is due */
	uint64_t since_ms;                   /* in its state */
	struct websocket_deflater *deflater; /* its own; NULL */
	struct websocket_inflater *inflater;
};

struct websocket_server {
	struct sockets sockets;
	struct websocket_settings settings;
	struct buffer message; /* the reader's, between messages */
	struct buffer inflated;
	struct buffer deflated;
	struct websocket_deflater *deflaters[WEBSOCKET_WINDOW_BITS + 1];
	struct websocket_inflater *inflater;
	struct list upgrades; /* not opened yet */
	bool is_draining;
	uint64_t drain_until_ms;
};

/* A request that has been answered with 101. */
struct upgrade {
	struct list link;
	struct websocket_server *server; /* NULL: it is gone */
	const struct websocket_events *events;
	void *arg;
	bool is_deflated;
	struct websocket_terms terms;
};

static struct websocket *websocket_of(struct socket *socket)
{
	struct websocket *websocket =
		LIST_ENTRY(socket, struct websocket, socket);

	MUST(websocket->magic == MAGIC);
	return websocket;
}

/* ---- Sending ---- */

static void send_frame(struct websocket *websocket,
		       enum websocket_opcode opcode, bool is_compressed,
		       const void *bytes, size_t length)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t head_length =
		websocket_head(head, opcode, is_compressed, length);

	socket_write(&websocket->socket, head, head_length);
	socket_write(&websocket->socket, bytes, length);
}

static struct websocket_deflater *deflater_of(struct websocket *websocket)
{
	unsigned bits = websocket->terms.server_bits;
	struct websocket_deflater **place =
		websocket->terms.server_keeps
			? &websocket->deflater
			: &websocket->server->deflaters[bits];

	if (*place == NULL)
		*place = websocket_deflater_new(bits);
	return *place;
}

static void send_message(struct websocket *websocket,
			 enum websocket_opcode opcode, const void *bytes,
			 size_t length)
{
	struct websocket_server *server = websocket->server;
	struct buffer *deflated = &server->deflated;

	if (websocket->state != STATE_OPEN)
		return;
	if (!websocket->is_deflated || length < server->settings.deflate_from) {
		send_frame(websocket, opcode, false, bytes, length);
		return;
	}
	buffer_truncate(deflated, 0);
	websocket_deflate(deflater_of(websocket), bytes, length,
			  websocket->terms.server_keeps, deflated);
	send_frame(websocket, opcode, true, buffer_bytes(deflated),
		   buffer_length(deflated));
	buffer_consume(deflated, buffer_length(deflated));
	buffer_trim(deflated, LOOP_SCRATCH_BYTES);
}

void websocket_send_text(struct websocket *websocket, const void *text,
			 size_t length)
{
	send_message(websocket, WEBSOCKET_TEXT, text, length);
}

void websocket_send_binary(struct websocket *websocket, const void *bytes,
			   size_t length)
{
	send_message(websocket, WEBSOCKET_BINARY, bytes, length);
}

struct shared *websocket_text_frame(const void *text, size_t length)
{
	uint8_t head[WEBSOCKET_HEAD_MAX];
	size_t head_length =
		websocket_head(head, WEBSOCKET_TEXT, false, length);
	struct shared *frame = shared_make(head_length + length);

	memcpy(frame->bytes, head, head_length);
	memcpy(frame->bytes + head_length, text, length);
	return frame;
}

void websocket_send_frame(struct websocket *websocket, struct shared *frame)
{
	if (websocket->state == STATE_OPEN)
		socket_write_shared(&websocket->socket, frame);
}

/* ---- Closing ---- */

static void move(struct websocket *websocket, enum state state, uint16_t code)
{
	if (websocket->state == STATE_OPEN)
		websocket->code = code;
	websocket->state = (uint8_t)state;
	websocket->since_ms = loop_now_ms(websocket->server->sockets.loop);
}

static void send_close(struct websocket *websocket, uint16_t code,
		       const char *reason)
{
	uint8_t payload[WEBSOCKET_CONTROL_MAX];
	size_t length = websocket_close_payload(payload, code, reason);

	send_frame(websocket, WEBSOCKET_CLOSE, false, payload, length);
}

void websocket_close(struct websocket *websocket, uint16_t code,
		     const char *reason)
{
	if (websocket->state != STATE_OPEN)
		return;
	send_close(websocket, code, reason);
	move(websocket, STATE_CLOSING, code);
}

/* Nothing more is read of it, nor written. */
static void end(struct websocket *websocket, uint16_t code)
{
	move(websocket, STATE_ENDED, code);
	socket_end(&websocket->socket);
}

static void fail(struct websocket *websocket, uint16_t code, const char *reason)
{
	if (websocket->state == STATE_OPEN)
		send_close(websocket, code, reason);
	end(websocket, code);
}

static void tell_closed(struct websocket *websocket)
{
	if (websocket->was_told)
		return;
	websocket->was_told = true;
	websocket->events->on_close(websocket->owner, websocket->code);
	websocket->owner = NULL;
}

static void websocket_free(struct websocket *websocket)
{
	tell_closed(websocket);
	websocket_reader_fini(&websocket->reader);
	websocket_deflater_free(websocket->deflater);
	websocket_inflater_free(websocket->inflater);
	socket_close(&websocket->socket);
	websocket->magic = 0;
	free(websocket);
}

/* ---- Reading ---- */

static struct websocket_inflater *inflater_of(struct websocket *websocket)
{
	struct websocket_inflater **place =
		websocket->terms.client_keeps ? &websocket->inflater
					      : &websocket->server->inflater;

	if (*place == NULL)
		*place = websocket_inflater_new();
	return *place;
}

static bool is_utf8(const uint8_t *bytes, size_t length)
{
	struct utf8 utf8 = { 0 };

	return utf8_feed(&utf8, bytes, length) && utf8_is_whole(&utf8);
}

static void on_compressed(struct websocket *websocket,
			  const struct websocket_payload *payload)
{
	struct websocket_server *server = websocket->server;
	struct buffer *to = &server->inflated;

	buffer_truncate(to, 0);
	buffer_reserve(to, 1);
	int error = websocket_inflate(inflater_of(websocket), payload->bytes,
				      payload->length,
				      server->settings.limits.message_bytes,
				      websocket->terms.client_keeps, to);

	if (error == -EMSGSIZE)
		fail(websocket, WEBSOCKET_TOO_BIG,
		     "a message is longer than it may be");
	else if (error < 0 || (payload->is_text &&
			       !is_utf8(buffer_bytes(to), buffer_length(to))))
		fail(websocket, WEBSOCKET_BAD_DATA,
		     error < 0 ? "a message is not deflated"
			       : "a text message is not UTF-8");
	else
		websocket->events->on_message(
			websocket->owner, buffer_bytes(to), buffer_length(to),
			payload->is_text);
	buffer_consume(to, buffer_length(to));
	buffer_trim(to, LOOP_SCRATCH_BYTES);
}

static void on_message(struct websocket *websocket,
		       const struct websocket_payload *payload)
{
	if (websocket->state != STATE_OPEN)
		return;
	if (payload->is_compressed)
		on_compressed(websocket, payload);
	else
		websocket->events->on_message(websocket->owner, payload->bytes,
					      payload->length,
					      payload->is_text);
}

static void on_answer(struct websocket *websocket, int answer,
		      const struct websocket_payload *payload)
{
	struct websocket_reader *reader = &websocket->reader;

	if (answer < 0)
		fail(websocket, reader->code, reader->reason);
	else if (answer == WEBSOCKET_GOT_MESSAGE)
		on_message(websocket, payload);
	else if (answer == WEBSOCKET_GOT_PING && websocket->state == STATE_OPEN)
		send_frame(websocket, WEBSOCKET_PONG, false, payload->bytes,
			   payload->length);
	else if (answer == WEBSOCKET_GOT_CLOSE) {
		if (websocket->state == STATE_OPEN)
			send_close(websocket, reader->close_code, NULL);
		end(websocket, reader->close_code);
	}
}

static size_t on_bytes(struct socket *socket, const uint8_t *bytes,
		       size_t length)
{
	struct websocket *websocket = websocket_of(socket);
	struct websocket_server *server = websocket->server;
	struct websocket_reader *reader = &websocket->reader;
	struct websocket_payload payload;
	size_t left = length;
	int answer = WEBSOCKET_GOT_MESSAGE;

	/* Between messages a reader has no memory; this saves giving it some
	 * for each. */
	if (reader->message.data == NULL) {
		reader->message = server->message;
		server->message = (struct buffer){ 0 };
	}
	while (answer != WEBSOCKET_MORE && websocket->state <= STATE_CLOSING &&
	       !socket_is_full(socket)) {
		answer = websocket_read(reader, &bytes, &left, &payload);
		on_answer(websocket, answer, &payload);
	}
	if (!reader->in_message) {
		buffer_truncate(&reader->message, 0);
		buffer_trim(&reader->message, LOOP_SCRATCH_BYTES);
		if (server->message.data == NULL) {
			server->message = reader->message;
			reader->message = (struct buffer){ 0 };
		} else {
			buffer_fini(&reader->message);
		}
	}
	/* Past its end nothing is of interest. */
	return websocket->state > STATE_CLOSING ? length : length - left;
}

static void on_settle(struct socket *socket)
{
	struct websocket *websocket = websocket_of(socket);

	if (websocket->state > STATE_CLOSING)
		tell_closed(websocket);
}

static void on_end(struct socket *socket, int error)
{
	struct websocket *websocket = websocket_of(socket);

	(void)error;
	move(websocket, STATE_BROKEN, WEBSOCKET_CUT);
	websocket_free(websocket);
}

/* ---- Time ---- */

static void beat(struct websocket *websocket, uint64_t now_ms)
{
	websocket->beat_ms =
		now_ms + websocket->server->settings.limits.beat_ms;
	if (websocket->events->on_beat != NULL)
		websocket->events->on_beat(websocket->owner);
	else
		send_frame(websocket, WEBSOCKET_PING, false, "", 0);
}

static void tick_open(struct websocket *websocket, uint64_t now_ms)
{
	struct websocket_server *server = websocket->server;

	if (socket_is_stuck(&websocket->socket, now_ms)) {
		/* It would not read a goodbye either. */
		move(websocket, STATE_BROKEN, WEBSOCKET_TRY_LATER);
		websocket_free(websocket);
	} else if (!websocket->socket.is_held &&
		   now_ms - websocket->socket.heard_ms >
			   server->settings.limits.idle_ms) {
		websocket_close(websocket, WEBSOCKET_GOING_AWAY,
				"nothing was heard");
	} else if (server->is_draining && now_ms >= server->drain_until_ms) {
		websocket_close(websocket, WEBSOCKET_GOING_AWAY,
				"the server is shutting down");
	} else if (now_ms >= websocket->beat_ms) {
		beat(websocket, now_ms);
	}
}

static void on_tick(struct socket *socket, uint64_t now_ms)
{
	struct websocket *websocket = websocket_of(socket);

	if (websocket->state == STATE_OPEN)
		tick_open(websocket, now_ms);
	else if (now_ms - websocket->since_ms >
		 websocket->server->settings.limits.close_ms)
		websocket_free(websocket);
}

static const struct socket_events socket_events = { on_bytes, on_settle, on_end,
						    on_tick };

/* ---- Opening ---- */

/* The server has gone before it came. */
static void drop_taken(const struct http_taken *taken)
{
	struct buffer input = taken->input;

	buffer_fini(&input);
	/* Fails where the client is gone as well. */
	DISCARD(shutdown(stream_release(taken->stream), SHUT_RDWR));
	taken->on_closed(taken->token);
}

static void on_taken(const struct http_taken *taken, void *arg)
{
	struct upgrade *upgrade = arg;
	struct websocket_server *server = upgrade->server;

	if (server != NULL)
		list_remove(&upgrade->link);
	if (taken == NULL || server == NULL) {
		upgrade->events->on_missed(upgrade->arg);
		free(upgrade);
		if (taken != NULL)
			drop_taken(taken);
		return;
	}
	struct websocket *websocket = mem_zalloc(sizeof(*websocket));
	struct buffer input = taken->input;
	bool has_ended = taken->has_ended;

	websocket->magic = MAGIC;
	websocket->server = server;
	websocket->events = upgrade->events;
	websocket->is_deflated = upgrade->is_deflated;
	websocket->terms = upgrade->terms;
	websocket->reader =
		websocket_reader(server->settings.limits.message_bytes);
	websocket->reader.takes_compressed = upgrade->is_deflated;
	socket_open(&websocket->socket, &server->sockets, taken->stream,
		    taken->on_closed, taken->token);
	websocket->beat_ms =
		websocket->socket.heard_ms + server->settings.limits.beat_ms;
	websocket->owner = upgrade->events->on_open(websocket, upgrade->arg);
	free(upgrade);
	if (server->is_draining)
		websocket->events->on_drain(websocket->owner);
	if (has_ended)
		websocket_free(websocket);
	else
		socket_start(&websocket->socket, buffer_bytes(&input),
			     buffer_length(&input));
	buffer_fini(&input);
}

static bool choose_deflate(struct websocket_server *server,
			   struct muster_http *http, struct upgrade *upgrade)
{
	char text[WEBSOCKET_TERMS_BYTES];
	const char *offers =
		muster_http_header(http, "Sec-WebSocket-Extensions");

	if (server->settings.no_deflate || offers == NULL ||
	    !websocket_terms_choose(offers, server->settings.keeps_context,
				    &upgrade->terms))
		return false;
	websocket_terms_write(&upgrade->terms, text);
	return muster_http_set_header(http, "Sec-WebSocket-Extensions", text) ==
	       0;
}

void websocket_refuse(struct websocket_server *server, struct muster_http *http,
		      int status, const char *why)
{
	const struct websocket_settings *settings = &server->settings;

	if (status == 426) {
		MUST(muster_http_set_header(http, "Sec-WebSocket-Version",
					    "13") == 0);
		http_offer_upgrade(http, "websocket");
	}
	if (settings->refuse != NULL)
		settings->refuse(http, status, why, settings->owner);
	else
		muster_http_reply(http, status, "text/plain", why, strlen(why));
}

static const char *check(struct websocket_server *server,
			 struct muster_http *http, int *status,
			 char accept[WEBSOCKET_ACCEPT_BYTES])
{
	const char *upgrade = muster_http_header(http, "Upgrade");
	const char *version = muster_http_header(http, "Sec-WebSocket-Version");
	const char *key = muster_http_header(http, "Sec-WebSocket-Key");

	*status = 405;
	if (strcmp(muster_http_method(http), "GET") != 0)
		return "a WebSocket begins with GET";
	*status = 426;
	if (upgrade == NULL || strcasecmp(upgrade, "websocket") != 0)
		return "this is a WebSocket: connect with ws: or wss:";
	if (version == NULL || strcmp(version, "13") != 0)
		return "the WebSocket version has to be 13";
	*status = 400;
	if (key == NULL || !websocket_accept(key, accept))
		return "Sec-WebSocket-Key has to be 16 bytes in base64";
	*status = 503;
	return server->is_draining ? "the server is shutting down" : NULL;
}

void websocket_upgrade(struct websocket_server *server,
		       struct muster_http *http,
		       const struct websocket_events *events, void *arg)
{
	char accept[WEBSOCKET_ACCEPT_BYTES];
	int status;
	const char *why = check(server, http, &status, accept);

	if (why != NULL) {
		websocket_refuse(server, http, status, why);
		events->on_missed(arg);
		return;
	}
	struct upgrade *upgrade = mem_zalloc(sizeof(*upgrade));

	upgrade->server = server;
	upgrade->events = events;
	upgrade->arg = arg;
	upgrade->is_deflated = choose_deflate(server, http, upgrade);
	list_add_last(&server->upgrades, &upgrade->link);
	int error =
		muster_http_set_header(http, "Sec-WebSocket-Accept", accept);

	if (error == 0)
		error = http_take_over(http, "websocket", on_taken, upgrade);
	if (error == 0)
		return;
	list_remove(&upgrade->link);
	free(upgrade);
	websocket_refuse(server, http, 400,
			 "that is no way to begin a WebSocket");
	events->on_missed(arg);
}

/* ---- The server ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value > 0 ? value : otherwise;
}

struct websocket_server *
websocket_server_new(struct loop *loop,
		     const struct websocket_settings *settings)
{
	struct websocket_server *server = mem_zalloc(sizeof(*server));
	struct websocket_limits *limits = &server->settings.limits;

	server->settings = *settings;
	limits->message_bytes =
		or_default(limits->message_bytes, MESSAGE_BYTES);
	limits->beat_ms = or_default(limits->beat_ms, BEAT_MS);
	limits->idle_ms = or_default(limits->idle_ms, IDLE_MS);
	limits->close_ms = or_default(limits->close_ms, CLOSE_MS);
	server->settings.deflate_from =
		or_default(settings->deflate_from, DEFLATE_FROM);
	list_init(&server->upgrades);
	sockets_init(&server->sockets, loop, &socket_events,
		     &(struct socket_limits){
			     .high_bytes = limits->high_bytes,
			     .most_bytes = limits->most_bytes,
			     .stall_ms = limits->stall_ms,
		     });
	return server;
}

void websocket_server_free(struct websocket_server *server)
{
	if (server == NULL)
		return;
	/* Those that are still on their way find nobody. */
	LIST_EACH (&server->upgrades, link) {
		list_remove(link);
		LIST_ENTRY(link, struct upgrade, link)->server = NULL;
	}
	LIST_EACH (&server->sockets.all, link) {
		struct websocket *websocket =
			websocket_of(LIST_ENTRY(link, struct socket, link));

		move(websocket, STATE_BROKEN, WEBSOCKET_CUT);
		websocket_free(websocket);
	}
	sockets_fini(&server->sockets);
	buffer_fini(&server->message);
	buffer_fini(&server->inflated);
	buffer_fini(&server->deflated);
	for (size_t i = 0; i <= WEBSOCKET_WINDOW_BITS; i++)
		websocket_deflater_free(server->deflaters[i]);
	websocket_inflater_free(server->inflater);
	free(server);
}

void websocket_server_drain(struct websocket_server *server, uint32_t drain_ms)
{
	if (server->is_draining)
		return;
	server->is_draining = true;
	server->drain_until_ms = loop_now_ms(server->sockets.loop) + drain_ms;
	LIST_EACH (&server->sockets.all, link) {
		struct websocket *websocket =
			websocket_of(LIST_ENTRY(link, struct socket, link));

		if (websocket->state == STATE_OPEN)
			websocket->events->on_drain(websocket->owner);
	}
}

size_t websocket_server_connections(const struct websocket_server *server)
{
	return server->sockets.count;
}

int websocket_descriptor(const struct websocket *websocket)
{
	return stream_descriptor(websocket->socket.stream);
}
