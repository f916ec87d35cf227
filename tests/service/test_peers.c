/* Nodes as real processes that share a store: names, and what each learns of
 * the others. MUSTER_TEST_STORE says which back end: lmdb or redis. */
#include <muster/node.h>
#include <muster/peer.h>
#include <muster/task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "program.h"

/* Short, so that nothing takes long, and long beside a busy machine's pauses.
 */
#define PING_MS    100
#define SUSPECT_MS 600
#define DEAD_MS    1500
#define MANY       20

/* ---- programs ---- */

static int redis(int argc, char **argv)
{
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
	       argument(argc, argv, 0), "--save", "", NULL);
	return 127;
}

/* The muster command, with up to three words. */
static int muster(int argc, char **argv)
{
	const char *path = argument(argc, argv, 0);
	const char *first = argument(argc, argv, 1);
	const char *second = argument(argc, argv, 2);

	execl(path, "muster", first, second[0] == '\0' ? NULL : second, NULL);
	return 127;
}

static void on_peer(struct muster *muster, enum muster_peer_event event,
		    const struct muster_peer *peer, void *arg)
{
	(void)muster;
	(void)arg;
	say("%s %s nonce=%s", muster_peer_event_text(event), peer->id,
	    peer->nonce);
}

/* The loop is blocked, as by an application's mistake. */
static void block(struct muster *muster, void *arg)
{
	const struct timespec time = { .tv_sec = *(const int *)arg };

	if (muster_peer_wait(muster, NULL, MUSTER_PEER_IS_UP, 0, NULL) < 0)
		return;
	say("blocks");
	nanosleep(&time, NULL);
	say("goes on");
}

static int join(struct muster *muster, void *arg)
{
	say("joined %s", muster_id(muster));
	if (*(const int *)arg > 0)
		return muster_spawn(muster, "block", block, arg);
	return 0;
}

static int node(int argc, char **argv)
{
	const char *name = argument(argc, argv, 0);
	bool names_host = strcmp(name, "HOST") == 0;
	int block_s = argument_number(argc, argv, 1);
	struct muster *muster = muster_open(
		NULL,
		&(struct muster_node_options){
			.name = argument(argc, argv, 0),
			.token = "of these tests alone",
			.version = "1.2",
			.urls = (const char *const[]){ "http://a:1", NULL },
			.names_host = names_host,
			.ping_ms = PING_MS,
			.suspect_ms = SUSPECT_MS,
			.dead_ms = DEAD_MS,
			.on_start = join,
			.arg = &block_s,
		});

	return muster == NULL ? 1 : muster_run(muster);
}

static int watch_all(struct muster *muster, void *arg)
{
	(void)arg;
	muster_on_peer(muster, on_peer, NULL);
	say("watches");
	return 0;
}

static int watch(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){ .name = "watch",
						     .is_guest = true,
						     .ping_ms = PING_MS,
						     .suspect_ms = SUSPECT_MS,
						     .dead_ms = DEAD_MS,
						     .on_start = watch_all });

	return muster == NULL ? 1 : muster_run(muster);
}

static int say_list(struct muster *muster, void *arg)
{
	struct muster_peer_list list;
	int error = muster_peers(muster, &list);

	(void)arg;
	for (size_t i = 0; error == 0 && i < list.count; i++) {
		const struct muster_peer *peer = &list.peers[i];

		say("peer %s state=%s pid=%d host=%d here=%d version=%s url=%s",
		    peer->id, muster_peer_state_text(peer->state), peer->pid,
		    peer->host[0] != '\0', peer->is_here, peer->version,
		    peer->urls[0]);
	}
	say("peers %zu", list.count);
	return error;
}

static int wait_in_vain(struct muster *muster, void *arg)
{
	int error = muster_peer_wait(muster, "nobody-1", MUSTER_PEER_IS_UP, 50,
				     NULL);

	(void)arg;
	say("waited code=%d word=%s", error, muster_problem_word(muster));
	return 0;
}

static int list(int argc, char **argv)
{
	struct muster *muster = muster_open(
		NULL, &(struct muster_node_options){
			      .name = "list",
			      .is_guest = true,
			      .on_start = argument(argc, argv, 0)[0] == '\0'
						  ? say_list
						  : wait_in_vain });

	return muster == NULL ? 1 : muster_run(muster);
}

/* Fits an int for days. */
static int clock_ms(void)
{
	return (int)(now_ms() % 1000000000);
}

/* ---- a task that a worker keeps ---- */

static int keep_it(struct muster_job *job)
{
	struct muster *muster = muster_job_node(job);

	say("leased id=%s pid=%d at=%d", muster_id(muster), (int)getpid(),
	    clock_ms());
	return muster_sleep(muster, 3600 * 1000);
}

static const struct muster_task tasks[] = {
	{ .name = "keep", .run = keep_it, .attempts = 1000 }, { 0 }
};

/* Once, as its id is known. */
static int start_leasing(struct muster *muster, void *arg)
{
	int error = muster_task_enqueue(
		muster, "keep", &(struct muster_enqueue){ .id = "the-task" });

	(void)arg;
	say("joined %s", muster_id(muster));
	return error < 0 ? error : 0; /* or it is known */
}

/* In a worker of a cluster. */
static int leaser(int argc, char **argv)
{
	struct muster_options options = {
		.name = "app", .workers = argument_number(argc, argv, 0)
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);
	const struct muster_node_options node_options = {
		.token = "of these tests alone",
		.on_start = start_leasing,
		.tasks = tasks,
		.drain_ms = 100,
	};

	if (muster_is_primary(cluster))
		say_events(cluster);
	else if (muster_open(cluster, &node_options) == NULL)
		return 1;
	return muster_cluster_run(cluster);
}

static const struct test_program programs[] = {
	PROGRAM(muster), PROGRAM(leaser), PROGRAM(list), PROGRAM(node),
	PROGRAM(redis),  PROGRAM(watch),  { 0 },
};

/* ---- what tests do ---- */

static char store[300];        /* for the environment */
static struct process *server; /* NULL: embedded */

static void open_store(void)
{
	const char *kind = getenv("MUSTER_TEST_STORE");
	char url[256];

	if (kind != NULL && strcmp(kind, "redis") == 0) {
		server = start("redis", path_in_directory("redis.sock"), NULL);

		expect(server, "*eady to accept connections*");
		snprintf(url, sizeof(url), "unix:%s",
			 path_in_directory("redis.sock"));
	} else {
		snprintf(url, sizeof(url), "lmdb:%s",
			 path_in_directory("store"));
	}
	snprintf(store, sizeof(store), "MUSTER_STORE=%s", url);
}

static struct process *start_program(const char *name, const char *first,
				     const char *second)
{
	return start_with(&(struct start_options){
		.name = name,
		.arguments = (const char *const[]){ first, second, NULL },
		.environment = (const char *const[]){ store, NULL },
	});
}

static struct process *start_node(int number)
{
	struct process *p = start_program("node", "app", NULL);

	expect(p, "joined app-worker-%d", number);
	return p;
}

static struct process *start_watch(void)
{
	struct process *p = start_program("watch", NULL, NULL);

	expect(p, "watches");
	return p;
}

static void expect_count(int count)
{
	struct process *p = start_program("list", NULL, NULL);

	expect(p, "peers %d", count);
	expect_exit(p, 0);
}

/* ---- tests ---- */

static void a_node_is_seen_with_all_it_says(void)
{
	open_store();
	struct process *p = start_node(1);
	struct process *watcher = start_watch();

	expect(watcher, "up app-worker-1 *");
	struct process *lister = start_program("list", NULL, NULL);

	expect(lister,
	       "peer app-worker-1 state=up pid=%d host=1 here=1 version=1.2 "
	       "url=http://a:1",
	       (int)pid_of(p));
	expect_exit(lister, 0);
	lister = start_program("list", "wait", NULL);
	expect(lister, "waited code=-110 word=PEER_TIMEOUT");
	expect_exit(lister, 0);
	send_signal(p, SIGTERM);
	expect_exit(p, 0);
	expect(watcher, "left app-worker-1 *");
	expect_count(0);
	send_signal(watcher, SIGTERM);
	expect_exit(watcher, 0);
}

static struct process *start_muster(const char *first, const char *second)
{
	const char *path = getenv("MUSTER_TEST_COMMAND");

	assert_non_null(path);
	return start_with(&(struct start_options){
		.name = "muster",
		.arguments = (const char *const[]){ path, first, second, NULL },
		.environment = (const char *const[]){ store, NULL },
	});
}

static void the_command_shows_them(void)
{
	open_store();
	struct process *p = start_node(1);
	struct process *watcher = start_watch();

	expect(watcher, "up app-worker-1 *");
	struct process *shown = start_muster("peers", NULL);

	expect(shown, "NAME *STATE *HOST *PID *");
	expect(shown, "app-worker-1 *up * %d * 1.2 * http://a:1",
	       (int)pid_of(p));
	expect_exit(shown, 0);
	shown = start_muster("peers", "--json");
	expect(shown, "[{\"id\":\"app-worker-1\",\"state\":\"up\",*}]");
	expect_exit(shown, 0);
	shown = start_muster("peers", "--watch");
	expect(shown, "up *app-worker-1 *");
	send_signal(p, SIGTERM);
	expect_exit(p, 0);
	expect(shown, "left *app-worker-1 *");
	send_signal(shown, SIGINT);
	expect_exit(shown, 0);
	shown = start_muster("peers", "--json");
	/* A pattern's brackets stand for themselves. */
	expect(shown, "[]");
	expect_exit(shown, 0);
}

static void names_are_the_lowest_that_are_free(void)
{
	open_store();
	start_node(1);
	struct process *second = start_node(2);

	start_node(3);
	send_signal(second, SIGTERM);
	expect_exit(second, 0);
	start_node(2);
	start_node(4);
	struct process *other = start_program("node", "My_App", NULL);

	expect(other, "joined my-app-worker-1");
	other = start_program("node", "HOST", NULL);
	expect(other, "joined *-worker-1");
	expect_count(6);
}

static void no_name_is_given_twice(void)
{
	struct process *all[MANY];
	bool has[MANY + 1] = { false };

	open_store();
	for (int i = 0; i < MANY; i++)
		all[i] = start_program("node", "app", NULL);
	for (int i = 0; i < MANY; i++) {
		int number = expect_number(all[i], "joined app-worker-");

		assert_in_range(number, 1, MANY);
		assert_false(has[number]);
		has[number] = true;
	}
	expect_count(MANY);
	for (int i = 0; i < MANY; i++)
		send_signal(all[i], SIGTERM);
	for (int i = 0; i < MANY; i++)
		expect_exit(all[i], 0);
	expect_count(0);
}

static void a_killed_one_is_down_at_once_and_its_name_free(void)
{
	open_store();
	start_node(1);
	struct process *second = start_node(2);
	struct process *watcher = start_watch();

	expect(watcher, "up app-worker-2 *");
	send_signal(second, SIGKILL);
	expect_exit(second, -SIGKILL);
	expect(watcher, "down app-worker-2 *");
	start_node(2);
	expect(watcher, "up app-worker-2 *");
}

/* Nobody is left to bury them: the next one does, and has the first name. */
static void all_are_killed_and_the_next_one_is_the_first(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);

	send_signal(first, SIGKILL);
	send_signal(second, SIGKILL);
	expect_exit(first, -SIGKILL);
	expect_exit(second, -SIGKILL);
	start_node(1);
	expect_count(1);
}

static void a_stopped_one_is_taken_for_dead_and_joins_anew(void)
{
	open_store();
	start_node(1);
	struct process *second = start_node(2);
	struct process *watcher = start_watch();
	char first[80];
	char again[80];

	snprintf(first, sizeof(first), "%s",
		 expect(watcher, "up app-worker-2 *"));
	send_signal(second, SIGSTOP);
	expect(watcher, "suspect app-worker-2 *");
	expect(watcher, "down%s", first + strlen("up"));
	expect_count(1);
	send_signal(second, SIGCONT);
	snprintf(again, sizeof(again), "%s",
		 expect(watcher, "up app-worker-2 *"));
	assert_string_not_equal(first, again);
	send_signal(second, SIGTERM);
	expect_exit(second, 0);
	expect(watcher, "left%s", again + strlen("up"));
}

/* Then everyone has been silent for longer than the dead are. Whoever comes
 * first must not take the others' names, nor bury them. */
static void after_an_outage_of_the_store_nobody_is_dead(void)
{
	const struct timespec time = { .tv_sec = 3 * DEAD_MS / 1000 };

	open_store();
	if (server == NULL)
		return; /* an embedded store is never away */
	start_node(1);
	start_node(2);
	struct process *watcher = start_watch();

	expect(watcher, "up app-worker-1 *");
	expect(watcher, "up app-worker-2 *");
	send_signal(server, SIGSTOP);
	nanosleep(&time, NULL); /* which is what the test is about */
	struct process *third = start_program("node", "app", NULL);

	send_signal(server, SIGCONT);
	expect(third, "joined app-worker-3");
	expect(watcher, "up app-worker-3 *");
	send_signal(third, SIGKILL);
	expect_exit(third, -SIGKILL);
	expect(watcher, "down app-worker-3 *");
	expect_none(watcher, "down app-worker-1 *");
	expect_none(watcher, "down app-worker-2 *");
	expect_count(2);
}

/* Its name is taken meanwhile: it has the next one. */
static void a_stopped_one_finds_its_name_taken(void)
{
	open_store();
	start_node(1);
	struct process *second = start_node(2);
	struct process *watcher = start_watch();

	expect(watcher, "up app-worker-2 *");
	send_signal(second, SIGSTOP);
	expect(watcher, "down app-worker-2 *");
	start_node(2);
	send_signal(second, SIGCONT);
	expect(watcher, "up app-worker-3 *");
	expect_count(3);
}

static void one_whose_loop_is_blocked_is_suspect_and_not_dead(void)
{
	open_store();
	struct process *watcher = start_watch();
	struct process *p = start_program("node", "app", "4");

	expect(p, "joined app-worker-1");
	start_node(2);
	expect(p, "blocks");
	expect(watcher, "suspect app-worker-1 *");
	expect(p, "goes on");
	expect(watcher, "up app-worker-1 *");
	expect(watcher, "up app-worker-1 *"); /* again */
	expect_none(watcher, "down *");
	expect_count(2);
}

/* The times are those of peers on different hosts, and a lease is long: what
 * is this fast is what the primary says. */
static void expect_handed_back(int workers, int rounds)
{
	char count[12];

	snprintf(count, sizeof(count), "%d", workers);
	open_store();
	struct process *p = start_program("leaser", count, NULL);

	for (int i = 0; i < workers; i++)
		expect(p, "joined *");
	int all_ms = 0;
	int most_ms = 0;

	const char *line = expect(p, "leased *");

	for (int i = 0; i < rounds; i++) {
		int at_ms = clock_ms();

		kill(field(line, "pid"), SIGKILL);
		line = expect(p, "leased *");
		int took = field(line, "at") - at_ms;

		expect(p, "joined *"); /* who replaces it */
		all_ms += took;
		most_ms = took > most_ms ? took : most_ms;
	}
	print_message(
		"# %s: killed to leased again, %d workers: %d ms, %d at most"
		"\n",
		store, workers, all_ms / rounds, most_ms);
	/* Far below a lease, or the time after which a peer is dead. */
	assert_in_range(most_ms, 0, 2000);
}

static void what_a_killed_worker_owned_is_had_by_another_at_once(void)
{
	expect_handed_back(3, 10);
}

static void alone_it_is_had_by_its_replacement(void)
{
	expect_handed_back(1, 3);
}

static void a_replacement_has_the_same_name(void)
{
	open_store();
	struct process *p = start_program("leaser", "3", NULL);

	for (int i = 1; i <= 3; i++)
		expect(p, "joined app-worker-%d", i);
	for (int i = 1; i <= 3; i++) {
		int pid = field(expect(p, "fork %d *", i), "pid");

		kill(pid, SIGKILL);
		expect(p, "joined app-worker-%d", i);
	}
	expect_none(p, "joined app-worker-4");
	expect_count(3);
	send_signal(p, SIGTERM);
	expect_exit(p, 0);
	expect_count(0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(a_node_is_seen_with_all_it_says),
		TEST(the_command_shows_them),
		TEST(names_are_the_lowest_that_are_free),
		TEST(no_name_is_given_twice),
		TEST(a_killed_one_is_down_at_once_and_its_name_free),
		TEST(all_are_killed_and_the_next_one_is_the_first),
		TEST(a_stopped_one_is_taken_for_dead_and_joins_anew),
		TEST(a_stopped_one_finds_its_name_taken),
		TEST(after_an_outage_of_the_store_nobody_is_dead),
		TEST(one_whose_loop_is_blocked_is_suspect_and_not_dead),
		TEST(what_a_killed_worker_owned_is_had_by_another_at_once),
		TEST(alone_it_is_had_by_its_replacement),
		TEST(a_replacement_has_the_same_name),
		{ 0 },
	};

	return harness_main(argc, argv, programs, tests);
}
