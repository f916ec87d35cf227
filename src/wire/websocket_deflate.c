#include "wire/websocket_deflate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
/* Its next_in is const then, as what it points to is. */
#define ZLIB_CONST
#include <zlib.h>

#include "base/mem.h"
#include "base/must.h"

#define MEMORY_LEVEL 8
#define STEP_BYTES   16384

/* Every message ends with an empty block, whose last bytes are left out. */
static const uint8_t tail[4] = { 0, 0, 0xff, 0xff };

/* ---- Terms ---- */

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

/* A word of RFC 9110's token characters. */
static size_t token_length(const char *at)
{
	return strspn(at, "!#$%&'*+-.^_`|~0123456789"
			  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			  "abcdefghijklmnopqrstuvwxyz");
}

static bool is_word(const char *at, size_t length, const char *word)
{
	return strlen(word) == length && strncasecmp(at, word, length) == 0;
}

/* "; name" or "; name=value", whose value may stand in quotes. */
struct parameter {
	const char *name;
	size_t name_length;
	const char *value; /* NULL: none */
	size_t value_length;
};

/* 1: there is one, 0: there is none, -1: malformed. */
static int next_parameter(const char **at, struct parameter *parameter)
{
	*at = skip_space(*at);
	if (**at != ';')
		return **at == ',' || **at == '\0' ? 0 : -1;
	*at = skip_space(*at + 1);
	*parameter = (struct parameter){ .name = *at,
					 .name_length = token_length(*at) };
	if (parameter->name_length == 0)
		return -1;
	*at = skip_space(*at + parameter->name_length);
	if (**at != '=')
		return 1;
	*at = skip_space(*at + 1);
	bool is_quoted = **at == '"';

	*at += is_quoted;
	parameter->value = *at;
	parameter->value_length = token_length(*at);
	*at += parameter->value_length;
	if (parameter->value_length == 0 || (is_quoted && **at != '"'))
		return -1;
	*at += is_quoted;
	return 1;
}

/* 8 to 15, without zeroes in front; 0: it is none. */
static unsigned bits_of(const struct parameter *parameter)
{
	const char *value = parameter->value;

	if (value == NULL)
		return 0;
	if (parameter->value_length == 1)
		return value[0] == '8' || value[0] == '9'
			       ? (unsigned)(value[0] - '0')
			       : 0;
	if (parameter->value_length == 2 && value[0] == '1' &&
	    value[1] >= '0' && value[1] <= '5')
		return 10 + (unsigned)(value[1] - '0');
	return 0;
}

enum {
	SEEN_SERVER_KEEPS = 1,
	SEEN_CLIENT_KEEPS = 2,
	SEEN_SERVER_BITS = 4,
	SEEN_CLIENT_BITS = 8,
};

/* What it says, once; 0: it is not to be taken. */
static unsigned take_parameter(const struct parameter *parameter,
			       struct websocket_terms *terms)
{
	const char *name = parameter->name;
	size_t length = parameter->name_length;
	bool has_value = parameter->value != NULL;
	unsigned bits = bits_of(parameter);

	if (is_word(name, length, "server_no_context_takeover") && !has_value) {
		terms->server_keeps = false;
		return SEEN_SERVER_KEEPS;
	}
	if (is_word(name, length, "client_no_context_takeover") && !has_value) {
		terms->client_keeps = false;
		return SEEN_CLIENT_KEEPS;
	}
	/* zlib has no raw window of 8 bits. */
	if (is_word(name, length, "server_max_window_bits") && bits >= 9) {
		terms->server_bits = (uint8_t)bits;
		return SEEN_SERVER_BITS;
	}
	if (is_word(name, length, "client_max_window_bits") &&
	    (!has_value || bits > 0))
		return SEEN_CLIENT_BITS;
	return 0;
}

/* Reads one offer. 1: it can be taken, 0: it cannot, -1: malformed. */
static int read_offer(const char **at, bool may_keep,
		      struct websocket_terms *terms)
{
	struct parameter parameter;
	unsigned seen = 0;
	bool is_good;
	int answer;

	*at = skip_space(*at);
	size_t length = token_length(*at);

	if (length == 0)
		return -1;
	is_good = is_word(*at, length, "permessage-deflate");
	*at += length;
	*terms = (struct websocket_terms){ may_keep, may_keep,
					   WEBSOCKET_WINDOW_BITS };
	while ((answer = next_parameter(at, &parameter)) > 0) {
		unsigned what = is_good ? take_parameter(&parameter, terms) : 0;

		is_good = is_good && what != 0 && (seen & what) == 0;
		seen |= what;
	}
	return answer < 0 ? -1 : is_good;
}

bool websocket_terms_choose(const char *offers, bool may_keep,
			    struct websocket_terms *terms)
{
	for (;;) {
		int answer = read_offer(&offers, may_keep, terms);

		if (answer != 0)
			return answer > 0;
		if (*offers++ != ',')
			return false;
	}
}

void websocket_terms_write(const struct websocket_terms *terms,
			   char text[WEBSOCKET_TERMS_BYTES])
{
	char bits[32] = "";

	if (terms->server_bits < WEBSOCKET_WINDOW_BITS)
		snprintf(bits, sizeof(bits), "; server_max_window_bits=%u",
			 terms->server_bits);
	snprintf(text, WEBSOCKET_TERMS_BYTES, "permessage-deflate%s%s%s",
		 terms->server_keeps ? "" : "; server_no_context_takeover",
		 terms->client_keeps ? "" : "; client_no_context_takeover",
		 bits);
}

/* ---- Deflating ---- */

struct websocket_deflater {
	z_stream stream;
};

struct websocket_deflater *websocket_deflater_new(unsigned window_bits)
{
	struct websocket_deflater *deflater = mem_zalloc(sizeof(*deflater));

	/* Negative: without zlib's own head and tail. */
	MUST(deflateInit2(&deflater->stream, Z_BEST_SPEED, Z_DEFLATED,
			  -(int)window_bits, MEMORY_LEVEL,
			  Z_DEFAULT_STRATEGY) == Z_OK);
	return deflater;
}

void websocket_deflater_free(struct websocket_deflater *deflater)
{
	if (deflater == NULL)
		return;
	deflateEnd(&deflater->stream);
	free(deflater);
}

void websocket_deflate(struct websocket_deflater *deflater, const void *bytes,
		       size_t length, bool keeps, struct buffer *to)
{
	z_stream *stream = &deflater->stream;

	MUST(length <= UINT32_MAX);
	stream->next_in = bytes;
	stream->avail_in = (uInt)length;
	do {
		stream->next_out = buffer_reserve(to, STEP_BYTES);
		stream->avail_out = STEP_BYTES;
		int answer = deflate(stream, Z_SYNC_FLUSH);

		MUST(answer == Z_OK || answer == Z_BUF_ERROR);
		buffer_extend(to, STEP_BYTES - stream->avail_out);
	} while (stream->avail_out == 0);
	/* Nothing to flush, which zlib will not do twice: an empty block is
	 * as good. */
	if (length == 0) {
		buffer_append(to, "", 1);
	} else {
		MUST(buffer_length(to) >= sizeof(tail));
		buffer_truncate(to, buffer_length(to) - sizeof(tail));
	}
	if (!keeps)
		MUST(deflateReset(stream) == Z_OK);
}

/* ---- Inflating ---- */

struct websocket_inflater {
	z_stream stream;
};

struct websocket_inflater *websocket_inflater_new(void)
{
	struct websocket_inflater *inflater = mem_zalloc(sizeof(*inflater));

	MUST(inflateInit2(&inflater->stream, -WEBSOCKET_WINDOW_BITS) == Z_OK);
	return inflater;
}

void websocket_inflater_free(struct websocket_inflater *inflater)
{
	if (inflater == NULL)
		return;
	inflateEnd(&inflater->stream);
	free(inflater);
}

/* All of the input, to `room` bytes and one. */
static int inflate_part(z_stream *stream, const void *bytes, size_t length,
			uint64_t *room, struct buffer *to)
{
	stream->next_in = bytes;
	stream->avail_in = (uInt)length;
	for (;;) {
		uInt step = *room < STEP_BYTES ? (uInt)*room + 1 : STEP_BYTES;

		stream->next_out = buffer_reserve(to, step);
		stream->avail_out = step;
		int answer = inflate(stream, Z_SYNC_FLUSH);
		uInt got = step - stream->avail_out;

		if (answer != Z_OK && answer != Z_BUF_ERROR &&
		    answer != Z_STREAM_END)
			return -EPROTO;
		if (got > *room)
			return -EMSGSIZE;
		buffer_extend(to, got);
		*room -= got;
		/* A sender may end its stream and begin another one. */
		if (answer == Z_STREAM_END && inflateReset(stream) != Z_OK)
			return -EPROTO;
		if (stream->avail_in == 0 && stream->avail_out > 0)
			return 0;
		if (answer == Z_BUF_ERROR && got == 0)
			return stream->avail_in == 0 ? 0 : -EPROTO;
	}
}

int websocket_inflate(struct websocket_inflater *inflater, const void *bytes,
		      size_t length, uint64_t max, bool keeps,
		      struct buffer *to)
{
	z_stream *stream = &inflater->stream;
	uint64_t room = max;

	MUST(length <= UINT32_MAX);
	int error = inflate_part(stream, bytes, length, &room, to);

	if (error == 0)
		error = inflate_part(stream, tail, sizeof(tail), &room, to);
	if (!keeps || error < 0)
		MUST(inflateReset(stream) == Z_OK);
	return error;
}
