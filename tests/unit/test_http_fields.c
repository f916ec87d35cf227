/* What goes with requests and replies: cookies, CORS, who the client is,
 * compression, the access log. */
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
#include <zlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/must.h"
#include "http_bench.h"

static struct bench bench;
static struct client *client;

static void open_with(const struct http_settings *settings)
{
	bench_open(&bench, settings);
	client = client_open_tcp(&bench);
}

static int open_default(void **state)
{
	(void)state;
	open_with(NULL);
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

static void ask_as(const char *method, const char *headers)
{
	char *request = mem_format("%s /a?b HTTP/1.1\r\nHost: a\r\n%s\r\n",
				   method, headers);

	client_send(client, request);
	free(request);
}

static void ask(const char *headers)
{
	ask_as("GET", headers);
}

static void expect(const char *text)
{
	client_expect(client, text);
}

/* ---- Cookies ---- */

static void check_cookies(struct bench *of, struct muster_http *http)
{
	(void)of;
	const char *one = muster_http_cookie(http, "a");

	assert_string_equal(one, "1");
	assert_string_equal(muster_http_cookie(http, "b"), "two words");
	assert_string_equal(muster_http_cookie(http, "c"), "3");
	assert_string_equal(muster_http_cookie(http, "empty"), "");
	assert_null(muster_http_cookie(http, "A"));
	assert_null(muster_http_cookie(http, ""));
	assert_ptr_equal(muster_http_cookie(http, "a"), one);
}

static void check_no_cookies(struct bench *of, struct muster_http *http)
{
	(void)of;
	assert_null(muster_http_cookie(http, "a"));
}

static void cookies_are_found_by_name(void **state)
{
	(void)state;
	bench.on_request = check_cookies;
	ask("Cookie: a=1; b=\"two words\"; a=9\r\nCookie: c=3;empty=\r\n");
	expect("hello");
	bench.on_request = check_no_cookies;
	ask("");
	expect("hello");
}

static void set_cookies(struct bench *of, struct muster_http *http)
{
	static const struct muster_http_cookie good = {
		.name = "sessionID",
		.value = "0af",
		.path = "/",
		.http_only = true,
		.same_site = MUSTER_HTTP_SAME_SITE_LAX,
	};
	static const struct muster_http_cookie ends = { .name = "b",
							.value = "",
							.max_age_s = -1 };
	static const struct muster_http_cookie bad = { .name = "c",
						       .value = "1\r\nX: y" };

	(void)of;
	assert_int_equal(muster_http_set_cookie(http, &good), 0);
	assert_int_equal(muster_http_set_cookie(http, &ends), 0);
	assert_int_equal(muster_http_set_cookie(http, &bad), -EINVAL);
}

static void cookies_are_set(void **state)
{
	(void)state;
	bench.on_request = set_cookies;
	ask("");
	expect("\r\nSet-Cookie: sessionID=0af; Path=/; HttpOnly; SameSite=Lax"
	       "\r\nSet-Cookie: b=; Max-Age=0\r\n\r\nhello");
}

/* ---- CORS ---- */

static const char *const origins[] = { "https://a.example", "https://b.example",
				       NULL };
static const struct muster_http_cors listed = {
	.origins = origins,
	.methods = "GET, POST",
	.headers = "X-Own",
	.exposed = "X-Told",
	.max_age_s = 600,
	.credentials = true,
};

static void allow_listed(struct bench *of, struct muster_http *http)
{
	of->holds = muster_http_cors(http, &listed) == MUSTER_HTTP_ANSWERED;
	of->held_count = 0;
}

static void allow_anybody(struct bench *of, struct muster_http *http)
{
	of->holds = muster_http_cors(http, NULL) == MUSTER_HTTP_ANSWERED;
	of->held_count = 0;
}

static void anybody_may_read(void **state)
{
	(void)state;
	bench.on_request = allow_anybody;
	ask("Origin: https://x.example\r\n");
	expect("\r\nAccess-Control-Allow-Origin: *\r\n\r\nhello");
	ask_as("OPTIONS", "Origin: https://x.example\r\n"
			  "Access-Control-Request-Method: PUT\r\n"
			  "Access-Control-Request-Headers: X-A, X-B\r\n");
	expect("HTTP/1.1 200 OK\r\n");
	expect("Content-Length: 0\r\n"
	       "Access-Control-Allow-Origin: *\r\n"
	       "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
	       "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, "
	       "DELETE, OPTIONS\r\n"
	       "Access-Control-Allow-Headers: X-A, X-B\r\n\r\n");
	bench.held_count = 0;
}

static void only_listed_origins_may_read(void **state)
{
	(void)state;
	bench.on_request = allow_listed;
	ask("Origin: https://b.example\r\n");
	expect("\r\nVary: Origin\r\n"
	       "Access-Control-Allow-Origin: https://b.example\r\n"
	       "Access-Control-Allow-Credentials: true\r\n"
	       "Access-Control-Expose-Headers: X-Told\r\n\r\nhello");
	ask("Origin: https://evil.example\r\n");
	expect("\r\nVary: Origin\r\n\r\nhello");
	ask_as("OPTIONS", "Origin: https://a.example\r\n"
			  "Access-Control-Request-Method: POST\r\n");
	expect("Access-Control-Allow-Methods: GET, POST\r\n"
	       "Access-Control-Allow-Headers: X-Own\r\n"
	       "Access-Control-Max-Age: 600\r\n\r\n");
	bench.held_count = 0;
	ask_as("OPTIONS", "Origin: https://evil.example\r\n"
			  "Access-Control-Request-Method: POST\r\n");
	expect("\r\nVary: Origin\r\nAllow: GET, POST\r\n\r\n");
	bench.held_count = 0;
}

/* ---- The client ---- */

static const char *wanted_client;

static void check_client(struct bench *of, struct muster_http *http)
{
	(void)of;
	assert_string_equal(muster_http_client(http), wanted_client);
}

static void expect_client(const char *headers, const char *wanted)
{
	wanted_client = wanted;
	bench.on_request = check_client;
	ask(headers);
	expect("hello");
}

static void nobody_is_believed_by_default(void **state)
{
	(void)state;
	expect_client("X-Forwarded-For: 203.0.113.9\r\n"
		      "Forwarded: for=203.0.113.9\r\n",
		      "127.0.0.1");
}

static void a_trusted_proxy_is_believed(void **state)
{
	(void)state;
	expect_client("X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9");
	expect_client("X-Forwarded-For: 1.2.3.4, 203.0.113.9\r\n",
		      "203.0.113.9");
	expect_client("X-Forwarded-For: 1.2.3.4\r\n"
		      "X-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n",
		      "203.0.113.9");
	/* A proxy that knows the one passes the other on unseen. */
	expect_client("Forwarded: for=203.0.113.9\r\n", "127.0.0.1");
	expect_client("", "127.0.0.1");
}

static int open_trusting(void **state)
{
	(void)state;
	open_with(&(struct http_settings){ .trusted_proxies =
						   "127.0.0.0/8, 10.0.0.0/8" });
	return 0;
}

static void forwarded_is_believed_where_it_is_asked_for(void **state)
{
	(void)state;
	expect_client("Forwarded: for=\"[2001:db8::1]:80\";proto=https\r\n"
		      "X-Forwarded-For: 203.0.113.9\r\n",
		      "2001:db8::1");
}

static int open_trusting_forwarded(void **state)
{
	(void)state;
	open_with(&(struct http_settings){ .trusted_proxies = "127.0.0.1",
					   .trusts_forwarded = true });
	return 0;
}

/* ---- Compression ---- */

static int open_packing(void **state)
{
	(void)state;
	open_with(&(struct http_settings){ .gzip_bytes = 1000 });
	return 0;
}

static char long_text[5001];

static void make_long(void)
{
	for (size_t i = 0; i < sizeof(long_text) - 1; i++)
		long_text[i] = (char)('a' + i % 19);
	bench.reply = long_text;
}

static void a_long_reply_is_packed_for_who_takes_it(void **state)
{
	(void)state;
	char room[sizeof(long_text)];
	z_stream stream = { 0 };

	make_long();
	ask("Accept-Encoding: br, gzip\r\nConnection: close\r\n");
	client_receive_all(client);
	assert_non_null(strstr(client->text, "\r\nVary: Accept-Encoding\r\n"
					     "Content-Encoding: gzip\r\n"));
	const char *body = strstr(client->text, "\r\n\r\n") + 4;
	size_t length = client->length - (size_t)(body - client->text);

	assert_int_equal(length,
			 atoi(strstr(client->text, "Content-Length: ") + 16));
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)(uintptr_t)body;
	stream.avail_in = (uInt)length;
	stream.next_out = (Bytef *)room;
	stream.avail_out = sizeof(room);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.total_out, 5000);
	assert_memory_equal(room, long_text, 5000);
	inflateEnd(&stream);
}

static void a_reply_is_not_packed_where_it_should_not(void **state)
{
	(void)state;
	ask("Accept-Encoding: gzip\r\n");
	expect("Content-Length: 5\r\n\r\nhello");
	make_long();
	ask("Accept-Encoding: gzip;q=0\r\n");
	expect("Content-Length: 5000\r\nVary: Accept-Encoding\r\n\r\n");
	expect(long_text);
	ask("");
	expect("Content-Length: 5000\r\n");
	expect(long_text);
	ask_as("HEAD", "Accept-Encoding: gzip\r\n");
	expect("Content-Type: text/plain\r\nVary: Accept-Encoding\r\n\r\n");
	client_expect_nothing(client);
}

static void tag_it(struct bench *of, struct muster_http *http)
{
	(void)of;
	assert_int_equal(muster_http_set_header(http, "X-Other", "1"), 0);
	assert_int_equal(muster_http_set_header(http, "ETag", "\"a\""), 0);
}

static void a_tagged_reply_is_sent_as_it_is(void **state)
{
	(void)state;
	make_long();
	bench.on_request = tag_it;
	ask("Accept-Encoding: gzip\r\n");
	expect("Content-Length: 5000\r\nX-Other: 1\r\nETag: \"a\"\r\n\r\n");
	expect(long_text);
}

/* ---- The access log ---- */

static char log_path[256];

static void open_logging(enum muster_http_log_format format)
{
	const char *temporary = getenv("TMPDIR");
	struct problem problem;
	struct access_log *log;
	struct http_settings settings = { .limits = { .body_bytes = 100 } };

	/* The log needs the bench's loop: so a server of its own. */
	bench_open(&bench, NULL);
	snprintf(log_path, sizeof(log_path), "%s/muster-access-%d",
		 temporary != NULL ? temporary : "/tmp", getpid());
	unlink(log_path);
	assert_int_equal(
		access_log_open(bench.loop, log_path, format, &problem, &log),
		0);
	settings.access_log = log;
	bench_serve(&bench, &settings);
	client = client_open_tcp(&bench);
}

static int open_combined(void **state)
{
	(void)state;
	open_logging(MUSTER_HTTP_LOG_COMBINED);
	return 0;
}

static int open_json(void **state)
{
	(void)state;
	open_logging(MUSTER_HTTP_LOG_JSON);
	return 0;
}

static int close_logging(void **state)
{
	unlink(log_path);
	return close_bench(state);
}

/* What has been logged, once the server is gone; good until the next call. */
static char *logged(void)
{
	static char text[4096];
	FILE *file;

	client_close(client);
	client = NULL;
	http_server_free(bench.server);
	bench.server = NULL;
	bench_settle(&bench);
	file = fopen(log_path, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	return text;
}

/* "#" of a pattern stands for a digit, "~" for a sign, "!" for anything. */
static void expect_line(char **at, const char *pattern)
{
	for (; *pattern != 0; pattern++, (*at)++) {
		if (*pattern == '#')
			assert_in_range(**at, '0', '9');
		else if (*pattern == '~')
			assert_true(**at == '+' || **at == '-');
		else if (*pattern != '!' && *pattern != **at)
			fail_msg("\"%s\" is not \"%s\"", *at, pattern);
	}
}

static void each_request_has_a_line(void **state)
{
	(void)state;
	char *at;

	ask("User-Agent: test \"1\\\"\r\nReferer: http://r/\r\n");
	expect("hello");
	ask_as("HEAD", "");
	expect("\r\n\r\n");
	client_send(client, "POST /p HTTP/1.1\r\nHost: a\r\n"
			    "Content-Length: 101\r\n\r\n");
	expect("HTTP/1.1 413 ");
	client_close(client);
	client = client_open_tcp(&bench);
	client_send(client, "nonsense\r\n\r\n");
	expect("HTTP/1.1 400 ");
	at = logged();
#define WHEN "[##/!!!/####:##:##:## ~####]"
	expect_line(&at, "127.0.0.1 - - " WHEN
			 " \"GET /a?b HTTP/1.1\" 200 5 \"http://r/\" "
			 "\"test \\x221\\x5c\\x22\"\n");
	expect_line(&at, "127.0.0.1 - - " WHEN
			 " \"HEAD /a?b HTTP/1.1\" 200 0 \"-\" \"-\"\n");
	expect_line(&at, "127.0.0.1 - - " WHEN
			 " \"POST /p HTTP/1.1\" 413 22 \"-\" \"-\"\n");
	expect_line(&at, "127.0.0.1 - - " WHEN " \"-\" 400 17 \"-\" \"-\"\n");
	assert_string_equal(at, "");
}

static void stream_it(struct bench *of, struct muster_http *http)
{
	of->holds = true;
	assert_int_equal(
		muster_http_begin(http, 201, NULL, MUSTER_HTTP_UNKNOWN), 0);
	assert_int_equal(muster_http_write(http, "1234567", 7), 0);
	muster_http_end(http);
}

static void a_line_may_be_json(void **state)
{
	(void)state;
	char *at;

	bench.on_request = stream_it;
	ask("User-Agent: \"\\ \xc3\xa4\r\n");
	expect("0\r\n\r\n");
	bench.held_count = 0;
	at = logged();
	assert_true(json_is_value(at, strcspn(at, "\n")));
	expect_line(&at, "{\"time\":\"####-##-##T##:##:##.###Z\","
			 "\"status\":201,\"bytes\":7,\"ms\":");
	at += strspn(at, "0123456789");
	assert_string_equal(at,
			    ",\"client\":\"127.0.0.1\",\"method\":\"GET\","
			    "\"target\":\"/a?b\","
			    "\"agent\":\"\\u0022\\u005c \\u00c3\\u00a4\"}\n");
}

static size_t lines_in(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t count = 0;
	int byte;

	if (file == NULL)
		return 0;
	while ((byte = fgetc(file)) != EOF)
		count += byte == '\n';
	fclose(file);
	return count;
}

static void await_lines(const char *path, size_t count)
{
	for (int i = 0; lines_in(path) < count; i++) {
		assert_true(i < 10000);
		loop_turn(bench.loop);
		usleep(1000);
	}
	assert_int_equal(lines_in(path), count);
}

static void a_log_that_was_moved_away_is_opened_anew(void **state)
{
	(void)state;
	char moved[300];

	snprintf(moved, sizeof(moved), "%s.1", log_path);
	ask("");
	expect("hello");
	await_lines(log_path, 1);
	assert_int_equal(rename(log_path, moved), 0);
	ask("");
	expect("hello");
	await_lines(log_path, 1);
	assert_int_equal(lines_in(moved), 1);
	unlink(moved);
}

static void nobody_waits_for_the_log(void **state)
{
	(void)state;
	struct access_log *log;
	struct problem problem;
	static const struct access_line line = { .client = "a", .status = 200 };

	unlink(log_path);
	assert_int_equal(mkfifo(log_path, 0600), 0);
	assert_int_equal(access_log_open(bench.loop, log_path,
					 MUSTER_HTTP_LOG_COMBINED, &problem,
					 &log),
			 -ENXIO);
	assert_non_null(strstr(problem.text, log_path));
	int reader = open(log_path, O_RDONLY | O_NONBLOCK);

	assert_int_equal(access_log_open(bench.loop, log_path,
					 MUSTER_HTTP_LOG_COMBINED, &problem,
					 &log),
			 0);
	/* 20 MB for a FIFO of 64 KiB that nobody reads. */
	for (int i = 0; i < 300000; i++) {
		access_log_put(log, &line);
		if (i % 1000 == 0)
			loop_turn(bench.loop);
	}
	access_log_close(log);
	bench_settle(&bench);
	close(reader);
}

#define with(setup, test)                                                      \
	cmocka_unit_test_setup_teardown(test, setup, close_bench)
#define plain(test) with(open_default, test)
#define logging(setup, test)                                                   \
	cmocka_unit_test_setup_teardown(test, setup, close_logging)

int main(void)
{
	const struct CMUnitTest tests[] = {
		plain(cookies_are_found_by_name),
		plain(cookies_are_set),
		plain(anybody_may_read),
		plain(only_listed_origins_may_read),
		plain(nobody_is_believed_by_default),
		with(open_trusting, a_trusted_proxy_is_believed),
		with(open_trusting_forwarded,
		     forwarded_is_believed_where_it_is_asked_for),
		with(open_packing, a_long_reply_is_packed_for_who_takes_it),
		with(open_packing, a_reply_is_not_packed_where_it_should_not),
		with(open_packing, a_tagged_reply_is_sent_as_it_is),
		logging(open_combined, each_request_has_a_line),
		logging(open_json, a_line_may_be_json),
		logging(open_combined,
			a_log_that_was_moved_away_is_opened_anew),
		logging(open_combined, nobody_waits_for_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
