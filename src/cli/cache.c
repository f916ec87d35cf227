#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <muster/cache.h>

#include "base/buffer.h"
#include "base/quantity.h"
#include "cli/guest.h"
#include "cli/print.h"

#define READ_BYTES 65536

enum {
	TTL = GUEST_OPTIONS,
	TYPE,
	RAW,
	ALL,
	OPTIONS,
};

#define TAKES(option) (1ULL << (option))

static const struct command_option options[OPTIONS + 1] = {
	GUEST_ROWS,
	[TTL] = { 't', "ttl", NULL, "TIME",
		  "gone after that: 500 (ms), 10s, 2m, 1h (never)" },
	[TYPE] = { 0, "type", NULL, "TYPE", "of the content (none)" },
	[RAW] = { 'r', "raw", NULL, NULL,
		  "the value alone, without a newline" },
	[ALL] = { 'a', "all", NULL, NULL,
		  "everything, where there is no prefix" },
};

/* What the command line asks for. */
struct request {
	uint32_t ttl_ms;
	const char *type;
	bool is_raw;
	bool is_all;
};

static int take(void *context, int option, const char *value)
{
	struct request *request = context;

	switch (option) {
	case TTL:
		if (quantity_read_time_ms(value, &request->ttl_ms))
			return COMMAND_DONE;
		return guest_wants(&cache_command, option,
				   "a time as in 500 (ms), 10s or 1m", value);
	case TYPE:
		request->type = value;
		return COMMAND_DONE;
	case RAW:
		request->is_raw = true;
		return COMMAND_DONE;
	default: /* ALL */
		request->is_all = true;
		return COMMAND_DONE;
	}
}

/* What an answer of the cache means for a command about one key. */
static int tell(const struct guest *guest, int answer, const char *key)
{
	if (answer == 0)
		return COMMAND_DONE;
	if (answer == MUSTER_NOT_FOUND)
		return command_failed("there is no '%s' in the cache (muster "
				      "cache keys shows what there is)",
				      key);
	if (answer == MUSTER_LOCKED)
		return command_failed("'%s' is locked (try again, or wait "
				      "until the lock has expired)",
				      key);
	return guest_failed(guest);
}

/* ---- get, set, del ---- */

static void print_time(json_t *object, const char *name, uint64_t time_ms)
{
	json_object_set_new(object, name,
			    time_ms == 0 ? json_null()
					 : json_integer((json_int_t)time_ms));
}

static void print_cached(const char *key, const struct muster_cached *cached)
{
	json_t *object = json_object();

	json_object_set_new(object, "key", print_bytes(key, strlen(key)));
	json_object_set_new(object, "value",
			    print_bytes(cached->data, cached->length));
	json_object_set_new(object, "type",
			    print_bytes(cached->type, strlen(cached->type)));
	print_time(object, "createdAt", cached->created_ms);
	print_time(object, "expireTimestamp", cached->expires_ms);
	print_time(object, "readAt", cached->read_ms);
	print_json(object);
}

static int get(struct guest *guest)
{
	const struct request *request = guest->context;
	const char *key = guest->operands[0];
	struct muster_cached cached;
	int answer = muster_cache_load_sliding(guest->muster, key,
					       request->ttl_ms, &cached);

	if (answer != 0)
		return tell(guest, answer, key);
	if (guest->is_json) {
		print_cached(key, &cached);
		return COMMAND_DONE;
	}
	fwrite(cached.data, 1, cached.length, stdout);
	if (!request->is_raw)
		putchar('\n');
	return COMMAND_DONE;
}

struct input {
	struct buffer buffer;
	size_t most;
	int error;
};

/* On another thread: whoever writes to us may take his time. */
static void read_input(void *arg)
{
	struct input *input = arg;
	char block[READ_BYTES];
	size_t count;

	do {
		count = fread(block, 1, sizeof(block), stdin);
		buffer_append(&input->buffer, block, count);
	} while (count > 0 && buffer_length(&input->buffer) <= input->most);
	if (ferror(stdin) != 0)
		input->error = errno;
}

static int set(struct guest *guest)
{
	const struct request *request = guest->context;
	const struct muster_cache_options saved = { .ttl_ms = request->ttl_ms,
						    .type = request->type };
	const char *key = guest->operands[0];
	struct input input = { .most = (size_t)512 * 1024 * 1024 };
	int answer;

	if (guest->operand_count > 1) {
		answer = muster_cache_save_text(guest->muster, key,
						guest->operands[1], &saved);
		return tell(guest, answer, key);
	}
	answer = muster_blocking(guest->muster, read_input, &input);
	if (answer == 0 && input.error == 0)
		answer = muster_cache_save(
			guest->muster, key, buffer_bytes(&input.buffer),
			buffer_length(&input.buffer), &saved);
	buffer_fini(&input.buffer);
	if (input.error != 0)
		return command_failed("cannot read the value: %s",
				      strerror(input.error));
	return tell(guest, answer, key);
}

static int del(struct guest *guest)
{
	int code = COMMAND_DONE;
	json_int_t count = 0;

	for (size_t i = 0; i < guest->operand_count; i++) {
		const char *key = guest->operands[i];
		int answer = muster_cache_destroy(guest->muster, key, NULL);

		if (answer == 0)
			count++;
		else
			code = tell(guest, answer, key);
		if (answer < 0)
			break;
	}
	if (guest->is_json)
		print_json(json_pack("{s:I}", "destroyed", count));
	return code;
}

/* ---- all of them ---- */

static void print_page(const struct muster_cache_page *page, bool is_json,
		       size_t *printed)
{
	for (size_t i = 0; i < page->count; i++) {
		const char *key = page->keys[i];

		if (is_json) {
			fputs(*printed == 0 ? "" : ",", stdout);
			print_json_part(print_bytes(key, strlen(key)));
		} else {
			puts(key);
		}
		*printed += 1;
	}
}

static const char *prefix_of(const struct guest *guest)
{
	return guest->operand_count > 0 ? guest->operands[0] : "";
}

static int keys(struct guest *guest)
{
	struct muster_cache_page page = { 0 };
	size_t printed = 0;
	int answer;

	if (guest->is_json)
		putchar('[');
	do {
		answer = muster_cache_keys(guest->muster, prefix_of(guest),
					   &page);
		if (answer == 0)
			print_page(&page, guest->is_json, &printed);
		muster_clear_answers(guest->muster);
	} while (answer == 0 && page.has_more);
	if (guest->is_json && answer == 0)
		puts("]");
	return answer == 0 ? COMMAND_DONE : guest_failed(guest);
}

static int print_count(const struct guest *guest, const char *name,
		       uint64_t count)
{
	if (guest->is_json)
		print_json(json_pack("{s:I}", name, (json_int_t)count));
	else
		printf("%" PRIu64 "\n", count);
	return COMMAND_DONE;
}

static int size(struct guest *guest)
{
	uint64_t count;

	if (muster_cache_size(guest->muster, &count) < 0)
		return guest_failed(guest);
	return print_count(guest, "size", count);
}

static int clear(struct guest *guest)
{
	uint64_t count;

	if (muster_cache_clear(guest->muster, prefix_of(guest), &count) < 0)
		return guest_failed(guest);
	return print_count(guest, "destroyed", count);
}

static int dump(struct guest *guest)
{
	uint64_t count;

	if (muster_cache_dump(guest->muster, guest->operands[0], &count) < 0)
		return guest_failed(guest);
	return print_count(guest, "dumped", count);
}

static int restore(struct guest *guest)
{
	struct muster_cache_restored restored;

	if (muster_cache_restore(guest->muster, guest->operands[0], &restored) <
	    0)
		return guest_failed(guest);
	if (guest->is_json)
		print_json(json_pack("{s:I, s:I}", "restored",
				     (json_int_t)restored.count, "expired",
				     (json_int_t)restored.expired));
	else
		printf("%" PRIu64 "\n", restored.count);
	return COMMAND_DONE;
}

/* All of it goes only where that was asked for. */
static int check(const struct guest *guest)
{
	const struct request *request = guest->context;

	if (guest->verb->run != clear ||
	    (prefix_of(guest)[0] == '\0') == request->is_all)
		return COMMAND_DONE;
	return command_misused(&cache_command,
			       "cache clear needs a PREFIX, or --all and none");
}

static const struct command_verb verbs[] = {
	{ "get", NULL, "KEY", "shows a value; with --ttl it is kept that long",
	  1, 1, TAKES(TTL) | TAKES(RAW), get },
	{ "set", NULL, "KEY [VALUE]", "saves VALUE, or what stdin says", 1, 2,
	  TAKES(TTL) | TAKES(TYPE), set },
	{ "del", "delete", "KEY...", "destroys values, lists and counters", 1,
	  UINT_MAX, 0, del },
	{ "keys", NULL, "[PREFIX]", "shows what there is", 0, 1, 0, keys },
	{ "size", NULL, "", "shows how many keys there are", 0, 0, 0, size },
	{ "clear", NULL, "PREFIX", "destroys all that begins with it", 0, 1,
	  TAKES(ALL), clear },
	{ "dump", NULL, "FILE", "writes all there is into a file", 1, 1, 0,
	  dump },
	{ "restore", NULL, "FILE", "puts back what dump has written", 1, 1, 0,
	  restore },
	{ 0 },
};

static int run(struct arguments *arguments)
{
	struct request request = { 0 };

	return guest_run(arguments,
			 &(struct guest_plan){ .take = take,
					       .check = check,
					       .context = &request });
}

const struct command cache_command = {
	.name = "cache",
	.operands = "VERB [OPERAND...]",
	.summary = "Shows and changes the cache that servers share",
	.options = options,
	.verbs = verbs,
	.run = run,
};
