/*
 * channel_bench - both sides of a channel, on one loop. The other side is a
 * channel as well, or a bare socket with bytes that no channel would send.
 */
#pragma once
#include "base/problem.h"
#include "cluster/channel.h"
#include "loop_bench.h"
#include "wire/messages.h"

/* A channel and what it told. */
struct side {
	struct channel *channel;
	char told[4096]; /* "PING 1", a line each; content as it is */
	size_t messages;
	size_t bytes;
	uint32_t sum; /* of all content */
	size_t ends;
	struct problem problem;
	size_t drained;
	int kept[256]; /* descriptors that were taken */
	size_t kept_count;
	bool closes_on_message;
	bool closes_on_end;
	bool closes_on_drained;
	enum message_type awaits; /* on a PING, within the callback */
	int await_answer;
	int passes_over; /* so many awaited messages are not the right one */
	bool is_calling;
	bool was_called_within; /* a callback while another one ran */
};

/* Of the test that runs; a test opens the sides that it wants. */
extern struct loop_bench bench;
extern struct side here;
extern struct side there;
extern int ends[2]; /* -1: a side has it */

/* Sent before the wait within a callback begins; -1: nothing. */
extern int late_descriptor;
extern const uint8_t *late_bytes;
extern size_t late_length;

/* For cmocka. */
int channel_set_up(void **state);
int channel_tear_down(void **state);

void open_side(struct side *side, int *end);
void open_both(void);
void close_side(struct side *side);

void ping(struct side *side, uint32_t number);
void pong(struct side *side, uint32_t number);
int send_text(struct side *side, const char *text);
int send_much(struct side *side, size_t length, uint8_t seed);

/* The next of that type, which is told behind "awaited". */
int await(struct side *side, enum message_type type, int timeout_ms);

/* Until nothing is left to be received. */
void empty(int descriptor);
/* Raw bytes, to the bare socket. */
void send_raw(const void *bytes, size_t length);
void send_raw_head(uint32_t length, uint16_t type, uint16_t descriptors);
/* False: there is no room. */
bool send_raw_descriptors(const void *bytes, size_t length, size_t count);

/* The side here ends, once, with that problem; NULL: of any name. */
void await_problem(const char *name, int code);
