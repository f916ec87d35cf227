/*
 * Who is cut off has later what is kept, once and in order, and knows what it
 * has not: messages are numbered, and counted on both sides.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "speakers.h"

#define BOUND    "20000" /* messages: far more than there are */
#define PATIENCE "TEST_STORE_MS=120000"

static unsigned long long number(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	if (at == NULL)
		give_up("no %s in '%s'", name, line);
	return strtoull(at + strlen(name), NULL, 10);
}

static struct process *start_hearer(const char *environment)
{
	struct process *p = start_speaker("node", "app", PATIENCE, environment);

	expect(p, "joined *");
	command(p, "since 0");
	expect(p, "subscribed since 0");
	return p;
}

static struct process *start_teller(void)
{
	struct process *p = start_speaker("caller", NULL, PATIENCE, NULL);

	expect(p, "ready *");
	return p;
}

static void rest(struct process *p, unsigned ms)
{
	command(p, "rest %u", ms);
	expect(p, "rested");
}

/* While there is a store: what they wait for ends. */
static void end(struct process *hearer, struct process *teller)
{
	send_signal(hearer, SIGTERM);
	send_signal(teller, SIGTERM);
	expect_exit(hearer, 0);
	expect_exit(teller, 0);
}

static unsigned long long stop_telling(struct process *teller)
{
	command(teller, "untick");
	return number(expect(teller, "kept sent=*"), "sent=");
}

/* What it has in the end: all that was sent has come, or is known to be
 * lost. */
static const char *await_all(struct process *hearer, unsigned long long sent)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;

	for (;;) {
		command(hearer, "kept");
		const char *line = expect(hearer, "has kept=*");

		if (number(line, "kept=") + number(line, "lost=") >= sent)
			return line;
		if (now_ms() > deadline_ms)
			give_up("%llu were sent, and '%s'", sent, line);
		rest(hearer, 20);
	}
}

static void expect_nothing_missed(struct process *hearer,
				  unsigned long long sent)
{
	const char *line = await_all(hearer, sent);

	if (number(line, "kept=") != sent || number(line, "lost=") != 0 ||
	    number(line, "disorder=") != 0)
		give_up("%llu were sent, and '%s'", sent, line);
}

/* ---- Redis is away ---- */

static void an_outage_of_three_seconds_misses_nothing(void)
{
	store_lasts = true;
	open_store();
	struct process *hearer = start_hearer(NULL);
	struct process *teller = start_teller();

	command(teller, "keep " BOUND);
	expect(teller, "keeps");
	rest(teller, 300);
	send_signal(server, SIGKILL);
	expect_exit(server, -SIGKILL);
	rest(teller, 3000);
	start_server();
	rest(teller, 1000);
	unsigned long long sent = stop_telling(teller);

	expect_nothing_missed(hearer, sent);
	command(hearer, "kept");
	if (number(expect(hearer, "has *"), "outages=") != 0)
		give_up("an outage was told, though the log was there");
	end(hearer, teller);
}

static void a_log_that_was_lost_is_told(void)
{
	store_lasts = false;
	open_store();
	struct process *hearer = start_hearer(NULL);
	struct process *teller = start_teller();

	command(teller, "keep " BOUND);
	expect(teller, "keeps");
	rest(teller, 300);
	send_signal(server, SIGKILL);
	expect_exit(server, -SIGKILL);
	rest(teller, 3000);
	start_server();
	rest(teller, 1000);
	const char *line = await_all(hearer, stop_telling(teller));

	if (number(line, "outages=") == 0 || number(line, "disorder=") != 0)
		give_up("not told, or out of order: '%s'", line);
	end(hearer, teller);
}

/* ---- the way to it is cut ---- */

static struct process *start_relay(void)
{
	struct process *p = start("relay", "relay.sock", "redis.sock", NULL);

	expect(p, "relays");
	return p;
}

static struct process *start_far_hearer(void)
{
	char store[300];

	snprintf(store, sizeof(store), "MUSTER_STORE=unix:%s",
		 path_in_directory("relay.sock"));
	return start_hearer(store);
}

/* Three seconds are so long that it is given up for dead, and joins anew. */
static void who_was_cut_off_has_what_it_missed(void)
{
	store_lasts = false;
	open_store();
	struct process *way = start_relay();
	struct process *hearer = start_far_hearer();
	struct process *teller = start_teller();

	command(teller, "keep " BOUND);
	expect(teller, "keeps");
	rest(teller, 300);
	send_signal(way, SIGKILL);
	expect_exit(way, -SIGKILL);
	rest(teller, 3000);
	start_relay();
	rest(teller, 500);
	unsigned long long sent = stop_telling(teller);

	expect_nothing_missed(hearer, sent);
	command(hearer, "kept");
	const char *line = expect(hearer, "has *");

	if (number(line, "recovered=") == 0 || number(line, "outages=") != 0)
		give_up("nothing was recovered: '%s'", line);
	end(hearer, teller);
}

static void what_is_beyond_the_bound_is_told_by_number(void)
{
	store_lasts = false;
	open_store();
	struct process *way = start_relay();
	struct process *hearer = start_far_hearer();
	struct process *teller = start_teller();

	command(teller, "keep 10");
	expect(teller, "keeps");
	rest(teller, 300);
	send_signal(way, SIGKILL);
	expect_exit(way, -SIGKILL);
	rest(teller, 3000);
	start_relay();
	rest(teller, 500);
	unsigned long long sent = stop_telling(teller);
	const char *line = await_all(hearer, sent);

	if (number(line, "kept=") + number(line, "lost=") != sent ||
	    number(line, "lost=") == 0 || number(line, "recovered=") == 0 ||
	    number(line, "disorder=") != 0)
		give_up("%llu were sent, and '%s'", sent, line);
	end(hearer, teller);
}

/* ---- on all stores ---- */

static void who_is_stopped_has_what_it_missed(void)
{
	open_store();
	struct process *hearer = start_hearer(NULL);
	struct process *teller = start_teller();

	send_signal(hearer, SIGSTOP);
	/* More than waits for it. */
	command(teller, "keepMuch 12000");
	unsigned long long sent =
		number(expect(teller, "kept sent=*"), "sent=");

	send_signal(hearer, SIGCONT);
	expect_nothing_missed(hearer, sent);
	end(hearer, teller);
}

static void who_comes_later_may_have_what_was_kept(void)
{
	open_store();
	struct process *teller = start_teller();

	command(teller, "keepMuch 50");
	expect(teller, "kept sent=50 *");
	struct process *hearer = start_speaker("node", "app", PATIENCE, NULL);

	expect(hearer, "joined *");
	command(hearer, "since 60000");
	expect(hearer, "subscribed since 60000");
	expect_nothing_missed(hearer, 50);
	/* And who does not ask for it has none of it. */
	struct process *other = start_hearer(NULL);

	command(teller, "keepMuch 1");
	expect(teller, "kept sent=1 *");
	expect_nothing_missed(other, 1);
	end(hearer, teller);
	send_signal(other, SIGTERM);
	expect_exit(other, 0);
}

/* clang-format off */
#define EVERYWHERE                                                             \
	TEST(who_is_stopped_has_what_it_missed),                               \
	TEST(who_comes_later_may_have_what_was_kept)
#define REMOTE                                                                 \
	TEST(a_log_that_was_lost_is_told)
/* clang-format on */

int main(int argc, char **argv)
{
	static const struct test embedded[] = { EVERYWHERE, { 0 } };
	static const struct test on_a_cluster[] = { EVERYWHERE, REMOTE, { 0 } };
	/* Only one server's socket is relayed, and lasts. */
	static const struct test remote[] = {
		EVERYWHERE,
		REMOTE,
		TEST(an_outage_of_three_seconds_misses_nothing),
		TEST(who_was_cut_off_has_what_it_missed),
		TEST(what_is_beyond_the_bound_is_told_by_number),
		{ 0 },
	};

	return harness_main(argc, argv, speakers,
			    strcmp(back_end(), "lmdb") == 0      ? embedded
			    : strcmp(back_end(), "cluster") == 0 ? on_a_cluster
								 : remote);
}
