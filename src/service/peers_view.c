/* What this node knows of its peers, and whom it tells. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/ask.h"
#include "service/peers_internal.h"
#include "service/routine.h"

/* Something to be told, with a peer of its own. */
struct tale {
	struct list link;
	enum muster_peer_event event;
	struct muster_peer peer;
	struct arena arena;
	bool is_quiet; /* for the node alone: it never was up */
};

/* A handler; what it is still to be told waits with it. */
struct watcher {
	struct list link;
	struct muster *muster;
	muster_peer_fn fn;
	void *arg;
	struct list tales;
	bool is_running;
};

/* A fiber in muster_peer_wait(), on whose stack this is. */
struct waiter {
	struct list link;
	const char *id; /* NULL: any */
	enum muster_peer_event event;
	struct fiber_wait wait;
	struct arena *arena; /* of the fiber */
	struct muster_peer *peer;
};

static const char *const event_names[] = {
	[MUSTER_PEER_IS_UP] = "up",
	[MUSTER_PEER_IS_SUSPECT] = "suspect",
	[MUSTER_PEER_IS_DOWN] = "down",
	[MUSTER_PEER_HAS_LEFT] = "left",
};

const char *muster_peer_event_text(enum muster_peer_event event)
{
	size_t count = sizeof(event_names) / sizeof(event_names[0]);

	return event > 0 && (size_t)event < count ? event_names[event] : "";
}

/* ---- one peer ---- */

static bool is_text(struct store_bytes bytes, const char *text)
{
	return strlen(text) == bytes.length &&
	       memcmp(text, bytes.data, bytes.length) == 0;
}

static char *copy(struct store_bytes bytes)
{
	char *text = mem_alloc(bytes.length + 1);

	memcpy(text, bytes.data, bytes.length);
	text[bytes.length] = '\0';
	return text;
}

bool peers_is_here(const struct peers *peers, const struct peers_record *record)
{
	return record->machine[0] != '\0' &&
	       strcmp(record->machine, peers->own.machine) == 0;
}

struct peers_known *peers_find(struct peers *peers, struct store_bytes nonce)
{
	LIST_EACH (&peers->known, link) {
		struct peers_known *known =
			LIST_ENTRY(link, struct peers_known, link);

		if (is_text(nonce, known->nonce))
			return known;
	}
	return NULL;
}

static void forget(struct peers_known *known)
{
	list_remove(&known->link);
	peers_record_fini(&known->record);
	free(known->id);
	free(known->nonce);
	free(known->text);
	free(known);
}

static const char *keep(struct arena *arena, const char *text)
{
	return arena_text(arena, text, strlen(text));
}

/* Everything it points to is in the arena. */
static void describe(const struct peers *peers, const char *id,
		     const char *nonce, const struct peers_record *record,
		     struct arena *arena, struct muster_peer *peer)
{
	size_t urls = 0;

	while (record->urls[urls] != NULL)
		urls++;
	const char **list = arena_take(arena, (urls + 1) * sizeof(*list));

	for (size_t i = 0; i < urls; i++)
		list[i] = keep(arena, record->urls[i]);
	list[urls] = NULL;
	*peer = (struct muster_peer){
		.id = keep(arena, id),
		.nonce = keep(arena, nonce),
		.host = keep(arena, record->host),
		.version = keep(arena, record->version),
		.urls = list,
		.state = record->state,
		.pid = record->pid,
		.slots = record->slots,
		.started_ms = record->started_ms,
		.is_here = peers_is_here(peers, record),
		.is_self = strcmp(nonce, peers->muster->nonce) == 0,
	};
}

static void describe_known(const struct peers *peers,
			   const struct peers_known *known, struct arena *arena,
			   struct muster_peer *peer)
{
	describe(peers, known->id, known->nonce, &known->record, arena, peer);
	peer->silent_ms = known->silent_ms;
	peer->is_suspect = known->is_suspect;
}

/* ---- telling ---- */

static void add_tale(struct list *tales, const struct peers *peers,
		     const struct peers_known *known,
		     enum muster_peer_event event)
{
	struct tale *tale = mem_zalloc(sizeof(*tale));

	tale->is_quiet = !known->is_told_up;
	tale->event = event;
	describe_known(peers, known, &tale->arena, &tale->peer);
	list_add_last(tales, &tale->link);
}

static void free_tales(struct list *tales)
{
	while (!list_is_empty(tales)) {
		struct tale *tale =
			LIST_ENTRY(list_take_first(tales), struct tale, link);

		arena_fini(&tale->arena);
		free(tale);
	}
}

static void run_watcher(struct muster *muster, void *arg)
{
	struct watcher *watcher = arg;

	while (!list_is_empty(&watcher->tales)) {
		struct tale *tale = LIST_ENTRY(list_take_first(&watcher->tales),
					       struct tale, link);

		watcher->fn(muster, tale->event, &tale->peer, watcher->arg);
		muster_clear_answers(muster);
		arena_fini(&tale->arena);
		free(tale);
	}
	watcher->is_running = false;
}

/* Where no fiber is to be had, it goes with the next that is told. */
static void start_watcher(struct watcher *watcher)
{
	struct muster *muster = watcher->muster;

	if (watcher->is_running || list_is_empty(&watcher->tales) ||
	    muster->state >= NODE_STOPPING)
		return;
	watcher->is_running = true;
	if (routine_start(muster, "peer events", run_watcher, watcher, NULL) <
	    0)
		watcher->is_running = false;
}

static bool wants(const struct waiter *waiter, const struct tale *tale)
{
	return waiter->event == tale->event &&
	       (waiter->id == NULL || strcmp(waiter->id, tale->peer.id) == 0);
}

static void describe_again(const struct muster_peer *from, struct arena *arena,
			   struct muster_peer *to)
{
	size_t urls = 0;

	*to = *from;
	to->id = keep(arena, from->id);
	to->nonce = keep(arena, from->nonce);
	to->host = keep(arena, from->host);
	to->version = keep(arena, from->version);
	while (from->urls[urls] != NULL)
		urls++;
	const char **list = arena_take(arena, (urls + 1) * sizeof(*list));

	for (size_t i = 0; i < urls; i++)
		list[i] = keep(arena, from->urls[i]);
	list[urls] = NULL;
	to->urls = list;
}

/* Those who are woken run within, and may wait anew. */
static void wake_waiters(struct peers *peers, const struct tale *tale)
{
	struct list woken;

	list_init(&woken);
	LIST_EACH (&peers->waiters, link) {
		struct waiter *waiter = LIST_ENTRY(link, struct waiter, link);

		if (!wants(waiter, tale))
			continue;
		describe_again(&tale->peer, waiter->arena, waiter->peer);
		list_remove(&waiter->link);
		list_add_last(&woken, &waiter->link);
	}
	while (!list_is_empty(&woken)) {
		struct waiter *waiter = LIST_ENTRY(list_take_first(&woken),
						   struct waiter, link);

		fiber_wake(waiter->wait, 0);
	}
}

static void add_copy(struct watcher *watcher, const struct tale *from)
{
	struct tale *tale = mem_zalloc(sizeof(*tale));

	tale->event = from->event;
	describe_again(&from->peer, &tale->arena, &tale->peer);
	list_add_last(&watcher->tales, &tale->link);
}

static void tell(struct peers *peers, struct list *tales)
{
	LIST_EACH (tales, link) {
		const struct tale *tale = LIST_ENTRY(link, struct tale, link);

		if (tale->is_quiet)
			continue;
		log_info(&peers->muster->log, "peer event=%s id=%s nonce=%s",
			 event_names[tale->event], tale->peer.id,
			 tale->peer.nonce);
		LIST_EACH (&peers->watchers, at)
			add_copy(LIST_ENTRY(at, struct watcher, link), tale);
	}
	/* Handlers and waiters run within these. */
	LIST_EACH (tales, link) {
		const struct tale *tale = LIST_ENTRY(link, struct tale, link);

		node_tell_peer(peers->muster, tale->event, tale->peer.id);
	}
	LIST_EACH (&peers->watchers, at)
		start_watcher(LIST_ENTRY(at, struct watcher, link));
	LIST_EACH (tales, link) {
		const struct tale *tale = LIST_ENTRY(link, struct tale, link);

		if (!tale->is_quiet)
			wake_waiters(peers, tale);
	}
	free_tales(tales);
}

/* ---- looking ---- */

static void update(struct peers_known *known,
		   const struct store_peer_info *info)
{
	known->is_seen = true;
	known->silent_ms = info->silent_ms;
	if (known->text != NULL && is_text(info->record, known->text))
		return;
	free(known->text);
	known->text = copy(info->record);
	peers_record_fini(&known->record);
	peers_record_read(&known->record, info->record.data,
			  info->record.length);
}

static struct peers_known *add_known(struct peers *peers,
				     const struct store_peer_info *info)
{
	struct peers_known *known = mem_zalloc(sizeof(*known));

	known->id = copy(info->id);
	known->nonce = copy(info->nonce);
	list_add_last(&peers->known, &known->link);
	return known;
}

static void see(struct peers *peers, struct peers_known *known,
		struct list *tales)
{
	bool was_suspect = known->is_suspect;

	if (strcmp(known->nonce, peers->muster->nonce) == 0)
		return;
	known->is_suspect = known->silent_ms > peers->suspect_ms &&
			    (was_suspect || peers_is_steady(peers));
	if (!known->is_told_up && known->record.state == MUSTER_PEER_UP) {
		known->is_told_up = true;
		add_tale(tales, peers, known, MUSTER_PEER_IS_UP);
	} else if (known->is_told_up && was_suspect && !known->is_suspect) {
		add_tale(tales, peers, known, MUSTER_PEER_IS_UP);
	}
	if (known->is_told_up && !was_suspect && known->is_suspect)
		add_tale(tales, peers, known, MUSTER_PEER_IS_SUSPECT);
}

/* Where the store has forgotten it was long ago: for a time this node did not
 * look. */
static enum muster_peer_event way_of(const struct peers_known *known,
				     const struct store_answer *answer)
{
	for (size_t i = 0; i < answer->peers.gone_count; i++)
		if (is_text(answer->peers.gone[i].nonce, known->nonce) &&
		    answer->peers.gone[i].has_left)
			return MUSTER_PEER_HAS_LEFT;
	return MUSTER_PEER_IS_DOWN;
}

static void miss(struct peers *peers, const struct store_answer *answer,
		 struct list *tales)
{
	LIST_EACH (&peers->known, link) {
		struct peers_known *known =
			LIST_ENTRY(link, struct peers_known, link);

		if (known->is_seen)
			continue;
		/* Not of an own life that is over: this node is there. */
		if (known->is_told_up ||
		    strcmp(known->id, peers->muster->id) != 0)
			add_tale(tales, peers, known, way_of(known, answer));
		forget(known);
	}
}

void peers_look(struct peers *peers, const struct store_answer *answer)
{
	struct list tales;

	list_init(&tales);
	LIST_EACH (&peers->known, link)
		LIST_ENTRY(link, struct peers_known, link)->is_seen = false;
	for (size_t i = 0; i < answer->peers.count; i++) {
		const struct store_peer_info *info = &answer->peers.list[i];
		struct peers_known *known = peers_find(peers, info->nonce);

		if (known == NULL)
			known = add_known(peers, info);
		update(known, info);
		see(peers, known, &tales);
	}
	miss(peers, answer, &tales);
	tell(peers, &tales);
}

void peers_view_fini(struct peers *peers)
{
	LIST_EACH (&peers->known, link)
		forget(LIST_ENTRY(link, struct peers_known, link));
	LIST_EACH (&peers->watchers, link) {
		struct watcher *watcher =
			LIST_ENTRY(link, struct watcher, link);

		free_tales(&watcher->tales);
		free(watcher);
	}
	list_init(&peers->watchers);
}

/* ---- what applications see ---- */

void muster_on_peer(struct muster *muster, muster_peer_fn fn, void *arg)
{
	struct peers *peers = peers_of(muster);
	struct watcher *watcher = mem_zalloc(sizeof(*watcher));

	watcher->muster = muster;
	watcher->fn = fn;
	watcher->arg = arg;
	list_init(&watcher->tales);
	list_add_last(&peers->watchers, &watcher->link);
	LIST_EACH (&peers->known, link) {
		const struct peers_known *known =
			LIST_ENTRY(link, struct peers_known, link);

		if (known->is_told_up)
			add_tale(&watcher->tales, peers, known,
				 MUSTER_PEER_IS_UP);
	}
	peers_watch(peers);
	start_watcher(watcher);
}

/* Those that are silent are not there for sure. */
static const struct peers_known *find_up(struct peers *peers, const char *id)
{
	LIST_EACH (&peers->known, link) {
		const struct peers_known *known =
			LIST_ENTRY(link, struct peers_known, link);

		if (known->is_told_up && !known->is_suspect &&
		    known->record.state == MUSTER_PEER_UP &&
		    (id == NULL || strcmp(id, known->id) == 0))
			return known;
	}
	return NULL;
}

static int wait_for(struct peers *peers, struct waiter *waiter,
		    uint64_t timeout_ms)
{
	waiter->wait = fiber_wait_begin();
	list_add_last(&peers->waiters, &waiter->link);
	peers_watch(peers);
	int error = routine_park(peers->muster, waiter->wait, timeout_ms);

	if (list_is_linked(&waiter->link))
		list_remove(&waiter->link);
	if (error == -ETIMEDOUT &&
	    muster_problem_word(peers->muster)[0] == '\0')
		return problem_set(routine_problem(peers->muster), error,
				   "PEER_TIMEOUT",
				   "no peer%s%.80s was %s in %llu ms",
				   waiter->id != NULL ? " " : "",
				   waiter->id != NULL ? waiter->id : "",
				   event_names[waiter->event],
				   (unsigned long long)timeout_ms);
	return error;
}

int muster_peer_wait(struct muster *muster, const char *id,
		     enum muster_peer_event event, uint64_t timeout_ms,
		     const struct muster_peer **peer)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	struct peers *peers = peers_of(muster);
	struct arena *arena = routine_answers(muster);
	struct muster_peer *found = arena_take_zeroed(arena, 1, sizeof(*found));
	const struct peers_known *up =
		event == MUSTER_PEER_IS_UP ? find_up(peers, id) : NULL;

	if (muster_peer_event_text(event)[0] == '\0')
		return problem_set(routine_problem(muster), -EINVAL,
				   "EVENT_INVALID", "%d is no event of a peer",
				   (int)event);
	if (up != NULL)
		describe_known(peers, up, arena, found);
	else
		error = wait_for(peers,
				 &(struct waiter){ .id = id,
						   .event = event,
						   .arena = arena,
						   .peer = found },
				 timeout_ms);
	if (error == 0 && peer != NULL)
		*peer = found;
	return error;
}

static int by_id(const void *first, const void *second)
{
	const struct muster_peer *a = first;
	const struct muster_peer *b = second;

	return strcmp(a->id, b->id);
}

bool peers_knows(const struct muster *muster, const char *id)
{
	if (muster->peers == NULL)
		return false;
	LIST_EACH (&muster->peers->known, link)
		if (strcmp(LIST_ENTRY(link, struct peers_known, link)->id,
			   id) == 0)
			return true;
	return strcmp(muster->id, id) == 0;
}

int muster_peers(struct muster *muster, struct muster_peer_list *list)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	struct peers *peers = peers_of(muster);

	store_peer_list(muster->store, &(struct store_peer_list){ 0 },
			ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	struct arena *arena = routine_answers(muster);
	size_t count = ask.answer->peers.count;
	struct muster_peer *all = arena_take_zeroed(arena, count, sizeof(*all));

	for (size_t i = 0; i < count; i++) {
		const struct store_peer_info *info = &ask.answer->peers.list[i];
		struct peers_record record = { 0 };

		peers_record_read(&record, info->record.data,
				  info->record.length);
		describe(
			peers,
			arena_text(arena, info->id.data, info->id.length),
			arena_text(arena, info->nonce.data, info->nonce.length),
			&record, arena, &all[i]);
		peers_record_fini(&record);
		all[i].silent_ms = info->silent_ms;
		all[i].is_suspect = info->silent_ms > peers->suspect_ms;
	}
	qsort(all, count, sizeof(*all), by_id);
	*list = (struct muster_peer_list){ all, count };
	return 0;
}
