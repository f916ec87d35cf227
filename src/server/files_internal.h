/* What the files of files share: a file, and the forms that it is sent in. */
#pragma once
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/list.h"
#include "server/files.h"
#include "wire/http_date.h"

#define FILES_BUCKETS 1024
/* Up to that much is read into memory and sent from there. */
#define FILES_SMALL_BYTES 32768
/* More is not compressed here: put a .gz beside it. */
#define FILES_PACKED_BYTES_MAX (4u << 20)
/* Nor is less. */
#define FILES_PACKED_BYTES_MIN 256

/* One form of a file: as it is, or gzip. */
struct files_form {
	int descriptor; /* -1: in `bytes` */
	struct buffer bytes;
	uint64_t length;
	char etag[80];
	struct buffer fields; /* of every reply with it */
};

enum files_packing {
	FILES_PACKING_UNKNOWN,
	FILES_PACKING_NONE, /* does not pay, or cannot be */
	FILES_PACKING_BUSY,
	FILES_PACKING_DONE,
};

struct file {
	struct list link;  /* in the order of use; not linked: forgotten */
	struct file *next; /* of the bucket */
	struct files *files;
	unsigned references;
	char *path;
	uint32_t hash;
	uint64_t checked_ms;
	struct stat status;
	const char *type;
	int64_t modified_s;
	char modified[HTTP_DATE_BYTES];
	struct files_form plain;
	struct files_form packed;
	enum files_packing packing;
	struct stat beside; /* the .gz that was taken; st_ino 0: none */
};

struct files {
	struct loop *loop;
	struct muster_http_files_options options;
	char *index;
	char *cache_control;
	int root;
	bool has_openat2;
	bool is_closed;
	unsigned references; /* files that are out, and itself */
	struct file *buckets[FILES_BUCKETS];
	struct list used; /* the last used last */
	size_t count;
	uint64_t memory;
};

/* files.c */

void files_hold(struct file *file);
void files_release(void *arg); /* a file */
/* More, or less, is kept in memory: forgets what was not used for long. */
void files_account(struct file *file, int64_t bytes);

enum files_answer {
	FILES_FOUND = 0,
	FILES_NONE,
	FILES_FOLDER, /* to be asked for with a slash */
};

/* A path of url_path's. The file is held. */
enum files_answer files_find(struct files *files, const char *path,
			     struct file **file);

/* files_form.c */

/* -errno, or a descriptor. */
int files_open_beneath(struct files *files, const char *path, int flags);
/* Type, dates, headers; and the content, where it is small. */
void files_describe(struct file *file);
void files_load(struct file *file, struct files_form *form);
bool files_is_same(const struct stat *a, const struct stat *b);
/* Is the .gz beside it, where that is what is sent, still the same? */
bool files_packed_is_current(struct file *file);
/* Is there a form for a client that takes gzip? Sees to it that there will
 * be. */
bool files_pack(struct file *file);
