/*
 * What the clients talk to: /ws and /primus on one port, lines on another, and
 * a few actions. Says "ready HTTP-PORT TCP-PORT" on stdout. TERM: drains.
 * USR1: drains the connections alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <muster/action.h>
#include <muster/node.h>
#include <muster/room.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/watch.h"
#include "server/tcp.h"
#include "server/websocket_sessions.h"

#define DRAIN_MS 5000

/* ---- Actions ---- */

static void random_number(struct muster_call *call)
{
	char text[64];
	double number = (double)random() / (double)RAND_MAX;

	snprintf(text, sizeof(text), "Your random number is %.17g", number);
	muster_set_number(call, "randomNumber", number);
	muster_set_text(call, "stringRandomNumber", text);
}

static void cache_test(struct muster_call *call)
{
	muster_set_text(call, "key", muster_param_text(call, "key"));
	muster_set_text(call, "value", muster_param_text(call, "value"));
}

static void sleep_test(struct muster_call *call)
{
	int64_t ms = muster_param_int(call, "sleepDuration");

	if (muster_sleep(muster_call_server(call), (uint32_t)ms) < 0)
		muster_fail(call, 499, "the client has gone");
	muster_set_int(call, "sleepDuration", ms);
}

static void big(struct muster_call *call)
{
	size_t length = (size_t)muster_param_int(call, "bytes");
	char *text = mem_alloc(length + 1);

	memset(text, 'x', length);
	text[length] = '\0';
	muster_set_text(call, "text", text);
	free(text);
}

static void who(struct muster_call *call)
{
	muster_set_text(call, "id", muster_call_connection(call));
	muster_set_text(call, "fingerprint", muster_call_fingerprint(call));
	muster_set_text(call, "message", muster_call_message(call));
}

/* ---- Rooms ---- */

static enum muster_room_verdict
refuse(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)muster;
	(void)event;
	(void)arg;
	return MUSTER_ROOM_DROP;
}

/* What begins with x is not said, and what begins with y is said aloud. */
static enum muster_room_verdict
listen_in(struct muster *muster, struct muster_room_event *event, void *arg)
{
	(void)arg;
	if (event->json[1] == 'x')
		return MUSTER_ROOM_DROP;
	if (event->json[1] != 'y')
		return MUSTER_ROOM_PASS;
	event->json = muster_text(muster, "{\"aloud\":%s}", event->json);
	return MUSTER_ROOM_CHANGE;
}

/* Until openRoom is asked for. */
static bool is_open;

static enum muster_room_verdict hold(struct muster *muster,
				     struct muster_room_event *event, void *arg)
{
	(void)event;
	(void)arg;
	while (!is_open && muster_sleep(muster, 10) == 0)
		;
	return MUSTER_ROOM_PASS;
}

static void open_room(struct muster_call *call)
{
	(void)call;
	is_open = true;
}

static const struct muster_room rooms[] = {
	{ .name = "defaultRoom" },
	{ .name = "wsroom" },
	/* whose members are counted, in one test each */
	{ .name = "viewed" },
	{ .name = "mixed" },
	{ .name = "left" },
	{ .name = "quiet", .no_echo = true },
	{ .name = "closed", .on_join = refuse },
	{ .name = "held", .on_say = hold },
	{ .name = "censored", .on_say = listen_in },
	{ .name = "tailored", .on_receive = listen_in },
	{ 0 },
};

static void destroy_room(struct muster_call *call)
{
	struct muster *muster = muster_call_server(call);
	const char *name = muster_param_text(call, "key");

	muster_set_bool(call, "destroyed",
			muster_room_destroy(muster, name) == 0);
	if (muster_room_create(muster, name) < 0)
		muster_fail(call, 500, "%s", muster_problem(muster));
}

static const struct muster_input key = { .name = "key", .required = true };
static const struct muster_input value = { .name = "value" };
static const struct muster_input duration = { .name = "sleepDuration",
					      .type = MUSTER_INTEGER,
					      .fallback = "1000" };
static const struct muster_input bytes = { .name = "bytes",
					   .type = MUSTER_INTEGER,
					   .required = true };
static const struct muster_action actions[] = {
	{ .name = "randomNumber",
	  .description = "A number",
	  .output_example = "{\"randomNumber\":0.5}",
	  .run = random_number },
	{ .name = "cacheTest", .inputs = { &key, &value }, .run = cache_test },
	{ .name = "sleepTest", .inputs = { &duration }, .run = sleep_test },
	{ .name = "big", .inputs = { &bytes }, .run = big },
	{ .name = "destroyRoom", .inputs = { &key }, .run = destroy_room },
	{ .name = "openRoom", .run = open_room },
	{ .name = "who", .strict = true, .run = who },
	{ 0 },
};

/* ---- The server ---- */

static struct {
	struct loop *loop;
	struct api *api;
	struct sessions *sessions;
	struct http_server *http;
	struct websocket_server *websocket;
	struct tcp_server *tcp;
	struct watch *watches[3];
	int listeners[2];
	int signals;
	size_t open;
} server;

static void on_request(struct muster_http *http, void *arg)
{
	const char *path = muster_http_path(http);

	(void)arg;
	if (strcmp(path, "/ws") == 0 || strcmp(path, "/primus") == 0)
		websocket_sessions_upgrade(server.sessions, server.websocket,
					   http, strcmp(path, "/primus") == 0);
	else
		muster_http_reply(http, 404, "text/plain", "no\n", 3);
}

static void on_closed(void *token)
{
	int *descriptor = token;

	close(*descriptor);
	free(descriptor);
	server.open--;
}

static void on_connection(void *owner)
{
	int *listener = owner;
	int *descriptor = mem_alloc(sizeof(*descriptor));

	*descriptor =
		accept4(*listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (*descriptor < 0) {
		free(descriptor);
		return;
	}
	server.open++;
	if (listener == &server.listeners[0])
		http_server_take(server.http, *descriptor, on_closed,
				 descriptor);
	else
		tcp_server_take(server.tcp, *descriptor, on_closed, descriptor);
}

static uint16_t listen_on(size_t index)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr =
					       htonl(INADDR_LOOPBACK) };
	struct sockaddr *any = (struct sockaddr *)(void *)&address;
	socklen_t length = sizeof(address);
	int *listener = &server.listeners[index];

	*listener =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	MUST(bind(*listener, any, length) == 0 && listen(*listener, 512) == 0);
	MUST(getsockname(*listener, any, &length) == 0);
	MUST(watch_open(server.loop, *listener, on_connection, listener,
			&server.watches[index]) == 0);
	watch_start(server.watches[index]);
	return ntohs(address.sin_port);
}

static void on_signal(void *owner)
{
	struct signalfd_siginfo info;

	(void)owner;
	if (read(server.signals, &info, sizeof(info)) != sizeof(info))
		return;
	websocket_server_drain(server.websocket, DRAIN_MS);
	tcp_server_drain(server.tcp, DRAIN_MS);
}

static uint32_t number_of(const char *name)
{
	const char *text = getenv(name);

	return text == NULL ? 0 : (uint32_t)atoi(text);
}

static struct websocket_settings settings_of_environment(void)
{
	return (struct websocket_settings){
		.limits = { .beat_ms = number_of("BEAT_MS"),
			    .idle_ms = number_of("IDLE_MS"),
			    .stall_ms = number_of("STALL_MS") },
		.keeps_context = getenv("KEEPS_CONTEXT") != NULL,
	};
}

static int on_start(struct muster *muster, void *arg)
{
	struct websocket_settings settings = settings_of_environment();
	struct problem problem = { 0 };

	(void)arg;
	server.loop = muster->loop;
	server.api = api_new(
		muster, &(struct api_settings){ .actions = actions }, &problem);
	MUST(server.api != NULL);
	server.sessions = sessions_new(&(struct sessions_settings){
		.api = server.api, .welcome = "Hello! Welcome to the test" });
	server.http = http_server_new(
		server.loop, &(struct http_settings){ .handler = on_request });
	server.websocket = websocket_server_new(server.loop, &settings);
	server.tcp = tcp_server_new(server.loop, server.sessions,
				    &(struct tcp_limits){ 0 });
	MUST(watch_open(server.loop, server.signals, on_signal, NULL,
			&server.watches[2]) == 0);
	watch_start(server.watches[2]);
	uint16_t web = listen_on(0);

	printf("ready %u %u\n", web, listen_on(1));
	fflush(stdout);
	return 0;
}

/* What is left of the connections is cut; nothing of theirs may be left. */
static void on_stop(struct muster *muster, void *arg)
{
	(void)muster;
	(void)arg;
	for (size_t i = 0; i < 3; i++)
		watch_close(server.watches[i]);
	http_server_free(server.http);
	websocket_server_free(server.websocket);
	tcp_server_free(server.tcp);
	MUST(server.open == 0);
	while (server.sessions->count > 0)
		MUST(muster_sleep(muster, 1) == 0);
	sessions_free(server.sessions);
	api_free(server.api);
	close(server.listeners[0]);
	close(server.listeners[1]);
}

int main(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	server.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	struct muster *muster = muster_open(NULL, &(struct muster_node_options){
							  .name = "clients",
							  .rooms = rooms,
							  .on_start = on_start,
							  .on_stop = on_stop,
						  });

	if (muster == NULL)
		return 1;
	int code = muster_run(muster);

	close(server.signals);
	return code;
}
