#include "server/websocket_sessions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/origin.h"
#include "server/peer_address.h"
#include "wire/cookie.h"

#define FINGERPRINT_MAX 128
#define PING            "\"primus::ping::"
#define PONG            "\"primus::pong::"
#define WHO_AM_I        "\"primus::id::\""
#define GOODBYE         "\"primus::server::close\""

/* One connection, from the request on. */
struct talk {
	struct sessions *sessions;
	struct websocket *websocket;
	struct session *session;
	bool is_primus;
	char address[48];
	char fingerprint[FINGERPRINT_MAX + 1]; /* "": none */
};

/* ---- What the session asks of its connection ---- */

static void send_text(void *connection, const void *text, size_t length)
{
	struct talk *talk = connection;

	websocket_send_text(talk->websocket, text, length);
}

/*
 * A Primus client that is told "server::close" does not come back. One that
 * asked to leave is; one that has to go because this server does, is not: it
 * is to find another.
 */
static void quit(void *connection, bool is_asked)
{
	struct talk *talk = connection;

	if (!is_asked) {
		websocket_close(talk->websocket, WEBSOCKET_GOING_AWAY,
				"the server is shutting down");
		return;
	}
	if (!talk->is_primus) {
		websocket_close(talk->websocket, WEBSOCKET_NORMAL, NULL);
		return;
	}
	websocket_send_text(talk->websocket, GOODBYE, strlen(GOODBYE));
	websocket_close(talk->websocket, WEBSOCKET_NO_CODE, NULL);
}

static const struct session_kind kind = { .transport = MUSTER_WEBSOCKET,
					  .send = send_text,
					  .quit = quit };

/* ---- What the connection tells ---- */

static void *on_open(struct websocket *websocket, void *arg)
{
	struct talk *talk = arg;

	talk->websocket = websocket;
	talk->session = session_open(
		talk->sessions, &kind, talk,
		&(struct session_client){
			.fingerprint = talk->fingerprint[0] == '\0'
					       ? NULL
					       : talk->fingerprint,
			.address = talk->address,
			.port = peer_address_of(websocket_descriptor(websocket))
					.port,
		});
	return talk;
}

static bool begins(const uint8_t *bytes, size_t length, const char *text)
{
	size_t text_length = strlen(text);

	return length >= text_length && memcmp(bytes, text, text_length) == 0;
}

/* True: it is no message to the session. */
static bool take_primus(struct talk *talk, const uint8_t *bytes, size_t length)
{
	char answer[128];
	int answer_length;

	if (!begins(bytes, length, "\"primus::"))
		return false;
	if (begins(bytes, length, PONG))
		return true;
	if (begins(bytes, length, PING) && length < 64) {
		/* Clients of Primus before 7 ask. */
		answer_length = snprintf(answer, sizeof(answer), PONG "%.*s",
					 (int)(length - strlen(PING)),
					 (const char *)bytes + strlen(PING));
	} else if (begins(bytes, length, WHO_AM_I)) {
		answer_length =
			snprintf(answer, sizeof(answer), "\"primus::id::%s\"",
				 talk->session->client.id);
	} else {
		return false;
	}
	if (answer_length > 0 && (size_t)answer_length < sizeof(answer))
		websocket_send_text(talk->websocket, answer,
				    (size_t)answer_length);
	return true;
}

static void on_message(void *owner, const uint8_t *bytes, size_t length,
		       bool is_text)
{
	struct talk *talk = owner;

	(void)is_text; /* JSON is JSON */
	if (!talk->is_primus || !take_primus(talk, bytes, length))
		session_take_frame(talk->session, bytes, length);
}

static void on_beat(void *owner)
{
	struct talk *talk = owner;
	struct timespec now;
	char text[64];

	clock_gettime(CLOCK_REALTIME, &now);
	int length =
		snprintf(text, sizeof(text), PING "%lld\"",
			 (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);

	websocket_send_text(talk->websocket, text, (size_t)length);
}

static void on_drain(void *owner)
{
	session_drain(((struct talk *)owner)->session);
}

static void on_close(void *owner, uint16_t code)
{
	struct talk *talk = owner;

	(void)code;
	session_leave(talk->session);
	free(talk);
}

static void on_missed(void *arg)
{
	free(arg);
}

static const struct websocket_events plain_events = {
	.on_open = on_open,
	.on_message = on_message,
	.on_drain = on_drain,
	.on_close = on_close,
	.on_missed = on_missed,
};
static const struct websocket_events primus_events = {
	.on_open = on_open,
	.on_message = on_message,
	.on_beat = on_beat,
	.on_drain = on_drain,
	.on_close = on_close,
	.on_missed = on_missed,
};

static void take_fingerprint(struct talk *talk, const char *text, size_t length)
{
	if (length > FINGERPRINT_MAX)
		return;
	memcpy(talk->fingerprint, text, length);
	talk->fingerprint[length] = '\0';
}

/* The cookie is sent whichever page it is that connects: only pages that may be
 * this client are believed to be. */
static void read_fingerprint(struct talk *talk, struct muster_http *http,
			     bool believes_cookie)
{
	const char *asked = muster_http_parameter(http, "sessionID");
	const char *cookie = muster_http_header(http, "Cookie");
	struct cookie_pair pair;

	if (asked != NULL) {
		take_fingerprint(talk, asked, strlen(asked));
		return;
	}
	if (cookie == NULL || !believes_cookie)
		return;
	struct field_text rest = { cookie, strlen(cookie) };

	while (cookie_next(&rest, &pair))
		if (field_is(pair.name, "sessionID")) {
			take_fingerprint(talk, pair.value.bytes,
					 pair.value.length);
			return;
		}
}

void websocket_sessions_upgrade(struct sessions *sessions,
				struct websocket_server *server,
				struct muster_http *http, bool is_primus)
{
	enum origin origin = origin_of(http, sessions->origins);

	if (origin == ORIGIN_OTHER && sessions->origins != NULL) {
		websocket_refuse(
			server, http, 403,
			"pages of that origin may not connect to this server");
		return;
	}
	struct talk *talk = mem_zalloc(sizeof(*talk));

	talk->sessions = sessions;
	talk->is_primus = is_primus;
	snprintf(talk->address, sizeof(talk->address), "%s",
		 muster_http_client(http));
	read_fingerprint(talk, http, origin != ORIGIN_OTHER);
	websocket_upgrade(server, http,
			  is_primus ? &primus_events : &plain_events, talk);
}
