/* Bodies that are not waited for, their limits, and forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "http_bench.h"

#define POST "POST /p?q=1 HTTP/1.1\r\nHost: a\r\n"

static struct bench bench;
static struct client *client;

/* What on_head() does, and what came of it. */
static struct {
	uint64_t limit;
	bool streams;
	bool refuses;
	const struct muster_http_form_options *form;
	int form_error;
	size_t heads;
	const char *path; /* as on_head() saw it */

	char body[4096];
	size_t length;
	size_t pieces;
	size_t ends;
	int error;
	bool pauses;
} set;

static void on_head(struct muster_http *http, void *arg)
{
	(void)arg;
	set.heads++;
	set.path = muster_http_path(http);
	assert_string_equal(set.path, "/p");
	if (set.limit > 0)
		muster_http_limit_body(http, set.limit);
	if (set.streams)
		muster_http_stream_body(http);
	if (set.form != NULL)
		set.form_error = muster_http_stream_form(http, set.form);
	if (set.refuses)
		muster_http_reply(http, 401, NULL, NULL, 0);
}

static int open_default(void **state)
{
	(void)state;
	memset(&set, 0, sizeof(set));
	bench_open(&bench,
		   &(struct http_settings){
			   .on_head = on_head,
			   .limits = { .body_bytes = 1000, .body_ms = 100 },
		   });
	client = client_open(&bench, SOCK_STREAM);
	return 0;
}

static int open_without_on_head(void **state)
{
	(void)state;
	bench_open(&bench, NULL);
	client = client_open(&bench, SOCK_STREAM);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	if (client != NULL)
		client_close(client);
	bench_close(&bench);
	return 0;
}

static struct muster_http *await_held(void)
{
	bench_await(&bench, &bench.held_count, 1);
	bench.held_count = 0;
	return bench.held[0];
}

static void answer(struct muster_http *http, const char *text)
{
	muster_http_reply(http, 200, "text/plain", text, strlen(text));
}

/* ---- Waited for, after on_head() ---- */

static void check_body(struct bench *of, struct muster_http *http)
{
	size_t length;
	const char *body = muster_http_body(http, &length);

	(void)of;
	assert_int_equal(length, 5);
	assert_string_equal(body, "hello");
	/* What was seen then has not moved. */
	assert_ptr_equal(set.path, muster_http_path(http));
	assert_string_equal(muster_http_parameter(http, "q"), "1");
}

static void a_body_comes_whole_after_its_head(void **state)
{
	(void)state;
	bench.on_request = check_body;
	client_send(client, POST "Content-Length: 5\r\n\r\nhello" POST
				 "Transfer-Encoding: chunked\r\n\r\n"
				 "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
	client_expect(client, "hello");
	client_expect(client, "hello");
	assert_int_equal(set.heads, 2);
	client_send(client, POST "Content-Length: 5\r\n\r\n");
	bench_settle(&bench);
	client_send(client, "he");
	bench_settle(&bench);
	client_send(client, "llo");
	client_expect(client, "hello");
	assert_int_equal(set.heads, 3);
}

static void a_request_without_a_body_has_no_decision(void **state)
{
	(void)state;
	client_send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n" POST
			    "Content-Length: 0\r\n\r\n");
	client_expect(client, "hello");
	client_expect(client, "hello");
	assert_int_equal(set.heads, 0);
}

static void a_request_is_refused_before_its_body(void **state)
{
	(void)state;
	set.refuses = true;
	client_send(client, POST "Content-Length: 500\r\n"
				 "Expect: 100-continue\r\n\r\n");
	client_expect(client, "HTTP/1.1 401 Unauthorized\r\n");
	client_expect(client, "Connection: close\r\n\r\n");
	client_expect_end(client);
	assert_int_equal(bench.handled, 0);
}

static void a_limit_of_its_own_counts(void **state)
{
	(void)state;
	set.limit = 4;
	client_send(client, POST "Content-Length: 5\r\n"
				 "Expect: 100-continue\r\n\r\n");
	client_expect(client, "HTTP/1.1 413 ");
	client_expect(client, "the body is too large\n");
	client_expect_end(client);
	assert_int_equal(bench.handled, 0);
}

static void a_larger_limit_counts_too(void **state)
{
	(void)state;
	char body[2000];

	set.limit = 3000;
	memset(body, 'x', sizeof(body));
	client_send(client, POST "Content-Length: 2000\r\n"
				 "Expect: 100-continue\r\n\r\n");
	client_expect_only(client, "HTTP/1.1 100 Continue\r\n\r\n");
	client_send_bytes(client, body, sizeof(body));
	client_expect(client, "hello");
}

static void a_chunked_body_past_the_limit_is_refused(void **state)
{
	(void)state;
	set.limit = 4;
	client_send(client, POST "Transfer-Encoding: chunked\r\n\r\n"
				 "2\r\nhe\r\n3\r\n");
	client_expect(client, "HTTP/1.1 413 ");
}

/* ---- As it comes ---- */

static void on_body(struct muster_http *http, const void *bytes, size_t length,
		    int error, void *arg)
{
	assert_ptr_equal(arg, &set);
	if (bytes == NULL) {
		set.ends++;
		set.error = error;
		return;
	}
	assert_true(length > 0 && length < sizeof(set.body) - set.length);
	memcpy(set.body + set.length, bytes, length);
	set.length += length;
	set.body[set.length] = 0;
	set.pieces++;
	if (set.pauses)
		muster_http_pause_body(http);
}

static struct muster_http *stream(const char *request)
{
	set.streams = true;
	bench.holds = true;
	client_send(client, request);
	return await_held();
}

static void read_it(struct muster_http *http)
{
	assert_int_equal(muster_http_read_body(http, on_body, &set), 0);
}

static void a_body_is_read_as_it_comes(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Content-Length: 11\r\n\r\nhello");

	assert_int_equal(set.pieces, 0);
	read_it(http);
	assert_int_equal(muster_http_read_body(http, on_body, &set), -EINVAL);
	bench_settle(&bench);
	assert_string_equal(set.body, "hello");
	client_send(client, " worldGET / HTTP/1.1\r\nHost: a\r\n\r\n");
	bench_await(&bench, &set.ends, 1);
	assert_int_equal(set.error, 0);
	assert_string_equal(set.body, "hello world");
	bench.holds = false;
	answer(http, "first");
	client_expect(client, "first");
	client_expect(client, "hello");
}

static void chunks_are_read_as_they_come(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");

	read_it(http);
	bench_settle(&bench);
	client_send(client, "3\r\ntwo\r\n0\r\nTrailer: x\r\n\r\n");
	bench_await(&bench, &set.ends, 1);
	assert_string_equal(set.body, "onetwo");
	answer(http, "done");
	client_expect(client, "done");
	assert_int_equal(http_server_connections(bench.server), 1);
}

static void the_client_is_told_to_go_on_once_it_is_wanted(void **state)
{
	(void)state;
	struct muster_http *http = stream(
		POST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");

	client_expect_nothing(client);
	read_it(http);
	client_expect_only(client, "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(client, "hello");
	bench_await(&bench, &set.ends, 1);
	answer(http, "done");
	client_expect(client, "done");
}

static void a_paused_body_makes_the_client_wait(void **state)
{
	(void)state;
	static char much[4 << 20];
	struct muster_http *http;
	size_t sent = 0;
	ssize_t length;

	set.limit = sizeof(much);
	set.pauses = true;
	http = stream(POST "Content-Length: 4194304\r\n\r\nx");
	read_it(http);
	bench_settle(&bench);
	assert_int_equal(set.pieces, 1);
	while ((length = send(client->descriptor, much, sizeof(much) - 1 - sent,
			      MSG_DONTWAIT)) > 0) {
		sent += (size_t)length;
		bench_settle(&bench);
	}
	assert_true(sent < 2 << 20);
	assert_int_equal(set.pieces, 1);
	/* However long: it is not the client who is slow. */
	muster_http_end(http);
}

static void a_paused_body_goes_on(void **state)
{
	(void)state;
	struct muster_http *http = stream(POST "Content-Length: 10\r\n\r\n");

	set.pauses = true;
	read_it(http);
	client_send(client, "hello");
	bench_settle(&bench);
	client_send(client, "world");
	bench_settle(&bench);
	assert_string_equal(set.body, "hello");
	muster_http_resume_body(http);
	bench_settle(&bench);
	assert_string_equal(set.body, "helloworld");
	/* Paused in its last piece, it is not told that this was all. */
	assert_int_equal(set.ends, 0);
	muster_http_resume_body(http);
	bench_await(&bench, &set.ends, 1);
	answer(http, "done");
	client_expect(client, "done");
	client_expect_nothing(client);
}

static void a_reply_before_the_end_closes(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Content-Length: 11\r\n\r\nhello");

	read_it(http);
	bench_settle(&bench);
	answer(http, "enough");
	client_expect(client, "Connection: close\r\n");
	client_expect(client, "enough");
	client_expect_end(client);
}

static void a_body_that_does_not_come_is_told(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Content-Length: 11\r\n\r\nhello");

	read_it(http);
	client_expect(client, "HTTP/1.1 408 ");
	assert_int_equal(set.ends, 1);
	assert_int_equal(set.error, -ETIMEDOUT);
	answer(http, "nobody hears it");
	client_expect(client, "\r\n\r\nthe request took too long\n");
	client_expect_end(client);
}

static void a_body_that_breaks_off_is_told(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Content-Length: 11\r\n\r\nhello");

	read_it(http);
	bench_settle(&bench);
	shutdown(client->descriptor, SHUT_WR);
	bench_await(&bench, &set.ends, 1);
	assert_int_equal(set.error, -ECONNRESET);
	answer(http, "nobody hears it");
	client_expect(client, "HTTP/1.1 400 ");
}

static void a_body_that_broke_off_before_it_was_read_is_told(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Content-Length: 11\r\n\r\nhello");

	shutdown(client->descriptor, SHUT_WR);
	bench_settle(&bench);
	read_it(http);
	bench_await(&bench, &set.ends, 1);
	assert_string_equal(set.body, "hello");
	assert_int_equal(set.error, -ECONNRESET);
	answer(http, "nobody hears it");
}

static void a_malformed_body_is_told(void **state)
{
	(void)state;
	struct muster_http *http =
		stream(POST "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\nx");

	read_it(http);
	client_expect(client, "HTTP/1.1 400 ");
	assert_int_equal(set.error, -EPROTO);
	assert_string_equal(set.body, "one");
	answer(http, "nobody hears it");
}

static void a_body_that_grows_too_large_is_told(void **state)
{
	(void)state;
	set.limit = 5;
	struct muster_http *http = stream(
		POST "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\n");

	read_it(http);
	client_expect(client, "HTTP/1.1 413 ");
	assert_int_equal(set.error, -EMSGSIZE);
	answer(http, "nobody hears it");
}

static void end_it(struct muster_http *http, const void *bytes, size_t length,
		   int error, void *arg)
{
	on_body(http, bytes, length, error, arg);
	if (bytes == NULL)
		answer(http, "done");
}

static void a_request_may_end_where_its_body_does(void **state)
{
	(void)state;
	struct muster_http *http = stream(POST "Content-Length: 5\r\n\r\n");

	assert_int_equal(muster_http_read_body(http, end_it, &set), 0);
	client_send(client, "hello");
	client_expect(client, "done");
	set.ends = 0;
	http = stream(POST "Content-Length: 5\r\n\r\n");
	assert_int_equal(muster_http_read_body(http, end_it, &set), 0);
	client_close(client);
	client = NULL;
	assert_int_equal(set.ends, 1);
	assert_int_equal(set.error, -ECONNRESET);
}

/* ---- Forms ---- */

#define FORM "Content-Type: multipart/form-data; boundary=b\r\n"
#define FIELD(name, value)                                                     \
	"--b\r\nContent-Disposition: form-data; name=" name "\r\n\r\n" value   \
	"\r\n"
#define FILE_PART(content)                                                     \
	"--b\r\nContent-Disposition: form-data; name=f; filename=x.txt\r\n"    \
	"Content-Type: text/plain\r\n\r\n" content "\r\n"

static void send_form(const char *content)
{
	char *request = mem_format(POST FORM "Content-Length: %zu\r\n\r\n%s",
				   strlen(content), content);

	client_send(client, request);
	free(request);
}

static void check_fields(struct muster_http *http)
{
	struct muster_http_part part;

	assert_int_equal(muster_http_read_form(http), 0);
	assert_string_equal(muster_http_field(http, "a"), "1");
	assert_string_equal(muster_http_field(http, "e"), "");
	assert_null(muster_http_field(http, "f"));
	assert_null(muster_http_field(http, "q"));
	assert_true(muster_http_part(http, 1, &part));
	assert_string_equal(part.name, "f");
	assert_string_equal(part.filename, "x.txt");
	assert_string_equal(part.type, "text/plain");
	assert_int_equal(part.length, 7);
	assert_true(muster_http_part(http, 2, &part));
	assert_string_equal(part.name, "a");
	assert_string_equal(part.bytes, "2");
	assert_false(muster_http_part(http, 4, &part));
}

#define FORM_BODY                                                              \
	FIELD("a", "1")                                                        \
	FILE_PART("content") FIELD("a", "2") FIELD("e", "") "--b--\r\n"

static char *temporary_path(const char *name)
{
	const char *directory = getenv("TMPDIR");

	return mem_format("%s/muster-test-%d-%s",
			  directory != NULL ? directory : "/tmp", getpid(),
			  name);
}

/* Saves the part, and looks at what was saved. */
static void check_saved(struct muster_http *http)
{
	char *path = temporary_path("saved");
	char text[16] = "";
	struct stat status;

	assert_int_equal(muster_http_save_part(http, 1, path), 0);
	assert_int_equal(muster_http_save_part(http, 1, path), -EEXIST);
	assert_int_equal(muster_http_save_part(http, 9, path), -ENOENT);
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_int_equal(fread(text, 1, sizeof(text), file), 7);
	assert_string_equal(text, "content");
	assert_int_equal(fstat(fileno(file), &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	fclose(file);
	unlink(path);
	free(path);
}

static void a_form_is_read_from_its_body(void **state)
{
	(void)state;
	struct muster_http_part part;

	bench.holds = true;
	send_form(FORM_BODY);
	struct muster_http *http = await_held();

	check_fields(http);
	assert_true(muster_http_part(http, 1, &part));
	assert_int_equal(part.descriptor, -1);
	assert_string_equal(part.bytes, "content");
	check_saved(http);
	answer(http, "done");
	client_expect(client, "done");
}

static void files_of_a_form_go_to_temporary_files(void **state)
{
	(void)state;
	static const struct muster_http_form_options options;
	struct muster_http_part part;
	char text[16] = "";

	set.form = &options;
	bench.holds = true;
	send_form(FORM_BODY);
	struct muster_http *http = await_held();

	assert_int_equal(set.form_error, 0);
	check_fields(http);
	assert_true(muster_http_part(http, 1, &part));
	assert_null(part.bytes);
	assert_int_equal(read(part.descriptor, text, sizeof(text)), 7);
	assert_string_equal(text, "content");
	check_saved(http);
	answer(http, "done");
	client_expect(client, "done");
	/* It went with the request. */
	assert_int_equal(read(part.descriptor, text, 1), -1);
	assert_int_equal(errno, EBADF);
}

static int count_descriptors(void)
{
	int count = 0;

	for (int i = 0; i < 256; i++)
		count += fcntl(i, F_GETFD) >= 0;
	return count;
}

static void half_a_form_leaves_nothing(void **state)
{
	(void)state;
	static const struct muster_http_form_options options;
	int before = count_descriptors();

	set.form = &options;
	client_send(client, POST FORM "Content-Length: 900\r\n\r\n"
				      "--b\r\nContent-Disposition: form-data; "
				      "name=f; filename=x\r\n\r\nhalf");
	bench_settle(&bench);
	assert_int_equal(count_descriptors(), before + 1);
	client_close(client);
	client = NULL;
	/* Two of the pair, and the file. */
	assert_int_equal(count_descriptors(), before - 2);
	assert_int_equal(bench.handled, 0);
}

static void expect_refused(const struct muster_http_form_options *options,
			   const char *body, const char *reply)
{
	set.form = options;
	send_form(body);
	client_expect(client, reply);
	client_close(client);
	client = client_open(&bench, SOCK_STREAM);
	assert_int_equal(bench.handled, 0);
}

static void a_form_past_its_limits_is_refused(void **state)
{
	(void)state;
	static const struct muster_http_form_options file = { .file_bytes = 6 };
	static const struct muster_http_form_options memory = { .memory_bytes =
									5 };
	static const struct muster_http_form_options parts = { .parts = 3 };
	static const struct muster_http_form_options nowhere = {
		.directory = "/nonexistent"
	};

	expect_refused(&file, FORM_BODY, "HTTP/1.1 413 ");
	expect_refused(&memory, FORM_BODY, "HTTP/1.1 413 ");
	expect_refused(&parts, FORM_BODY, "HTTP/1.1 413 ");
	expect_refused(&nowhere, FORM_BODY, "HTTP/1.1 507 ");
}

static void a_malformed_form_is_refused(void **state)
{
	(void)state;
	static const struct muster_http_form_options options;

	expect_refused(&options, "--b\r\nno header\r\n\r\n", "HTTP/1.1 400 ");
	expect_refused(&options, FIELD("a", "1"), "HTTP/1.1 400 ");
}

static void check_malformed(struct bench *of, struct muster_http *http)
{
	(void)of;
	assert_int_equal(muster_http_read_form(http), -EPROTO);
	assert_null(muster_http_field(http, "a"));
}

static void a_malformed_form_that_was_waited_for_is_told(void **state)
{
	(void)state;
	bench.on_request = check_malformed;
	send_form(FIELD("a", "1"));
	client_expect(client, "hello");
}

static void check_urlencoded(struct bench *of, struct muster_http *http)
{
	struct muster_http_part part;

	(void)of;
	assert_int_equal(muster_http_read_form(http), 0);
	assert_string_equal(muster_http_field(http, "a"), "1 &");
	assert_true(muster_http_part(http, 1, &part));
	assert_string_equal(part.name, "b");
	assert_string_equal(part.bytes, "");
	assert_null(part.filename);
	assert_true(muster_http_part(http, 2, &part));
	assert_string_equal(part.bytes, "3");
	assert_false(muster_http_part(http, 3, &part));
}

static void an_urlencoded_form_is_one(void **state)
{
	(void)state;
	bench.on_request = check_urlencoded;
	client_send(client,
		    POST "Content-Type: application/x-www-form-urlencoded; "
			 "charset=utf-8\r\nContent-Length: 15\r\n\r\n"
			 "a=1+%26&b=&a=3&");
	client_expect(client, "hello");
}

static void check_none(struct bench *of, struct muster_http *http)
{
	struct muster_http_part part;

	(void)of;
	assert_int_equal(muster_http_read_form(http), -EINVAL);
	assert_null(muster_http_field(http, "a"));
	assert_false(muster_http_part(http, 0, &part));
}

static void what_is_no_form_has_no_fields(void **state)
{
	(void)state;
	bench.on_request = check_none;
	client_send(client, POST "Content-Length: 3\r\n\r\na=1" POST
				 "Content-Type: text/plain\r\n"
				 "Content-Length: 3\r\n\r\na=1");
	client_expect(client, "hello");
	client_expect(client, "hello");
}

static void too_many_fields_are_told(void **state)
{
	(void)state;
	char body[3000];

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = i % 2 == 0 ? 'a' : '&';
	client_send(client,
		    POST "Content-Type: application/x-www-form-urlencoded\r\n"
			 "Content-Length: 3000\r\n\r\n");
	bench.holds = true;
	client_send_bytes(client, body, sizeof(body));
	struct muster_http *http = await_held();

	assert_int_equal(muster_http_read_form(http), -EMSGSIZE);
	answer(http, "done");
	client_expect(client, "done");
}

#define with(setup, test)                                                      \
	cmocka_unit_test_setup_teardown(test, setup, close_bench)
#define plain(test) with(open_default, test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		plain(a_body_comes_whole_after_its_head),
		plain(a_request_without_a_body_has_no_decision),
		plain(a_request_is_refused_before_its_body),
		plain(a_limit_of_its_own_counts),
		plain(a_larger_limit_counts_too),
		plain(a_chunked_body_past_the_limit_is_refused),
		plain(a_body_is_read_as_it_comes),
		plain(chunks_are_read_as_they_come),
		plain(the_client_is_told_to_go_on_once_it_is_wanted),
		plain(a_paused_body_makes_the_client_wait),
		plain(a_paused_body_goes_on),
		plain(a_reply_before_the_end_closes),
		plain(a_body_that_does_not_come_is_told),
		plain(a_body_that_breaks_off_is_told),
		plain(a_body_that_broke_off_before_it_was_read_is_told),
		plain(a_malformed_body_is_told),
		plain(a_body_that_grows_too_large_is_told),
		plain(a_request_may_end_where_its_body_does),
		plain(a_form_is_read_from_its_body),
		plain(files_of_a_form_go_to_temporary_files),
		plain(half_a_form_leaves_nothing),
		plain(a_form_past_its_limits_is_refused),
		plain(a_malformed_form_is_refused),
		with(open_without_on_head,
		     a_malformed_form_that_was_waited_for_is_told),
		with(open_without_on_head, an_urlencoded_form_is_one),
		with(open_without_on_head, what_is_no_form_has_no_fields),
		with(open_without_on_head, too_many_fields_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
