/* TLS between two ends of ours, over a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "certificates.h"
#include "loop/tls.h"
#include "loop_bench.h"

#define LARGE_BYTES ((size_t)3 << 20)

struct end {
	struct stream *stream;
	struct buffer got;
	unsigned ends;
	int error;
	char name[32];
	char text[256];
	unsigned written;
	bool echoes;
	bool stops; /* reading, after each callback */
	unsigned calls;
	bool closes; /* in whatever callback comes */
};

static char directory[64];
static struct loop_bench bench;
static struct end client;
static struct end server;

static bool maybe_close(struct end *end)
{
	if (!end->closes)
		return false;
	stream_close(end->stream);
	end->stream = NULL;
	return true;
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct end *end = owner;

	buffer_append(&end->got, bytes, length);
	end->calls++;
	if (end->stops)
		stream_stop_reading(end->stream);
	if (maybe_close(end) || !end->echoes)
		return;
	const struct iovec part = { (void *)(uintptr_t)bytes, length };

	(void)!stream_write(end->stream, &part, 1);
}

static void on_end(void *owner, int error)
{
	struct end *end = owner;
	const struct problem *why = tls_problem(end->stream);

	end->ends++;
	end->error = error;
	if (why != NULL) {
		assert_int_equal(why->code, error);
		snprintf(end->name, sizeof(end->name), "%s", why->name);
		memcpy(end->text, why->text, sizeof(end->text));
	}
	maybe_close(end);
}

static void on_written(void *owner)
{
	struct end *end = owner;

	end->written++;
	maybe_close(end);
}

static const struct stream_events events = { on_bytes, on_end, on_written };

static const char *file(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static struct tls_context *make_context(const struct tls_settings *settings)
{
	struct problem problem = { 0 };
	struct tls_context *context = tls_context_new(settings, &problem);

	if (context == NULL)
		fail_msg("%s: %s", problem.name, problem.text);
	return context;
}

/* Both ends; the contexts are free to go once they are open. */
static void open_both(const struct tls_settings *at_client,
		      const struct tls_settings *at_server, const char *host)
{
	struct tls_context *client_context = make_context(at_client);
	struct tls_context *server_context = make_context(at_server);
	int ends[2];

	open_pair(ends);
	client.stream = tls_connect(bench.loop, ends[0], client_context, host,
				    &events, &client);
	server.stream = tls_accept(bench.loop, ends[1], server_context, &events,
				   &server);
	tls_context_free(client_context);
	tls_context_free(server_context);
	stream_start_reading(client.stream);
	stream_start_reading(server.stream);
}

/* A server as most are, a client that trusts whoever signs for it. */
static void open_plain(void)
{
	const struct tls_settings at_client = { .ca_path = file("ca.pem") };
	const struct tls_settings at_server = { .is_server = true,
						.own = { file("server.pem"),
							 file("server.key") } };

	open_both(&at_client, &at_server, "localhost");
}

static bool write_text(struct end *end, const char *text)
{
	const struct iovec part = { (void *)(uintptr_t)text, strlen(text) };

	return stream_write(end->stream, &part, 1);
}

static bool has_got(struct end *end, const char *text)
{
	return buffer_length(&end->got) == strlen(text) &&
	       memcmp(buffer_bytes(&end->got), text, strlen(text)) == 0;
}

static int set_up(void **state)
{
	(void)state;
	client = server = (struct end){ 0 };
	loop_bench_open(&bench);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (client.stream != NULL)
		stream_close(client.stream);
	if (server.stream != NULL)
		stream_close(server.stream);
	buffer_fini(&client.got);
	buffer_fini(&server.got);
	loop_bench_close(&bench);
	return 0;
}

static uint8_t *make_bytes(size_t length)
{
	uint8_t *bytes = mem_alloc(length);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 31 ^ i >> 9);
	return bytes;
}

static int file_of(const uint8_t *bytes, size_t length)
{
	int descriptor = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(write(descriptor, bytes, length), length);
	return descriptor;
}

/* ---- bytes ---- */

static void bytes_go_both_ways(void **state)
{
	(void)state;
	const struct iovec parts[] = { { (char[]){ "one " }, 4 },
				       { (char[]){ "two" }, 3 } };

	server.echoes = true;
	open_plain();
	/* Before the hands are shaken: it waits, and is told when it went. */
	assert_false(stream_write(client.stream, parts, 2));
	AWAIT(&bench, has_got(&server, "one two"));
	AWAIT(&bench, has_got(&client, "one two"));
	assert_int_equal(client.written, 1);
	assert_true(write_text(&client, "!"));
	AWAIT(&bench, has_got(&client, "one two!"));
	assert_int_equal(client.ends + server.ends, 0);
}

static void what_does_not_go_at_once_is_queued(void **state)
{
	(void)state;
	uint8_t *bytes = make_bytes(LARGE_BYTES);
	const struct iovec part = { bytes, LARGE_BYTES };

	server.echoes = true;
	open_plain();
	AWAIT(&bench, (write_text(&client, ""), true));
	stream_write(client.stream, &part, 1);
	AWAIT(&bench, buffer_length(&client.got) == LARGE_BYTES);
	assert_memory_equal(buffer_bytes(&client.got), bytes, LARGE_BYTES);
	assert_true(client.written > 0);
	free(bytes);
}

/* Everything is read one byte at a time, wherever the records end. */
static void pieces_are_put_together(void **state)
{
	(void)state;
	const struct tls_settings at_client = { .ca_path = file("ca.pem") };
	struct tls_context *context = make_context(&at_client);
	struct tls_context *server_context =
		make_context(&(struct tls_settings){
			.is_server = true,
			.own = { file("server.pem"), file("server.key") } });
	int ends[2];
	int others[2];
	char byte;

	open_pair(ends);
	open_pair(others);
	client.stream = tls_connect(bench.loop, ends[0], context, "127.0.0.1",
				    &events, &client);
	server.stream = tls_accept(bench.loop, others[0], server_context,
				   &events, &server);
	tls_context_free(context);
	tls_context_free(server_context);
	stream_start_reading(client.stream);
	stream_start_reading(server.stream);
	stream_write(client.stream, &(struct iovec){ (char[]){ "hello" }, 5 },
		     1);
	loop_bench_begin(&bench);
	while (!has_got(&server, "hello")) {
		while (read(ends[1], &byte, 1) == 1) {
			assert_int_equal(write(others[1], &byte, 1), 1);
			loop_bench_settle(&bench);
		}
		while (read(others[1], &byte, 1) == 1) {
			assert_int_equal(write(ends[1], &byte, 1), 1);
			loop_bench_settle(&bench);
		}
	}
	close(ends[1]);
	close(others[1]);
}

/* What is read of the socket at once, and not wanted at once, is not lost. */
static void a_reader_that_stops_misses_nothing(void **state)
{
	(void)state;
	size_t total = 6 * LOOP_SCRATCH_BYTES;
	uint8_t *bytes = make_bytes(total);

	server.stops = true;
	open_plain();
	stream_write(client.stream, &(struct iovec){ bytes, total }, 1);
	for (unsigned call = 1; buffer_length(&server.got) < total; call++) {
		AWAIT(&bench, server.calls == call);
		loop_bench_settle(&bench);
		assert_int_equal(server.calls, call);
		stream_start_reading(server.stream);
	}
	assert_memory_equal(buffer_bytes(&server.got), bytes, total);
	free(bytes);
}

/* In its place among bytes, however little of it goes at once. */
static void files_are_sent(void **state)
{
	(void)state;
	uint8_t *bytes = make_bytes(LARGE_BYTES);
	int descriptor = file_of(bytes, LARGE_BYTES);
	const struct stream_piece piece = { .descriptor = descriptor,
					    .offset = 5,
					    .length = LARGE_BYTES - 5 };
	const struct stream_piece same = { .descriptor = -1,
					   .bytes = bytes,
					   .length = LARGE_BYTES };

	open_plain();
	/* Before the hands are shaken, and after. */
	for (unsigned i = 1; i <= 2; i++) {
		stream_write_piece(server.stream, &(struct iovec){ bytes, 5 },
				   1, &piece);
		stream_write_piece(server.stream, NULL, 0, &same);
		write_text(&server, "end");
		AWAIT(&bench,
		      buffer_length(&client.got) == i * (2 * LARGE_BYTES + 3));
		assert_int_equal(stream_queued_bytes(server.stream), 0);
	}
	const uint8_t *got = buffer_bytes(&client.got);

	for (unsigned i = 0; i < 4; i++) {
		assert_memory_equal(got, bytes, LARGE_BYTES);
		got += LARGE_BYTES;
		if (i % 2 == 1) {
			assert_memory_equal(got, "end", 3);
			got += 3;
		}
	}
	close(descriptor);
	free(bytes);
}

static void a_file_that_is_too_short_ends_it(void **state)
{
	(void)state;
	uint8_t *bytes = make_bytes(1000);
	int descriptor = file_of(bytes, 1000);
	const struct stream_piece piece = { .descriptor = descriptor,
					    .length = 1001 };

	open_plain();
	stream_write_piece(server.stream, NULL, 0, &piece);
	AWAIT(&bench, server.ends > 0);
	assert_int_equal(server.error, -EIO);
	AWAIT(&bench, client.ends > 0 || buffer_length(&client.got) == 1000);
	close(descriptor);
	free(bytes);
}

static void small_parts_share_a_record(void **state)
{
	(void)state;
	struct iovec parts[200];

	for (size_t i = 0; i < 200; i++)
		parts[i] = (struct iovec){ (char[]){ "0123456789" }, i % 11 };
	open_plain();
	AWAIT(&bench, stream_is_ready(server.stream));
	assert_true(stream_write(server.stream, parts, 200));
	AWAIT(&bench, client.calls > 0);
	assert_int_equal(client.calls, 1);
	assert_int_equal(buffer_length(&client.got), 18 * 55 + 1);
}

/* ---- ends ---- */

/* A full socket keeps neither the bytes nor the end from being said. */
static void an_end_comes_behind_all_that_was_written(void **state)
{
	(void)state;
	uint8_t *bytes = make_bytes(LARGE_BYTES);

	open_plain();
	AWAIT(&bench,
	      stream_is_ready(server.stream) && stream_is_ready(client.stream));
	stream_stop_reading(client.stream);
	stream_write(server.stream, &(struct iovec){ bytes, LARGE_BYTES }, 1);
	stream_shutdown(server.stream);
	loop_bench_settle(&bench);
	assert_true(stream_queued_bytes(server.stream) > 0);
	stream_start_reading(client.stream);
	AWAIT(&bench, client.ends > 0);
	assert_int_equal(client.error, 0);
	assert_memory_equal(buffer_bytes(&client.got), bytes, LARGE_BYTES);
	/* The other way is still open. */
	write_text(&client, "still here");
	AWAIT(&bench, has_got(&server, "still here"));
	free(bytes);
}

static void an_end_that_is_said_is_no_error(void **state)
{
	(void)state;
	open_plain();
	write_text(&client, "x");
	AWAIT(&bench, has_got(&server, "x"));
	stream_close(client.stream);
	client.stream = NULL;
	AWAIT(&bench, server.ends > 0);
	assert_int_equal(server.error, 0);
	assert_int_equal(server.ends, 1);
}

static void an_end_that_is_not_said_is_one(void **state)
{
	(void)state;
	const struct tls_settings at_client = { .ca_path = file("ca.pem") };
	struct tls_context *context = make_context(&at_client);
	int ends[2];

	open_pair(ends);
	client.stream = tls_connect(bench.loop, ends[0], context, "localhost",
				    &events, &client);
	tls_context_free(context);
	stream_start_reading(client.stream);
	close(ends[1]);
	AWAIT(&bench, client.ends > 0);
	assert_true(client.error < 0);
	assert_string_equal(client.name, "");
}

static void it_may_be_closed_in_any_callback(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		server.closes = i == 0;
		client.closes = i == 1;
		server.echoes = true;
		open_plain();
		if (i == 2)
			server.closes = client.closes = true;
		write_text(&client, "x");
		AWAIT(&bench, server.stream == NULL || client.stream == NULL);
		server.closes = client.closes = false;
		if (server.stream != NULL)
			stream_close(server.stream);
		if (client.stream != NULL)
			stream_close(client.stream);
		client.stream = server.stream = NULL;
	}
}

static void what_is_no_tls_is_told(void **state)
{
	(void)state;
	const struct tls_settings at_client = { .ca_path = file("ca.pem") };
	struct tls_context *context = make_context(&at_client);
	int ends[2];

	open_pair(ends);
	client.stream = tls_connect(bench.loop, ends[0], context, "localhost",
				    &events, &client);
	tls_context_free(context);
	stream_start_reading(client.stream);
	assert_int_equal(write(ends[1], "-ERR what?\r\n", 12), 12);
	AWAIT(&bench, client.ends > 0);
	assert_int_equal(client.error, -EPROTO);
	assert_string_equal(client.name, "TLS_FAILED");
	close(ends[1]);
}

static void who_speaks_http_is_answered(void **state)
{
	(void)state;
	static const char reply[] = "HTTP/1.1 400 no\r\n\r\n";
	const struct tls_settings settings = { .is_server = true,
					       .own = { file("server.pem"),
							file("server.key") },
					       .plain_reply = reply };
	static const struct {
		const char *sent;
		bool is_answered;
	} tries[] = { { "GET / HTTP/1.1\r\n\r\n", true },
		      { "BREW /pot HTTP/1.1\r\n\r\n", true },
		      { "hello there, what a fine day", false } };

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct tls_context *context = make_context(&settings);
		char got[64] = "";
		int ends[2];

		open_pair(ends);
		server = (struct end){ 0 };
		server.stream = tls_accept(bench.loop, ends[0], context,
					   &events, &server);
		tls_context_free(context);
		stream_start_reading(server.stream);
		assert_true(write(ends[1], tries[i].sent,
				  strlen(tries[i].sent)) > 0);
		AWAIT(&bench, server.ends > 0);
		assert_int_equal(server.error, -EPROTO);
		assert_string_equal(server.name, "TLS_FAILED");
		assert_int_equal(read(ends[1], got, sizeof(got) - 1) > 0 &&
					 strcmp(got, reply) == 0,
				 tries[i].is_answered);
		close(ends[1]);
		stream_close(server.stream);
		server.stream = NULL;
	}
}

/* ---- trust ---- */

static void refused(const char *ca, const char *cert, const char *host,
		    enum tls_check check, bool is_refused)
{
	const struct tls_settings at_client = {
		.ca_path = ca == NULL ? NULL : file(ca), .check = check
	};
	char *pem = mem_format("%s.pem", cert);
	char *key = mem_format("%s.key", cert);
	const struct tls_settings at_server = {
		.is_server = true, .own = { file(pem), file(key) }
	};

	client = server = (struct end){ 0 };
	open_both(&at_client, &at_server, host);
	write_text(&client, "secret");
	AWAIT(&bench,
	      client.ends + server.ends > 0 || has_got(&server, "secret"));
	if (is_refused)
		AWAIT(&bench, client.ends > 0);
	assert_int_equal(client.ends, is_refused);
	assert_string_equal(client.name, is_refused ? "TLS_UNTRUSTED" : "");
	assert_int_equal(client.error, is_refused ? -EACCES : 0);
	assert_int_equal(has_got(&server, "secret"), !is_refused);
	stream_close(client.stream);
	stream_close(server.stream);
	buffer_fini(&server.got);
	client.stream = server.stream = NULL;
	free(pem);
	free(key);
}

static void a_certificate_has_to_be_the_right_one(void **state)
{
	(void)state;
	const enum tls_check all = TLS_CHECK_ALL;

	refused("ca.pem", "server", "localhost", all, false);
	refused("ca.pem", "server", "127.0.0.1", all, false);
	refused(".", "server", "localhost", all, true); /* no hashed names */
	refused("ca.pem", "server", "127.0.0.2", all, true);
	refused("ca.pem", "server", "localhost.example", all, true);
	refused("ca.pem", "elsewhere", "localhost", all, true);
	refused("ca.pem", "stranger", "localhost", all, true);
	refused(NULL, "server", "localhost", all, true);
	refused("ca.pem", "elsewhere", "localhost", TLS_CHECK_SIGNER, false);
	refused("ca.pem", "stranger", "localhost", TLS_CHECK_SIGNER, true);
	refused(NULL, "stranger", "localhost", TLS_CHECK_NOTHING, false);
}

static void a_server_may_want_certificates(void **state)
{
	(void)state;
	const struct tls_settings with = { .ca_path = file("ca.pem"),
					   .own = { file("client.pem"),
						    file("client.key") } };
	const struct tls_settings without = { .ca_path = file("ca.pem") };
	const struct tls_settings wanting = { .is_server = true,
					      .ca_path = file("ca.pem"),
					      .own = { file("server.pem"),
						       file("server.key") } };

	open_both(&with, &wanting, "localhost");
	write_text(&client, "x");
	AWAIT(&bench, has_got(&server, "x"));
	stream_close(client.stream);
	stream_close(server.stream);
	buffer_fini(&server.got);
	client = server = (struct end){ 0 };
	open_both(&without, &wanting, "localhost");
	AWAIT(&bench, client.ends > 0 && server.ends > 0);
	assert_string_equal(client.name, "TLS_FAILED");
	assert_string_equal(server.name, "TLS_FAILED");
	assert_non_null(strstr(client.text, "certificate required"));
}

static void assert_no_context(struct tls_settings settings, const char *name)
{
	struct problem problem = { 0 };

	assert_null(tls_context_new(&settings, &problem));
	assert_string_equal(problem.name, name);
	assert_true(problem.code < 0);
}

static void files_that_are_of_no_use_are_refused(void **state)
{
	(void)state;
	assert_no_context((struct tls_settings){ .ca_path = file("none.pem") },
			  "TLS_CA");
	assert_no_context(
		(struct tls_settings){ .ca_path = file("server.key") },
		"TLS_CA");
	assert_no_context(
		(struct tls_settings){ .ca_path = file("ca.pem"),
				       .own = { file("ca.key"), NULL } },
		"TLS_CERTIFICATE");
	assert_no_context(
		(struct tls_settings){ .ca_path = file("ca.pem"),
				       .own = { NULL, file("ca.key") } },
		"TLS_CERTIFICATE");
	assert_no_context(
		(struct tls_settings){
			.ca_path = file("ca.pem"),
			.own = { file("client.pem"), file("server.key") } },
		"TLS_KEY");
	assert_no_context((struct tls_settings){ .is_server = true },
			  "TLS_CERTIFICATE");
}

static int remove_one(const char *path, const struct stat *status, int kind,
		      struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

static int make_certificates(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/muster-tls-XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	certificates_make(directory);
	return 0;
}

static int remove_certificates(void **state)
{
	(void)state;
	return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways),
		TEST(what_does_not_go_at_once_is_queued),
		TEST(pieces_are_put_together),
		TEST(a_reader_that_stops_misses_nothing),
		TEST(files_are_sent),
		TEST(a_file_that_is_too_short_ends_it),
		TEST(small_parts_share_a_record),
		TEST(an_end_comes_behind_all_that_was_written),
		TEST(who_speaks_http_is_answered),
		TEST(an_end_that_is_said_is_no_error),
		TEST(an_end_that_is_not_said_is_one),
		TEST(it_may_be_closed_in_any_callback),
		TEST(what_is_no_tls_is_told),
		TEST(a_certificate_has_to_be_the_right_one),
		TEST(a_server_may_want_certificates),
		TEST(files_that_are_of_no_use_are_refused),
	};

	return cmocka_run_group_tests(tests, make_certificates,
				      remove_certificates);
}
