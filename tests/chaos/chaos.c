#include "chaos.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <muster/task.h>

#include "base/must.h"

#define GATHERED_BYTES 65536
#define LINE_BYTES     4096

static struct {
	int descriptor;
	const char *path;
	size_t length;
	char text[GATHERED_BYTES];
} out = { .descriptor = STDOUT_FILENO };

uint64_t chaos_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void chaos_flush(void)
{
	ssize_t written = write(out.descriptor, out.text, out.length);

	/* The log is the witness: nothing goes on without it. */
	MUST(written == (ssize_t)out.length);
	out.length = 0;
}

void chaos_line(const char *format, ...)
{
	va_list arguments;

	if (out.length + LINE_BYTES > sizeof(out.text))
		chaos_flush();
	int length = snprintf(out.text + out.length, LINE_BYTES, "%ju ",
			      (uintmax_t)chaos_now_us());

	out.length += (size_t)length;
	va_start(arguments, format);
	length = vsnprintf(out.text + out.length,
			   LINE_BYTES - (size_t)length - 1, format, arguments);
	va_end(arguments);
	MUST(length >= 0 && length < LINE_BYTES - 32);
	out.length += (size_t)length;
	out.text[out.length++] = '\n';
}

void chaos_open_log(const char *path)
{
	if (out.descriptor != STDOUT_FILENO)
		close(out.descriptor);
	out.path = path;
	out.descriptor =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	MUST(out.descriptor >= 0);
}

const char *chaos_log_path(void)
{
	return out.path;
}

uint64_t chaos_random(uint64_t seed, uint64_t number, uint64_t below)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15 + number + 1;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) % below;
}

/* ---- settings ---- */

static const struct number {
	const char *key;
	size_t at;
} numbers[] = {
	{ "lease", offsetof(struct chaos, lease_ms) },
	{ "concurrency", offsetof(struct chaos, concurrency) },
	{ "lose", offsetof(struct chaos, lost_answers) },
	{ "count", offsetof(struct chaos, count) },
	{ "rate", offsetof(struct chaos, rate) },
	{ "batch", offsetof(struct chaos, batch) },
	{ "children", offsetof(struct chaos, children) },
	{ "deadline", offsetof(struct chaos, deadline_ms) },
	{ "workers", offsetof(struct chaos, workers) },
	{ "special", offsetof(struct chaos, special) },
	{ "recurs", offsetof(struct chaos, recurs) },
	{ "no_effects", offsetof(struct chaos, no_effects) },
};

static const struct text {
	const char *key;
	size_t at;
} texts[] = {
	{ "url", offsetof(struct chaos, url) },
	{ "name", offsetof(struct chaos, name) },
	{ "kinds", offsetof(struct chaos, kinds) },
	{ "server", offsetof(struct chaos, server) },
	{ "owner", offsetof(struct chaos, owner) },
};

static bool set(struct chaos *chaos, const char *key, size_t length,
		const char *value)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strlen(numbers[i].key) == length &&
		    strncmp(numbers[i].key, key, length) == 0) {
			uint32_t number = (uint32_t)strtoul(value, NULL, 10);

			memcpy((char *)chaos + numbers[i].at, &number,
			       sizeof(number));
			return true;
		}
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strlen(texts[i].key) == length &&
		    strncmp(texts[i].key, key, length) == 0) {
			memcpy((char *)chaos + texts[i].at, &value,
			       sizeof(value));
			return true;
		}
	return false;
}

static void read_setting(struct chaos *chaos, const char *argument)
{
	const char *equals = strchr(argument, '=');

	if (equals != NULL) {
		size_t length = (size_t)(equals - argument);

		if (set(chaos, argument, length, equals + 1))
			return;
		if (strncmp(argument, "seed=", 5) == 0) {
			chaos->seed = strtoull(equals + 1, NULL, 10);
			return;
		}
		if (strncmp(argument, "log=", 4) == 0) {
			chaos_open_log(equals + 1);
			return;
		}
	}
	fprintf(stderr, "chaos: cannot use '%s'\n", argument);
	exit(2);
}

/* ---- the process ---- */

static const struct role {
	const char *name;
	muster_fiber_fn run;
} roles[] = {
	{ "worker", worker_role },       { "producer", producer_role },
	{ "scheduler", scheduler_role }, { "reaper", reaper_role },
	{ "look", look_role },           { "client", producer_role },
	{ "watch", watch_role },         { "effects", effects_role },
};

static struct chaos settings = {
	.name = "chaos-worker-1",
	.lease_ms = 1000,
	.concurrency = 8,
	.rate = 500,
	.batch = 8,
	.deadline_ms = 30000,
	.special = 100,
	.kinds = "",
};
static const struct role *role;

/* What a client enqueues, and others run. */
static const struct muster_task client_tasks[] = {
	{ .name = "chaos" },
	{ 0 },
};

static void run(struct muster *muster, void *arg)
{
	struct chaos *chaos = arg;

	chaos_line("open %s %d", chaos->name, (int)getpid());
	chaos_flush();
	role->run(muster, chaos);
	chaos_line("close");
	chaos_flush();
	muster_stop(muster, chaos->exit_code);
}

static int on_start(struct muster *muster, void *arg)
{
	return muster_spawn(muster, "role", run, arg);
}

static void on_stop(struct muster *muster, void *arg)
{
	struct chaos *chaos = arg;

	chaos->is_stopping = true;
	if (role->run == worker_role)
		worker_drain(muster, chaos);
}

int main(int argc, char **argv)
{
	bool is_node = argc > 1 && strcmp(argv[1], "node") == 0;

	for (size_t i = 0; argc > 1 && i < sizeof(roles) / sizeof(roles[0]);
	     i++)
		if (strcmp(argv[1], roles[i].name) == 0)
			role = &roles[i];
	if (role == NULL && !is_node) {
		fprintf(stderr, "usage: chaos ROLE KEY=VALUE...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++)
		read_setting(&settings, argv[i]);
	settings.is_client = strcmp(argv[1], "client") == 0;
	if (is_node)
		return node_main(argc, argv, &settings);
	/* Whoever started it is killed: nothing is left behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	settings.muster = muster_open(NULL, &(struct muster_node_options){
						    .name = "chaos",
						    .store = settings.url,
						    .token = "a chaotic secret",
						    .is_guest = true,
						    .tasks = client_tasks,
						    .drain_ms = 5000,
						    .on_start = on_start,
						    .on_stop = on_stop,
						    .arg = &settings,
					    });
	if (settings.muster == NULL)
		return 1;
	return muster_run(settings.muster);
}
