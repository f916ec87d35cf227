#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "service/peers_internal.h"

#define URLS_MAX  64
#define HOST_MAX  64
#define SLOTS_OWN 10 /* tasks at once where the application does not say */

static const char *const state_names[] = {
	[MUSTER_PEER_JOINING] = "joining",
	[MUSTER_PEER_UP] = "up",
	[MUSTER_PEER_DRAINING] = "draining",
};

#define STATES (sizeof(state_names) / sizeof(state_names[0]))

const char *muster_peer_state_text(enum muster_peer_state state)
{
	return (size_t)state < STATES ? state_names[state] : "";
}

/* ---- names ---- */

static bool is_small(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
}

bool peers_is_id(const char *id)
{
	static const char *const taken[] = { "global", "delayed", "data",
					     "processing" };
	size_t length = strlen(id);
	size_t digits = 0;

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(id, taken[i]) == 0)
			return false;
	for (size_t i = 0; i < length; i++)
		if (!is_small(id[i]) && id[i] != '.' && id[i] != '-')
			return false;
	while (digits < length &&
	       isdigit((unsigned char)id[length - 1 - digits]))
		digits++;
	return length <= STORE_NAME_MAX && is_small(id[0]) && digits > 0 &&
	       length > digits + 1 && id[length - 1 - digits] == '-';
}

static void read_host(char host[HOST_MAX + 1])
{
	if (gethostname(host, HOST_MAX) < 0 || host[0] == '\0')
		snprintf(host, HOST_MAX + 1, "%s", "localhost");
	host[HOST_MAX] = '\0';
}

/* What a name may hold of any text. */
static void simplify(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++) {
		char byte = (char)tolower((unsigned char)*from);

		if (!is_small(byte) && byte != '.')
			byte = '-';
		if (is_small(byte) || to != text)
			*to++ = byte;
	}
	*to = '\0';
}

char *peers_make_prefix(const struct muster *muster)
{
	char host[HOST_MAX + 1];
	const char *from = muster->name;

	read_host(host);
	if (muster->settings.options.names_host)
		from = host;
	char *text = mem_text(from);

	simplify(text);
	char *prefix = mem_format("%s-worker", text[0] == '\0' ? "node" : text);

	free(text);
	return prefix;
}

/* ---- this node's ---- */

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static char **copy_urls(const char *const *urls)
{
	size_t count = 0;

	while (urls != NULL && urls[count] != NULL && count < URLS_MAX)
		count++;
	char **copy = mem_zalloc((count + 1) * sizeof(*copy));

	for (size_t i = 0; i < count; i++)
		copy[i] = mem_text(urls[i]);
	return copy;
}

void peers_record_own(struct peers *peers)
{
	const struct muster_node_options *options =
		&peers->muster->settings.options;
	struct peers_record *own = &peers->own;
	char host[HOST_MAX + 1];
	char machine[MACHINE_BYTES];

	read_host(host);
	machine_read(machine);
	own->host = mem_text(host);
	own->machine = mem_text(machine);
	own->version =
		mem_text(options->version == NULL ? "" : options->version);
	own->urls = copy_urls(options->urls);
	own->pid = getpid();
	own->pid_start = machine_process_start(own->pid);
	own->started_ms = real_ms();
	if (options->tasks != NULL)
		own->slots = options->concurrency == 0 ? SLOTS_OWN
						       : options->concurrency;
}

void peers_record_fini(struct peers_record *record)
{
	for (char **url = record->urls; url != NULL && *url != NULL; url++)
		free(*url);
	free(record->urls);
	free(record->host);
	free(record->machine);
	free(record->version);
	*record = (struct peers_record){ 0 };
}

/* Bytes that are no UTF-8 are left out: a record is for people too. */
static json_t *text_value(const char *text)
{
	json_t *value = json_pack("s", text);

	return value != NULL ? value : json_pack("s", "");
}

char *peers_record_write(const struct peers *peers)
{
	const struct peers_record *own = &peers->own;
	json_t *urls = json_array();

	for (char **url = own->urls; *url != NULL; url++)
		json_array_append_new(urls, text_value(*url));
	json_t *value = json_pack(
		"{s:o, s:s, s:i, s:I, s:s, s:o, s:I, s:s, s:i, s:o}", "host",
		text_value(own->host), "machine", own->machine, "pid", own->pid,
		"pidStart", (json_int_t)own->pid_start, "nonce",
		peers->muster->nonce, "version", text_value(own->version),
		"startedAt", (json_int_t)own->started_ms, "state",
		state_names[own->state], "slots", (int)own->slots, "urls",
		urls);
	char *text = json_dumps(value, JSON_COMPACT);

	json_decref(value);
	return text != NULL ? text : mem_text("{}");
}

/* ---- those of others ---- */

/* It may end up on somebody's terminal. */
static const char *plain(const char *text)
{
	for (const char *at = text; at != NULL && *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return NULL;
	return text;
}

static const char *text_of(const json_t *value, const char *key)
{
	const char *text =
		plain(json_string_value(json_object_get(value, key)));

	return text == NULL ? "" : text;
}

static uint64_t number_of(const json_t *value, const char *key, uint64_t most)
{
	json_int_t number = json_integer_value(json_object_get(value, key));

	return number < 0 || (uint64_t)number > most ? 0 : (uint64_t)number;
}

static enum muster_peer_state state_of(const char *name)
{
	for (size_t i = 0; i < STATES; i++)
		if (strcmp(state_names[i], name) == 0)
			return (enum muster_peer_state)i;
	return MUSTER_PEER_JOINING;
}

static char **urls_of(const json_t *list)
{
	const char *urls[URLS_MAX + 1] = { NULL };
	size_t count = 0;

	for (size_t i = 0; i < json_array_size(list) && count < URLS_MAX; i++) {
		const char *url =
			plain(json_string_value(json_array_get(list, i)));

		if (url != NULL)
			urls[count++] = url;
	}
	return copy_urls(urls);
}

void peers_record_read(struct peers_record *record, const char *text,
		       size_t length)
{
	json_t *value = json_loadb(text, length, 0, NULL);

	record->host = mem_text(text_of(value, "host"));
	record->machine = mem_text(text_of(value, "machine"));
	record->version = mem_text(text_of(value, "version"));
	record->urls = urls_of(json_object_get(value, "urls"));
	record->state = state_of(text_of(value, "state"));
	record->pid = (int)number_of(value, "pid", INT32_MAX);
	record->slots = (uint32_t)number_of(value, "slots", UINT32_MAX);
	record->pid_start = number_of(value, "pidStart", UINT64_MAX);
	record->started_ms = number_of(value, "startedAt", UINT64_MAX);
	json_decref(value);
}
