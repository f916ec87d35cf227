/* main_option_table - what can be said: a row for each option, and the rows by
 * their names. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "app/main_option.h"
#include "base/nearest.h"
#include "base/quantity.h"

#define WORKERS_MAX 1024

static const char *const levels[] = { "off",  "error", "warn",
				      "info", "debug", NULL };
static const char *const log_formats[] = { "combined", "json", NULL };

static bool read_workers(struct main_options *options, const char *text)
{
	uint32_t workers = 0;

	if (strcmp(text, "max") == 0) {
		options->workers = MUSTER_PER_CORE;
		return true;
	}
	if (!quantity_read_number(text, 1, WORKERS_MAX, &workers))
		return false;
	options->workers = (int)workers;
	return true;
}

static bool read_schedule(struct main_options *options, const char *text)
{
	static const struct {
		const char *name;
		enum muster_schedule schedule;
	} policies[] = {
		{ "least", MUSTER_LEAST },         { "rr", MUSTER_ROUND_ROBIN },
		{ "shared", MUSTER_SHARED },       { "none", MUSTER_SHARED },
		{ "reuseport", MUSTER_REUSEPORT },
	};

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (strcmp(policies[i].name, text) == 0) {
			options->schedule = policies[i].schedule;
			return true;
		}
	return false;
}

/* Port 0 would be another one in each place that asks for it. */
static bool read_tcp(struct main_options *options, const char *text)
{
	bool is_off = strcmp(text, "none") == 0 || strcmp(text, "0") == 0;

	options->tcp = is_off ? NULL : text;
	return text[0] != '\0';
}

static bool is_origin(struct main_options *options, const char *text)
{
	(void)options;
	return strcmp(text, "*") == 0 || strstr(text, "://") != NULL;
}

/* What is no URL is the path of an embedded one. */
static bool read_store(struct main_options *options, const char *text)
{
	options->store = text;
	if (strchr(text, ':') != NULL)
		return true;
	size_t room = strlen("lmdb:") + strlen(text) + 1;
	char *url = arena_take(&options->arena, room);

	snprintf(url, room, "lmdb:%s", text);
	options->store = url;
	return text[0] != '\0';
}

#define AT(field)    .at = offsetof(struct main_options, field)
#define GIVEN(field) .at_application = offsetof(struct muster_app, field)
#define NOT_GIVEN    .at_application = NOWHERE

const struct main_option main_option_table[] = {
	/* clang-format off */
	{ "listen", "port", { "PORT" }, "WHERE", "a port or an address",
	  "PORT, HOST:PORT, unix:PATH; several with commas", "8080",
	  MAIN_LIST, 1, MAIN_LIST_MAX, AT(listen), NOT_GIVEN },
	{ "tcp", "tcp-port", { "TCP_PORT" }, "WHERE",
	  "a port, an address or none",
	  "the same for lines over TCP; none",
	  AT(tcp), GIVEN(tcp), .read = read_tcp },
	{ "certificate", NULL, { "MUSTER_CERTIFICATE" }, "FILE", NULL,
	  "of https:// and tls://, in PEM",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  AT(certificate.certificate), GIVEN(certificate.certificate) },
	{ "key", NULL, { "MUSTER_KEY" }, "FILE", NULL,
	  "of the certificate; or it is in the same file",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  AT(certificate.key), GIVEN(certificate.key) },
	{ "workers", NULL, { "WORKERS" }, "N|max",
	  "a number from 1 to 1024, or max",
	  "how many; max is one a core", "max",
	  .at = NOWHERE, NOT_GIVEN, .read = read_workers },
	{ "schedule", NULL, { "MUSTER_SCHED_POLICY" }, "POLICY",
	  "least, rr, shared or reuseport",
	  "who gets a connection: least, rr, shared, reuseport", "least",
	  .at = NOWHERE, NOT_GIVEN, .read = read_schedule },
	{ "store", NULL, { "STORE", "MUSTER_STORE" }, "URL",
	  "a URL or a path",
	  "redis://HOST:PORT, lmdb:PATH (in MUSTER_HOME)",
	  .at = NOWHERE, NOT_GIVEN, .read = read_store },
	{ "prefix", NULL, { "MUSTER_PREFIX" }, "TEXT", NULL,
	  "of everything in the store", "muster",
	  MAIN_TEXT, 1, 64, AT(prefix), NOT_GIVEN },
	{ "token", NULL, { "MUSTER_TOKEN" }, "SECRET", NULL,
	  "the cluster's secret; rather not on the command line",
	  .kind = MAIN_TEXT, .most = MAIN_TOKEN_BYTES_MAX, .is_secret = true,
	  AT(token), NOT_GIVEN },
	{ "token-file", NULL, { "MUSTER_TOKEN_FILE" }, "FILE", NULL,
	  "a file with nothing else in it",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  AT(token_file), NOT_GIVEN },
	{ "public", NULL, { "MUSTER_PUBLIC" }, "DIR", NULL,
	  "files to serve where there is no action",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  AT(public_folder), GIVEN(public_folder) },
	{ "origins", NULL, { "ORIGINS" }, "LIST",
	  "origins as in https://a.example, or *",
	  "whose pages may use it: https://a.example, ..., or *", "*",
	  MAIN_LIST, 0, MAIN_LIST_MAX, AT(origins), GIVEN(origins),
	  .read = is_origin },
	{ "trusted-proxies", NULL, { "MUSTER_TRUSTED_PROXIES" }, "LIST", NULL,
	  "whose X-Forwarded-For counts: 10.0.0.0/8, ::1, unix",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  AT(trusted_proxies), NOT_GIVEN },
	{ "timeout", NULL, { "MUSTER_TIMEOUT" }, "TIME", NULL,
	  "of an action that has none", "30s",
	  MAIN_TIME, AT(timeout_ms), GIVEN(timeout_ms) },
	{ "simultaneous-actions", NULL, { "MUSTER_SIMULTANEOUS_ACTIONS" }, "N",
	  NULL, "of a client that stays connected", "5",
	  MAIN_NUMBER, 1, 10000, AT(pending_max), NOT_GIVEN },
	{ "header-time", NULL, { "MUSTER_HEADER_TIME" }, "TIME", NULL,
	  "until a request's header is there", "10s",
	  MAIN_TIME, AT(limits.head_ms), GIVEN(limits.head_ms) },
	{ "body-time", NULL, { "MUSTER_BODY_TIME" }, "TIME", NULL,
	  "without a byte of its body", "10s",
	  MAIN_TIME, AT(limits.body_ms), GIVEN(limits.body_ms) },
	{ "body-rate", NULL, { "MUSTER_BODY_RATE" }, "SIZE", NULL,
	  "a second, that its body comes at on average", "500",
	  MAIN_SIZE, 1, UINT32_MAX, AT(limits.body_rate),
	  GIVEN(limits.body_rate) },
	{ "idle-time", NULL, { "MUSTER_IDLE_TIME" }, "TIME", NULL,
	  "of a connection between requests", "60s",
	  MAIN_TIME, AT(limits.idle_ms), GIVEN(limits.idle_ms) },
	{ "header-size", NULL, { "MUSTER_HEADER_SIZE" }, "SIZE", NULL,
	  "of a request's header, at most", "16KiB",
	  MAIN_SIZE, 256, 1 << 24, AT(limits.head_bytes),
	  GIVEN(limits.head_bytes) },
	{ "url-size", NULL, { "MUSTER_URL_SIZE" }, "SIZE", NULL,
	  "of its URL", "8KiB",
	  MAIN_SIZE, 64, 1 << 24, AT(limits.url_bytes),
	  GIVEN(limits.url_bytes) },
	{ "body-size", NULL, { "MUSTER_BODY_SIZE" }, "SIZE", NULL,
	  "of its body", "1MiB",
	  MAIN_SIZE, 1, UINT32_MAX, AT(limits.body_bytes),
	  GIVEN(limits.body_bytes) },
	{ "headers", NULL, { "MUSTER_HEADERS" }, "N", NULL,
	  "of a request, at most", "100",
	  MAIN_NUMBER, 1, 10000, AT(limits.headers), GIVEN(limits.headers) },
	{ "requests", NULL, { "MUSTER_REQUESTS" }, "N", NULL,
	  "on a connection, then it is closed; 0: any number", "0",
	  MAIN_NUMBER, 0, UINT32_MAX, AT(limits.requests),
	  GIVEN(limits.requests) },
	{ "max-connections", NULL, { "MUSTER_MAX_CONNECTIONS" }, "N", NULL,
	  "of a worker, on each address; 0: any number", "0",
	  MAIN_NUMBER, 0, UINT32_MAX, AT(max_connections),
	  GIVEN(max_connections) },
	{ "message-size", NULL, { "MUSTER_MESSAGE_SIZE" }, "SIZE", NULL,
	  "of a WebSocket's message, at most", "1MiB",
	  MAIN_SIZE, 128, 1 << 30, AT(message_bytes), GIVEN(message_bytes) },
	{ "line-size", NULL, { "MUSTER_LINE_SIZE" }, "SIZE", NULL,
	  "of a line over TCP", "64KiB",
	  MAIN_SIZE, 128, 1 << 30, AT(line_bytes), GIVEN(line_bytes) },
	{ "file-size", NULL, { "MUSTER_FILE_SIZE" }, "SIZE", NULL,
	  "of a file over either", "1MiB",
	  MAIN_SIZE, 1, 1 << 30, AT(file_bytes), GIVEN(file_bytes) },
	{ "client-rate", NULL, { "MUSTER_CLIENT_RATE" }, "N", NULL,
	  "actions a second of one address; 0: any number", "0",
	  MAIN_NUMBER, 0, UINT32_MAX, AT(client_rate), GIVEN(client_rate) },
	{ "client-burst", NULL, { "MUSTER_CLIENT_BURST" }, "N", NULL,
	  "of these, at once; 0: as many as a second", "0",
	  MAIN_NUMBER, 0, UINT32_MAX, AT(client_burst), GIVEN(client_burst) },
	{ "gzip-from", NULL, { "MUSTER_GZIP_FROM" }, "SIZE", NULL,
	  "answers that are longer are compressed; 0: none", "0",
	  MAIN_SIZE, 0, UINT32_MAX, AT(gzip_bytes), NOT_GIVEN },
	{ "access-log", NULL, { "MUSTER_ACCESS_LOG" }, "FILE", NULL,
	  "a line a request",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  AT(access_log), NOT_GIVEN },
	{ "access-log-format", NULL, { "MUSTER_ACCESS_LOG_FORMAT" }, "FORMAT",
	  "combined or json", "combined or json", "combined",
	  MAIN_WORD, .words = log_formats, AT(access_log_format), NOT_GIVEN },
	{ "log", NULL, { "MUSTER_LOG" }, "LEVEL",
	  "off, error, warn, info or debug",
	  "off, error, warn, info or debug", "warn",
	  MAIN_TEXT, .most = UINT32_MAX, .words = levels, AT(log), NOT_GIVEN },
	{ "task-concurrency", NULL, { "MUSTER_TASK_CONCURRENCY" }, "N", NULL,
	  "tasks that a worker runs at once", "10",
	  MAIN_NUMBER, 1, 10000, AT(task_concurrency), NOT_GIVEN },
	{ "queues", NULL, { "MUSTER_QUEUES" }, "LIST", NULL,
	  "of tasks that are served beside those of its own",
	  .kind = MAIN_LIST, .most = MAIN_LIST_MAX, AT(queues), NOT_GIVEN },
	{ "store-time", NULL, { "MUSTER_STORE_TIME" }, "TIME", NULL,
	  "for the store to answer", "5s",
	  MAIN_TIME, AT(store_ms), NOT_GIVEN },
	{ "drain-time", NULL, { "MUSTER_DRAIN_TIME" }, "TIME", NULL,
	  "for a worker that is told to go to finish", "30s",
	  MAIN_TIME, AT(drain_ms), NOT_GIVEN },
	{ "drain-idle-time", NULL, { "MUSTER_DRAIN_IDLE_TIME" }, "TIME", NULL,
	  "then, for a connection to ask once more", "2s",
	  MAIN_TIME, AT(drain_idle_ms), NOT_GIVEN },
	{ "config", NULL, { "MUSTER_CONFIG" }, "FILE", NULL,
	  "YAML or JSON (NAME.yml, .yaml or .json, if it is here)",
	  .kind = MAIN_TEXT, .least = 1, .most = UINT32_MAX,
	  .is_for_the_line = true, AT(file), NOT_GIVEN },
	{ "environment", NULL, { "MUSTER_ENV" }, "NAME", NULL,
	  "the section of the file that counts (development)",
	  .kind = MAIN_TEXT, .least = 1, .most = 64,
	  .is_for_the_line = true, AT(section), NOT_GIVEN },
	{ "check", .help = "checks configuration and actions, and ends",
	  .kind = MAIN_MODE, .mode = MAIN_CHECK },
	{ "show-config", .help = "what is in force, and who said so",
	  .kind = MAIN_MODE, .mode = MAIN_SHOW_CONFIG },
	{ "actions", .help = "what it can do, as JSON",
	  .kind = MAIN_MODE, .mode = MAIN_SHOW_ACTIONS },
	{ "help", .help = "this", .kind = MAIN_MODE, .mode = MAIN_HELP },
	/* clang-format on */
};
const size_t main_option_count =
	sizeof(main_option_table) / sizeof(main_option_table[0]);

_Static_assert(sizeof(main_option_table) / sizeof(main_option_table[0]) <=
		       MAIN_OPTIONS_MAX,
	       "MAIN_OPTIONS_MAX is too small");

/* ---- rows by their names ---- */

static bool is_called(const char *known, const char *name, size_t length)
{
	if (known == NULL || strlen(known) != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (known[i] != (name[i] == '_' ? '-' : name[i]))
			return false;
	return true;
}

const struct main_option *main_option_find(const char *name, size_t length)
{
	for (size_t i = 0; i < main_option_count; i++)
		if (is_called(main_option_table[i].name, name, length) ||
		    is_called(main_option_table[i].also, name, length))
			return &main_option_table[i];
	return NULL;
}

const char *main_option_nearest(const char *name)
{
	struct nearest nearest = nearest_to(name);

	for (size_t i = 0; i < main_option_count; i++) {
		nearest_offer(&nearest, main_option_table[i].name);
		if (main_option_table[i].also != NULL)
			nearest_offer(&nearest, main_option_table[i].also);
	}
	return nearest.best;
}
