#include "harness.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "harness_internal.h"
#include "load.h"

struct harness_stage harness_stage;

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int harness_left_ms(int64_t deadline)
{
	int64_t left = deadline - now_ms();

	return left > 0 ? (int)left : 0;
}

bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return true;
#else
	return false;
#endif
#else
	return false;
#endif
}

/* ---- Failing ------------------------------------------------------------ */

static void show_process(const struct process *process)
{
	fprintf(stderr, "# %s (pid %d", process->name, (int)process->pid);
	if (process->has_ended)
		fprintf(stderr, ", ended with %d", process->result);
	fprintf(stderr, ") said:\n");
	for (size_t i = 0; i < process->line_count; i++)
		fprintf(stderr, "#   %.400s%s\n", process->lines[i].text,
			process->lines[i].is_taken ? "" : "  (not awaited)");
	if (process->partial_bytes > 0)
		fprintf(stderr, "#   %.*s (no newline)\n",
			(int)process->partial_bytes, process->partial);
	const char *errors = errors_of(process);

	if (errors[0] != '\0')
		fprintf(stderr, "# and on standard error:\n%s\n", errors);
}

void give_up(const char *format, ...)
{
	char text[768];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fail_msg("%s", text);
	abort(); /* fail_msg jumps, but is not declared so */
}

/* ---- What a test keeps ------------------------------------------------- */

int keep(int descriptor)
{
	if (harness_stage.kept_count == HARNESS_KEPT_MAX)
		give_up("the test keeps more than %d descriptors",
			HARNESS_KEPT_MAX);
	harness_stage.kept[harness_stage.kept_count++] = descriptor;
	return descriptor;
}

void let_go(int descriptor)
{
	for (size_t i = 0; i < harness_stage.kept_count; i++)
		if (harness_stage.kept[i] == descriptor) {
			harness_stage.kept[i] =
				harness_stage.kept[--harness_stage.kept_count];
			close(descriptor);
			return;
		}
	give_up("descriptor %d is not kept", descriptor);
}

static void close_kept(void)
{
	while (harness_stage.kept_count > 0)
		close(harness_stage.kept[--harness_stage.kept_count]);
}

const char *directory(void)
{
	return harness_stage.directory;
}

const char *path_in_directory(const char *name)
{
	snprintf(harness_stage.path, sizeof(harness_stage.path), "%s/%s",
		 harness_stage.directory, name);
	return harness_stage.path;
}

/* ---- Running tests ------------------------------------------------------ */

/* The end of a test that went well: its programs are told to end, do so in
 * good order, and leave nobody behind. */
static void finish(void)
{
	load_stop_all();
	close_kept();
	for (struct process *p = harness_stage.processes; p != NULL;
	     p = p->next) {
		harness_reap(p);
		if (p->has_ended)
			continue;
		kill(p->pid, SIGCONT);
		kill(p->pid, SIGTERM);
		int result = wait_for_exit(p);

		if (result != 0 && result != -SIGTERM)
			give_up("told to end, %s ended with %d", p->name,
				result);
	}
	/* A primary ends after its workers: whoever is here was forgotten. The
	 * leak sanitizer's helper may outlive a program for a moment. */
	harness_expect_nobody_left_by(now_ms() + (is_sanitized() ? 2000 : 0));
}

static void free_process(struct process *process)
{
	close(process->input);
	close(process->pidfd);
	if (process->output >= 0)
		close(process->output);
	for (size_t i = 0; i < process->line_count; i++)
		free(process->lines[i].text);
	free(process->lines);
	free(process->partial);
	free(process);
}

static void kill_everyone(void)
{
	pid_t children[HARNESS_CHILDREN_MAX];
	size_t count;

	for (struct process *p = harness_stage.processes; p != NULL;
	     p = p->next)
		if (!p->has_ended)
			kill(-p->pid, SIGKILL);
	while ((count = harness_reap_all(children, HARNESS_CHILDREN_MAX)) > 0) {
		for (size_t i = 0; i < count; i++)
			kill(children[i], SIGKILL);
		if (!harness_wait_for_child(children, count,
					    now_ms() + DEADLINE_MS))
			break;
	}
}

static int remove_entry(const char *path, const struct stat *status, int type,
			struct FTW *place)
{
	(void)status;
	(void)type;
	(void)place;
	return remove(path);
}

static int set_up(void **state)
{
	const char *parent = getenv("TMPDIR");

	(void)state;
	snprintf(harness_stage.directory, sizeof(harness_stage.directory),
		 "%s/muster-XXXXXX",
		 parent != NULL && strlen(parent) < 40 ? parent : "/tmp");
	harness_stage.processes = NULL;
	harness_stage.process_count = 0;
	if (mkdtemp(harness_stage.directory) == NULL)
		return -1;
	return chmod(harness_stage.directory, 0755);
}

/* Also after a test that failed, wherever it was. */
static int tear_down(void **state)
{
	(void)state;
	load_stop_all();
	for (struct process *p = harness_stage.processes; p != NULL;
	     p = p->next) {
		harness_read_output(p);
		if (!harness_stage.is_over)
			show_process(p);
	}
	kill_everyone();
	close_kept();
	while (harness_stage.processes != NULL) {
		struct process *process = harness_stage.processes;

		harness_stage.processes = process->next;
		free_process(process);
	}
	nftw(harness_stage.directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void run_one(void **state)
{
	const struct test *test = *state;

	harness_stage.is_over = false;
	test->run();
	finish();
	harness_stage.is_over = true;
}

static int run_program(int argc, char **argv,
		       const struct test_program *programs)
{
	/* Should the tests be killed, their programs go with them. */
	if (getenv("MUSTER_CHANNEL_FD") == NULL)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Some are meant to crash. */
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	for (; programs->name != NULL; programs++)
		if (strcmp(programs->name, argv[2]) == 0)
			return programs->run(argc, argv);
	fprintf(stderr, "no program %s\n", argv[2]);
	return 2;
}

static int run_all(const char *file, const struct test *tests)
{
	size_t count = 0;

	while (tests[count].name != NULL)
		count++;

	struct CMUnitTest *units = calloc(count, sizeof(*units));

	if (units == NULL)
		return 1;
	for (size_t i = 0; i < count; i++)
		units[i] = (struct CMUnitTest){
			.name = tests[i].name,
			.test_func = run_one,
			.setup_func = set_up,
			.teardown_func = tear_down,
			.initial_state = (void *)(uintptr_t)&tests[i],
		};
	int failed = _cmocka_run_group_tests(file, units, count, NULL, NULL);

	free(units);
	return failed > 0 ? 1 : 0;
}

int harness_main(int argc, char **argv, const struct test_program *programs,
		 const struct test *tests)
{
	if (argc >= 3 && strcmp(argv[1], "program") == 0)
		return run_program(argc, argv, programs);

	ssize_t length = readlink("/proc/self/exe", harness_stage.binary,
				  sizeof(harness_stage.binary) - 1);

	if (length < 0)
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	if (argc >= 2)
		cmocka_set_test_filter(argv[1]);
	return run_all(strrchr(harness_stage.binary, '/') + 1, tests);
}
