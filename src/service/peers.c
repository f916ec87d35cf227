#include "service/peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/ask.h"
#include "service/peers_internal.h"
#include "service/routine.h"

/* An embedded store answers at once, so silence means something sooner. */
#define PING_MS          2000
#define PING_EMBEDDED_MS 500
#define SUSPECT_PINGS    3
#define DEAD_TIMES_TWO   15 /* seven intervals and a half */

/* ---- the record ---- */

static bool is_peer(const struct peers *peers)
{
	return !peers->muster->settings.options.is_guest;
}

static enum muster_peer_state state_of(const struct muster *muster)
{
	if (muster->state < NODE_UP)
		return MUSTER_PEER_JOINING;
	return muster->state == NODE_UP ? MUSTER_PEER_UP : MUSTER_PEER_DRAINING;
}

/* 0, MUSTER_LOST where the record is not, or no longer, this node's. */
static int ping(struct peers *peers, const char *id, bool is_joining)
{
	struct muster *muster = peers->muster;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	bool is_new = is_joining || peers->own.state != state_of(muster);

	peers->own.state = state_of(muster);
	char *record = is_new ? peers_record_write(peers) : NULL;

	store_peer_ping(muster->store,
			&(struct store_peer_ping){
				.id = store_text(id),
				.nonce = store_text(muster->nonce),
				.record = store_text(record),
				.is_joining = is_joining,
			},
			ask_on_answer, &ask);
	free(record);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	return ask.answer->result == STORE_DONE ? 0 : MUSTER_LOST;
}

static int leave(struct peers *peers)
{
	struct muster *muster = peers->muster;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_peer_leave(muster->store,
			 &(struct store_peer_leave){
				 .id = store_text(muster->id),
				 .nonce = store_text(muster->nonce),
			 },
			 ask_on_answer, &ask);
	return ask_end(&ask);
}

/* ---- the name ---- */

static int free_name(struct muster *muster, const char *name, const char *nonce)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_name_free(muster->store,
			&(struct store_name_free){
				.name = store_text(name),
				.nonce = store_text(nonce),
			},
			ask_on_answer, &ask);
	return ask_end(&ask);
}

static void set_id(struct muster *muster, struct store_bytes name)
{
	char *id = mem_alloc(name.length + 1);

	memcpy(id, name.data, name.length);
	id[name.length] = '\0';
	free(muster->id);
	muster->id = id;
}

/* The worker's slot's, or the one that it had, or the lowest that is free.
 * MUSTER_BUSY: none of those; the next one is to be tried. */
static int take_name(struct peers *peers)
{
	struct muster *muster = peers->muster;
	uint32_t wanted = peers->number != 0 ? peers->number
					     : (uint32_t)muster->settings.slot;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	if (wanted < peers->floor)
		wanted = peers->floor;
	store_name_take(muster->store,
			&(struct store_name_take){
				.prefix = store_text(peers->prefix),
				.nonce = store_text(muster->nonce),
				.host = store_text(peers->own.machine),
				.wanted = wanted,
				.dead_ms = peers->dead_ms,
			},
			ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	peers->has_name = true;
	peers->number = ask.answer->name.number;
	set_id(muster, ask.answer->name.name);
	if (peers->number < peers->floor) {
		/* `wanted` is held, and the lowest free one was refused. */
		peers->floor = wanted + 1;
		error = free_name(muster, muster->id, muster->nonce);
		return error < 0 ? error : MUSTER_BUSY;
	}
	if (wanted != 0 && wanted != peers->number)
		log_info(&muster->log,
			 "another one has this name, taking the next "
			 "wanted=%s-%u got=%s",
			 peers->prefix, wanted, muster->id);
	return 0;
}

/* ---- joining ---- */

int peers_look_now(struct peers *peers)
{
	struct muster *muster = peers->muster;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_peer_list(muster->store, &(struct store_peer_list){ 0 },
			ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error == 0)
		peers_look(peers, ask.answer);
	return error;
}

/* A record of that name may be there still, of a life that has ended. */
static int try_join(struct peers *peers)
{
	int error = peers_sweep(peers);

	if (error == 0)
		error = take_name(peers);
	if (error == 0)
		error = ping(peers, peers->muster->id, true);
	return error;
}

/* The name was free, and its record is another's: of one who died, which is
 * buried when it has been silent for long enough, or of one who lives, and lost
 * the name while the store was away. After an outage both look alike: one gets
 * the time to say so. */
static int meet_refusal(struct peers *peers)
{
	struct muster *muster = peers->muster;

	if (peers->refused != peers->number) {
		peers->refused = peers->number;
		log_warn(&muster->log,
			 "another one may have this name, waiting id=%s",
			 muster->id);
		return muster_sleep(muster, peers->suspect_ms);
	}
	peers->floor = peers->number + 1;
	peers->refused = 0;
	return free_name(muster, muster->id, muster->nonce);
}

static int join(struct peers *peers)
{
	struct muster *muster = peers->muster;

	for (;;) {
		int error = try_join(peers);

		if (error == 0)
			break;
		if (error == MUSTER_LOST)
			error = meet_refusal(peers);
		if (error >= 0)
			continue;
		if (error == -ECANCELED || !node_is_passing(error))
			return error;
		log_warn(&muster->log, "joining later text=\"%s\"",
			 muster_problem(muster));
		error = muster_sleep(muster, peers->ping_ms);
		if (error < 0)
			return error;
	}
	peers->refused = peers->floor = 0;
	peers->has_joined = true;
	log_info(&muster->log, "joined id=%s nonce=%s", muster->id,
		 muster->nonce);
	return 0;
}

/* What it owned is others' by now: under this nonce it does nothing more. */
static int rejoin(struct peers *peers)
{
	struct muster *muster = peers->muster;

	if (peers->has_joined) {
		log_warn(&muster->log,
			 "others took this node for dead, joining anew id=%s",
			 muster->id);
		peers->has_joined = false;
		node_tell_lost(muster);
		memcpy(peers->lost_nonce, muster->nonce, NODE_NONCE_BYTES);
		node_make_nonce(muster->nonce);
	}
	int error = 0;

	if (peers->lost_nonce[0] != '\0')
		error = free_name(muster, muster->id, peers->lost_nonce);
	if (error < 0)
		return error;
	peers->lost_nonce[0] = '\0';
	error = join(peers);
	if (error == 0)
		node_tell_rejoined(muster);
	return error;
}

/* ---- the pulse ---- */

/* After a silence of our own, or the store's, everyone else may only look
 * dead. */
static void note_contact(struct peers *peers)
{
	uint64_t now_ms = loop_now_ms(peers->muster->loop);

	if (peers->heard_ms == 0 ||
	    now_ms - peers->heard_ms > peers->suspect_ms)
		peers->steady_ms = now_ms;
	peers->heard_ms = now_ms;
}

bool peers_is_steady(const struct peers *peers)
{
	return loop_now_ms(peers->muster->loop) - peers->steady_ms >=
	       peers->suspect_ms;
}

static int beat_once(struct peers *peers)
{
	int error = 0;

	if (is_peer(peers)) {
		error = peers->has_joined
				? ping(peers, peers->muster->id, false)
				: MUSTER_LOST;
		if (error == MUSTER_LOST)
			error = rejoin(peers);
	}
	if (error == 0)
		error = peers_look_now(peers);
	if (error < 0)
		return error;
	note_contact(peers);
	if (is_peer(peers))
		peers_bury_dead(peers);
	return 0;
}

/* Until it is time, or peers_hurry(). */
static int rest(struct peers *peers)
{
	if (peers->is_due)
		return 0;
	peers->pause = fiber_wait_begin();
	int result = routine_park(peers->muster, peers->pause, peers->ping_ms);

	return result == -ETIMEDOUT ? 0 : result;
}

static bool goes_on(const struct peers *peers)
{
	return peers->muster->state < NODE_STOPPING &&
	       (is_peer(peers) || !list_is_empty(&peers->watchers) ||
		!list_is_empty(&peers->waiters));
}

static void beat(struct muster *muster, void *arg)
{
	struct peers *peers = arg;

	while (goes_on(peers) && rest(peers) == 0) {
		peers->is_due = false;
		int error = beat_once(peers);

		muster_clear_answers(muster);
		if (error == -ECANCELED)
			break;
		if (error < 0)
			log_warn(&muster->log,
				 "the peers do not hear of this node "
				 "text=\"%s\"",
				 muster_problem(muster));
	}
	peers->is_beating = false;
}

void peers_hurry(struct peers *peers)
{
	peers->is_due = true;
	fiber_wake(peers->pause, 0);
}

void peers_watch(struct peers *peers)
{
	enum node_state state = peers->muster->state;

	if (peers->is_beating || !peers->is_started || state >= NODE_STOPPING)
		return;
	peers->is_beating = peers->is_due = true;
	if (routine_start(peers->muster, "peers", beat, peers, NULL) < 0)
		peers->is_beating = false; /* the next who asks tries again */
}

/* ---- the part ---- */

struct peers *peers_of(struct muster *muster)
{
	if (muster->peers != NULL)
		return muster->peers;
	struct peers *peers = mem_zalloc(sizeof(*peers));
	const struct muster_node_options *options = &muster->settings.options;
	bool is_embedded = strncmp(options->store, "lmdb:", 5) == 0;

	muster->peers = peers;
	peers->muster = muster;
	list_init(&peers->known);
	list_init(&peers->watchers);
	list_init(&peers->waiters);
	peers->ping_ms = options->ping_ms;
	if (peers->ping_ms == 0)
		peers->ping_ms = is_embedded ? PING_EMBEDDED_MS : PING_MS;
	peers->suspect_ms = options->suspect_ms;
	if (peers->suspect_ms == 0)
		peers->suspect_ms = peers->ping_ms * SUSPECT_PINGS;
	peers->dead_ms = options->dead_ms;
	if (peers->dead_ms == 0)
		peers->dead_ms = peers->ping_ms * DEAD_TIMES_TWO / 2;
	peers->prefix = peers_make_prefix(muster);
	peers_record_own(peers);
	return peers;
}

static int check_times(const struct peers *peers)
{
	if (peers->ping_ms < peers->suspect_ms &&
	    peers->suspect_ms <= peers->dead_ms)
		return 0;
	return problem_set(routine_problem(peers->muster), -EINVAL,
			   "PEER_TIMES_INVALID",
			   "a peer that pings every %u ms cannot be suspect "
			   "after %u ms and dead after %u ms (each must be "
			   "longer than the one before)",
			   peers->ping_ms, peers->suspect_ms, peers->dead_ms);
}

static int start(struct muster *muster)
{
	struct peers *peers = peers_of(muster);
	int error = check_times(peers);

	if (error == 0 && is_peer(peers))
		error = join(peers);
	if (error == 0 && is_peer(peers))
		error = peers_look_now(peers);
	if (error < 0)
		return error;
	note_contact(peers);
	peers->is_started = true;
	if (goes_on(peers))
		peers_watch(peers);
	return 0;
}

static void on_state(struct muster *muster)
{
	if (muster->state == NODE_UP || muster->state == NODE_DRAINING)
		peers_hurry(muster->peers);
}

static void stop(struct muster *muster)
{
	struct peers *peers = muster->peers;
	int error = 0;

	if (peers->has_joined)
		error = leave(peers);
	if (error == 0 && peers->has_name)
		error = free_name(muster, muster->id, muster->nonce);
	if (error < 0)
		log_warn(&muster->log,
			 "left without a word, others will miss it id=%s "
			 "text=\"%s\"",
			 muster->id, muster_problem(muster));
	peers->has_joined = peers->has_name = false;
}

static void free_peers(struct muster *muster)
{
	struct peers *peers = muster->peers;

	if (peers == NULL)
		return;
	peers_view_fini(peers);
	peers_record_fini(&peers->own);
	free(peers->prefix);
	free(peers);
	muster->peers = NULL;
}

const struct node_part peers_part = {
	.name = "peers",
	.start = start,
	.on_state = on_state,
	.stop = stop,
	.free = free_peers,
};
