/*
 * machine - which machine this is, and whether a process of it still lives.
 *
 * A machine is one boot of a kernel and one namespace of process ids within
 * it: where both are equal, a pid means the same.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MACHINE_BYTES 64

/* Of this process; "" where the system does not tell. */
void machine_read(char machine[MACHINE_BYTES]);

/* When the process was started, in ticks since boot; 0: not known. */
uint64_t machine_process_start(pid_t pid);

enum machine_process {
	MACHINE_PROCESS_GONE,    /* or another one has its number */
	MACHINE_PROCESS_STOPPED, /* by a signal or a debugger */
	MACHINE_PROCESS_RUNNING, /* as far as one can see */
};

/* `start` is what machine_process_start() said, 0: nothing. */
enum machine_process machine_process(pid_t pid, uint64_t start);
