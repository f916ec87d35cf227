/* main_option - a row of the table of options (main_option_table.c), and how
 * one is given a value (main_option.c): for main_option*.c alone. */
#pragma once
#include "app/main_options.h"

enum main_kind {
	MAIN_TEXT,   /* const char * */
	MAIN_LIST,   /* const char *const * */
	MAIN_NUMBER, /* uint32_t, as those that follow */
	MAIN_TIME,   /* milliseconds */
	MAIN_SIZE,   /* bytes */
	MAIN_WORD,   /* an enum of one of `words`, by its place */
	MAIN_MODE,   /* takes no value: does something else than serving */
};

#define MAIN_LIST_MAX        64
#define MAIN_TOKEN_BYTES_MAX 4096

/* Places in the structs that a row is about; NOWHERE where there is none. */
#define NOWHERE SIZE_MAX

struct main_option {
	const char *name; /* --NAME, and in the file */
	const char *also; /* another spelling; NULL */
	const char
		*variables[2]; /* of the environment; the first that is set */
	const char *argument;  /* what follows it, for a person */
	const char *wants;     /* what it has to be; NULL: its kind says so */
	const char *help;
	const char *otherwise; /* the default, as it would be said; NULL */
	enum main_kind kind;
	uint32_t least;
	uint32_t most;
	const char *const *words; /* ends with NULL */
	enum main_mode mode;
	bool is_secret;
	bool is_for_the_line;  /* a file cannot say it */
	size_t at;             /* in struct main_options */
	size_t at_application; /* in struct muster_app, of the same kind */
	/* Where its kind does not say how it is read, or, in a list, what an
	 * element may be. false: it is none. */
	bool (*read)(struct main_options *options, const char *text);
};

extern const struct main_option main_option_table[];
extern const size_t main_option_count;

/* NULL: there is none of that name; '_' counts as '-'. */
const struct main_option *main_option_find(const char *name, size_t length);
/* The nearest name to one that is none; NULL. */
const char *main_option_nearest(const char *name);

/* `texts` are of one text, but for a list. MAIN_MISUSED: it was told, with
 * `where` in front, "--workers" or "api.yml:3: workers". */
enum main_answer main_option_set(struct main_options *options,
				 const struct main_option *option,
				 const char *const *texts, size_t count,
				 const struct main_given *given,
				 const char *where);

/* The same with one text, which is several where a list is wanted. */
enum main_answer main_option_set_text(struct main_options *options,
				      const struct main_option *option,
				      const char *text,
				      const struct main_given *given,
				      const char *where);

/* What is between the commas of a text, without spaces around it; `texts` has
 * room for MAIN_LIST_MAX. How many there are. */
size_t main_option_split(struct arena *arena, const char *text,
			 const char **texts);
/* "a, b", as a list is shown. */
const char *main_option_join(struct arena *arena, const char *const *texts,
			     size_t count);

/* One line on stderr, after the program's name. */
__attribute__((format(printf, 2, 3))) enum main_answer
main_options_refuse(const struct main_options *options, const char *format,
		    ...);

/* main_options_file.c: finds the file and applies what it says. */
enum main_answer main_options_read_file(struct main_options *options);
/* The same for a text that is called `options->file`; NULL where it is empty.
 */
enum main_answer main_options_read_text(struct main_options *options,
					const char *bytes, size_t length);
