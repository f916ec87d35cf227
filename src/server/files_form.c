/* Opening files, and the forms they are sent in: see files_internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/work.h"
#include "server/files_internal.h"
#include "server/gzip.h"
#include "server/mime.h"

#define RACES_MAX 8

/* ---- Opening ---- */

/* For kernels before 5.6, and filters that forbid it: name by name, none of
 * which may be a symbolic link. */
static int open_by_names(int root, const char *path, int flags)
{
	int at = root;

	for (;;) {
		size_t length = strcspn(path, "/");
		bool is_last = path[length] == 0;
		char name[256];

		if (length >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, path, length);
		name[length] = 0;
		int next = openat(
			at, name,
			O_NOFOLLOW | O_CLOEXEC |
				(is_last ? flags : O_PATH | O_DIRECTORY));
		int error = next < 0 ? -errno : 0;

		if (at != root)
			close(at);
		if (error < 0 || is_last)
			return error < 0 ? error : next;
		at = next;
		path += length + 1;
	}
}

int files_open_beneath(struct files *files, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};

	for (int race = 0; files->has_openat2 && race < RACES_MAX; race++) {
		int descriptor = (int)syscall(SYS_openat2, files->root, path,
					      &how, sizeof(how));

		if (descriptor >= 0)
			return descriptor;
		if (errno == ENOSYS || errno == EPERM)
			files->has_openat2 = false;
		else if (errno != EAGAIN) /* a rename at the same time */
			return -errno;
	}
	if (files->has_openat2)
		return -EAGAIN;
	return open_by_names(files->root, path, flags);
}

/* ---- Forms ---- */

static void describe_form(struct file *file, struct files_form *form,
			  const char *suffix)
{
	const struct timespec *modified = &file->status.st_mtim;
	/* What was written a moment ago may be written again within one tick
	 * of the file system's clock. */
	bool is_weak = file->files->options.weak_etags ||
		       time(NULL) - modified->tv_sec < 2;
	struct buffer *fields = &form->fields;

	DISCARD(snprintf(form->etag, sizeof(form->etag),
			 "%s\"%" PRIx64 "-%" PRIx64 "%s\"", is_weak ? "W/" : "",
			 (uint64_t)file->status.st_size,
			 (uint64_t)modified->tv_sec * 1000000000u +
				 (uint64_t)modified->tv_nsec,
			 suffix));
	buffer_truncate(fields, 0);
	buffer_append_format(fields, "ETag: %s\r\nLast-Modified: %.29s\r\n",
			     form->etag, file->modified);
	if (*file->files->cache_control != 0)
		buffer_append_format(fields, "Cache-Control: %s\r\n",
				     file->files->cache_control);
	if (mime_is_compressible(file->type) && !file->files->options.no_gzip)
		buffer_append_text(fields, "Vary: Accept-Encoding\r\n");
	buffer_append_text(fields, "X-Content-Type-Options: nosniff\r\n");
}

void files_describe(struct file *file)
{
	file->type = mime_type(file->path);
	file->modified_s = file->status.st_mtim.tv_sec;
	http_date_write(file->modified, file->modified_s);
	describe_form(file, &file->plain, "");
	buffer_append_text(&file->plain.fields, "Accept-Ranges: bytes\r\n");
	if (file->files->options.no_gzip || !mime_is_compressible(file->type) ||
	    file->plain.length < FILES_PACKED_BYTES_MIN)
		file->packing = FILES_PACKING_NONE;
	files_load(file, &file->plain);
}

static bool read_whole(int descriptor, struct buffer *to, size_t length)
{
	uint8_t *bytes = buffer_reserve(to, length + 1);
	size_t got = 0;

	while (got < length) {
		ssize_t some = pread(descriptor, bytes + got, length - got,
				     (off_t)got);

		if (some < 0 && errno == EINTR)
			continue;
		if (some <= 0)
			return false; /* it has become shorter */
		got += (size_t)some;
	}
	buffer_extend(to, length);
	return true;
}

void files_load(struct file *file, struct files_form *form)
{
	if (form->descriptor < 0 || form->length > FILES_SMALL_BYTES)
		return;
	if (!read_whole(form->descriptor, &form->bytes, (size_t)form->length)) {
		buffer_fini(&form->bytes);
		return;
	}
	close(form->descriptor);
	form->descriptor = -1;
	files_account(file, (int64_t)form->length);
}

/* ---- gzip ---- */

bool files_is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* A .gz beside it, that is not older; -1. */
static int open_beside(struct file *file, struct stat *status)
{
	char *path = mem_format("%s.gz", file->path);
	int descriptor =
		files_open_beneath(file->files, path, O_RDONLY | O_NONBLOCK);

	free(path);
	if (descriptor < 0)
		return -1;
	if (fstat(descriptor, status) == 0 && S_ISREG(status->st_mode) &&
	    status->st_mtim.tv_sec >= file->modified_s)
		return descriptor;
	close(descriptor);
	return -1;
}

static bool take_packed_beside(struct file *file)
{
	struct stat status;
	int descriptor = open_beside(file, &status);

	if (descriptor < 0)
		return false;
	file->beside = status;
	file->packed.descriptor = descriptor;
	file->packed.length = (uint64_t)status.st_size;
	return true;
}

bool files_packed_is_current(struct file *file)
{
	struct stat status;
	int descriptor;

	if (file->beside.st_ino == 0)
		return true;
	descriptor = open_beside(file, &status);
	if (descriptor < 0)
		return false;
	close(descriptor);
	return files_is_same(&status, &file->beside);
}

static void finish_packing(struct file *file)
{
	char suffix[32] = "-gz";

	/* One that lies beside it may change by itself. */
	if (file->beside.st_ino != 0)
		DISCARD(snprintf(
			suffix, sizeof(suffix), "-gz%" PRIx64,
			(uint64_t)file->beside.st_mtim.tv_sec * 1000000000u +
				(uint64_t)file->beside.st_mtim.tv_nsec));
	describe_form(file, &file->packed, suffix);
	buffer_append_text(&file->packed.fields, "Content-Encoding: gzip\r\n");
	file->packing = FILES_PACKING_DONE;
}

/* Sent together by the thread pool: it alone touches these meanwhile. */
struct packing {
	struct file *file;
	int descriptor;
	size_t length;
	struct buffer packed;
	bool is_done;
};

static void run_packing(void *arg)
{
	struct packing *packing = arg;
	struct buffer plain = { 0 };

	packing->is_done =
		read_whole(packing->descriptor, &plain, packing->length) &&
		gzip_pack(buffer_bytes(&plain), packing->length,
			  GZIP_LEVEL_KEPT, &packing->packed);
	buffer_fini(&plain);
}

static void take_packed(struct file *file, struct buffer *packed)
{
	file->packed.bytes = *packed;
	file->packed.length = buffer_length(packed);
	*packed = (struct buffer){ 0 };
	finish_packing(file);
	files_account(file, (int64_t)file->packed.length);
}

static void on_packed(void *arg)
{
	struct packing *packing = arg;
	struct file *file = packing->file;

	file->packing = FILES_PACKING_NONE;
	if (packing->is_done)
		take_packed(file, &packing->packed);
	buffer_fini(&packing->packed);
	free(packing);
	files_release(file);
}

static void start_packing(struct file *file)
{
	struct packing *packing = mem_zalloc(sizeof(*packing));

	packing->file = file;
	packing->descriptor = file->plain.descriptor;
	packing->length = (size_t)file->plain.length;
	file->packing = FILES_PACKING_BUSY;
	files_hold(file);
	work_start(file->files->loop, run_packing, packing, on_packed, packing);
}

static void pack_now(struct file *file)
{
	struct buffer packed = { 0 };

	file->packing = FILES_PACKING_NONE;
	if (gzip_pack(buffer_bytes(&file->plain.bytes),
		      (size_t)file->plain.length, GZIP_LEVEL_KEPT, &packed))
		take_packed(file, &packed);
	buffer_fini(&packed);
}

bool files_pack(struct file *file)
{
	if (file->packing == FILES_PACKING_UNKNOWN) {
		file->packing = FILES_PACKING_NONE;
		if (take_packed_beside(file)) {
			finish_packing(file);
			files_load(file, &file->packed);
		} else if (file->plain.descriptor < 0) {
			pack_now(file);
		} else if (file->plain.length <= FILES_PACKED_BYTES_MAX) {
			start_packing(file);
		}
	}
	return file->packing == FILES_PACKING_DONE;
}
