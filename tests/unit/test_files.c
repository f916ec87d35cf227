/* Files below a folder, over socket pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "http_bench.h"
#include "server/files_internal.h"

#define LARGE 300000

static struct bench bench;
static struct client *client;
static struct files *files;
static char *root;
static char *large;

/* ---- The folder ---- */

/* Good for the next three calls. */
static char *path_of(const char *name)
{
	static char rooms[4][512];
	static size_t next;
	char *room = rooms[next++ % 4];

	assert_in_range(snprintf(room, 512, "%s/%s", root, name), 1, 511);
	return room;
}

static void put(const char *name, const void *bytes, size_t length)
{
	char *path = path_of(name);
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(file >= 0);
	assert_int_equal(write(file, bytes, length), length);
	close(file);
}

/* As if it had been written then. */
static void age(const char *name, time_t seconds)
{
	char *path = path_of(name);
	struct timespec times[2] = { { .tv_sec = seconds },
				     { .tv_sec = seconds } };

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
	age(name, 784111777);
}

static void make_folder(const char *name)
{
	char *path = path_of(name);

	assert_int_equal(mkdir(path, 0700), 0);
}

static void make_link(const char *to, const char *name)
{
	char *path = path_of(name);

	assert_int_equal(symlink(to, path), 0);
}

static int remove_one(const char *path, const struct stat *status, int flag,
		      struct FTW *where)
{
	(void)status;
	(void)flag;
	(void)where;
	return remove(path);
}

/* ---- The server ---- */

static void reply(struct bench *of, struct muster_http *http)
{
	of->holds = true;
	if (files_reply(files, http, NULL) != 0)
		muster_http_reply(http, 404, "text/plain", "none", 4);
}

static void open_with(struct muster_http_files_options options)
{
	struct problem problem;

	files_close(files);
	options.root = root;
	assert_int_equal(files_open(bench.loop, &options, &problem, &files), 0);
}

static int open_all(void **state)
{
	(void)state;
	const char *temporary = getenv("TMPDIR");

	bench_open(&bench, NULL);
	bench.on_request = reply;
	root = mem_format("%s/muster-files-XXXXXX",
			  temporary != NULL ? temporary : "/tmp");
	assert_non_null(mkdtemp(root));
	large = mem_alloc(LARGE + 1);
	for (size_t i = 0; i < LARGE; i++)
		large[i] = (char)('a' + i % 23);
	large[LARGE] = 0;
	open_with((struct muster_http_files_options){ .fresh_ms = 1 });
	client = client_open(&bench, SOCK_STREAM);
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	bench.held_count = 0; /* all have been replied to */
	client_close(client);
	files_close(files);
	files = NULL;
	bench_close(&bench);
	assert_int_equal(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	free(root);
	free(large);
	return 0;
}

static void ask_as(const char *method, const char *path, const char *headers)
{
	char *request = mem_format("%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n",
				   method, path, headers);

	bench.held_count = 0;
	client_send(client, request);
	free(request);
}

static void ask(const char *path, const char *headers)
{
	ask_as("GET", path, headers);
}

static void expect(const char *text)
{
	client_expect(client, text);
}

/* The value of a header that is still in what came. */
static char *header(const char *name)
{
	char *line = mem_format("\r\n%s: ", name);
	const char *at;

	for (int i = 0; i < 1000 && strstr(client->text, "\r\n\r\n") == NULL;
	     i++) {
		bench_settle(&bench);
		ssize_t length =
			recv(client->descriptor, client->text + client->length,
			     4096, MSG_DONTWAIT);

		if (length > 0)
			client->length += (size_t)length;
		client->text[client->length] = 0;
	}
	at = strstr(client->text, line);
	if (at == NULL) {
		free(line);
		return NULL;
	}
	at += strlen(line);
	free(line);
	return mem_format("%.*s", (int)strcspn(at, "\r"), at);
}

static void expect_none(const char *path)
{
	ask(path, "");
	expect("HTTP/1.1 404 ");
	expect("\r\n\r\nnone");
}

static void wait_until_stale(void)
{
	uint64_t since_ms = loop_now_ms(bench.loop);

	while (loop_now_ms(bench.loop) < since_ms + 2)
		loop_turn(bench.loop);
}

/* ---- What is found ---- */

static void a_small_file_is_sent(void **state)
{
	(void)state;
	put_text("a.txt", "hello, file");
	ask("/a.txt", "");
	expect("HTTP/1.1 200 OK\r\n");
	expect("Content-Type: text/plain; charset=utf-8\r\n"
	       "Content-Length: 11\r\n");
	expect("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
	       "Cache-Control: public, max-age=60, must-revalidate\r\n"
	       "Vary: Accept-Encoding\r\n"
	       "X-Content-Type-Options: nosniff\r\n"
	       "Accept-Ranges: bytes\r\n\r\n"
	       "hello, file");
	ask("/%61.txt?query", "");
	expect("\r\n\r\nhello, file");
	client_expect_nothing(client);
}

static void a_large_file_is_sent(void **state)
{
	(void)state;
	put_text("large.bin", large);
	for (int i = 0; i < 3; i++) {
		ask("/large.bin", "");
		expect("Content-Type: application/octet-stream\r\n"
		       "Content-Length: 300000\r\n");
		expect(large);
	}
	/* Pipelined, they keep their order. */
	put_text("a.txt", "hello, file");
	ask("/large.bin", "\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n");
	expect(large);
	expect("\r\n\r\nhello, file");
	client_expect_nothing(client);
}

static void an_empty_file_is_sent(void **state)
{
	(void)state;
	put_text("empty", "");
	ask("/empty", "");
	expect("Content-Length: 0\r\n");
	expect("\r\n\r\n");
	client_expect_nothing(client);
}

static void head_gets_no_file(void **state)
{
	(void)state;
	put_text("a.txt", "hello, file");
	put_text("large.bin", large);
	ask_as("HEAD", "/a.txt", "");
	expect("Content-Length: 11\r\n");
	expect("\r\n\r\n");
	client_expect_nothing(client);
	ask_as("HEAD", "/large.bin", "Range: bytes=0-1\r\n");
	expect("HTTP/1.1 200 OK\r\n");
	expect("Content-Length: 300000\r\n");
	expect("\r\n\r\n");
	client_expect_nothing(client);
}

static void a_folder_has_an_index(void **state)
{
	(void)state;
	make_folder("sub");
	put_text("index.html", "the root");
	put_text("sub/index.html", "the folder");
	ask("/", "");
	expect("\r\n\r\nthe root");
	ask("/sub/", "");
	expect("Content-Type: text/html; charset=utf-8\r\n");
	expect("\r\n\r\nthe folder");
	ask("/sub?a=b", "");
	expect("HTTP/1.1 301 ");
	expect("Location: /sub/?a=b\r\n\r\n");
	open_with((struct muster_http_files_options){ .index = "" });
	expect_none("/");
	expect_none("/sub/");
}

static void other_methods_are_refused(void **state)
{
	(void)state;
	put_text("a.txt", "hello, file");
	ask_as("DELETE", "/a.txt", "");
	expect("HTTP/1.1 405 ");
	expect("Allow: GET, HEAD\r\n\r\n");
	ask_as("DELETE", "/none", "");
	expect("HTTP/1.1 404 ");
}

/* ---- What is not ---- */

static void what_is_not_there_is_not_found(void **state)
{
	(void)state;
	make_folder("sub");
	put_text("a.txt", "hello");
	put_text(".secret", "hidden");
	assert_int_equal(mkfifoat(AT_FDCWD, path_of("fifo"), 0600), 0);
	expect_none("/none");
	expect_none("/sub/");
	expect_none("/a.txt/");
	expect_none("/a.txt/b");
	expect_none("/.secret");
	expect_none("/fifo");
	expect_none("/a.txt%00");
	expect_none("//a.txt");
	open_with((struct muster_http_files_options){ .dot_files = true });
	ask("/.secret", "");
	expect("\r\n\r\nhidden");
}

static void nothing_outside_is_reachable(void **state)
{
	(void)state;
	char *outside = mem_format("%s-outside", root);
	char *absolute = mem_format("%s/a.txt", root);
	FILE *file = fopen(outside, "w");

	fputs("secret", file);
	fclose(file);
	put_text("a.txt", "inside");
	make_folder("sub");
	make_link(outside, "absolute");
	make_link("../../../../../../etc/passwd", "relative");
	make_link("..", "sub/up");
	make_link("/proc/self/root", "magic");
	make_link("/proc/self/cwd", "cwd");
	make_link("../a.txt", "sub/inside");
	make_link(absolute, "back");
	expect_none("/../etc/passwd");
	expect_none("/%2e%2e/%2e%2e/etc/passwd");
	expect_none("/sub/..%2f..%2fetc/passwd");
	expect_none("/absolute");
	expect_none("/relative");
	expect_none("/magic/etc/passwd");
	expect_none("/cwd/meson.build");
	expect_none("/sub/up/../../etc/passwd");
	/* Even where it would lead back in. */
	expect_none("/back");
	ask("/sub/inside", "");
	expect("\r\n\r\ninside");
	ask("/sub/up/a.txt", "");
	expect("\r\n\r\ninside");
	unlink(outside);
	free(outside);
	free(absolute);
}

static void without_openat2_no_link_is_followed(void **state)
{
	(void)state;
	make_folder("sub");
	make_folder("sub/deep");
	put_text("a.txt", "inside");
	put_text("sub/deep/b.txt", "deep inside");
	put_text("sub/index.html", "the folder");
	make_link("../a.txt", "sub/inside");
	make_link("sub", "folder");
	make_link("/etc", "etc");
	files->has_openat2 = false;
	ask("/a.txt", "");
	expect("\r\n\r\ninside");
	ask("/sub/deep/b.txt", "");
	expect("\r\n\r\ndeep inside");
	ask("/sub/", "");
	expect("\r\n\r\nthe folder");
	ask("/sub", "");
	expect("HTTP/1.1 301 ");
	expect("\r\n\r\n");
	expect_none("/sub/inside");
	expect_none("/folder/deep/b.txt");
	expect_none("/etc/passwd");
	expect_none("/a.txt/b");
	expect_none("/none/b");
}

/* ---- Conditions ---- */

static void what_the_client_has_is_not_sent_again(void **state)
{
	(void)state;
	put_text("a.txt", "hello, file");
	ask("/a.txt", "");
	char *tag = header("ETag");
	char *headers = mem_format("If-None-Match: \"x\", %s\r\n", tag);

	assert_int_equal(tag[0], '"');
	expect("hello, file");
	ask("/a.txt", headers);
	expect("HTTP/1.1 304 Not Modified\r\n");
	char *again = header("ETag");

	assert_string_equal(again, tag);
	expect("\r\n\r\n");
	client_expect_nothing(client);
	ask("/a.txt", "If-None-Match: \"other\"\r\n"
		      "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
	expect("HTTP/1.1 200 ");
	expect("hello, file");
	ask("/a.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
	expect("HTTP/1.1 304 ");
	ask("/a.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n");
	expect("HTTP/1.1 200 ");
	free(tag);
	free(again);
	free(headers);
}

static void a_condition_that_fails_is_told(void **state)
{
	(void)state;
	put_text("a.txt", "hello, file");
	ask("/a.txt", "If-Match: \"other\"\r\n");
	expect("HTTP/1.1 412 ");
	expect("\r\n\r\n");
	ask("/a.txt", "If-Match: *\r\n");
	expect("HTTP/1.1 200 ");
	expect("hello, file");
	ask("/a.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n");
	expect("HTTP/1.1 412 ");
}

static void what_was_just_written_has_a_weak_tag(void **state)
{
	(void)state;
	put("a.txt", "new", 3);
	ask("/a.txt", "");
	expect("\r\nETag: W/\"");
	expect("\r\n\r\nnew");
	open_with((struct muster_http_files_options){ .weak_etags = true });
	put_text("b.txt", "old");
	ask("/b.txt", "");
	expect("\r\nETag: W/\"");
}

/* ---- Ranges ---- */

static void a_part_is_sent(void **state)
{
	(void)state;
	put_text("a.txt", "0123456789");
	put_text("large.bin", large);
	ask("/a.txt", "Range: bytes=2-4\r\n");
	expect("HTTP/1.1 206 Partial Content\r\n");
	expect("Content-Length: 3\r\n");
	expect("Content-Range: bytes 2-4/10\r\n\r\n234");
	ask("/a.txt", "Range: bytes=-2\r\n");
	expect("Content-Range: bytes 8-9/10\r\n\r\n89");
	ask("/large.bin", "Range: bytes=299990-\r\n");
	expect("Content-Length: 10\r\n");
	expect("Content-Range: bytes 299990-299999/300000\r\n\r\n");
	expect(large + 299990);
	ask("/a.txt", "Range: bytes=10-\r\n");
	expect("HTTP/1.1 416 ");
	expect("Content-Range: bytes */10\r\n\r\n");
	ask("/a.txt", "Range: bytes=4-2\r\n");
	expect("HTTP/1.1 200 ");
	expect("\r\n\r\n0123456789");
	client_expect_nothing(client);
}

static void expect_parts(const char *name, const char *type, unsigned total)
{
	char *path = mem_format("/%s", name);

	ask(path, "Range: bytes=0-1, 5-6,-1\r\n");
	expect("HTTP/1.1 206 ");
	char *boundary = header("Content-Type");
	char *length = header("Content-Length");

	expect("Content-Type: multipart/byteranges; boundary=");
	expect("\r\n\r\n");
	const char *name_of_it = strrchr(boundary, '=') + 1;
	char *wanted = mem_format(
		"\r\n--%s\r\nContent-Type: %s\r\n"
		"Content-Range: bytes 0-1/%u\r\n\r\n%.2s"
		"\r\n--%s\r\nContent-Type: %s\r\n"
		"Content-Range: bytes 5-6/%u\r\n\r\n%.2s"
		"\r\n--%s\r\nContent-Type: %s\r\n"
		"Content-Range: bytes %u-%u/%u\r\n\r\n%c\r\n--%s--\r\n",
		name_of_it, type, total, large, name_of_it, type, total,
		large + 5, name_of_it, type, total - 1, total - 1, total,
		large[total - 1], name_of_it);

	client_expect_only(client, wanted);
	assert_int_equal(atoi(length), strlen(wanted));
	free(wanted);
	free(boundary);
	free(length);
	free(path);
}

static void several_parts_are_sent(void **state)
{
	(void)state;
	put("a.txt", large, 10);
	put_text("large.bin", large);
	expect_parts("a.txt", "text/plain; charset=utf-8", 10);
	expect_parts("large.bin", "application/octet-stream", LARGE);
}

static void a_part_of_something_else_is_not_sent(void **state)
{
	(void)state;
	put_text("a.txt", "0123456789");
	ask("/a.txt", "");
	char *tag = header("ETag");
	char *good = mem_format("Range: bytes=0-1\r\nIf-Range: %s\r\n", tag);
	char *weak = mem_format("Range: bytes=0-1\r\nIf-Range: W/%s\r\n", tag);

	expect("0123456789");
	ask("/a.txt", good);
	expect("HTTP/1.1 206 ");
	ask("/a.txt", weak);
	expect("HTTP/1.1 200 ");
	ask("/a.txt", "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n");
	expect("HTTP/1.1 200 ");
	ask("/a.txt", "Range: bytes=0-1\r\n"
		      "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
	expect("HTTP/1.1 206 ");
	ask("/a.txt", "Range: bytes=0-1\r\n"
		      "If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
	expect("HTTP/1.1 200 ");
	free(tag);
	free(good);
	free(weak);
}

/* ---- gzip ---- */

/* The body of a gzip reply that came whole, unpacked; to be freed. */
static char *unpacked(size_t length)
{
	static char room[LARGE + 1];
	z_stream stream = { 0 };

	expect("\r\n\r\n");
	while (client->length < length) {
		bench_settle(&bench);
		ssize_t some =
			recv(client->descriptor, client->text + client->length,
			     length - client->length, MSG_DONTWAIT);

		if (some > 0)
			client->length += (size_t)some;
	}
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)client->text;
	stream.avail_in = (uInt)length;
	stream.next_out = (Bytef *)room;
	stream.avail_out = sizeof(room);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	room[stream.total_out] = 0;
	inflateEnd(&stream);
	client->length = 0;
	client->text[0] = 0;
	return room;
}

static void expect_gzip(const char *path, const char *wanted)
{
	ask(path, "Accept-Encoding: deflate, gzip;q=0.8\r\n");
	char *coding = header("Content-Encoding");
	char *length = header("Content-Length");
	char *tag = header("ETag");

	assert_non_null(coding);
	assert_string_equal(coding, "gzip");
	assert_non_null(strstr(tag, "-gz\""));
	assert_true((size_t)atoi(length) < strlen(wanted));
	assert_string_equal(unpacked((size_t)atoi(length)), wanted);
	char *headers = mem_format("If-None-Match: %s\r\n"
				   "Accept-Encoding: gzip\r\n",
				   tag);

	ask(path, headers);
	expect("HTTP/1.1 304 ");
	expect("\r\n\r\n");
	free(headers);
	free(coding);
	free(length);
	free(tag);
}

static void a_text_is_packed_for_who_takes_it(void **state)
{
	(void)state;
	put("a.txt", large, 2000);
	age("a.txt", 784111777);
	char *text = mem_format("%.2000s", large);

	expect_gzip("/a.txt", text);
	expect_gzip("/a.txt", text);
	ask("/a.txt", "Accept-Encoding: gzip;q=0\r\n");
	expect("Content-Length: 2000\r\n");
	expect(text);
	ask("/a.txt", "Accept-Encoding: gzip\r\nRange: bytes=0-2\r\n");
	expect("Content-Range: bytes 0-2/2000\r\n\r\nabc");
	free(text);
}

static void a_large_text_is_packed_for_the_next(void **state)
{
	(void)state;
	put_text("large.txt", large);
	ask("/large.txt", "Accept-Encoding: gzip\r\n");
	expect("Content-Length: 300000\r\n");
	expect(large);
	/* The pool is at it; the loop is told when it is done. */
	for (int i = 0; i < 1000; i++) {
		ask_as("HEAD", "/large.txt", "Accept-Encoding: gzip\r\n");
		char *coding = header("Content-Encoding");
		bool is_packed = coding != NULL;

		free(coding);
		expect("\r\n\r\n");
		if (is_packed)
			break;
		usleep(10000);
	}
	expect_gzip("/large.txt", large);
}

static void what_is_packed_already_is_not_packed(void **state)
{
	(void)state;
	put("a.png", large, 2000);
	put_text("short.txt", "short");
	ask("/a.png", "Accept-Encoding: gzip\r\n");
	expect("Content-Length: 2000\r\n");
	ask("/short.txt", "Accept-Encoding: gzip\r\n");
	expect("Content-Length: 5\r\n");
	open_with((struct muster_http_files_options){ .no_gzip = true });
	put("a.txt", large, 2000);
	ask("/a.txt", "Accept-Encoding: gzip\r\n");
	expect("Content-Length: 2000\r\n");
}

static void a_packed_file_beside_it_is_sent(void **state)
{
	(void)state;
	put_text("large.txt", large);
	put_text("large.txt.gz", "is packed");
	ask("/large.txt", "Accept-Encoding: gzip\r\n");
	char *tag = header("ETag");

	expect("Content-Type: text/plain; charset=utf-8\r\n"
	       "Content-Length: 9\r\n");
	expect("Content-Encoding: gzip\r\n\r\nis packed");
	ask("/large.txt", "");
	expect(large);
	/* It may be made anew, or go, without the other. */
	put_text("large.txt.gz", "packed better");
	age("large.txt.gz", 784111778);
	wait_until_stale();
	ask("/large.txt", "Accept-Encoding: gzip\r\n");
	char *another = header("ETag");

	assert_string_not_equal(tag, another);
	free(tag);
	free(another);
	expect("Content-Encoding: gzip\r\n\r\npacked better");
	unlink(path_of("large.txt.gz"));
	wait_until_stale();
	ask("/large.txt", "Accept-Encoding: gzip\r\n");
	expect(large);
	/* An older one is of something else. */
	put_text("b.txt", large);
	put_text("b.txt.gz", "is stale");
	age("b.txt", 784111778);
	ask("/b.txt", "Accept-Encoding: gzip\r\n");
	expect("Content-Length: 300000\r\n");
	expect(large);
}

/* ---- What changes ---- */

static void a_change_is_seen(void **state)
{
	(void)state;
	put_text("a.txt", "before");
	ask("/a.txt", "");
	expect("\r\n\r\nbefore");
	put_text("b.txt", "behind");
	assert_int_equal(rename(path_of("b.txt"), path_of("a.txt")), 0);
	wait_until_stale();
	ask("/a.txt", "");
	expect("\r\n\r\nbehind");
	put_text("a.txt", "again!");
	wait_until_stale();
	ask("/a.txt", "");
	expect("\r\n\r\nagain!");
	unlink(path_of("a.txt"));
	wait_until_stale();
	expect_none("/a.txt");
}

static void what_is_kept_is_bounded(void **state)
{
	(void)state;
	char name[16];

	open_with((struct muster_http_files_options){ .open_files = 4,
						      .memory_bytes = 3000 });
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 10; i++) {
			snprintf(name, sizeof(name), "/%d.bin", i);
			put(name + 1, large + i, 1000);
			ask(name, "");
			expect("Content-Length: 1000\r\n");
			char *text = mem_format("\r\n\r\n%.1000s", large + i);

			expect(text);
			free(text);
		}
}

static void a_file_that_is_forgotten_is_sent_to_its_end(void **state)
{
	(void)state;
	put_text("large.bin", large);
	put_text("a.txt", "hello, file");
	open_with((struct muster_http_files_options){ .open_files = 1 });
	int small = 4096;

	setsockopt(client->server_descriptor, SOL_SOCKET, SO_SNDBUF, &small,
		   sizeof(small));
	ask("/large.bin", "\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n");
	bench_settle(&bench);
	files_close(files);
	files = NULL;
	unlink(path_of("large.bin"));
	open_with((struct muster_http_files_options){ .open_files = 1 });
	expect(large);
	expect("\r\n\r\nhello, file");
}

static void a_folder_that_is_not_there_is_told(void **state)
{
	(void)state;
	struct problem problem;
	struct files *none = NULL;
	char *path = path_of("nonexistent");

	assert_int_equal(
		files_open(bench.loop,
			   &(struct muster_http_files_options){ .root = path },
			   &problem, &none),
		-ENOENT);
	assert_null(none);
	assert_non_null(strstr(problem.text, path));
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_small_file_is_sent),
		test(a_large_file_is_sent),
		test(an_empty_file_is_sent),
		test(head_gets_no_file),
		test(a_folder_has_an_index),
		test(other_methods_are_refused),
		test(what_is_not_there_is_not_found),
		test(nothing_outside_is_reachable),
		test(without_openat2_no_link_is_followed),
		test(what_the_client_has_is_not_sent_again),
		test(a_condition_that_fails_is_told),
		test(what_was_just_written_has_a_weak_tag),
		test(a_part_is_sent),
		test(several_parts_are_sent),
		test(a_part_of_something_else_is_not_sent),
		test(a_text_is_packed_for_who_takes_it),
		test(a_large_text_is_packed_for_the_next),
		test(what_is_packed_already_is_not_packed),
		test(a_packed_file_beside_it_is_sent),
		test(a_change_is_seen),
		test(what_is_kept_is_bounded),
		test(a_file_that_is_forgotten_is_sent_to_its_end),
		test(a_folder_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
