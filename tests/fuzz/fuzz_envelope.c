/*
 * Any bytes as an envelope, and any bytes as what is put into one.
 *
 * The first byte says which. 0: the rest is opened as it is; without the token
 * nobody makes one that is taken. Else the rest is cut at its zero bytes into
 * type, sender, nonce, lane, channel and body; if that can be sealed it is
 * taken, once, as it was; and not with a bit changed, which the first byte
 * picks.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/envelope.h"

#define NOW_MS UINT64_C(1700000000000)
#define PARTS  6

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static struct envelope_keys *keys;

static enum envelope_answer open_copy(struct envelope_book *book,
				      const char *bytes, size_t length,
				      struct envelope_text lane)
{
	struct envelope opened;
	char *exact = mem_copy(bytes, length);
	enum envelope_answer answer =
		envelope_open(book, (struct envelope_text){ exact, length },
			      lane, NOW_MS, &opened);

	free(exact);
	return answer;
}

static void open_any(const uint8_t *bytes, size_t length)
{
	struct envelope_book *book = envelope_book_new(keys, 0);
	const struct envelope_text lane = { "", 0 };

	MUST(open_copy(book, (const char *)bytes, length, lane) !=
	     ENVELOPE_TAKEN);
	envelope_book_free(book);
}

static void check_same(struct envelope_text a, struct envelope_text b)
{
	MUST(a.length == b.length &&
	     (a.length == 0 || memcmp(a.data, b.data, a.length) == 0));
}

static void check_opened(struct envelope_book *book, const char *room,
			 size_t length, const struct envelope *message)
{
	const struct envelope_text text = { room, length };
	struct envelope opened;

	MUST(envelope_open(book, text, message->lane, NOW_MS, &opened) ==
	     ENVELOPE_TAKEN);
	check_same(opened.type, message->type);
	check_same(opened.from, message->from);
	check_same(opened.nonce, message->nonce);
	check_same(opened.lane, message->lane);
	check_same(opened.channel, message->channel);
	check_same(opened.body, message->body);
	MUST(opened.seq == message->seq && opened.ts_ms == message->ts_ms &&
	     opened.kept == message->kept);
	MUST(envelope_open(book, text, message->lane, NOW_MS, &opened) ==
	     ENVELOPE_REPLAYED);
	MUST((envelope_open_kept(keys, text, message->channel, &opened) ==
	      ENVELOPE_TAKEN) == (message->kept > 0));
}

static void seal_and_open(const struct envelope *message, uint8_t pick)
{
	size_t size = ENVELOPE_HEAD_MAX + message->body.length;
	char *room = mem_alloc(size);
	ssize_t length = envelope_seal(keys, message, room, size);

	if (length < 0) {
		MUST(length == -EINVAL || length == -EMSGSIZE ||
		     length == -ELOOP);
		free(room);
		return;
	}
	struct envelope_book *book = envelope_book_new(keys, 0);
	size_t at = (size_t)length * pick / 256;

	room[at] = (char)(room[at] ^ 1 << pick % 8);
	MUST(open_copy(book, room, (size_t)length, message->lane) !=
	     ENVELOPE_TAKEN);
	room[at] = (char)(room[at] ^ 1 << pick % 8);
	check_opened(book, room, (size_t)length, message);
	envelope_book_free(book);
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct envelope_text parts[PARTS] = { { "", 0 } };
	const char *at = (const char *)bytes + 1;
	const char *end = (const char *)bytes + length;

	if (keys == NULL)
		keys = envelope_keys_new(
			"muster", (struct envelope_text){ "a secret", 8 },
			(struct envelope_text){ "another", 7 });
	if (length == 0)
		return 0;
	if (bytes[0] == 0) {
		open_any(bytes + 1, length - 1);
		return 0;
	}
	for (size_t i = 0; i < PARTS && at <= end; i++) {
		size_t left = (size_t)(end - at);
		const char *stop = left == 0 ? NULL : memchr(at, '\0', left);

		if (stop == NULL || i == PARTS - 1)
			stop = end;
		parts[i] = (struct envelope_text){ at, (size_t)(stop - at) };
		at = stop + 1;
	}
	seal_and_open(
		&(struct envelope){
			.type = parts[0],
			.from = parts[1],
			.nonce = parts[2],
			.lane = parts[3],
			.channel = parts[4],
			.body = parts[5],
			.seq = bytes[0],
			.ts_ms = NOW_MS,
			.kept = parts[4].length,
		},
		bytes[0]);
	return 0;
}
