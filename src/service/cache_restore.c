#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/cache.h"
#include "service/cache_file.h"
#include "service/routine.h"

#define READ_BYTES   65536
#define BATCH        256 /* entries under way */
#define BATCH_BYTES  ((size_t)4 * 1024 * 1024)
#define LINE_BESIDES ((size_t)1024 * 1024) /* a line, beside one value */

/* A file that is read twice: to see that it can be restored, then to do it.
 * Reading and parsing run on another thread. */
struct restore {
	struct muster *muster;
	const char *path;
	int descriptor;
	struct buffer buffer; /* read and not yet taken */
	bool is_read;         /* to its end */
	struct cache_reader reader;
	struct arena arena; /* of the batch */
	struct store_cache_entry entries[BATCH];
	size_t count;
	size_t bytes; /* of lines in the batch */
	bool has_ended;
	struct problem problem; /* of the other thread; code 0: none */
	struct muster_cache_restored restored;

	/* Of what is under way. */
	size_t left;
	struct fiber_wait wait;
	struct problem refused; /* by the store, the first; code 0: none */
};

/* ---- on another thread ---- */

static int unusable(struct restore *restore)
{
	int error = errno;

	return problem_set(&restore->problem, -error, "FILE_UNUSABLE",
			   "cannot read '%.120s': %s", restore->path,
			   strerror(error));
}

static int torn(struct restore *restore)
{
	return problem_set(&restore->problem, -EBADMSG, "DUMP_TORN",
			   "the dump '%.120s' is not whole: it ends in the "
			   "middle (use another)",
			   restore->path);
}

static void open_file(void *arg)
{
	struct restore *restore = arg;
	struct stat status;

	/* A pipe that nobody writes to would keep us for ever. */
	restore->descriptor =
		open(restore->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (restore->descriptor < 0 ||
	    fstat(restore->descriptor, &status) < 0) {
		unusable(restore);
		return;
	}
	if (!S_ISREG(status.st_mode)) {
		errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
		unusable(restore);
	}
}

static int read_more(struct restore *restore)
{
	uint8_t *room = buffer_reserve(&restore->buffer, READ_BYTES);
	ssize_t got;

	do
		got = read(restore->descriptor, room, READ_BYTES);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return unusable(restore);
	buffer_extend(&restore->buffer, (size_t)got);
	restore->is_read = got == 0;
	return 0;
}

/* Escaped, a byte takes six. */
static int too_long(struct restore *restore)
{
	size_t most = restore->reader.value_bytes_max * 6 + LINE_BESIDES;

	if (buffer_length(&restore->buffer) <= most)
		return 0;
	return problem_set(
		&restore->problem, -EBADMSG,
		restore->reader.line == 0 ? "DUMP_FOREIGN" : "DUMP_DAMAGED",
		"'%.80s' has a line of more than %zu bytes after line %" PRIu64
		", which no dump has that this node can take (raise "
		"cache_value_bytes if it is one)",
		restore->path, most, restore->reader.line);
}

/* The next line, which stays where it is until more is read. */
static int next_line(struct restore *restore, struct store_bytes *line)
{
	const char *end = NULL;
	size_t looked = 0;

	for (;;) {
		size_t length = buffer_length(&restore->buffer);
		const char *start =
			(const char *)buffer_bytes(&restore->buffer);

		if (length > looked)
			end = memchr(start + looked, '\n', length - looked);
		if (end != NULL) {
			*line = store_bytes(start, (size_t)(end - start));
			return 0;
		}
		looked = length;
		if (restore->is_read)
			return torn(restore);
		int error = too_long(restore);

		if (error == 0)
			error = read_more(restore);
		if (error < 0)
			return error;
	}
}

/* Nothing but lines that have been taken. */
static int end_file(struct restore *restore)
{
	while (buffer_length(&restore->buffer) == 0 && !restore->is_read)
		if (read_more(restore) < 0)
			return restore->problem.code;
	if (buffer_length(&restore->buffer) == 0)
		return 0;
	return problem_set(&restore->problem, -EBADMSG, "DUMP_DAMAGED",
			   "something follows the end of the dump '%.120s'",
			   restore->path);
}

static int take_line(struct restore *restore)
{
	struct store_cache_entry *entry = &restore->entries[restore->count];
	struct store_bytes line = { NULL, 0 };
	int answer = next_line(restore, &line);

	if (answer < 0)
		return answer;
	answer = cache_reader_take(&restore->reader, line, &restore->arena,
				   entry, &restore->problem);
	buffer_consume(&restore->buffer, line.length + 1);
	if (answer < 0)
		return answer;
	restore->has_ended = answer == CACHE_LINE_END;
	if (restore->has_ended)
		return end_file(restore);
	restore->bytes += line.length;
	restore->count += entry->key.length > 0;
	return 0;
}

static void take_batch(void *arg)
{
	struct restore *restore = arg;

	arena_fini(&restore->arena);
	restore->count = restore->bytes = 0;
	while (!restore->has_ended && restore->count < BATCH &&
	       restore->bytes < BATCH_BYTES)
		if (take_line(restore) < 0)
			break;
}

static void check_all(void *arg)
{
	struct restore *restore = arg;

	do
		take_batch(restore);
	while (restore->problem.code == 0 && !restore->has_ended);
	arena_fini(&restore->arena);
}

static void rewind_file(void *arg)
{
	struct restore *restore = arg;

	if (lseek(restore->descriptor, 0, SEEK_SET) < 0)
		unusable(restore);
	buffer_consume(&restore->buffer, buffer_length(&restore->buffer));
	cache_reader_fini(&restore->reader);
	restore->reader.line = restore->reader.count = 0;
	restore->reader.has_ended = false;
	restore->has_ended = restore->is_read = false;
}

/* ---- on the fiber ---- */

static int run(struct restore *restore, void (*step)(void *arg))
{
	int error = muster_blocking(restore->muster, step, restore);

	if (error < 0 || restore->problem.code == 0)
		return error;
	*routine_problem(restore->muster) = restore->problem;
	return restore->problem.code;
}

static void on_answer(struct restore *restore,
		      const struct store_answer *answer)
{
	if (answer->error < 0 && restore->refused.code == 0)
		restore->refused = *answer->problem;
	if (--restore->left == 0)
		fiber_wake(restore->wait, 0);
}

static void on_imported(void *owner, const struct store_answer *answer)
{
	struct restore *restore = owner;

	if (answer->error == 0 && answer->result == STORE_DONE)
		restore->restored.count++;
	if (answer->error == 0 && answer->result == STORE_NOT_FOUND)
		restore->restored.expired++;
	on_answer(restore, answer);
}

/* The rest of a list is no key of its own. */
static void on_continued(void *owner, const struct store_answer *answer)
{
	on_answer(owner, answer);
}

static int put_batch(struct restore *restore)
{
	struct muster *muster = restore->muster;

	if (restore->count == 0)
		return 0;
	if (muster->store == NULL)
		return problem_set(routine_problem(muster), -ENOTCONN,
				   "STORE_CLOSED",
				   "the store is closed, as this node ends");
	restore->left = restore->count;
	restore->wait = fiber_wait_begin();
	for (size_t i = 0; i < restore->count; i++) {
		const struct store_cache_entry *entry = &restore->entries[i];

		store_cache_import(
			muster->store,
			&(struct store_cache_import){ .entry = *entry },
			entry->is_continued ? on_continued : on_imported,
			restore);
	}
	int error = routine_park(muster, restore->wait, 0);

	if (error < 0) {
		store_forget(muster->store, restore);
		return error;
	}
	if (restore->refused.code == 0)
		return 0;
	*routine_problem(muster) = restore->refused;
	/* An embedded store knows a limit of its own. */
	if (restore->refused.code == -EMSGSIZE)
		routine_problem(muster)->name = "VALUE_TOO_LARGE";
	return restore->refused.code;
}

static int restore_all(struct restore *restore)
{
	int error = run(restore, open_file);

	if (error == 0)
		error = run(restore, check_all);
	if (error == 0)
		error = run(restore, rewind_file);
	while (error == 0 && !restore->has_ended) {
		error = run(restore, take_batch);
		if (error == 0)
			error = put_batch(restore);
	}
	return error;
}

int muster_cache_restore(struct muster *muster, const char *path,
			 struct muster_cache_restored *restored)
{
	int error = routine_check(muster);

	if (error < 0)
		return error;
	struct restore *restore = mem_zalloc(sizeof(*restore));

	restore->muster = muster;
	restore->path = path;
	restore->descriptor = -1;
	restore->reader.value_bytes_max =
		muster->settings.options.cache_value_bytes;
	error = restore_all(restore);
	if (restore->descriptor >= 0)
		close(restore->descriptor);
	cache_reader_fini(&restore->reader);
	arena_fini(&restore->arena);
	buffer_fini(&restore->buffer);
	if (restored != NULL)
		*restored = restore->restored;
	free(restore);
	return error;
}
