/* What the files of harness share. */
#pragma once
#include "harness.h"

#define HARNESS_KEPT_MAX     512
#define HARNESS_CHILDREN_MAX 2048

struct line {
	char *text;
	bool is_taken;
};

struct process {
	char name[64];
	char errors_path[128];
	pid_t pid;
	int pidfd;
	int input;  /* its standard input; -1: closed */
	int output; /* its standard output; -1: everyone has closed it */
	char *partial;
	size_t partial_bytes;
	struct line *lines;
	size_t line_count;
	bool has_ended;
	int result; /* exit code or minus the signal */
	struct process *next;
};

/* Of the test that runs. */
struct harness_stage {
	char binary[512];
	char directory[64];
	char path[512];
	struct process *processes; /* newest first */
	int process_count;
	bool is_over; /* the test went well */
	int kept[HARNESS_KEPT_MAX];
	size_t kept_count;
};
extern struct harness_stage harness_stage;

int harness_left_ms(int64_t deadline);

/* ---- harness_lines.c ---- */

/* Takes in what is there, without waiting. */
void harness_read_output(struct process *process);
/* Waits until the process says something or ends; false: it did neither by the
 * deadline, or can no more. */
bool harness_wait_for_news(struct process *process, int64_t deadline);

/* ---- harness_end.c ---- */

void harness_reap(struct process *process);
/* Reaps who ended, of the programs as of their orphans; how many live on. */
size_t harness_reap_all(pid_t *children, size_t size);
/* Waits for one of them to end; false at the deadline. */
bool harness_wait_for_child(const pid_t *children, size_t count,
			    int64_t deadline);
void harness_expect_nobody_left_by(int64_t deadline);
