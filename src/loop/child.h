/* child - a process that was started, and its end. */
#pragma once
#include <sys/types.h>

#include "loop/loop.h"

struct child;

struct child_options {
	const char *file;         /* looked up in PATH where it has no slash */
	char *const *arguments;   /* with [0], NULL-ended */
	char *const *environment; /* all of it, NULL-ended */
	const char *directory;    /* NULL: own */
	uid_t uid;                /* 0: own */
	gid_t gid;                /* 0: own */
	/* Entry i is what the child finds as descriptor i; -1: /dev/null. It
	 * finds nothing else. */
	const int *descriptors;
	size_t descriptor_count;
};

/* Exactly one of code (else -1) and signal (else 0) tells. */
typedef void (*child_exited_fn)(void *owner, int code, int signal);

/* Fails with the -errno of fork(2) or execve(2). */
__attribute__((warn_unused_result)) int
child_open(struct loop *loop, const struct child_options *options,
	   child_exited_fn on_exited, void *owner, struct child **child);
/* Forgets the child, which may live on. NULL is fine. */
void child_close(struct child *child);

pid_t child_pid(const struct child *child);
/* -ESRCH: it has ended. */
int child_kill(struct child *child, int signal);
