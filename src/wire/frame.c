#include "wire/frame.h"

#include <errno.h>

#include "base/must.h"
#include "wire/bytes.h"

int frame_read(const uint8_t *bytes, size_t length, struct frame *frame)
{
	*frame = (struct frame){ 0 };
	if (length < FRAME_HEAD_BYTES)
		return FRAME_MORE;
	frame->length = bytes_u32(bytes);
	frame->type = bytes_u16(bytes + 4);
	frame->descriptors = bytes_u16(bytes + 6);
	if (frame->length > FRAME_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (frame->descriptors > FRAME_DESCRIPTORS_MAX)
		return -E2BIG;
	if (length - FRAME_HEAD_BYTES < frame->length)
		return FRAME_MORE;
	frame->payload = bytes + FRAME_HEAD_BYTES;
	return FRAME_OK;
}

void frame_write_head(uint8_t *room, uint16_t type, uint16_t descriptors,
		      uint32_t length)
{
	MUST(length <= FRAME_PAYLOAD_MAX);
	MUST(descriptors <= FRAME_DESCRIPTORS_MAX);
	bytes_put_u32(room, length);
	bytes_put_u16(room + 4, type);
	bytes_put_u16(room + 6, descriptors);
}
