#include "server/gzip.h"

#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include "base/must.h"

#define GZIP_WINDOW (15 + 16) /* the largest, and gzip's frame around it */
#define GZIP_MEMORY 8

bool gzip_pack(const void *bytes, size_t length, int level, struct buffer *to)
{
	z_stream stream;
	size_t room = length - length / 20;

	if (room < 32 || length > UINT32_MAX)
		return false;
	memset(&stream, 0, sizeof(stream));
	if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	/* No more than what pays: where that is full, it does not. */
	stream.next_out = buffer_reserve(to, room);
	stream.avail_out = (uInt)room;
	stream.next_in = (z_const Bytef *)(uintptr_t)bytes;
	stream.avail_in = (uInt)length;
	int answer = deflate(&stream, Z_FINISH);
	size_t packed = room - stream.avail_out;

	DISCARD(deflateEnd(&stream)); /* Z_DATA_ERROR: it was not finished */
	if (answer != Z_STREAM_END)
		return false;
	buffer_extend(to, packed);
	return true;
}
