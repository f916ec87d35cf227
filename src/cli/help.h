/* help - usage texts, made from the table of commands. */
#pragma once
#include <stdio.h>

#include "cli/command.h"

void help_print(FILE *file); /* what there is */
void help_print_command(FILE *file, const struct command *command);
