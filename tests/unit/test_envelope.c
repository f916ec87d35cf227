#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/envelope.h"

#define NOW_MS   UINT64_C(1700000000000)
#define MINUTE   UINT64_C(60000)
#define ROOM     (ENVELOPE_HEAD_MAX + ENVELOPE_BODY_MAX)
#define MAC_AT   8
#define FIRST_AT 53 /* that is signed */

struct bench {
	struct envelope_keys *keys;
	struct envelope_book *book;
	char *room;
	size_t length;
	struct envelope message; /* the last one that was opened */
};

static struct envelope_text T(const char *text) {
	return (struct envelope_text){ text, strlen(text) };
}

static int
set_up(void **state)
{
	struct bench *bench = mem_zalloc(sizeof(*bench));

	bench->keys =
		envelope_keys_new("muster", T("a good long secret"), T(""));
	bench->book = envelope_book_new(bench->keys, 0);
	bench->room = mem_alloc(ROOM);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	envelope_book_free(bench->book);
	envelope_keys_free(bench->keys);
	free(bench->room);
	free(bench);
	return 0;
}

static struct envelope a_message(uint64_t seq)
{
	return (struct envelope){
		.type = T("greeting"),
		.from = T("api-worker-1"),
		.nonce = T("5f3a"),
		.seq = seq,
		.ts_ms = NOW_MS,
		.body = T("{\"text\":\"hello\"}"),
	};
}

static void seal(struct bench *bench, const struct envelope *message)
{
	ssize_t length = envelope_seal(bench->keys, message, bench->room, ROOM);

	assert_true(length > 0);
	bench->length = (size_t)length;
}

/* In memory of exactly its length, so that a sanitizer sees a byte too many. */
static const char *open_on(struct bench *bench, const char *lane,
			   uint64_t now_ms)
{
	static char *copy;

	free(copy);
	copy = mem_copy(bench->room, bench->length);
	return envelope_answer_name(envelope_open(
		bench->book, (struct envelope_text){ copy, bench->length },
		T(lane), now_ms, &bench->message));
}

static const char *open_it(struct bench *bench)
{
	return open_on(bench, "", NOW_MS);
}

static const char *send_it(struct bench *bench, uint64_t seq)
{
	struct envelope message = a_message(seq);

	seal(bench, &message);
	return open_it(bench);
}

static uint64_t count(struct bench *bench, enum envelope_answer answer)
{
	struct envelope_counters counters;

	envelope_book_counters(bench->book, &counters);
	return counters.answers[answer];
}

#define assert_text(text, expected)                                            \
	do {                                                                   \
		const struct envelope_text text_ = (text);                     \
		assert_int_equal(text_.length, strlen(expected));              \
		assert_memory_equal(text_.data, expected, text_.length);       \
	} while (0)

static const char *open_kept(struct bench *bench, const char *channel)
{
	return envelope_answer_name(envelope_open_kept(
		bench->keys,
		(struct envelope_text){ bench->room, bench->length },
		T(channel), &bench->message));
}

static struct envelope a_kept_message(uint64_t kept)
{
	struct envelope message = a_message(9);

	message.lane = T("/3");
	message.channel = T("/prices");
	message.kept = kept;
	return message;
}

/* ---- form ---- */

static void a_message_is_taken_with_all_that_is_in_it(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	message.lane = T("/3");
	message.channel = T("/room/caf\xc3\xa9");
	seal(bench, &message);
	assert_string_equal(open_on(bench, "/3", NOW_MS), "TAKEN");
	assert_text(bench->message.type, "greeting");
	assert_text(bench->message.from, "api-worker-1");
	assert_text(bench->message.nonce, "5f3a");
	assert_text(bench->message.lane, "/3");
	assert_text(bench->message.channel, "/room/caf\xc3\xa9");
	assert_text(bench->message.body, "{\"text\":\"hello\"}");
	assert_int_equal(bench->message.seq, 1);
	assert_int_equal(bench->message.ts_ms, NOW_MS);
	assert_true(bench->message.is_first);
	assert_int_equal(bench->message.missed, 0);
}

/* The bytes of docs/protocol.md, whose signature was made by another program:
 * see there. */
static void the_bytes_are_those_of_the_document(void **state)
{
	static const char expected[] =
		"{\"mac\":\"IiliFu_RP3VMoF50NVGf7qUhaWlSXe8DmpJiHXICrBY\","
		"\"v\":1,\"kid\":\"68304d40\",\"messageType\":\"greeting\","
		"\"serverId\":\"api-worker-1\",\"nonce\":\"5f3a\",\"seq\":1,"
		"\"ts\":1700000000000,\"body\":{\"text\":\"hello\"}}";
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	seal(bench, &message);
	assert_int_equal(bench->length, sizeof(expected) - 1);
	assert_memory_equal(bench->room, expected, bench->length);
}

static void names_that_are_none_are_not_sent(void **state)
{
	struct bench *bench = *state;
	static const char *const wrong[] = { "a\"b", "a\\b",     "a\nb",
					     "",     "\xc3\x28", "a\x7f" };
	char long_name[ENVELOPE_NAME_MAX + 2];

	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct envelope message = a_message(1);

		message.type = T(wrong[i]);
		assert_int_equal(
			envelope_seal(bench->keys, &message, bench->room, ROOM),
			-EINVAL);
	}
	struct envelope message = a_message(1);

	message.from = T(long_name);
	assert_int_equal(
		envelope_seal(bench->keys, &message, bench->room, ROOM),
		-EINVAL);
	message.from = T(long_name + 1);
	assert_true(envelope_seal(bench->keys, &message, bench->room, ROOM) >
		    0);
}

static char *nested(size_t depth)
{
	char *text = mem_alloc(2 * depth + 1);

	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	text[2 * depth] = '\0';
	return text;
}

static void bodies_that_are_none_are_not_sent(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);
	char *deep = nested(ENVELOPE_DEPTH_MAX + 1);
	char *big = mem_alloc(ENVELOPE_BODY_MAX + 2);

	message.body = T("{");
	assert_int_equal(
		envelope_seal(bench->keys, &message, bench->room, ROOM),
		-EINVAL);
	message.body = T("");
	assert_int_equal(
		envelope_seal(bench->keys, &message, bench->room, ROOM),
		-EINVAL);
	message.body = T(deep);
	assert_int_equal(
		envelope_seal(bench->keys, &message, bench->room, ROOM),
		-ELOOP);
	memset(big, '1', ENVELOPE_BODY_MAX + 1);
	message.body = (struct envelope_text){ big, ENVELOPE_BODY_MAX + 1 };
	assert_int_equal(
		envelope_seal(bench->keys, &message, bench->room, ROOM),
		-EMSGSIZE);
	message.body.length--;
	assert_true(envelope_seal(bench->keys, &message, bench->room, ROOM) >
		    0);
	free(deep);
	free(big);
}

static void the_longest_of_everything_fits_into_the_room(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(9999999999999999);
	char name[ENVELOPE_NAME_MAX];
	char channel[ENVELOPE_CHANNEL_MAX];
	char *body = mem_alloc(ENVELOPE_BODY_MAX);

	memset(name, 'n', sizeof(name));
	memset(channel, 'c', sizeof(channel));
	memset(body, '7', ENVELOPE_BODY_MAX);
	message.type = message.from = message.nonce =
		(struct envelope_text){ name, sizeof(name) };
	message.lane = message.channel =
		(struct envelope_text){ channel, sizeof(channel) };
	message.body = (struct envelope_text){ body, ENVELOPE_BODY_MAX };
	message.ts_ms = 9999999999999999;
	seal(bench, &message);
	char *lane = mem_alloc(ENVELOPE_CHANNEL_MAX + 1);

	memcpy(lane, channel, sizeof(channel));
	lane[sizeof(channel)] = '\0';
	assert_string_equal(open_on(bench, lane, 9999999999999999), "TAKEN");
	free(lane);
	free(body);
}

static void what_is_cut_short_is_refused(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	message.lane = T("/3");
	message.channel = T("/a");
	seal(bench, &message);
	size_t whole = bench->length;

	for (bench->length = 0; bench->length < whole; bench->length++)
		assert_string_not_equal(open_on(bench, "/3", NOW_MS), "TAKEN");
	assert_string_equal(open_on(bench, "/3", NOW_MS), "TAKEN");
}

static void other_texts_are_malformed(void **state)
{
	struct bench *bench = *state;
	static const char *const texts[] = {
		"",
		"{}",
		"null",
		"{\"serverToken\":\"secret\",\"messageType\":\"x\"}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		bench->length = strlen(texts[i]);
		memcpy(bench->room, texts[i], bench->length);
		assert_string_equal(open_it(bench), "MALFORMED");
	}
	assert_int_equal(count(bench, ENVELOPE_MALFORMED), 4);
}

/* ---- authenticity ---- */

static void any_byte_that_was_changed_is_found(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	message.channel = T("/a");
	seal(bench, &message);
	for (size_t i = 0; i < bench->length; i++) {
		for (int bit = 0; bit < 8; bit++) {
			bench->room[i] = (char)(bench->room[i] ^ 1 << bit);
			assert_string_not_equal(open_it(bench), "TAKEN");
			bench->room[i] = (char)(bench->room[i] ^ 1 << bit);
		}
	}
	assert_string_equal(open_it(bench), "TAKEN");
}

static void an_altered_body_is_forged(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	seal(bench, &message);
	bench->room[bench->length - 4] = 'a';
	assert_string_equal(open_it(bench), "FORGED");
	assert_int_equal(count(bench, ENVELOPE_FORGED), 1);
}

static void a_signature_of_another_message_is_forged(void **state)
{
	struct bench *bench = *state;
	struct envelope first = a_message(1);
	struct envelope second = a_message(2);
	char mac[43];

	seal(bench, &first);
	memcpy(mac, bench->room + MAC_AT, sizeof(mac));
	seal(bench, &second);
	memcpy(bench->room + MAC_AT, mac, sizeof(mac));
	assert_string_equal(open_it(bench), "FORGED");
}

static struct envelope_keys *other_keys(const char *scope, const char *token,
					const char *second)
{
	return envelope_keys_new(scope, T(token), T(second));
}

static void seal_with(struct bench *bench, struct envelope_keys *keys,
		      uint64_t seq)
{
	struct envelope message = a_message(seq);
	ssize_t length = envelope_seal(keys, &message, bench->room, ROOM);

	assert_true(length > 0);
	bench->length = (size_t)length;
}

static void another_token_is_an_unknown_key(void **state)
{
	struct bench *bench = *state;
	struct envelope_keys *keys = other_keys("muster", "another one", "");

	seal_with(bench, keys, 1);
	assert_string_equal(open_it(bench), "UNKNOWN_KEY");
	assert_int_equal(count(bench, ENVELOPE_UNKNOWN_KEY), 1);
	envelope_keys_free(keys);
}

static void the_same_token_in_another_scope_is_an_unknown_key(void **state)
{
	struct bench *bench = *state;
	struct envelope_keys *keys =
		other_keys("staging", "a good long secret", "");

	seal_with(bench, keys, 1);
	assert_string_equal(open_it(bench), "UNKNOWN_KEY");
	envelope_keys_free(keys);
}

static void another_token_under_our_key_id_is_forged(void **state)
{
	struct bench *bench = *state;
	struct envelope_keys *keys = other_keys("muster", "another one", "");
	struct envelope message = a_message(1);
	char head[32];

	seal(bench, &message);
	memcpy(head, bench->room + FIRST_AT, sizeof(head));
	seal_with(bench, keys, 1);
	memcpy(bench->room + FIRST_AT, head, sizeof(head));
	assert_string_equal(open_it(bench), "FORGED");
	envelope_keys_free(keys);
}

/* Three steps, a server at a time: everybody accepts the new one; everybody
 * signs with it; the old one goes. At no time two servers are apart. */
static void tokens_are_changed_without_losing_a_message(void **state)
{
	struct bench *bench = *state;
	static const char *const steps[][2] = {
		{ "old token", "" },
		{ "old token", "new token" },
		{ "new token", "old token" },
		{ "new token", "" },
	};
	uint64_t seq = 0;

	for (size_t i = 0; i + 1 < 4; i++) {
		struct envelope_keys *keys[2] = {
			other_keys("p", steps[i][0], steps[i][1]),
			other_keys("p", steps[i + 1][0], steps[i + 1][1]),
		};

		for (size_t from = 0; from < 2; from++) {
			struct envelope_book *book =
				envelope_book_new(keys[1 - from], 0);
			struct envelope opened;

			seal_with(bench, keys[from], ++seq);
			assert_int_equal(envelope_open(book,
						       (struct envelope_text){
							       bench->room,
							       bench->length },
						       T(""), NOW_MS, &opened),
					 ENVELOPE_TAKEN);
			envelope_book_free(book);
		}
		envelope_keys_free(keys[0]);
		envelope_keys_free(keys[1]);
	}
	/* And the old one alone is not accepted at the end. */
	struct envelope_keys *old = other_keys("p", "old token", "");
	struct envelope_keys *new = other_keys("p", "new token", "");
	struct envelope_book *book = envelope_book_new(new, 0);
	struct envelope opened;

	seal_with(bench, old, 1);
	assert_int_equal(envelope_open(book,
				       (struct envelope_text){ bench->room,
							       bench->length },
				       T(""), NOW_MS, &opened),
			 ENVELOPE_UNKNOWN_KEY);
	envelope_book_free(book);
	envelope_keys_free(old);
	envelope_keys_free(new);
}

static void the_same_token_twice_is_one_key(void **state)
{
	struct bench *bench = *state;
	struct envelope_keys *keys = other_keys("muster", "a good long secret",
						"a good long secret");

	seal_with(bench, keys, 1);
	assert_string_equal(open_it(bench), "TAKEN");
	envelope_keys_free(keys);
}

/* ---- time ---- */

static void thirty_seconds_apart_is_near_enough(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	seal(bench, &message);
	assert_string_equal(open_on(bench, "", NOW_MS + 30001), "LATE");
	assert_string_equal(open_on(bench, "", NOW_MS + 30000), "TAKEN");
	message.seq = 2;
	seal(bench, &message);
	assert_string_equal(open_on(bench, "", NOW_MS - 30001), "EARLY");
	assert_string_equal(open_on(bench, "", NOW_MS - 30000), "TAKEN");
}

static void a_clock_ten_minutes_off_is_told_which_way(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	seal(bench, &message);
	assert_string_equal(open_on(bench, "", NOW_MS + 10 * MINUTE), "LATE");
	assert_string_equal(open_on(bench, "", NOW_MS - 10 * MINUTE), "EARLY");
	assert_int_equal(count(bench, ENVELOPE_LATE), 1);
	assert_int_equal(count(bench, ENVELOPE_EARLY), 1);
	/* What was refused was not noted as taken. */
	assert_string_equal(open_it(bench), "TAKEN");
}

/* ---- replay and gaps ---- */

static void a_message_is_taken_once(void **state)
{
	struct bench *bench = *state;

	assert_string_equal(send_it(bench, 1), "TAKEN");
	assert_string_equal(open_it(bench), "REPLAYED");
	assert_string_equal(send_it(bench, 2), "TAKEN");
	assert_string_equal(send_it(bench, 1), "REPLAYED");
	assert_int_equal(count(bench, ENVELOPE_REPLAYED), 2);
	assert_int_equal(count(bench, ENVELOPE_TAKEN), 2);
}

static void a_message_of_one_lane_is_not_taken_on_another(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	message.lane = T("node:api-worker-2");
	seal(bench, &message);
	assert_string_equal(open_on(bench, "node:api-worker-3", NOW_MS),
			    "REPLAYED");
	assert_string_equal(open_on(bench, "", NOW_MS), "REPLAYED");
	assert_string_equal(open_on(bench, "node:api-worker-2", NOW_MS),
			    "TAKEN");
}

static void numbers_that_are_missing_are_told(void **state)
{
	struct bench *bench = *state;
	struct envelope_counters counters;

	assert_string_equal(send_it(bench, 10), "TAKEN");
	assert_true(bench->message.is_first);
	assert_int_equal(bench->message.missed, 0);
	assert_string_equal(send_it(bench, 11), "TAKEN");
	assert_false(bench->message.is_first);
	assert_int_equal(bench->message.missed, 0);
	assert_string_equal(send_it(bench, 15), "TAKEN");
	assert_int_equal(bench->message.missed, 3);
	assert_string_equal(send_it(bench, 1015), "TAKEN");
	assert_int_equal(bench->message.missed, 999);
	envelope_book_counters(bench->book, &counters);
	assert_int_equal(counters.missed, 1002);
}

static void one_that_was_overtaken_is_taken_once(void **state)
{
	struct bench *bench = *state;

	assert_string_equal(send_it(bench, 1), "TAKEN");
	assert_string_equal(send_it(bench, 64), "TAKEN");
	assert_string_equal(send_it(bench, 2), "TAKEN");
	assert_int_equal(bench->message.missed, 0);
	assert_string_equal(send_it(bench, 2), "REPLAYED");
	assert_string_equal(send_it(bench, 63), "TAKEN");
	assert_string_equal(send_it(bench, 1), "REPLAYED");
	/* 64 behind: nobody remembers. */
	assert_string_equal(send_it(bench, 67), "TAKEN");
	assert_string_equal(send_it(bench, 3), "REPLAYED");
	assert_string_equal(send_it(bench, 4), "TAKEN");
}

static void what_is_older_than_the_first_is_not_taken(void **state)
{
	struct bench *bench = *state;

	assert_string_equal(send_it(bench, 40), "TAKEN");
	assert_string_equal(send_it(bench, 39), "REPLAYED");
}

static void a_sender_that_started_again_begins_anew(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	assert_string_equal(send_it(bench, 500), "TAKEN");
	message.nonce = T("77aa");
	seal(bench, &message);
	assert_string_equal(open_it(bench), "TAKEN");
	assert_true(bench->message.is_first);
	assert_string_equal(send_it(bench, 501), "TAKEN");
	assert_int_equal(bench->message.missed, 0);
}

static void what_came_while_nobody_listened_is_not_missed(void **state)
{
	struct bench *bench = *state;

	assert_string_equal(send_it(bench, 5), "TAKEN");
	envelope_book_pause(bench->book, T("/3"));
	assert_string_equal(send_it(bench, 7), "TAKEN");
	assert_int_equal(bench->message.missed, 1);
	envelope_book_pause(bench->book, T(""));
	assert_string_equal(send_it(bench, 7), "REPLAYED");
	assert_string_equal(send_it(bench, 20), "TAKEN");
	assert_true(bench->message.is_first);
	assert_int_equal(bench->message.missed, 0);
	assert_string_equal(send_it(bench, 22), "TAKEN");
	assert_int_equal(bench->message.missed, 1);
}

/* Names that run together are different senders all the same. */
static void senders_are_told_apart_by_each_of_their_names(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	message.from = T("ab");
	message.nonce = T("c");
	seal(bench, &message);
	assert_string_equal(open_it(bench), "TAKEN");
	message.from = T("a");
	message.nonce = T("bc");
	seal(bench, &message);
	assert_string_equal(open_it(bench), "TAKEN");
}

static const char *send_from(struct bench *bench, unsigned sender, uint64_t seq)
{
	struct envelope message = a_message(seq);
	char nonce[16];

	snprintf(nonce, sizeof(nonce), "%08x", sender);
	message.nonce = T(nonce);
	seal(bench, &message);
	return open_it(bench);
}

static void the_senders_heard_last_are_remembered(void **state)
{
	struct bench *bench = *state;
	struct envelope_counters counters;

	envelope_book_free(bench->book);
	bench->book = envelope_book_new(bench->keys, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_string_equal(send_from(bench, i, 1), "TAKEN");
	/* The first has just been heard of: the second goes. */
	assert_string_equal(send_from(bench, 0, 2), "TAKEN");
	assert_string_equal(send_from(bench, 100, 1), "TAKEN");
	envelope_book_counters(bench->book, &counters);
	assert_int_equal(counters.senders, 100);
	assert_int_equal(counters.forgotten, 1);
	assert_string_equal(send_from(bench, 0, 2), "REPLAYED");
	assert_string_equal(send_from(bench, 2, 1), "REPLAYED");
	for (unsigned i = 1000; i < 100000; i++)
		assert_string_equal(send_from(bench, i, 1), "TAKEN");
	envelope_book_counters(bench->book, &counters);
	assert_int_equal(counters.senders, 100);
}

/* ---- what a holder of the token might send all the same ---- */

static void hmac(const void *key, size_t key_length, const void *bytes,
		 size_t length, uint8_t mac[32])
{
	unsigned count = 32;

	assert_non_null(HMAC(EVP_sha256(), key, (int)key_length, bytes, length,
			     mac, &count));
}

/* HKDF and HMAC as the RFCs have them: not the way that the envelope does. */
static void sign_by_hand(struct bench *bench, const char *rest)
{
	static const char token[] = "a good long secret";
	static const char salt[] = "muster bus 1";
	static const char info[] = "mac muster\x01";
	uint8_t secret[32];
	uint8_t key[32];
	uint8_t mac[32];
	unsigned char letters[48];

	hmac(salt, sizeof(salt) - 1, token, sizeof(token) - 1, secret);
	hmac(secret, sizeof(secret), info, sizeof(info) - 1, key);
	hmac(key, sizeof(key), rest, strlen(rest), mac);
	assert_int_equal(EVP_EncodeBlock(letters, mac, sizeof(mac)), 44);
	for (size_t i = 0; i < 43; i++)
		letters[i] = letters[i] == '+'   ? '-'
			     : letters[i] == '/' ? '_'
						 : letters[i];
	bench->length =
		(size_t)snprintf(bench->room, ROOM, "{\"mac\":\"%.43s\",%s",
				 (const char *)letters, rest);
}

/* The head of a_message(), with another body. */
static void sign_body(struct bench *bench, uint64_t seq, const char *body)
{
	char *rest = mem_format(
		"\"v\":1,\"kid\":\"68304d40\",\"messageType\":\"greeting\","
		"\"serverId\":\"api-worker-1\",\"nonce\":\"5f3a\",\"seq\":%ju,"
		"\"ts\":1700000000000,\"body\":%s}",
		(uintmax_t)seq, body);

	sign_by_hand(bench, rest);
	free(rest);
}

static void what_is_signed_by_hand_is_taken(void **state)
{
	struct bench *bench = *state;

	sign_body(bench, 1, " [1, 2]\n");
	assert_string_equal(open_it(bench), "TAKEN");
	assert_text(bench->message.body, " [1, 2]\n");
}

static void a_body_too_deep_is_refused_by_name(void **state)
{
	struct bench *bench = *state;
	char *most = nested(ENVELOPE_DEPTH_MAX);
	char *more = nested(ENVELOPE_DEPTH_MAX + 1);

	sign_body(bench, 1, more);
	assert_string_equal(open_it(bench), "TOO_DEEP");
	assert_int_equal(count(bench, ENVELOPE_TOO_DEEP), 1);
	/* Its number is not used up. */
	sign_body(bench, 1, most);
	assert_string_equal(open_it(bench), "TAKEN");
	free(most);
	free(more);
}

static void what_is_too_large_is_refused_by_name(void **state)
{
	struct bench *bench = *state;
	char *body = mem_alloc(ENVELOPE_BODY_MAX + 2);

	memset(body, '1', ENVELOPE_BODY_MAX + 1);
	body[ENVELOPE_BODY_MAX + 1] = '\0';
	sign_body(bench, 1, body);
	assert_string_equal(open_it(bench), "TOO_LARGE");
	sign_body(bench, 1, body + 1);
	assert_string_equal(open_it(bench), "TAKEN");
	free(body);
	/* Not even looked at. */
	bench->length = ROOM + 1;
	bench->room = mem_resize(bench->room, 1, ROOM + 1);
	memset(bench->room, 'x', ROOM + 1);
	assert_string_equal(open_it(bench), "TOO_LARGE");
	assert_int_equal(count(bench, ENVELOPE_TOO_LARGE), 2);
}

#define NAMES "\"serverId\":\"a\",\"nonce\":\"b\","
#define TIME  "\"ts\":1700000000000"

static void signed_texts_of_another_form_are_malformed(void **state)
{
	struct bench *bench = *state;
	static const char *const bodies[] = { "", "{", "1 2", "nul", "\"\t\"" };
	/* What follows the key's id, before the body. */
	static const char *const heads[] = {
		"\"messageType\":\"\"," NAMES "\"seq\":1," TIME,
		"\"messageType\":\"a\\n\"," NAMES "\"seq\":1," TIME,
		"\"messageType\":\"a\"," NAMES "\"seq\":0," TIME,
		"\"messageType\":\"a\"," NAMES "\"seq\":01," TIME,
		"\"messageType\":\"a\"," NAMES
		"\"seq\":99999999999999999," TIME,
		"\"messageType\":\"a\"," NAMES "\"seq\":1," TIME
		",\"lane\":\"\"",
		"\"messageType\":\"a\"," NAMES TIME,
		"\"messageType\":\"a\",\"seq\":1," NAMES TIME,
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		sign_body(bench, 1, bodies[i]);
		assert_string_equal(open_it(bench), "MALFORMED");
	}
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		char *rest = mem_format(
			"\"v\":1,\"kid\":\"68304d40\",%s,\"body\":1}",
			heads[i]);

		sign_by_hand(bench, rest);
		assert_string_equal(open_it(bench), "MALFORMED");
		free(rest);
	}
	sign_by_hand(bench, "\"v\":2,\"kid\":\"68304d40\",\"body\":1}");
	assert_string_equal(open_it(bench), "MALFORMED");
}

/* ---- what a log keeps ---- */

static void a_message_says_its_number_in_the_log(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_kept_message(12);

	seal(bench, &message);
	assert_string_equal(open_on(bench, "/3", NOW_MS), "TAKEN");
	assert_int_equal(bench->message.kept, 12);
}

static void what_was_kept_is_taken_at_any_time_and_again(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_kept_message(UINT64_C(12));

	message.ts_ms = 1;
	seal(bench, &message);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(open_kept(bench, "/prices"), "TAKEN");
		assert_int_equal(bench->message.kept, 12);
		assert_text(bench->message.body, "{\"text\":\"hello\"}");
	}
}

static void what_was_not_kept_there_is_refused(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_kept_message(1);

	seal(bench, &message);
	assert_string_equal(open_kept(bench, "/other"), "REPLAYED");
	message.kept = 0;
	seal(bench, &message);
	assert_string_equal(open_kept(bench, "/prices"), "REPLAYED");
}

static void what_was_altered_in_a_log_is_refused(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_kept_message(1);

	seal(bench, &message);
	char *digit = strstr(bench->room, "\"kept\":1");

	assert_non_null(digit);
	digit[7] = '2';
	assert_string_equal(open_kept(bench, "/prices"), "FORGED");
	digit[7] = '0';
	assert_string_equal(open_kept(bench, "/prices"), "MALFORMED");
}

static void a_number_without_a_channel_is_not_sent(void **state)
{
	struct bench *bench = *state;
	struct envelope message = a_message(1);

	message.kept = 1;
	assert_int_equal(
		envelope_seal(bench->keys, &message, bench->room, ROOM),
		-EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_message_is_taken_with_all_that_is_in_it),
		TEST(the_bytes_are_those_of_the_document),
		TEST(names_that_are_none_are_not_sent),
		TEST(bodies_that_are_none_are_not_sent),
		TEST(the_longest_of_everything_fits_into_the_room),
		TEST(what_is_cut_short_is_refused),
		TEST(other_texts_are_malformed),
		TEST(any_byte_that_was_changed_is_found),
		TEST(an_altered_body_is_forged),
		TEST(a_signature_of_another_message_is_forged),
		TEST(another_token_is_an_unknown_key),
		TEST(the_same_token_in_another_scope_is_an_unknown_key),
		TEST(another_token_under_our_key_id_is_forged),
		TEST(tokens_are_changed_without_losing_a_message),
		TEST(the_same_token_twice_is_one_key),
		TEST(thirty_seconds_apart_is_near_enough),
		TEST(a_clock_ten_minutes_off_is_told_which_way),
		TEST(a_message_is_taken_once),
		TEST(a_message_of_one_lane_is_not_taken_on_another),
		TEST(numbers_that_are_missing_are_told),
		TEST(one_that_was_overtaken_is_taken_once),
		TEST(what_is_older_than_the_first_is_not_taken),
		TEST(a_sender_that_started_again_begins_anew),
		TEST(what_came_while_nobody_listened_is_not_missed),
		TEST(senders_are_told_apart_by_each_of_their_names),
		TEST(the_senders_heard_last_are_remembered),
		TEST(what_is_signed_by_hand_is_taken),
		TEST(a_body_too_deep_is_refused_by_name),
		TEST(what_is_too_large_is_refused_by_name),
		TEST(signed_texts_of_another_form_are_malformed),
		TEST(a_message_says_its_number_in_the_log),
		TEST(what_was_kept_is_taken_at_any_time_and_again),
		TEST(what_was_not_kept_there_is_refused),
		TEST(what_was_altered_in_a_log_is_refused),
		TEST(a_number_without_a_channel_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
