/* harness_end - how programs end, and that nobody outlives them. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness_internal.h"

void harness_reap(struct process *process)
{
	int status;

	if (process->has_ended ||
	    waitpid(process->pid, &status, WNOHANG) != process->pid)
		return;
	process->has_ended = true;
	process->result =
		WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int wait_for_exit(struct process *process)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	while (!process->has_ended)
		if (!harness_wait_for_news(process, deadline) &&
		    !process->has_ended)
			give_up("awaited the end of %s for %d s", process->name,
				DEADLINE_MS / 1000);
	harness_read_output(process);
	return process->result;
}

void expect_exit(struct process *process, int code)
{
	int result = wait_for_exit(process);

	if (result != code)
		give_up("%s ended with %d in place of %d", process->name,
			result, code);
}

void expect_end(struct process *process, int code)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	expect_exit(process, code);
	while (process->output >= 0)
		if (!harness_wait_for_news(process, deadline))
			give_up("%s has ended, but a worker of it has not",
				process->name);
}

bool harness_wait_for_child(const pid_t *children, size_t count,
			    int64_t deadline)
{
	struct pollfd polled[64];
	nfds_t polled_count = 0;

	for (size_t i = 0; i < count && polled_count < 64; i++) {
		int pidfd = (int)syscall(SYS_pidfd_open, children[i], 0);

		if (pidfd >= 0)
			polled[polled_count++] = (struct pollfd){
				.fd = pidfd,
				.events = POLLIN,
			};
	}
	int ready = poll(polled, polled_count, harness_left_ms(deadline));

	for (nfds_t i = 0; i < polled_count; i++)
		close(polled[i].fd);
	return ready > 0;
}

size_t harness_reap_all(pid_t *children, size_t size)
{
	for (struct process *p = harness_stage.processes; p != NULL;
	     p = p->next)
		harness_reap(p);

	size_t alive = 0;
	size_t count = list_children(getpid(), children, size);

	for (size_t i = 0; i < count; i++)
		if (waitpid(children[i], NULL, WNOHANG) == 0)
			children[alive++] = children[i];
	return alive;
}

static void read_command_line(pid_t pid, char *text, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, size - 1);

	if (file >= 0)
		close(file);
	text[length > 0 ? length : 0] = '\0';
	for (ssize_t i = 0; i + 1 < length; i++)
		if (text[i] == '\0')
			text[i] = ' ';
}

void harness_expect_nobody_left_by(int64_t deadline)
{
	pid_t children[HARNESS_CHILDREN_MAX];
	size_t count;

	while ((count = harness_reap_all(children, HARNESS_CHILDREN_MAX)) > 0) {
		char text[256];

		/* Keep their pipes flowing. */
		for (struct process *p = harness_stage.processes; p != NULL;
		     p = p->next)
			harness_read_output(p);
		if (harness_wait_for_child(children, count, deadline))
			continue;
		read_command_line(children[0], text, sizeof(text));
		give_up("left behind: %zu processes, the first is %d: %s",
			count, (int)children[0], text);
	}
}

void expect_nobody_left(void)
{
	harness_expect_nobody_left_by(now_ms() + DEADLINE_MS);
}

void expect_gone(pid_t pid)
{
	if (is_alive(pid) &&
	    !harness_wait_for_child(&pid, 1, now_ms() + DEADLINE_MS) &&
	    is_alive(pid))
		give_up("awaited the end of process %d for %d s", (int)pid,
			DEADLINE_MS / 1000);
}
