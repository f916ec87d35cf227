/*
 * Any bytes as a form with files. In two pieces it is read as it is whole, and
 * of what is told nothing is more than there was.
 *
 * The first byte says where it is cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/mem.h"
#include "base/must.h"
#include "wire/multipart.h"

#define TYPE "multipart/form-data; boundary=ab"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct told {
	struct multipart reader;
	struct buffer text; /* all that was told, in order */
	size_t content;
	enum multipart_answer answer;
	bool is_in_part;
};

static void tell_text(struct told *told, const char *text)
{
	buffer_append_format(&told->text, "<%s>", text != NULL ? text : "-");
}

static void tell(struct told *told)
{
	const struct multipart *reader = &told->reader;

	switch (told->answer) {
	case MULTIPART_PART:
		MUST(!told->is_in_part && reader->part.name != NULL);
		told->is_in_part = true;
		tell_text(told, reader->part.name);
		tell_text(told, reader->part.filename);
		tell_text(told, reader->part.type);
		break;
	case MULTIPART_DATA:
		MUST(told->is_in_part && reader->data_length > 0);
		told->content += reader->data_length;
		buffer_append(&told->text, reader->data, reader->data_length);
		break;
	case MULTIPART_PART_END:
		MUST(told->is_in_part);
		told->is_in_part = false;
		tell_text(told, "end");
		break;
	case MULTIPART_REFUSED:
		tell_text(told, reader->reason);
		break;
	case MULTIPART_MORE:
		break;
	}
}

static void read_piece(struct told *told, const char *text, size_t length)
{
	char *copy = mem_copy(text, length);
	size_t at = 0;

	while (at < length && told->answer != MULTIPART_REFUSED) {
		size_t used;

		told->answer = multipart_read(&told->reader, copy + at,
					      length - at, &used);
		MUST(used <= length - at);
		MUST(told->answer != MULTIPART_MORE || used == length - at);
		at += used;
		tell(told);
	}
	free(copy);
}

static void start(struct told *told)
{
	*told = (struct told){ 0 };
	MUST(multipart_init(&told->reader, TYPE, strlen(TYPE)));
}

static void finish(struct told *told)
{
	multipart_fini(&told->reader);
	buffer_fini(&told->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct told whole;
	struct told parts;

	if (length == 0)
		return 0;
	const char *text = (const char *)bytes + 1;
	size_t cut = (length - 1) * bytes[0] / 255;

	length--;
	start(&whole);
	start(&parts);
	read_piece(&whole, text, length);
	read_piece(&parts, text, cut);
	read_piece(&parts, text + cut, length - cut);
	MUST(whole.content <= length);
	MUST(buffer_length(&whole.text) == buffer_length(&parts.text));
	MUST(buffer_length(&whole.text) == 0 ||
	     memcmp(buffer_bytes(&whole.text), buffer_bytes(&parts.text),
		    buffer_length(&whole.text)) == 0);
	MUST(multipart_is_complete(&whole.reader) ==
	     multipart_is_complete(&parts.reader));
	MUST(!multipart_is_complete(&whole.reader) || !whole.is_in_part);
	finish(&whole);
	finish(&parts);

	struct multipart reader;

	/* As what says how it is divided. */
	if (multipart_init(&reader, text, length))
		multipart_fini(&reader);
	return 0;
}
