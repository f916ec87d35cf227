/*
 * Any bytes as lines. Whole and in two pieces they are the same lines, none
 * has an end within it or is too long, and what is refused is.
 *
 * The first byte says where it is cut.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/must.h"
#include "wire/line.h"

#define LENGTH_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct told {
	size_t count;
	uint32_t sum;
	bool is_refused;
};

static void feed(struct line_reader *reader, struct told *told,
		 const uint8_t *bytes, size_t length)
{
	struct line line;
	int answer = 1;

	while (!told->is_refused && answer != 0) {
		answer = line_read(reader, &bytes, &length, &line);
		MUST(answer == 0 || answer == 1 || answer == -EMSGSIZE);
		told->is_refused = answer < 0;
		if (answer != 1)
			continue;
		MUST(line.length <= LENGTH_MAX);
		MUST(memchr(line.text, '\n', line.length) == NULL);
		told->count++;
		for (size_t i = 0; i < line.length; i++)
			told->sum = told->sum * 31 + (uint8_t)line.text[i];
	}
	MUST(told->is_refused || length == 0);
}

static struct told read_all(const uint8_t *bytes, size_t length, size_t cut)
{
	struct line_reader reader = { .length_max = LENGTH_MAX };
	struct told told = { 0 };

	feed(&reader, &told, bytes, cut);
	feed(&reader, &told, bytes + cut, length - cut);
	line_reader_fini(&reader);
	return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	if (length == 0)
		return 0;
	size_t cut = (length - 1) * bytes[0] / 255;
	struct told whole = read_all(bytes + 1, length - 1, length - 1);
	struct told parts = read_all(bytes + 1, length - 1, cut);

	MUST(whole.count == parts.count && whole.sum == parts.sum);
	MUST(whole.is_refused == parts.is_refused);
	return 0;
}
