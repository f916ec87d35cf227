#include "wire/multipart.h"

#include <string.h>

#include "base/must.h"
#include "wire/http1.h"

enum state {
	STATE_PREAMBLE, /* dropped */
	STATE_DATA,
	STATE_BEHIND, /* a delimiter: what kind is it? */
	STATE_DASH,   /* the last one, probably */
	STATE_PADDING,
	STATE_LF,
	STATE_HEAD,
	STATE_EPILOGUE, /* dropped */
	STATE_FAILED,
};

static enum multipart_answer refuse(struct multipart *reader,
				    const char *reason)
{
	reader->state = STATE_FAILED;
	reader->reason = reason;
	return MULTIPART_REFUSED;
}

/* ---- The boundary ---- */

static bool is_boundary(const char *text, size_t length)
{
	static const char others[] = "'()+_,-./:=? ";

	if (length == 0 || length > MULTIPART_BOUNDARY_BYTES_MAX ||
	    text[length - 1] == ' ')
		return false;
	for (size_t i = 0; i < length; i++) {
		char byte = text[i];

		if ((byte < '0' || byte > '9') &&
		    ((byte | 32) < 'a' || (byte | 32) > 'z') &&
		    (byte == 0 || strchr(others, byte) == NULL))
			return false;
	}
	return true;
}

static bool find_boundary(struct field_text rest,
			  struct field_parameter *boundary)
{
	while (field_next_parameter(&rest, boundary))
		if (field_is(boundary->name, "boundary"))
			return is_boundary(boundary->value.bytes,
					   boundary->value.length);
	return false;
}

bool multipart_init(struct multipart *reader, const char *type, size_t length)
{
	struct field_text rest = { type, length };
	struct field_parameter boundary;

	*reader = (struct multipart){ 0 };
	if (!field_is(field_take_word(&rest), "multipart/form-data") ||
	    !find_boundary(rest, &boundary))
		return false;
	memcpy(reader->boundary, "\r\n--", 4);
	memcpy(reader->boundary + 4, boundary.value.bytes,
	       boundary.value.length);
	reader->boundary_length = (uint8_t)(4 + boundary.value.length);
	/* The first has no line before it: as if there had been. */
	reader->matched = reader->unreal = 2;
	return true;
}

void multipart_fini(struct multipart *reader)
{
	buffer_fini(&reader->head);
	buffer_fini(&reader->texts);
}

bool multipart_is_complete(const struct multipart *reader)
{
	return reader->state == STATE_EPILOGUE;
}

/* ---- Headers of a part ---- */

static void add_text(struct buffer *texts, const char *bytes, size_t length)
{
	buffer_append(texts, bytes, length);
	buffer_append(texts, "", 1);
}

/* A parameter's value as a text of ours; its place in texts. */
static size_t take_value(struct multipart *reader,
			 const struct field_parameter *parameter)
{
	size_t place = buffer_length(&reader->texts);
	char *to = (char *)buffer_reserve(&reader->texts,
					  parameter->value.length + 1);
	size_t length = field_unquote(to, parameter);

	to[length] = 0;
	buffer_extend(&reader->texts, length + 1);
	return place;
}

static int hex(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
		return (digit | 32) - 'a' + 10;
	return -1;
}

/* UTF-8, whatever it was. */
static void add_byte(struct buffer *texts, int byte, bool is_latin1)
{
	char bytes[2] = { (char)byte, 0 };
	size_t length = 1;

	if (is_latin1 && byte >= 0x80) {
		bytes[0] = (char)(0xc0 | byte >> 6);
		bytes[1] = (char)(0x80 | (byte & 0x3f));
		length = 2;
	}
	buffer_append(texts, bytes, length);
}

/* RFC 8187: UTF-8'en'na%C3%AFve.txt; false where it is none. */
static bool take_extended(struct multipart *reader, struct field_text text,
			  size_t *place)
{
	const char *end = text.bytes + text.length;
	const char *charset_end =
		text.length > 0 ? memchr(text.bytes, '\'', text.length) : NULL;
	const char *at = charset_end != NULL
				 ? memchr(charset_end + 1, '\'',
					  (size_t)(end - charset_end - 1))
				 : NULL;

	if (at == NULL)
		return false;
	struct field_text charset = { text.bytes,
				      (size_t)(charset_end - text.bytes) };
	bool is_latin1 = field_is(charset, "ISO-8859-1");

	if (!is_latin1 && !field_is(charset, "UTF-8"))
		return false;
	size_t start = buffer_length(&reader->texts);

	for (at++; at < end; at++) {
		int high = *at == '%' && end - at > 2 ? hex(at[1]) : -1;
		int low = high >= 0 ? hex(at[2]) : -1;

		/* A NUL would end it. */
		if (*at == '%' && (low < 0 || high + low == 0)) {
			buffer_truncate(&reader->texts, start);
			return false;
		}
		add_byte(&reader->texts,
			 *at == '%' ? high << 4 | low : (uint8_t)*at,
			 is_latin1);
		at += *at == '%' ? 2 : 0;
	}
	buffer_append(&reader->texts, "", 1);
	*place = start;
	return true;
}

/* Places in texts; SIZE_MAX: none. */
struct places {
	size_t name;
	size_t filename;
	size_t extended;
	size_t type;
};

static bool take_disposition(struct multipart *reader, struct field_text value,
			     struct places *places)
{
	struct field_parameter parameter;

	if (!field_is(field_take_word(&value), "form-data"))
		return false;
	while (field_next_parameter(&value, &parameter)) {
		if (field_is(parameter.name, "name"))
			places->name = take_value(reader, &parameter);
		else if (field_is(parameter.name, "filename"))
			places->filename = take_value(reader, &parameter);
		else if (field_is(parameter.name, "filename*"))
			DISCARD(take_extended(reader, parameter.value,
					      &places->extended));
	}
	return true;
}

static bool take_line(struct multipart *reader, struct field_text line,
		      struct places *places)
{
	const char *end = line.bytes + line.length;
	const char *colon =
		line.length > 0 ? memchr(line.bytes, ':', line.length) : NULL;

	if (colon == NULL ||
	    !http1_is_token(line.bytes, (size_t)(colon - line.bytes)) ||
	    !http1_is_value(colon + 1, (size_t)(end - colon - 1)))
		return false;
	struct field_text name = { line.bytes, (size_t)(colon - line.bytes) };
	struct field_text value = field_trim(colon + 1, end);

	if (field_is(name, "content-disposition"))
		return take_disposition(reader, value, places);
	if (field_is(name, "content-type")) {
		places->type = buffer_length(&reader->texts);
		add_text(&reader->texts, value.bytes, value.length);
	}
	return true;
}

static const char *text_at(const struct multipart *reader, size_t place)
{
	return place == SIZE_MAX
		       ? NULL
		       : (const char *)buffer_bytes(&reader->texts) + place;
}

/* `head` ends with an empty line. */
static enum multipart_answer take_head(struct multipart *reader)
{
	const char *at = (const char *)buffer_bytes(&reader->head);
	const char *end = at + buffer_length(&reader->head) - 2;
	struct places places = { SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX };

	buffer_truncate(&reader->texts, 0);
	while (at < end) {
		const char *cr = memchr(at, '\r', (size_t)(end - at));
		struct field_text line = { at, (size_t)(cr - at) };

		if (cr[1] != '\n' || !take_line(reader, line, &places))
			return refuse(reader, "a malformed header of a part");
		at = cr + 2;
	}
	if (places.name == SIZE_MAX)
		return refuse(reader, "a part without a name");
	if (places.extended != SIZE_MAX)
		places.filename = places.extended;
	reader->part = (struct multipart_part){
		.name = text_at(reader, places.name),
		.filename = text_at(reader, places.filename),
		.type = text_at(reader, places.type),
	};
	buffer_truncate(&reader->head, 0);
	reader->state = STATE_DATA;
	/* What ends the head may be the line before the next boundary. */
	reader->matched = reader->unreal = 2;
	return MULTIPART_PART;
}

static bool head_is_complete(const struct buffer *head)
{
	const uint8_t *bytes = buffer_bytes(head);
	size_t length = buffer_length(head);

	if (length == 2)
		return memcmp(bytes, "\r\n", 2) == 0;
	return length >= 4 && memcmp(bytes + length - 4, "\r\n\r\n", 4) == 0;
}

/* Line by line, so that the end is looked for at the end alone. */
static enum multipart_answer read_head(struct multipart *reader,
				       const char *bytes, size_t length,
				       size_t *used)
{
	while (*used < length) {
		const char *start = bytes + *used;
		const char *lf = memchr(start, '\n', length - *used);
		size_t taken =
			lf != NULL ? (size_t)(lf - start) + 1 : length - *used;

		if (taken > MULTIPART_PART_HEAD_BYTES_MAX -
				    buffer_length(&reader->head))
			return refuse(reader,
				      "the headers of a part are too large");
		buffer_append(&reader->head, start, taken);
		*used += taken;
		if (head_is_complete(&reader->head))
			return take_head(reader);
	}
	return MULTIPART_MORE;
}

/* ---- Contents ---------------------------------------------------------------
 *
 * The delimiter begins with the one CR in it. So where what looked like it
 * turns out not to be, it can begin again no earlier than at the byte that was
 * wrong, and looking for it at each CR takes no more than the bytes between two
 * of them.
 */

static enum multipart_answer tell(struct multipart *reader, const char *data,
				  size_t length)
{
	reader->data = data;
	reader->data_length = length;
	return MULTIPART_DATA;
}

/* The first CR at which the delimiter begins, or may; or the end. */
static const char *find_candidate(const struct multipart *reader,
				  const char *at, const char *end)
{
	while (at < end &&
	       (at = memchr(at, '\r', (size_t)(end - at))) != NULL) {
		size_t left = (size_t)(end - at);

		if (memcmp(at, reader->boundary,
			   left < reader->boundary_length
				   ? left
				   : reader->boundary_length) == 0)
			return at;
		at++;
	}
	return end;
}

/* What was taken for the delimiter is content, or dropped. */
static enum multipart_answer give_up(struct multipart *reader)
{
	size_t unreal = reader->unreal;
	size_t length = reader->matched - unreal;

	reader->matched = reader->unreal = 0;
	if (length == 0 || reader->state == STATE_PREAMBLE)
		return MULTIPART_MORE;
	return tell(reader, reader->boundary + unreal, length);
}

static enum multipart_answer match(struct multipart *reader, const char *bytes,
				   size_t length, size_t *used)
{
	bool ends_part = reader->state == STATE_DATA;

	while (*used < length && reader->matched < reader->boundary_length) {
		if (bytes[*used] != reader->boundary[reader->matched])
			return give_up(reader);
		reader->matched++;
		(*used)++;
	}
	if (reader->matched < reader->boundary_length)
		return MULTIPART_MORE;
	reader->matched = reader->unreal = 0;
	reader->state = STATE_BEHIND;
	return ends_part ? MULTIPART_PART_END : MULTIPART_MORE;
}

static enum multipart_answer read_content(struct multipart *reader,
					  const char *bytes, size_t length,
					  size_t *used)
{
	if (reader->matched > 0)
		return match(reader, bytes, length, used);

	const char *at = bytes + *used;
	const char *stop = find_candidate(reader, at, bytes + length);

	*used += (size_t)(stop - at);
	if (*used < length) {
		reader->matched = 1;
		(*used)++;
	}
	if (stop == at || reader->state == STATE_PREAMBLE)
		return MULTIPART_MORE;
	return tell(reader, at, (size_t)(stop - at));
}

/* ---- Behind a delimiter ---- */

static enum multipart_answer move(struct multipart *reader, enum state state)
{
	reader->state = (uint8_t)state;
	return MULTIPART_MORE;
}

static enum multipart_answer read_behind(struct multipart *reader, char byte)
{
	bool is_blank = byte == ' ' || byte == '\t';

	if (reader->state == STATE_BEHIND && byte == '-')
		return move(reader, STATE_DASH);
	if (reader->state == STATE_DASH && byte == '-')
		return move(reader, STATE_EPILOGUE);
	if (reader->state == STATE_LF && byte == '\n')
		return move(reader, STATE_HEAD);
	if (reader->state == STATE_BEHIND || reader->state == STATE_PADDING) {
		if (byte == '\r')
			return move(reader, STATE_LF);
		if (is_blank)
			return move(reader, STATE_PADDING);
	}
	return refuse(reader, "a malformed boundary");
}

static enum multipart_answer read_some(struct multipart *reader,
				       const char *bytes, size_t length,
				       size_t *used)
{
	switch ((enum state)reader->state) {
	case STATE_PREAMBLE:
	case STATE_DATA:
		return read_content(reader, bytes, length, used);
	case STATE_BEHIND:
	case STATE_DASH:
	case STATE_PADDING:
	case STATE_LF:
		return read_behind(reader, bytes[(*used)++]);
	case STATE_HEAD:
		return read_head(reader, bytes, length, used);
	case STATE_EPILOGUE:
		*used = length;
		return MULTIPART_MORE;
	case STATE_FAILED:
		break;
	}
	return MULTIPART_REFUSED;
}

enum multipart_answer multipart_read(struct multipart *reader,
				     const char *bytes, size_t length,
				     size_t *used)
{
	enum multipart_answer answer = MULTIPART_MORE;

	*used = 0;
	while (answer == MULTIPART_MORE && *used < length)
		answer = read_some(reader, bytes, length, used);
	return answer;
}
