/* Forms and uploads: see http_internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/upload.h"
#include "base/mem.h"
#include "base/must.h"
#include "server/http_internal.h"
#include "wire/multipart.h"
#include "wire/urlencoded.h"

#define PARTS_MAX        1000
#define MEMORY_BYTES_MAX (1024 * 1024)

struct part {
	char *name;
	char *filename; /* NULL: a field */
	char *type;
	struct buffer bytes; /* with a NUL, which does not count */
	int descriptor;      /* -1: it is in `bytes` */
	bool is_passed_over; /* or nowhere */
	uint64_t length;
	uint64_t length_max;
};

struct http_parts {
	struct multipart reader; /* zeroed where there is none */
	struct part *list;
	size_t count;
	size_t room;
	struct muster_http_form_options limits;
	uint64_t memory; /* of names and fields */
	char *directory; /* NULL: files stay in memory */
	struct http_form_filter filter;
	int error; /* of a form that was read whole */
};

/* ---- Parts ---- */

static void free_part(struct part *part)
{
	free(part->name);
	free(part->filename);
	free(part->type);
	buffer_fini(&part->bytes);
	if (part->descriptor >= 0)
		close(part->descriptor);
}

void http_parts_free(struct http_parts *parts)
{
	if (parts == NULL)
		return;
	for (size_t i = 0; i < parts->count; i++)
		free_part(&parts->list[i]);
	multipart_fini(&parts->reader);
	free(parts->list);
	free(parts->directory);
	free(parts);
}

static struct http_parts *
parts_new(const struct muster_http_form_options *options)
{
	struct http_parts *parts = mem_zalloc(sizeof(*parts));

	parts->limits = *options;
	if (parts->limits.file_bytes == 0)
		parts->limits.file_bytes = UINT64_MAX;
	if (parts->limits.memory_bytes == 0)
		parts->limits.memory_bytes = MEMORY_BYTES_MAX;
	if (parts->limits.parts == 0)
		parts->limits.parts = PARTS_MAX;
	return parts;
}

static struct part *add_part(struct http_parts *parts)
{
	if (parts->count == parts->room) {
		parts->room = parts->room > 0 ? 2 * parts->room : 8;
		parts->list = mem_resize(parts->list, parts->room,
					 sizeof(*parts->list));
	}
	struct part *part = &parts->list[parts->count++];

	*part = (struct part){ .descriptor = -1 };
	return part;
}

/* No name is ever in the directory, so nothing is left behind, come what may.
 * Where the file system has no such files, one is made and unlinked. */
static int open_temporary(const char *directory)
{
	int descriptor = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return descriptor;
	char *path = mem_format("%s/muster-XXXXXX", directory);

	descriptor = mkostemp(path, O_CLOEXEC);
	if (descriptor >= 0)
		DISCARD(unlink(path)); /* was made just now */
	free(path);
	return descriptor;
}

/* ---- A multipart form, as it comes ---- */

static int refuse(const char **reason, int status, const char *text)
{
	*reason = text;
	return status;
}

static bool keeps_in_memory(struct http_parts *parts, uint64_t length)
{
	if (parts->directory == NULL)
		return true; /* it is bounded as the body is */
	parts->memory += length;
	return parts->memory <= parts->limits.memory_bytes;
}

/* Is that file wanted? Then one of the same name, which came before, is not. */
static bool pick(struct http_parts *parts, struct part *part)
{
	const struct http_form_filter *filter = &parts->filter;

	part->length_max = filter->bytes_of(part->name, filter->arg);
	part->is_passed_over = part->length_max == 0;
	for (size_t i = 0; !part->is_passed_over && i + 1 < parts->count; i++) {
		struct part *other = &parts->list[i];

		if (other->descriptor < 0 ||
		    strcmp(other->name, part->name) != 0)
			continue;
		close(other->descriptor);
		other->descriptor = -1;
		other->is_passed_over = true;
	}
	return !part->is_passed_over;
}

static int begin_part(struct http_parts *parts, const char **reason)
{
	const struct multipart_part *told = &parts->reader.part;
	size_t memory = strlen(told->name);

	if (parts->count == parts->limits.parts)
		return refuse(reason, 413, "too many parts");
	struct part *part = add_part(parts);

	part->length_max = parts->limits.file_bytes;
	part->name = mem_text(told->name);
	if (told->filename != NULL) {
		part->filename = mem_text(told->filename);
		memory += strlen(told->filename);
	}
	if (told->type != NULL) {
		part->type = mem_text(told->type);
		memory += strlen(told->type);
	}
	if (!keeps_in_memory(parts, memory))
		return refuse(reason, 413, "the fields are too large");
	if (part->filename == NULL || parts->directory == NULL)
		return 0;
	if (parts->filter.bytes_of != NULL && !pick(parts, part))
		return 0;
	part->descriptor = open_temporary(parts->directory);
	if (part->descriptor >= 0)
		return 0;
	if (errno == EMFILE || errno == ENFILE)
		return refuse(reason, 503, "too many files are being sent");
	return refuse(reason, 507, "the file cannot be stored");
}

static bool write_all(int descriptor, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t written = write(descriptor, bytes, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		length -= (size_t)written;
	}
	return true;
}

static int add_data(struct http_parts *parts, const char **reason)
{
	struct part *part = &parts->list[parts->count - 1];
	size_t length = parts->reader.data_length;

	part->length += length;
	if (part->is_passed_over)
		return 0;
	if (part->filename != NULL && part->length > part->length_max)
		return refuse(reason, 413, "the file is too large");
	if (part->descriptor >= 0) {
		if (!write_all(part->descriptor, parts->reader.data, length))
			return refuse(reason, 507, "the file cannot be stored");
		return 0;
	}
	if (!keeps_in_memory(parts, length))
		return refuse(reason, 413, "the fields are too large");
	buffer_append(&part->bytes, parts->reader.data, length);
	return 0;
}

static int end_part(struct http_parts *parts, const char **reason)
{
	struct part *part = &parts->list[parts->count - 1];

	if (part->descriptor < 0)
		*buffer_reserve(&part->bytes, 1) = 0;
	else if (lseek(part->descriptor, 0, SEEK_SET) < 0)
		return refuse(reason, 507, "the file cannot be stored");
	return 0;
}

static int take(struct http_parts *parts, enum multipart_answer answer,
		const char **reason)
{
	switch (answer) {
	case MULTIPART_PART:
		return begin_part(parts, reason);
	case MULTIPART_DATA:
		return add_data(parts, reason);
	case MULTIPART_PART_END:
		return end_part(parts, reason);
	case MULTIPART_REFUSED:
		return refuse(reason, 400, parts->reader.reason);
	case MULTIPART_MORE:
		break;
	}
	return 0;
}

int http_parts_feed(struct http_parts *parts, const void *bytes, size_t length,
		    const char **reason)
{
	const char *at = bytes;
	int status = 0;

	while (length > 0 && status == 0) {
		size_t used;

		status = take(parts,
			      multipart_read(&parts->reader, at, length, &used),
			      reason);
		at += used;
		length -= used;
	}
	return status;
}

int http_parts_end(struct http_parts *parts, const char **reason)
{
	if (multipart_is_complete(&parts->reader))
		return 0;
	return refuse(reason, 400, "the form is not complete");
}

int http_form_stream(struct muster_http *http,
		     const struct muster_http_form_options *options,
		     const struct http_form_filter *filter)
{
	static const struct muster_http_form_options defaults;
	const char *type = muster_http_header(http, "Content-Type");
	const char *directory;

	MUST(http->is_deciding);
	if (options == NULL)
		options = &defaults;
	struct http_parts *parts = parts_new(options);

	if (type == NULL ||
	    !multipart_init(&parts->reader, type, strlen(type))) {
		http_parts_free(parts);
		return -EINVAL;
	}
	directory = options->directory != NULL ? options->directory
					       : getenv("TMPDIR");
	parts->directory = mem_text(directory != NULL ? directory : "/tmp");
	if (filter != NULL)
		parts->filter = *filter;
	http_parts_free(http_request_flow(http)->parts);
	http->flow->parts = parts;
	return 0;
}

int muster_http_stream_form(struct muster_http *http,
			    const struct muster_http_form_options *options)
{
	return http_form_stream(http, options, NULL);
}

/* ---- A form that is there ---- */

static int read_multipart(struct http_parts *parts, const void *body,
			  size_t length)
{
	const char *reason;
	int status = http_parts_feed(parts, body, length, &reason);

	if (status == 0)
		status = http_parts_end(parts, &reason);
	if (status == 413)
		return -EMSGSIZE;
	return status == 0 ? 0 : -EPROTO;
}

static char *decoded(const char *text, size_t length, size_t *decoded_length)
{
	char *to = mem_alloc(length + 1);

	*decoded_length = urlencoded_decode(to, text, length);
	to[*decoded_length] = 0;
	return to;
}

static int read_urlencoded(struct http_parts *parts, const char *body,
			   size_t length)
{
	struct urlencoded reader;
	struct urlencoded_pair pair;

	urlencoded_init(&reader, body, length);
	while (urlencoded_next(&reader, &pair)) {
		size_t decoded_length;

		if (parts->count == parts->limits.parts)
			return -EMSGSIZE;
		struct part *part = add_part(parts);

		part->name =
			decoded(pair.name, pair.name_length, &decoded_length);
		char *to = (char *)buffer_reserve(&part->bytes,
						  pair.value_length + 1);

		part->length =
			urlencoded_decode(to, pair.value, pair.value_length);
		to[part->length] = 0;
		buffer_extend(&part->bytes, (size_t)part->length);
	}
	return 0;
}

static struct http_parts *read_parts(struct muster_http *http)
{
	static const struct muster_http_form_options defaults;
	const char *type = muster_http_header(http, "Content-Type");
	struct field_text rest = { type, type != NULL ? strlen(type) : 0 };
	struct http_parts *parts = parts_new(&defaults);
	size_t length;
	const void *body = muster_http_body(http, &length);

	if (http->is_streamed || type == NULL)
		parts->error = -EINVAL;
	else if (multipart_init(&parts->reader, type, rest.length))
		parts->error = read_multipart(parts, body, length);
	else if (field_is(field_take_word(&rest),
			  "application/x-www-form-urlencoded"))
		parts->error = read_urlencoded(parts, body, length);
	else
		parts->error = -EINVAL;
	return parts;
}

int muster_http_read_form(struct muster_http *http)
{
	struct http_flow *flow = http_request_flow(http);

	if (http->is_deciding)
		return -EINVAL; /* it has not come yet */
	if (flow->parts == NULL)
		flow->parts = read_parts(http);
	return flow->parts->error;
}

const char *muster_http_field(struct muster_http *http, const char *name)
{
	if (muster_http_read_form(http) < 0)
		return NULL;
	for (size_t i = 0; i < http->flow->parts->count; i++) {
		const struct part *part = &http->flow->parts->list[i];

		if (part->filename == NULL && strcmp(part->name, name) == 0)
			return (const char *)buffer_bytes(&part->bytes);
	}
	return NULL;
}

bool muster_http_part(struct muster_http *http, size_t index,
		      struct muster_http_part *told)
{
	if (muster_http_read_form(http) < 0 ||
	    index >= http->flow->parts->count)
		return false;
	const struct part *part = &http->flow->parts->list[index];

	*told = (struct muster_http_part){
		.name = part->name,
		.filename = part->filename,
		.type = part->type,
		.bytes = part->descriptor < 0 && !part->is_passed_over
				 ? buffer_bytes(&part->bytes)
				 : NULL,
		.descriptor = part->descriptor,
		.length = part->length,
	};
	return true;
}

/* ---- Keeping what came ---- */

static int write_part(const struct muster_http_part *part, const char *path)
{
	int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int error = 0;

	if (to < 0)
		return -errno;
	if (!write_all(to, part->bytes, (size_t)part->length))
		error = -errno;
	if (close(to) < 0 && error == 0)
		error = -errno;
	if (error < 0)
		DISCARD(unlink(path)); /* half of it is of no use */
	return error;
}

int muster_http_save_part(struct muster_http *http, size_t index,
			  const char *path)
{
	struct muster_http_part part;

	if (!muster_http_part(http, index, &part))
		return -ENOENT;
	if (part.descriptor >= 0)
		return upload_keep(part.descriptor, part.length, path);
	return write_part(&part, path);
}
