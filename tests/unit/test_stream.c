/* Streams over socket pairs and pipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/stream.h"

static const struct log no_log = { .level = LOG_OFF };

struct bench {
	struct loop *loop;
	struct stream *stream;
	int ours; /* the other side, non-blocking */
	char text[256];
	size_t length;
	size_t total;
	size_t ended;
	size_t failed;
	int error;
	size_t written;
	bool closes; /* the stream, in whatever callback comes */
};

static struct bench bench;

static void maybe_close(void)
{
	if (bench.closes)
		stream_close(bench.stream);
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	assert_ptr_equal(owner, &bench);
	bench.total += length;
	if (length < sizeof(bench.text) - bench.length) {
		memcpy(bench.text + bench.length, bytes, length);
		bench.length += length;
	}
	maybe_close();
}

static void on_end(void *owner, int error)
{
	assert_ptr_equal(owner, &bench);
	if (error == 0)
		bench.ended++;
	else
		bench.failed++;
	bench.error = error;
	maybe_close();
}

static void on_written(void *owner)
{
	assert_ptr_equal(owner, &bench);
	bench.written++;
	maybe_close();
}

static const struct stream_events events = {
	.on_bytes = on_bytes,
	.on_end = on_end,
	.on_written = on_written,
};

static void open_stream(int descriptor, int ours)
{
	assert_int_equal(fcntl(descriptor, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(ours, F_SETFL, O_NONBLOCK), 0);
	memset(&bench, 0, sizeof(bench));
	bench.ours = ours;
	bench.loop = loop_new(&no_log);
	bench.stream = stream_open(bench.loop, descriptor, &events, &bench);
}

static int open_socket(void **state)
{
	int pair[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	open_stream(pair[0], pair[1]);
	return 0;
}

static int open_pipe_to_read(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(pipe(pair), 0);
	open_stream(pair[0], pair[1]);
	return 0;
}

static int open_pipe_to_write(void **state)
{
	int pair[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(pair), 0);
	open_stream(pair[1], pair[0]);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	if (!bench.closes)
		stream_close(bench.stream);
	close(bench.ours);
	loop_free(bench.loop);
	return 0;
}

static void turn_until(const size_t *counter, size_t value)
{
	struct pollfd polled = { .fd = loop_descriptor(bench.loop),
				 .events = POLLIN };

	for (int turns = 0; *counter < value; turns++) {
		if (turns == 10000)
			fail_msg("waited for %zu, have %zu", value, *counter);
		loop_turn(bench.loop);
		assert_true(poll(&polled, 1, 1) >= 0);
	}
}

static void send_text(const char *text)
{
	assert_int_equal(write(bench.ours, text, strlen(text)), strlen(text));
}

static bool write_text(const char *text)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)text,
			      .iov_len = strlen(text) };

	return stream_write(bench.stream, &part, 1);
}

/* More than any socket or pipe takes. */
static char much[8 * 1024 * 1024];

static bool write_much(void)
{
	struct iovec parts[] = {
		{ .iov_base = much, .iov_len = 10 },
		{ .iov_base = much + 10, .iov_len = sizeof(much) - 10 },
	};

	return stream_write(bench.stream, parts, 2);
}

static size_t receive_much(void)
{
	static char room[65536];
	size_t received = 0;

	for (int turns = 0; received < sizeof(much) && turns < 100000;
	     turns++) {
		ssize_t length = read(bench.ours, room, sizeof(room));

		if (length > 0)
			received += (size_t)length;
		else
			loop_turn(bench.loop);
	}
	return received;
}

static void bytes_are_read_as_they_come(void **state)
{
	(void)state;
	stream_start_reading(bench.stream);
	send_text("one");
	turn_until(&bench.length, 3);
	send_text("two");
	turn_until(&bench.length, 6);
	assert_memory_equal(bench.text, "onetwo", 6);
	assert_int_equal(bench.ended, 0);
}

static void the_end_is_told_once(void **state)
{
	(void)state;
	stream_start_reading(bench.stream);
	send_text("last");
	close(bench.ours);
	bench.ours = -1;
	turn_until(&bench.ended, 1);
	assert_memory_equal(bench.text, "last", 4);
	stream_read_now(bench.stream);
	loop_turn(bench.loop);
	loop_turn(bench.loop);
	assert_int_equal(bench.ended, 1);
	assert_int_equal(bench.failed, 0);
}

static void nothing_is_read_unasked(void **state)
{
	(void)state;
	send_text("one");
	loop_turn(bench.loop);
	assert_int_equal(bench.length, 0);
	stream_read_now(bench.stream);
	assert_int_equal(bench.length, 3);
	stream_read_now(bench.stream); /* nothing there */
	assert_int_equal(bench.length, 3);
}

static void reading_stops_and_starts_again(void **state)
{
	(void)state;
	stream_start_reading(bench.stream);
	loop_turn(bench.loop);
	stream_stop_reading(bench.stream);
	send_text("one");
	for (int i = 0; i < 5; i++)
		loop_turn(bench.loop);
	assert_int_equal(bench.length, 0);
	stream_start_reading(bench.stream);
	turn_until(&bench.length, 3);
}

static void a_small_write_goes_at_once(void **state)
{
	char room[8];

	(void)state;
	assert_true(write_text("hello"));
	assert_int_equal(read(bench.ours, room, sizeof(room)), 5);
	assert_int_equal(stream_queued_bytes(bench.stream), 0);
	assert_int_equal(bench.written, 0);
}

static void a_large_write_is_queued(void **state)
{
	(void)state;
	assert_false(write_much());
	assert_true(stream_queued_bytes(bench.stream) > 0);
	assert_int_equal(receive_much(), sizeof(much));
	turn_until(&bench.written, 1);
	assert_int_equal(bench.written, 1);
	assert_int_equal(stream_queued_bytes(bench.stream), 0);
	assert_true(write_text("again"));
}

static void on_released(void *arg)
{
	++*(size_t *)arg;
}

static int open_file(const void *bytes, size_t length)
{
	int file = memfd_create("piece", MFD_CLOEXEC);

	assert_int_equal(write(file, bytes, length), length);
	return file;
}

static void a_small_piece_goes_at_once_behind_its_parts(void **state)
{
	char text[] = "head ";
	struct iovec head = { text, 5 };
	size_t released = 0;
	int file = open_file("0123456789", 10);
	char room[16] = "";

	(void)state;
	assert_true(stream_write_piece(
		bench.stream, &head, 1,
		&(struct stream_piece){ .descriptor = file,
					.offset = 2,
					.length = 5,
					.release = on_released,
					.arg = &released }));
	assert_int_equal(released, 1);
	assert_true(stream_write_piece(
		bench.stream, NULL, 0,
		&(struct stream_piece){ .bytes = " own", .length = 4 }));
	assert_int_equal(read(bench.ours, room, sizeof(room)), 14);
	assert_string_equal(room, "head 23456 own");
	assert_int_equal(stream_queued_bytes(bench.stream), 0);
	close(file);
}

/* Each byte says which of the writes it is of. */
static void pieces_and_bytes_keep_their_order(void **state)
{
	static char bytes[3][300000];
	size_t released = 0;
	struct iovec part = { bytes[2], sizeof(bytes[2]) };
	size_t got = 0;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		memset(bytes[i], (int)('a' + i), sizeof(bytes[i]));
	int file = open_file(bytes[0], sizeof(bytes[0]));
	struct stream_piece of_file = { .descriptor = file,
					.length = sizeof(bytes[0]),
					.release = on_released,
					.arg = &released };
	struct stream_piece own = { .bytes = bytes[1],
				    .length = sizeof(bytes[1]),
				    .release = on_released,
				    .arg = &released };

	assert_false(stream_write_piece(bench.stream, NULL, 0, &of_file));
	assert_false(stream_write_piece(bench.stream, NULL, 0, &own));
	assert_false(stream_write(bench.stream, &part, 1));
	assert_false(stream_write_piece(bench.stream, &part, 1, &of_file));
	assert_true(stream_queued_bytes(bench.stream) > 4 * 300000);
	stream_shutdown(bench.stream);
	while (got < 5 * 300000) {
		char room[4096];
		ssize_t length = read(bench.ours, room, sizeof(room));

		for (ssize_t i = 0; i < length; i++, got++)
			assert_int_equal(room[i], "abcca"[got / 300000]);
		loop_turn(bench.loop);
	}
	turn_until(&bench.written, 1);
	assert_int_equal(released, 3);
	assert_int_equal(stream_queued_bytes(bench.stream), 0);
	assert_int_equal(read(bench.ours, &got, 1), 0);
	close(file);
}

static void a_file_that_became_shorter_ends_the_stream(void **state)
{
	size_t released = 0;
	int file = open_file("0123456789", 10);

	(void)state;
	assert_false(stream_write_piece(
		bench.stream, NULL, 0,
		&(struct stream_piece){ .descriptor = file,
					.length = 11,
					.release = on_released,
					.arg = &released }));
	turn_until(&bench.failed, 1);
	assert_int_equal(bench.error, -EIO);
	assert_int_equal(released, 1);
	close(file);
}

static void what_is_queued_is_released_when_a_stream_closes(void **state)
{
	size_t released = 0;
	struct stream_piece piece = { .bytes = "x",
				      .length = 1,
				      .release = on_released,
				      .arg = &released };

	(void)state;
	assert_false(write_much());
	assert_false(stream_write_piece(bench.stream, NULL, 0, &piece));
	assert_false(stream_write_piece(bench.stream, NULL, 0, &piece));
	close(bench.ours);
	bench.ours = -1;
	turn_until(&bench.failed, 1);
	assert_int_equal(released, 2);
	/* Nobody takes it any more. */
	assert_true(stream_write_piece(bench.stream, NULL, 0, &piece));
	assert_int_equal(released, 3);
}

static void the_end_is_sent_after_what_is_queued(void **state)
{
	char room[8];

	(void)state;
	assert_false(write_much());
	stream_shutdown(bench.stream);
	assert_int_equal(receive_much(), sizeof(much));
	turn_until(&bench.written, 1);
	assert_int_equal(read(bench.ours, room, sizeof(room)), 0);
}

static void a_failed_write_is_told_later_and_once(void **state)
{
	(void)state;
	stream_start_reading(bench.stream);
	close(bench.ours);
	bench.ours = -1;
	assert_true(write_text("to nobody"));
	assert_int_equal(bench.failed, 0);
	turn_until(&bench.failed, 1);
	assert_int_equal(bench.error, -EPIPE);
	assert_true(write_text("to nobody"));
	loop_turn(bench.loop);
	assert_int_equal(bench.failed, 1);
}

static void a_queued_write_that_fails_is_told(void **state)
{
	(void)state;
	assert_false(write_much());
	close(bench.ours);
	bench.ours = -1;
	turn_until(&bench.failed, 1);
	assert_int_equal(stream_queued_bytes(bench.stream), 0);
	assert_int_equal(bench.written, 0);
}

static void a_stream_may_be_closed_when_bytes_come(void **state)
{
	(void)state;
	bench.closes = true;
	stream_start_reading(bench.stream);
	send_text("one");
	turn_until(&bench.total, 3);
}

static void a_stream_may_be_closed_within_a_read_now(void **state)
{
	(void)state;
	bench.closes = true;
	send_text("one");
	stream_read_now(bench.stream);
	assert_int_equal(bench.total, 3);
}

static void a_stream_may_be_closed_at_its_end(void **state)
{
	(void)state;
	bench.closes = true;
	stream_start_reading(bench.stream);
	close(bench.ours);
	bench.ours = -1;
	turn_until(&bench.ended, 1);
}

static void a_stream_may_be_closed_when_all_is_written(void **state)
{
	(void)state;
	bench.closes = true;
	assert_false(write_much());
	assert_int_equal(receive_much(), sizeof(much));
	turn_until(&bench.written, 1);
}

static void a_stream_may_be_closed_when_a_write_failed(void **state)
{
	(void)state;
	close(bench.ours);
	bench.ours = -1;
	assert_true(write_text("to nobody"));
	bench.closes = true;
	turn_until(&bench.failed, 1);
}

static void a_released_descriptor_is_open_and_polled_no_more(void **state)
{
	(void)state;
	stream_start_reading(bench.stream);
	loop_turn(bench.loop);
	int copy = dup(stream_descriptor(bench.stream));
	int descriptor = stream_release(bench.stream);

	bench.closes = true; /* it has been */
	assert_int_equal(close(descriptor), 0);
	/* The copy keeps the socket alive: were it still registered, the loop
	 * would be woken for a descriptor that it cannot take out. */
	send_text("one");
	struct pollfd polled = { .fd = loop_descriptor(bench.loop),
				 .events = POLLIN };

	loop_turn(bench.loop);
	assert_int_equal(poll(&polled, 1, 0), 0);
	close(copy);
}

#define with(setup, test)                                                      \
	cmocka_unit_test_setup_teardown(test, setup, close_bench)
#define named(setup, test, what)                                               \
	{                                                                      \
#test " (" what ")", test, setup, close_bench, NULL            \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		named(open_socket, bytes_are_read_as_they_come, "socket"),
		named(open_pipe_to_read, bytes_are_read_as_they_come, "pipe"),
		named(open_socket, the_end_is_told_once, "socket"),
		named(open_pipe_to_read, the_end_is_told_once, "pipe"),
		with(open_socket, nothing_is_read_unasked),
		with(open_socket, reading_stops_and_starts_again),
		named(open_socket, a_small_write_goes_at_once, "socket"),
		named(open_pipe_to_write, a_small_write_goes_at_once, "pipe"),
		named(open_socket, a_large_write_is_queued, "socket"),
		named(open_pipe_to_write, a_large_write_is_queued, "pipe"),
		with(open_socket, a_small_piece_goes_at_once_behind_its_parts),
		with(open_socket, pieces_and_bytes_keep_their_order),
		with(open_socket, a_file_that_became_shorter_ends_the_stream),
		with(open_socket,
		     what_is_queued_is_released_when_a_stream_closes),
		with(open_socket, the_end_is_sent_after_what_is_queued),
		named(open_socket, a_failed_write_is_told_later_and_once,
		      "socket"),
		named(open_pipe_to_write, a_queued_write_that_fails_is_told,
		      "pipe"),
		named(open_socket, a_queued_write_that_fails_is_told, "socket"),
		with(open_socket, a_stream_may_be_closed_when_bytes_come),
		with(open_socket, a_stream_may_be_closed_within_a_read_now),
		with(open_socket, a_stream_may_be_closed_at_its_end),
		with(open_socket, a_stream_may_be_closed_when_all_is_written),
		with(open_socket, a_stream_may_be_closed_when_a_write_failed),
		with(open_socket,
		     a_released_descriptor_is_open_and_polled_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
