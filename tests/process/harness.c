#include "harness.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define ARGUMENTS_MAX 32
#define KEPT_MAX      512
#define CHILDREN_MAX  2048

struct line {
	char *text;
	bool is_taken;
};

struct process {
	char name[64];
	char errors_path[128];
	pid_t pid;
	int pidfd;
	int input;  /* its standard input; -1: closed */
	int output; /* its standard output; -1: everyone has closed it */
	char *partial;
	size_t partial_bytes;
	struct line *lines;
	size_t line_count;
	bool has_ended;
	int result; /* exit code or minus the signal */
	struct process *next;
};

static struct {
	char binary[512];
	char directory[64];
	char path[512];
	struct process *processes; /* newest first */
	int process_count;
	bool is_over; /* the test went well */
	int kept[KEPT_MAX];
	size_t kept_count;
} stage;

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int left_ms(int64_t deadline)
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

/* ---- Starting ----------------------------------------------------------- */

int keep(int descriptor)
{
	if (stage.kept_count == KEPT_MAX)
		give_up("the test keeps more than %d descriptors", KEPT_MAX);
	stage.kept[stage.kept_count++] = descriptor;
	return descriptor;
}

void let_go(int descriptor)
{
	for (size_t i = 0; i < stage.kept_count; i++)
		if (stage.kept[i] == descriptor) {
			stage.kept[i] = stage.kept[--stage.kept_count];
			close(descriptor);
			return;
		}
	give_up("descriptor %d is not kept", descriptor);
}

static void close_kept(void)
{
	while (stage.kept_count > 0)
		close(stage.kept[--stage.kept_count]);
}

static size_t copy_environment(char **to, size_t size,
			       const char *const *additions)
{
	size_t count = 0;

	/* What the tests are run with must not reach the programs. */
	for (char **entry = environ; *entry != NULL; entry++)
		if (strncmp(*entry, "MUSTER_", 7) != 0 && count + 1 < size)
			to[count++] = *entry;
	for (; additions != NULL && *additions != NULL; additions++)
		if (count + 1 < size)
			to[count++] = (char *)(uintptr_t)*additions;
	to[count] = NULL;
	return count;
}

static void spawn(struct process *process, char **arguments, char **environment,
		  int input, int output, int descriptor)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigset_t all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, input, 0);
	posix_spawn_file_actions_adddup2(&actions, output, 1);
	posix_spawn_file_actions_addopen(&actions, 2, process->errors_path,
					 O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (descriptor > 0)
		posix_spawn_file_actions_adddup2(&actions, descriptor, 3);
	posix_spawn_file_actions_addchdir_np(&actions, stage.directory);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID |
						      POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	int code = posix_spawn(&process->pid, stage.binary, &actions,
			       &attributes, arguments, environment);

	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (code != 0)
		give_up("cannot start %s: %s", process->name, strerror(code));
}

struct process *start_with(const struct start_options *options)
{
	char *arguments[ARGUMENTS_MAX] = {
		stage.binary,
		(char *)(uintptr_t) "program",
		(char *)(uintptr_t)options->name,
	};
	char *environment[512];
	int input[2];
	int output[2];
	struct process *process = calloc(1, sizeof(*process));

	for (size_t i = 0; options->arguments != NULL &&
			   options->arguments[i] != NULL && i < 28;
	     i++)
		arguments[i + 3] = (char *)(uintptr_t)options->arguments[i];
	copy_environment(environment, 512, options->environment);
	if (process == NULL || pipe2(input, O_CLOEXEC) != 0 ||
	    pipe2(output, O_CLOEXEC) != 0)
		give_up("cannot start %s: %s", options->name, strerror(errno));

	snprintf(process->name, sizeof(process->name), "%s", options->name);
	snprintf(process->errors_path, sizeof(process->errors_path),
		 "%s/errors.%d", stage.directory, ++stage.process_count);
	process->next = stage.processes;
	process->pidfd = -1;
	spawn(process, arguments, environment, input[0], output[1],
	      options->descriptor);
	close(input[0]);
	close(output[1]);
	process->input = input[1];
	process->output = output[0];
	fcntl(process->output, F_SETFL, O_NONBLOCK);
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	stage.processes = process;
	return process;
}

struct process *start(const char *name, ...)
{
	const char *arguments[ARGUMENTS_MAX] = { NULL };
	va_list list;

	va_start(list, name);
	for (size_t i = 0; i < 28; i++) {
		arguments[i] = va_arg(list, const char *);
		if (arguments[i] == NULL)
			break;
	}
	va_end(list);
	return start_with(&(struct start_options){ .name = name,
						   .arguments = arguments });
}

pid_t pid_of(const struct process *process)
{
	return process->pid;
}

void command(struct process *process, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 1, format, arguments);

	va_end(arguments);
	line[length++] = '\n';
	if (write(process->input, line, (size_t)length) != length)
		give_up("cannot tell %s: %s", process->name, strerror(errno));
}

void send_signal(const struct process *process, int signal)
{
	if (process->has_ended || kill(process->pid, signal) != 0)
		give_up("cannot send signal %d to %s, which has ended", signal,
			process->name);
}

/* ---- What it says ---------------------------------------------------------
 */

static void add_line(struct process *process, const char *text, size_t length)
{
	struct line *lines = realloc(process->lines, (process->line_count +
						      1) * sizeof(struct line));

	if (lines == NULL)
		abort();
	process->lines = lines;
	lines[process->line_count++] =
		(struct line){ .text = strndup(text, length) };
}

static void add_output(struct process *process, const char *bytes,
		       size_t length)
{
	char *text = realloc(process->partial, process->partial_bytes + length);

	if (text == NULL)
		abort();
	memcpy(text + process->partial_bytes, bytes, length);
	process->partial = text;
	process->partial_bytes += length;

	size_t begin = 0;

	for (size_t i = 0; i < process->partial_bytes; i++)
		if (text[i] == '\n') {
			add_line(process, text + begin, i - begin);
			begin = i + 1;
		}
	process->partial_bytes -= begin;
	memmove(text, text + begin, process->partial_bytes);
}

/* Takes in what is there, without waiting. */
static void read_output(struct process *process)
{
	char bytes[65536];
	ssize_t length;

	while (process->output >= 0 &&
	       (length = read(process->output, bytes, sizeof(bytes))) >= 0) {
		if (length == 0) {
			close(process->output);
			process->output = -1;
			return;
		}
		add_output(process, bytes, (size_t)length);
	}
}

static void reap(struct process *process)
{
	int status;

	if (process->has_ended ||
	    waitpid(process->pid, &status, WNOHANG) != process->pid)
		return;
	process->has_ended = true;
	process->result =
		WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Waits until the process says something or ends; false: it did neither by the
 * deadline, or can no more. */
static bool wait_for_news(struct process *process, int64_t deadline)
{
	struct pollfd polled[2] = {
		{ .fd = process->output, .events = POLLIN },
		{ .fd = process->has_ended ? -1 : process->pidfd,
		  .events = POLLIN },
	};

	if (process->output < 0 && process->has_ended)
		return false;
	if (poll(polled, 2, left_ms(deadline)) <= 0)
		return false;
	read_output(process);
	reap(process);
	return true;
}

static bool matches(const char *pattern, const char *text)
{
	for (; *pattern != '\0'; pattern++, text++) {
		if (*pattern == '*') {
			for (;; text++) {
				if (matches(pattern + 1, text))
					return true;
				if (*text == '\0')
					return false;
			}
		}
		if (*pattern != *text)
			return false;
	}
	return *text == '\0';
}

static const char *take_line(struct process *process, const char *pattern)
{
	for (size_t i = 0; i < process->line_count; i++) {
		struct line *line = &process->lines[i];

		if (!line->is_taken && matches(pattern, line->text)) {
			line->is_taken = true;
			return line->text;
		}
	}
	return NULL;
}

static const char *expect_pattern(struct process *process, const char *pattern)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	for (;;) {
		const char *line = take_line(process, pattern);

		if (line != NULL)
			return line;
		if (wait_for_news(process, deadline))
			continue;
		if (process->output < 0)
			give_up("awaited \"%s\" from %s, but it has ended",
				pattern, process->name);
		give_up("awaited \"%s\" from %s for %d s", pattern,
			process->name, DEADLINE_MS / 1000);
	}
}

const char *expect(struct process *process, const char *pattern, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, pattern);
	vsnprintf(text, sizeof(text), pattern, arguments);
	va_end(arguments);
	return expect_pattern(process, text);
}

void expect_in_order(struct process *process, ...)
{
	va_list patterns;
	const char *pattern;
	const char *before = NULL;

	va_start(patterns, process);
	while ((pattern = va_arg(patterns, const char *)) != NULL) {
		const char *line = expect_pattern(process, pattern);

		if (before != NULL &&
		    line_number(process, line) < line_number(process, before))
			give_up("%s said \"%s\" before \"%s\"", process->name,
				line, before);
		before = line;
	}
	va_end(patterns);
}

int expect_number(struct process *process, const char *prefix, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, prefix);
	int length = vsnprintf(text, sizeof(text) - 1, prefix, arguments);

	va_end(arguments);
	text[length] = '*';
	text[length + 1] = '\0';
	return atoi(expect_pattern(process, text) + length);
}

int field(const char *line, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = line; (at = strstr(at, name)) != NULL;
	     at += length)
		if ((at == line || at[-1] == ' ') && at[length] == '=')
			return atoi(at + length + 1);
	give_up("no %s= in \"%s\"", name, line);
}

static int count_pattern(struct process *process, const char *pattern)
{
	int count = 0;

	read_output(process);
	for (size_t i = 0; i < process->line_count; i++)
		count += matches(pattern, process->lines[i].text);
	return count;
}

int count_lines(struct process *process, const char *pattern, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, pattern);
	vsnprintf(text, sizeof(text), pattern, arguments);
	va_end(arguments);
	return count_pattern(process, text);
}

void expect_none(struct process *process, const char *pattern, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, pattern);
	vsnprintf(text, sizeof(text), pattern, arguments);
	va_end(arguments);
	if (count_pattern(process, text) > 0)
		give_up("%s said \"%s\", which it should not", process->name,
			text);
}

const char *line_at(const struct process *process, int index)
{
	return (size_t)index < process->line_count ? process->lines[index].text
						   : NULL;
}

int line_number(const struct process *process, const char *line)
{
	for (size_t i = 0; i < process->line_count; i++)
		if (process->lines[i].text == line)
			return (int)i;
	return -1;
}

const char *errors_of(const struct process *process)
{
	static char text[8192];
	int file = open(process->errors_path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, sizeof(text) - 1);

	text[length > 0 ? length : 0] = '\0';
	if (file >= 0)
		close(file);
	return text;
}

/* ---- How it ends -------------------------------------------------------- */

int wait_for_exit(struct process *process)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	while (!process->has_ended)
		if (!wait_for_news(process, deadline) && !process->has_ended)
			give_up("awaited the end of %s for %d s", process->name,
				DEADLINE_MS / 1000);
	read_output(process);
	return process->result;
}

void expect_exit(struct process *process, int code)
{
	int result = wait_for_exit(process);

	if (result != code)
		give_up("%s ended with %d in place of %d", process->name,
			result, code);
}

void expect_end(struct process *process, int code)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	expect_exit(process, code);
	while (process->output >= 0)
		if (!wait_for_news(process, deadline))
			give_up("%s has ended, but a worker of it has not",
				process->name);
}

size_t list_children(pid_t pid, pid_t *children, size_t size)
{
	char path[64];
	size_t count = 0;
	DIR *tasks;
	struct dirent *task;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks != NULL && (task = readdir(tasks)) != NULL) {
		char file[384];
		int child;

		snprintf(file, sizeof(file), "%s/%s/children", path,
			 task->d_name);
		FILE *list = fopen(file, "re");

		if (list == NULL)
			continue;
		while (count < size && fscanf(list, "%d", &child) == 1)
			children[count++] = child;
		fclose(list);
	}
	if (tasks != NULL)
		closedir(tasks);
	return count;
}

size_t count_children(pid_t pid)
{
	pid_t children[CHILDREN_MAX];

	return list_children(pid, children, CHILDREN_MAX);
}

/* Waits for one of them to end; false at the deadline. */
static bool wait_for_child(const pid_t *children, size_t count,
			   int64_t deadline)
{
	struct pollfd polled[64];
	nfds_t polled_count = 0;

	for (size_t i = 0; i < count && polled_count < 64; i++) {
		int pidfd = (int)syscall(SYS_pidfd_open, children[i], 0);

		if (pidfd >= 0)
			polled[polled_count++] = (struct pollfd){
				.fd = pidfd,
				.events = POLLIN,
			};
	}
	int ready = poll(polled, polled_count, left_ms(deadline));

	for (nfds_t i = 0; i < polled_count; i++)
		close(polled[i].fd);
	return ready > 0;
}

/* Reaps who ended, of the programs as of their orphans; how many live on. */
static size_t reap_all(pid_t *children, size_t size)
{
	for (struct process *p = stage.processes; p != NULL; p = p->next)
		reap(p);

	size_t alive = 0;
	size_t count = list_children(getpid(), children, size);

	for (size_t i = 0; i < count; i++)
		if (waitpid(children[i], NULL, WNOHANG) == 0)
			children[alive++] = children[i];
	return alive;
}

static void read_command_line(pid_t pid, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, size - 1);

	if (file >= 0)
		close(file);
	text[length > 0 ? length : 0] = '\0';
	for (ssize_t i = 0; i + 1 < length; i++)
		if (text[i] == '\0')
			text[i] = ' ';
}

static void expect_nobody_left_by(int64_t deadline)
{
	pid_t children[CHILDREN_MAX];
	size_t count;

	while ((count = reap_all(children, CHILDREN_MAX)) > 0) {
		char text[256];

		/* Keep their pipes flowing. */
		for (struct process *p = stage.processes; p != NULL;
		     p = p->next)
			read_output(p);
		if (wait_for_child(children, count, deadline))
			continue;
		read_command_line(children[0], text, sizeof(text));
		give_up("left behind: %zu processes, the first is %d: %s",
			count, (int)children[0], text);
	}
}

void expect_nobody_left(void)
{
	expect_nobody_left_by(now_ms() + DEADLINE_MS);
}

/* The end of a test that went well: its programs are told to end, do so in
 * good order, and leave nobody behind. */
static void finish(void)
{
	load_stop_all();
	close_kept();
	for (struct process *p = stage.processes; p != NULL; p = p->next) {
		reap(p);
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
	expect_nobody_left_by(now_ms() + (is_sanitized() ? 2000 : 0));
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
	pid_t children[CHILDREN_MAX];
	size_t count;

	for (struct process *p = stage.processes; p != NULL; p = p->next)
		if (!p->has_ended)
			kill(-p->pid, SIGKILL);
	while ((count = reap_all(children, CHILDREN_MAX)) > 0) {
		for (size_t i = 0; i < count; i++)
			kill(children[i], SIGKILL);
		if (!wait_for_child(children, count, now_ms() + DEADLINE_MS))
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
	snprintf(stage.directory, sizeof(stage.directory), "%s/muster-XXXXXX",
		 parent != NULL && strlen(parent) < 40 ? parent : "/tmp");
	stage.processes = NULL;
	stage.process_count = 0;
	if (mkdtemp(stage.directory) == NULL)
		return -1;
	return chmod(stage.directory, 0755);
}

/* Also after a test that failed, wherever it was. */
static int tear_down(void **state)
{
	(void)state;
	load_stop_all();
	for (struct process *p = stage.processes; p != NULL; p = p->next) {
		read_output(p);
		if (!stage.is_over)
			show_process(p);
	}
	kill_everyone();
	close_kept();
	while (stage.processes != NULL) {
		struct process *process = stage.processes;

		stage.processes = process->next;
		free_process(process);
	}
	nftw(stage.directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void run_one(void **state)
{
	const struct test *test = *state;

	stage.is_over = false;
	test->run();
	finish();
	stage.is_over = true;
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

	ssize_t length = readlink("/proc/self/exe", stage.binary,
				  sizeof(stage.binary) - 1);

	if (length < 0)
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	if (argc >= 2)
		cmocka_set_test_filter(argv[1]);
	return run_all(strrchr(stage.binary, '/') + 1, tests);
}

/* ---- Any process ------------------------------------------------------- */

bool is_alive(pid_t pid)
{
	char path[64];
	char text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return false;
	ssize_t length = read(file, text, sizeof(text) - 1);

	close(file);
	if (length <= 0)
		return false;
	text[length] = '\0';
	const char *state = strrchr(text, ')');

	return state != NULL && state[2] != 'Z' && state[2] != 'X';
}

void expect_gone(pid_t pid)
{
	if (is_alive(pid) && !wait_for_child(&pid, 1, now_ms() + DEADLINE_MS) &&
	    is_alive(pid))
		give_up("awaited the end of process %d for %d s", (int)pid,
			DEADLINE_MS / 1000);
}

size_t count_descriptors(pid_t pid)
{
	char path[64];
	size_t count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *entries = opendir(path);

	if (entries == NULL)
		give_up("cannot list the descriptors of %d", (int)pid);
	for (struct dirent *e; (e = readdir(entries)) != NULL;)
		count += e->d_name[0] != '.';
	closedir(entries);
	return count;
}

size_t resident_kib(pid_t pid)
{
	char path[64];
	char line[256];
	size_t kib = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmRSS: %zu", &kib) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return kib;
}

uint64_t cpu_ms(pid_t pid)
{
	char path[64];
	unsigned long long run_ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	FILE *file = fopen(path, "re");

	if (file == NULL || fscanf(file, "%llu", &run_ns) != 1)
		give_up("cannot read the CPU time of %d", (int)pid);
	fclose(file);
	return run_ns / 1000000;
}

/* ---- The rest ----------------------------------------------------------- */

const char *directory(void)
{
	return stage.directory;
}

const char *path_in_directory(const char *name)
{
	snprintf(stage.path, sizeof(stage.path), "%s/%s", stage.directory,
		 name);
	return stage.path;
}

const char *own_host(void)
{
	static char host[32];
	unsigned pid = (unsigned)getpid();

	/* Linux answers on all of 127/8. */
	snprintf(host, sizeof(host), "127.%u.%u.%u", 1 + (pid >> 16) % 250,
		 (pid >> 8) & 255, 1 + (pid & 255) % 254);
	return host;
}

static int bind_port(int *descriptor)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);

	inet_pton(AF_INET, own_host(), &address.sin_addr);
	*descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*descriptor < 0 ||
	    bind(*descriptor, (struct sockaddr *)&address, length) != 0 ||
	    listen(*descriptor, 16) != 0 ||
	    getsockname(*descriptor, (struct sockaddr *)&address, &length) != 0)
		give_up("cannot bind a port: %s", strerror(errno));
	return ntohs(address.sin_port);
}

int held_port(int *descriptor)
{
	return bind_port(descriptor);
}

int free_port(void)
{
	int descriptor;
	int port = bind_port(&descriptor);

	close(descriptor);
	return port;
}
