/* Messages and calls while servers and stores stop, die and lie. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "speakers.h"
#include "wire/envelope.h"

/* ---- servers ---- */

static void one_that_is_stopped_is_told_and_comes_back_under_another_name(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	send_signal(first, SIGSTOP);
	command(caller, "node hello app-worker-1 1");
	expect(caller, "reply code=%d error=PEER_DOWN *", -EHOSTDOWN);
	struct process *other = start_node(1);

	command(caller, "node hello app-worker-1 2");
	expect(caller, "reply code=0 error= value=2 from=app-worker-1 *");
	/* It finds its name taken, takes another one, and is heard there. */
	send_signal(first, SIGCONT);
	command(caller, "awaits app-worker-2");
	expect(caller, "is up: app-worker-2");
	command(caller, "node hello app-worker-2 3");
	expect(caller, "reply code=0 error= value=3 from=app-worker-2 *");
	expect(first, "Hello from the node app-worker-2");
	/* It may have done what was asked of it by then, and no more. */
	int done = count_lines(first, "Hello from the node app-worker-1");

	command(caller, "node hello app-worker-1 4");
	expect(caller, "reply code=0 error= value=4 from=app-worker-1 *");
	expect_in_order(other, "Hello from the node app-worker-1",
			"Hello from the node app-worker-1", NULL);
	/* And can ask. */
	command(first, "node hello app-worker-1 5");
	expect(first, "reply code=0 error= value=5 from=app-worker-1 *");
	if (count_lines(first, "Hello from the node app-worker-1") != done)
		give_up("it is heard under the name that it had");
}

static void a_call_of_all_ends_with_the_last_of_them(void)
{
	open_store();
	start_node(1);
	struct process *second = start_node(2);
	struct process *caller = start_caller();

	send_signal(second, SIGSTOP);
	command(caller, "all refuse - {\"day\":\"Monday\"}");
	send_signal(second, SIGKILL);
	expect_exit(second, -SIGKILL);
	expect(caller,
	       "reply code=%d error=CALLEE_ERROR value=null from=app-worker-1 "
	       "text=not on a Monday",
	       -EREMOTEIO);
}

static void a_method_that_blocks_or_dies_harms_no_third(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *second = start_node(2);

	start_node(3);
	struct process *caller = start_caller();

	command(caller, "node block app-worker-1");
	expect(first, "blocks");
	command(caller, "node die app-worker-2");
	expect_exit(second, -SIGKILL);
	/* Neither has ended the first call's wait, nor the third's work. */
	command(caller, "node hello app-worker-3 3");
	expect(caller, "reply code=0 error= value=3 from=app-worker-3 *");
	expect(caller,
	       "reply code=%d error=PEER_DOWN value=null "
	       "from=app-worker-2 *",
	       -EHOSTDOWN);
	command(caller, "brief hello app-worker-1");
	expect(caller, "reply code=%d error=*", -ETIMEDOUT);
	send_signal(first, SIGKILL);
	expect_exit(first, -SIGKILL);
	expect(caller,
	       "reply code=%d error=PEER_DOWN value=null "
	       "from=app-worker-1 *",
	       -EHOSTDOWN);
}

static void a_caller_that_dies_leaves_the_method_running(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	command(caller, "node nap app-worker-1 {\"ms\":100}");
	expect(first, "naps");
	send_signal(caller, SIGKILL);
	expect_exit(caller, -SIGKILL);
	expect(first, "slept");
}

/* ---- messages ---- */

static void a_slow_handler_loses_its_own_messages_alone(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	command(caller, "publish slow 1");
	expect(first, "is slow with 1");
	/* One is handled, and four of twenty wait. */
	command(caller, "flood slow");
	expect(first, "slow cause=3 missed=16");
	command(first, "counts");
	expect(first, "counts * slow=16 *");
	command(caller, "publish priceChanged 2");
	expect(first, "news type=priceChanged * payload=2");
}

static unsigned long long number(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	if (at == NULL)
		give_up("no %s in '%s'", name, line);
	return strtoull(at + strlen(name), NULL, 10);
}

/* How often messages may be missing, and what is known of it. */
static void expect_all_accounted_for(struct process *hearer,
				     unsigned long long sent)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;

	for (;;) {
		command(hearer, "rest 50");
		expect(hearer, "rested");
		command(hearer, "heard");
		const char *line = expect(hearer, "heard ticks=*");
		unsigned long long ticks = number(line, "ticks=");
		unsigned long long missed = number(line, "missed=");

		if (ticks > sent)
			give_up("%llu came of %llu: '%s'", ticks, sent, line);
		/* Among those that are missing may be the bus's own. */
		if (missed == 0 ? ticks == sent : ticks + missed >= sent)
			return;
		if (now_ms() > deadline_ms)
			give_up("%llu were sent, and '%s'", sent, line);
	}
}

static void an_outage_is_told_and_every_message_is_accounted_for(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	command(caller, "tick");
	expect(caller, "ticks");
	command(caller, "rest 300");
	expect(caller, "rested");
	send_signal(server, SIGKILL);
	expect_exit(server, -SIGKILL);
	/* The outage. */
	command(caller, "rest 3000");
	expect(caller, "rested");
	start_server();
	expect(first, "outage 1");
	command(caller, "rest 300");
	expect(caller, "rested");
	command(caller, "untick");
	unsigned long long sent = number(expect(caller, "sent=*"), "sent=");

	expect_all_accounted_for(first, sent);
	/* Calls arrive again. */
	command(caller, "node hello app-worker-1 1");
	expect(caller, "reply code=0 error= value=1 from=app-worker-1 *");
}

static void a_server_that_is_stopped_hears_all_or_knows_what_not(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	command(caller, "tick");
	expect(caller, "ticks");
	send_signal(first, SIGSTOP);
	command(caller, "rest 500");
	expect(caller, "rested");
	send_signal(first, SIGCONT);
	command(caller, "untick");
	unsigned long long sent = number(expect(caller, "sent=*"), "sent=");

	expect_all_accounted_for(first, sent);
}

/* ---- bad input ---- */

static void what_cannot_be_sent_is_refused_by_name(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();

	command(caller, "large");
	expect(caller, "reply code=%d error=TOO_LARGE *", -EMSGSIZE);
	command(caller, "deep");
	expect(caller, "reply code=%d error=TOO_DEEP *", -ELOOP);
	command(caller, "publish unheardOf 1");
	expect(caller, "published code=0 *");
	command(caller, "node hello app-worker-1 1");
	expect(caller, "reply code=0 *");
	command(first, "counts");
	if (number(expect(first, "counts *"), "unwanted=") == 0)
		give_up("a message of an unknown type was not counted");
	if (count_lines(first, "Hello*") != 1)
		give_up("what was refused was done");
}

/* Publishes as somebody who can reach the store and has no token. */
static void forge(const char *text)
{
	expect(start("redis_cli", "-s", path_in_directory("redis.sock"),
		     "publish", "muster:bus", text, NULL),
	       "*");
}

static void what_is_forged_altered_or_replayed_is_counted_and_dropped(void)
{
	open_store();
	struct process *first = start_node(1);
	struct process *caller = start_caller();
	struct process *tap =
		start("redis_cli", "-s", path_in_directory("redis.sock"),
		      "subscribe", "muster:bus", NULL);

	expect(tap, "subscribe");
	command(caller, "publish priceChanged 77123");
	expect(first, "news * payload=77123");
	char *genuine = strdup(expect(tap, "*priceChanged*77123*"));

	if (genuine == NULL)
		abort();
	forge(genuine);
	char *altered = strstr(genuine, "77123");

	altered[0] = '8';
	forge(genuine);
	forge("{\"messageType\":\"priceChanged\"}");
	free(genuine);
	struct process *stranger = start_speaker(
		"caller", NULL, "TEST_TOKEN=another one than theirs", NULL);

	expect(stranger, "ready *");
	command(stranger, "publish priceChanged 99");
	expect(stranger, "published code=0 *");
	/* What comes behind all of these. */
	command(caller, "publish priceChanged 5");
	expect(first, "news * payload=5");
	if (count_lines(first, "news *") != 2)
		give_up("a message that nobody sent was handled");
	command(first, "counts");
	const char *line = expect(first, "counts *");

	/* The stranger's is one more forged one, with a key unknown here. */
	if (number(line, "replayed=") < 1 || number(line, "forged=") < 2 ||
	    number(line, "malformed=") < 1)
		give_up("not counted: '%s'", line);
	if (strstr(errors_of(first), "bus message refused why=") == NULL)
		give_up("not told");
}

/* ---- who has the token, and is late or says a thing twice ---- */

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct envelope_text text_of(const char *text)
{
	return (struct envelope_text){ text, strlen(text) };
}

/* Publishes what is genuine: signed with the token, and numbered. */
static void say_signed(const char *type, const char *body, uint64_t seq,
		       uint64_t age_ms)
{
	char room[ENVELOPE_HEAD_MAX + 1024];
	struct envelope_keys *keys = envelope_keys_new(
		"muster", text_of(SPEAKERS_TOKEN), text_of(""));
	const struct envelope message = {
		.type = text_of(type),
		.from = text_of("elsewhere"),
		.nonce = text_of("5f3a"),
		.body = text_of(body),
		.seq = seq,
		.ts_ms = real_ms() - age_ms,
	};
	ssize_t length = envelope_seal(keys, &message, room, sizeof(room) - 1);

	envelope_keys_free(keys);
	if (length < 0)
		give_up("cannot be sealed: %s", strerror((int)-length));
	room[length] = '\0';
	forge(room);
}

static void a_message_that_is_late_is_refused_and_counted(void)
{
	open_store();
	struct process *first = start_node(1);

	say_signed("priceChanged", "1", 1, 31000);
	say_signed("priceChanged", "2", 2, 0);
	expect(first, "news * from=elsewhere payload=2");
	expect_none(first, "news * payload=1");
	command(first, "counts");
	if (number(expect(first, "counts *"), "late=") != 1)
		give_up("a late message was not counted");
	if (strstr(errors_of(first), "bus message refused why=LATE") == NULL)
		give_up("not told");
}

/* Another number and signature each time, so it is the call that repeats. */
static void a_call_that_is_repeated_runs_once(void)
{
	static const char call[] = "{\"id\":\"5f3a-1\",\"method\":\"hello\","
				   "\"ttl\":60000,\"reply\":false,"
				   "\"args\":1}";
	static const char other[] = "{\"id\":\"5f3a-2\",\"method\":\"hello\","
				    "\"ttl\":60000,\"reply\":false,"
				    "\"args\":2}";

	open_store();
	struct process *first = start_node(1);

	say_signed("do", call, 1, 0);
	expect(first, "Hello from the node app-worker-1");
	say_signed("do", call, 2, 0);
	say_signed("do", other, 3, 0);
	expect(first, "Hello from the node app-worker-1");
	command(first, "counts");
	if (number(expect(first, "counts *"), "repeated=") != 1)
		give_up("a call that was repeated was not counted");
	if (count_lines(first, "Hello*") != 2)
		give_up("a call that was repeated ran again");
}

static void a_wrong_clock_changes_nothing(void)
{
	char preload[400];

	open_store();
	/* A sanitizer's runtime wants to be first, so there it goes without. */
	snprintf(preload, sizeof(preload), "%s=%s",
		 is_sanitized() ? "NOT_PRELOADED" : "LD_PRELOAD",
		 getenv("MUSTER_TEST_CLOCK"));
	struct process *first =
		start_speaker("node", "app", preload, "CLOCK_OFFSET_S=-600");

	expect(first, "joined app-worker-1");
	struct process *caller = start_caller();

	command(caller, "node hello app-worker-1 1");
	expect(caller, "reply code=0 error= value=1 from=app-worker-1 *");
	command(caller, "publish priceChanged 1");
	expect(first, "news type=priceChanged *");
	command(first, "counts");
	expect(first, "counts forged=0 replayed=0 late=0 malformed=0 *");
}

static void a_token_that_everyone_knows_is_refused(void)
{
	open_store();
	struct process *first =
		start_speaker("node", "app", "TEST_TOKEN=change-me", NULL);

	expect_exit(first, 1);
	if (strstr(errors_of(first), "MUSTER_TOKEN") == NULL)
		give_up("said '%s'", errors_of(first));
}

/* clang-format off */
#define EVERYWHERE                                                             \
	TEST(one_that_is_stopped_is_told_and_comes_back_under_another_name),   \
	TEST(a_call_of_all_ends_with_the_last_of_them),                        \
	TEST(a_method_that_blocks_or_dies_harms_no_third),                     \
	TEST(a_caller_that_dies_leaves_the_method_running),                    \
	TEST(a_slow_handler_loses_its_own_messages_alone),                     \
	TEST(a_server_that_is_stopped_hears_all_or_knows_what_not),            \
	TEST(what_cannot_be_sent_is_refused_by_name)
#define REMOTE                                                                 \
	TEST(an_outage_is_told_and_every_message_is_accounted_for),            \
	TEST(a_wrong_clock_changes_nothing),                                   \
	TEST(a_token_that_everyone_knows_is_refused)
/* clang-format on */

int main(int argc, char **argv)
{
	/* An embedded store is never away, its host has one clock, and only who
	 * may read its files can reach it. */
	static const struct test embedded[] = { EVERYWHERE, { 0 } };
	/* On a Cluster messages are seen by redis-cli in another way: what is
	 * made of them there is in tests/bus. */
	static const struct test on_a_cluster[] = { EVERYWHERE, REMOTE, { 0 } };
	static const struct test remote[] = {
		EVERYWHERE,
		REMOTE,
		TEST(what_is_forged_altered_or_replayed_is_counted_and_dropped),
		TEST(a_message_that_is_late_is_refused_and_counted),
		TEST(a_call_that_is_repeated_runs_once),
		{ 0 },
	};

	return harness_main(argc, argv, speakers,
			    strcmp(back_end(), "lmdb") == 0      ? embedded
			    : strcmp(back_end(), "cluster") == 0 ? on_a_cluster
								 : remote);
}
