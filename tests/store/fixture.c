#include "fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"

#define DEADLINE_MS 20000

const char *fixture_back_end = "lmdb";

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- servers ---- */

/* Reads until the server says that it is ready. */
static void await_line(int descriptor, const char *wanted)
{
	char text[8192];
	size_t length = 0;
	int64_t deadline = now_ms() + DEADLINE_MS;

	for (;;) {
		struct pollfd poller = { .fd = descriptor, .events = POLLIN };
		int64_t left = deadline - now_ms();

		if (left <= 0 || poll(&poller, 1, (int)left) <= 0)
			fail_msg("not ready in time: %s", wanted);
		ssize_t got = read(descriptor, text + length,
				   sizeof(text) - 1 - length);

		if (got <= 0)
			fail_msg("it ended: %.*s", (int)length, text);
		length += (size_t)got;
		text[length] = '\0';
		if (strstr(text, wanted) != NULL)
			return;
	}
}

static pid_t start(char *const *arguments, const char *wanted)
{
	int ends[2];

	MUST(pipe2(ends, O_CLOEXEC) == 0);
	pid_t parent = getpid();
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		execvp(arguments[0], arguments);
		_exit(127);
	}
	close(ends[1]);
	await_line(ends[0], wanted);
	/* What it says from now on goes nowhere; a closed pipe is fine. */
	close(ends[0]);
	return pid;
}

static pid_t start_redis(const char *directory, const char *const *first,
			 const char *const *more)
{
	char *arguments[40] = { NULL };
	size_t count = 0;

	arguments[count++] = mem_text("redis-server");
	for (; *first != NULL; first++)
		arguments[count++] = mem_text(*first);
	arguments[count++] = mem_text("--dir");
	arguments[count++] = mem_text(directory);
	arguments[count++] = mem_text("--save");
	arguments[count++] = mem_text("");
	for (; more != NULL && *more != NULL; more++)
		arguments[count++] = mem_text(*more);
	pid_t pid = start(arguments, "eady to accept connections");

	for (size_t i = 0; i < count; i++)
		free(arguments[i]);
	return pid;
}

pid_t fixture_start_redis(const char *directory, const char *const *more)
{
	char *path = mem_format("%s/redis.sock", directory);
	const char *const first[] = { "--port", "0", "--unixsocket", path,
				      NULL };
	pid_t pid = start_redis(directory, first, more);

	free(path);
	return pid;
}

pid_t fixture_start_redis_at(const char *directory, uint16_t port,
			     const char *const *more)
{
	char text[8];
	const char *const first[] = { "--port", text, "--bind", "127.0.0.1",
				      NULL };

	snprintf(text, sizeof(text), "%u", port);
	return start_redis(directory, first, more);
}

static uint16_t unused_port(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(bind(descriptor, (const struct sockaddr *)&address, length) == 0);
	MUST(getsockname(descriptor, (struct sockaddr *)&address, &length) ==
	     0);
	close(descriptor);
	return ntohs(address.sin_port);
}

/* Not one of those given out just now, which nobody may hold yet. */
uint16_t fixture_free_port(void)
{
	static uint16_t given[16];
	static size_t next;

	for (;;) {
		uint16_t port = unused_port();
		bool is_new = true;

		for (size_t i = 0; i < 16; i++)
			is_new &= given[i] != port;
		if (!is_new)
			continue;
		given[next++ % 16] = port;
		return port;
	}
}

static bool cli_says(const char *arguments, const char *wanted)
{
	char *command = mem_format("redis-cli %s 2>&1", arguments);
	char line[512];
	bool is_found = false;
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	FILE *pipe = popen(command, "r");

	MUST(pipe != NULL);
	while (fgets(line, sizeof(line), pipe) != NULL)
		is_found |= strncmp(line, wanted, strlen(wanted)) == 0;
	pclose(pipe);
	free(command);
	return is_found;
}

void fixture_await_cli(const char *arguments, const char *wanted)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	while (!cli_says(arguments, wanted))
		if (now_ms() > deadline)
			fail_msg("redis-cli %s never said %s", arguments,
				 wanted);
}

/* ---- a cluster ---- */

#define NODES 3

static struct {
	bool is_up;
	char directory[64];
	uint16_t ports[NODES];
	pid_t pids[NODES];
} cluster;

static void stop_cluster(void)
{
	for (size_t i = 0; i < NODES; i++)
		fixture_stop(cluster.pids[i], SIGKILL);
	fixture_remove(cluster.directory);
}

static void node_cli(size_t node, const char *command, const char *wanted)
{
	char *arguments = mem_format("-p %u %s", cluster.ports[node], command);

	fixture_await_cli(arguments, wanted);
	free(arguments);
}

static void start_node(size_t i)
{
	char *file = mem_format("nodes-%zu.conf", i);
	char *bus = mem_format("%u", fixture_free_port());
	const char *const more[] = { "--cluster-enabled",
				     "yes",
				     "--cluster-config-file",
				     file,
				     "--cluster-port",
				     bus,
				     NULL };

	cluster.ports[i] = fixture_free_port();
	cluster.pids[i] = fixture_start_redis_at(cluster.directory,
						 cluster.ports[i], more);
	if (i > 0) {
		char *meet = mem_format("cluster meet 127.0.0.1 %u %s",
					cluster.ports[i], bus);

		node_cli(0, meet, "OK");
		free(meet);
	}
	char *slots =
		mem_format("cluster addslotsrange %zu %zu", i * 16384 / NODES,
			   (i + 1) * 16384 / NODES - 1);

	node_cli(i, slots, "OK");
	free(slots);
	free(file);
	free(bus);
}

static void start_cluster(void)
{
	snprintf(cluster.directory, sizeof(cluster.directory),
		 "/tmp/muster-cluster-XXXXXX");
	MUST(mkdtemp(cluster.directory) != NULL);
	MUST(atexit(stop_cluster) == 0);
	for (size_t i = 0; i < NODES; i++)
		start_node(i);
	for (size_t i = 0; i < NODES; i++)
		node_cli(i, "cluster info", "cluster_state:ok");
	cluster.is_up = true;
}

uint16_t fixture_cluster_port(size_t node)
{
	return cluster.ports[node];
}

static void use_cluster(struct fixture *fixture)
{
	if (!cluster.is_up)
		start_cluster();
	for (size_t i = 0; i < NODES; i++)
		node_cli(i, "flushall", "OK");
	snprintf(fixture->url, sizeof(fixture->url),
		 "redis+cluster://127.0.0.1:%u", cluster.ports[1]);
}

static int remove_one(const char *path, const struct stat *status, int kind,
		      struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

void fixture_remove(const char *directory)
{
	/* A server that was killed may leave a file behind it meanwhile. */
	DISCARD(nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

void fixture_stop(pid_t pid, int signal)
{
	int status;

	if (pid <= 0)
		return;
	kill(pid, signal);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

void fixture_redis_cli(const struct fixture *fixture, const char *command,
		       char *line, size_t size)
{
	char *text = mem_format("redis-cli -s %s/redis.sock %s",
				fixture->directory, command);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	FILE *pipe = popen(text, "r");

	MUST(pipe != NULL);
	if (fgets(line, (int)size, pipe) == NULL)
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	while (fgetc(pipe) != EOF)
		;
	pclose(pipe);
	free(text);
}

/* ---- stores ---- */

struct store *fixture_open(struct fixture *fixture, const char *url)
{
	struct problem problem = { 0 };
	struct store *store =
		store_open(fixture->loop, url, &fixture->options, &problem);

	if (store == NULL)
		fail_msg("%s: %s", problem.name, problem.text);
	return store;
}

struct closing {
	struct fixture *fixture;
	bool is_over;
};

static void on_closed(void *owner)
{
	struct closing *closing = owner;

	closing->is_over = true;
	loop_stop(closing->fixture->loop);
}

static void on_deadline(void *owner)
{
	(void)owner;
	fprintf(stderr, "no answer within %d ms\n", DEADLINE_MS);
	abort();
}

static void run_until(struct fixture *fixture, const bool *is_over)
{
	struct timer *timer =
		timer_open(fixture->loop, on_deadline, NULL, false);

	timer_start(timer, DEADLINE_MS, 0);
	while (!*is_over)
		loop_run(fixture->loop);
	timer_close(timer);
}

void fixture_close(struct fixture *fixture, struct store *store)
{
	struct closing closing = { fixture, false };

	store_close(store, on_closed, &closing);
	run_until(fixture, &closing.is_over);
}

void fixture_reopen(struct fixture *fixture)
{
	fixture_close(fixture, fixture->store);
	fixture->store = fixture_open(fixture, fixture->url);
}

int fixture_set_up(void **state)
{
	struct fixture *fixture = mem_zalloc(sizeof(*fixture));

	signal(SIGPIPE, SIG_IGN);
	snprintf(fixture->directory, sizeof(fixture->directory),
		 "/tmp/muster-store-XXXXXX");
	MUST(mkdtemp(fixture->directory) != NULL);
	fixture->is_redis = strcmp(fixture_back_end, "redis") == 0;
	fixture->log = (struct log){ LOG_OFF, "test" };
	fixture->loop = loop_new(&fixture->log);
	fixture->options.volatile_path = fixture->directory;
	fixture->options.map_bytes = (uint64_t)1 << 30;
	fixture->options.cache_bytes = (uint64_t)64 << 20;
	if (fixture->is_redis)
		fixture->server = fixture_start_redis(fixture->directory, NULL);
	fixture->is_cluster = strcmp(fixture_back_end, "cluster") == 0;
	snprintf(fixture->url, sizeof(fixture->url),
		 fixture->is_redis ? "unix:%s/redis.sock" : "lmdb:%s/tasks",
		 fixture->directory);
	if (fixture->is_cluster)
		use_cluster(fixture);
	fixture->store = fixture_open(fixture, fixture->url);
	*state = fixture;
	return 0;
}

int fixture_tear_down(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->store != NULL)
		fixture_close(fixture, fixture->store);
	loop_free(fixture->loop);
	fixture_stop(fixture->server, SIGKILL);
	fixture_remove(fixture->directory);
	while (fixture->replies != NULL) {
		struct reply *reply = fixture->replies;

		fixture->replies = reply->next;
		free(reply);
	}
	free(fixture);
	return 0;
}

/* ---- answers ---- */

struct fixture_audit fixture_audit(struct fixture *fixture, bool is_repairing)
{
	struct fixture *f = fixture;
	struct fixture_audit sum = { .looked_at = 0 };
	char cursor[512];
	size_t length = 0;

	do {
		struct reply *reply =
			ASK(audit, .cursor = store_bytes(cursor, length),
			    .is_repairing = is_repairing);

		assert_done(reply);
		sum.looked_at += reply->count;
		sum.repaired += reply->value;
		for (size_t i = 0; i < STORE_DIFFERENCE_KINDS; i++) {
			sum.found[i] += reply->found[i];
			sum.total += reply->found[i];
		}
		length = reply->text_length;
		MUST(length <= sizeof(cursor));
		memcpy(cursor, reply->text, length);
	} while (length > 0);
	return sum;
}

struct reply *reply_new(struct fixture *fixture, enum operation operation)
{
	struct reply *reply = mem_zalloc(sizeof(*reply));

	reply->fixture = fixture;
	reply->operation = operation;
	reply->next = fixture->replies;
	fixture->replies = reply;
	return reply;
}

#define COPY(to, from) copy_text((to), sizeof(to), (from))

static void copy_text(char *to, size_t size, struct store_bytes from)
{
	size_t length = from.length < size ? from.length : size - 1;

	if (length > 0)
		memcpy(to, from.data, length);
	to[length] = '\0';
}

static void copy_task(struct reply *reply, size_t i,
		      const struct store_task_info *task)
{
	COPY(reply->items[i].id, task->id);
	COPY(reply->items[i].text, task->envelope);
	COPY(reply->items[i].queue, task->queue);
	COPY(reply->items[i].owner, task->owner);
	COPY(reply->items[i].error, task->error);
	COPY(reply->items[i].result, task->result);
	COPY(reply->items[i].progress, task->progress);
	reply->items[i].token = task->token;
	reply->items[i].attempt = task->attempt;
	reply->items[i].state = task->state;
	reply->items[i].in_ms = task->in_ms;
}

static void copy_lists(struct reply *reply, const struct store_answer *answer)
{
	switch ((int)reply->operation) {
	case DO_enqueue:
		for (size_t i = 0; i < reply->count && i < 64; i++)
			COPY(reply->items[i].id, answer->enqueue.ids[i]);
		break;
	case DO_claim:
		reply->count = answer->claim.count;
		reply->next_ms = answer->claim.next_ms;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			const struct store_claimed *task =
				&answer->claim.tasks[i];

			COPY(reply->items[i].id, task->id);
			COPY(reply->items[i].text, task->envelope);
			COPY(reply->items[i].queue, task->queue);
			reply->items[i].token = task->token;
			reply->items[i].attempt = task->attempt;
		}
		break;
	case DO_show:
	case DO_list:
		reply->count = answer->list.count;
		for (size_t i = 0; i < reply->count && i < 64; i++)
			copy_task(reply, i, &answer->list.tasks[i]);
		break;
	case DO_counts:
		reply->count = answer->counts.queue_count;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			COPY(reply->items[i].queue,
			     answer->counts.queues[i].name);
			reply->items[i].value =
				(int64_t)answer->counts.queues[i].queued;
		}
		reply->queued = answer->counts.queued;
		reply->delayed = answer->counts.delayed;
		reply->active = answer->counts.active;
		reply->dead = answer->counts.dead;
		reply->done = answer->counts.done;
		reply->orphans = answer->counts.orphans;
		break;
	case DO_room_list:
		reply->count = answer->rooms.count;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			COPY(reply->items[i].id, answer->rooms.list[i].name);
			reply->items[i].value =
				(int64_t)answer->rooms.list[i].members;
			reply->created_ms = answer->rooms.list[i].created_ms;
		}
		break;
	case DO_room_members:
		reply->count = answer->members.count;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			COPY(reply->items[i].id, answer->members.list[i].id);
			COPY(reply->items[i].text,
			     answer->members.list[i].record);
		}
		break;
	case DO_web_visit:
		reply->count = answer->web.count;
		reply->value = answer->web.room_count;
		for (size_t i = 0; i < reply->count && i < 64; i++)
			COPY(reply->items[i].text, answer->web.messages[i]);
		for (size_t i = 0; i < reply->value && i < 64; i++)
			COPY(reply->items[i].id, answer->web.rooms[i]);
		break;
	case DO_peer_ping:
	case DO_peer_list:
		reply->count = answer->peers.count;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			COPY(reply->items[i].id, answer->peers.list[i].id);
			COPY(reply->items[i].owner,
			     answer->peers.list[i].nonce);
			COPY(reply->items[i].text,
			     answer->peers.list[i].record);
		}
		for (size_t i = 0; i < answer->peers.gone_count; i++) {
			const struct store_peer_gone *gone =
				&answer->peers.gone[i];
			size_t length = strlen(reply->gone);

			snprintf(reply->gone + length,
				 sizeof(reply->gone) - length, "%.*s:%.*s=%s ",
				 (int)gone->id.length, gone->id.data,
				 (int)gone->nonce.length, gone->nonce.data,
				 gone->has_left ? "left" : "dead");
		}
		break;
	case DO_stats_read:
		reply->count = answer->stats.count;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			COPY(reply->items[i].id, answer->stats.list[i].name);
			reply->items[i].value = answer->stats.list[i].value;
		}
		break;
	case DO_log_read:
		reply->count = answer->log.count;
		COPY(reply->text, answer->log.life);
		for (size_t i = 0; i < reply->count && i < 64; i++)
			COPY(reply->items[i].id, answer->log.list[i]);
		break;
	case DO_cache_keys:
		reply->count = answer->keys.count;
		for (size_t i = 0; i < reply->count && i < 64; i++)
			COPY(reply->items[i].id, answer->keys.keys[i]);
		COPY(reply->text, answer->keys.cursor);
		reply->text_length = answer->keys.cursor.length;
		break;
	case DO_audit:
		reply->count = answer->audit.looked_at;
		reply->value = answer->audit.repaired;
		memcpy(reply->found, answer->audit.found, sizeof(reply->found));
		COPY(reply->text, answer->audit.cursor);
		reply->text_length = answer->audit.cursor.length;
		break;
	case DO_events:
		reply->count = answer->events.count;
		reply->value = answer->events.last;
		for (size_t i = 0; i < reply->count && i < 64; i++) {
			const struct store_event *event =
				&answer->events.list[i];

			COPY(reply->items[i].id, event->id);
			COPY(reply->items[i].owner, event->owner);
			COPY(reply->items[i].text, event->detail);
			reply->items[i].token = event->sequence;
			reply->items[i].value = (int64_t)event->kind;
			reply->items[i].in_ms = (int64_t)event->time_ms;
		}
		break;
	case DO_cache_export:
		reply->count = answer->entries.count;
		COPY(reply->text, answer->entries.cursor);
		reply->text_length = answer->entries.cursor.length;
		break;
	default:
		break;
	}
}

static void copy_values(struct reply *reply, const struct store_answer *answer)
{
	switch ((int)reply->operation) {
	case DO_cron_fire:
		reply->value = answer->cron.at_ms;
		break;
	case DO_name_take:
		COPY(reply->text, answer->name.name);
		reply->value = answer->name.number;
		break;
	case DO_reap_owner:
	case DO_adopt_queue:
	case DO_cache_size:
	case DO_cache_clear:
	case DO_cache_length:
	case DO_cache_push:
	case DO_room_create:
	case DO_room_destroy:
	case DO_room_join:
	case DO_room_say:
	case DO_room_reap:
		reply->value = answer->number.value;
		break;
	case DO_cache_load:
	case DO_cache_pop:
		COPY(reply->text, answer->cache.value);
		reply->text_length = answer->cache.value.length;
		COPY(reply->type, answer->cache.type);
		reply->created_ms = answer->cache.created_ms;
		reply->expires_ms = answer->cache.expires_ms;
		reply->read_ms = answer->cache.read_ms;
		break;
	case DO_cache_add:
		reply->counter = answer->counter.value;
		break;
	case DO_cache_lock:
		reply->token = answer->lock.token;
		reply->left_ms = answer->lock.left_ms;
		reply->is_new = answer->lock.is_new;
		break;
	default:
		break;
	}
}

void on_reply(void *owner, const struct store_answer *answer)
{
	struct reply *reply = owner;

	reply->times++;
	reply->error = answer->error;
	loop_stop(reply->fixture->loop);
	if (answer->error < 0) {
		COPY(reply->name, T(answer->problem->name));
		COPY(reply->problem, T(answer->problem->text));
		return;
	}
	reply->result = answer->result;
	reply->count = answer->result_count;
	for (size_t i = 0; i < reply->count && i < 64; i++)
		reply->results[i] = answer->results[i];
	copy_lists(reply, answer);
	copy_values(reply, answer);
}

struct reply *reply_wait(struct reply *reply)
{
	struct timer *timer =
		timer_open(reply->fixture->loop, on_deadline, NULL, false);

	timer_start(timer, DEADLINE_MS, 0);
	while (reply->times == 0)
		loop_run(reply->fixture->loop);
	timer_close(timer);
	return reply;
}

static void on_time(void *owner)
{
	*(bool *)owner = true;
}

void fixture_run_ms(struct fixture *fixture, unsigned ms)
{
	bool is_over = false;
	struct timer *timer =
		timer_open(fixture->loop, on_time, &is_over, true);

	timer_start(timer, ms, 0);
	while (!is_over)
		loop_turn(fixture->loop);
	timer_close(timer);
}
