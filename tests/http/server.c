/*
 * The server that test_http.py asks: server URL FOLDER LOG WORKERS
 *
 *   POST /echo      sends the body back as it comes
 *   POST /upload    a line for each part of a form: name, filename, type,
 *                   length, and whether it is in a file; the first file is
 *                   kept as FOLDER/kept
 *   POST /small     takes ten bytes at most
 *   GET  /large     50 MiB, in pieces
 *   GET  /events    an event each 10 ms, until the client leaves
 *   GET  /cookie    counts visits
 *   GET  /client    who asks
 *   GET  /worker    which process answers, and whether over TLS
 *   GET  /files/NAME  those of FOLDER
 *
 * CERTIFICATE, KEY, OTHER_CERTIFICATE and OTHER_KEY are for an https:// URL;
 * TICKET_MS is how long a key for tickets lasts.
 *
 * A line for each client that left before its reply was complete: "gone PATH".
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <muster/cluster.h>
#include <muster/http.h>

#define LARGE_PIECES 800
#define PIECE_BYTES  65536

static struct muster_cluster *cluster;
static struct muster_http_files *files;
static const char *folder;

static void answer(struct muster_http *http, int status, const char *text)
{
	muster_http_reply(http, status, "text/plain", text, strlen(text));
}

static void on_gone(struct muster_http *http, int error, void *arg)
{
	(void)arg;
	if (error == 0) /* it may only have ended its side */
		return;
	printf("gone %s\n", muster_http_path(http));
	fflush(stdout);
}

/* ---- Echo ---- */

static void go_on(struct muster_http *http, void *arg)
{
	(void)arg;
	muster_http_resume_body(http);
}

static void on_body(struct muster_http *http, const void *bytes, size_t length,
		    int error, void *arg)
{
	if (error < 0)
		on_gone(http, error, arg);
	if (bytes == NULL) {
		muster_http_end(http);
		return;
	}
	if (muster_http_write(http, bytes, length) < 0)
		errx(1, "a write was refused though there was room");
	if (muster_http_unsent(http) > PIECE_BYTES)
		muster_http_pause_body(http);
}

static void echo(struct muster_http *http)
{
	muster_http_on_drain(http, go_on, NULL);
	if (muster_http_begin(http, 200, "application/octet-stream",
			      MUSTER_HTTP_UNKNOWN) < 0 ||
	    muster_http_read_body(http, on_body, NULL) < 0)
		muster_http_end(http);
}

/* ---- Uploads ---- */

static void keep_first(struct muster_http *http, size_t index)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/kept", folder);
	if (muster_http_save_part(http, index, path) < 0)
		errx(1, "%s cannot be kept", path);
}

static void upload(struct muster_http *http)
{
	struct muster_http_part part;
	char text[4096] = "";
	size_t length = 0;
	int kept = 0;

	if (muster_http_read_form(http) < 0) {
		answer(http, 400, "no form\n");
		return;
	}
	for (size_t i = 0; muster_http_part(http, i, &part); i++) {
		length += (size_t)snprintf(
			text + length, sizeof(text) - length,
			"%s %s %s %llu %s\n", part.name,
			part.filename != NULL ? part.filename : "-",
			part.type != NULL ? part.type : "-",
			(unsigned long long)part.length,
			part.descriptor >= 0 ? "file" : "memory");
		if (part.descriptor >= 0 && kept++ == 0)
			keep_first(http, i);
	}
	answer(http, 200, text);
}

/* ---- Replies in pieces ---- */

struct large {
	int left;
	char piece[PIECE_BYTES];
};

static void write_large(struct muster_http *http, void *arg)
{
	struct large *large = arg;

	while (large->left > 0) {
		int error = muster_http_write(http, large->piece, PIECE_BYTES);

		if (error == 0)
			large->left--;
		else
			return; /* on_drain or on_gone follows */
	}
	muster_http_end(http);
	free(large);
}

static void on_large_gone(struct muster_http *http, int error, void *arg)
{
	if (error == 0)
		return;
	on_gone(http, error, NULL);
	muster_http_end(http);
	free(arg);
}

static void send_large(struct muster_http *http)
{
	struct large *large = malloc(sizeof(*large));

	if (large == NULL)
		errx(1, "out of memory");
	large->left = LARGE_PIECES;
	memset(large->piece, 'x', sizeof(large->piece));
	muster_http_on_drain(http, write_large, large);
	muster_http_on_gone(http, on_large_gone, large);
	if (muster_http_begin(http, 200, "text/plain", MUSTER_HTTP_UNKNOWN) < 0)
		errx(1, "cannot begin");
	write_large(http, large);
}

struct events {
	struct muster_http *http;
	struct muster_timer *timer;
	int count;
};

static void on_tick(struct muster_timer *timer, void *arg)
{
	struct events *events = arg;
	char data[32];

	(void)timer;
	snprintf(data, sizeof(data), "tick %d", ++events->count);
	/* Full: it misses this one. */
	if (muster_http_send_event(events->http, &(struct muster_http_event){
							 .data = data }) < 0)
		return;
}

static void on_events_gone(struct muster_http *http, int error, void *arg)
{
	struct events *events = arg;

	on_gone(http, error < 0 ? error : -1, NULL);
	muster_timer_stop(events->timer);
	free(events);
	muster_http_end(http);
}

static void send_events(struct muster_http *http)
{
	struct events *events = calloc(1, sizeof(*events));

	if (events == NULL || muster_http_begin_events(http) < 0)
		errx(1, "cannot begin");
	events->http = http;
	muster_http_on_gone(http, on_events_gone, events);
	events->timer = muster_timer_start(cluster, 1, 10, on_tick, events);
}

/* ---- The rest ---- */

static void count_visits(struct muster_http *http)
{
	const char *seen = muster_http_cookie(http, "visits");
	char value[16];

	snprintf(value, sizeof(value), "%d", seen != NULL ? atoi(seen) + 1 : 1);
	if (muster_http_set_cookie(http, &(struct muster_http_cookie){
						 .name = "visits",
						 .value = value,
						 .path = "/",
						 .http_only = true }) < 0)
		errx(1, "no cookie");
	answer(http, 200, value);
}

static void send_file(struct muster_http *http)
{
	if (muster_http_reply_file(http, files, muster_http_path(http) + 6) !=
	    0)
		answer(http, 404, "no file\n");
}

static void tell_worker(struct muster_http *http)
{
	muster_http_reply_format(
		http, 200, "text/plain", "%d %s\n", (int)getpid(),
		muster_http_is_secure(http) ? "secure" : "plain");
}

static void on_request(struct muster_http *http, void *arg)
{
	static const struct {
		const char *path;
		void (*run)(struct muster_http *http);
	} routes[] = {
		{ "/echo", echo },           { "/upload", upload },
		{ "/large", send_large },    { "/events", send_events },
		{ "/cookie", count_visits }, { "/worker", tell_worker },
	};
	const char *path = muster_http_path(http);

	(void)arg;
	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
		if (strcmp(path, routes[i].path) == 0) {
			routes[i].run(http);
			return;
		}
	if (strncmp(path, "/files/", 7) == 0)
		send_file(http);
	else
		answer(http, 200,
		       strcmp(path, "/client") == 0 ? muster_http_client(http)
						    : "hello\n");
}

static void on_head(struct muster_http *http, void *arg)
{
	const char *path = muster_http_path(http);

	(void)arg;
	if (strcmp(path, "/small") == 0) {
		muster_http_limit_body(http, 10);
	} else if (strcmp(path, "/echo") == 0) {
		muster_http_limit_body(http, 1u << 30);
		muster_http_stream_body(http);
	} else if (strcmp(path, "/upload") == 0) {
		muster_http_limit_body(http, 1u << 30);
		if (muster_http_stream_form(http, NULL) < 0)
			answer(http, 415, "no multipart form\n");
	}
}

static uint32_t patience_ms(void)
{
	const char *text = getenv("PATIENCE_MS");

	return text != NULL ? (uint32_t)atoi(text) : 3000;
}

static void serve(const char *url, const char *log)
{
	const struct muster_http_files_options folder_options = {
		.root = folder,
		.fresh_ms = 10,
	};
	const struct muster_certificate others[] = {
		{ getenv("OTHER_CERTIFICATE"), getenv("OTHER_KEY") },
		{ NULL, NULL },
	};
	const struct muster_http_options options = {
		.handler = on_request,
		.on_head = on_head,
		.limits = { .head_ms = patience_ms(),
			    .body_ms = patience_ms(),
			    .idle_ms = patience_ms() },
		.gzip_bytes = 1000,
		.trusted_proxies = "127.0.0.0/8",
		.access_log = log,
		.certificate = { getenv("CERTIFICATE"), getenv("KEY") },
		.others = others,
	};

	if (muster_http_files_open(cluster, &folder_options, &files) < 0 ||
	    muster_http_listen_with(cluster, url, &options, NULL) < 0)
		errx(1, "%s", muster_problem_text(cluster));
	printf("listening\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		errx(2, "usage: server URL FOLDER LOG WORKERS");
	const char *ticket_ms = getenv("TICKET_MS");

	folder = argv[2];
	cluster = muster_cluster_open(
		argc, argv,
		&(struct muster_options){
			.workers = atoi(argv[4]),
			.ticket_ms = ticket_ms != NULL
					     ? (uint32_t)atoi(ticket_ms)
					     : 0 });
	if (cluster == NULL)
		return 1;
	if (!muster_is_primary(cluster))
		serve(argv[1], argv[3]);
	int code = muster_cluster_run(cluster);

	muster_http_files_close(files);
	return code;
}
