/* Messages between a primary and its workers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

/* ---- Each way ---------------------------------------------------------------
 */

static void a_message_each_way_arrives_as_it_was_sent(void)
{
	struct process *p = start("obedient", "fork=2", NULL);

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	command(p, "tell 2 say hello");
	expect(p, "worker 2 hello");
	command(p, "tell 2 reply hello back");
	expect(p, "message 2 \"hello back\"");
	expect_none(p, "worker 1 *");
	expect_none(p, "message 1 *");
	expect(p, "done tell 2 say hello code=0");
}

static void messages_go_on_while_the_worker_serves(void)
{
	struct process *p =
		start("obedient", "fork=1", "listen=127.0.0.1:0", NULL);
	int port = field(expect(p, "listening 1 *"), "port");

	for (int i = 0; i < 20; i++) {
		command(p, "tell 1 reply %d", i);
		receive_line(dial(NULL, port));
		expect(p, "message 1 \"%d\"", i);
	}
}

static void say_content(struct muster_worker *worker,
			struct muster_message *message, void *where)
{
	(void)worker;
	say("%s %s", (const char *)where,
	    (const char *)muster_message_content(message));
}

static void leave(struct muster_timer *timer, void *cluster)
{
	(void)timer;
	muster_cluster_stop(cluster, 0);
}

static void say_and_leave(struct muster_worker *worker,
			  struct muster_message *message, void *cluster)
{
	(void)worker;
	(void)message;
	muster_timer_start(cluster, 0, 0, leave, cluster);
}

static int once(int argc, char **argv)
{
	static char cluster_word[] = "cluster got";
	static char worker_word[] = "worker got";
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	struct muster_worker *worker = muster_self(cluster);

	if (muster_is_primary(cluster))
		must(cluster, "fork", muster_fork(cluster, NULL, &worker));
	muster_on_message(cluster, say_content, cluster_word);
	muster_worker_on_message(worker, say_content, worker_word);
	if (muster_is_worker(cluster))
		muster_worker_on_message(worker, say_and_leave, cluster);
	say("send code=%d", muster_send(worker, "{\"a\":1}", 7));
	return muster_cluster_run(cluster);
}

static void a_message_is_told_once_on_the_cluster_and_once_on_the_worker(void)
{
	struct process *p = start("once", NULL);

	/* In the primary and in the worker, each. */
	expect(p, "cluster got {\"a\":1}");
	expect(p, "worker got {\"a\":1}");
	expect(p, "cluster got {\"a\":1}");
	expect(p, "worker got {\"a\":1}");
	expect(p, "send code=0");
	expect(p, "send code=0");
	expect_end(p, 0);
	assert_int_equal(count_lines(p, "cluster got *"), 2);
	assert_int_equal(count_lines(p, "worker got *"), 2);
}

/* ---- A worker that sends everything back
 * ------------------------------------- */

static void send_back(struct muster_worker *self,
		      struct muster_message *message, void *cluster)
{
	int code = muster_send(self, muster_message_content(message),
			       muster_message_length(message));

	if (code < 0)
		say("worker cannot send back: code=%d", code);
	(void)cluster;
}

/* What the primary awaits from the worker that sends back. */
static struct {
	struct muster_cluster *cluster;
	char *sent;
	size_t length;
	int left;
} trial;

static void compare(struct muster_worker *worker,
		    struct muster_message *message, void *arg)
{
	const char *content = muster_message_content(message);
	size_t length = muster_message_length(message);

	(void)arg;
	say("back length=%zu same=%d ends=%d", length,
	    length == trial.length && memcmp(content, trial.sent, length) == 0,
	    content[length] == '\0');
	if (--trial.left == 0 && muster_worker_disconnect(worker) != 0)
		say("cannot disconnect");
}

static void send_trial(struct muster_worker *worker, void *arg)
{
	(void)arg;
	int code = muster_send(worker, trial.sent, trial.length);

	say("send code=%d", code);
}

static int run_trial(int argc, char **argv, enum muster_serialization kind,
		     char *(*make)(size_t *length))
{
	struct muster_options options = { .settings.serialization = kind };

	trial.cluster = open_cluster(argc, argv, &options);
	if (muster_is_primary(trial.cluster)) {
		trial.sent = make(&trial.length);
		trial.left = 1;
		muster_on_message(trial.cluster, compare, NULL);
		muster_on_online(trial.cluster, send_trial, NULL);
		must(trial.cluster, "fork",
		     muster_fork(trial.cluster, NULL, NULL));
	} else {
		muster_on_message(trial.cluster, send_back, trial.cluster);
	}
	int code = muster_cluster_run(trial.cluster);

	free(trial.sent);
	return code;
}

/* 400 kB of characters of two, three and four bytes, which are bound to be cut
 * wherever reads end. */
static char *make_text(size_t *length)
{
	static const char pattern[] = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3";
	size_t count = 400000 / (sizeof(pattern) - 1);
	char *text = malloc(count * (sizeof(pattern) - 1) + 3);
	char *end = text;

	if (text == NULL)
		abort();
	*end++ = '"';
	for (size_t i = 0; i < count; i++, end += sizeof(pattern) - 1)
		memcpy(end, pattern, sizeof(pattern) - 1);
	*end++ = '"';
	*length = (size_t)(end - text);
	return text;
}

static int text(int argc, char **argv)
{
	return run_trial(argc, argv, MUSTER_JSON, make_text);
}

static void long_text_is_not_broken_anywhere(void)
{
	struct process *p = start("text", NULL);

	expect(p, "back length=* same=1 ends=1");
	expect_end(p, 0);
}

static char *make_bytes(size_t *length)
{
	*length = 256 * 16;
	char *bytes = malloc(*length);

	if (bytes == NULL)
		abort();
	for (size_t i = 0; i < *length; i++)
		bytes[i] = (char)i;
	return bytes;
}

static int bytes(int argc, char **argv)
{
	return run_trial(argc, argv, MUSTER_BYTES, make_bytes);
}

static void bytes_of_any_value_arrive_as_they_were_sent(void)
{
	struct process *p = start("bytes", NULL);

	expect(p, "back length=4096 same=1 ends=1");
	expect_end(p, 0);
}

static char *make_longest(size_t *length)
{
	*length = MUSTER_MESSAGE_MAX;
	char *bytes = malloc(*length);

	if (bytes == NULL)
		abort();
	memset(bytes, 'x', *length);
	return bytes;
}

static int longest(int argc, char **argv)
{
	return run_trial(argc, argv, MUSTER_BYTES, make_longest);
}

static void a_message_of_the_longest_kind_arrives(void)
{
	struct process *p = start("longest", NULL);

	expect(p, "send code=1"); /* busy: it waits */
	expect(p, "back length=%u same=1 ends=1", MUSTER_MESSAGE_MAX);
	expect_end(p, 0);
}

static char *make_nothing(size_t *length)
{
	*length = 0;
	return strdup("");
}

static int nothing(int argc, char **argv)
{
	return run_trial(argc, argv, MUSTER_BYTES, make_nothing);
}

static void an_empty_message_arrives(void)
{
	struct process *p = start("nothing", NULL);

	expect(p, "back length=0 same=1 ends=1");
	expect_end(p, 0);
}

static char *make_internal(size_t *length)
{
	static const char internal[] = "{\"cmd\":\"NODE_CLUSTER\",\"act\":"
				       "\"disconnect\",\"type\":1}";

	*length = sizeof(internal) - 1;
	return strdup(internal);
}

static int internal(int argc, char **argv)
{
	return run_trial(argc, argv, MUSTER_JSON, make_internal);
}

static void a_message_that_looks_like_one_of_ours_is_the_applications(void)
{
	struct process *p = start("internal", NULL);

	expect(p, "back length=* same=1 ends=1");
	expect_end(p, 0);
}

/* ---- Many -------------------------------------------------------------------
 */

#define MANY 20000

static int expected;

static void check_order(struct muster_worker *worker,
			struct muster_message *message, void *arg)
{
	(void)arg;
	if (atoi(muster_message_content(message)) != expected++)
		say("out of order at %d", expected);
	if (expected == MANY) {
		say("all came");
		if (muster_worker_disconnect(worker) != 0)
			say("cannot disconnect");
	}
}

static void send_many(struct muster_worker *worker, void *arg)
{
	int failed = 0;

	(void)arg;
	for (int i = 0; i < MANY; i++)
		failed += muster_send_format(worker, "%d", i) < 0;
	say("sent with %d failures", failed);
}

static int many(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		muster_on_online(cluster, send_many, NULL);
		muster_on_message(cluster, check_order, NULL);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	} else {
		muster_on_message(cluster, send_back, cluster);
	}
	return muster_cluster_run(cluster);
}

static void many_messages_arrive_in_order_both_ways(void)
{
	struct process *p = start("many", NULL);

	expect(p, "sent with 0 failures");
	expect(p, "all came");
	expect_end(p, 0);
}

/* ---- Back-pressure
 * ------------------------------------------------------------ */

static void flood(struct muster_cluster *cluster, const char *line)
{
	struct muster_worker *worker = muster_worker_find(cluster, 1);
	static char content[65536];
	size_t sent = 0;
	int busy_at = 0;
	int code = 0;

	if (strcmp(line, "flood") != 0) {
		common_command(cluster, line);
		return;
	}
	memset(content, 'x', sizeof(content));
	while (sent < 4000) {
		code = muster_send(worker, content, sizeof(content));
		if (code < 0)
			break;
		sent++;
		if (code == MUSTER_BUSY && busy_at == 0)
			busy_at = (int)sent;
	}
	say("flooded sent=%zu busy_at=%d code=%d", sent, busy_at, code);
}

static int slow(int argc, char **argv)
{
	struct muster_options options = {
		.settings.serialization = MUSTER_BYTES,
		.no_hang_check = true,
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, flood);
	}
	muster_on_message(cluster, send_back, cluster);
	return muster_cluster_run(cluster);
}

static void a_sender_is_told_that_the_other_side_is_slow(void)
{
	struct process *p = start("slow", NULL);

	expect(p, "online 1 *");
	pid_t pid = (pid_t)field(expect(p, "fork 1 *"), "pid");

	kill(pid, SIGSTOP);
	command(p, "flood");
	const char *line = expect(p, "flooded *");

	/* Advice after 128 KiB and what the kernel takes, and the end of it
	 * after 64 MiB. */
	assert_in_range(field(line, "busy_at"), 2, 64);
	assert_in_range(field(line, "sent"), 1000, 1100);
	assert_int_equal(field(line, "code"), -ENOBUFS);
	expect_none(p, "drain *");
	if (!is_sanitized())
		assert_in_range(resident_kib(pid_of(p)), 0, 160 * 1024);
	command(p, "kill 1 9");
	expect(p, "exit 1 *");
	expect_end(p, 0);
}

static void swallow(struct muster_worker *self, struct muster_message *message,
		    void *arg)
{
	(void)self;
	(void)message;
	(void)arg;
}

static int thirsty(int argc, char **argv)
{
	struct muster_options options = {
		.settings.serialization = MUSTER_BYTES,
		.no_hang_check = true,
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, flood);
	}
	muster_on_message(cluster, swallow, NULL);
	return muster_cluster_run(cluster);
}

static void a_sender_is_told_when_there_is_room_again(void)
{
	struct process *p = start("thirsty", NULL);

	expect(p, "online 1 *");
	pid_t pid = (pid_t)field(expect(p, "fork 1 *"), "pid");

	kill(pid, SIGSTOP);
	command(p, "flood");
	expect(p, "flooded *");
	kill(pid, SIGCONT);
	expect(p, "drain 1");
	command(p, "state 1");
	expect(p, "state 1 * connected=1 *");
	assert_int_equal(count_lines(p, "drain 1"), 1);
}

/* ---- Wrong use
 * ------------------------------------------------------------------ */

static void send_wrong(struct muster_worker *worker, void *cluster)
{
	static const char *const contents[] = { "{\"a\":", "",
						"1 2",     "nonsense",
						"{'a':1}", "\"\xff\xfe\"" };
	static char content[MUSTER_MESSAGE_MAX + 1];

	for (int i = 0; i < 6; i++)
		say("wrong %d code=%d", i,
		    muster_send(worker, contents[i], strlen(contents[i])));
	memset(content, ' ', sizeof(content));
	content[0] = '1';
	say("long code=%d", muster_send(worker, content, sizeof(content)));
	say("right code=%d", muster_send(worker, "[1, null]", 9));
	say("number code=%d", muster_send(worker, "1", 1));
	say("text=%s", muster_problem_text(cluster));
	if (muster_worker_disconnect(worker) != 0)
		say("cannot disconnect");
}

static int wrong(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		muster_on_online(cluster, send_wrong, cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
	} else {
		muster_on_message(cluster, swallow, NULL);
	}
	return muster_cluster_run(cluster);
}

static void what_is_no_json_is_refused(void)
{
	struct process *p = start("wrong", NULL);

	for (int i = 0; i < 6; i++)
		expect(p, "wrong %d code=%d", i, -EINVAL);
	expect(p, "right code=0");
	expect(p, "number code=0");
	expect_end(p, 0);
}

static void a_message_that_is_too_long_is_refused(void)
{
	struct process *p = start("wrong", NULL);

	expect(p, "long code=%d", -EMSGSIZE);
	expect_end(p, 0);
}

static int strange(int argc, char **argv)
{
	struct muster_settings settings = {
		.serialization = (enum muster_serialization)7,
	};
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	say("setup code=%d", muster_setup_primary(cluster, &settings));
	settings = (struct muster_settings){
		.schedule = (enum muster_schedule)99,
	};
	say("schedule code=%d", muster_setup_primary(cluster, &settings));
	return muster_cluster_run(cluster);
}

static void a_serialization_there_is_not_is_refused(void)
{
	struct process *p = start("strange", NULL);

	expect(p, "setup code=%d", -EINVAL);
	expect(p, "schedule code=%d", -EINVAL);
	expect_end(p, 0);
}

/* ---- Members
 * ------------------------------------------------------------------- */

static void say_members(struct muster_worker *worker,
			struct muster_message *message, void *arg)
{
	const char *name = muster_message_text(message, "name");

	(void)worker;
	say("name=%s count=%lld none=%lld wrong=%lld missing=%d",
	    name != NULL ? name : "(none)",
	    (long long)muster_message_int(message, "count", -1),
	    (long long)muster_message_int(message, "none", -1),
	    (long long)muster_message_int(message, "name", -1),
	    muster_message_text(message, "count") == NULL);
	muster_timer_start(arg, 0, 0, leave, arg);
}

static int members(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);
	struct muster_worker *worker;

	if (muster_is_primary(cluster)) {
		must(cluster, "fork", muster_fork(cluster, NULL, &worker));
		must(cluster, "send",
		     muster_send_format(worker,
					"{\"name\":\"%s\",\"count\":"
					"%lld}",
					"J\\u00fcrgen", 9007199254740993LL));
	} else {
		muster_on_message(cluster, say_members, cluster);
	}
	return muster_cluster_run(cluster);
}

static void members_of_a_json_message_can_be_asked_for(void)
{
	struct process *p = start("members", NULL);

	expect(p, "name=J\xc3\xbcrgen count=9007199254740993 none=-1 wrong=-1 "
		  "missing=1");
	expect_end(p, 0);
}

/* ---- The end
 * ------------------------------------------------------------------- */

static int last_words(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return muster_cluster_run(cluster);
	}
	for (int i = 0; i < 1000; i++)
		if (muster_send_format(muster_self(cluster), "%d", i) < 0)
			return 1;
	if (argument_number(argc, argv, 0) == 1)
		muster_cluster_stop(cluster, 5);
	if (argument_number(argc, argv, 0) == 2)
		must(cluster, "kill",
		     muster_worker_kill(muster_self(cluster), 0));
	return muster_cluster_run(cluster);
}

static void what_a_worker_sent_before_it_ended_arrives_first(void)
{
	static const char *const ways[] = { "0", "1", "2" };

	for (int way = 0; way < 3; way++) {
		struct process *p = start("last_words", ways[way], NULL);

		expect_in_order(p, "message 1 0", "message 1 999",
				"disconnect 1 *", "exit 1 code=* signal=0 *",
				NULL);
		expect_end(p, 0);
		assert_int_equal(count_lines(p, "message 1 *"), 1000);
	}
}

static int deaf(int argc, char **argv)
{
	struct muster_cluster *cluster = open_cluster(argc, argv, NULL);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		must(cluster, "fork", muster_fork(cluster, NULL, NULL));
		return run_with_commands(cluster, common_command);
	}
	if (argument_number(argc, argv, 0) == 1)
		muster_on_message(cluster, swallow, NULL);
	return muster_cluster_run(cluster);
}

static void a_worker_that_does_not_listen_to_messages_ends(void)
{
	struct process *p = start("deaf", "0", NULL);

	expect(p, "exit 1 code=0 signal=0 *");
	expect_end(p, 0);
}

static void a_worker_that_listens_to_messages_stays(void)
{
	struct process *p = start("deaf", "1", NULL);

	expect(p, "online 1 *");
	for (int i = 0; i < 5; i++) {
		command(p, "send 1 {}");
		expect(p, "done send 1 {} code=0");
	}
	expect_none(p, "exit *");
	command(p, "disconnect 1");
	expect(p, "exit 1 code=0 signal=0 voluntary=1 *");
	expect_end(p, 0);
}

static void a_send_to_a_dying_worker_harms_nobody(void)
{
	struct process *p = start("obedient", "fork=2", NULL);

	expect(p, "online 1 *");
	expect(p, "online 2 *");
	command(p, "kill 1 9");
	/* It may have left or not: an answer, and never the end of us. */
	for (int i = 0; i < 20; i++)
		command(p, "tell 1 say %d", i);
	expect(p, "exit 1 code=-1 signal=9 *");
	command(p, "tell 1 say more");
	expect(p, "done tell 1 say more code=%d", NOBODY_HAS_IT);
	command(p, "tell 2 say alive");
	expect(p, "worker 2 alive");
}

static const struct test_program programs[] = {
	PROGRAM(obedient), PROGRAM(once),       PROGRAM(text),
	PROGRAM(bytes),    PROGRAM(longest),    PROGRAM(nothing),
	PROGRAM(internal), PROGRAM(many),       PROGRAM(slow),
	PROGRAM(thirsty),  PROGRAM(wrong),      PROGRAM(strange),
	PROGRAM(members),  PROGRAM(last_words), PROGRAM(deaf),
	{ NULL, NULL },
};

static const struct test tests[] = {
	TEST(a_message_each_way_arrives_as_it_was_sent),
	TEST(messages_go_on_while_the_worker_serves),
	TEST(a_message_is_told_once_on_the_cluster_and_once_on_the_worker),
	TEST(long_text_is_not_broken_anywhere),
	TEST(bytes_of_any_value_arrive_as_they_were_sent),
	TEST(a_message_of_the_longest_kind_arrives),
	TEST(an_empty_message_arrives),
	TEST(a_message_that_looks_like_one_of_ours_is_the_applications),
	TEST(many_messages_arrive_in_order_both_ways),
	TEST(a_sender_is_told_that_the_other_side_is_slow),
	TEST(a_sender_is_told_when_there_is_room_again),
	TEST(what_is_no_json_is_refused),
	TEST(a_message_that_is_too_long_is_refused),
	TEST(a_serialization_there_is_not_is_refused),
	TEST(members_of_a_json_message_can_be_asked_for),
	TEST(what_a_worker_sent_before_it_ended_arrives_first),
	TEST(a_worker_that_does_not_listen_to_messages_ends),
	TEST(a_worker_that_listens_to_messages_stays),
	TEST(a_send_to_a_dying_worker_harms_nobody),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
