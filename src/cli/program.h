/* program - finds the program that a command is about. */
#pragma once

/* Its path from the root, to be freed; a file here comes before one in PATH.
 * NULL after a line on stderr. */
char *program_locate(const char *program);
