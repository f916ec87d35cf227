/* What a request for a file is answered with: see files_internal.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/files_internal.h"
#include "server/http_internal.h"
#include "wire/etag.h"
#include "wire/field.h"
#include "wire/range.h"
#include "wire/url_path.h"

/* The headers that matter, as they lie in the request; NULL: not there. */
struct asked {
	struct field_text if_match;
	struct field_text if_none_match;
	struct field_text if_modified_since;
	struct field_text if_unmodified_since;
	struct field_text if_range;
	struct field_text range;
	struct field_text accept_encoding;
};

static void take_header(struct asked *asked, struct field_text name,
			struct field_text value)
{
	switch (name.length) {
	case 5:
		if (field_is(name, "range"))
			asked->range = value;
		break;
	case 8:
		if (field_is(name, "if-match"))
			asked->if_match = value;
		else if (field_is(name, "if-range"))
			asked->if_range = value;
		break;
	case 13:
		if (field_is(name, "if-none-match"))
			asked->if_none_match = value;
		break;
	case 15:
		if (field_is(name, "accept-encoding"))
			asked->accept_encoding = value;
		break;
	case 17:
		if (field_is(name, "if-modified-since"))
			asked->if_modified_since = value;
		break;
	case 19:
		if (field_is(name, "if-unmodified-since"))
			asked->if_unmodified_since = value;
		break;
	default:
		break;
	}
}

static void read_headers(const struct muster_http *http, struct asked *asked)
{
	for (size_t i = 0; i < http->head.header_count; i++) {
		const struct http1_header *header = &http->headers[i];

		take_header(
			asked,
			(struct field_text){ http->text + header->name.start,
					     header->name.length },
			(struct field_text){ http->text + header->value.start,
					     header->value.length });
	}
}

/* ---- Conditions (RFC 9110, 13) ---- */

static bool is_date(struct field_text value, int64_t *seconds)
{
	return value.bytes != NULL &&
	       http_date_read(value.bytes, value.length, time(NULL), seconds);
}

/* 0: to be answered with the content. */
static int judge(const struct asked *asked, const struct file *file,
		 const struct files_form *form)
{
	int64_t seconds;

	if (asked->if_match.bytes != NULL) {
		if (!etag_is_listed(asked->if_match.bytes,
				    asked->if_match.length, form->etag, true))
			return 412;
	} else if (is_date(asked->if_unmodified_since, &seconds) &&
		   file->modified_s > seconds) {
		return 412;
	}
	if (asked->if_none_match.bytes != NULL)
		return etag_is_listed(asked->if_none_match.bytes,
				      asked->if_none_match.length, form->etag,
				      false)
			       ? 304
			       : 0;
	return is_date(asked->if_modified_since, &seconds) &&
			       file->modified_s <= seconds
		       ? 304
		       : 0;
}

/* Is what the client has a part of still the same? */
static bool range_holds(const struct asked *asked, const struct file *file,
			const struct files_form *form)
{
	struct field_text value = asked->if_range;
	int64_t seconds;

	if (value.bytes == NULL)
		return true;
	if (etag_is(value.bytes, value.length))
		return etag_is_listed(value.bytes, value.length, form->etag,
				      true);
	/* A date is a strong validator once a second has passed. */
	return is_date(value, &seconds) && seconds == file->modified_s &&
	       form->etag[0] != 'W';
}

/* ---- Replies ---- */

static void add_fields(struct muster_http *http, const struct buffer *fields)
{
	buffer_append(&http->fields, buffer_bytes(fields),
		      buffer_length(fields));
}

/* A part of the content, of a reply that was begun. Fails where the client has
 * left, which ends the reply soon. */
static void write_part(struct muster_http *http, struct file *file,
		       const struct files_form *form, uint64_t start,
		       uint64_t length)
{
	struct stream_piece piece = {
		.bytes = form->descriptor < 0
				 ? buffer_bytes(&form->bytes) + start
				 : NULL,
		.descriptor = form->descriptor,
		.offset = start,
		.length = length,
		.release = files_release,
		.arg = file,
	};

	files_hold(file);
	if (http_write_piece(http, &piece) < 0)
		files_release(file);
}

static void reply_large(struct muster_http *http, struct file *file,
			const struct files_form *form, int status,
			struct range range)
{
	if (muster_http_begin(http, status, file->type, range.length) == 0 &&
	    range.length > 0)
		write_part(http, file, form, range.start, range.length);
	muster_http_end(http);
}

/* Small contents are sent as any reply is. */
static void reply_with(struct muster_http *http, struct file *file,
		       const struct files_form *form, int status,
		       struct range range)
{
	if (form->descriptor >= 0)
		reply_large(http, file, form, status, range);
	else
		muster_http_reply(http, status, file->type,
				  buffer_bytes(&form->bytes) + range.start,
				  (size_t)range.length);
}

static void reply_range(struct muster_http *http, struct file *file,
			struct range range)
{
	buffer_append_format(&http->fields,
			     "Content-Range: bytes %" PRIu64 "-%" PRIu64
			     "/%" PRIu64 "\r\n",
			     range.start, range.start + range.length - 1,
			     file->plain.length);
	reply_with(http, file, &file->plain, 206, range);
}

/* ---- Several ranges: multipart/byteranges ---- */

#define BOUNDARY_BYTES 24

/* Not to be found in the content but by chance. */
static void make_boundary(char boundary[BOUNDARY_BYTES + 1])
{
	static uint64_t count;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	DISCARD(snprintf(boundary, BOUNDARY_BYTES + 1,
			 "%08" PRIx32 "%016" PRIx64, (uint32_t)now.tv_nsec,
			 (uint64_t)now.tv_sec * 0x9e3779b97f4a7c15u + count++));
}

static void put_part_head(struct buffer *to, const struct file *file,
			  const char *boundary, struct range range)
{
	buffer_append_format(to,
			     "\r\n--%s\r\nContent-Type: %s\r\n"
			     "Content-Range: bytes %" PRIu64 "-%" PRIu64
			     "/%" PRIu64 "\r\n\r\n",
			     boundary, file->type, range.start,
			     range.start + range.length - 1,
			     file->plain.length);
}

static uint64_t length_of(const struct file *file, const struct ranges *ranges,
			  const char *boundary)
{
	/* CR LF, "--", the boundary, "--", CR LF. */
	uint64_t length = BOUNDARY_BYTES + 8;
	struct buffer head = { 0 };

	for (size_t i = 0; i < ranges->count; i++) {
		buffer_truncate(&head, 0);
		put_part_head(&head, file, boundary, ranges->list[i]);
		length += buffer_length(&head) + ranges->list[i].length;
	}
	buffer_fini(&head);
	return length;
}

/* What fails to be written does so because the client has left. */
static void put_text(struct muster_http *http, struct buffer *text)
{
	DISCARD(http_write_now(http, buffer_bytes(text), buffer_length(text)));
	buffer_truncate(text, 0);
}

static void reply_ranges(struct muster_http *http, struct file *file,
			 const struct ranges *ranges)
{
	char boundary[BOUNDARY_BYTES + 1];
	char type[64];
	struct buffer text = { 0 };

	make_boundary(boundary);
	DISCARD(snprintf(type, sizeof(type),
			 "multipart/byteranges; boundary=%s", boundary));
	if (muster_http_begin(http, 206, type,
			      length_of(file, ranges, boundary)) == 0) {
		for (size_t i = 0; i < ranges->count; i++) {
			put_part_head(&text, file, boundary, ranges->list[i]);
			put_text(http, &text);
			write_part(http, file, &file->plain,
				   ranges->list[i].start,
				   ranges->list[i].length);
		}
		buffer_append_format(&text, "\r\n--%s--\r\n", boundary);
		put_text(http, &text);
		buffer_fini(&text);
	}
	muster_http_end(http);
}

/* ---- Choosing ---- */

static bool wants_gzip(const struct asked *asked)
{
	struct field_text value = asked->accept_encoding;

	return value.bytes != NULL &&
	       field_coding_quality(value.bytes, value.length, "gzip") > 0;
}

/* False: the range does not count. */
static bool reply_by_range(struct muster_http *http, struct file *file,
			   const struct asked *asked)
{
	struct ranges ranges;

	if (asked->range.bytes == NULL || http->is_head ||
	    !range_holds(asked, file, &file->plain))
		return false;
	switch (range_read(asked->range.bytes, asked->range.length,
			   file->plain.length, &ranges)) {
	case RANGE_WHOLE:
		return false;
	case RANGE_BEYOND:
		buffer_append_format(&http->fields,
				     "Content-Range: bytes */%" PRIu64 "\r\n",
				     file->plain.length);
		muster_http_reply(http, 416, NULL, NULL, 0);
		return true;
	case RANGE_SOME:
		break;
	}
	if (ranges.count == 1)
		reply_range(http, file, ranges.list[0]);
	else
		reply_ranges(http, file, &ranges);
	return true;
}

static void reply_found(struct muster_http *http, struct file *file)
{
	struct asked asked = { 0 };
	struct files_form *form = &file->plain;

	http->keeps_coding = true;
	read_headers(http, &asked);
	/* Ranges are of the content as it is. */
	if (asked.range.bytes == NULL && wants_gzip(&asked) && files_pack(file))
		form = &file->packed;
	int status = judge(&asked, file, form);

	if (status == 412) {
		muster_http_reply(http, 412, NULL, NULL, 0);
		return;
	}
	add_fields(http, &form->fields);
	if (status == 304)
		muster_http_reply(http, 304, NULL, NULL, 0);
	else if (!reply_by_range(http, file, &asked))
		reply_with(http, file, form, 200,
			   (struct range){ 0, form->length });
}

/* To the same path, with its slash. */
static void reply_folder(struct muster_http *http)
{
	const char *query = muster_http_query(http);
	char *place = mem_format("%s/%s%s", muster_http_path(http),
				 *query != 0 ? "?" : "", query);

	/* What was a path is a value. */
	DISCARD(muster_http_set_header(http, "Location", place));
	muster_http_reply(http, 301, NULL, NULL, 0);
	free(place);
}

static bool is_get(const struct muster_http *http)
{
	return http->is_head ||
	       (http->head.method.length == 3 &&
		memcmp(http->text + http->head.method.start, "GET", 3) == 0);
}

static enum files_answer find(struct files *files,
			      const struct muster_http *http, const char *path,
			      struct file **file)
{
	const char *text =
		path != NULL ? path : http->text + http->head.path.start;
	size_t length = path != NULL ? strlen(path) : http->head.path.length;
	char room[URL_PATH_BYTES_MAX + 1];

	if (length == 0) {
		text = "/";
		length = 1;
	}
	if (length > URL_PATH_BYTES_MAX ||
	    !url_path_read(room, text, length, files->options.dot_files))
		return FILES_NONE;
	return files_find(files, room, file);
}

int files_reply(struct files *files, struct muster_http *http, const char *path)
{
	struct file *file = NULL;
	enum files_answer answer = find(files, http, path, &file);

	if (answer == FILES_NONE || (answer == FILES_FOLDER && path != NULL))
		return MUSTER_HTTP_NO_FILE;
	if (!is_get(http)) {
		buffer_append_text(&http->fields, "Allow: GET, HEAD\r\n");
		muster_http_reply(http, 405, NULL, NULL, 0);
	} else if (answer == FILES_FOLDER) {
		reply_folder(http);
	} else {
		reply_found(http, file);
	}
	if (file != NULL)
		files_release(file);
	return 0;
}
