#include "cluster/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/watch.h"

/* As much as systemd reads. */
#define MESSAGE_BYTES 4096
/* Read in one turn. */
#define MESSAGES_MAX 16

struct notify {
	int descriptor;
	struct watch *watch;
	const struct notify_events *events;
	void *owner;
	char name[64];
};

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(struct ucred)) +
		   CMSG_SPACE(253 * sizeof(int))];
};

/* Descriptors that came along (FDSTORE=1) are not wanted. */
static pid_t read_control(struct msghdr *message)
{
	pid_t pid = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
	     header = CMSG_NXTHDR(message, header)) {
		size_t length = header->cmsg_len - CMSG_LEN(0);
		struct ucred sender;
		int descriptor;

		if (header->cmsg_level != SOL_SOCKET)
			continue;
		if (header->cmsg_type == SCM_CREDENTIALS &&
		    length >= sizeof(sender)) {
			memcpy(&sender, CMSG_DATA(header), sizeof(sender));
			pid = sender.pid;
		}
		for (size_t i = 0; header->cmsg_type == SCM_RIGHTS &&
				   i + sizeof(descriptor) <= length;
		     i += sizeof(descriptor)) {
			memcpy(&descriptor, CMSG_DATA(header) + i,
			       sizeof(descriptor));
			close(descriptor);
		}
	}
	return pid;
}

static void take_line(struct notify *notify, const char *line, pid_t pid)
{
	if (strcmp(line, "READY=1") == 0)
		notify->events->on_ready(notify->owner, pid);
	else if (strcmp(line, "STOPPING=1") == 0)
		notify->events->on_stopping(notify->owner, pid);
	else
		notify->events->on_alive(notify->owner, pid);
}

static void take_message(struct notify *notify, char *text, pid_t pid)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest))
		take_line(notify, line, pid);
}

static void on_readable(void *owner)
{
	struct notify *notify = owner;

	for (int i = 0; i < MESSAGES_MAX; i++) {
		char text[MESSAGE_BYTES + 1];
		union control control;
		struct iovec part = { text, MESSAGE_BYTES };
		struct msghdr message = {
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t length = recvmsg(notify->descriptor, &message,
					 MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (length < 0)
			return;
		pid_t pid = read_control(&message);

		text[length] = '\0';
		if (pid > 0)
			take_message(notify, text, pid);
	}
}

/* An empty name asks the kernel for a free one: unix(7), autobind. */
static int bind_anywhere(struct notify *notify)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(address);
	int on = 1;

	if (bind(notify->descriptor, (struct sockaddr *)&address,
		 sizeof(sa_family_t)) < 0 ||
	    setsockopt(notify->descriptor, SOL_SOCKET, SO_PASSCRED, &on,
		       sizeof(on)) < 0 ||
	    getsockname(notify->descriptor, (struct sockaddr *)&address,
			&length) < 0)
		return -errno;
	size_t name = length - offsetof(struct sockaddr_un, sun_path) - 1;

	snprintf(notify->name, sizeof(notify->name), "@%.*s", (int)name,
		 address.sun_path + 1);
	return 0;
}

struct notify *notify_open(struct loop *loop,
			   const struct notify_events *events, void *owner)
{
	struct notify *notify = mem_zalloc(sizeof(*notify));

	notify->events = events;
	notify->owner = owner;
	notify->descriptor =
		socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error = notify->descriptor < 0 ? -errno : bind_anywhere(notify);

	if (error == 0)
		error = watch_open(loop, notify->descriptor, on_readable,
				   notify, &notify->watch);
	if (error < 0) {
		log_warn(loop_log(loop), "no NOTIFY_SOCKET error=\"%s\"",
			 strerror(-error));
		notify_close(notify);
		return NULL;
	}
	watch_set_keeps_alive(notify->watch, false);
	watch_start(notify->watch);
	return notify;
}

void notify_close(struct notify *notify)
{
	if (notify == NULL)
		return;
	watch_close(notify->watch);
	if (notify->descriptor >= 0)
		close(notify->descriptor);
	free(notify);
}

const char *notify_name(const struct notify *notify)
{
	return notify->name;
}
