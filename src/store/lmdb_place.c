#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/lmdb_internal.h"

#define TMPFS_MAGIC    0x01021994
#define SHARED_ROOM    ((uint64_t)64 << 20) /* beside the cache */
#define SHARED_LEAST   ((uint64_t)16 << 20)
#define CACHE_MOST     ((uint64_t)1 << 36)
#define READER_BYTES   64
#define LOCK_FILE_SIZE ((off_t)1025 * READER_BYTES + 4096)
#define BOOT_LENGTH    36

/*
 * Files beside LMDB's own: "users" is locked, shared, by everyone who has the
 * store open (flock(2), which knows no pid namespaces, and which the kernel
 * gives back at death); "place" says what the first of them chose.
 */
struct choice {
	char boot[BOOT_LENGTH + 1];
	uint64_t namespace;
	uint64_t map_bytes;
	uint64_t shared_bytes;
	uint64_t cache_bytes;
	char shared_path[PATH_MAX];
};

/* One environment a directory: LMDB's locks are those of the process, and
 * closing a second one would drop the first one's (fcntl(2)). */
static struct list open_places = { &open_places, &open_places };
static pthread_mutex_t open_places_mutex = PTHREAD_MUTEX_INITIALIZER;

void lmdb_places_hold(void)
{
	pthread_mutex_lock(&open_places_mutex);
}

void lmdb_places_release(void)
{
	pthread_mutex_unlock(&open_places_mutex);
}

struct lmdb *lmdb_place_known(const char *path)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return NULL;
	LIST_EACH (&open_places, link) {
		struct lmdb *lmdb = LIST_ENTRY(link, struct lmdb, link);

		if (lmdb->device == status.st_dev &&
		    lmdb->inode == status.st_ino)
			return lmdb;
	}
	return NULL;
}

/* Locks and shared memory do not reach over a network. */
static bool is_remote(const char *path)
{
	/* NFS, SMB (three), Ceph, 9P, AFS (two), Lustre, BeeGFS, GPFS, OCFS2,
	 * GFS2, OrangeFS, Coda, NCP. */
	static const unsigned magics[] = {
		0x6969,     0x517b,     0xff534d42, 0xfe534d42,
		0x00c36400, 0x01021997, 0x5346414f, 0x6b414653,
		0x0bd00bd0, 0x19830326, 0x47504653, 0x7461636f,
		0x01161970, 0x20030528, 0x73757245, 0x564c,
	};
	struct statfs status;

	if (statfs(path, &status) < 0)
		return false;
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if ((unsigned)status.f_type == magics[i])
			return true;
	return false;
}

/* Of what errno says. */
static const char *way_out(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return "give this user the right to write there";
	case EROFS:
		return "choose a directory that can be written to";
	case ENOSPC:
	case EDQUOT:
		return "make room on that disk";
	case ENOTDIR:
	case EEXIST:
		return "choose the path of a directory";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files";
	default:
		return "choose another directory";
	}
}

static int refuse(struct problem *problem, const char *path)
{
	int error = errno;

	return problem_set(problem, -error, "STORE_OPEN_FAILED",
			   "cannot open the store in %s: %s (%s)", path,
			   strerror(error), way_out(error));
}

/* With all that is above it. */
static int make_directory(const char *path)
{
	char *copy = mem_text(path);
	int error = 0;

	for (char *at = copy + 1; *at != '\0' && error == 0; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			error = -errno;
		*at = '/';
	}
	if (error == 0 && mkdir(copy, 0700) < 0 && errno != EEXIST)
		error = -errno;
	free(copy);
	return error;
}

void lmdb_place_boot(char boot[BOOT_LENGTH + 1])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(boot, '0', BOOT_LENGTH);
	boot[BOOT_LENGTH] = '\0';
	if (file == NULL)
		return;
	/* Where it cannot be read all boots are one. */
	DISCARD(fread(boot, 1, BOOT_LENGTH, file));
	fclose(file);
}

static uint64_t pid_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) < 0 ? 0 : status.st_ino;
}

/* Bytes that a directory on a tmpfs has left; 0 where it is none. */
static uint64_t tmpfs_left(const char *path)
{
	struct statfs status;

	if (path == NULL || statfs(path, &status) < 0 ||
	    (unsigned)status.f_type != TMPFS_MAGIC || access(path, W_OK) < 0)
		return 0;
	/* A tmpfs mounted without a size says 0 blocks. */
	if (status.f_blocks == 0)
		return CACHE_MOST;
	return (uint64_t)status.f_bavail * (uint64_t)status.f_bsize;
}

/* What an earlier cache in there has taken: it is ours again. */
static uint64_t cache_file_bytes(const char *directory)
{
	char *path = mem_format("%s/data.mdb", directory);
	struct stat status;
	uint64_t bytes =
		stat(path, &status) < 0 ? 0 : (uint64_t)status.st_blocks * 512;

	free(path);
	return bytes;
}

static uint64_t memory_bytes(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) *
	       (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The directory for what may go with the boot, and how much it takes. */
static int choose(struct lmdb *lmdb, struct choice *choice,
		  struct problem *problem)
{
	const struct store_options *options = &lmdb->options;
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char name[64];
	uint64_t left;

	snprintf(name, sizeof(name), "%jx-%jx", (uintmax_t)lmdb->device,
		 (uintmax_t)lmdb->inode);
	if (options->volatile_path != NULL)
		snprintf(choice->shared_path, sizeof(choice->shared_path),
			 "%s/%s", options->volatile_path, name);
	else if (runtime != NULL && tmpfs_left(runtime) >= SHARED_LEAST)
		snprintf(choice->shared_path, sizeof(choice->shared_path),
			 "%s/muster/%s", runtime, name);
	else if (tmpfs_left("/dev/shm") >= SHARED_LEAST)
		snprintf(choice->shared_path, sizeof(choice->shared_path),
			 "/dev/shm/muster-%u/%s", (unsigned)getuid(), name);
	else
		snprintf(choice->shared_path, sizeof(choice->shared_path),
			 "%s/shared", lmdb->tasks_path);
	int error = make_directory(choice->shared_path);

	if (error < 0) {
		errno = -error;
		return refuse(problem, choice->shared_path);
	}
	left = tmpfs_left(choice->shared_path);
	choice->map_bytes = options->map_bytes;
	choice->cache_bytes = options->cache_bytes;
	if (choice->cache_bytes == 0)
		choice->cache_bytes = memory_bytes() / 4;
	/* A tmpfs may be smaller than the map (64 MiB in many containers). */
	if (left > 0) {
		left += cache_file_bytes(choice->shared_path);
		if (choice->cache_bytes > left / 2)
			choice->cache_bytes = left / 2;
	}
	if (choice->cache_bytes > CACHE_MOST)
		choice->cache_bytes = CACHE_MOST;
	choice->shared_bytes = choice->cache_bytes * 2 + SHARED_ROOM;
	choice->namespace = pid_namespace();
	lmdb_place_boot(choice->boot);
	return 0;
}

static bool read_choice(const char *path, struct choice *choice)
{
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return false;
	/* NOLINTNEXTLINE(cert-err34-c): we have written it ourselves */
	int count = fscanf(file,
			   "%36s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			   " %4095[^\n]",
			   choice->boot, &choice->namespace, &choice->map_bytes,
			   &choice->shared_bytes, &choice->cache_bytes,
			   choice->shared_path);

	fclose(file);
	return count == 6;
}

static int write_choice(const char *path, const struct choice *choice,
			struct problem *problem)
{
	int descriptor =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (descriptor < 0)
		return refuse(problem, path);
	int written = dprintf(
		descriptor,
		"%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n",
		choice->boot, choice->namespace, choice->map_bytes,
		choice->shared_bytes, choice->cache_bytes, choice->shared_path);
	int error = written < 0 ? refuse(problem, path) : 0;

	close(descriptor);
	return error;
}

static void remove_file(const char *directory, const char *name)
{
	char *path = mem_format("%s/%s", directory, name);

	DISCARD(unlink(path)); /* mostly it is not there */
	free(path);
}

/* LMDB's table of readers is written where it is mapped: on a full tmpfs that
 * would be a SIGBUS. */
static void reserve_lock_file(const char *directory)
{
	char *path = mem_format("%s/lock.mdb", directory);
	int descriptor =
		open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (descriptor >= 0) {
		/* Where it fails the opening that follows tells. */
		DISCARD(posix_fallocate(descriptor, 0, LOCK_FILE_SIZE));
		close(descriptor);
	}
	free(path);
}

/* Nobody else is here: what is left of others is cleared. */
static int be_first(struct lmdb *lmdb, const char *path, struct choice *choice,
		    struct problem *problem)
{
	struct choice last;
	int error = choose(lmdb, choice, problem);

	if (error < 0)
		return error;
	if (!read_choice(path, &last) || strcmp(last.boot, choice->boot) != 0) {
		remove_file(choice->shared_path, "data.mdb");
	} else if (lmdb->options.volatile_path == NULL &&
		   access(last.shared_path, W_OK) == 0) {
		/* A cache that is there goes on being used. */
		memcpy(choice->shared_path, last.shared_path,
		       sizeof(choice->shared_path));
	}
	remove_file(choice->shared_path, "board");
	reserve_lock_file(choice->shared_path);
	lmdb->is_first = true;
	return write_choice(path, choice, problem);
}

static int follow(const char *path, struct choice *choice,
		  struct problem *problem)
{
	if (!read_choice(path, choice))
		return problem_set(problem, -EINVAL, "STORE_DAMAGED",
				   "%s cannot be read, though others have the "
				   "store open (stop them, then start again)",
				   path);
	if (choice->namespace != pid_namespace())
		return problem_set(
			problem, -EXDEV, "STORE_FOREIGN",
			"the store in %s is in use in another "
			"container: one host, one pid namespace (use "
			"Redis, or share the pid namespace)",
			path);
	return 0;
}

static int lock_users(struct lmdb *lmdb, struct choice *choice,
		      struct problem *problem)
{
	char *path = mem_format("%s/place", lmdb->tasks_path);
	int error;

	/* Who opens is alone in here, so the lock can be weakened below. */
	if (flock(lmdb->users_fd, LOCK_EX | LOCK_NB) == 0)
		error = be_first(lmdb, path, choice, problem);
	else
		error = follow(path, choice, problem);
	free(path);
	if (error == 0 && flock(lmdb->users_fd, LOCK_SH) < 0)
		error = refuse(problem, lmdb->tasks_path);
	return error;
}

static int open_file(const char *directory, const char *name,
		     struct problem *problem)
{
	char *path = mem_format("%s/%s", directory, name);
	int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (descriptor < 0)
		descriptor = refuse(problem, path);
	free(path);
	return descriptor;
}

static int check_directory(struct lmdb *lmdb, const char *path,
			   struct problem *problem)
{
	struct stat status;
	int error = make_directory(path);

	if (error < 0) {
		errno = -error;
		return refuse(problem, path);
	}
	if (is_remote(path))
		return problem_set(problem, -EREMOTE, "STORE_REMOTE",
				   "%s is on a network file system, which an "
				   "embedded store cannot use (choose a local "
				   "directory, or Redis)",
				   path);
	if (stat(path, &status) < 0)
		return refuse(problem, path);
	lmdb->device = status.st_dev;
	lmdb->inode = status.st_ino;
	return 0;
}

int lmdb_place_begin(struct lmdb *lmdb)
{
	struct problem problem;

	lmdb->opening_fd = open_file(lmdb->tasks_path, "opening", &problem);
	if (lmdb->opening_fd < 0)
		return lmdb->opening_fd;
	return flock(lmdb->opening_fd, LOCK_EX) < 0 ? -errno : 0;
}

int lmdb_place_find(struct lmdb *lmdb, const char *path,
		    struct problem *problem)
{
	struct choice choice = { 0 };
	int error = check_directory(lmdb, path, problem);

	if (error < 0)
		return error;
	lmdb->tasks_path = mem_text(path);
	error = lmdb_place_begin(lmdb);
	if (error < 0) {
		errno = -error;
		return refuse(problem, path);
	}
	lmdb->users_fd = open_file(path, "users", problem);
	if (lmdb->users_fd < 0)
		return lmdb->users_fd;
	error = lock_users(lmdb, &choice, problem);
	if (error < 0)
		return error;
	lmdb->shared_path = mem_text(choice.shared_path);
	lmdb->map_bytes = choice.map_bytes;
	lmdb->shared_bytes = choice.shared_bytes;
	lmdb->cache_bytes = choice.cache_bytes;
	list_add_last(&open_places, &lmdb->link);
	return 0;
}

void lmdb_place_opened(struct lmdb *lmdb)
{
	if (lmdb->opening_fd >= 0)
		close(lmdb->opening_fd);
	lmdb->opening_fd = -1;
}

void lmdb_place_leave(struct lmdb *lmdb)
{
	lmdb_place_opened(lmdb);
	if (lmdb->users_fd >= 0)
		close(lmdb->users_fd);
	lmdb->users_fd = -1;
	if (list_is_linked(&lmdb->link))
		list_remove(&lmdb->link);
}
