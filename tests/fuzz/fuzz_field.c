/*
 * Any bytes as the value of a header: what is found lies within them, in
 * order, and a quality is one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/etag.h"
#include "wire/field.h"
#include "wire/jsonp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_within(struct field_text text, struct field_text whole)
{
	MUST(text.bytes >= whole.bytes && text.length <= whole.length);
	MUST(text.bytes + text.length <= whole.bytes + whole.length);
}

static void check_parameters(struct field_text element)
{
	struct field_text rest = element;
	struct field_text word = field_take_word(&rest);
	struct field_parameter parameter;

	check_within(word, element);
	MUST(field_quality(rest) >= 0 && field_quality(rest) <= 1000);
	while (field_next_parameter(&rest, &parameter)) {
		char *copy = mem_alloc(parameter.value.length + 1);

		check_within(parameter.name, element);
		check_within(parameter.value, element);
		MUST(parameter.name.length > 0);
		MUST(field_unquote(copy, &parameter) <= parameter.value.length);
		free(copy);
	}
}

static void check_name(const char *text, size_t length)
{
	if (!jsonp_is_callback(text, length))
		return;
	for (size_t i = 0; i < length; i++)
		MUST(text[i] > ' ' && text[i] < 0x7f &&
		     strchr("()<>;='\"`/\\", text[i]) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct field_text whole = { (const char *)bytes, length };
	struct field_text rest = whole;
	struct field_text element;

	while (field_next_element(&rest, &element)) {
		check_within(element, whole);
		check_within(rest, whole);
		MUST(element.length > 0);
		check_parameters(element);
	}
	int quality = field_coding_quality(whole.bytes, length, "gzip");

	MUST(quality >= 0 && quality <= 1000);
	/* What a strong comparison finds a weak one does. */
	MUST(!etag_is_listed(whole.bytes, length, "\"a\"", true) ||
	     etag_is_listed(whole.bytes, length, "\"a\"", false));
	MUST(!etag_is(whole.bytes, length) || whole.bytes[length - 1] == '"');
	check_name(whole.bytes, length);
	return 0;
}
