/*
 * session_file - files that clients which stay ask for: the static ones, whole,
 * in one message.
 *
 * What is in memory is answered at once; the rest is read in the pool. Whoever
 * leaves meanwhile is forgotten by what is read for it, which goes by itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "loop/work.h"
#include "server/files_internal.h"
#include "server/session_internal.h"
#include "wire/url_path.h"

#define FILE_BYTES  (1U << 20)
#define READS_MAX   3 /* at a time, of a client: they may have to wait for it */
#define NOT_FOUND   "that file is not found"
#define TOO_MANY    "you have too many pending requests"
#define NO_TYPE     "text/html" /* of an error, as ever */
#define PATH_BYTES  (URL_PATH_BYTES_MAX + 1)
#define JSON_FACTOR 2 /* what escapes may make of a text */

struct reading {
	struct list link;
	struct session *session; /* NULL: it has left */
	struct file *file;
	struct buffer bytes; /* the pool's, until it is done */
	bool has_failed;
	size_t message_length;
	char message[]; /* JSON of a frame's messageId */
};

static uint32_t limit_of(const struct session *session)
{
	uint32_t limit = session->sessions->file_bytes;

	return limit > 0 ? limit : FILE_BYTES;
}

/* ---- Answers ---- */

static void write_pair(struct json_writer *writer, const char *name,
		       const char *text)
{
	json_write_name(writer, name);
	json_write_text(writer, text);
}

/* "text/css; charset=utf-8" is sent as text/css. */
static void write_type(struct json_writer *writer, const char *type)
{
	json_write_name(writer, "mime");
	json_write_string(writer, type, strcspn(type, ";"));
}

static void write_time(struct json_writer *writer, const struct timespec *when)
{
	char text[64];
	char whole[80];
	struct tm parts;

	gmtime_r(&when->tv_sec, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(whole, sizeof(whole), "%s.%03dZ", text,
		 (int)(when->tv_nsec / 1000000));
	write_pair(writer, "lastModified", whole);
}

static void end_frame(struct session *session, struct json_writer *writer,
		      struct json_value message)
{
	write_pair(writer, "context", "response");
	json_write_name(writer, "messageId");
	json_write_raw(writer, message.text, message.length);
	json_write_object_end(writer);
	session_send_answer(session);
}

static void refuse_frame(struct session *session, const char *text,
			 struct json_value message)
{
	struct json_writer writer = session_answer(session);

	json_write_object(&writer);
	write_pair(&writer, "error", text);
	json_write_name(&writer, "content");
	json_write_null(&writer);
	write_type(&writer, NO_TYPE);
	json_write_name(&writer, "length");
	json_write_integer(&writer, (int64_t)strlen(text));
	end_frame(session, &writer, message);
}

static void refuse_line(struct session *session, const char *text)
{
	char *sentence = mem_format("Sorry, %s :(", text);
	struct json_writer writer = session_answer(session);

	json_write_text(&writer, sentence);
	session_send_answer(session);
	free(sentence);
}

static void refuse(struct session *session, const char *text,
		   struct json_value message)
{
	if (session->kind->send_bytes != NULL)
		refuse_line(session, text);
	else
		refuse_frame(session, text, message);
}

static void refuse_length(struct session *session, struct json_value message)
{
	char *text = mem_format("that file is longer than %u bytes",
				limit_of(session));

	refuse(session, text, message);
	free(text);
}

static void send_frame(struct session *session, const struct file *file,
		       const struct buffer *bytes, struct json_value message)
{
	struct json_writer writer = session_answer(session);

	json_write_object(&writer);
	json_write_name(&writer, "content");
	json_write_string(&writer, (const char *)buffer_bytes(bytes),
			  buffer_length(bytes));
	/* What is no text may become much longer as one. */
	if (buffer_length(writer.buffer) / JSON_FACTOR >
	    limit_of(session) + PATH_BYTES) {
		refuse_length(session, message);
		return;
	}
	write_type(&writer, file->type);
	json_write_name(&writer, "length");
	json_write_integer(&writer, (int64_t)buffer_length(bytes));
	write_time(&writer, &file->status.st_mtim);
	end_frame(session, &writer, message);
}

/* Over TCP it is the file alone, as clients know it. */
static void send_file(struct session *session, const struct file *file,
		      const struct buffer *bytes, struct json_value message)
{
	if (session->kind->send_bytes != NULL)
		session->kind->send_bytes(session->connection,
					  buffer_bytes(bytes),
					  buffer_length(bytes));
	else
		send_frame(session, file, bytes, message);
}

/* ---- Reading ---- */

/* In the pool. */
static void read_file(void *arg)
{
	struct reading *reading = arg;
	size_t length = (size_t)reading->file->plain.length;
	int descriptor = reading->file->plain.descriptor;
	uint8_t *bytes = buffer_reserve(&reading->bytes, length);
	size_t got = 0;

	while (got < length) {
		ssize_t some = pread(descriptor, bytes + got, length - got,
				     (off_t)got);

		if (some < 0 && errno == EINTR)
			continue;
		if (some <= 0)
			break;
		got += (size_t)some;
	}
	reading->has_failed = got < length;
	buffer_extend(&reading->bytes, got);
}

static void on_read(void *owner)
{
	struct reading *reading = owner;
	struct session *session = reading->session;
	struct json_value message = { reading->message,
				      reading->message_length };

	if (session != NULL) {
		list_remove(&reading->link);
		if (reading->has_failed)
			refuse(session, NOT_FOUND, message);
		else
			send_file(session, reading->file, &reading->bytes,
				  message);
	}
	files_release(reading->file);
	buffer_fini(&reading->bytes);
	free(reading);
	if (session != NULL)
		session_settle(session);
}

static bool has_too_many(struct session *session)
{
	size_t count = 0;

	LIST_EACH (&session->reads, link)
		count++;
	return count >= READS_MAX;
}

static void begin(struct session *session, struct file *file,
		  struct json_value message)
{
	struct reading *reading = mem_zalloc(sizeof(*reading) + message.length);

	reading->session = session;
	reading->file = file;
	reading->message_length = message.length;
	memcpy(reading->message, message.text, message.length);
	files_hold(file);
	list_add_last(&session->reads, &reading->link);
	work_start(session->sessions->api->muster->loop, read_file, reading,
		   on_read, reading);
}

void session_files_abandon(struct session *session)
{
	struct list *link;

	while ((link = list_take_first(&session->reads)) != NULL)
		LIST_ENTRY(link, struct reading, link)->session = NULL;
}

/* ---- Finding ---- */

/* Held; NULL: there is none. A folder is its index. */
static struct file *find(struct session *session, const char *name,
			 size_t length)
{
	struct files *files = session->sessions->files;
	struct file *file = NULL;
	char path[PATH_BYTES];

	while (length > 0 && *name == '/') {
		name++;
		length--;
	}
	if (files == NULL ||
	    !url_path_is_safe(name, length, files->options.dot_files))
		return NULL;
	memcpy(path, name, length);
	path[length] = '\0';
	return files_find(files, path, &file) == FILES_FOUND ? file : NULL;
}

static void answer(struct session *session, const char *name, size_t length,
		   struct json_value message)
{
	struct file *file = find(session, name, length);

	if (file == NULL) {
		refuse(session, NOT_FOUND, message);
		return;
	}
	if (file->plain.length > limit_of(session))
		refuse_length(session, message);
	else if (file->plain.descriptor < 0)
		send_file(session, file, &file->plain.bytes, message);
	else if (has_too_many(session))
		refuse(session, TOO_MANY, message);
	else
		begin(session, file, message);
	files_release(file);
}

void session_file_frame(struct session *session, struct json_value whole,
			struct json_value message)
{
	struct json_value file;
	size_t length;

	if (!json_find(whole, "file", &file) ||
	    json_kind_of(file) != JSON_STRING || file.length > PATH_BYTES) {
		refuse(session, NOT_FOUND, message);
		return;
	}
	char unescaped[PATH_BYTES];
	const char *name = json_string_of(file, unescaped, &length);

	answer(session, name, length, message);
}

void session_file_line(struct session *session, const char *name, size_t length)
{
	answer(session, name, length, (struct json_value){ "", 0 });
}
