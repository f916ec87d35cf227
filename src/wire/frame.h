/*
 * frame - a piece of the channel between a primary and a worker.
 *
 *     u32 length | u16 type | u16 descriptors | payload, `length` bytes
 *
 * Little-endian. `descriptors` of those that came over the same socket belong
 * to the frame. docs/protocol.md has every type to the byte. No state, no I/O.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_BYTES 8
/* A message of MUSTER_MESSAGE_MAX, and no more. */
#define FRAME_PAYLOAD_MAX     ((size_t)16 * 1024 * 1024)
#define FRAME_DESCRIPTORS_MAX 64u

struct frame {
	uint16_t type;
	uint16_t descriptors;
	uint32_t length;
	const uint8_t *payload; /* in the bytes that were read */
};

enum frame_answer {
	FRAME_OK = 0,
	FRAME_MORE, /* not all of it is there yet */
};

/*
 * Reads the frame at the front. FRAME_MORE sets what the head tells (length 0
 * while the head is not complete). Fails with -EMSGSIZE (payload too long) and
 * -E2BIG (too many descriptors).
 */
int frame_read(const uint8_t *bytes, size_t length, struct frame *frame);
/* The bytes of a frame, head and payload. */
static inline size_t frame_bytes(const struct frame *frame)
{
	return FRAME_HEAD_BYTES + frame->length;
}

/* Writes a head to FRAME_HEAD_BYTES of room. */
void frame_write_head(uint8_t *room, uint16_t type, uint16_t descriptors,
		      uint32_t length);
