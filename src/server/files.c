#include "server/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "server/files_internal.h"

#define CACHE_CONTROL "public, max-age=60, must-revalidate"
#define FRESH_MS      1000
#define FILES_MAX     1024
#define MEMORY_BYTES  (16u << 20)

static void fini_form(struct files_form *form)
{
	if (form->descriptor >= 0)
		close(form->descriptor);
	buffer_fini(&form->bytes);
	buffer_fini(&form->fields);
}

static void drop_files(struct files *files)
{
	if (--files->references > 0)
		return;
	free(files->index);
	free(files->cache_control);
	if (files->root >= 0)
		close(files->root);
	free(files);
}

void files_hold(struct file *file)
{
	file->references++;
}

void files_release(void *arg)
{
	struct file *file = arg;
	struct files *files = file->files;

	if (--file->references > 0)
		return;
	MUST(!list_is_linked(&file->link));
	fini_form(&file->plain);
	fini_form(&file->packed);
	free(file->path);
	free(file);
	drop_files(files);
}

/* Whoever holds it goes on with it. */
static void forget(struct file *file)
{
	struct files *files = file->files;
	struct file **place = &files->buckets[file->hash % FILES_BUCKETS];

	while (*place != file)
		place = &(*place)->next;
	*place = file->next;
	list_remove(&file->link);
	files->count--;
	files->memory -= buffer_length(&file->plain.bytes) +
			 buffer_length(&file->packed.bytes);
	files_release(file);
}

/* Never the one that is in use. */
static void make_room(struct files *files, const struct file *used)
{
	while (files->count > files->options.open_files ||
	       files->memory > files->options.memory_bytes) {
		struct file *oldest =
			LIST_ENTRY(list_first(&files->used), struct file, link);

		if (oldest == used)
			return;
		forget(oldest);
	}
}

void files_account(struct file *file, int64_t bytes)
{
	if (!list_is_linked(&file->link))
		return;
	file->files->memory += (uint64_t)bytes;
	make_room(file->files, file);
}

/* ---- Finding ---- */

static uint32_t hash_of(const char *path)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *path != 0; path++)
		hash = (hash ^ (uint8_t)*path) * 16777619u;
	return hash;
}

static struct file *look_up(struct files *files, const char *path,
			    uint32_t hash)
{
	struct file *file = files->buckets[hash % FILES_BUCKETS];

	while (file != NULL &&
	       (file->hash != hash || strcmp(file->path, path) != 0))
		file = file->next;
	return file;
}

static struct file *add(struct files *files, const char *path, uint32_t hash,
			int descriptor, const struct stat *status)
{
	struct file *file = mem_zalloc(sizeof(*file));
	struct file **bucket = &files->buckets[hash % FILES_BUCKETS];

	file->files = files;
	file->references = 1;
	file->path = mem_text(path);
	file->hash = hash;
	file->status = *status;
	file->packed.descriptor = -1;
	file->plain.descriptor = descriptor;
	file->plain.length = (uint64_t)status->st_size;
	files->references++;
	file->next = *bucket;
	*bucket = file;
	list_add_last(&files->used, &file->link);
	files->count++;
	files_describe(file);
	return file;
}

/* Opens what the path names now; the file that is known may be it still. */
static enum files_answer open_anew(struct files *files, const char *path,
				   uint32_t hash, struct file **file)
{
	struct stat status;
	/* Not to wait for the writer of a FIFO. */
	int descriptor = files_open_beneath(files, path, O_RDONLY | O_NONBLOCK);
	bool is_there = descriptor >= 0 && fstat(descriptor, &status) == 0;

	if (*file != NULL &&
	    (!is_there || !files_is_same(&status, &(*file)->status) ||
	     !files_packed_is_current(*file))) {
		forget(*file);
		*file = NULL;
	}
	if (is_there && S_ISREG(status.st_mode)) {
		if (*file == NULL)
			*file = add(files, path, hash, descriptor, &status);
		else
			close(descriptor);
		return FILES_FOUND;
	}
	if (descriptor >= 0)
		close(descriptor);
	return is_there && S_ISDIR(status.st_mode) ? FILES_FOLDER : FILES_NONE;
}

static enum files_answer find_one(struct files *files, const char *path,
				  struct file **found)
{
	uint64_t now_ms = loop_now_ms(files->loop);
	uint32_t hash = hash_of(path);
	struct file *file = look_up(files, path, hash);

	if (file == NULL ||
	    now_ms - file->checked_ms >= files->options.fresh_ms) {
		enum files_answer answer = open_anew(files, path, hash, &file);

		if (answer != FILES_FOUND)
			return answer;
		file->checked_ms = now_ms;
	}
	list_remove(&file->link);
	list_add_last(&files->used, &file->link);
	make_room(files, file);
	files_hold(file);
	*found = file;
	return FILES_FOUND;
}

enum files_answer files_find(struct files *files, const char *path,
			     struct file **file)
{
	size_t length = strlen(path);
	bool is_folder = length == 0 || path[length - 1] == '/';

	if (!is_folder)
		return find_one(files, path, file);
	if (*files->index == 0)
		return FILES_NONE;
	char *whole = mem_format("%s%s", path, files->index);
	enum files_answer answer = find_one(files, whole, file);

	free(whole);
	return answer == FILES_FOLDER ? FILES_NONE : answer;
}

/* ---- Life ---- */

static struct muster_http_files_options
with_defaults(const struct muster_http_files_options *options)
{
	struct muster_http_files_options own = *options;

	if (own.fresh_ms == 0)
		own.fresh_ms = FRESH_MS;
	if (own.open_files == 0)
		own.open_files = FILES_MAX;
	if (own.memory_bytes == 0)
		own.memory_bytes = MEMORY_BYTES;
	return own;
}

int files_open(struct loop *loop,
	       const struct muster_http_files_options *options,
	       struct problem *problem, struct files **files_out)
{
	int root = open(options->root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return problem_set(problem, -errno, "FILES_NO_FOLDER",
				   "cannot serve files of %s: %s (name a "
				   "folder that this process may read)",
				   options->root, strerror(errno));
	struct files *files = mem_zalloc(sizeof(*files));

	files->loop = loop;
	files->options = with_defaults(options);
	files->index = mem_text(options->index != NULL ? options->index
						       : "index.html");
	files->cache_control =
		mem_text(options->cache_control != NULL ? options->cache_control
							: CACHE_CONTROL);
	files->root = root;
	files->has_openat2 = true;
	files->references = 1;
	list_init(&files->used);
	*files_out = files;
	return 0;
}

void files_close(struct files *files)
{
	if (files == NULL)
		return;
	while (!list_is_empty(&files->used))
		forget(LIST_ENTRY(list_first(&files->used), struct file, link));
	drop_files(files);
}
