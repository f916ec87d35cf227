/*
 * actions - what a server can do, asked of the program itself: one that calls
 * muster_main() tells it when it is started with --actions.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/quantity.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/print.h"
#include "cli/program.h"

#define OUTPUT_MAX ((size_t)16 * 1024 * 1024)
#define WAIT_MS    10000

enum { JSON, WAIT, OPTIONS };

static const struct command_option options[OPTIONS + 1] = {
	[JSON] = { 'j', "json", NULL, NULL, "for programs to read" },
	[WAIT] = { 't', "timeout", NULL, "TIME", "for the program (10s)" },
};

/* A program that was asked, and what it has said so far. */
struct asked {
	const char *name;
	pid_t pid;
	int outputs[2]; /* its stdout and stderr; -1: at their end */
	struct buffer said[2];
	uint32_t wait_ms;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the program ---- */

static int start(struct asked *asked, const char *path,
		 const char *const *arguments)
{
	size_t count = 0;

	while (arguments[count] != NULL)
		count++;
	const char **argv = mem_alloc((count + 3) * sizeof(*argv));
	int pipes[2][2] = { { -1, -1 }, { -1, -1 } };
	posix_spawn_file_actions_t actions;

	if (pipe2(pipes[0], O_CLOEXEC) < 0 || pipe2(pipes[1], O_CLOEXEC) < 0) {
		free(argv);
		return errno; /* what is open goes with this process */
	}
	argv[0] = asked->name;
	memcpy(argv + 1, arguments, count * sizeof(*argv));
	argv[count + 1] = "--actions";
	argv[count + 2] = NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, pipes[0][1], 1);
	posix_spawn_file_actions_adddup2(&actions, pipes[1][1], 2);
	int error = posix_spawn(&asked->pid, path, &actions, NULL,
				(char *const *)(uintptr_t)argv, environ);

	posix_spawn_file_actions_destroy(&actions);
	free(argv);
	for (size_t i = 0; i < 2; i++) {
		close(pipes[i][1]);
		asked->outputs[i] = pipes[i][0];
	}
	return error;
}

/* false: that was all, or too much. */
static bool read_some(struct asked *asked, size_t i)
{
	ssize_t length = read(asked->outputs[i],
			      buffer_reserve(&asked->said[i], 65536), 65536);

	if (length < 0 && errno == EINTR)
		return true;
	if (length > 0)
		buffer_extend(&asked->said[i], (size_t)length);
	return length > 0 && buffer_length(&asked->said[i]) <= OUTPUT_MAX;
}

static void close_output(struct asked *asked, size_t i)
{
	close(asked->outputs[i]);
	asked->outputs[i] = -1;
}

/* false: it has taken too long, and is killed. */
static bool listen_to(struct asked *asked)
{
	uint64_t until_ms = now_ms() + asked->wait_ms;
	bool is_in_time = true;

	while (is_in_time &&
	       (asked->outputs[0] >= 0 || asked->outputs[1] >= 0)) {
		struct pollfd polled[2] = {
			{ .fd = asked->outputs[0], .events = POLLIN },
			{ .fd = asked->outputs[1], .events = POLLIN },
		};
		uint64_t at_ms = now_ms();
		int left_ms = at_ms < until_ms ? (int)(until_ms - at_ms) : 0;
		int count = poll(polled, 2, left_ms);

		is_in_time = count != 0;
		for (size_t i = 0; count > 0 && i < 2; i++)
			if (polled[i].revents != 0 && !read_some(asked, i))
				close_output(asked, i);
	}
	if (!is_in_time)
		kill(asked->pid, SIGKILL);
	for (size_t i = 0; i < 2; i++)
		if (asked->outputs[i] >= 0)
			close_output(asked, i);
	return is_in_time;
}

/* The last line of what it complained about. */
static int refuse(const struct asked *asked, const char *why)
{
	const char *said = (const char *)buffer_bytes(&asked->said[1]);
	size_t length = buffer_length(&asked->said[1]);

	while (length > 0 && said[length - 1] == '\n')
		length--;
	const char *line = length == 0 ? NULL : memrchr(said, '\n', length);

	line = line == NULL ? said : line + 1;
	if (length == 0)
		return command_failed("'%s' does not tell its actions: %s "
				      "(it has to call muster_main())",
				      asked->name, why);
	return command_failed("'%s' does not tell its actions: %.*s",
			      asked->name, (int)(said + length - line), line);
}

/* ---- what it said ---- */

static const char *text_of(const json_t *action, const char *name)
{
	const char *text = json_string_value(json_object_get(action, name));

	return text != NULL ? text : "";
}

static void add_transports(const json_t *action, struct buffer *to)
{
	const json_t *transports = json_object_get(action, "transports");

	for (size_t i = 0; i < json_array_size(transports); i++) {
		const char *name =
			json_string_value(json_array_get(transports, i));

		if (name != NULL)
			buffer_append_format(to, "%s%s", i > 0 ? " " : "",
					     name);
	}
}

/* [NAME] may be left out. */
static void add_inputs(const json_t *action, struct buffer *to)
{
	json_t *inputs = json_object_get(action, "inputs");
	const char *name;
	json_t *input;
	bool follows = false;

	json_object_foreach(inputs, name, input)
	{
		bool is_required =
			json_is_true(json_object_get(input, "required"));

		buffer_append_format(to, is_required ? "%s%s" : "%s[%s]",
				     follows ? " " : "", name);
		follows = true;
	}
}

enum { NAME, VERSION, OVER, INPUTS, DESCRIPTION, COLUMNS };

static void fill_row(const json_t *action, struct buffer cells[COLUMNS])
{
	const json_t *version = json_object_get(action, "version");

	for (size_t i = 0; i < COLUMNS; i++)
		buffer_truncate(&cells[i], 0);
	buffer_append_text(&cells[NAME], text_of(action, "name"));
	buffer_append_format(&cells[VERSION], "%lld",
			     (long long)json_integer_value(version));
	add_transports(action, &cells[OVER]);
	add_inputs(action, &cells[INPUTS]);
	buffer_append_text(&cells[DESCRIPTION], text_of(action, "description"));
}

static void print_row(const int widths[COLUMNS],
		      const struct buffer cells[COLUMNS])
{
	for (size_t i = 0; i < COLUMNS; i++)
		printf("%-*.*s%s", i + 1 < COLUMNS ? widths[i] : 0,
		       (int)buffer_length(&cells[i]),
		       buffer_length(&cells[i]) == 0
			       ? ""
			       : (const char *)buffer_bytes(&cells[i]),
		       i + 1 < COLUMNS ? "  " : "\n");
}

static void print_table(const json_t *actions)
{
	static const char *const titles[COLUMNS] = { "NAME", "VERSION", "OVER",
						     "INPUTS", "DESCRIPTION" };
	struct buffer cells[COLUMNS] = { 0 };
	int widths[COLUMNS];

	for (size_t i = 0; i < COLUMNS; i++)
		widths[i] = (int)strlen(titles[i]);
	for (size_t k = 0; k < json_array_size(actions); k++) {
		fill_row(json_array_get(actions, k), cells);
		for (size_t i = 0; i < COLUMNS; i++)
			if ((int)buffer_length(&cells[i]) > widths[i])
				widths[i] = (int)buffer_length(&cells[i]);
	}
	for (size_t i = 0; i < COLUMNS; i++) {
		buffer_truncate(&cells[i], 0);
		buffer_append_text(&cells[i], titles[i]);
	}
	if (json_array_size(actions) > 0)
		print_row(widths, cells);
	for (size_t k = 0; k < json_array_size(actions); k++) {
		fill_row(json_array_get(actions, k), cells);
		print_row(widths, cells);
	}
	for (size_t i = 0; i < COLUMNS; i++)
		buffer_fini(&cells[i]);
}

/* ---- the command ---- */

static int show(const struct asked *asked, bool is_json)
{
	json_t *told = json_loadb((const char *)buffer_bytes(&asked->said[0]),
				  buffer_length(&asked->said[0]), 0, NULL);
	json_t *actions = json_object_get(told, "actions");

	if (!json_is_array(actions)) {
		json_decref(told);
		return refuse(asked, "what it says is something else");
	}
	if (is_json) {
		print_json(json_incref(actions));
	} else {
		print_table(actions);
	}
	json_decref(told);
	return COMMAND_DONE;
}

static int ask(struct asked *asked, const char *const *arguments, bool is_json)
{
	char *path = program_locate(asked->name);
	int status = 0;

	if (path == NULL)
		return COMMAND_FAILED;
	int error = start(asked, path, arguments);

	free(path);
	if (error != 0)
		return command_failed("cannot start '%s': %s (give the path "
				      "of a program)",
				      asked->name, strerror(error));
	bool is_in_time = listen_to(asked);

	while (waitpid(asked->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!is_in_time)
		return refuse(asked, "it goes on and on");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return refuse(asked, "it has failed");
	return show(asked, is_json);
}

static int run(struct arguments *arguments)
{
	struct asked asked = { .outputs = { -1, -1 }, .wait_ms = WAIT_MS };
	bool is_json = false;
	int option;

	while ((option = arguments_next(arguments)) != ARGUMENTS_END) {
		if (option == ARGUMENTS_WRONG)
			return command_misused(&actions_command, "%s",
					       arguments->problem);
		if (option == JSON)
			is_json = true;
		else if (option == WAIT &&
			 !quantity_read_time_ms(arguments->value,
						&asked.wait_ms))
			return command_misused(&actions_command,
					       "actions: --timeout wants a "
					       "time like 10s, not '%s'",
					       arguments->value);
		else if (option == ARGUMENTS_OPERAND && asked.name != NULL)
			return command_misused(&actions_command,
					       "actions: '%s' is one program "
					       "too many: its arguments go "
					       "after --",
					       arguments->value);
		else if (option == ARGUMENTS_OPERAND)
			asked.name = arguments->value;
	}
	if (asked.name == NULL)
		return command_misused(&actions_command,
				       "actions needs a PROGRAM");
	int code = ask(&asked, arguments->rest, is_json);

	buffer_fini(&asked.said[0]);
	buffer_fini(&asked.said[1]);
	return code;
}

const struct command actions_command = {
	.name = "actions",
	.operands = "PROGRAM [-- ARGUMENT...]",
	.summary = "Shows what a server can do",
	.details = "\nPROGRAM calls muster_main(); it is started with "
		   "--actions, which it answers and ends.\nInputs in brackets "
		   "may be left out.",
	.options = options,
	.run = run,
};
