/*
 * Workers that break the protocol: programs that do not use the library, but
 * find the channel in MUSTER_CHANNEL_FD and do harm with it. Each does so once;
 * what the pool starts in its place behaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client.h"
#include "harness.h"
#include "obedient.h"
#include "program.h"

/* As in docs/protocol.md. */
#define HELLO       1
#define WELCOME     2
#define LISTEN      3
#define LISTENING   5
#define UNLISTEN    6
#define CONNECTION  7
#define WAKE        8
#define READY       9
#define LEAVE       11
#define PONG        13
#define MESSAGE     14
#define PROTOCOL    1
#define PAYLOAD_MAX (16u * 1024 * 1024)

/* ---- Frames -----------------------------------------------------------------
 */

static int channel;

static void put(uint8_t *room, uint32_t number, int bytes)
{
	for (int i = 0; i < bytes; i++)
		room[i] = (uint8_t)(number >> (8 * i));
}

/* False: the other side has closed. */
static bool write_all(const void *bytes, size_t length)
{
	const char *rest = bytes;

	while (length > 0) {
		ssize_t count = send(channel, rest, length, MSG_NOSIGNAL);

		if (count < 0)
			return false;
		rest += count;
		length -= (size_t)count;
	}
	return true;
}

static bool write_head(uint32_t length, unsigned type, unsigned descriptors)
{
	uint8_t head[8];

	put(head, length, 4);
	put(head + 4, type, 2);
	put(head + 6, descriptors, 2);
	return write_all(head, sizeof(head));
}

/* A frame of numbers. */
static bool write_numbers(unsigned type, int count, const uint32_t *numbers)
{
	uint8_t payload[128];

	for (int i = 0; i < count; i++)
		put(payload + i * 4, numbers[i], 4);
	return write_head((uint32_t)count * 4, type, 0) &&
	       write_all(payload, (size_t)count * 4);
}

static bool write_hello(uint32_t protocol)
{
	return write_numbers(HELLO, 2,
			     (uint32_t[]){ protocol, (uint32_t)getpid() });
}

/* Bytes with as many descriptors as the kernel takes at once. */
static bool write_with_descriptors(const void *bytes, size_t length, int count)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec piece = { .iov_base = (void *)(uintptr_t)bytes,
			       .iov_len = length };
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)),
	};
	int list[253];

	for (int i = 0; i < count; i++)
		list[i] = 2;
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	memcpy(CMSG_DATA(&control.head), list, (size_t)count * sizeof(int));
	return sendmsg(channel, &message, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Until the primary closes; says so. */
static void read_to_end(void)
{
	char bytes[65536];

	while (recv(channel, bytes, sizeof(bytes), 0) > 0)
		;
	say("the channel was closed");
}

/* ---- Abuses
 * ------------------------------------------------------------------- */

static void garbage(void)
{
	char bytes[65536];
	unsigned state = 12345;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		state = state * 1103515245 + 12345;
		bytes[i] = (char)(state >> 16);
	}
	write_all(bytes, sizeof(bytes));
}

static void huge_length(void)
{
	write_hello(PROTOCOL);
	write_head(0xffffffff, MESSAGE, 0);
}

static void length_over_the_limit(void)
{
	write_hello(PROTOCOL);
	write_head(PAYLOAD_MAX + 1, MESSAGE, 0);
}

static void unknown_type(void)
{
	write_hello(PROTOCOL);
	write_head(0, 999, 0);
}

static void type_zero(void)
{
	write_hello(PROTOCOL);
	write_head(0, 0, 0);
}

static void short_hello(void)
{
	write_head(7, HELLO, 0);
	write_all("1234567", 7);
}

static void long_hello(void)
{
	write_head(9, HELLO, 0);
	write_all("123456789", 9);
}

static void other_version(void)
{
	write_hello(PROTOCOL + 98);
}

static void no_hello(void)
{
	write_numbers(READY, 1, (uint32_t[]){ 1 });
}

static void text_beyond_the_frame(void)
{
	/* The length of the host says more than there is. */
	write_hello(PROTOCOL);
	write_numbers(LISTEN, 9,
		      (uint32_t[]){ 1, 1, 0, 0, 0, 0, 16, 0, 0xfffffff0 });
}

static void asking_without_reading(void)
{
	/* Nobody can listen at descriptor 9999. */
	write_hello(PROTOCOL);
	for (int i = 0; i < 100000; i++)
		if (!write_numbers(
			    LISTEN, 9,
			    (uint32_t[]){ 1, 4, 9999, 0, 0, 0, 16, 0, 0 }))
			break;
}

static void words_of_a_primary(void)
{
	write_hello(PROTOCOL);
	write_numbers(WELCOME, 6, (uint32_t[]){ 1, 1, 1, 1, 1, 1 });
}

static void a_connection_from_below(void)
{
	write_hello(PROTOCOL);
	write_numbers(CONNECTION, 3, (uint32_t[]){ 1, 1, 1 });
}

static void absent_descriptors(void)
{
	write_hello(PROTOCOL);
	write_head(1, MESSAGE, 3);
	write_all("1", 1);
	/* What follows must not be taken for them. */
	write_head(1, MESSAGE, 0);
	write_all("2", 1);
}

static void too_many_descriptors(void)
{
	write_hello(PROTOCOL);
	write_head(1, MESSAGE, 65535);
	write_all("1", 1);
}

static void stray_descriptors(void)
{
	uint8_t head[9] = { 0 };

	write_hello(PROTOCOL);
	put(head, 1, 4);
	put(head + 4, MESSAGE, 2);
	head[8] = '1';
	/* They belong to no frame, and there is no end to them. */
	for (int i = 0; i < 200; i++)
		if (!write_with_descriptors(head, sizeof(head), 250))
			break;
}

static void descriptors_a_byte(void)
{
	uint8_t head[8] = { 0 };

	write_hello(PROTOCOL);
	put(head, 1000000, 4);
	put(head + 4, MESSAGE, 2);
	put(head + 6, 64, 2);
	write_all(head, sizeof(head));
	for (int i = 0; i < 5000; i++)
		if (!write_with_descriptors("x", 1, 64))
			break;
}

static const struct {
	const char *name;
	void (*run)(void);
} abuses[] = {
	{ "garbage", garbage },
	{ "huge_length", huge_length },
	{ "length_over_the_limit", length_over_the_limit },
	{ "unknown_type", unknown_type },
	{ "type_zero", type_zero },
	{ "short_hello", short_hello },
	{ "long_hello", long_hello },
	{ "other_version", other_version },
	{ "no_hello", no_hello },
	{ "text_beyond_the_frame", text_beyond_the_frame },
	{ "asking_without_reading", asking_without_reading },
	{ "words_of_a_primary", words_of_a_primary },
	{ "a_connection_from_below", a_connection_from_below },
	{ "absent_descriptors", absent_descriptors },
	{ "too_many_descriptors", too_many_descriptors },
	{ "stray_descriptors", stray_descriptors },
	{ "descriptors_a_byte", descriptors_a_byte },
};
#define ABUSES (sizeof(abuses) / sizeof(abuses[0]))

/* ---- The program ------------------------------------------------------------
 */

/* The first worker of all makes the mark, and is the one that does harm. */
static bool is_first(void)
{
	int mark = open("mark", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	if (mark < 0)
		return false;
	close(mark);
	return true;
}

static void open_channel(void)
{
	const char *text = getenv("MUSTER_CHANNEL_FD");
	int flags;

	if (text == NULL)
		exit(1);
	channel = atoi(text);
	flags = fcntl(channel, F_GETFL);
	fcntl(channel, F_SETFL, flags & ~O_NONBLOCK);
}

static int run_abused(int argc, char **argv, void (*abuse)(void))
{
	bool is_worker = getenv("MUSTER_CHANNEL_FD") != NULL;

	if (is_worker && is_first()) {
		open_channel();
		abuse();
		read_to_end();
		return 0;
	}

	struct muster_options options = { .workers = 1,
					  .backoff_ms = 1,
					  .ready_ms = 10000,
					  .drain_ms = 100,
					  .hang_ms = 500,
					  .kill_ms = 100 };
	struct muster_cluster *cluster = open_cluster(argc, argv, &options);

	if (muster_is_primary(cluster)) {
		say_events(cluster);
		return run_with_commands(cluster, common_command);
	}
	obey(cluster);
	must(cluster, "listen",
	     muster_listen(cluster, "127.0.0.1:0", answer_id, cluster));
	return muster_cluster_run(cluster);
}

static int abused(int argc, char **argv)
{
	const char *name = argument(argc, argv, 0);

	for (size_t i = 0; i < ABUSES; i++)
		if (strcmp(abuses[i].name, name) == 0)
			return run_abused(argc, argv, abuses[i].run);
	return 2;
}

/* ---- Tests
 * -------------------------------------------------------------------- */

/* Listeners of a worker that is gone stay until its replacement has settled:
 * it might ask for the same. */
static void expect_few_descriptors(struct process *p)
{
	int64_t deadline = now_ms() + DEADLINE_MS;
	size_t count;

	do {
		command(p, "echo");
		expect(p, "done echo *");
		count = count_descriptors(pid_of(p));
	} while (count > 40 && now_ms() < deadline);
	assert_in_range(count, 0, 40);
}

static void expect_replacement(struct process *p)
{
	int port = field(expect(p, "listening 1 *"), "port");

	assert_int_equal(receive_number(dial(NULL, port), ""), 1);
	command(p, "tell 1 reply well");
	expect(p, "message 1 \"well\"");
	expect_few_descriptors(p);
	assert_int_equal(count_children(pid_of(p)), 1);
}

/* The channel is closed with a reason that has a name, and the worker is
 * replaced. */
static void expect_abuse_ends(const char *abuse)
{
	unlink(path_in_directory("mark"));
	struct process *p = start("abused", abuse, NULL);
	const char *line = expect(p, "error 1 code=-*");

	if (strlen(line) < 30)
		give_up("%s: that is no reason: %s", abuse, line);
	expect(p, "exit 1 *");
	expect_replacement(p);
	if (!is_sanitized())
		assert_in_range(resident_kib(pid_of(p)), 0, 48 * 1024);
	send_signal(p, SIGTERM);
	expect_end(p, 0);
}

static void what_is_no_frame_ends_the_channel(void)
{
	expect_abuse_ends("garbage");
	expect_abuse_ends("unknown_type");
	expect_abuse_ends("type_zero");
}

static void a_length_over_the_limit_ends_the_channel(void)
{
	expect_abuse_ends("huge_length");
	expect_abuse_ends("length_over_the_limit");
	expect_abuse_ends("text_beyond_the_frame");
}

static void a_frame_that_is_too_short_or_too_long_ends_the_channel(void)
{
	expect_abuse_ends("short_hello");
	expect_abuse_ends("long_hello");
}

static void a_worker_of_another_version_is_turned_away(void)
{
	expect_abuse_ends("other_version");
}

static void a_worker_that_does_not_say_hello_first_is_turned_away(void)
{
	expect_abuse_ends("no_hello");
}

static void what_only_a_primary_says_ends_the_channel(void)
{
	expect_abuse_ends("words_of_a_primary");
	expect_abuse_ends("a_connection_from_below");
}

static void a_worker_that_reads_no_answers_is_not_answered_for_ever(void)
{
	expect_abuse_ends("asking_without_reading");
}

static void descriptors_that_were_announced_and_did_not_come_end_it(void)
{
	expect_abuse_ends("absent_descriptors");
	expect_abuse_ends("too_many_descriptors");
}

static void descriptors_without_end_end_the_channel(void)
{
	expect_abuse_ends("stray_descriptors");
	expect_abuse_ends("descriptors_a_byte");
}

/* ---- Strange, but harmless
 * ---------------------------------------------------- */

static void strange_words(void)
{
	write_hello(PROTOCOL);
	write_numbers(PONG, 1, (uint32_t[]){ 4711 });
	write_numbers(UNLISTEN, 1, (uint32_t[]){ 4711 });
	write_numbers(LISTENING, 1, (uint32_t[]){ 0xffffffff });
	write_numbers(WAKE, 1, (uint32_t[]){ 0xffffffff });
	write_numbers(READY, 1, (uint32_t[]){ 99 });
	write_head(6, MESSAGE, 0);
	write_all("\"well\"", 6);
}

static int strange(int argc, char **argv)
{
	return run_abused(argc, argv, strange_words);
}

static void numbers_that_mean_nothing_do_no_harm(void)
{
	struct process *p = start("strange", NULL);

	/* Ignored, or a reason to end it: the primary lives on either way, and
	 * so does the pool. */
	expect(p, "fork 1 *");
	command(p, "kill 1 9");
	expect(p, "exit 1 *");
	expect_replacement(p);
}

static void an_unknown_pong(void)
{
	write_hello(PROTOCOL);
	write_numbers(PONG, 1, (uint32_t[]){ 4711 });
	write_head(6, MESSAGE, 0);
	write_all("\"well\"", 6);
}

static int pong(int argc, char **argv)
{
	return run_abused(argc, argv, an_unknown_pong);
}

static void an_acknowledgement_nobody_asked_for_is_ignored(void)
{
	struct process *p = start("pong", NULL);

	expect_in_order(p, "online 1 *", "message 1 \"well\"", NULL);
	expect_none(p, "error *");
	/* It does not answer pings, though. */
	expect(p, "exit 1 *");
	expect_replacement(p);
}

static void half_a_frame_and_the_end(void)
{
	write_hello(PROTOCOL);
	write_head(1000, MESSAGE, 0);
	write_all("half", 4);
	shutdown(channel, SHUT_WR);
}

static int half(int argc, char **argv)
{
	return run_abused(argc, argv, half_a_frame_and_the_end);
}

static void a_worker_cut_off_within_a_frame_is_replaced(void)
{
	struct process *p = start("half", NULL);

	/* As any that was killed while it spoke. */
	expect_in_order(p, "online 1 *", "disconnect 1 *", "exit 1 *", NULL);
	expect_replacement(p);
}

static void hello_twice(void)
{
	write_hello(PROTOCOL);
	write_hello(PROTOCOL);
}

static int twice(int argc, char **argv)
{
	return run_abused(argc, argv, hello_twice);
}

static void a_second_hello_changes_nothing(void)
{
	struct process *p = start("twice", NULL);

	expect(p, "online 1 *");
	command(p, "kill 1 9");
	expect(p, "exit 1 *");
	expect_replacement(p);
	assert_int_equal(count_lines(p, "online 1 *"), 2);
}

static void talk_without_end(void)
{
	static char content[65536];

	write_hello(PROTOCOL);
	memset(content, ' ', sizeof(content));
	content[0] = '1';
	for (int i = 0; i < 500; i++)
		if (!write_head(sizeof(content), MESSAGE, 0) ||
		    !write_all(content, sizeof(content)))
			break;
	say("said it all");
}

static int talkative(int argc, char **argv)
{
	return run_abused(argc, argv, talk_without_end);
}

static void a_worker_that_talks_without_end_does_not_fill_the_primary(void)
{
	struct process *p = start("talkative", NULL);

	expect(p, "said it all");
	if (!is_sanitized())
		assert_in_range(resident_kib(pid_of(p)), 0, 48 * 1024);
	expect(p, "exit 1 *");
	expect_replacement(p);
}

static void ask_without_end(void)
{
	static const char host[] = "127.0.0.1";
	uint8_t frame[8 + 36 + 9];

	write_hello(PROTOCOL);
	put(frame, 36 + 9, 4);
	put(frame + 4, LISTEN, 2);
	put(frame + 6, 0, 2);
	for (uint32_t i = 0; i < 20000; i++) {
		const uint32_t numbers[9] = { i, 1, 0, 0, i, 0, 16, 0, 9 };

		for (int n = 0; n < 9; n++)
			put(frame + 8 + n * 4, numbers[n], 4);
		memcpy(frame + 8 + 36, host, 9);
		if (!write_all(frame, sizeof(frame)))
			break;
	}
	say("asked for it all");
}

static int demanding(int argc, char **argv)
{
	return run_abused(argc, argv, ask_without_end);
}

static void a_worker_that_asks_without_end_gets_no_more_than_its_share(void)
{
	struct process *p = start("demanding", NULL);
	/* It reads no answers, so that it may also be stuck in the middle. */
	pid_t pid = (pid_t)field(expect(p, "fork 1 *"), "pid");

	expect_gone(pid);
	expect(p, "exit 1 *");
	assert_in_range(count_descriptors(pid_of(p)), 0, 100);
	/* And what it listened at goes when its replacement does not. */
	expect_replacement(p);
}

static void say_half(void)
{
	write_hello(PROTOCOL);
	write_head(PAYLOAD_MAX, MESSAGE, 0);
	write_all("half", 4);
}

static int halting(int argc, char **argv)
{
	return run_abused(argc, argv, say_half);
}

static void half_a_frame_is_not_waited_for_for_ever(void)
{
	struct process *p = start("halting", NULL);

	expect(p, "online 1 *");
	expect(p, "exit 1 *"); /* hangs, as it answers no ping */
	expect_replacement(p);
	if (!is_sanitized())
		assert_in_range(resident_kib(pid_of(p)), 0, 48 * 1024);
}

static const struct test_program programs[] = {
	PROGRAM(abused),    PROGRAM(strange),   PROGRAM(pong),
	PROGRAM(talkative), PROGRAM(demanding), PROGRAM(halting),
	PROGRAM(half),      PROGRAM(twice),     { NULL, NULL },
};

static const struct test tests[] = {
	TEST(what_is_no_frame_ends_the_channel),
	TEST(a_length_over_the_limit_ends_the_channel),
	TEST(a_frame_that_is_too_short_or_too_long_ends_the_channel),
	TEST(a_worker_of_another_version_is_turned_away),
	TEST(a_worker_that_does_not_say_hello_first_is_turned_away),
	TEST(what_only_a_primary_says_ends_the_channel),
	TEST(a_worker_that_reads_no_answers_is_not_answered_for_ever),
	TEST(descriptors_that_were_announced_and_did_not_come_end_it),
	TEST(descriptors_without_end_end_the_channel),
	TEST(numbers_that_mean_nothing_do_no_harm),
	TEST(an_acknowledgement_nobody_asked_for_is_ignored),
	TEST(a_worker_cut_off_within_a_frame_is_replaced),
	TEST(a_second_hello_changes_nothing),
	TEST(a_worker_that_talks_without_end_does_not_fill_the_primary),
	TEST(a_worker_that_asks_without_end_gets_no_more_than_its_share),
	TEST(half_a_frame_is_not_waited_for_for_ever),
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, programs, tests);
}
