#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <muster/peer.h>

#include "cli/guest.h"
#include "cli/print.h"

enum {
	WATCH = GUEST_OPTIONS,
	OPTIONS,
};

static const struct command_option options[OPTIONS + 1] = {
	GUEST_ROWS,
	[WATCH] = { 'w', "watch", NULL, NULL,
		    "what happens to them, until interrupted" },
};

struct request {
	bool is_watch;
	bool is_json;
};

static int take(void *context, int option, const char *value)
{
	struct request *request = context;

	(void)option; /* there is one */
	(void)value;
	request->is_watch = true;
	return COMMAND_DONE;
}

/* What a person wants to know of it in a word. */
static const char *word_of(const struct muster_peer *peer)
{
	return peer->is_suspect ? "silent"
				: muster_peer_state_text(peer->state);
}

static json_t *texts(const char *const *list)
{
	json_t *array = json_array();

	for (; *list != NULL; list++)
		json_array_append_new(array, print_bytes(*list, strlen(*list)));
	return array;
}

static json_t *json_of(const struct muster_peer *peer)
{
	return json_pack(
		"{s:s, s:s, s:b, s:o, s:i, s:o, s:o, s:i, s:I, s:I, s:s}", "id",
		peer->id, "state", muster_peer_state_text(peer->state),
		"suspect", peer->is_suspect, "host",
		print_bytes(peer->host, strlen(peer->host)), "pid", peer->pid,
		"version", print_bytes(peer->version, strlen(peer->version)),
		"urls", texts(peer->urls), "slots", (int)peer->slots,
		"startedAt", (json_int_t)peer->started_ms, "silentMs",
		(json_int_t)peer->silent_ms, "nonce", peer->nonce);
}

/* ---- once ---- */

static int widest(const struct muster_peer_list *list, const char *title,
		  const char *(*text)(const struct muster_peer *peer))
{
	size_t width = strlen(title);

	for (size_t i = 0; i < list->count; i++) {
		size_t length = strlen(text(&list->peers[i]));

		width = length > width ? length : width;
	}
	return (int)width;
}

static const char *id_of(const struct muster_peer *peer)
{
	return peer->id;
}

static const char *host_of(const struct muster_peer *peer)
{
	return peer->host;
}

static const char *version_of(const struct muster_peer *peer)
{
	return peer->version[0] == '\0' ? "-" : peer->version;
}

static void print_table(const struct muster_peer_list *list)
{
	int id = widest(list, "NAME", id_of);
	int host = widest(list, "HOST", host_of);
	int version = widest(list, "VERSION", version_of);

	if (list->count > 0)
		printf("%-*s  %-8s  %-*s  %7s  %5s  %-*s  %6s  %s\n", id,
		       "NAME", "STATE", host, "HOST", "PID", "SLOTS", version,
		       "VERSION", "HEARD", "SERVES");
	for (size_t i = 0; i < list->count; i++) {
		const struct muster_peer *peer = &list->peers[i];

		printf("%-*s  %-8s  %-*s  %7d  %5" PRIu32 "  %-*s  %3" PRIu64
		       ".%" PRIu64 " s ",
		       id, peer->id, word_of(peer), host, peer->host, peer->pid,
		       peer->slots, version, version_of(peer),
		       peer->silent_ms / 1000, peer->silent_ms / 100 % 10);
		for (const char *const *url = peer->urls; *url != NULL; url++)
			printf(" %s", *url);
		putchar('\n');
	}
}

static int show(struct guest *guest)
{
	struct muster_peer_list list;

	if (muster_peers(guest->muster, &list) < 0)
		return guest_failed(guest);
	if (!guest->is_json) {
		print_table(&list);
		return COMMAND_DONE;
	}
	json_t *array = json_array();

	for (size_t i = 0; i < list.count; i++)
		json_array_append_new(array, json_of(&list.peers[i]));
	print_json(array);
	return COMMAND_DONE;
}

/* ---- watching ---- */

static void on_peer(struct muster *muster, enum muster_peer_event event,
		    const struct muster_peer *peer, void *arg)
{
	const struct request *request = arg;
	const char *name = muster_peer_event_text(event);

	(void)muster;
	if (request->is_json)
		print_json(json_pack("{s:s, s:o}", "event", name, "peer",
				     json_of(peer)));
	else
		printf("%-7s  %s  %s  %d\n", name, peer->id, peer->host,
		       peer->pid);
	fflush(stdout);
}

static int run_peers(struct guest *guest)
{
	struct request *request = guest->context;

	request->is_json = guest->is_json;
	if (!request->is_watch)
		return show(guest);
	muster_on_peer(guest->muster, on_peer, request);
	return COMMAND_DONE;
}

static int run(struct arguments *arguments)
{
	struct request request = { 0 };

	return guest_run(arguments, &(struct guest_plan){
					    .take = take,
					    .run = run_peers,
					    .context = &request,
				    });
}

const struct command peers_command = {
	.name = "peers",
	.operands = "",
	.summary = "Shows the servers of a cluster",
	.options = options,
	.run = run,
};
