#include "api/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/must.h"

static int copy(int from, int to, uint64_t length)
{
	off_t offset = 0;

	while ((uint64_t)offset < length) {
		ssize_t sent = sendfile(to, from, &offset,
					(size_t)(length - (uint64_t)offset));

		if (sent < 0 && errno != EINTR)
			return -errno;
		if (sent == 0)
			return -EIO;
	}
	return 0;
}

static int copy_to(int descriptor, uint64_t length, const char *path)
{
	int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (to < 0)
		return -errno;
	int error = copy(descriptor, to, length);

	if (close(to) < 0 && error == 0)
		error = -errno;
	if (error < 0)
		DISCARD(unlink(path)); /* half of it is of no use */
	return error;
}

int upload_keep(int descriptor, uint64_t length, const char *path)
{
	char own[32];

	DISCARD(snprintf(own, sizeof(own), "/proc/self/fd/%d", descriptor));
	if (linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno == EEXIST)
		return -EEXIST;
	return copy_to(descriptor, length, path);
}
