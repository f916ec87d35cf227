/*
 * Any bytes as a server's configuration file: it is refused with a line, or
 * what it came to can be shown, and what is shown is a configuration again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/main_option.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Nobody reads what is complained about. */
static void be_quiet(void)
{
	static FILE *nowhere;

	if (nowhere != NULL)
		return;
	nowhere = fopen("/dev/null", "we");
	MUST(nowhere != NULL);
	stderr = nowhere;
}

static enum main_answer read_again(struct main_options *options,
				   const char *text, size_t length)
{
	char program[] = "it";
	char option[] = "--config";
	char file[] = "/dev/null";
	char *argv[] = { program, option, file, NULL };

	MUST(main_options_read(options, 3, argv,
			       &(struct muster_app){ .name = "it" }) ==
	     MAIN_GO);
	options->file = "it.yml";
	return main_options_read_text(options, text, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct main_options first;
	struct main_options second;
	char *shown = NULL;
	size_t shown_length = 0;

	be_quiet();
	clearenv();
	if (read_again(&first, (const char *)bytes, length) == MAIN_GO) {
		FILE *to = open_memstream(&shown, &shown_length);

		MUST(to != NULL);
		main_options_show(to, &first);
		fclose(to);
		/* Where a secret was hidden it cannot be. */
		MUST(strstr(shown, "***") != NULL ||
		     read_again(&second, shown, shown_length) == MAIN_GO);
		if (strstr(shown, "***") == NULL)
			main_options_fini(&second);
		free(shown);
	}
	main_options_fini(&first);
	return 0;
}
