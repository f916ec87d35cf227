/*
 * envelope - a message between the servers of a cluster: who sent it, when,
 * and that it is his; docs/protocol.md has it to the byte.
 *
 * JSON text whose first member is an HMAC-SHA256 of all bytes after it. The
 * keys are derived from the cluster's token: only its holders can make one,
 * and everybody can read one. Whoever opens envelopes remembers the sequence
 * numbers of each sender (its id and boot nonce) on each lane, which is the
 * way that messages are numbered on: so a message is taken once, and what is
 * missing shows. No I/O; a book and its keys belong to one thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ENVELOPE_NAME_MAX    128 /* of an id, a nonce, a type */
#define ENVELOPE_CHANNEL_MAX 512 /* of a channel, a lane */
#define ENVELOPE_BODY_MAX    ((size_t)1 << 20)
#define ENVELOPE_HEAD_MAX    2560 /* all that is not the body */
#define ENVELOPE_DEPTH_MAX   64   /* of containers in the body */
#define ENVELOPE_SKEW_MS     30000
#define ENVELOPE_SENDERS_MAX 4096

/* Bytes with a length, no NUL. */
struct envelope_text {
	const char *data;
	size_t length;
};

/* Why an envelope is not taken. The names are stable words. */
#define ENVELOPE_REFUSALS(REFUSAL)                                             \
	REFUSAL(MALFORMED) /* not the format, or the body is no JSON value */  \
	REFUSAL(TOO_LARGE)                                                     \
	REFUSAL(TOO_DEEP)                                                      \
	REFUSAL(UNKNOWN_KEY) /* signed with a token that is not ours */        \
	REFUSAL(FORGED)      /* the signature is wrong */                      \
	REFUSAL(LATE)        /* older than 30 s, or our clock is ahead */      \
	REFUSAL(EARLY)       /* from more than 30 s ahead */                   \
	REFUSAL(REPLAYED)    /* taken before, or meant for another lane */

enum envelope_answer {
	ENVELOPE_TAKEN = 0,
#define ENVELOPE_ANSWER(NAME) ENVELOPE_##NAME,
	ENVELOPE_REFUSALS(ENVELOPE_ANSWER)
#undef ENVELOPE_ANSWER
		ENVELOPE_ANSWERS
};

const char *envelope_answer_name(enum envelope_answer answer);

/*
 * A type, and a name, is any UTF-8 without control bytes, '"' and '\'; neither
 * the type nor `from` nor `nonce` may be empty. After envelope_open() all
 * texts point into the bytes that were opened.
 */
struct envelope {
	struct envelope_text type; /* "messageType" */
	struct envelope_text from; /* "serverId" */
	struct envelope_text nonce;
	struct envelope_text lane;    /* empty: the general one */
	struct envelope_text channel; /* empty: none */
	struct envelope_text body;    /* one JSON value */
	/* For envelope_seal(): the body is known to be one, and not too deep.
	 */
	bool is_checked;
	uint64_t seq;   /* from 1, by sender and lane */
	uint64_t ts_ms; /* since 1970, by the store's clock */
	uint64_t kept;  /* from 1, of those of this sender on this channel that
			   are kept in its log; 0: it is in none */
	/* Filled by envelope_open(): how many of this sender and lane are
	 * missing between the last one taken and this; and that there was none
	 * before, so that nobody knows. */
	uint64_t missed;
	bool is_first;
};

/* ---- keys ---- */

struct envelope_keys;

/*
 * `scope` (the store's prefix) is mixed in: two clusters with one token do not
 * take each other's messages. The first token signs; the second, if any, is
 * accepted as well: the old one, or the coming one, while they are changed.
 */
struct envelope_keys *envelope_keys_new(const char *scope,
					struct envelope_text token,
					struct envelope_text second);
void envelope_keys_free(struct envelope_keys *keys); /* NULL is fine */

/* ---- sending ---- */

/*
 * Writes an envelope of `message` into `room` of `size` bytes and says how
 * long it is; ENVELOPE_HEAD_MAX and the body's length are always enough.
 * Negative: -EINVAL (a name is not one, or the body no JSON value), -EMSGSIZE
 * (the body is too long), -ELOOP (it is too deep).
 */
__attribute__((warn_unused_result)) ssize_t
envelope_seal(struct envelope_keys *keys, const struct envelope *message,
	      char *room, size_t size);

/* ---- receiving ---- */

struct envelope_book;

struct envelope_counters {
	uint64_t answers[ENVELOPE_ANSWERS];
	uint64_t missed;    /* sequence numbers that never came */
	uint64_t senders;   /* remembered now, one for each lane */
	uint64_t forgotten; /* that had to make room for others */
};

/* Remembers `senders_max` (0: ENVELOPE_SENDERS_MAX), those used last. The keys
 * must outlive it. */
struct envelope_book *envelope_book_new(struct envelope_keys *keys,
					size_t senders_max);
void envelope_book_free(struct envelope_book *book); /* NULL is fine */

/*
 * Checks, in this order: form, key, signature, time, lane and sequence number,
 * body. `now_ms` is the store's time; `lane` the one it came on. Only where it
 * answers ENVELOPE_TAKEN anything is remembered, and the body's depth is at
 * most ENVELOPE_DEPTH_MAX. *message is what the envelope says, true or not;
 * all of it empty where the form is wrong.
 */
enum envelope_answer envelope_open(struct envelope_book *book,
				   struct envelope_text bytes,
				   struct envelope_text lane, uint64_t now_ms,
				   struct envelope *message);

/*
 * Out of a log: of any time, and on any lane. Form, key, signature and body are
 * checked, and that it is one that is kept, on that channel. Nothing is
 * remembered: by `kept`, the caller knows what it has had.
 */
enum envelope_answer envelope_open_kept(const struct envelope_keys *keys,
					struct envelope_text bytes,
					struct envelope_text channel,
					struct envelope *message);

/* What is published on the lane from now on is not received: the next one of
 * each sender is_first again, and nothing is missed; though what was taken
 * before is still not taken again. */
void envelope_book_pause(struct envelope_book *book, struct envelope_text lane);

void envelope_book_counters(const struct envelope_book *book,
			    struct envelope_counters *counters);
