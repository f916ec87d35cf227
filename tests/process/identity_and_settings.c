/* Which role a process has, and how its workers are started. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

static const char *text_of(const char *text)
{
	return text != NULL ? text : "";
}

static const char *variable(const char *name)
{
	return text_of(getenv(name));
}

/* ---- Roles ----------------------------------------------------------------
 */

static int role(int argc, char **argv)
{
	struct muster_cluster *cluster = muster_cluster_open(argc, argv, NULL);

	if (cluster == NULL) {
		say("open errno=%d", errno);
		return 1;
	}
	say("role primary=%d worker=%d self=%d workers=%zu",
	    muster_is_primary(cluster), muster_is_worker(cluster),
	    muster_self(cluster) != NULL, muster_worker_count(cluster));
	return muster_cluster_run(cluster);
}

static void a_process_without_a_channel_is_a_primary(void)
{
	struct process *p = start("role", NULL);

	expect(p, "role primary=1 worker=0 self=0 workers=0");
	expect_end(p, 0);
}

static void a_channel_variable_that_names_no_channel_is_refused(void)
{
	static const char *const values[] = { "77", "1000000", "-1", "three",
					      "60" };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(dup2(null, 60), 60); /* open, but no socket */
	for (size_t i = 0; i < 5; i++) {
		char entry[64];
		const char *const environment[] = { entry, NULL };

		snprintf(entry, sizeof(entry), "MUSTER_CHANNEL_FD=%s",
			 values[i]);
		struct process *p = start_with(&(struct start_options){
			.name = "role", .environment = environment });

		expect(p, "open errno=*");
		expect_end(p, 1);
		assert_non_null(strstr(errors_of(p), "muster"));
	}
	close(60);
	close(null);
}

static void start_grandchild(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("/proc/self/exe", "grandchild", "program", "role", NULL);
		_exit(9);
	}
	waitpid(pid, NULL, 0);
}

static int family(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(
		argc, argv, &(struct muster_options){ .name = "shop" });

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	say("worker primary=%d worker=%d self=%d id=%d name=%s channel=%s",
	    muster_is_primary(cluster), muster_is_worker(cluster),
	    muster_self(cluster) != NULL,
	    muster_worker_id(muster_self(cluster)),
	    muster_worker_name(muster_self(cluster)),
	    variable("MUSTER_CHANNEL_FD"));
	say("variables id=%s name=%s instance=%s", variable("MUSTER_WORKER_ID"),
	    variable("MUSTER_NAME"), variable("NODE_APP_INSTANCE"));
	start_grandchild();
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void the_channel_is_not_in_the_environment_of_a_worker(void)
{
	struct process *p = start("family", NULL);

	expect(p, "worker primary=0 worker=1 self=1 id=1 name=shop-worker-1 "
		  "channel=");
}

static void a_worker_finds_its_slot_and_its_name_in_the_environment(void)
{
	struct process *p = start("family", NULL);

	expect(p, "variables id=1 name=shop-worker-1 instance=0");
}

static void a_grandchild_of_a_worker_is_a_primary(void)
{
	struct process *p = start("family", NULL);

	expect(p, "role primary=1 worker=0 self=0 workers=0");
}

static void a_lower_free_slot_is_taken_again_with_its_name(void)
{
	struct process *p = start("family", NULL);

	expect(p, "online 1 *");
	command(p, "fork");
	expect(p, "online 2 *");
	command(p, "tell 1 exit 0");
	expect(p, "exit 1 *");
	command(p, "fork");
	expect(p, "variables id=1 name=shop-worker-1 instance=0");
	expect(p, "variables id=2 name=shop-worker-2 instance=1");
	expect(p, "variables id=1 name=shop-worker-1 instance=0");
	command(p, "state 1");
	expect(p, "state 1 * name=shop-worker-1 *");
}

/* ---- Events -----------------------------------------------------------------
 */

static int solo(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	if (muster_listen(cluster, "tcp://127.0.0.1:0", answer_id, cluster) !=
	    0)
		return 1;
	return muster_cluster_run(cluster);
}

static void the_first_worker_is_1_and_its_events_come_in_order(void)
{
	struct process *p = start("solo", NULL);

	expect_in_order(p, "fork 1 pid=* state=starting",
			"online 1 state=online", "listening 1 *", NULL);
	command(p, "state 1");
	expect(p, "state 1 ready *");
	command(p, "tell 1 exit 0");
	expect_in_order(p, "disconnect 1 *", "exit 1 * dead=1 state=gone",
			NULL);
	expect_end(p, 0);
	assert_int_equal(count_lines(p, "fork *"), 1);
	assert_int_equal(count_lines(p, "online *"), 1);
	assert_int_equal(count_lines(p, "listening *"), 1);
	assert_int_equal(count_lines(p, "disconnect *"), 1);
	assert_int_equal(count_lines(p, "exit *"), 1);
}

static void exit_tells_the_code_the_worker_ended_with(void)
{
	struct process *p = start("solo", NULL);

	expect(p, "listening 1 *");
	command(p, "tell 1 exit 3");
	expect(p, "exit 1 code=3 signal=0 voluntary=0 *");
}

static void listening_tells_address_type_and_the_real_port(void)
{
	struct process *p = start("solo", NULL);
	const char *line = expect(p, "listening 1 host=127.0.0.1 port=* "
				     "type=4 backlog=* url=tcp://127.0.0.1:*");
	int port = field(line, "port");

	assert_in_range(port, 1, 65535);
	assert_int_equal(receive_number(dial(NULL, port), ""), 1);
}

/* ---- Environment, directory, arguments
 * --------------------------------------- */

static int environment(int argc, char **argv)
{
	static const char *const set[] = { "SET=settings", "BOTH=settings",
					   NULL };
	static const char *const given[] = { "GIVEN=fork", "BOTH=fork",
					     "OVERRIDDEN=fork", NULL };
	struct muster_cluster *cluster = open_cluster(
		argc, argv,
		&(struct muster_options){ .settings = { .env = set } });

	if (muster_is_primary(cluster)) {
		must(cluster, "fork", muster_fork(cluster, given, NULL));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	say("worker %d SET=%s GIVEN=%s BOTH=%s OVERRIDDEN=%s INHERITED=%s",
	    muster_worker_id(muster_self(cluster)), variable("SET"),
	    variable("GIVEN"), variable("BOTH"), variable("OVERRIDDEN"),
	    variable("INHERITED"));
	return muster_cluster_run(cluster);
}

static void a_fork_adds_to_and_overrides_the_environment(void)
{
	static const char *const own[] = { "INHERITED=own", "OVERRIDDEN=own",
					   NULL };
	struct process *p = start_with(&(struct start_options){
		.name = "environment", .environment = own });

	expect(p, "worker 1 SET=settings GIVEN=fork BOTH=fork "
		  "OVERRIDDEN=fork INHERITED=own");
	expect(p, "worker 2 SET=settings GIVEN= BOTH=settings "
		  "OVERRIDDEN=own INHERITED=own");
	expect_end(p, 0);
}

static int directories(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	char place[512];

	if (muster_is_primary(cluster)) {
		static const char *const names[] = { "one", "two" };

		for (size_t i = 0; i < 2; i++) {
			struct muster_settings settings = { .cwd = names[i] };

			must(cluster, "setup",
			     muster_setup_primary(cluster, &settings));
			must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		}
		struct muster_settings wrong = { .cwd = "nowhere" };

		must(cluster, "setup", muster_setup_primary(cluster, &wrong));
		say("nowhere code=%d", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	say("worker %d in %s", muster_worker_id(muster_self(cluster)),
	    getcwd(place, sizeof(place)));
	return muster_cluster_run(cluster);
}

static struct process *start_in_two_directories(void)
{
	assert_int_equal(mkdir(path_in_directory("one"), 0755), 0);
	assert_int_equal(mkdir(path_in_directory("two"), 0755), 0);
	return start("directories", NULL);
}

static void each_worker_runs_in_the_directory_valid_at_its_fork(void)
{
	struct process *p = start_in_two_directories();

	expect(p, "worker 1 in %s/one", directory());
	expect(p, "worker 2 in %s/two", directory());
	expect_end(p, 0);
}

static void a_directory_that_is_missing_fails_the_fork(void)
{
	struct process *p = start_in_two_directories();

	expect(p, "nowhere code=%d", -ENOENT);
	expect_end(p, 0);
}

static void say_output(struct muster_worker *worker, int descriptor,
		       const char *bytes, size_t length, void *arg)
{
	(void)arg;
	say("output %d descriptor=%d %.*s", muster_worker_id(worker),
	    descriptor, (int)strnlen(bytes, length), bytes);
}

static int silence(int argc, char **argv)
{
	static const char *const arguments[] = { "program", "silence", "--use",
						 "https", NULL };
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		struct muster_settings settings = { .args = arguments,
						    .silent = true };

		say_events(cluster);
		muster_on_output(cluster, say_output, NULL);
		must(cluster, "setup",
		     muster_setup_primary(cluster, &settings));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	dprintf(STDOUT_FILENO, "argc=%d %s %s", argc, argument(argc, argv, 0),
		argument(argc, argv, 1));
	dprintf(STDERR_FILENO, "complaint");
	return muster_cluster_run(cluster);
}

static void workers_get_exactly_the_arguments_that_were_set(void)
{
	struct process *p =
		start("silence", "--old", "--older", "--oldest", NULL);

	expect(p, "output 1 descriptor=1 argc=5 --use https");
	expect(p, "output 2 descriptor=1 argc=5 --use https");
	expect_end(p, 0);
}

static void output_of_silent_workers_comes_to_the_callback_only(void)
{
	struct process *p = start("silence", NULL);

	expect(p, "output 1 descriptor=2 complaint");
	expect(p, "output 2 descriptor=2 complaint");
	expect(p, "output 1 descriptor=1 "); /* the end */
	expect(p, "output 1 descriptor=2 ");
	expect_end(p, 0);
	expect_none(p, "argc=*");
	assert_string_equal(errors_of(p), "");
}

static void setup_is_told_once_a_call(void)
{
	struct process *p = start("silence", NULL);

	expect_end(p, 0);
	/* One of ours, and none of the forks that found the settings made. */
	assert_int_equal(count_lines(p, "setup"), 1);
}

/* ---- Settings -------------------------------------------------------------
 */

static void say_settings(const struct muster_settings *settings,
			 const char *when)
{
	say("%s exec=%s args=%s cwd=%s silent=%d", when,
	    text_of(settings->exec),
	    settings->args != NULL ? text_of(settings->args[0]) : "",
	    text_of(settings->cwd), settings->silent);
}

static void on_setup(struct muster_cluster *cluster,
		     const struct muster_settings *settings, void *arg)
{
	(void)cluster;
	(void)arg;
	say_settings(settings, "setup");
}

static int accumulate(int argc, char **argv)
{
	static const char *const arguments[] = { "first", NULL };
	const struct muster_settings steps[] = {
		{ .args = arguments },
		{ .cwd = "/" },
		{ .exec = "/bin/true", .silent = true },
		{ .cwd = NULL },
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	say_settings(muster_settings(cluster), "before");
	for (size_t i = 0; i < 4; i++) {
		char when[16];

		must(cluster, "setup",
		     muster_setup_primary(cluster, &steps[i]));
		snprintf(when, sizeof(when), "step %zu", i);
		say_settings(muster_settings(cluster), when);
	}
	return muster_cluster_run(cluster);
}

static void settings_are_empty_until_the_first_setup(void)
{
	struct process *p = start("accumulate", NULL);

	expect(p, "before exec= args= cwd= silent=0");
	expect_end(p, 0);
}

static void settings_accumulate(void)
{
	struct process *p = start("accumulate", NULL);

	expect_in_order(p, "step 0 * args=first cwd=* silent=0",
			"step 1 * args=first cwd=/ silent=0",
			"step 2 exec=/bin/true args=first cwd=/ silent=1",
			"step 3 exec=/bin/true args=first cwd=/ silent=1",
			NULL);
	expect_end(p, 0);
}

static void change_directory(struct muster_cluster *cluster, const char *line)
{
	struct muster_settings settings = { .cwd = line };

	if (line[0] == '/')
		must(cluster, "setup",
		     muster_setup_primary(cluster, &settings));
	else
		common_command(cluster, line);
}

static int setups(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		muster_on_setup(cluster, on_setup, NULL);
		return run_with_commands(cluster, change_directory);
	}
	obey(cluster);
	return muster_cluster_run(cluster);
}

static void each_setup_is_told_with_its_settings(void)
{
	struct process *p = start("setups", NULL);

	command(p, "/tmp");
	expect(p, "setup * cwd=/tmp *");
	command(p, "/usr");
	expect(p, "setup * cwd=/usr *");
	command(p, "/");
	expect(p, "setup * cwd=/ *");
}

static int changed(int argc, char **argv)
{
	char *arguments[] = { argv[0], argv[1], argv[2], argv[0], NULL };
	struct muster_cluster *cluster;

	if (argc > 3) {
		cluster = open_cluster(argc, argv, NULL);
		say("worker got itself=%d", strcmp(argv[3], argv[0]) == 0);
		return muster_cluster_run(cluster);
	}
	cluster = open_cluster(4, arguments, NULL);
	must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	return muster_cluster_run(cluster);
}

static void workers_are_started_with_the_arguments_given_to_open(void)
{
	struct process *p = start("changed", NULL);

	expect(p, "worker got itself=1");
	expect_end(p, 0);
}

/* ---- Descriptor tables ------------------------------------------------------
 */

static void write_to_pipe(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("write code=%d", muster_worker_write(worker, 4, "ping", 4));
	say("write to 5 code=%d", muster_worker_write(worker, 5, "ping", 4));
}

static void on_pipe_output(struct muster_worker *worker, int descriptor,
			   const char *bytes, size_t length, void *arg)
{
	say_output(worker, descriptor, bytes, length, arg);
	if (length > 0)
		say("disconnect code=%d", muster_worker_disconnect(worker));
}

static int table(int argc, char **argv)
{
	const int stdio[] = { MUSTER_STDIO_NULL, 1, 2, MUSTER_STDIO_CHANNEL,
			      MUSTER_STDIO_PIPE };
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	char bytes[16];

	if (muster_is_primary(cluster)) {
		struct muster_settings settings = { .stdio = stdio,
						    .stdio_count = 5 };

		say_events(cluster);
		muster_on_online(cluster, write_to_pipe, NULL);
		muster_on_output(cluster, on_pipe_output, NULL);
		must(cluster, "setup",
		     muster_setup_primary(cluster, &settings));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	obey(cluster);
	ssize_t length = read(4, bytes, sizeof(bytes));

	say("worker read %.*s, input ends=%d", (int)length, bytes,
	    read(0, bytes + length, 1) == 0);
	if (write(4, bytes, (size_t)length) != length)
		return 1;
	return muster_cluster_run(cluster);
}

static void a_pipe_as_descriptor_4_is_written_and_echoed(void)
{
	struct process *p = start("table", NULL);

	expect(p, "write code=0");
	expect(p, "write to 5 code=%d", -EBADF);
	expect(p, "worker read ping, input ends=1");
	expect(p, "output 1 descriptor=4 ping");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect_end(p, 0);
}

static void close_pipe(struct muster_worker *worker, void *arg)
{
	(void)arg;
	say("close code=%d", muster_worker_close_pipe(worker, 0));
}

static int input(int argc, char **argv)
{
	const int stdio[] = { MUSTER_STDIO_PIPE, 1, 2, MUSTER_STDIO_CHANNEL };
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	char byte;

	if (muster_is_primary(cluster)) {
		struct muster_settings settings = { .stdio = stdio,
						    .stdio_count = 4 };

		muster_on_online(cluster, close_pipe, NULL);
		must(cluster, "setup",
		     muster_setup_primary(cluster, &settings));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	say("worker read %zd", read(0, &byte, 1));
	return muster_cluster_run(cluster);
}

static void a_closed_pipe_is_the_end_of_the_workers_input(void)
{
	struct process *p = start("input", NULL);

	expect(p, "close code=0");
	expect(p, "worker read 0");
	expect_end(p, 0);
}

static int tables(int argc, char **argv)
{
	static const int none[] = { 0, 1, 2 };
	static const int two[] = { 0, 1, 2, MUSTER_STDIO_CHANNEL,
				   MUSTER_STDIO_CHANNEL };
	static const int closed[] = { 0, 1, 2, MUSTER_STDIO_CHANNEL, 900 };
	int many[65] = { MUSTER_STDIO_CHANNEL };
	const struct {
		const char *name;
		struct muster_settings settings;
	} cases[] = {
		{ "none", { .stdio = none, .stdio_count = 3 } },
		{ "two", { .stdio = two, .stdio_count = 5 } },
		{ "many", { .stdio = many, .stdio_count = 65 } },
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	for (size_t i = 0; i < 3; i++) {
		int code = muster_setup_primary(cluster, &cases[i].settings);

		say("%s code=%d text=%s", cases[i].name, code,
		    muster_problem_text(cluster));
	}
	struct muster_settings settings = { .stdio = closed, .stdio_count = 5 };
	int code = muster_setup_primary(cluster, &settings);

	if (code == 0)
		code = muster_fork(cluster, NULL, NULL);
	say("closed code=%d", code);
	return muster_cluster_run(cluster);
}

static void a_table_without_exactly_one_channel_is_refused(void)
{
	struct process *p = start("tables", NULL);

	expect(p, "none code=%d text=*channel*", -EINVAL);
	expect(p, "two code=%d text=*channel*", -EINVAL);
	expect(p, "many code=%d text=*64*", -EINVAL);
	expect(p, "closed code=%d", -EBADF);
	expect_end(p, 0);
}

static int inherit(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	char text[16];

	if (muster_is_primary(cluster)) {
		int files[2] = {
			open("first", O_RDONLY | O_CLOEXEC),
			open("second", O_RDONLY | O_CLOEXEC),
		};
		struct muster_settings settings = { .descriptors = files,
						    .descriptor_count = 2 };

		must(cluster, "setup",
		     muster_setup_primary(cluster, &settings));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	for (int descriptor = 4; descriptor <= 6; descriptor++) {
		ssize_t length = read(descriptor, text, sizeof(text) - 1);

		text[length > 0 ? length : 0] = '\0';
		say("descriptor %d: %s", descriptor, text);
	}
	return muster_cluster_run(cluster);
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(path_in_directory(name), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void workers_find_the_descriptors_given_after_the_channel(void)
{
	write_file("first", "one");
	write_file("second", "two");
	struct process *p = start("inherit", NULL);

	expect(p, "descriptor 4: one");
	expect(p, "descriptor 5: two");
	expect_end(p, 0);
}

static int strangers(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		if (open("/dev/null", O_RDONLY) < 0 || dup2(1, 200) < 0)
			return 1;
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	say("worker 200 is open=%d", fcntl(200, F_GETFD) != -1);
	return muster_cluster_run(cluster);
}

static void workers_find_no_other_descriptor(void)
{
	struct process *p = start("strangers", NULL);

	expect(p, "worker 200 is open=0");
	expect_end(p, 0);
}

/* ---- Other programs, other users --------------------------------------------
 */

static int other(int argc, char **argv)
{
	static const char *const arguments[] = { "-u", NULL };
	struct muster_settings settings = {
		.exec = argument(argc, argv, 0),
		.args = arguments,
		.uid = (uid_t)argument_number(argc, argv, 1),
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	say_events(cluster);
	must(cluster, "setup", muster_setup_primary(cluster, &settings));
	say("fork code=%d text=%s", muster_fork(cluster, NULL, NULL),
	    muster_problem_text(cluster));
	return muster_cluster_run(cluster);
}

static void a_program_that_knows_nothing_of_us_can_be_a_worker(void)
{
	struct process *p = start("other", "/usr/bin/id", "0", NULL);

	expect(p, "fork code=0 *");
	expect(p, "%d", (int)getuid());
	expect(p, "exit 1 code=0 signal=0 voluntary=0 *");
	expect_end(p, 0);
	expect_none(p, "online *");
}

static void workers_run_as_the_user_that_was_set(void)
{
	if (getuid() != 0)
		skip();
	struct process *p = start("other", "/usr/bin/id", "65534", NULL);

	expect(p, "65534");
	expect(p, "exit 1 code=0 *");
	expect_end(p, 0);
}

static void a_program_that_is_missing_fails_the_fork(void)
{
	struct process *p = start("other", "/no/such/program", "0", NULL);

	expect(p, "fork code=%d text=*/no/such/program*", -ENOENT);
	expect_end(p, 0);
	expect_none(p, "fork 1 *");
}

static void a_file_that_is_no_program_fails_the_fork(void)
{
	write_file("letter", "Dear reader\n");
	struct process *p = start("other", "./letter", "0", NULL);

	expect(p, "fork code=%d *", -EACCES);
	expect_end(p, 0);
}

static int wrong_role(int argc, char **argv)
{
	struct muster_settings settings = { .cwd = "/" };
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say("primary ready code=%d", muster_ready(cluster));
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	say("worker fork code=%d", muster_fork(cluster, NULL, NULL));
	say("worker setup code=%d", muster_setup_primary(cluster, &settings));
	say("worker reload code=%d", muster_reload(cluster, NULL, NULL));
	return muster_cluster_run(cluster);
}

static void what_only_a_primary_may_do_is_refused_to_a_worker(void)
{
	struct process *p = start("wrong_role", NULL);

	expect(p, "primary ready code=%d", -EPERM);
	expect(p, "worker fork code=%d", -EPERM);
	expect(p, "worker setup code=%d", -EPERM);
	expect(p, "worker reload code=%d", -EPERM);
	expect_end(p, 0);
}

static int facts(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	say("cores %d", muster_available_cores());
	say("exit %s", muster_exit_text(1, 0));
	say("exit %s", muster_exit_text(-1, 9));
	say("version %s", muster_version());
	return 0;
}

static void facts_are_told_without_a_cluster(void)
{
	struct process *p = start("facts", NULL);

	assert_true(expect_number(p, "cores ") >= 1);
	expect(p, "exit code 1");
	expect(p, "exit signal SIGKILL");
	expect(p, "version 0.*");
	expect_end(p, 0);
}

static const struct test_program programs[] = {
	PROGRAM(role),        PROGRAM(family),      PROGRAM(solo),
	PROGRAM(environment), PROGRAM(directories), PROGRAM(silence),
	PROGRAM(accumulate),  PROGRAM(setups),      PROGRAM(changed),
	PROGRAM(table),       PROGRAM(input),       PROGRAM(tables),
	PROGRAM(inherit),     PROGRAM(strangers),   PROGRAM(other),
	PROGRAM(wrong_role),  PROGRAM(facts),       { NULL, NULL },
};

static const struct test tests[] = {
	TEST(a_process_without_a_channel_is_a_primary),
	TEST(a_channel_variable_that_names_no_channel_is_refused),
	TEST(the_channel_is_not_in_the_environment_of_a_worker),
	TEST(a_worker_finds_its_slot_and_its_name_in_the_environment),
	TEST(a_grandchild_of_a_worker_is_a_primary),
	TEST(a_lower_free_slot_is_taken_again_with_its_name),
	TEST(the_first_worker_is_1_and_its_events_come_in_order),
	TEST(exit_tells_the_code_the_worker_ended_with),
	TEST(listening_tells_address_type_and_the_real_port),
	TEST(a_fork_adds_to_and_overrides_the_environment),
	TEST(each_worker_runs_in_the_directory_valid_at_its_fork),
	TEST(a_directory_that_is_missing_fails_the_fork),
	TEST(workers_get_exactly_the_arguments_that_were_set),
	TEST(output_of_silent_workers_comes_to_the_callback_only),
	TEST(setup_is_told_once_a_call),
	TEST(settings_are_empty_until_the_first_setup),
	TEST(settings_accumulate),
	TEST(each_setup_is_told_with_its_settings),
	TEST(workers_are_started_with_the_arguments_given_to_open),
	TEST(a_pipe_as_descriptor_4_is_written_and_echoed),
	TEST(a_closed_pipe_is_the_end_of_the_workers_input),
	TEST(a_table_without_exactly_one_channel_is_refused),
	TEST(workers_find_the_descriptors_given_after_the_channel),
	TEST(workers_find_no_other_descriptor),
	TEST(a_program_that_knows_nothing_of_us_can_be_a_worker),
	TEST(workers_run_as_the_user_that_was_set),
	TEST(a_program_that_is_missing_fails_the_fork),
	TEST(a_file_that_is_no_program_fails_the_fork),
	TEST(what_only_a_primary_may_do_is_refused_to_a_worker),
	TEST(facts_are_told_without_a_cluster),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
