#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "service/cache.h"
#include "service/cache_file.h"
#include "service/routine.h"

#define PAGE 200
#define LINES_MOST                                                             \
	((size_t)1024 * 1024) /* gathered before they are written              \
			       */

/* A file on its way to be in the place of `path`. What touches the disk runs
 * on another thread. */
struct dump {
	struct muster *muster;
	const char *path;
	char *temporary; /* NULL: there is none */
	int descriptor;
	struct buffer buffer;
	uint64_t count;
	int error; /* of the other thread */
};

/* ---- on another thread ---- */

static int keep_error(struct dump *dump)
{
	return dump->error = -errno;
}

static void open_temporary(void *arg)
{
	struct dump *dump = arg;
	struct stat status;

	if (stat(dump->path, &status) == 0 && !S_ISREG(status.st_mode)) {
		dump->error = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
		return;
	}
	dump->temporary = mem_format("%s.XXXXXX", dump->path);
	dump->descriptor = mkostemp(dump->temporary, O_CLOEXEC);
	if (dump->descriptor >= 0)
		return;
	keep_error(dump);
	free(dump->temporary);
	dump->temporary = NULL;
}

static void write_lines(void *arg)
{
	struct dump *dump = arg;
	struct buffer *buffer = &dump->buffer;

	while (buffer_length(buffer) > 0 && dump->error == 0) {
		ssize_t written = write(dump->descriptor, buffer_bytes(buffer),
					buffer_length(buffer));

		if (written >= 0)
			buffer_consume(buffer, (size_t)written);
		else if (errno != EINTR)
			keep_error(dump);
	}
}

/* The name is on the disk when the folder is. */
static void sync_folder(struct dump *dump)
{
	char *copy = mem_text(dump->path);
	int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0 || fsync(folder) < 0)
		keep_error(dump);
	if (folder >= 0)
		close(folder);
	free(copy);
}

static void put_in_place(void *arg)
{
	struct dump *dump = arg;

	write_lines(dump);
	if (dump->error == 0 && fsync(dump->descriptor) < 0)
		keep_error(dump);
	if (dump->error != 0)
		return;
	if (rename(dump->temporary, dump->path) < 0) {
		keep_error(dump);
		return;
	}
	free(dump->temporary);
	dump->temporary = NULL;
	sync_folder(dump);
}

/* ---- on the fiber ---- */

static int run(struct dump *dump, void (*step)(void *arg))
{
	int error = muster_blocking(dump->muster, step, dump);

	if (error < 0 || dump->error == 0)
		return error;
	return problem_set(routine_problem(dump->muster), dump->error,
			   "FILE_UNUSABLE", "cannot write '%.120s': %s",
			   dump->path,
			   dump->error == -EINVAL ? "it is not a regular file"
						  : strerror(-dump->error));
}

static void take_page(struct dump *dump, const struct store_answer *answer)
{
	for (size_t i = 0; i < answer->entries.count; i++) {
		const struct store_cache_entry *entry =
			&answer->entries.list[i];

		cache_file_write_entry(&dump->buffer, entry);
		dump->count += !entry->is_continued;
	}
}

/* Where the next page begins, in *cursor; empty: that was the last. */
static int add_page(struct dump *dump, char room[128],
		    struct store_bytes *cursor)
{
	struct muster *muster = dump->muster;
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cache_export(muster->store,
			   &(struct store_cache_export){ .cursor = *cursor,
							 .limit = PAGE },
			   ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error < 0)
		return error;
	take_page(dump, ask.answer);
	*cursor = store_bytes(room, ask.answer->entries.cursor.length);
	if (cursor->length > 0)
		memcpy(room, ask.answer->entries.cursor.data, cursor->length);
	return buffer_length(&dump->buffer) < LINES_MOST
		       ? 0
		       : run(dump, write_lines);
}

static int dump_all(struct dump *dump)
{
	struct store_bytes cursor = { NULL, 0 };
	char room[128];
	int error = run(dump, open_temporary);

	if (error < 0)
		return error;
	cache_file_write_head(&dump->buffer, cache_now_ms());
	do
		error = add_page(dump, room, &cursor);
	while (error == 0 && cursor.length > 0);
	if (error < 0)
		return error;
	cache_file_write_end(&dump->buffer, dump->count);
	return run(dump, put_in_place);
}

int muster_cache_dump(struct muster *muster, const char *path, uint64_t *count)
{
	struct dump dump = { .muster = muster, .path = path, .descriptor = -1 };
	int error = routine_check(muster);

	if (error < 0)
		return error;
	error = dump_all(&dump);
	if (dump.descriptor >= 0)
		close(dump.descriptor);
	if (dump.temporary != NULL)
		unlink(dump.temporary);
	free(dump.temporary);
	buffer_fini(&dump.buffer);
	if (error == 0 && count != NULL)
		*count = dump.count;
	return error;
}
