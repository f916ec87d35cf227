/* Peers that are dead: what they owned is handed back, then they are removed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/ask.h"
#include "service/peers_internal.h"
#include "service/routine.h"

/* Those who see the same death go to work one after the other, so that it is
 * mostly the work of one. */
#define RANK_MS     20
#define RANK_MS_MAX 2000

/* A process that runs and does not ping has its loop blocked: that is for its
 * primary to end (see hang_ms), and it still holds what it has. */
#define BLOCKED_MS 60000

struct death {
	struct peers *peers;
	uint32_t delay_ms;
	char *id;
	char *nonce;
};

/* ---- the work, on a fiber ---- */

/* Was it here that it was removed? */
static int remove_record(struct muster *muster, const char *id,
			 const char *nonce, bool *is_ours)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_peer_down(
		muster->store,
		&(struct store_peer_down){ store_text(id), store_text(nonce) },
		ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error == 0)
		*is_ours = ask.answer->result == STORE_DONE;
	return error;
}

static int free_name(struct muster *muster, const char *id, const char *nonce)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_name_free(
		muster->store,
		&(struct store_name_free){ store_text(id), store_text(nonce) },
		ask_on_answer, &ask);
	return ask_end(&ask);
}

/* First what it owned, then its record: whoever dies over it, another sees the
 * record and does it again. */
static int bury(struct peers *peers, const char *id, const char *nonce)
{
	struct muster *muster = peers->muster;
	bool is_ours = false;
	int error = node_reap(muster, id, nonce);

	/* Before the record goes: who replaces it looks for that first, and
	 * where there is none is to find the name free. */
	if (error == 0)
		error = free_name(muster, id, nonce);
	if (error == 0)
		error = remove_record(muster, id, nonce, &is_ours);
	/* It may have lived, and taken something in between. */
	if (error == 0 && is_ours)
		error = node_reap(muster, id, nonce);
	if (is_ours)
		log_warn(&muster->log, "peer is dead id=%s nonce=%s", id,
			 nonce);
	return error;
}

/* ---- whom ---- */

/* Of this machine, and its process is no more? */
static bool is_gone(const struct peers *peers,
		    const struct peers_record *record)
{
	return peers_is_here(peers, record) &&
	       machine_process(record->pid, record->pid_start) ==
		       MACHINE_PROCESS_GONE;
}

static bool is_too_silent(const struct peers *peers,
			  const struct peers_known *known)
{
	const struct peers_record *record = &known->record;
	uint64_t most_ms = peers->dead_ms;

	if (known->silent_ms <= most_ms)
		return false;
	if (peers_is_here(peers, record) && most_ms < BLOCKED_MS &&
	    machine_process(record->pid, record->pid_start) ==
		    MACHINE_PROCESS_RUNNING)
		most_ms = BLOCKED_MS;
	return known->silent_ms > most_ms;
}

/* How many that are sure to live come before this node. */
static uint32_t rank(const struct peers *peers)
{
	uint32_t rank = 0;

	LIST_EACH (&peers->known, link) {
		const struct peers_known *known =
			LIST_ENTRY(link, struct peers_known, link);

		if (known->is_told_up && !known->is_suspect &&
		    strcmp(known->id, peers->muster->id) < 0 &&
		    !is_gone(peers, &known->record))
			rank++;
	}
	return rank;
}

/* ---- those that are known ---- */

/* Is it there still, and silent? It may have been heard of, or buried, while
 * others were first. */
static int is_there_still(struct peers *peers, const char *nonce)
{
	int error = peers_look_now(peers);

	if (error < 0)
		return error;
	const struct peers_known *known = peers_find(peers, store_text(nonce));

	return known != NULL &&
	       (is_gone(peers, &known->record) || is_too_silent(peers, known));
}

static void run_death(struct muster *muster, void *arg)
{
	struct death *death = arg;
	struct peers *peers = death->peers;
	int error = 1;

	if (death->delay_ms > 0) {
		error = muster_sleep(muster, death->delay_ms);
		if (error == 0)
			error = is_there_still(peers, death->nonce);
	}
	if (error > 0)
		error = bury(peers, death->id, death->nonce);
	if (error < 0 && error != -ECANCELED)
		log_warn(&muster->log,
			 "a dead peer is buried later id=%s text=\"%s\"",
			 death->id, muster_problem(muster));
	struct peers_known *known = peers_find(peers, store_text(death->nonce));

	if (known != NULL)
		known->is_being_buried = false;
	if (error == 0)
		peers_hurry(peers);
	free(death->id);
	free(death->nonce);
	free(death);
}

static void start_death(struct peers *peers, struct peers_known *known,
			uint32_t delay_ms)
{
	struct death *death = mem_zalloc(sizeof(*death));

	known->is_being_buried = true;
	death->peers = peers;
	death->delay_ms = delay_ms;
	death->id = mem_text(known->id);
	death->nonce = mem_text(known->nonce);
	if (routine_start(peers->muster, "dead peer", run_death, death, NULL) ==
	    0)
		return;
	known->is_being_buried = false; /* at the next look */
	free(death->id);
	free(death->nonce);
	free(death);
}

/* Starting a fiber runs it, and it may look again: the list is gone over anew
 * after each. */
static struct peers_known *find_dead(struct peers *peers)
{
	LIST_EACH (&peers->known, link) {
		struct peers_known *known =
			LIST_ENTRY(link, struct peers_known, link);

		if (known->is_being_buried ||
		    strcmp(known->nonce, peers->muster->nonce) == 0)
			continue;
		if (is_gone(peers, &known->record) ||
		    (peers_is_steady(peers) && is_too_silent(peers, known)))
			return known;
	}
	return NULL;
}

void peers_bury_dead(struct peers *peers)
{
	uint32_t delay_ms = rank(peers) * RANK_MS;
	struct peers_known *known;

	if (delay_ms > RANK_MS_MAX)
		delay_ms = RANK_MS_MAX;
	while ((known = find_dead(peers)) != NULL)
		start_death(peers, known, delay_ms);
}

/* It may have joined since this node last looked. */
static void run_died(struct muster *muster, void *arg)
{
	struct peers *peers = arg;

	(void)muster;
	if (peers_look_now(peers) == 0)
		peers_bury_dead(peers);
}

/* Whoever is to be buried is found by what the system says of its process. */
void peers_died(struct muster *muster, int pid)
{
	struct peers *peers = muster->peers;

	if (peers == NULL || !peers->has_joined ||
	    muster->state >= NODE_STOPPING)
		return;
	log_debug(&muster->log, "told of a death pid=%d", pid);
	/* Without a fiber it is seen with the next ping. */
	DISCARD(routine_start(muster, "dead peer", run_died, peers, NULL));
}

/* ---- before joining ---- */

static bool is_wanted(const struct peers *peers, const char *id)
{
	uint32_t wanted = peers->number != 0
				  ? peers->number
				  : (uint32_t)peers->muster->settings.slot;
	char *name = mem_format("%s-%u", peers->prefix, wanted);
	/* It had the time to say that it lives. */
	bool is_wanted = peers->refused != 0 && peers->refused == wanted &&
			 strcmp(name, id) == 0;

	free(name);
	return is_wanted;
}

/* The first that is to be buried, copied; false where there is none. */
static int find_to_sweep(struct peers *peers, char **id, char **nonce)
{
	struct muster *muster = peers->muster;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_peer_list(muster->store, &(struct store_peer_list){ 0 },
			ask_on_answer, &ask);
	error = ask_end(&ask);
	for (size_t i = 0; error == 0 && i < ask.answer->peers.count; i++) {
		const struct store_peer_info *info = &ask.answer->peers.list[i];
		struct peers_record record = { 0 };
		const char *name = routine_keep(muster, info->id).data;

		peers_record_read(&record, info->record.data,
				  info->record.length);
		if (is_gone(peers, &record) ||
		    (is_wanted(peers, name) &&
		     info->silent_ms > peers->dead_ms)) {
			*id = mem_text(name);
			*nonce = mem_text(
				routine_keep(muster, info->nonce).data);
			error = 1;
		}
		peers_record_fini(&record);
	}
	return error;
}

int peers_sweep(struct peers *peers)
{
	for (;;) {
		char *id = NULL;
		char *nonce = NULL;
		int found = find_to_sweep(peers, &id, &nonce);

		if (found <= 0)
			return found;
		int error = bury(peers, id, nonce);

		free(id);
		free(nonce);
		if (error < 0)
			return error;
	}
}
