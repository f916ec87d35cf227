#include <string.h>

#include "base/must.h"
#include "wire/http1.h"
#include "wire/http1_internal.h"

/* Nobody needs either; a sender that pads every byte with an extension is
 * after our time. */
#define EXTENSION_BYTES_MAX 4096
#define TRAILER_BYTES_MAX   8192
#define SIZE_DIGITS_MAX     16

enum state {
	STATE_SIZE,
	STATE_EXTENSION,
	STATE_SIZE_LF,
	STATE_DATA,
	STATE_DATA_CR,
	STATE_DATA_LF,
	STATE_TRAILER, /* first byte of a trailer, or of the end */
	STATE_TRAILER_NAME,
	STATE_TRAILER_VALUE,
	STATE_TRAILER_LF,
	STATE_END_LF,
	STATE_DONE,
};

static enum http1_answer refuse(struct http1_chunks *chunks, int status,
				const char *reason)
{
	chunks->status = status;
	chunks->reason = reason;
	return HTTP1_REFUSED;
}

static enum http1_answer move(struct http1_chunks *chunks, enum state next)
{
	chunks->state = (uint8_t)next;
	return HTTP1_MORE;
}

static enum http1_answer read_size(struct http1_chunks *chunks, char byte)
{
	if (http1_is(byte, CLASS_HEX)) {
		if (chunks->digits == SIZE_DIGITS_MAX)
			return refuse(chunks, 400, "chunk size too long");
		chunks->digits++;
		chunks->left <<= 4;
		chunks->left |=
			(uint64_t)(byte <= '9' ? byte - '0'
					       : (byte | 32) - 'a' + 10);
		return HTTP1_MORE;
	}
	if (chunks->digits == 0)
		return refuse(chunks, 400, "malformed chunk size");
	if (byte == '\r')
		return move(chunks, STATE_SIZE_LF);
	/* No blanks before it, though RFC 9112, 7.1.1 lets them be read. */
	if (byte == ';')
		return move(chunks, STATE_EXTENSION);
	return refuse(chunks, 400, "malformed chunk size");
}

static enum http1_answer read_extension(struct http1_chunks *chunks, char byte)
{
	if (byte == '\r')
		return move(chunks, STATE_SIZE_LF);
	if (!http1_is(byte, CLASS_VALUE))
		return refuse(chunks, 400, "malformed chunk extension");
	if (++chunks->extension > EXTENSION_BYTES_MAX)
		return refuse(chunks, 400, "chunk extensions too long");
	return HTTP1_MORE;
}

static enum http1_answer read_lf(struct http1_chunks *chunks, char byte,
				 enum state next)
{
	if (byte != '\n')
		return refuse(chunks, 400, "a CR without LF");
	return move(chunks, next);
}

static enum http1_answer read_data_cr(struct http1_chunks *chunks, char byte)
{
	if (byte != '\r')
		return refuse(chunks, 400, "a chunk longer than its size");
	chunks->digits = 0;
	return move(chunks, STATE_DATA_LF);
}

static enum http1_answer read_trailer(struct http1_chunks *chunks, char byte)
{
	if (byte == '\r')
		return move(chunks, STATE_END_LF);
	if (!http1_is(byte, CLASS_TOKEN))
		return refuse(chunks, 400, "malformed trailer");
	return move(chunks, STATE_TRAILER_NAME);
}

static enum http1_answer read_trailer_name(struct http1_chunks *chunks,
					   char byte)
{
	if (byte == ':')
		return move(chunks, STATE_TRAILER_VALUE);
	if (!http1_is(byte, CLASS_TOKEN))
		return refuse(chunks, 400, "malformed trailer");
	return HTTP1_MORE;
}

static enum http1_answer read_trailer_value(struct http1_chunks *chunks,
					    char byte)
{
	if (byte == '\r')
		return move(chunks, STATE_TRAILER_LF);
	if (!http1_is(byte, CLASS_VALUE))
		return refuse(chunks, 400, "malformed trailer");
	return HTTP1_MORE;
}

static enum http1_answer read_byte(struct http1_chunks *chunks, char byte)
{
	if (chunks->state >= STATE_TRAILER &&
	    ++chunks->trailer > TRAILER_BYTES_MAX)
		return refuse(chunks, 431, "trailers too long");
	switch ((enum state)chunks->state) {
	case STATE_SIZE:
		return read_size(chunks, byte);
	case STATE_EXTENSION:
		return read_extension(chunks, byte);
	case STATE_SIZE_LF:
		return read_lf(chunks, byte,
			       chunks->left > 0 ? STATE_DATA : STATE_TRAILER);
	case STATE_DATA_CR:
		return read_data_cr(chunks, byte);
	case STATE_DATA_LF:
		return read_lf(chunks, byte, STATE_SIZE);
	case STATE_TRAILER:
		return read_trailer(chunks, byte);
	case STATE_TRAILER_NAME:
		return read_trailer_name(chunks, byte);
	case STATE_TRAILER_VALUE:
		return read_trailer_value(chunks, byte);
	case STATE_TRAILER_LF:
		return read_lf(chunks, byte, STATE_TRAILER);
	case STATE_END_LF:
		return read_lf(chunks, byte, STATE_DONE);
	case STATE_DATA:
	case STATE_DONE:
		break;
	}
	must_fail("a body is read once", __FILE__, __LINE__);
}

static size_t take_data(struct http1_chunks *chunks, size_t available)
{
	size_t length =
		available < chunks->left ? available : (size_t)chunks->left;

	chunks->left -= length;
	if (chunks->left == 0)
		chunks->state = STATE_DATA_CR;
	return length;
}

enum http1_answer http1_chunks_read(struct http1_chunks *chunks,
				    const char *bytes, size_t length,
				    size_t *used, size_t *data_length)
{
	enum http1_answer answer = HTTP1_MORE;
	size_t at = 0;

	*data_length = 0;
	while (at < length && answer == HTTP1_MORE) {
		if (chunks->state == STATE_DATA) {
			*data_length = take_data(chunks, length - at);
			at += *data_length;
			answer = HTTP1_DATA;
		} else {
			answer = read_byte(chunks, bytes[at++]);
			if (chunks->state == STATE_DONE)
				answer = HTTP1_DONE;
		}
	}
	*used = at;
	return answer;
}
