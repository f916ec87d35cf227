#include "wire/http1.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/must.h"
#include "wire/http1_internal.h"

#define METHOD_BYTES_MAX 32

enum state {
	STATE_START, /* before the first line: empty ones are passed over */
	STATE_START_LF,
	STATE_METHOD,
	STATE_TARGET,
	STATE_VERSION,
	STATE_LINE, /* first byte of a header, or of the end */
	STATE_NAME,
	STATE_VALUE,
	STATE_VALUE_LF,
	STATE_END_LF,
	STATE_DONE,
};

/* Headers that decide about the message, as met so far. */
enum seen {
	SEEN_HOST = 1,
	SEEN_LENGTH = 2,
	SEEN_CODING = 4,       /* Transfer-Encoding */
	SEEN_OTHER_CODING = 8, /* a coding besides chunked */
	SEEN_BAD_CODING = 16,  /* chunked twice, or not last */
	SEEN_CLOSE = 32,
	SEEN_KEEP_ALIVE = 64,
	SEEN_UPGRADE_OPTION = 128, /* Connection: upgrade */
};

enum step { STEP_ON, STEP_MORE, STEP_REFUSED };

struct reader {
	struct http1_head *head;
	struct http1_header *headers;
	const struct http1_limits *limits;
	const char *base;
	const char *at;
	const char *end; /* of what there is, or of what may be */
};

static enum step refuse(struct reader *reader, int status, const char *reason)
{
	reader->head->status = status;
	reader->head->reason = reason;
	return STEP_REFUSED;
}

static uint32_t offset(const struct reader *reader, const char *at)
{
	return (uint32_t)(at - reader->base);
}

static struct http1_span span(const struct reader *reader, const char *start,
			      const char *end)
{
	return (struct http1_span){ offset(reader, start),
				    (uint32_t)(end - start) };
}

/* ---- Runs of bytes of one class ------------------------------------------
 *
 * Each returns the first byte that does not belong to the run, or the end.
 */

static inline const char *skip(const char *at, const char *end, int classes)
{
	while (at < end && http1_is(*at, classes))
		at++;
	return at;
}

#ifdef __SSE2__
/* Most of the time goes into these three: sixteen bytes at a time, and the
 * last few one by one. */

static inline __m128i load(const char *at)
{
	return _mm_loadu_si128((const void *)at);
}

static inline __m128i is_byte(__m128i bytes, char byte)
{
	return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte));
}

static inline const char *skip_target(const char *at, const char *end)
{
	for (; end - at >= 16; at += 16) {
		__m128i bytes = load(at);
		/* As signed: what is not ASCII is below, too. */
		__m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x21));
		__m128i odd =
			_mm_or_si128(is_byte(bytes, '#'), is_byte(bytes, 0x7f));
		int stops = _mm_movemask_epi8(_mm_or_si128(low, odd));

		if (stops != 0)
			return at + __builtin_ctz((unsigned)stops);
	}
	return skip(at, end, CLASS_TARGET);
}

/* Stops at a tab, though it may be there. */
static inline const char *skip_value(const char *at, const char *end)
{
	const __m128i space = _mm_set1_epi8(0x20);

	for (; end - at >= 16; at += 16) {
		__m128i bytes = load(at);
		__m128i high =
			_mm_cmpeq_epi8(_mm_max_epu8(bytes, space), bytes);
		__m128i good = _mm_andnot_si128(is_byte(bytes, 0x7f), high);
		int run = _mm_movemask_epi8(good);

		if (run != 0xffff)
			return at + __builtin_ctz(~(unsigned)run);
	}
	while (at < end && http1_is(*at, CLASS_VALUE) && *at != '\t')
		at++;
	return at;
}

/* Letters and "-", of which names are made, are found together. */
static inline const char *skip_token(const char *at, const char *end)
{
	while (end - at >= 16) {
		__m128i bytes = load(at);
		__m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
		__m128i letter = _mm_sub_epi8(lower, _mm_set1_epi8('a'));
		__m128i is_letter = _mm_cmpeq_epi8(
			_mm_min_epu8(letter, _mm_set1_epi8(25)), letter);
		int run = _mm_movemask_epi8(
			_mm_or_si128(is_letter, is_byte(bytes, '-')));

		if (run == 0xffff) {
			at += 16;
			continue;
		}
		at += __builtin_ctz(~(unsigned)run);
		if (*at == ':' || !http1_is(*at, CLASS_TOKEN))
			return at;
		at++;
	}
	return skip(at, end, CLASS_TOKEN);
}
#else
static inline const char *skip_target(const char *at, const char *end)
{
	return skip(at, end, CLASS_TARGET);
}

static inline const char *skip_value(const char *at, const char *end)
{
	while (at < end && http1_is(*at, CLASS_VALUE) && *at != '\t')
		at++;
	return at;
}

static inline const char *skip_token(const char *at, const char *end)
{
	return skip(at, end, CLASS_TOKEN);
}
#endif

/* `lower` consists of lower case letters, digits and "-", and `text` of bytes
 * that may stand in a value. Not strncasecmp(), which asks the locale. */
static inline bool is_word(const char *text, const char *lower, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((text[i] | 0x20) != lower[i])
			return false;
	return true;
}

#define IS(text, literal) is_word(text, literal, sizeof(literal) - 1)
/* Of that length, too? */
#define IS_ALL(text, length, literal)                                          \
	((length) == sizeof(literal) - 1 && IS(text, literal))

static int lower(char byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

bool http1_is_name(const char *text, size_t length, const char *name,
		   size_t name_length)
{
	if (length != name_length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (lower(text[i]) != lower(name[i]))
			return false;
	return true;
}

bool http1_is_token(const char *text, size_t length)
{
	return length > 0 &&
	       skip(text, text + length, CLASS_TOKEN) == text + length;
}

bool http1_is_value(const char *text, size_t length)
{
	const char *end = text + length;

	while ((text = skip_value(text, end)) < end && *text == '\t')
		text++;
	return text == end;
}

/* ---- Request line ---- */

static enum step read_start(struct reader *reader)
{
	if (*reader->at == '\r') {
		reader->at++;
		reader->head->state = STATE_START_LF;
		return STEP_ON;
	}
	reader->head->token = offset(reader, reader->at);
	reader->head->state = STATE_METHOD;
	return STEP_ON;
}

static enum step read_lf(struct reader *reader, enum state next)
{
	if (*reader->at != '\n')
		return refuse(reader, 400, "a CR without LF");
	reader->at++;
	reader->head->state = (uint8_t)next;
	return STEP_ON;
}

static enum step read_method(struct reader *reader)
{
	const char *start = reader->base + reader->head->token;

	reader->at = skip(reader->at, reader->end, CLASS_TOKEN);
	if (reader->at - start > METHOD_BYTES_MAX)
		return refuse(reader, 501, "the method is too long");
	if (reader->at == reader->end)
		return STEP_MORE;
	if (*reader->at != ' ' || reader->at == start)
		return refuse(reader, 400, "malformed method");
	reader->head->method = span(reader, start, reader->at);
	reader->at++;
	reader->head->token = offset(reader, reader->at);
	reader->head->state = STATE_TARGET;
	return STEP_ON;
}

/* host [":" port], RFC 3986, 3.2.2 and 3.2.3; returns the end of the host, or
 * NULL. */
static const char *host_end(const char *text, const char *end)
{
	const char *at = text;

	if (at < end && *at == '[') {
		at++;
		while (at < end &&
		       (http1_is(*at, CLASS_HEX) || *at == ':' || *at == '.'))
			at++;
		if (at == text + 1 || at == end || *at != ']')
			return NULL;
		return at + 1;
	}
	for (; at < end && http1_is(*at, CLASS_HOST); at++)
		if (*at == '%' &&
		    (end - at < 3 || !http1_is(at[1], CLASS_HEX) ||
		     !http1_is(at[2], CLASS_HEX)))
			return NULL;
	return at;
}

static bool is_authority(const char *text, const char *end)
{
	const char *at = host_end(text, end);

	if (at == NULL)
		return false;
	if (at == end)
		return true;
	if (*at != ':' || end - at > 6)
		return false;
	return skip(at + 1, end, CLASS_DIGIT) == end;
}

static bool is_method(const struct reader *reader, const char *name,
		      size_t length)
{
	return reader->head->method.length == length &&
	       memcmp(reader->base + reader->head->method.start, name,
		      length) == 0;
}

/* The scheme's length, or 0. */
static size_t scheme_length(const char *text, size_t length)
{
	if (length > 7 && http1_is_name(text, 7, "http://", 7))
		return 7;
	if (length > 8 && http1_is_name(text, 8, "https://", 8))
		return 8;
	return 0;
}

static void split_path(struct reader *reader, const char *start,
		       const char *end)
{
	const char *mark = memchr(start, '?', (size_t)(end - start));

	reader->head->path = span(reader, start, mark != NULL ? mark : end);
	if (mark != NULL)
		reader->head->query = span(reader, mark + 1, end);
}

static bool take_absolute(struct reader *reader, const char *start,
			  const char *end)
{
	size_t scheme = scheme_length(start, (size_t)(end - start));
	const char *authority = start + scheme;
	const char *at = authority;

	if (scheme == 0)
		return false;
	while (at < end && *at != '/' && *at != '?')
		at++;
	if (at == authority || *authority == ':' ||
	    !is_authority(authority, at))
		return false;
	reader->head->form = HTTP1_ABSOLUTE;
	reader->head->host = span(reader, authority, at);
	split_path(reader, at, end);
	return true;
}

static bool take_authority(struct reader *reader, const char *start,
			   const char *end)
{
	const char *host = host_end(start, end);

	if (host == NULL || host == start || end - host < 2 ||
	    !is_authority(start, end))
		return false;
	reader->head->form = HTTP1_AUTHORITY;
	reader->head->host = span(reader, start, end);
	reader->head->path = span(reader, start, end);
	return true;
}

/* RFC 9112, 3.2: which form goes with which method. */
static bool take_target(struct reader *reader, const char *start,
			const char *end)
{
	reader->head->target = span(reader, start, end);
	if (is_method(reader, "CONNECT", 7))
		return take_authority(reader, start, end);
	if (*start == '/') {
		reader->head->form = HTTP1_ORIGIN;
		split_path(reader, start, end);
		return true;
	}
	if (*start == '*' && end - start == 1) {
		reader->head->form = HTTP1_ASTERISK;
		reader->head->path = span(reader, start, end);
		return is_method(reader, "OPTIONS", 7);
	}
	return take_absolute(reader, start, end);
}

static enum step read_target(struct reader *reader)
{
	const char *start = reader->base + reader->head->token;

	reader->at = skip_target(reader->at, reader->end);
	if (reader->at - start > reader->limits->url_bytes)
		return refuse(reader, 414, "the URL is too long");
	if (reader->at == reader->end)
		return STEP_MORE;
	if (*reader->at != ' ')
		return refuse(reader, 400, "malformed request line");
	if (reader->at == start || !take_target(reader, start, reader->at))
		return refuse(reader, 400, "malformed request target");
	reader->at++;
	reader->head->token = offset(reader, reader->at);
	reader->head->state = STATE_VERSION;
	return STEP_ON;
}

/* Byte by byte, for what is wrong or in pieces. */
static enum step read_version_slowly(struct reader *reader)
{
	static const char pattern[] = "HTTP/1.1\r\n";
	const char *start = reader->base + reader->head->token;

	for (; reader->at < reader->end; reader->at++) {
		char byte = *reader->at;
		size_t i = (size_t)(reader->at - start);

		if (i == 5 || i == 7) {
			if (!http1_is(byte, CLASS_DIGIT))
				return refuse(reader, 400, "malformed version");
		} else if (byte != pattern[i]) {
			return refuse(reader, 400, "malformed request line");
		}
		if (i == 7 && start[5] != '1')
			return refuse(reader, 505, "not HTTP/1");
		if (i == 7)
			reader->head->minor_version = start[7] != '0';
		if (i == 9) {
			reader->at++;
			reader->head->state = STATE_LINE;
			return STEP_ON;
		}
	}
	return STEP_MORE;
}

static enum step read_version(struct reader *reader)
{
	const char *start = reader->base + reader->head->token;

	if (reader->at != start || reader->end - start < 10 ||
	    memcmp(start, "HTTP/1.1\r\n", 10) != 0)
		return read_version_slowly(reader);
	reader->head->minor_version = 1;
	reader->at += 10;
	reader->head->state = STATE_LINE;
	return STEP_ON;
}

/* ---- Headers ---- */

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* The next element of a comma-separated list, trimmed; false at its end. An
 * empty element is one too. */
static bool next_element(const char **at, const char *end, const char **element,
			 size_t *length)
{
	if (*at > end)
		return false;
	const char *start = *at;
	const char *comma = memchr(start, ',', (size_t)(end - start));
	const char *stop = comma != NULL ? comma : end;

	*at = stop + 1;
	while (start < stop && is_blank(*start))
		start++;
	while (stop > start && is_blank(stop[-1]))
		stop--;
	*element = start;
	*length = (size_t)(stop - start);
	return true;
}

static enum step take_host(struct reader *reader, const char *value,
			   const char *end)
{
	struct http1_head *head = reader->head;

	if ((head->seen & SEEN_HOST) != 0)
		return refuse(reader, 400, "more than one Host");
	head->seen |= SEEN_HOST;
	if (!is_authority(value, end))
		return refuse(reader, 400, "malformed Host");
	/* RFC 9112, 3.2.2: the target's own host goes before. */
	if (head->form == HTTP1_ORIGIN || head->form == HTTP1_ASTERISK)
		head->host = span(reader, value, end);
	return STEP_ON;
}

static enum step take_length(struct reader *reader, const char *value,
			     const char *end)
{
	struct http1_head *head = reader->head;
	uint64_t length = 0;

	/* Equal ones could be taken as one (RFC 9110, 8.6), but nobody
	 * honest sends them. */
	if ((head->seen & SEEN_LENGTH) != 0)
		return refuse(reader, 400, "more than one Content-Length");
	head->seen |= SEEN_LENGTH;
	if (value == end || skip(value, end, CLASS_DIGIT) != end)
		return refuse(reader, 400, "malformed Content-Length");
	for (; value < end; value++) {
		uint64_t digit = (uint64_t)(*value - '0');

		if (__builtin_mul_overflow(length, 10, &length) ||
		    __builtin_add_overflow(length, digit, &length)) {
			length = UINT64_MAX;
			break;
		}
	}
	head->content_length = length;
	return STEP_ON;
}

/* Judged at the end of the head, as there may be several. */
static enum step take_coding(struct reader *reader, const char *value,
			     const char *end)
{
	struct http1_head *head = reader->head;
	const char *element;
	size_t length;

	head->seen |= SEEN_CODING;
	while (next_element(&value, end, &element, &length)) {
		/* Something after chunked, be it chunked. */
		if (head->is_chunked)
			head->seen |= SEEN_BAD_CODING;
		if (IS_ALL(element, length, "chunked"))
			head->is_chunked = true;
		else
			head->seen |= SEEN_OTHER_CODING;
	}
	return STEP_ON;
}

static enum step take_connection(struct reader *reader, const char *value,
				 const char *end)
{
	struct http1_head *head = reader->head;
	const char *element;
	size_t length;

	while (next_element(&value, end, &element, &length)) {
		if (IS_ALL(element, length, "close"))
			head->seen |= SEEN_CLOSE;
		else if (IS_ALL(element, length, "keep-alive"))
			head->seen |= SEEN_KEEP_ALIVE;
		else if (IS_ALL(element, length, "upgrade"))
			head->seen |= SEEN_UPGRADE_OPTION;
	}
	return STEP_ON;
}

static enum step take_header(struct reader *reader, const char *name,
			     size_t name_length, const char *value,
			     const char *end)
{
	switch (name_length) {
	case 4:
		if (IS(name, "host"))
			return take_host(reader, value, end);
		break;
	case 6:
		if (IS(name, "expect") &&
		    IS_ALL(value, (size_t)(end - value), "100-continue"))
			reader->head->expects_continue = true;
		break;
	case 7:
		if (IS(name, "upgrade") && value < end)
			reader->head->wants_upgrade = true;
		break;
	case 10:
		if (IS(name, "connection"))
			return take_connection(reader, value, end);
		break;
	case 14:
		if (IS(name, "content-length"))
			return take_length(reader, value, end);
		break;
	case 17:
		if (IS(name, "transfer-encoding"))
			return take_coding(reader, value, end);
		break;
	default:
		break;
	}
	return STEP_ON;
}

static enum step read_name(struct reader *reader)
{
	struct http1_head *head = reader->head;
	const char *start = reader->base + head->token;

	reader->at = skip_token(reader->at, reader->end);
	if (reader->at == reader->end)
		return STEP_MORE;
	if (*reader->at != ':' || reader->at == start)
		return refuse(reader, 400, "malformed header name");
	head->name = span(reader, start, reader->at);
	reader->at++;
	head->token = offset(reader, reader->at);
	head->state = STATE_VALUE;
	return STEP_ON;
}

static enum step read_value(struct reader *reader)
{
	for (;;) {
		reader->at = skip_value(reader->at, reader->end);
		if (reader->at == reader->end)
			return STEP_MORE;
		if (*reader->at != '\t')
			break;
		reader->at++;
	}
	if (*reader->at != '\r')
		return refuse(reader, 400,
			      *reader->at == '\n'
				      ? "an LF without CR"
				      : "a control character in a header");
	reader->at++;
	reader->head->state = STATE_VALUE_LF;
	return STEP_ON;
}

__attribute__((always_inline)) static inline enum step
add_header(struct reader *reader, struct http1_span name, const char *value,
	   const char *end)
{
	struct http1_head *head = reader->head;

	while (value < end && is_blank(*value))
		value++;
	while (end > value && is_blank(end[-1]))
		end--;
	reader->headers[head->header_count++] =
		(struct http1_header){ name, span(reader, value, end) };
	return take_header(reader, reader->base + name.start, name.length,
			   value, end);
}

static enum step read_value_lf(struct reader *reader)
{
	struct http1_head *head = reader->head;

	if (*reader->at != '\n')
		return refuse(reader, 400, "a CR without LF");
	reader->at++;
	head->state = STATE_LINE;
	return add_header(reader, head->name, reader->base + head->token,
			  reader->at - 2);
}

/* Whole lines that are as they should be, at once. The first that is not is
 * left to the states, which know what is wrong or missing. */
static enum step read_plain_lines(struct reader *reader)
{
	struct http1_head *head = reader->head;
	enum step step = STEP_ON;

	while (step == STEP_ON &&
	       head->header_count < reader->limits->headers) {
		const char *name = reader->at;
		const char *colon = skip_token(name, reader->end);

		if (colon == reader->end || *colon != ':' || colon == name)
			break;
		const char *end = skip_value(colon + 1, reader->end);

		if (reader->end - end < 2 || end[0] != '\r' || end[1] != '\n')
			break;
		reader->at = end + 2;
		step = add_header(reader, span(reader, name, colon), colon + 1,
				  end);
	}
	return step;
}

/* At the start of one. */
static enum step read_line(struct reader *reader)
{
	struct http1_head *head = reader->head;
	enum step step = read_plain_lines(reader);

	if (step != STEP_ON)
		return step;
	if (reader->at == reader->end)
		return STEP_MORE;
	if (*reader->at == '\r') {
		reader->at++;
		head->state = STATE_END_LF;
		return STEP_ON;
	}
	if (is_blank(*reader->at))
		return refuse(reader, 400, "a folded header");
	if (head->header_count == reader->limits->headers)
		return refuse(reader, 431, "too many headers");
	head->token = offset(reader, reader->at);
	head->state = STATE_NAME;
	return STEP_ON;
}

/* ---- The whole ---- */

static enum step judge_coding(struct reader *reader)
{
	struct http1_head *head = reader->head;

	if (head->minor_version == 0)
		return refuse(reader, 400, "Transfer-Encoding in HTTP/1.0");
	if ((head->seen & SEEN_LENGTH) != 0)
		return refuse(reader, 400,
			      "both Content-Length and Transfer-Encoding");
	if ((head->seen & SEEN_BAD_CODING) != 0 || !head->is_chunked)
		return refuse(reader, 400, "chunked must come once, and last");
	if ((head->seen & SEEN_OTHER_CODING) != 0)
		return refuse(reader, 501, "unknown transfer coding");
	return STEP_ON;
}

static enum step finish(struct reader *reader)
{
	struct http1_head *head = reader->head;

	if (*reader->at != '\n')
		return refuse(reader, 400, "a CR without LF");
	reader->at++;
	head->length = offset(reader, reader->at);
	head->state = STATE_DONE;
	if (head->minor_version > 0 && (head->seen & SEEN_HOST) == 0)
		return refuse(reader, 400, "no Host");
	if ((head->seen & SEEN_UPGRADE_OPTION) == 0)
		head->wants_upgrade = false;
	if (head->minor_version > 0) {
		head->is_keep_alive = (head->seen & SEEN_CLOSE) == 0;
	} else {
		/* RFC 9110, 10.1.1 and 7.8: ignored from HTTP/1.0. */
		head->expects_continue = head->wants_upgrade = false;
		head->is_keep_alive = (head->seen & SEEN_KEEP_ALIVE) != 0 &&
				      (head->seen & SEEN_CLOSE) == 0;
	}
	if ((head->seen & SEEN_CODING) != 0)
		return judge_coding(reader);
	return STEP_ON;
}

static enum step read_some(struct reader *reader)
{
	switch ((enum state)reader->head->state) {
	case STATE_START:
		return read_start(reader);
	case STATE_START_LF:
		return read_lf(reader, STATE_START);
	case STATE_METHOD:
		return read_method(reader);
	case STATE_TARGET:
		return read_target(reader);
	case STATE_VERSION:
		return read_version(reader);
	case STATE_LINE:
		return read_line(reader);
	case STATE_NAME:
		return read_name(reader);
	case STATE_VALUE:
		return read_value(reader);
	case STATE_VALUE_LF:
		return read_value_lf(reader);
	case STATE_END_LF:
		return finish(reader);
	case STATE_DONE:
		break;
	}
	must_fail("a head is read once", __FILE__, __LINE__);
}

enum http1_answer http1_head_read(struct http1_head *head,
				  struct http1_header *headers,
				  const struct http1_limits *limits,
				  const char *bytes, size_t length)
{
	bool is_at_limit = length >= limits->head_bytes;
	struct reader reader = {
		.head = head,
		.headers = headers,
		.limits = limits,
		.base = bytes,
		.at = bytes + head->at,
		.end = bytes + (is_at_limit ? limits->head_bytes : length),
	};
	enum step step = STEP_ON;

	while (step == STEP_ON && head->state != STATE_DONE)
		step = reader.at < reader.end ? read_some(&reader) : STEP_MORE;
	head->at = offset(&reader, reader.at);
	if (step == STEP_ON)
		return HTTP1_DONE;
	if (step == STEP_REFUSED)
		return HTTP1_REFUSED;
	if (!is_at_limit)
		return HTTP1_MORE;
	if (head->state == STATE_TARGET)
		refuse(&reader, 414, "the URL is too long");
	else
		refuse(&reader, 431, "the headers are too large");
	return HTTP1_REFUSED;
}
