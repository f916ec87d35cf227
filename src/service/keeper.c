#include "service/keeper.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "loop/watch.h"

/* A cancelled task hears of it with the next beat. */
#define BEAT_MS_MAX 3000
#define BEAT_MS_MIN 10
#define IDLE_BEATS  2 /* without a lease, until the thread ends */

/* What was asked of the store: told apart by token when the answer comes, as
 * leases come and go meanwhile. */
struct beat {
	struct keeper *keeper;
	uint64_t sent_ms;
	size_t count;
	uint64_t tokens[STORE_BATCH_MAX];
};

struct keeper {
	/* The owner's. */
	struct loop *loop;
	struct keeper_settings settings;
	struct log log;
	uint32_t beat_ms;
	struct watch *news_watch;
	pthread_t thread;
	bool was_started; /* there is a thread to join */

	pthread_mutex_t mutex; /* over what follows */
	struct list leases;
	bool is_running;
	bool is_stopping;

	int news; /* eventfds: to the owner, to the thread */
	int stop;

	/* The thread's. */
	struct loop *own_loop;
	struct timer *timer;
	struct watch *stop_watch;
	struct store *store; /* NULL until it is needed */
	size_t beats_under_way;
	unsigned idle_beats;
	bool is_ending;
	bool is_away; /* the store, as was logged */
};

uint64_t keeper_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void lock(struct keeper *keeper)
{
	MUST(pthread_mutex_lock(&keeper->mutex) == 0);
}

static void unlock(struct keeper *keeper)
{
	MUST(pthread_mutex_unlock(&keeper->mutex) == 0);
}

static void raise_event(int descriptor)
{
	/* It cannot be full: each is read long before. */
	DISCARD(eventfd_write(descriptor, 1));
}

/* ---- the thread ---- */

static void fence(struct keeper_lease *lease)
{
	atomic_store(&lease->is_fenced, true);
	list_remove(&lease->link);
}

/* The leases that the answer is about, in the order they were asked for: both
 * lists have it. */
static bool take_answer(struct keeper *keeper, const struct beat *beat,
			const struct store_answer *answer)
{
	bool has_news = false;
	size_t i = 0;

	lock(keeper);
	LIST_EACH (&keeper->leases, link) {
		struct keeper_lease *lease =
			LIST_ENTRY(link, struct keeper_lease, link);
		size_t at = i;

		while (at < beat->count && beat->tokens[at] != lease->token)
			at++;
		if (at == beat->count)
			continue;
		i = at + 1;
		enum store_result result = answer->results[at];

		if (result == STORE_DONE || result == STORE_CANCELLED) {
			lease->renewed_ms = beat->sent_ms;
			atomic_store(&lease->sure_until_ms,
				     beat->sent_ms + keeper->settings.lease_ms);
			if (result == STORE_CANCELLED &&
			    !atomic_exchange(&lease->is_cancelled, true))
				has_news = true;
		} else {
			fence(lease);
			has_news = true;
		}
	}
	unlock(keeper);
	return has_news;
}

static void on_beat(void *owner, const struct store_answer *answer)
{
	struct beat *beat = owner;
	struct keeper *keeper = beat->keeper;

	keeper->beats_under_way--;
	if (answer->error < 0) {
		if (!keeper->is_away && !keeper->is_ending)
			log_warn(&keeper->log,
				 "leases could not be prolonged, trying on "
				 "text=\"%s\"",
				 answer->problem->text);
		keeper->is_away = true;
		if (!keeper->is_ending)
			timer_start(keeper->timer, keeper->beat_ms / 4 + 1,
				    keeper->beat_ms);
	} else {
		keeper->is_away = false;
		if (take_answer(keeper, beat, answer))
			raise_event(keeper->news);
	}
	free(beat);
}

static bool is_due(const struct keeper *keeper,
		   const struct keeper_lease *lease, uint64_t now_ms)
{
	return now_ms - lease->renewed_ms >= keeper->beat_ms / 2 &&
	       (lease->until_ms == 0 || now_ms < lease->until_ms);
}

/* Past its time it is no longer prolonged, and in the end somebody else's. */
static bool has_lapsed(const struct keeper_lease *lease, uint64_t now_ms)
{
	return lease->until_ms != 0 && now_ms >= lease->until_ms &&
	       now_ms >= atomic_load(&lease->sure_until_ms);
}

/* Up to a batch of those that are due; ids are copied by the store. Called
 * with the mutex, as ids go with their jobs. */
static void send_some(struct keeper *keeper, struct list **from,
		      uint64_t now_ms)
{
	static const size_t most = STORE_BATCH_MAX;
	struct beat *beat = mem_alloc(sizeof(*beat));
	struct store_lease *leases = mem_alloc(most * sizeof(*leases));

	beat->keeper = keeper;
	beat->sent_ms = now_ms;
	beat->count = 0;
	for (; *from != &keeper->leases && beat->count < most;
	     *from = (*from)->next) {
		const struct keeper_lease *lease =
			LIST_ENTRY(*from, struct keeper_lease, link);

		if (!is_due(keeper, lease, now_ms))
			continue;
		leases[beat->count].id = store_text(lease->id);
		leases[beat->count].token = lease->token;
		beat->tokens[beat->count++] = lease->token;
	}
	if (beat->count > 0) {
		keeper->beats_under_way++;
		store_heartbeat(keeper->store,
				&(struct store_heartbeat){
					.leases = leases,
					.count = beat->count,
					.lease_ms = keeper->settings.lease_ms,
				},
				on_beat, beat);
	} else {
		free(beat);
	}
	free(leases);
}

static bool open_store(struct keeper *keeper)
{
	struct problem problem = { 0 };

	if (keeper->store != NULL)
		return true;
	keeper->store = store_open(keeper->own_loop, keeper->settings.store_url,
				   &keeper->settings.store, &problem);
	if (keeper->store == NULL && !keeper->is_away)
		log_error(&keeper->log, "leases cannot be prolonged: %s",
			  problem.text);
	keeper->is_away = keeper->store == NULL;
	return keeper->store != NULL;
}

static void end_thread(struct keeper *keeper)
{
	timer_close(keeper->timer);
	watch_close(keeper->stop_watch);
	loop_stop(keeper->own_loop);
}

static void on_store_closed(void *owner)
{
	struct keeper *keeper = owner;

	keeper->store = NULL;
	lock(keeper);
	bool has_work = !list_is_empty(&keeper->leases) && !keeper->is_stopping;

	keeper->is_running = has_work;
	unlock(keeper);
	keeper->is_ending = !has_work;
	keeper->idle_beats = 0;
	if (has_work)
		timer_start(keeper->timer, 1, keeper->beat_ms);
	else
		end_thread(keeper);
}

static void end(struct keeper *keeper)
{
	if (keeper->is_ending)
		return;
	keeper->is_ending = true;
	timer_stop(keeper->timer);
	if (keeper->store != NULL)
		store_close(keeper->store, on_store_closed, keeper);
	else
		on_store_closed(keeper);
}

static void on_stop(void *owner)
{
	struct keeper *keeper = owner;

	watch_stop(keeper->stop_watch); /* nobody reads it */
	end(keeper);
}

static void on_tick(void *owner)
{
	struct keeper *keeper = owner;
	uint64_t now_ms = keeper_now_ms();
	bool has_due = false;
	bool has_news = false;

	lock(keeper);
	LIST_EACH (&keeper->leases, link) {
		struct keeper_lease *lease =
			LIST_ENTRY(link, struct keeper_lease, link);

		if (has_lapsed(lease, now_ms)) {
			fence(lease);
			has_news = true;
		} else if (is_due(keeper, lease, now_ms)) {
			has_due = true;
		}
	}
	bool is_idle = list_is_empty(&keeper->leases);

	unlock(keeper);
	if (has_news)
		raise_event(keeper->news);
	keeper->idle_beats = is_idle ? keeper->idle_beats + 1 : 0;
	if (keeper->idle_beats >= IDLE_BEATS) {
		end(keeper);
		return;
	}
	if (!has_due || keeper->beats_under_way > 0 || !open_store(keeper))
		return;
	lock(keeper);
	struct list *from = keeper->leases.next;

	while (from != &keeper->leases)
		send_some(keeper, &from, now_ms);
	unlock(keeper);
}

static void *run(void *arg)
{
	struct keeper *keeper = arg;

	DISCARD(pthread_setname_np(pthread_self(), "muster-keeper"));
	keeper->own_loop = loop_new(&keeper->log);
	keeper->store = NULL;
	keeper->beats_under_way = 0;
	keeper->idle_beats = 0;
	keeper->is_ending = false;
	keeper->timer = timer_open(keeper->own_loop, on_tick, keeper, true);
	MUST(watch_open(keeper->own_loop, keeper->stop, on_stop, keeper,
			&keeper->stop_watch) == 0);
	watch_start(keeper->stop_watch);
	timer_start(keeper->timer, keeper->beat_ms, keeper->beat_ms);
	loop_run(keeper->own_loop);
	loop_free(keeper->own_loop);
	return NULL;
}

/* ---- the owner ---- */

static void on_news(void *owner)
{
	struct keeper *keeper = owner;
	eventfd_t count;

	DISCARD(eventfd_read(keeper->news, &count));
	keeper->settings.on_news(keeper->settings.owner);
}

static void join(struct keeper *keeper)
{
	if (keeper->was_started)
		MUST(pthread_join(keeper->thread, NULL) == 0);
	keeper->was_started = false;
}

/* Signals are for the owner's thread. */
static void start(struct keeper *keeper)
{
	sigset_t all;
	sigset_t before;

	join(keeper);
	sigfillset(&all);
	MUST(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	int error = pthread_create(&keeper->thread, NULL, run, keeper);

	MUST(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	keeper->was_started = error == 0;
	if (error == 0)
		return;
	lock(keeper);
	keeper->is_running = false; /* tried again with the next lease */
	unlock(keeper);
	log_error(&keeper->log,
		  "no thread for the leases, which are not prolonged code=%d",
		  error);
}

struct keeper *keeper_new(struct loop *loop, const struct log *log,
			  const struct keeper_settings *settings)
{
	struct keeper *keeper = mem_zalloc(sizeof(*keeper));

	keeper->loop = loop;
	keeper->log = *log;
	keeper->settings = *settings;
	keeper->beat_ms = settings->lease_ms / 3;
	if (keeper->beat_ms > BEAT_MS_MAX)
		keeper->beat_ms = BEAT_MS_MAX;
	if (keeper->beat_ms < BEAT_MS_MIN)
		keeper->beat_ms = BEAT_MS_MIN;
	MUST(pthread_mutex_init(&keeper->mutex, NULL) == 0);
	list_init(&keeper->leases);
	keeper->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	keeper->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(keeper->news >= 0 && keeper->stop >= 0);
	MUST(watch_open(loop, keeper->news, on_news, keeper,
			&keeper->news_watch) == 0);
	watch_set_keeps_alive(keeper->news_watch, false);
	watch_start(keeper->news_watch);
	return keeper;
}

void keeper_free(struct keeper *keeper)
{
	if (keeper == NULL)
		return;
	lock(keeper);
	keeper->is_stopping = true;
	unlock(keeper);
	raise_event(keeper->stop);
	join(keeper);
	watch_close(keeper->news_watch);
	close(keeper->news);
	close(keeper->stop);
	MUST(pthread_mutex_destroy(&keeper->mutex) == 0);
	free(keeper);
}

void keeper_add(struct keeper *keeper, struct keeper_lease *lease)
{
	uint64_t now_ms = keeper_now_ms();

	lease->renewed_ms = now_ms;
	atomic_store(&lease->sure_until_ms, now_ms + keeper->settings.lease_ms);
	lock(keeper);
	list_add_last(&keeper->leases, &lease->link);
	bool is_running = keeper->is_running;

	keeper->is_running = true;
	unlock(keeper);
	if (!is_running)
		start(keeper);
}

void keeper_remove(struct keeper *keeper, struct keeper_lease *lease)
{
	lock(keeper);
	if (list_is_linked(&lease->link))
		list_remove(&lease->link);
	unlock(keeper);
}

bool keeper_is_running(struct keeper *keeper)
{
	lock(keeper);
	bool is_running = keeper->is_running;

	unlock(keeper);
	return is_running;
}
