#include "server/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "loop/work.h"

#define GATHERED_BYTES     65536 /* written before its time */
#define GATHERED_BYTES_MAX (4u << 20)
#define EVERY_MS           1000

struct access_log {
	struct loop *loop;
	char *path;
	enum muster_http_log_format format;
	int descriptor;
	struct timer *timer;
	struct buffer lines;   /* gathered */
	struct buffer written; /* the other thread's, while is_busy */
	size_t lost;           /* bytes of that which were not written */
	uint64_t dropped;      /* lines, since it was last told */
	int64_t time_s;        /* that `time` tells */
	char time[40];
	bool is_busy;
	bool is_closing;
};

/* ---- Lines ---- */

static void put_escaped(struct buffer *to, struct access_text text)
{
	static const char digits[] = "0123456789abcdef";

	for (uint32_t i = 0; i < text.length; i++) {
		uint8_t byte = (uint8_t)text.bytes[i];
		char escape[] = { '\\', 'x', digits[byte >> 4],
				  digits[byte & 15] };

		if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\')
			buffer_append(to, escape, sizeof(escape));
		else
			buffer_append(to, &byte, 1);
	}
}

static void put_quoted(struct buffer *to, struct access_text text)
{
	buffer_append_text(to, " \"");
	if (text.bytes == NULL)
		buffer_append_text(to, "-");
	else
		put_escaped(to, text);
	buffer_append_text(to, "\"");
}

/* In the user's zone, as all who write this do, and in English. */
static const char *time_text(struct access_log *log)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct timespec now;
	struct tm local;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec == log->time_s)
		return log->time;
	log->time_s = now.tv_sec;
	localtime_r(&now.tv_sec, &local);
	char zone[8];

	DISCARD(strftime(zone, sizeof(zone), "%z", &local));
	DISCARD(snprintf(log->time, sizeof(log->time),
			 "%02d/%.3s/%d:%02d:%02d:%02d %s", local.tm_mday,
			 months + 3 * (ptrdiff_t)local.tm_mon,
			 local.tm_year + 1900, local.tm_hour, local.tm_min,
			 local.tm_sec, zone));
	return log->time;
}

static void put_combined(struct access_log *log, const struct access_line *line)
{
	struct buffer *to = &log->lines;

	buffer_append_format(to, "%s - - [%s] \"",
			     *line->client != 0 ? line->client : "-",
			     time_text(log));
	if (line->method.bytes == NULL) {
		buffer_append_text(to, "-");
	} else {
		put_escaped(to, line->method);
		buffer_append_text(to, " ");
		put_escaped(to, line->target);
		if (line->is_http2)
			buffer_append_text(to, " HTTP/2.0");
		else
			buffer_append_format(to, " HTTP/1.%d",
					     line->minor_version);
	}
	buffer_append_format(to, "\" %d %" PRIu64, line->status,
			     line->body_bytes);
	put_quoted(to, line->referer);
	put_quoted(to, line->agent);
	buffer_append_text(to, "\n");
}

/* What is not ASCII is told byte by byte, as if it were Latin-1: whether it is
 * UTF-8 nobody has promised. */
static void put_json_text(struct buffer *to, const char *name,
			  struct access_text text)
{
	if (text.bytes == NULL)
		return;
	buffer_append_format(to, ",\"%s\":\"", name);
	for (uint32_t i = 0; i < text.length; i++) {
		uint8_t byte = (uint8_t)text.bytes[i];

		if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\')
			buffer_append_format(to, "\\u%04x", byte);
		else
			buffer_append(to, &byte, 1);
	}
	buffer_append_text(to, "\"");
}

static void put_json(struct access_log *log, const struct access_line *line)
{
	struct buffer *to = &log->lines;
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	buffer_append_format(
		to,
		"{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\","
		"\"status\":%d,\"bytes\":%" PRIu64 ",\"ms\":%" PRIu64,
		utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
		utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, line->status,
		line->body_bytes, line->took_ms);
	put_json_text(to, "client",
		      (struct access_text){ line->client,
					    (uint32_t)strlen(line->client) });
	put_json_text(to, "method", line->method);
	put_json_text(to, "target", line->target);
	put_json_text(to, "referer", line->referer);
	put_json_text(to, "agent", line->agent);
	buffer_append_text(to, "}\n");
}

/* ---- Writing: in the other thread ---- */

/* Whoever moves the file away wants the next lines in a new one. */
static void open_anew(struct access_log *log)
{
	struct stat ours;
	struct stat named;

	if (fstat(log->descriptor, &ours) == 0 &&
	    stat(log->path, &named) == 0 && ours.st_dev == named.st_dev &&
	    ours.st_ino == named.st_ino)
		return;
	int descriptor = open(
		log->path,
		O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);

	if (descriptor < 0)
		return; /* on with the old one */
	close(log->descriptor);
	log->descriptor = descriptor;
}

static void write_lines(void *arg)
{
	struct access_log *log = arg;
	const uint8_t *at = buffer_bytes(&log->written);
	size_t left = buffer_length(&log->written);

	open_anew(log);
	while (left > 0) {
		ssize_t written = write(log->descriptor, at, left);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			break; /* full, or nobody reads the FIFO */
		at += written;
		left -= (size_t)written;
	}
	log->lost = left;
}

/* ---- On the loop ---- */

static uint64_t count_lines(const struct buffer *lines, size_t last_bytes)
{
	const uint8_t *at = buffer_bytes(lines);
	uint64_t count = 0;

	for (size_t i = buffer_length(lines) - last_bytes;
	     i < buffer_length(lines); i++)
		count += at[i] == '\n';
	return count;
}

static void note_written(struct access_log *log)
{
	if (log->lost > 0)
		log->dropped += count_lines(&log->written, log->lost);
	else if (log->dropped > 0) {
		log_warn(loop_log(log->loop),
			 "access log lines dropped path=%s count=%" PRIu64,
			 log->path, log->dropped);
		log->dropped = 0;
	}
	log->lost = 0;
	buffer_truncate(&log->written, 0);
	buffer_trim(&log->written, GATHERED_BYTES);
}

static void take_lines(struct access_log *log)
{
	struct buffer empty = log->written;

	log->written = log->lines;
	log->lines = empty;
}

static void free_log(struct access_log *log)
{
	take_lines(log);
	write_lines(log);
	note_written(log);
	close(log->descriptor);
	buffer_fini(&log->lines);
	buffer_fini(&log->written);
	free(log->path);
	free(log);
}

static void on_written(void *arg)
{
	struct access_log *log = arg;

	log->is_busy = false;
	note_written(log);
	if (log->is_closing)
		free_log(log);
}

static void start_writing(struct access_log *log)
{
	if (log->is_busy || buffer_length(&log->lines) == 0)
		return;
	take_lines(log);
	log->is_busy = true;
	work_start(log->loop, write_lines, log, on_written, log);
}

static void on_time(void *owner)
{
	start_writing(owner);
}

void access_log_put(struct access_log *log, const struct access_line *line)
{
	if (buffer_length(&log->lines) > GATHERED_BYTES_MAX) {
		log->dropped++;
		return;
	}
	switch (log->format) {
	case MUSTER_HTTP_LOG_COMBINED:
		put_combined(log, line);
		break;
	case MUSTER_HTTP_LOG_JSON:
		put_json(log, line);
		break;
	}
	if (buffer_length(&log->lines) > GATHERED_BYTES)
		start_writing(log);
}

int access_log_open(struct loop *loop, const char *path,
		    enum muster_http_log_format format, struct problem *problem,
		    struct access_log **log_out)
{
	int descriptor = open(
		path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK,
		0640);

	if (descriptor < 0)
		return problem_set(problem, -errno, "ACCESS_LOG_FAILED",
				   "cannot write the access log %s: %s (name a "
				   "file that this process may write)",
				   path, strerror(errno));
	struct access_log *log = mem_zalloc(sizeof(*log));

	log->loop = loop;
	log->path = mem_text(path);
	log->format = format;
	log->descriptor = descriptor;
	log->time_s = -1;
	log->timer = timer_open(loop, on_time, log, false);
	timer_start(log->timer, EVERY_MS, EVERY_MS);
	*log_out = log;
	return 0;
}

void access_log_close(struct access_log *log)
{
	if (log == NULL)
		return;
	timer_close(log->timer);
	log->is_closing = true;
	if (!log->is_busy)
		free_log(log);
}
