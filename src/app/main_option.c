#include "app/main_option.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "base/quantity.h"

static void describe(const struct main_option *option, char *text, size_t size)
{
	if (option->wants != NULL) {
		snprintf(text, size, "%s", option->wants);
		return;
	}
	switch (option->kind) {
	case MAIN_TEXT:
		snprintf(text, size, "a text%s",
			 option->most < UINT32_MAX ? " that is not so long"
						   : "");
		return;
	case MAIN_LIST:
		snprintf(text, size, "a list of %u to %u texts", option->least,
			 option->most);
		return;
	case MAIN_NUMBER:
		snprintf(text, size, "a number from %u to %u", option->least,
			 option->most);
		return;
	case MAIN_TIME:
		snprintf(text, size, "a time as in 250ms, 10s, 2m");
		return;
	case MAIN_SIZE:
		snprintf(text, size, "a size as in 512, 16KiB, 1MiB, from %u",
			 option->least);
		return;
	case MAIN_WORD:
	case MAIN_MODE:
		break;
	}
	text[0] = '\0';
}

static bool is_among(const char *const *words, const char *text, int *place)
{
	for (*place = 0; words[*place] != NULL; (*place)++)
		if (strcmp(words[*place], text) == 0)
			return true;
	return false;
}

static void *slot_of(struct main_options *options,
		     const struct main_option *option)
{
	MUST(option->at <= sizeof(*options) - sizeof(uint32_t));
	return (char *)options + option->at;
}

static bool set_list(struct main_options *options,
		     const struct main_option *option, const char *const *texts,
		     size_t count)
{
	const char **list =
		arena_take_zeroed(&options->arena, count + 1, sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		if (texts[i][0] == '\0' ||
		    (option->read != NULL && !option->read(options, texts[i])))
			return false;
		list[i] = texts[i];
	}
	memcpy(slot_of(options, option), &list, sizeof(list));
	return count >= option->least && count <= option->most;
}

static bool set_one(struct main_options *options,
		    const struct main_option *option, const char *text)
{
	void *slot = slot_of(options, option);
	uint32_t number = 0;
	int place = 0;

	switch (option->kind) {
	case MAIN_TEXT:
		memcpy(slot, &text, sizeof(const char *));
		return strlen(text) >= option->least &&
		       strlen(text) <= option->most &&
		       (option->words == NULL ||
			is_among(option->words, text, &place));
	case MAIN_NUMBER:
		if (!quantity_read_number(text, option->least, option->most,
					  &number))
			return false;
		break;
	case MAIN_TIME:
		if (!quantity_read_time_ms(text, &number))
			return false;
		break;
	case MAIN_SIZE:
		if (!quantity_read_bytes(text, &number) ||
		    number < option->least || number > option->most)
			return false;
		break;
	case MAIN_WORD:
		if (!is_among(option->words, text, &place))
			return false;
		number = (uint32_t)place;
		break;
	case MAIN_LIST:
	case MAIN_MODE:
		MUST(option->kind == MAIN_TEXT); /* are no values */
	}
	memcpy(slot, &number, sizeof(number));
	return true;
}

const char *main_option_join(struct arena *arena, const char *const *texts,
			     size_t count)
{
	size_t room = 1;

	for (size_t i = 0; i < count; i++)
		room += strlen(texts[i]) + 2;
	char *joined = arena_take(arena, room);
	char *at = joined;

	*at = '\0';
	for (size_t i = 0; i < count; i++)
		at += sprintf(at, "%s%s", i > 0 ? ", " : "", texts[i]);
	return joined;
}

enum main_answer main_option_set(struct main_options *options,
				 const struct main_option *option,
				 const char *const *texts, size_t count,
				 const struct main_given *given,
				 const char *where)
{
	char wants[80];
	const char *said = main_option_join(&options->arena, texts, count);
	bool is_good = false;

	if (option->is_secret && strcmp(said, "***") == 0)
		return main_options_refuse(
			options, "%s is '***', which is how a secret is shown",
			where);
	if (option->kind == MAIN_LIST)
		is_good = set_list(options, option, texts, count);
	else if (option->read != NULL)
		is_good = option->read(options, texts[0]);
	else
		is_good = set_one(options, option, texts[0]);
	if (!is_good) {
		describe(option, wants, sizeof(wants));
		return main_options_refuse(options, "%s wants %s, not '%s'",
					   where, wants,
					   option->is_secret ? "***" : said);
	}
	struct main_given *row = &options->given[option - main_option_table];

	*row = *given;
	row->text = said;
	return MAIN_GO;
}

size_t main_option_split(struct arena *arena, const char *text,
			 const char **texts)
{
	size_t count = 0;

	while (*text != '\0' && count < MAIN_LIST_MAX) {
		size_t length = strcspn(text, ",");
		const char *rest = text + length;

		text += strspn(text, " ");
		length = text < rest ? (size_t)(rest - text) : 0;
		while (length > 0 && text[length - 1] == ' ')
			length--;
		texts[count++] = arena_text(arena, text, length);
		text = *rest == ',' ? rest + 1 : rest;
	}
	return count;
}

enum main_answer main_option_set_text(struct main_options *options,
				      const struct main_option *option,
				      const char *text,
				      const struct main_given *given,
				      const char *where)
{
	const char *texts[MAIN_LIST_MAX] = { text };
	size_t count = 1;

	if (option->kind == MAIN_LIST)
		count = main_option_split(&options->arena, text, texts);
	return main_option_set(options, option, texts, count, given, where);
}
