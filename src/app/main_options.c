#include "app/main_options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/main_option.h"
#include "base/must.h"
#include "base/nearest.h"
#include "base/quantity.h"

#define WORKERS_MAX     1024
#define LIST_MAX        64
#define TOKEN_BYTES_MAX 4096

/* ---- the table ---- */

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
	  MAIN_LIST, 1, LIST_MAX, AT(listen), NOT_GIVEN },
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
	  .kind = MAIN_TEXT, .most = TOKEN_BYTES_MAX, .is_secret = true,
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
	  MAIN_LIST, 0, LIST_MAX, AT(origins), GIVEN(origins),
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
	  .kind = MAIN_LIST, .most = LIST_MAX, AT(queues), NOT_GIVEN },
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

/* ---- values ---- */

enum main_answer main_options_refuse(const struct main_options *options,
				     const char *format, ...)
{
	va_list values;

	fprintf(stderr, "%s: ", options->name);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	return MAIN_MISUSED;
}

static void describe(const struct main_option *option, char *text, size_t size)
{
	if (option->wants != NULL) {
		snprintf(text, size, "%s", option->wants);
		return;
	}
	switch (option->kind) {
	case MAIN_TEXT:
		snprintf(text, size, "a text%s",
			 option->most < UINT32_MAX ? " that is not so long"
						   : "");
		return;
	case MAIN_LIST:
		snprintf(text, size, "a list of %u to %u texts", option->least,
			 option->most);
		return;
	case MAIN_NUMBER:
		snprintf(text, size, "a number from %u to %u", option->least,
			 option->most);
		return;
	case MAIN_TIME:
		snprintf(text, size, "a time as in 250ms, 10s, 2m");
		return;
	case MAIN_SIZE:
		snprintf(text, size, "a size as in 512, 16KiB, 1MiB, from %u",
			 option->least);
		return;
	case MAIN_WORD:
	case MAIN_MODE:
		break;
	}
	text[0] = '\0';
}

static bool is_among(const char *const *words, const char *text, int *place)
{
	for (*place = 0; words[*place] != NULL; (*place)++)
		if (strcmp(words[*place], text) == 0)
			return true;
	return false;
}

static void *slot_of(struct main_options *options,
		     const struct main_option *option)
{
	MUST(option->at <= sizeof(*options) - sizeof(uint32_t));
	return (char *)options + option->at;
}

static bool set_list(struct main_options *options,
		     const struct main_option *option, const char *const *texts,
		     size_t count)
{
	const char **list =
		arena_take_zeroed(&options->arena, count + 1, sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		if (texts[i][0] == '\0' ||
		    (option->read != NULL && !option->read(options, texts[i])))
			return false;
		list[i] = texts[i];
	}
	memcpy(slot_of(options, option), &list, sizeof(list));
	return count >= option->least && count <= option->most;
}

static bool set_one(struct main_options *options,
		    const struct main_option *option, const char *text)
{
	void *slot = slot_of(options, option);
	uint32_t number = 0;
	int place = 0;

	switch (option->kind) {
	case MAIN_TEXT:
		memcpy(slot, &text, sizeof(const char *));
		return strlen(text) >= option->least &&
		       strlen(text) <= option->most &&
		       (option->words == NULL ||
			is_among(option->words, text, &place));
	case MAIN_NUMBER:
		if (!quantity_read_number(text, option->least, option->most,
					  &number))
			return false;
		break;
	case MAIN_TIME:
		if (!quantity_read_time_ms(text, &number))
			return false;
		break;
	case MAIN_SIZE:
		if (!quantity_read_bytes(text, &number) ||
		    number < option->least || number > option->most)
			return false;
		break;
	case MAIN_WORD:
		if (!is_among(option->words, text, &place))
			return false;
		number = (uint32_t)place;
		break;
	case MAIN_LIST:
	case MAIN_MODE:
		MUST(option->kind == MAIN_TEXT); /* are no values */
	}
	memcpy(slot, &number, sizeof(number));
	return true;
}

static const char *join(struct arena *arena, const char *const *texts,
			size_t count)
{
	size_t room = 1;

	for (size_t i = 0; i < count; i++)
		room += strlen(texts[i]) + 2;
	char *joined = arena_take(arena, room);
	char *at = joined;

	*at = '\0';
	for (size_t i = 0; i < count; i++)
		at += sprintf(at, "%s%s", i > 0 ? ", " : "", texts[i]);
	return joined;
}

enum main_answer main_option_set(struct main_options *options,
				 const struct main_option *option,
				 const char *const *texts, size_t count,
				 const struct main_given *given,
				 const char *where)
{
	char wants[80];
	const char *said = join(&options->arena, texts, count);
	bool is_good = false;

	if (option->is_secret && strcmp(said, "***") == 0)
		return main_options_refuse(
			options, "%s is '***', which is how a secret is shown",
			where);
	if (option->kind == MAIN_LIST)
		is_good = set_list(options, option, texts, count);
	else if (option->read != NULL)
		is_good = option->read(options, texts[0]);
	else
		is_good = set_one(options, option, texts[0]);
	if (!is_good) {
		describe(option, wants, sizeof(wants));
		return main_options_refuse(options, "%s wants %s, not '%s'",
					   where, wants,
					   option->is_secret ? "***" : said);
	}
	struct main_given *row = &options->given[option - main_option_table];

	*row = *given;
	row->text = said;
	return MAIN_GO;
}

/* A text for several: what is between commas, without spaces around it. */
static size_t split(struct arena *arena, const char *text, const char **texts)
{
	size_t count = 0;

	while (*text != '\0' && count < LIST_MAX) {
		size_t length = strcspn(text, ",");
		const char *rest = text + length;

		text += strspn(text, " ");
		length = text < rest ? (size_t)(rest - text) : 0;
		while (length > 0 && text[length - 1] == ' ')
			length--;
		texts[count++] = arena_text(arena, text, length);
		text = *rest == ',' ? rest + 1 : rest;
	}
	return count;
}

enum main_answer main_option_set_text(struct main_options *options,
				      const struct main_option *option,
				      const char *text,
				      const struct main_given *given,
				      const char *where)
{
	const char *texts[LIST_MAX] = { text };
	size_t count = 1;

	if (option->kind == MAIN_LIST)
		count = split(&options->arena, text, texts);
	return main_option_set(options, option, texts, count, given, where);
}

/* ---- defaults, and the application ---- */

static void set_defaults(struct main_options *options)
{
	static const struct main_given given = { MAIN_DEFAULT, NULL, NULL, 0 };

	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];

		if (option->otherwise != NULL)
			MUST(main_option_set_text(options, option,
						  option->otherwise, &given,
						  option->name) == MAIN_GO);
	}
}

static bool is_given(const struct main_option *option,
		     const struct muster_app *app, void *value)
{
	size_t size = option->kind == MAIN_TEXT || option->kind == MAIN_LIST
			      ? sizeof(const char *)
			      : sizeof(uint32_t);
	static const char zeros[sizeof(const char *)];

	if (option->kind == MAIN_MODE || option->at_application == NOWHERE)
		return false;
	const char *from = (const char *)app + option->at_application;

	if (memcmp(from, zeros, size) == 0)
		return false;
	memcpy(value, from, size);
	return true;
}

/* What it says is taken as it is: it knows what it does. */
static enum main_answer read_application(struct main_options *options,
					 const struct muster_app *app)
{
	static const struct main_given given = { MAIN_APPLICATION, NULL, NULL,
						 0 };
	const struct main_option *listen =
		main_option_find("listen", strlen("listen"));

	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];
		union {
			const char *text;
			const char *const *list;
			uint32_t number;
		} value;
		size_t count = 0;
		char text[16];

		if (!is_given(option, app, &value))
			continue;
		options->given[i] = given;
		if (option->kind == MAIN_TEXT) {
			options->given[i].text = value.text;
		} else if (option->kind == MAIN_LIST) {
			while (value.list[count] != NULL)
				count++;
			options->given[i].text =
				join(&options->arena, value.list, count);
		} else {
			snprintf(text, sizeof(text), "%u", value.number);
			options->given[i].text =
				arena_text(&options->arena, text, strlen(text));
		}
		memcpy((char *)options + option->at, &value,
		       option->kind == MAIN_TEXT || option->kind == MAIN_LIST
			       ? sizeof(value.text)
			       : sizeof(value.number));
	}
	return app->listen == NULL
		       ? MAIN_GO
		       : main_option_set_text(options, listen, app->listen,
					      &given, "muster_app.listen");
}

/* ---- the environment ---- */

static enum main_answer read_variable(struct main_options *options,
				      const struct main_option *option)
{
	struct main_given given = { .source = MAIN_ENVIRONMENT };

	for (size_t i = 0; i < 2 && option->variables[i] != NULL; i++) {
		const char *text = getenv(option->variables[i]);

		if (text == NULL || text[0] == '\0')
			continue;
		given.variable = option->variables[i];
		return main_option_set_text(options, option, text, &given,
					    given.variable);
	}
	return MAIN_GO;
}

/* ---- the command line ---- */

struct said {
	const char *texts[LIST_MAX];
	size_t count;
};

#define CODE 256 /* of the first row, apart from letters */

static void list_known(struct option *known)
{
	size_t count = 0;

	for (size_t i = 0; i < main_option_count; i++) {
		const struct main_option *option = &main_option_table[i];
		int takes = option->kind == MAIN_MODE ? no_argument
						      : required_argument;

		known[count++] = (struct option){ option->name, takes, NULL,
						  (int)(CODE + i) };
		if (option->also != NULL)
			known[count++] =
				(struct option){ option->also, takes, NULL,
						 (int)(CODE + i) };
	}
	known[count] = (struct option){ 0 };
}

static enum main_answer refuse_line(const struct main_options *options,
				    const char *word, int code)
{
	if (code == ':')
		return main_options_refuse(options,
					   "%s wants a value (usage: %s "
					   "[options]; --help lists them)",
					   word, options->name);
	char name[64];

	snprintf(name, sizeof(name), "%.*s",
		 (int)strcspn(word + strspn(word, "-"), "="),
		 word + strspn(word, "-"));
	const char *best = main_option_nearest(name);

	if (best != NULL && word[0] == '-')
		return main_options_refuse(options,
					   "'%s' is no option: did you mean "
					   "--%s? (usage: %s [options]; --help "
					   "lists them)",
					   word, best, options->name);
	return main_options_refuse(
		options,
		"'%s' is no option (usage: %s [options]; --help "
		"lists them)",
		word, options->name);
}

/* Several of one option are a list, or the last one counts. */
static enum main_answer take(struct main_options *options,
			     const struct main_option *option,
			     struct said *said, const char *text)
{
	if (option->kind != MAIN_LIST) {
		said->texts[0] = text;
		said->count = 1;
		return MAIN_GO;
	}
	const char *texts[LIST_MAX];
	size_t count = split(&options->arena, text, texts);

	if (said->count + count > LIST_MAX)
		return main_options_refuse(options,
					   "--%s is there more than %d times",
					   option->name, LIST_MAX);
	memcpy(said->texts + said->count, texts, count * sizeof(texts[0]));
	said->count += count;
	if (count == 0) /* "--origins ''": an empty list, which was said */
		said->texts[0] = NULL;
	return MAIN_GO;
}

static enum main_answer read_words(struct main_options *options, int argc,
				   char **argv, struct said *said)
{
	struct option known[2 * MAIN_OPTIONS_MAX + 1];
	int code;

	list_known(known);
	optind = 1;
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
		if (code == ':' || code == '?')
			return refuse_line(options, argv[optind - 1], code);
		if (code == 'h') {
			options->mode = MAIN_HELP;
			continue;
		}
		size_t row = (size_t)(code - CODE);

		if (main_option_table[row].kind == MAIN_MODE) {
			options->mode = main_option_table[row].mode;
			continue;
		}
		if (take(options, &main_option_table[row], &said[row],
			 optarg) != MAIN_GO)
			return MAIN_MISUSED;
	}
	return optind == argc ? MAIN_GO
			      : refuse_line(options, argv[optind], '?');
}

static enum main_answer set_said(struct main_options *options, size_t row,
				 const struct said *said)
{
	static const struct main_given given = { MAIN_LINE, NULL, NULL, 0 };
	char where[64];

	if (said->count == 0)
		return MAIN_GO;
	snprintf(where, sizeof(where), "--%s", main_option_table[row].name);
	return main_option_set(options, &main_option_table[row], said->texts,
			       said->count, &given, where);
}

/* ---- the secret in a file ---- */

static const char *read_token(struct main_options *options)
{
	char bytes[TOKEN_BYTES_MAX + 2];
	int file = open(options->token_file, O_RDONLY | O_CLOEXEC);
	ssize_t length = -1;

	if (file >= 0) {
		length = read(file, bytes, sizeof(bytes));
		int error = errno;

		close(file);
		errno = error;
	}
	if (length < 0) {
		(void)main_options_refuse(options,
					  "cannot read the token from '%s': %s",
					  options->token_file, strerror(errno));
		return NULL;
	}
	while (length > 0 && strchr("\r\n", bytes[length - 1]) != NULL)
		length--;
	if (length == 0 || length > TOKEN_BYTES_MAX ||
	    memchr(bytes, '\0', (size_t)length) != NULL) {
		(void)main_options_refuse(options,
					  "'%s' has no token in it: one line "
					  "of up to %d bytes",
					  options->token_file, TOKEN_BYTES_MAX);
		return NULL;
	}
	return arena_text(&options->arena, bytes, (size_t)length);
}

static const struct main_given *given_of(const struct main_options *options,
					 const char *name)
{
	return &options->given[main_option_find(name, strlen(name)) -
			       main_option_table];
}

static enum main_answer choose_token(struct main_options *options)
{
	const struct main_given *token = given_of(options, "token");
	const struct main_given *file = given_of(options, "token-file");

	if (options->token_file == NULL || token->source > file->source)
		return MAIN_GO;
	if (options->token != NULL && token->source == file->source)
		return main_options_refuse(options, "token and token-file: "
						    "only one of them can be");
	options->token = read_token(options);
	return options->token != NULL ? MAIN_GO : MAIN_MISUSED;
}

/* ---- all of it ---- */

/* The weaker comes first, but which file it is has to be known before. */
static enum main_answer read_all(struct main_options *options,
				 const struct muster_app *app,
				 const struct said *said)
{
	enum main_answer answer = read_application(options, app);

	for (size_t pass = 0; pass < 2 && answer == MAIN_GO; pass++) {
		for (size_t i = 0; i < main_option_count && answer == MAIN_GO;
		     i++) {
			const struct main_option *option =
				&main_option_table[i];

			if (option->is_for_the_line != (pass == 0))
				continue;
			answer = read_variable(options, option);
			if (answer == MAIN_GO)
				answer = set_said(options, i, &said[i]);
		}
		if (pass == 0 && answer == MAIN_GO)
			answer = main_options_read_file(options);
	}
	return answer == MAIN_GO ? choose_token(options) : answer;
}

enum main_answer main_options_read(struct main_options *options, int argc,
				   char **argv, const struct muster_app *app)
{
	struct said said[MAIN_OPTIONS_MAX] = { 0 };

	*options = (struct main_options){ 0 };
	options->name =
		app->name != NULL ? app->name : program_invocation_short_name;
	set_defaults(options);
	enum main_answer answer = read_words(options, argc, argv, said);

	if (answer != MAIN_GO || options->mode == MAIN_HELP)
		return answer;
	return read_all(options, app, said);
}

void main_options_fini(struct main_options *options)
{
	arena_fini(&options->arena);
}
