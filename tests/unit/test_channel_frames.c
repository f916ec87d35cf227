/* Frames that no channel sends, and channels that are closed within their
 * callbacks. */
#include "channel_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

/* ---- Frames that are none ---- */

static void a_frame_too_long_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(FRAME_PAYLOAD_MAX + 1, MESSAGE_MESSAGE, 0);
	await_problem("FRAME_TOO_LONG", -EMSGSIZE);
}

static void a_frame_of_no_type_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, 999, 0);
	await_problem("FRAME_UNKNOWN", -ENOMSG);
}

static void a_frame_too_short_for_its_fields_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(3, MESSAGE_PING, 0);
	send_raw("123", 3);
	await_problem("FRAME_MALFORMED", -EPROTO);
}

static void a_frame_with_bytes_after_its_fields_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(5, MESSAGE_PING, 0);
	send_raw("12345", 5);
	await_problem("FRAME_MALFORMED", -EPROTO);
}

static void
a_frame_that_claims_too_many_descriptors_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, MESSAGE_MESSAGE, FRAME_DESCRIPTORS_MAX + 1);
	await_problem("FRAME_DESCRIPTORS", -E2BIG);
}

static void
a_frame_whose_descriptors_did_not_come_ends_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, MESSAGE_MESSAGE, 1);
	await_problem("FRAME_DESCRIPTORS", -EBADF);
	assert_int_equal(here.messages, 0);
}

static void descriptors_without_a_frame_end_the_channel(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(1000000, MESSAGE_MESSAGE, 64);
	size_t most = 0;

	for (int i = 0; i < 1000 && here.ends == 0; i++) {
		send_raw_descriptors("x", 1, 250);
		loop_turn(bench.loop);
		if (count_descriptors() > most)
			most = count_descriptors();
	}
	await_problem("FRAME_DESCRIPTORS", -EMFILE);
	assert_true(most < bench.descriptors + 800);
}

static void nothing_is_heard_after_a_broken_frame(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(0, 999, 0);
	send_raw_head(4, MESSAGE_PING, 0);
	send_raw("1234", 4);
	await_problem("FRAME_UNKNOWN", -ENOMSG);
	loop_bench_settle(&bench);
	assert_int_equal(here.messages, 0);
}

static void the_end_has_no_problem(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	close(ends[1]);
	ends[1] = -1;
	await_problem(NULL, 0);
}

static void the_end_within_a_frame_is_named(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	send_raw_head(100, MESSAGE_MESSAGE, 0);
	close(ends[1]);
	ends[1] = -1;
	await_problem("FRAME_CUT", -EPROTO);
}

static void a_peer_that_died_with_bytes_unread_has_no_problem(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	ping(&here, 1);
	loop_bench_settle(&bench);
	close(ends[1]);
	ends[1] = -1;
	await_problem(NULL, 0);
}

/* ---- Closing within callbacks ---- */

static void a_channel_may_be_closed_when_a_message_comes(void **state)
{
	(void)state;
	open_both();
	there.closes_on_message = true;
	ping(&here, 1);
	channel_send(here.channel,
		     &(struct message){ .type = MESSAGE_CONNECTION },
		     open_file());
	ping(&here, 3);
	AWAIT(&bench, here.ends > 0);
	assert_int_equal(there.messages, 1);
	assert_int_equal(there.ends, 0);
}

static void a_channel_may_be_closed_when_a_frame_is_refused(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	send_raw_head(0, 999, 0);
	send_raw_head(0, 999, 0);
	AWAIT(&bench, here.channel == NULL);
	assert_int_equal(here.ends, 1);
}

static void a_channel_may_be_closed_at_a_flood_of_descriptors(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_end = true;
	send_raw_head(1000, MESSAGE_MESSAGE, 64);
	for (int i = 0; i < 10; i++)
		send_raw_descriptors("x", 1, 250);
	AWAIT(&bench, here.channel == NULL);
}

static void a_channel_may_be_closed_at_its_end(void **state)
{
	(void)state;
	open_both();
	there.closes_on_end = true;
	close_side(&here);
	AWAIT(&bench, there.channel == NULL);
}

static void a_channel_may_be_closed_when_it_has_drained(void **state)
{
	(void)state;
	open_side(&here, &ends[0]);
	here.closes_on_drained = true;
	while (send_much(&here, 50000, 0) == 0)
		;
	open_side(&there, &ends[1]);
	AWAIT(&bench, here.channel == NULL);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, channel_set_up, channel_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_frame_too_long_ends_the_channel),
		TEST(a_frame_of_no_type_ends_the_channel),
		TEST(a_frame_too_short_for_its_fields_ends_the_channel),
		TEST(a_frame_with_bytes_after_its_fields_ends_the_channel),
		TEST(a_frame_that_claims_too_many_descriptors_ends_the_channel),
		TEST(a_frame_whose_descriptors_did_not_come_ends_the_channel),
		TEST(descriptors_without_a_frame_end_the_channel),
		TEST(nothing_is_heard_after_a_broken_frame),
		TEST(the_end_has_no_problem),
		TEST(the_end_within_a_frame_is_named),
		TEST(a_peer_that_died_with_bytes_unread_has_no_problem),
		TEST(a_channel_may_be_closed_when_a_message_comes),
		TEST(a_channel_may_be_closed_when_a_frame_is_refused),
		TEST(a_channel_may_be_closed_at_a_flood_of_descriptors),
		TEST(a_channel_may_be_closed_at_its_end),
		TEST(a_channel_may_be_closed_when_it_has_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
