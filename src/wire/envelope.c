#include "wire/envelope.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"
#include "base/json.h"
#include "base/json_plain.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"

#define MAC_BYTES   32
#define BLOCK_BYTES 64
#define MAC_LETTERS 43 /* base64url, without padding */
#define KID_LETTERS 8
#define KEYS_MAX    2
#define NUMBER_MAX                                                             \
	16 /* digits: every one fits into 64 bits, and a JavaScript reader     \
	      loses none of it to 2^53 */

#define MAC_START    "{\"mac\":\""
#define MAC_END      "\","
#define SIGNED_START (sizeof(MAC_START) - 1 + MAC_LETTERS + sizeof(MAC_END) - 1)

const char *envelope_answer_name(enum envelope_answer answer)
{
	static const char *const names[] = { [ENVELOPE_TAKEN] = "TAKEN",
#define NAME(NAME) [ENVELOPE_##NAME] = #NAME,
					     ENVELOPE_REFUSALS(NAME)
#undef NAME
	};

	return names[answer];
}

/* ---- keys ---- */

struct key {
	char id[KID_LETTERS];
	/* HMAC (RFC 2104) is two digests that each begin with the key: what
	 * they begin with is there, so that a message costs two copies of it,
	 * where EVP_MAC_init() costs twice that. */
	EVP_MD_CTX *inner;
	EVP_MD_CTX *outer;
	EVP_MD_CTX *work;
};

struct envelope_keys {
	struct key list[KEYS_MAX]; /* the first one signs */
	size_t count;
};

/* HKDF-SHA256 (RFC 5869) of the token; `purpose` and the scope keep apart
 * what is derived from it. */
static void derive(struct envelope_text token, const char *purpose,
		   const char *scope, uint8_t *bytes, size_t length)
{
	char *info = mem_format("%s %s", purpose, scope);
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256";
	char salt[] = "muster bus 1";
	const OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string("digest", digest, 0),
		OSSL_PARAM_construct_octet_string(
			"key", (void *)(uintptr_t)token.data, token.length),
		OSSL_PARAM_construct_octet_string("salt", salt,
						  sizeof(salt) - 1),
		OSSL_PARAM_construct_octet_string("info", info, strlen(info)),
		OSSL_PARAM_construct_end(),
	};

	MUST(context != NULL &&
	     EVP_KDF_derive(context, bytes, length, parameters) == 1);
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
	free(info);
}

/* SHA-256 of a key and a constant, to be gone on with. */
static EVP_MD_CTX *digest_of(const uint8_t key[MAC_BYTES], uint8_t constant)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t block[BLOCK_BYTES];

	memset(block, constant, sizeof(block));
	for (size_t i = 0; i < MAC_BYTES; i++)
		block[i] ^= key[i];
	MUST(context != NULL &&
	     EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(context, block, sizeof(block)) == 1);
	OPENSSL_cleanse(block, sizeof(block));
	return context;
}

static void set_mac(struct key *key, const uint8_t bytes[MAC_BYTES])
{
	key->inner = digest_of(bytes, 0x36);
	key->outer = digest_of(bytes, 0x5c);
	key->work = EVP_MD_CTX_new();
	MUST(key->work != NULL);
}

static void add_key(struct envelope_keys *keys, const char *scope,
		    struct envelope_text token)
{
	static const char digits[] = "0123456789abcdef";
	struct key *key = &keys->list[keys->count];
	uint8_t id[KID_LETTERS / 2];
	uint8_t bytes[MAC_BYTES];

	derive(token, "id", scope, id, sizeof(id));
	for (size_t i = 0; i < KID_LETTERS; i++)
		key->id[i] = digits[id[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
	if (keys->count > 0 &&
	    memcmp(key->id, keys->list[0].id, KID_LETTERS) == 0)
		return; /* the same token twice */
	derive(token, "mac", scope, bytes, sizeof(bytes));
	set_mac(key, bytes);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	keys->count++;
}

struct envelope_keys *envelope_keys_new(const char *scope,
					struct envelope_text token,
					struct envelope_text second)
{
	struct envelope_keys *keys = mem_zalloc(sizeof(*keys));

	add_key(keys, scope, token);
	if (second.length > 0)
		add_key(keys, scope, second);
	return keys;
}

static void free_mac(struct key *key)
{
	EVP_MD_CTX_free(key->inner);
	EVP_MD_CTX_free(key->outer);
	EVP_MD_CTX_free(key->work);
}

void envelope_keys_free(struct envelope_keys *keys)
{
	if (keys == NULL)
		return;
	for (size_t i = 0; i < keys->count; i++)
		free_mac(&keys->list[i]);
	free(keys);
}

static void finish(EVP_MD_CTX *work, const EVP_MD_CTX *begun, const void *bytes,
		   size_t length, uint8_t digest[MAC_BYTES])
{
	MUST(EVP_MD_CTX_copy_ex(work, begun) == 1 &&
	     EVP_DigestUpdate(work, bytes, length) == 1 &&
	     EVP_DigestFinal_ex(work, digest, NULL) == 1);
}

static void sign(const struct key *key, const char *bytes, size_t length,
		 char letters[MAC_LETTERS])
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "abcdefghijklmnopqrstuvwxyz"
				       "0123456789-_";
	uint8_t mac[MAC_BYTES + 1];
	char *to = letters;

	finish(key->work, key->inner, bytes, length, mac);
	finish(key->work, key->outer, mac, MAC_BYTES, mac);
	mac[MAC_BYTES] = 0;
	for (const uint8_t *at = mac; at <= mac + MAC_BYTES - 2; at += 3) {
		unsigned three =
			(unsigned)at[0] << 16 | (unsigned)at[1] << 8 | at[2];

		*to++ = alphabet[three >> 18];
		*to++ = alphabet[three >> 12 & 63];
		*to++ = alphabet[three >> 6 & 63];
		if (to < letters + MAC_LETTERS)
			*to++ = alphabet[three & 63];
	}
}

/* ---- names ---- */

/* What may stand between quotes as it is. `text` has the quotes around it. */
static bool is_name(struct envelope_text text, size_t length_max)
{
	if (text.length > length_max)
		return false;
	if (text.length == 0)
		return true;
	const uint8_t *start = (const uint8_t *)text.data;
	const uint8_t *end = start + text.length;

	if (memchr(start, 0x7f, text.length) != NULL)
		return false;
	return json_plain_end(start, end) == end ||
	       (memchr(start, '\\', text.length) == NULL &&
		json_is_value(text.data - 1, text.length + 2));
}

static bool are_names(const struct envelope *message)
{
	return message->type.length > 0 && message->from.length > 0 &&
	       message->nonce.length > 0 &&
	       is_name(message->type, ENVELOPE_NAME_MAX) &&
	       is_name(message->from, ENVELOPE_NAME_MAX) &&
	       is_name(message->nonce, ENVELOPE_NAME_MAX) &&
	       is_name(message->lane, ENVELOPE_CHANNEL_MAX) &&
	       is_name(message->channel, ENVELOPE_CHANNEL_MAX);
}

/* ---- sealing ---- */

struct writer {
	char *at;
	const char *end;
};

static struct envelope_text put(struct writer *writer, const void *bytes,
				size_t length)
{
	struct envelope_text text = { writer->at, length };

	MUST((size_t)(writer->end - writer->at) >= length);
	if (length > 0)
		memcpy(writer->at, bytes, length);
	writer->at += length;
	return text;
}

#define PUT(writer, literal)                                                   \
	DISCARD(put((writer), (literal), sizeof(literal) - 1))

static void put_number(struct writer *writer, uint64_t number)
{
	MUST(writer->end - writer->at >= DIGITS_MAX);
	writer->at += digits_put(writer->at, number);
}

/* Everything but the signature; *message points to what was written. */
static void write_all(struct writer *writer, const struct key *key,
		      struct envelope *message)
{
	PUT(writer, "\"v\":1,\"kid\":\"");
	DISCARD(put(writer, key->id, KID_LETTERS));
	PUT(writer, "\",\"messageType\":\"");
	message->type = put(writer, message->type.data, message->type.length);
	PUT(writer, "\",\"serverId\":\"");
	message->from = put(writer, message->from.data, message->from.length);
	PUT(writer, "\",\"nonce\":\"");
	message->nonce =
		put(writer, message->nonce.data, message->nonce.length);
	PUT(writer, "\",\"seq\":");
	put_number(writer, message->seq);
	PUT(writer, ",\"ts\":");
	put_number(writer, message->ts_ms);
	if (message->lane.length > 0) {
		PUT(writer, ",\"lane\":\"");
		message->lane =
			put(writer, message->lane.data, message->lane.length);
		PUT(writer, "\"");
	}
	if (message->channel.length > 0) {
		PUT(writer, ",\"channel\":\"");
		message->channel = put(writer, message->channel.data,
				       message->channel.length);
		PUT(writer, "\"");
	}
	if (message->kept > 0) {
		PUT(writer, ",\"kept\":");
		put_number(writer, message->kept);
	}
	PUT(writer, ",\"body\":");
	DISCARD(put(writer, message->body.data, message->body.length));
	PUT(writer, "}");
}

static bool are_lengths_good(const struct envelope *message)
{
	return message->type.length <= ENVELOPE_NAME_MAX &&
	       message->from.length <= ENVELOPE_NAME_MAX &&
	       message->nonce.length <= ENVELOPE_NAME_MAX &&
	       message->lane.length <= ENVELOPE_CHANNEL_MAX &&
	       message->channel.length <= ENVELOPE_CHANNEL_MAX;
}

static int check_own_body(struct envelope_text body)
{
	switch (json_check(body.data, body.length, ENVELOPE_DEPTH_MAX)) {
	case JSON_TOO_DEEP:
		return -ELOOP;
	case JSON_NO_VALUE:
		return -EINVAL;
	case JSON_VALUE:
		break;
	}
	return 0;
}

ssize_t envelope_seal(struct envelope_keys *keys,
		      const struct envelope *message, char *room, size_t size)
{
	const struct key *key = &keys->list[0];
	struct writer writer = { room + SIGNED_START, room + size };
	struct envelope written = *message;

	if (message->body.length > ENVELOPE_BODY_MAX)
		return -EMSGSIZE;
	if (message->body.length == 0 || !are_lengths_good(message) ||
	    (message->kept > 0 && message->channel.length == 0))
		return -EINVAL;
	if (!message->is_checked) {
		int error = check_own_body(message->body);

		if (error < 0)
			return error;
	}
	MUST(size >= SIGNED_START);
	write_all(&writer, key, &written);
	if (!are_names(&written))
		return -EINVAL;
	memcpy(room, MAC_START, sizeof(MAC_START) - 1);
	sign(key, room + SIGNED_START,
	     (size_t)(writer.at - room) - SIGNED_START,
	     room + sizeof(MAC_START) - 1);
	memcpy(room + SIGNED_START - (sizeof(MAC_END) - 1), MAC_END,
	       sizeof(MAC_END) - 1);
	return writer.at - room;
}

/* ---- what was taken ---- */

/*
 * The numbers of one sender on one lane: the highest that was taken, and which
 * of the 63 before it were; those before the first one count as taken.
 */
struct sender {
	struct list by_use; /* the one used last is last */
	struct sender *next;
	uint64_t hash;
	uint64_t last;
	uint64_t taken; /* bit n: last - n */
	bool is_paused; /* what came after is not missed */
	size_t from_length;
	size_t nonce_length;
	size_t lane_length;
	char names[]; /* from, nonce, lane */
};

struct envelope_book {
	struct envelope_keys *keys;
	struct sender **buckets; /* a power of two of them */
	size_t bucket_count;
	size_t senders_max;
	size_t sender_count;
	struct list by_use;
	struct envelope_counters counters;
};

struct envelope_book *envelope_book_new(struct envelope_keys *keys,
					size_t senders_max)
{
	struct envelope_book *book = mem_zalloc(sizeof(*book));

	book->keys = keys;
	book->senders_max =
		senders_max == 0 ? ENVELOPE_SENDERS_MAX : senders_max;
	book->bucket_count = 16;
	while (book->bucket_count < book->senders_max)
		book->bucket_count *= 2;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): pointers it is */
	book->buckets = mem_zalloc(book->bucket_count * sizeof(*book->buckets));
	list_init(&book->by_use);
	return book;
}

void envelope_book_free(struct envelope_book *book)
{
	struct list *link;

	if (book == NULL)
		return;
	while ((link = list_take_first(&book->by_use)) != NULL)
		free(LIST_ENTRY(link, struct sender, by_use));
	free(book->buckets);
	free(book);
}

void envelope_book_counters(const struct envelope_book *book,
			    struct envelope_counters *counters)
{
	*counters = book->counters;
	counters->senders = book->sender_count;
}

static bool is_same(const char *bytes, size_t length, struct envelope_text text)
{
	return length == text.length &&
	       (length == 0 || memcmp(bytes, text.data, length) == 0);
}

void envelope_book_pause(struct envelope_book *book, struct envelope_text lane)
{
	LIST_EACH (&book->by_use, link) {
		struct sender *sender = LIST_ENTRY(link, struct sender, by_use);

		if (is_same(sender->names + sender->from_length +
				    sender->nonce_length,
			    sender->lane_length, lane))
			sender->is_paused = true;
	}
}

/* Eight bytes at a time. Who could make them collide has the token. */
static uint64_t mix(uint64_t hash, struct envelope_text text)
{
	const uint64_t factor = 0x9e3779b97f4a7c15;
	uint64_t word;
	size_t i = 0;

	for (; i + sizeof(word) <= text.length; i += sizeof(word)) {
		memcpy(&word, text.data + i, sizeof(word));
		hash = (hash ^ word) * factor;
		hash ^= hash >> 32;
	}
	word = text.length;
	for (; i < text.length; i++)
		word = word << 8 | (uint8_t)text.data[i];
	hash = (hash ^ word) * factor;
	return hash ^ hash >> 32;
}

static uint64_t hash_of(const struct envelope *message)
{
	return mix(mix(mix(0, message->from), message->nonce), message->lane);
}

static bool is_of(const struct sender *sender, const struct envelope *message)
{
	const char *nonce = sender->names + sender->from_length;

	return is_same(sender->names, sender->from_length, message->from) &&
	       is_same(nonce, sender->nonce_length, message->nonce) &&
	       is_same(nonce + sender->nonce_length, sender->lane_length,
		       message->lane);
}

static struct sender **place_of(struct envelope_book *book, uint64_t hash,
				const struct envelope *message)
{
	struct sender **place = &book->buckets[hash & (book->bucket_count - 1)];

	while (*place != NULL &&
	       ((*place)->hash != hash || !is_of(*place, message)))
		place = &(*place)->next;
	return place;
}

static void forget_oldest(struct envelope_book *book)
{
	struct sender *oldest =
		LIST_ENTRY(book->by_use.next, struct sender, by_use);
	struct sender **place =
		&book->buckets[oldest->hash & (book->bucket_count - 1)];

	while (*place != oldest)
		place = &(*place)->next;
	*place = oldest->next;
	list_remove(&oldest->by_use);
	free(oldest);
	book->sender_count--;
	book->counters.forgotten++;
}

static char *append(char *at, struct envelope_text text)
{
	if (text.length > 0)
		memcpy(at, text.data, text.length);
	return at + text.length;
}

static void remember(struct envelope_book *book, uint64_t hash,
		     const struct envelope *message)
{
	struct sender *sender =
		mem_zalloc(sizeof(*sender) + message->from.length +
			   message->nonce.length + message->lane.length);

	if (book->sender_count == book->senders_max)
		forget_oldest(book);
	struct sender **bucket =
		&book->buckets[hash & (book->bucket_count - 1)];

	sender->hash = hash;
	sender->last = message->seq;
	sender->taken = UINT64_MAX;
	sender->from_length = message->from.length;
	sender->nonce_length = message->nonce.length;
	sender->lane_length = message->lane.length;
	DISCARD(append(
		append(append(sender->names, message->from), message->nonce),
		message->lane));
	sender->next = *bucket;
	*bucket = sender;
	list_add_last(&book->by_use, &sender->by_use);
	book->sender_count++;
}

static bool was_taken(const struct sender *sender, uint64_t seq)
{
	if (seq > sender->last)
		return false;
	return sender->last - seq >= 64 ||
	       (sender->taken >> (sender->last - seq) & 1) != 0;
}

static uint64_t take_number(struct sender *sender, uint64_t seq)
{
	if (seq <= sender->last) {
		sender->taken |= UINT64_C(1) << (sender->last - seq);
		return 0;
	}
	uint64_t ahead = seq - sender->last;

	sender->taken = ahead < 64 ? sender->taken << ahead : 0;
	sender->taken |= 1;
	sender->last = seq;
	return ahead - 1;
}

/* ---- opening ---- */

struct reader {
	const char *at;
	const char *end;
};

static bool take(struct reader *reader, const char *bytes, size_t length)
{
	if ((size_t)(reader->end - reader->at) < length ||
	    memcmp(reader->at, bytes, length) != 0)
		return false;
	reader->at += length;
	return true;
}

#define TAKE(reader, literal) take((reader), (literal), sizeof(literal) - 1)

/* Up to the quote, which is taken. */
static bool take_name(struct reader *reader, size_t length_max,
		      struct envelope_text *name)
{
	size_t left = (size_t)(reader->end - reader->at);
	const char *quote = memchr(
		reader->at, '"', left < length_max + 1 ? left : length_max + 1);

	if (quote == NULL)
		return false;
	*name = (struct envelope_text){ reader->at,
					(size_t)(quote - reader->at) };
	reader->at = quote + 1;
	return is_name(*name, length_max);
}

static bool take_digits(struct reader *reader, uint64_t *number)
{
	const char *first = reader->at;

	*number = 0;
	while (reader->at < reader->end && *reader->at >= '0' &&
	       *reader->at <= '9' && reader->at - first < NUMBER_MAX)
		*number = *number * 10 + (uint64_t)(*reader->at++ - '0');
	return reader->at > first && (*first != '0' || reader->at == first + 1);
}

/* The order of the members is fixed, and there is no space between them. */
static bool read_head(struct reader *reader, struct envelope_text *kid,
		      struct envelope *message)
{
	if (!TAKE(reader, "\"v\":1,\"kid\":\"") ||
	    !take_name(reader, KID_LETTERS, kid) ||
	    !TAKE(reader, ",\"messageType\":\"") ||
	    !take_name(reader, ENVELOPE_NAME_MAX, &message->type) ||
	    !TAKE(reader, ",\"serverId\":\"") ||
	    !take_name(reader, ENVELOPE_NAME_MAX, &message->from) ||
	    !TAKE(reader, ",\"nonce\":\"") ||
	    !take_name(reader, ENVELOPE_NAME_MAX, &message->nonce) ||
	    !TAKE(reader, ",\"seq\":") || !take_digits(reader, &message->seq) ||
	    !TAKE(reader, ",\"ts\":") || !take_digits(reader, &message->ts_ms))
		return false;
	if (TAKE(reader, ",\"lane\":\"") &&
	    (!take_name(reader, ENVELOPE_CHANNEL_MAX, &message->lane) ||
	     message->lane.length == 0))
		return false;
	if (TAKE(reader, ",\"channel\":\"") &&
	    (!take_name(reader, ENVELOPE_CHANNEL_MAX, &message->channel) ||
	     message->channel.length == 0))
		return false;
	if (TAKE(reader, ",\"kept\":") &&
	    (!take_digits(reader, &message->kept) || message->kept == 0 ||
	     message->channel.length == 0))
		return false;
	return TAKE(reader, ",\"body\":") && message->type.length > 0 &&
	       message->from.length > 0 && message->nonce.length > 0 &&
	       message->seq > 0;
}

static bool read_form(struct envelope_text bytes, struct envelope_text *kid,
		      struct envelope *message)
{
	struct reader reader = { bytes.data, bytes.data + bytes.length };

	*message = (struct envelope){ .seq = 0 };
	if (bytes.length < SIGNED_START || !TAKE(&reader, MAC_START))
		return false;
	reader.at += MAC_LETTERS;
	if (!TAKE(&reader, MAC_END) || !read_head(&reader, kid, message) ||
	    reader.at == reader.end || reader.end[-1] != '}')
		return false;
	message->body =
		(struct envelope_text){ reader.at,
					(size_t)(reader.end - reader.at) - 1 };
	return true;
}

static const struct key *find_key(const struct envelope_keys *keys,
				  struct envelope_text kid)
{
	for (size_t i = 0; i < keys->count; i++)
		if (is_same(keys->list[i].id, KID_LETTERS, kid))
			return &keys->list[i];
	return NULL;
}

static bool is_signed(const struct key *key, struct envelope_text bytes)
{
	char letters[MAC_LETTERS];

	sign(key, bytes.data + SIGNED_START, bytes.length - SIGNED_START,
	     letters);
	return CRYPTO_memcmp(letters, bytes.data + sizeof(MAC_START) - 1,
			     MAC_LETTERS) == 0;
}

static enum envelope_answer check_body(struct envelope_text body)
{
	if (body.length > ENVELOPE_BODY_MAX)
		return ENVELOPE_TOO_LARGE;
	switch (json_check(body.data, body.length, ENVELOPE_DEPTH_MAX)) {
	case JSON_TOO_DEEP:
		return ENVELOPE_TOO_DEEP;
	case JSON_NO_VALUE:
		return ENVELOPE_MALFORMED;
	case JSON_VALUE:
		break;
	}
	return ENVELOPE_TAKEN;
}

static enum envelope_answer check_time(uint64_t ts_ms, uint64_t now_ms)
{
	if (ts_ms + ENVELOPE_SKEW_MS < now_ms)
		return ENVELOPE_LATE;
	return ts_ms > now_ms + ENVELOPE_SKEW_MS ? ENVELOPE_EARLY
						 : ENVELOPE_TAKEN;
}

static enum envelope_answer take_new(struct envelope_book *book,
				     struct envelope *message)
{
	uint64_t hash = hash_of(message);
	struct sender *sender = *place_of(book, hash, message);

	if (sender != NULL && was_taken(sender, message->seq))
		return ENVELOPE_REPLAYED;
	enum envelope_answer answer = check_body(message->body);

	if (answer != ENVELOPE_TAKEN)
		return answer;
	if (sender == NULL) {
		message->is_first = true;
		remember(book, hash, message);
		return ENVELOPE_TAKEN;
	}
	message->missed = take_number(sender, message->seq);
	if (sender->is_paused) {
		sender->is_paused = false;
		message->is_first = true;
		message->missed = 0;
	}
	book->counters.missed += message->missed;
	list_remove(&sender->by_use);
	list_add_last(&book->by_use, &sender->by_use);
	return ENVELOPE_TAKEN;
}

/* Is it what it says it is? The body is not looked at yet. */
static enum envelope_answer check_origin(const struct envelope_keys *keys,
					 struct envelope_text bytes,
					 struct envelope *message)
{
	struct envelope_text kid;

	*message = (struct envelope){ .seq = 0 };
	if (bytes.length > ENVELOPE_HEAD_MAX + ENVELOPE_BODY_MAX)
		return ENVELOPE_TOO_LARGE;
	if (!read_form(bytes, &kid, message)) {
		*message = (struct envelope){ .seq = 0 };
		return ENVELOPE_MALFORMED;
	}
	const struct key *key = find_key(keys, kid);

	if (key == NULL)
		return ENVELOPE_UNKNOWN_KEY;
	return is_signed(key, bytes) ? ENVELOPE_TAKEN : ENVELOPE_FORGED;
}

static enum envelope_answer check_all(struct envelope_book *book,
				      struct envelope_text bytes,
				      struct envelope_text lane,
				      uint64_t now_ms, struct envelope *message)
{
	enum envelope_answer answer = check_origin(book->keys, bytes, message);

	if (answer == ENVELOPE_TAKEN)
		answer = check_time(message->ts_ms, now_ms);
	if (answer != ENVELOPE_TAKEN)
		return answer;
	/* Whole and genuine, but sent on another way. */
	if (!is_same(lane.data, lane.length, message->lane))
		return ENVELOPE_REPLAYED;
	return take_new(book, message);
}

enum envelope_answer envelope_open_kept(const struct envelope_keys *keys,
					struct envelope_text bytes,
					struct envelope_text channel,
					struct envelope *message)
{
	enum envelope_answer answer = check_origin(keys, bytes, message);

	if (answer != ENVELOPE_TAKEN)
		return answer;
	/* It was never meant for this log. */
	if (message->kept == 0 ||
	    !is_same(channel.data, channel.length, message->channel))
		return ENVELOPE_REPLAYED;
	return check_body(message->body);
}

enum envelope_answer envelope_open(struct envelope_book *book,
				   struct envelope_text bytes,
				   struct envelope_text lane, uint64_t now_ms,
				   struct envelope *message)
{
	enum envelope_answer answer =
		check_all(book, bytes, lane, now_ms, message);

	book->counters.answers[answer]++;
	return answer;
}
